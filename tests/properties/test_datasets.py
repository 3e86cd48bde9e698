"""Fetching data sets over real sockets on loopback, with all kinds of faults."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from cofactor.datasets import movielens
from cofactor.datasets.download import Progress, Timeouts, download, file_hash
from cofactor.datasets.loading import fetch, load_movielens
from cofactor.datasets.registry import DATASETS, Dataset, Mirror
from cofactor.errors import FetchError
from cofactor.files import cache_directory

HASTY = Timeouts(connect=2.0, read=0.4)
ROWS = [(1, 10, 5, 100), (1, 20, 3, 101), (2, 10, 1, 102), (3, 30, 4, 103)]
U_DATA = "".join(f"{u}\t{i}\t{v}\t{t}\n" for u, i, v, t in ROWS)
FLAGS = "|0|0|0|1|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
U_ITEM = (
    f"10|Toy Story (1995)|01-Jan-1995||http://x/{FLAGS}\n"
    f"20|Misérables, Les (1995)|01-Jan-1995||http://x/{FLAGS}\n"
    "30|unknown||||1" + "|0" * 18 + "\n"
)
U_USER = "1|24|M|technician|85711\n2|53|F|other|94043\n3|23|M|writer|32067\n"


def zipped(members: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = zipped(
    {
        "ml-tiny/u.data": U_DATA,
        "ml-tiny/u.item": U_ITEM.encode("latin-1"),
        "ml-tiny/u.user": U_USER,
        "ml-tiny/README": "x" * 2_000,
        "../evil.txt": "outside",
        "/tmp/evil.txt": "outside",
    }
)


@dataclass
class Maker:
    """A web server on loopback that serves `files` and can misbehave once per request."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tricks: list[Callable[[BaseHTTPRequestHandler, bytes], None]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.lstrip("/")
        self.requests.append(name)
        if name not in self.files:
            handler.send_error(404)
        elif self.tricks and not name.endswith(".md5"):
            self.tricks.pop(0)(handler, self.files[name])
        else:
            send_all(handler, self.files[name])


