"""The child process that decodes a Parquet file: it may fail in any way without harm to the process that reads.

Parquet pages have no checksums, and a damaged page can abort the process that decodes it. The protocol on the standard
streams: one line of JSON with the columns, `{"columns": [...]}`; the reader answers with a list of the names it wants;
then `{"rows": n}` and the table as an Arrow IPC stream. `{"error": reason}` may take the place of either line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import available_timezones

import polars as pl

__all__ = ["main", "scanned", "serve", "with_usual_zones"]


def main(path: str) -> None:
    """Answer on the standard streams."""
    with suppress(OSError):  # Linux: where memory runs out, this process ends and not the one that reads
        Path("/proc/self/oom_score_adj").write_text("1000")
    serve(path, sys.stdin.buffer, sys.stdout.buffer)


def serve(path: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """One conversation about the file at `path`; it ends early where the reader asks for nothing or decoding fails."""
    scan = scanned(path)
    names = _answered(answers, "columns", lambda: list(scan.collect_schema()))
    if names is None or not (request := requests.readline()):
        return
    wanted = json.loads(request)
    frame: pl.DataFrame | None = None

    def read() -> int:
        nonlocal frame
        frame = with_usual_zones(scan.select(wanted).collect())
        return frame.height

    _answered(answers, "rows", read)
    if frame is not None:
        frame.write_ipc_stream(answers)
        answers.flush()


def scanned(path: str) -> pl.LazyFrame:
    """Exactly the file at this path: brackets and stars in it are no patterns, folders no partitions."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def with_usual_zones(frame: pl.DataFrame) -> pl.DataFrame:
    """The same moments in UTC where a column has a zone that polars does not take, such as +05:30."""
    changed = {name: new for name, dtype in frame.schema.items() if (new := _with_usual_zone(dtype)) != dtype}
    return frame.cast(changed) if changed else frame  # type: ignore[arg-type]


def _with_usual_zone(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Datetime):
        usual = dtype.time_zone in (None, "UTC") or dtype.time_zone in available_timezones()
        return dtype if usual else pl.Datetime(dtype.time_unit, "UTC")
    if isinstance(dtype, pl.List):
        return pl.List(_with_usual_zone(dtype.inner))  # type: ignore[arg-type]
    if isinstance(dtype, pl.Array):
        return pl.Array(_with_usual_zone(dtype.inner), dtype.size)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_usual_zone(field.dtype) for field in dtype.fields})  # type: ignore[arg-type]
    return dtype


def _answered(answers: BinaryIO, name: str, work: Callable[[], Any]) -> Any:
    """Send the result of `work` under this name, or the reason why there is none; return the result or None."""
    try:
        result = work()
        message = {name: result}
    except (OSError, MemoryError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        result, message = None, {"error": (str(error).strip() or type(error).__name__).partition("\n")[0]}
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()
    return result
