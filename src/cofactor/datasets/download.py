"""Download files with pooch, hash files, and extract zip archives."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from cofactor.errors import FetchError

__all__ = ["OnProgress", "Progress", "Timeouts", "download", "extract", "file_hash", "published_md5"]

BLOCK_SIZE = 1 << 18
"""Bytes per read."""


@dataclass(frozen=True)
class Progress:
    """Progress of fetching a data set, passed to `on_progress`.

    Attributes
    ----------
    step : str
        Current step.
    done : int
        Number of bytes transferred.
    total : int or None
        Total number of bytes; None if unknown.
    """

    step: str
    done: int = 0
    total: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Timeouts:
    """Download timeouts, in seconds.

    Attributes
    ----------
    connect : float
        Timeout for establishing a connection.
    read : float
        Timeout for each read.
    """

    connect: float = 5.0
    read: float = 30.0


class _ProgressBar:
    """Progress bar with the interface that pooch requires; it reports to a callback."""

    def __init__(self, step: str, on_progress: OnProgress):
        self.step, self.on_progress = step, on_progress
        self.total = self.done = 0

    def update(self, n: int) -> None:
        """Add `n` bytes to the byte count; pooch passes the full block size even if the last block is shorter."""
        self.done = min(self.done + n, self.total) if self.total else self.done + n
        self.on_progress(Progress(self.step, self.done, self.total or None))

    def reset(self) -> None:
        """Reset the byte count to 0; pooch calls this before it adds the total at the end."""
        self.done = 0

    def close(self) -> None:
        """Do nothing: the callback detects completion when the count reaches the total."""


def download(
    url: str, target: Path | BinaryIO, *, timeouts: Timeouts | None = None, on_progress: OnProgress | None = None
) -> None:
    """Download a file, with timeouts and progress reports.

    Parameters
    ----------
    url : str
        URL of the file.
    target : Path or binary file
        Destination. After an error, it may be incomplete.
    timeouts : Timeouts, optional
        Timeouts; the defaults of `Timeouts` if None.
    on_progress : callable, optional
        Called with a `Progress` after each read.

    Raises
    ------
    FetchError
        If the server cannot be reached, responds with an error, or ends the transfer early.
    """
    from pooch import HTTPDownloader
    from requests import exceptions

    timeouts = timeouts or Timeouts()
    downloader = HTTPDownloader(
        progressbar=_ProgressBar(f"downloading {url}", on_progress) if on_progress else False,
        chunk_size=BLOCK_SIZE,
        timeout=(timeouts.connect, timeouts.read),
        headers={"User-Agent": "cofactor"},
    )
    try:
        downloader(url, str(target) if isinstance(target, Path) else target, None)
    except exceptions.HTTPError as error:
        response = error.response
        status = "an error" if response is None else f"{response.status_code} {response.reason}"
        raise FetchError(
            f"{url}: the server responded with {status}; the publisher may have moved the file: try again later, or "
            "download the file manually"
        ) from error
    except exceptions.RequestException as error:
        is_stalled = isinstance(error, exceptions.ReadTimeout) or "Read timed out" in str(error)
        if is_stalled:
            reason = f"the server sent no data for {timeouts.read:g} s"
        elif isinstance(error, exceptions.ConnectTimeout):
            reason = f"cannot connect within {timeouts.connect:g} s"
        elif isinstance(error, exceptions.ChunkedEncodingError):
            reason = f"the transfer failed ({error})"
        else:
            reason = f"cannot connect ({error})"
        raise FetchError(f"{url}: {reason}; check the network and try again") from error


def published_md5(url: str, *, timeouts: Timeouts | None = None) -> str | None:
    """Download the published MD5 checksum of a file from `<url>.md5`.

    Parameters
    ----------
    url : str
        URL of the file.
    timeouts : Timeouts, optional
        Timeouts; the defaults of `Timeouts` if None.

    Returns
    -------
    str or None
        The MD5 in lowercase hexadecimal; None if it is not available.
    """
    content = io.BytesIO()
    try:
        download(url + ".md5", content, timeouts=timeouts)
    except FetchError:
        return None
    match = re.search(r"\b[0-9a-fA-F]{32}\b", content.getvalue().decode("ascii", errors="replace"))
    return match.group().lower() if match else None


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of the content of a file.

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

    Only the given file names are written, so no member can be written outside of `folder`.

    Parameters
    ----------
    archive : Path
        Path of the zip archive.
    members : mapping of str to str
        Name of the extracted file by name of the archive member.
    folder : Path
        Folder for the extracted files; it is created if necessary.

    Raises
    ------
    FetchError
        If the file is not a zip archive, is damaged (CRC mismatch), or lacks a member.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as zip_file:
            for member, name in members.items():
                with zip_file.open(member) as source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK_SIZE)
    except KeyError as error:
        raise FetchError(f"{archive.name} has no member {error.args[0]!r}: it is not the expected archive") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise FetchError(f"{archive.name} is not a usable zip archive: {_zip_problem(archive, error)}") from error


def _zip_problem(archive: Path, error: Exception) -> str:
    """Return the reason why an archive cannot be read, and advice."""
    with archive.open("rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps from a proxy or a login form; open the URL in a browser to see it"
    return f"{error}; the download was discarded; fetch it again"