def head(handler: BaseHTTPRequestHandler, length: int | None) -> None:
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def cut_after(n: int) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    """Announce the full length, send n bytes, and close the connection."""

    def trick(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        head(handler, len(content))
        handler.wfile.write(content[:n])
        handler.close_connection = True

    return trick


def stall_after(n: int) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    def trick(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        head(handler, len(content))
        handler.wfile.write(content[:n])
        handler.wfile.flush()
        time.sleep(1.0)

    return trick


def stall_before_answering(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    time.sleep(1.0)


def send_all(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    head(handler, len(content))
    handler.wfile.write(content)


def no_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    head(handler, None)
    handler.wfile.write(content)
    handler.close_connection = True


def too_short_a_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    head(handler, len(content) - 300)
    handler.wfile.write(content)


@pytest.fixture
def maker() -> Iterator[Maker]:
    web_server = Maker()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web_server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web_server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield web_server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COFACTOR_DATA", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tiny(maker: Maker) -> Dataset:
    maker.files["tiny.zip"] = ARCHIVE
    return Dataset(
        "tiny",
        f"{maker.url}/tiny.zip",
        ratings=4,
        users=3,
        items=3,
        rating_levels=(1.0, 2.0, 3.0, 4.0, 5.0),
        layout=movielens.U_DATA,
        folder="ml-tiny",
        terms="for research",
    )


def get(dataset: Dataset, folder: Path) -> Path:
    return fetch(dataset, folder=folder, timeouts=HASTY)


# one download


def test_a_download_appears_when_complete_and_reports_progress(maker: Maker, tmp_path: Path) -> None:
    maker.files["big"] = content = bytes(range(256)) * 4_000
    seen: list[Progress] = []
    download(f"{maker.url}/big", tmp_path / "big", on_progress=seen.append)
    assert (tmp_path / "big").read_bytes() == content
    assert seen[-1].done == seen[-1].total == len(content)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert [file.name for file in tmp_path.iterdir()] == ["big"]


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        (cut_after(300_000), r"the transfer failed .*300000 bytes read, 724000 more expected"),
        (stall_after(300_000), r"the server sent no data for 0.4 s"),
        (stall_before_answering, r"the server sent no data for 0.4 s"),
    ],
)
def test_an_interrupted_download_is_an_error(maker: Maker, tmp_path: Path, trick: Any, message: str) -> None:
    maker.files["big"] = content = bytes(range(256)) * 4_000
    maker.tricks = [trick]
    with pytest.raises(FetchError, match=f"{message}.*; check the network and try again"):
        download(f"{maker.url}/big", tmp_path / "big", timeouts=HASTY)
    assert maker.requests.count("big") == 1
    download(f"{maker.url}/big", tmp_path / "big", timeouts=HASTY)
    assert (tmp_path / "big").read_bytes() == content


def test_the_connect_timeout_is_not_the_read_timeout(maker: Maker, tmp_path: Path) -> None:
    maker.files["big"] = b"slow but sure"
    maker.tricks = [lambda h, c: (time.sleep(0.6), send_all(h, c))[1]]
    download(f"{maker.url}/big", tmp_path / "big", timeouts=Timeouts(connect=0.3, read=5.0))
    assert (tmp_path / "big").read_bytes() == b"slow but sure"


def test_a_host_that_does_not_answer_ends_in_the_connect_timeout(tmp_path: Path) -> None:
    with socket.socket() as listener:  # never accepts; once its queue is full, connecting hangs
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/big"
        with pytest.raises(FetchError, match=r"cannot connect within 0.5 s; check the network"):
            download(url, tmp_path / "big", timeouts=Timeouts(connect=0.5, read=0.5))
        for client in waiting:
            client.close()


# a data set from its source


def test_a_data_set_is_fetched_verified_and_has_its_source(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    home = get(tiny, tmp_path)
    assert home == tmp_path / "tiny"
    assert (home / "ratings.tsv").read_text() == U_DATA
    source = json.loads((home / "source.json").read_text())
    assert source["source"] == tiny.url
    assert source["terms"] == "for research"
    assert source["archive_sha256"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert source["archive_md5"] is None  # no MD5 is published
    assert source["files"]["ratings.tsv"] == file_hash(home / "ratings.tsv")
    assert (source["ratings"], source["users"], source["items"]) == (4, 3, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]  # no archive, no partial file, no files from outside
    n_requests = len(maker.requests)
    assert get(tiny, tmp_path) == home
    assert len(maker.requests) == n_requests  # the second call sends no request


def test_load_gives_ratings_titles_and_users(tiny: Dataset, tmp_path: Path) -> None:
    ratings = load_movielens(tiny, folder=tmp_path)
    assert ratings.frame().rows() == [(u, i, float(v), t) for u, i, v, t in ROWS]
    assert ratings.scale is not None
    assert ratings.scale.levels == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert ratings.item_table is not None
    assert ratings.item_table.rows() == [
        (10, "Toy Story (1995)", 1995, "Animation|Comedy"),
        (20, "Misérables, Les (1995)", 1995, "Animation|Comedy"),
        (30, "unknown", None, None),
    ]
    assert ratings.user_table is not None
    assert ratings.user_table.columns == ["user", "age", "gender", "occupation"]
    assert ratings.user_table.row(1) == (2, 53, "F", "other")
    assert ratings.report is not None
    assert ratings.report.notes == (f"fetched from {tiny.url}",)


def test_an_interrupted_download_of_an_archive_leaves_no_file(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    maker.tricks = [cut_after(400)]
    with pytest.raises(FetchError, match=r"tiny: http://127.*the transfer failed"):
        get(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert get(tiny, tmp_path).is_dir()


def test_a_truncated_archive_without_a_length_is_detected(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    maker.tricks = [no_length]
    assert get(tiny, tmp_path).is_dir()


def broken_zip() -> bytes:
    at = ARCHIVE.index(b"u.data") + 20
    return ARCHIVE[:at] + bytes(b ^ 255 for b in ARCHIVE[at : at + 10]) + ARCHIVE[at + 10 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (broken_zip(), "not a usable zip archive.*the download was discarded; fetch it again"),
        (ARCHIVE[:-200], "not a usable zip archive"),
        (b"", "not a usable zip archive"),
        (b"<!DOCTYPE html><title>Log in</title>", "it is a web page"),
        (zipped({"ml-tiny/u.data": U_DATA}), "no member.*u.item"),
        (zipped({"other/u.data": U_DATA}), "no member.*ml-tiny/u.data"),
    ],
)
def test_a_damaged_or_foreign_archive_leaves_no_file(
    tiny: Dataset, maker: Maker, tmp_path: Path, content: bytes, message: str
) -> None:
    maker.files["tiny.zip"] = content
    with pytest.raises(FetchError, match=message):
        get(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []
    maker.files["tiny.zip"] = ARCHIVE
    assert get(tiny, tmp_path).is_dir()


def test_a_length_shorter_than_the_archive_is_detected(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    maker.tricks = [too_short_a_length]
    with pytest.raises(FetchError, match=r"not a usable zip archive"):
        get(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def with_file(name: str, content: str) -> bytes:
    members = {"u.data": U_DATA, "u.item": U_ITEM.encode("latin-1"), "u.user": U_USER, name: content}
    return zipped({f"ml-tiny/{key}": value for key, value in members.items()})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "u.data",
            U_DATA + "3\t10\t4\t104\n",
            "the data has 5 ratings, 3 users, 3 items, but the published counts are 4 rat",
        ),
        ("u.data", U_DATA.replace("3\t30", "2\t30"), "2 users"),
        ("u.data", U_DATA.replace("\t5\t", "\t6\t"), "a rating of 6, which is not on its rating scale"),
        ("u.data", U_DATA.replace("\t5\t", "\tfive\t"), "ratings.tsv is not in the expected layout"),
        ("u.data", U_DATA + "3\t10", "missing fields"),
        ("u.data", "user item rating time\n" + U_DATA, "ratings.tsv is not in the expected layout"),
        ("u.data", "", "not in the expected layout|0 ratings"),
        ("u.item", "10,Toy Story\n", "not in the expected layout"),
        ("u.user", "1|old|M|technician|85711\n", "not in the expected layout"),
    ],
)
def test_wrong_content_is_rejected(
    tiny: Dataset, maker: Maker, tmp_path: Path, name: str, content: str, message: str
) -> None:
    maker.files["tiny.zip"] = with_file(name, content)
    with pytest.raises(FetchError, match=message):
        get(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_updated_data_set_may_have_other_counts(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    maker.files["tiny.zip"] = with_file("u.data", U_DATA + "3\t10\t4\t104\n")
    assert len(load_movielens(replace(tiny, is_updated=True), folder=tmp_path)) == 5


def test_a_known_sha256_must_match(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"differ from the published"):
        get(replace(tiny, ratings_sha256="0" * 64), tmp_path)
    assert get(replace(tiny, ratings_sha256=hashlib.sha256(U_DATA.encode()).hexdigest()), tmp_path).is_dir()


@pytest.mark.parametrize("spelling", ["{}  tiny.zip\n", "MD5 (tiny.zip) = {}\n"])
def test_the_published_md5_is_compared(tiny: Dataset, maker: Maker, tmp_path: Path, spelling: str) -> None:
    digest = hashlib.md5(ARCHIVE).hexdigest()
    maker.files["tiny.zip.md5"] = spelling.format("0" * 32).encode()
    with pytest.raises(FetchError, match=r"the download does not have the published md5 0{32}"):
        get(replace(tiny, archive_md5=digest), tmp_path)  # the MD5 next to the archive has priority
    assert list(tmp_path.iterdir()) == []
    maker.files["tiny.zip.md5"] = spelling.format(digest).encode()
    home = get(tiny, tmp_path)
    assert json.loads((home / "source.json").read_text())["archive_md5"] == digest


def test_the_recorded_md5_is_used_if_none_is_published(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"md5 f{32}"):
        get(replace(tiny, archive_md5="f" * 32), tmp_path)


def test_a_missing_archive_and_a_rejected_connection_give_advice(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    maker.files.clear()
    with pytest.raises(
        FetchError, match=r"tiny: http://127.* responded with 404 Not Found; the publisher may have moved"
    ):
        get(tiny, tmp_path)
    with pytest.raises(FetchError, match=r"cannot connect .*check the network and try again"):
        get(replace(tiny, url=f"http://127.0.0.1:{unused_port()}/tiny.zip"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# the cache


@pytest.mark.parametrize("name", ["ratings.tsv", "items.csv"])
def test_a_changed_cached_file_is_detected(tiny: Dataset, tmp_path: Path, name: str) -> None:
    home = get(tiny, tmp_path)
    with (home / name).open("a") as file:
        file.write("9\t9\t9\t9\n")
    with pytest.raises(FetchError, match=rf"{name} has changed since it was fetched.*remove {home}"):
        load_movielens(tiny, folder=tmp_path)


@pytest.mark.parametrize("harm", ["{", "[]", '{"source": "x"}', ""])
def test_a_cache_without_its_source_file_is_detected(tiny: Dataset, tmp_path: Path, harm: str) -> None:
    home = get(tiny, tmp_path)
    (home / "source.json").write_text(harm)
    with pytest.raises(FetchError, match=r"not a complete data set.*remove"):
        get(tiny, tmp_path)


def test_a_missing_cached_file_is_detected(tiny: Dataset, tmp_path: Path) -> None:
    (get(tiny, tmp_path) / "items.csv").unlink()
    with pytest.raises(FetchError, match=r"not a complete data set.*items.csv"):
        get(tiny, tmp_path)


def test_an_unwritable_cache_is_reported(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FetchError, match=r"cannot write to .*COFACTOR_CACHE"):
        get(tiny, tmp_path / "file" / "cache")


def test_concurrent_fetches_do_not_conflict(tiny: Dataset, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        homes = list(pool.map(lambda _: get(tiny, tmp_path), range(8)))
    assert set(homes) == {tmp_path / "tiny"}
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]
    assert len(load_movielens(tiny, folder=tmp_path)) == 4


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Dataset) -> None:
    monkeypatch.setenv("COFACTOR_CACHE", "")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_directory() == tmp_path / "xdg" / "cofactor"
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        assert cache_directory() == Path.home() / ".cache" / "cofactor"
    assert cache_directory() == platformdirs.user_cache_path("cofactor", appauthor=False)
    monkeypatch.setenv("COFACTOR_CACHE", str(tmp_path / "own"))
    assert fetch(tiny) == tmp_path / "own" / "datasets" / "tiny"


def test_cofactor_data_has_priority(
    tiny: Dataset, maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(tiny, tmp_path / "cache")
    n_requests = len(maker.requests)
    own = tmp_path / "own" / "ml-tiny"
    own.mkdir(parents=True)
    (own / "u.data").write_text(U_DATA)
    (own / "u.item").write_text(U_ITEM.replace("Toy Story", "Toy"), encoding="utf-8")
    (own / "u.user").write_text(U_USER)
    monkeypatch.setenv("COFACTOR_DATA", str(tmp_path / "own"))
    ratings = load_movielens(tiny, folder=tmp_path / "cache")
    assert ratings.titles is not None
    assert ratings.titles[0] == "Toy (1995)"
    assert ratings.titles[1] == "Misérables, Les (1995)"  # UTF-8 is read as well
    assert ratings.report is not None
    assert ratings.report.notes == (f"fetched from {own}",)
    assert len(maker.requests) == n_requests
    (own / "u.user").unlink()
    with pytest.raises(FetchError, match=r"u.user is missing"):
        get(tiny, tmp_path / "other")
    monkeypatch.setenv("COFACTOR_DATA", str(tmp_path / "empty"))
    assert get(tiny, tmp_path / "third").is_dir()
    assert len(maker.requests) > n_requests


def test_unknown_names_list_the_known_names() -> None:
    with pytest.raises(FetchError, match=r"unknown data set name 'movielens'; available: movielens-100k"):
        fetch("movielens")
    with pytest.raises(FetchError, match=r"unknown version '2k' of MovieLens; available: 100k, "):
        load_movielens("2k")


# the mirror: a wheel, by a real pip from a folder


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "10\tToy Story\t1995\tAnimation Comedy\n20\tMisérables, Les\t1995\tAnimation Comedy\n"
    "30\tunkonwn\tunkonwn\tunknown\n"
)
USER_TABLE = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n" + U_USER.replace("|", "\t")


@pytest.fixture
def mirrored(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Return `tiny` with a closed port as its source, and a wheel in a folder that pip is configured to use."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = "tinymirror-1.0.dist-info"
    files = {
        "tinymirror/data/ml-100k.inter": INTER,
        "tinymirror/data/ml-100k.item": ITEM,
        "tinymirror/data/ml-100k.user": USER_TABLE,
        "tinymirror/__init__.py": "raise SystemExit('never imported')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tinymirror\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    (wheels / "tinymirror-1.0-py3-none-any.whl").write_bytes(zipped(files))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    mirror = Mirror("tinymirror==1.0", "tinymirror/data", movielens.RECBOLE)
    return replace(tiny, url=f"http://127.0.0.1:{unused_port()}/tiny.zip", mirror=mirror)


def test_the_mirror_gives_the_same_files(tiny: Dataset, mirrored: Dataset, tmp_path: Path) -> None:
    theirs, ours = get(tiny, tmp_path / "maker"), get(mirrored, tmp_path / "mirror")
    names = sorted(path.name for path in theirs.iterdir())
    assert names == sorted(path.name for path in ours.iterdir())
    for name in set(names) - {"source.json"}:
        assert (theirs / name).read_bytes() == (ours / name).read_bytes()
    assert json.loads((ours / "source.json").read_text())["source"] == "tinymirror==1.0 on PyPI, tinymirror/data"


def test_wrong_content_at_the_source_falls_back_to_the_mirror(mirrored: Dataset, maker: Maker, tmp_path: Path) -> None:
    maker.files["tiny.zip"] = b"<html>gone</html>"
    seen: list[Progress] = []
    home = fetch(replace(mirrored, url=f"{maker.url}/tiny.zip"), folder=tmp_path / "cache", on_progress=seen.append)
    assert (home / "ratings.tsv").read_text() == U_DATA
    assert any("pip download tinymirror==1.0" in step.step for step in seen)


def test_if_both_fail_both_reasons_are_reported(mirrored: Dataset, tmp_path: Path) -> None:
    missing = replace(mirrored, mirror=Mirror("nosuchmirror==1.0", "x", movielens.RECBOLE))
    with pytest.raises(
        FetchError, match=r"cannot connect.*; the mirror also failed: pip download nosuchmirror==1.0 fail"
    ):
        get(missing, tmp_path / "cache")
    changed = replace(mirrored, mirror=Mirror("tinymirror==1.0", "tinymirror/data", movielens.RECBOLE, "0" * 64))
    with pytest.raises(FetchError, match=r"does not have the recorded sha256"):
        get(changed, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


# other layouts


def test_colons_as_in_1m_and_10m(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    ratings = "1::1193::5::978300760\n1::661::3.5::978302109\n2::1193::0.5::978298413\n"
    movies = "661::Cité: Fin::de (1996)::Animation|Children's\n1193::Cuckoo's Nest (1975)::Drama\n"
    users = "1::F::1::10::48067\n2::M::56::16::70072\n"
    members = {"ratings.dat": ratings, "movies.dat": movies.encode("latin-1"), "users.dat": users}
    maker.files["tiny.zip"] = zipped({f"ml-x/{name}": content for name, content in members.items()})
    like_1m = replace(
        tiny,
        folder="ml-x",
        layout=movielens.DAT_WITH_USERS,
        ratings=3,
        users=2,
        items=2,
        rating_levels=DATASETS["movielens-10m"].rating_levels,
    )
    loaded = load_movielens(like_1m, folder=tmp_path)
    assert loaded.frame().rows() == [
        (1, 661, 3.5, 978302109),
        (1, 1193, 5.0, 978300760),
        (2, 1193, 0.5, 978298413),
    ]
    assert loaded.item_table is not None
    assert loaded.item_table.rows() == [
        (661, "Cité: Fin::de (1996)", 1996, "Animation|Children's"),
        (1193, "Cuckoo's Nest (1975)", 1975, "Drama"),
    ]
    assert loaded.user_table is not None
    assert loaded.user_table.rows() == [(1, 1, "F", "K-12 student"), (2, 56, "M", "self-employed")]
    like_10m = load_movielens(replace(like_1m, name="ten", layout=movielens.DAT), folder=tmp_path)
    assert like_10m.user_table is None


def test_commas_as_in_20m_and_later(tiny: Dataset, maker: Maker, tmp_path: Path) -> None:
    ratings = "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,11,0.5,1112484676\n7,11,5.0,1112484819\n"
    movies = (
        "movieId,title,genres\n"
        '2,"American President, The (1995)",Comedy|Drama|Romance\n'
        '11,"The ""Great"" Show (2006\u20132007) ",(no genres listed)\n'
        "99,Never Rated,Drama\n"
    )
    members: dict[str, bytes | str] = {"ratings.csv": ratings, "movies.csv": movies, "tags.csv": "x"}
    maker.files["tiny.zip"] = zipped({f"ml-x/{name}": content for name, content in members.items()})
    levels = DATASETS["movielens-20m"].rating_levels
    like_20m = replace(tiny, folder="ml-x", layout=movielens.CSV, ratings=3, users=2, items=2, rating_levels=levels)
    loaded = load_movielens(like_20m, folder=tmp_path)
    assert (tmp_path / "tiny" / "ratings.csv").read_text() == ratings
    assert loaded.frame().rows() == [(1, 2, 3.5, 1112486027), (1, 11, 0.5, 1112484676), (7, 11, 5.0, 1112484819)]
    assert loaded.item_table is not None
    assert loaded.item_table.rows() == [
        (2, "American President, The (1995)", 1995, "Comedy|Drama|Romance"),
        (11, 'The "Great" Show (2006\u20132007)', 2006, None),
    ]
    assert loaded.user_table is None


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_data_set_is_complete(name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.name == name
    assert dataset.url.startswith("https://files.grouplens.org/datasets/movielens/ml-")
    assert len(dataset.rating_levels) in (5, 10)
    assert min(dataset.ratings, dataset.users, dataset.items) > 0
    assert dataset.archive_md5 is None or re.fullmatch("[0-9a-f]{32}", dataset.archive_md5)
    assert "research" in dataset.terms
    assert "Harper" in dataset.citation


def test_the_real_movielens_100k() -> None:
    """The source is any that works on this machine; the cache makes later runs fast."""
    ratings = load_movielens("100k")
    home = fetch("movielens-100k")
    digest = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
    assert hashlib.sha256((home / "ratings.tsv").read_bytes()).hexdigest() == digest
    assert (home / "ratings.tsv").read_bytes().startswith(b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    assert (len(ratings), ratings.n_users, ratings.n_items) == (100_000, 943, 1_682)
    items, users = ratings.item_table, ratings.user_table
    assert items is not None
    assert users is not None
    assert items.row(0) == (1, "Toy Story (1995)", 1995, "Animation|Children's|Comedy")
    assert items.row(266) == (267, "unknown", None, None)
    assert items.row(1411)[1:3] == ("Land Before Time III: The Time of the Great Giving (1995) (V)", 1995)
    assert items["title"].null_count() == 0
    assert items["year"].null_count() == 1
    assert items["genres"].null_count() == 2
    assert users.row(0) == (1, 24, "M", "technician")
    assert sum(users.null_count().row(0)) == 0
