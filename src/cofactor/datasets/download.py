"""Resumable, atomic downloads over HTTP, and extraction of zip archives.

A target file exists only once it is complete; an interrupted transfer is resumed.
"""

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
"""Bytes per read."""
ATTEMPTS = 5
"""Maximum number of requests of one download."""


@dataclass(frozen=True)
class Progress:
    """Progress of a fetch: the argument of `on_progress`.

    Attributes
    ----------
    what : str
        Current step.
    done : int
        Number of bytes transferred.
    total : int or None
        Total number of bytes; None if unknown.
    """

    what: str
    done: int = 0
    total: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of a download, in seconds.

    Attributes
    ----------
    connect : float
        Timeout for establishing a connection.
    read : float
        Timeout for each read.
    pause : float
        Pause between two attempts.
    """

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
    """Download a file, resuming earlier partial downloads.

    Parameters
    ----------
    url : str
        Address of the file.
    target : Path
        Path of the downloaded file, which appears only when the download is complete.
    part : Path, optional
        Path of the partial file, on the same disk as `target`; `<target>.part` by default.
    timeouts : Timeouts, optional
        Timeouts; the defaults of `Timeouts` if None.
    on_progress : callable, optional
        Called with a `Progress` after each read.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    FetchError
        If the server cannot be reached, responds with an error, or the transfer fails repeatedly.

    Notes
    -----
    The partial file remains after a failed transfer. The next attempt, in this call or a later one, requests the
    remaining bytes with a Range header, and starts over if the server does not support it. The call fails after an
    attempt that adds no bytes, and after 5 attempts.
    """
    timeouts = timeouts or Timeouts()
    with _claimed(part or Path(f"{target}.part")) as part:
        validator = ""  # the ETag or modification date of the file, so that parts of two versions are never mixed
        for attempt in range(ATTEMPTS):
            previous_size = part.stat().st_size
            try:
                validator = _transfer(url, part, validator, timeouts, on_progress)
            except _TransferError as error:
                validator = error.validator
                if attempt == ATTEMPTS - 1 or part.stat().st_size <= previous_size:
                    raise FetchError(f"{url}: {error}; fetch again to resume the download") from error
                time.sleep(timeouts.pause)
            else:
                part.replace(target)
                return target
    raise AssertionError("unreachable: the last attempt returns or raises")


def published_md5(url: str, *, timeouts: Timeouts | None = None) -> str | None:
    """Read the published MD5 of a file from `<url>.md5`.

    Parameters
    ----------
    url : str
        Address of the file.
    timeouts : Timeouts, optional
        Timeouts; the defaults of `Timeouts` if None.

    Returns
    -------
    str or None
        The MD5 in lowercase hexadecimal; None if it is not available.
    """
    try:
        with _open(urllib.request.Request(url + ".md5"), timeouts or Timeouts()) as response:
            text = response.read(1000).decode("ascii", errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    return match.group().lower() if match else None


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hash the content of a file.

    Parameters
    ----------
    path : Path
        Path of the file.
    algorithm : str, default "sha256"
        Name of a `hashlib` algorithm.

    Returns
    -------
    str
        The digest in hexadecimal.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Extract selected members of a zip archive.

    Only the given file names are written, so that no member can be written outside of `folder`.

    Parameters
    ----------
    archive : Path
        Path of the zip archive.
    members : mapping of str to str
        Names of members, and the names of the extracted files.
    folder : Path
        Folder of the extracted files; it is created if necessary.

    Raises
    ------
    FetchError
        If the file is not a zip archive, is damaged (CRC mismatch), or lacks a member.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            for member, name in members.items():
                with zipped.open(member) as source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
    except KeyError as error:
        raise FetchError(f"{archive.name} has no member {error.args[0]!r}: it is not the expected archive") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise FetchError(f"{archive.name} is not a usable zip archive: {_zip_problem(archive, error)}") from error


def _zip_problem(archive: Path, error: Exception) -> str:
    """Return the reason and the remedy when an archive cannot be read."""
    with archive.open("rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps of a proxy or a login form; open the URL in a browser to see it"
    return f"{error}; the download was discarded, fetch again"


class _TransferError(Exception):
    """A transfer that was interrupted and may be resumed."""

    def __init__(self, message: str, validator: str = ""):
        super().__init__(message)
        self.validator = validator


def _transfer(url: str, part: Path, validator: str, timeouts: Timeouts, on_progress: OnProgress | None) -> str:
    """Send a request and append the response to `part`; return the validator, or raise _TransferError."""
    size = part.stat().st_size
    headers = {"Range": f"bytes={size}-"} if size else {}
    if size and validator:
        headers["If-Range"] = validator
    try:
        with _open(urllib.request.Request(url, headers=headers), timeouts) as response:
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            validator = "" if validator.startswith("W/") else validator
            size = size if _is_continuation(response, size) else 0
            _append(response, part, size, Progress(f"downloading {url}"), on_progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and size:  # the partial file is complete or of another version: start over
            part.write_bytes(b"")
            return _transfer(url, part, "", timeouts, on_progress)
        raise FetchError(
            f"{url}: the server responded with {error.code} {error.reason}; "
            "the publisher may have moved the file: try later, or put the file in place by hand"
        ) from error
    except urllib.error.URLError as error:
        raise FetchError(f"{url}: cannot connect ({error.reason}); check the network and fetch again") from error
    except (OSError, http.client.HTTPException) as error:  # a timeout while reading is an OSError
        if size == 0 and part.stat().st_size == 0:
            raise FetchError(f"{url}: {_reason(error, timeouts)}; check the network and fetch again") from error
        raise _TransferError(_reason(error, timeouts), validator) from error
    return validator


def _append(response: Any, part: Path, size: int, progress: Progress, on_progress: OnProgress | None) -> None:
    """Write the response to `part` after its first `size` bytes."""
    length = response.headers.get("Content-Length")
    total = size + int(length) if length is not None else None
    with part.open("r+b") as file:
        file.seek(size)
        file.truncate()
        while block := response.read1(BLOCK):
            file.write(block)
            size += len(block)
            if on_progress:
                on_progress(Progress(progress.what, size, total))
    if total is not None and size < total:
        raise http.client.IncompleteRead(b"", total - size)


def _is_continuation(response: Any, size: int) -> bool:
    """Return whether the response has the bytes from `size` on, rather than the whole file."""
    if response.status != 206:
        return False
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if start is None or int(start.group(1)) != size:
        raise http.client.HTTPException("the server sent another byte range than the requested one")
    return True


def _reason(error: Exception, timeouts: Timeouts) -> str:
    """Return the reason of an interrupted transfer as text."""
    if isinstance(error, TimeoutError):
        return f"the server sent nothing for {timeouts.read:g} s"
    if isinstance(error, http.client.IncompleteRead) and error.expected:
        return f"the transfer stopped {error.expected:,} bytes before its end"
    return f"the transfer failed ({error or type(error).__name__})"


@contextmanager
def _claimed(shared: Path) -> Iterator[Path]:
    """Rename the partial file to a unique name while it is written, so that concurrent fetches never share it."""
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
    """Send a request and return the response."""
    request.add_header("User-Agent", "cofactor")
    opener = urllib.request.build_opener(_HTTPHandler(timeouts.read), _HTTPSHandler(timeouts.read))
    return opener.open(request, timeout=timeouts.connect)


def _with_read_timeout(connection: type[http.client.HTTPConnection], seconds: float) -> Any:
    """Return a connection class that uses its own timeout to connect, and `seconds` for each read."""

    class ReadTimeoutConnection(connection):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(seconds)

    return ReadTimeoutConnection


class _HTTPHandler(urllib.request.HTTPHandler):
    """HTTP handler with a separate read timeout."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_with_read_timeout(http.client.HTTPConnection, self.seconds), req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    """HTTPS handler with a separate read timeout."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        return self.do_open(_with_read_timeout(http.client.HTTPSConnection, self.seconds), req, context=context)
