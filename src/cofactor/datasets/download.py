"""One file over HTTP onto the disk: resumed when interrupted, whole or not at all; zips opened with care."""

from __future__ import annotations

import hashlib
import http.client
import re
import secrets
import shutil
import ssl
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cofactor.errors import FetchError

__all__ = ["OnProgress", "Progress", "Timeouts", "download", "extract", "file_hash", "published_md5"]

BLOCK = 1 << 18
ATTEMPTS = 5


@dataclass(frozen=True)
class Progress:
    """How far a fetch is: what it does now, the bytes done and, where known, the bytes in all."""

    what: str
    done: int = 0
    total: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection, for the next bytes, and between two attempts."""

    connect: float = 5.0
    read: float = 30.0
    pause: float = 0.5


def download(
    url: str,
    target: Path,
    *,
    part: Path | None = None,
    timeouts: Timeouts | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """The file at `url` as `target`, which exists only once it is whole.

    Bytes go to `part` (`<target>.part` unless given, on the same disk), which stays when the transfer breaks:
    the next attempt, in this call or a later one, asks for the rest (a Range request), and starts over where
    the server has no such thing. An attempt that brings no new byte ends the call. Raises FetchError.
    """
    timeouts = timeouts or Timeouts()
    with _claimed(part or Path(f"{target}.part")) as part:
        validator = ""  # what the server calls this version of the file: parts of two are never mixed
        for attempt in range(ATTEMPTS):
            before = part.stat().st_size
            try:
                validator = _transfer(url, part, validator, timeouts, on_progress)
            except _BrokenError as broken:
                validator = broken.validator
                if attempt == ATTEMPTS - 1 or part.stat().st_size <= before:
                    raise FetchError(f"{url}: {broken}; fetch again to go on from there") from broken
                time.sleep(timeouts.pause)
            else:
                part.replace(target)
                return target
    raise AssertionError("unreachable: the last attempt returns or raises")


def published_md5(url: str, *, timeouts: Timeouts | None = None) -> str | None:
    """The md5 that the maker keeps beside the archive (`<url>.md5`), in hexadecimal; None where there is none."""
    try:
        with _open(urllib.request.Request(url + ".md5"), timeouts or Timeouts()) as answer:
            text = answer.read(1000).decode("ascii", errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    return found.group().lower() if found else None


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file's bytes. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """The members of a zip named by the keys, as files in `folder` named by the values.

    Nothing else is written, so no member can land outside. Raises FetchError for what is not a zip, is
    damaged (every byte taken is checked against its CRC) or lacks one of the members.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            for member, name in members.items():
                with opened.open(member) as source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
    except KeyError as error:
        raise FetchError(f"{archive.name} has no member {error.args[0]!r}: it is not the archive expected") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise FetchError(f"{archive.name} is not a usable zip archive: {_what_it_is(archive, error)}") from error


def _what_it_is(archive: Path, error: Exception) -> str:
    with archive.open("rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page came instead (a proxy or a log-in page?); open the address in a browser to see it"
    return f"{error}; nothing of it was kept, fetch again"


class _BrokenError(Exception):
    """A transfer that stopped before its end and may be resumed."""

    def __init__(self, message: str, validator: str = ""):
        super().__init__(message)
        self.validator = validator


def _transfer(url: str, part: Path, validator: str, timeouts: Timeouts, on_progress: OnProgress | None) -> str:
    """One request that appends to `part`; returns the server's validator, raises _BrokenError when cut."""
    have = part.stat().st_size
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and validator:
        headers["If-Range"] = validator
    try:
        with _open(urllib.request.Request(url, headers=headers), timeouts) as answer:
            validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            validator = "" if validator.startswith("W/") else validator
            have = have if _continues(answer, have) else 0
            _append(answer, part, have, Progress(f"downloading {url}"), on_progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing beyond what we have, or another file: begin again
            part.write_bytes(b"")
            return _transfer(url, part, "", timeouts, on_progress)
        raise FetchError(
            f"{url}: the server answered {error.code} {error.reason}; "
            "the maker may have moved the file: try later, or put it in place by hand"
        ) from error
    except urllib.error.URLError as error:
        raise FetchError(f"{url}: cannot connect ({error.reason}); check the network and fetch again") from error
    except (OSError, http.client.HTTPException) as error:  # a timeout while reading is an OSError
        if have == 0 and part.stat().st_size == 0:
            raise FetchError(f"{url}: {_why(error, timeouts)}; check the network and fetch again") from error
        raise _BrokenError(_why(error, timeouts), validator) from error
    return validator


def _append(answer: Any, part: Path, have: int, progress: Progress, on_progress: OnProgress | None) -> None:
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length is not None else None
    with part.open("r+b") as file:
        file.seek(have)
        file.truncate()
        while block := answer.read1(BLOCK):
            file.write(block)
            have += len(block)
            if on_progress:
                on_progress(Progress(progress.what, have, total))
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _continues(answer: Any, have: int) -> bool:
    """True when the server sends exactly the rest; else it sends the whole file again."""
    if answer.status != 206:
        return False
    start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if start is None or int(start.group(1)) != have:
        raise http.client.HTTPException("the server answered with another part than was asked for")
    return True


def _why(error: Exception, timeouts: Timeouts) -> str:
    if isinstance(error, TimeoutError):
        return f"the server sent nothing for {timeouts.read:g} s"
    if isinstance(error, http.client.IncompleteRead) and error.expected:
        return f"the transfer stopped {error.expected:,} bytes before its end"
    return f"the transfer broke ({error or type(error).__name__})"


@contextmanager
def _claimed(shared: Path) -> Iterator[Path]:
    """The unfinished file under a name of our own while we write, so that two fetches never share it."""
    own = Path(f"{shared}.{secrets.token_hex(4)}")
    try:
        shared.replace(own)
    except FileNotFoundError:
        own.touch()
    try:
        yield own
    finally:
        if own.exists() and own.stat().st_size:
            own.replace(shared)
        else:
            own.unlink(missing_ok=True)


def _open(request: urllib.request.Request, timeouts: Timeouts) -> Any:
    request.add_header("User-Agent", "cofactor")
    opener = urllib.request.build_opener(_HTTPHandler(timeouts.read), _HTTPSHandler(timeouts.read))
    return opener.open(request, timeout=timeouts.connect)


def _then_wait(connection: type[http.client.HTTPConnection], seconds: float) -> Any:
    """A connection class whose time-out holds for connecting; afterwards `seconds` for every read."""

    class Patient(connection):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(seconds)

    return Patient


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_then_wait(http.client.HTTPConnection, self.seconds), req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        return self.do_open(_then_wait(http.client.HTTPSConnection, self.seconds), req, context=context)
