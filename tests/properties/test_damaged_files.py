"""Damaged and unusual files give our errors or a table: no panic, no abort, no hang, no foreign exception.

Every file with one flipped bit is read in a child process, many files per child. Where reading ends that child, the
same file is read once more the way a user reads it, in this process.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import struct
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cofactor.data.readers.read import read_ratings, read_table
from cofactor.errors import CofactorError, DataError

N = 60
MOMENT = 1_676_043_693  # 2023-02-10 15:41:33 UTC

READER = """
import os, sys
from pathlib import Path
from cofactor.data.readers.read import read_ratings, read_table
from cofactor.errors import CofactorError

path, flipped, first, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
source = sys.argv[5].format(flipped)
query = "select * from ratings" if "://" in source else None
sys.executable = ""  # Parquet is decoded in this process, so that thousands of files take a minute
content = path.read_bytes()
for bit in range(first, 8 * len(content), step):
    print(bit, end=" ", flush=True)
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    flipped.write_bytes(damaged)
    try:
        ratings = read_ratings(source, query=query)
        assert ratings.values.dtype == "float32" and len(ratings) == len(ratings.frame().rows())
        if query is None:
            read_table(source).write_ndjson()
        print("table", hash(str(ratings.frame().rows()) + str(ratings.times)), flush=True)
    except CofactorError as error:
        print("error", flush=True)
    except BaseException as error:
        print("foreign", type(error), str(error)[:300].replace("\\n", " "), flush=True)
"""


def ratings_frame(n: int = N) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": draw.integers(0, 20, n),
            "item": [f"item {at}" for at in draw.integers(0, 30, n)],
            "rating": draw.integers(1, 6, n).astype(float),
            "time": draw.integers(800_000_000, 900_000_000, n),
        }
    )


def outcomes(path: Path, step: int, source: str = "{}") -> tuple[Counter[str], list[int], set[str]]:
    """Return counts of the outcomes, the bits that ended the reading process, and the hashes of the tables."""
    flipped = path.with_name(f"flipped-{path.name}")
    counts: Counter[str] = Counter()
    ended: list[int] = []
    tables: set[str] = set()
    first, last = 0, 8 * path.stat().st_size
    while first < last:
        done = subprocess.run(
            [sys.executable, "-c", READER, str(path), str(flipped), str(first), str(step), source],
            check=False,  # some of these end their process on purpose
            capture_output=True,
            text=True,
            timeout=900,
            env={**os.environ, "RUST_BACKTRACE": "0", "PYTHONHASHSEED": "0"},
        )
        lines = done.stdout.splitlines()
        assert lines, done.stderr
        for line in lines:
            bit, _, outcome = line.partition(" ")
            name, _, rest = outcome.partition(" ")
            assert name != "foreign", line
            if not name:
                ended.append(int(bit))
            else:
                counts[name] += 1
                if name == "table":
                    tables.add(rest)
        first = int(lines[-1].split()[0]) + step
    return counts, ended, tables


def flip(path: Path, bit: int) -> Path:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    flipped = path.with_name(f"one-{path.name}")
    flipped.write_bytes(content)
    return flipped


def message(path: Path) -> str:
    """Return the message of reading a file in the usual way, or "" if it is read. Errors other than ours are raised."""
    try:
        read_ratings(path)
        read_table(path)
    except CofactorError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("writer", "step"), [
    ("polars", 61), ("pyarrow", 89),
    pytest.param("polars", 1, marks=pytest.mark.long), pytest.param("pyarrow", 1, marks=pytest.mark.long),
])  # fmt: skip
def test_parquet_with_one_flipped_bit_gives_a_table_or_our_error(tmp_path: Path, writer: str, step: int) -> None:
    path = tmp_path / "r.parquet"
    if writer == "polars":
        ratings_frame(20).write_parquet(path)
    else:
        pq.write_table(ratings_frame(20).to_arrow(), path, compression="none", data_page_version="2.0")
    counts, ended, _ = outcomes(path, step)
    assert sum(counts.values()) + len(ended) == len(range(0, 8 * path.stat().st_size, step))
    assert min(counts["table"], counts["error"]) > 0
    print(f"{writer}: {dict(counts)}, {len(ended)} ended the process that decoded in itself")
    for bit in ended:
        assert f"one-{path.name} cannot be read" in message(flip(path, bit))


def test_parquet_that_crashes_the_decoder_raises_our_error(tmp_path: Path) -> None:
    # A bit width of 133 in the page of dictionary indices: polars asks for 2 ** 61 bytes and aborts.
    path = tmp_path / "r.parquet"
    ratings_frame().write_parquet(path, compression="uncompressed")
    content = path.read_bytes()
    widths = [at for at in range(4, len(content) // 2) if content[at] == 5 and content[at + 1] & 1]
    assert widths
    for at in widths[:4]:
        flipped = tmp_path / "flipped.parquet"
        flipped.write_bytes(content[:at] + bytes([133]) + content[at + 1 :])
        assert "flipped.parquet cannot be read" in message(flipped)
    path.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 7 :])
    with pytest.raises(DataError, match=r"r\.parquet cannot be read"):
        read_ratings(path)
    path.write_bytes(b"PAR1" + content[-300:])
    with pytest.raises(DataError, match=r"r\.parquet cannot be read"):
        read_table(path)


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.long)])
def test_gzip_with_one_flipped_bit_gives_the_correct_table_or_our_error(tmp_path: Path, step: int) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(ratings_frame().write_csv().encode()))
    counts, ended, tables = outcomes(path, step)
    assert not ended
    assert counts["error"] > 0
    assert len(tables) == 1  # bits of the header without effect


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.long)])
def test_checksummed_zstd_with_one_flipped_bit_gives_the_correct_table_or_our_error(tmp_path: Path, step: int) -> None:
    path = tmp_path / "r.csv.zst"
    path.write_bytes(zstd_frame(ratings_frame(20).write_csv().encode()))
    assert len(read_ratings(path)) == ratings_frame(20).unique(["user", "item"]).height
    counts, ended, tables = outcomes(path, step)
    assert not ended
    assert counts["error"] > 0
    assert len(tables) <= 1


@pytest.mark.parametrize("step", [599, pytest.param(5, marks=pytest.mark.long)])
def test_sqlite_with_one_flipped_bit_gives_a_table_or_our_error(tmp_path: Path, step: int) -> None:
    path = tmp_path / "r.db"
    with sqlite3.connect(path) as database:
        database.execute("pragma page_size = 512")  # the pages of the usual size are nearly empty
        database.execute("create table ratings (user integer, item text, rating real, time integer)")
        database.executemany("insert into ratings values (?, ?, ?, ?)", ratings_frame().rows())
    database.close()
    counts, ended, _ = outcomes(path, step, "sqlite:///{}")
    assert not ended
    assert min(counts["table"], counts["error"]) > 0


def zstd_frame(content: bytes) -> bytes:
    """One raw block in a frame with the checksum of its content, as in RFC 8878."""
    assert len(content) < 1 << 16
    header = struct.pack("<IBH", 0xFD2FB528, 0b0110_0100, len(content) - 256)
    block = struct.pack("<I", len(content) << 3 | 1)[:3]
    return header + block + content + struct.pack("<I", xxh64(content) & 0xFFFFFFFF)


def xxh64(content: bytes) -> int:
    """The hash XXH64 with seed 0, of at least 32 bytes."""
    p1, p2, p3, p4, p5 = (
        0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
    )  # fmt: skip
    mask = (1 << 64) - 1

    def turned(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & mask

    def round_(lane: int, word: int) -> int:
        return turned((lane + word * p2) & mask, 31) * p1 & mask

    lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
    block_bytes = len(content) // 32 * 32
    for at in range(0, block_bytes, 32):
        words = struct.unpack_from("<4Q", content, at)
        lanes = [round_(lane, word) for lane, word in zip(lanes, words, strict=True)]
    h = sum(turned(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & mask
    for lane in lanes:
        h = ((h ^ round_(0, lane)) * p1 + p4) & mask
    h = (h + len(content)) & mask
    at = block_bytes
    while at + 8 <= len(content):
        h = (turned(h ^ round_(0, struct.unpack_from("<Q", content, at)[0]), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= len(content):
        h = (turned(h ^ struct.unpack_from("<I", content, at)[0] * p1 & mask, 23) * p2 + p3) & mask
        at += 4
    for byte in content[at:]:
        h = turned(h ^ byte * p5 & mask, 11) * p1 & mask
    for shift, factor in ((33, p2), (29, p3), (32, 1)):
        h = (h ^ h >> shift) * factor & mask
    return h


ZONES = ("+05:30", "-03:30", "+05:45", "UTC", "Asia/Kolkata", "Europe/Berlin")


@pytest.mark.parametrize("zone", ZONES[:3])
def test_a_time_in_a_half_hour_zone_is_read_from_parquet(tmp_path: Path, zone: str) -> None:
    moment = pa.array([MOMENT, MOMENT + 1], pa.timestamp("s", tz=zone))
    table = pa.table({"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, 2.0], "moment": moment})
    nested = pa.array([[MOMENT], []], pa.list_(pa.timestamp("us", tz=zone)))
    pq.write_table(table.append_column("seen", nested), tmp_path / "r.parquet")
    assert len(read_ratings(tmp_path / "r.parquet")) == 2
    ratings = read_ratings(tmp_path / "r.parquet", time="moment")
    assert ratings.times is not None
    assert ratings.times.tolist() == [MOMENT, MOMENT + 1]
    loaded = read_table(tmp_path / "r.parquet")
    assert loaded["moment"][0] == datetime.fromtimestamp(MOMENT, UTC)


@pytest.mark.parametrize("zone", ZONES)
def test_a_time_in_any_zone_is_read_from_frames(zone: str) -> None:
    moment = pa.array([MOMENT * 10**6, (MOMENT + 1) * 10**6], pa.timestamp("us", tz=zone))
    arrow = pa.table({"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, 2.0], "moment": moment})
    for source in (arrow, arrow.to_batches()[0], arrow.to_pandas(), arrow.to_pandas(types_mapper=pd.ArrowDtype)):
        assert len(read_ratings(source)) == 2
        times = read_ratings(source, time="moment").times
        assert times is not None
        assert times.tolist() == [MOMENT, MOMENT + 1]
        assert read_table(source)["moment"][0] == datetime.fromtimestamp(MOMENT, UTC)
