"""Text files as bytes: unpacked, line by line, counted; the errors of reading made clear."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from cofactor.errors import DataError

__all__ = ["Survey", "TextFile", "existing_file", "open_text", "unreadable"]

_BLOCK = 1 << 18
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Survey:
    """What the bytes of a text file hold, to set against what a parser made of it.

    Attributes:

        lines, separators: how many.
        trailing_blank: blank lines at the end.
        quotes, nuls: whether there are any.
        quotes_fit: every quote opens a field, closes a field, or is doubled within a quoted field.
        lone_returns: whether a CR stands without its LF.
    """

    lines: int
    separators: int
    trailing_blank: int
    quotes: bool
    quotes_fit: bool
    nuls: bool
    lone_returns: bool


class _Quotes:
    """Checks block by block that quotes stand only at the ends of fields, or doubled within quoted fields.

    A quote after an even number of quotes opens a field: it needs a separator or a line end before it. The others
    close a field: they need a separator or a line end behind them. The quotes of a doubled pair stand side by side.
    """

    def __init__(self, separator: str):
        ends = np.zeros(256, bool)
        ends[[ord(separator), ord('"'), ord("\n")]] = True
        self._before, self._behind = ends, ends.copy()
        self._behind[ord("\r")] = True  # where a CR stands alone, the whole file is read row by row
        self._last: int | None = None
        self._fit = True
        self.count = 0

    @property
    def fit(self) -> bool:
        """Whether every quote so far has its place, and none is open."""
        return self._fit and self.count % 2 == 0

    def add(self, block: bytes) -> None:
        """Look at the next block, which has at least one byte."""
        codes = np.frombuffer(block, np.uint8)
        start = 3 if self._last is None and block.startswith(_BOM) else 0
        last = ord("\n") if self._last is None else self._last
        if last == ord('"') and self.count % 2 == 0:  # a closing quote was the last byte of the block before
            self._fit &= bool(self._behind[codes[0]])
        if b'"' in block:
            places = np.flatnonzero(codes == ord('"'))
            opening, closing = places[self.count % 2 :: 2], places[1 - self.count % 2 :: 2]
            before = np.where(opening > start, codes[opening - 1], last)
            behind = codes[closing[closing + 1 < len(codes)] + 1]
            self._fit &= bool(self._before[before].all() and self._behind[behind].all())
            self.count += len(places)
        self._last = block[-1]


@dataclass(frozen=True)
class TextFile:
    """A text file: on disk as it is, or unpacked in `data`."""

    path: Path
    data: bytes | None = None

    @property
    def for_polars(self) -> Path | bytes:
        """What polars is to read: the path, or the unpacked bytes."""
        return self.path.absolute() if self.data is None else self.data  # polars expands a leading ~

    def head(self, size: int = 1 << 16) -> bytes:
        """The first bytes, without a byte order mark of UTF-8."""
        with self._open() as file:
            return file.read(size).removeprefix(_BOM)

    def lines(self) -> Iterator[bytes]:
        """Every line without its end (`\\n` or `\\r\\n`), the first one without a byte order mark."""
        with self._open() as file:
            for number, line in enumerate(file):
                start = 3 if number == 0 and line.startswith(_BOM) else 0
                yield line[start:].removesuffix(b"\n").removesuffix(b"\r")

    def texts(self, numbers: Sequence[int]) -> dict[int, str]:
        """The lines of these numbers (from 1)."""
        wanted, last = set(numbers), max(numbers, default=0)
        numbered = enumerate(islice(self.lines(), last), start=1)
        return {at: line.decode("utf-8", "backslashreplace") for at, line in numbered if at in wanted}

    def survey(self, separator: str) -> Survey:
        """One pass over the bytes, about a quarter of a second per gigabyte."""
        newlines = separators = returns = ends_of_two = 0
        nuls = False
        quotes = _Quotes(separator)
        tail = b""
        with self._open() as file:
            while block := file.read(_BLOCK):
                codes = np.frombuffer(block, np.uint8)
                newlines += int(np.count_nonzero(codes == ord("\n")))
                separators += int(np.count_nonzero(codes == ord(separator)))
                quotes.add(block)
                nuls = nuls or b"\0" in block
                if b"\r" in block or tail.endswith(b"\r"):
                    returns += block.count(b"\r")
                    ends_of_two += (tail[-1:] + block).count(b"\r\n")
                tail = block if len(block) == _BLOCK else (tail + block)[-_BLOCK:]
        unended = bool(tail) and not tail.endswith(b"\n")
        ends = tail.replace(b"\r\n", b"\n")
        blank = len(ends) - len(ends.rstrip(b"\n"))
        return Survey(
            newlines + unended, separators, max(blank - 1, 0), quotes.count > 0, quotes.fit, nuls, returns > ends_of_two
        )

    def notes(self) -> tuple[str, ...]:
        """What is odd about the file without harming it."""
        with self._open() as file:
            file.seek(-1, io.SEEK_END)
            if file.read(1) != b"\n":
                return ("the last line does not end in a newline; it was read as it stands",)
        return ()

    def _open(self) -> io.BufferedIOBase:
        return self.path.open("rb") if self.data is None else io.BytesIO(self.data)


@contextmanager
def unreadable(name: str) -> Iterator[None]:
    """Turns what readers raise on damaged, vanished or forbidden files into one clear DataError."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{name}: no permission to read it") from error
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{name} cannot be read: {reason}") from error


def existing_file(path: Path) -> Path:
    """The path itself. Raises DataError when nothing is there, or a folder, a pipe, or an empty file."""
    with unreadable(str(path)):
        if not _is_utf8(path):
            raise DataError(f"{path}: the name is not UTF-8, and the readers take no other: rename the file")
        if path.is_dir():
            raise DataError(f"{path} is a folder; name one file")
        if not path.exists():
            raise DataError(f"{path}: there is no such file")
        if not path.is_file():  # a pipe can be read only once
            raise DataError(f"{path} is no regular file; write its content to one first")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
    return path


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def open_text(path: Path) -> TextFile:
    """The text in a file, unpacked when it is gzip or zstd (told by its first bytes, not by its name).

    Raises DataError for damaged archives and for what is no UTF-8 text by the look of its beginning.
    """
    with unreadable(str(path)):
        with path.open("rb") as file:
            magic = file.read(4)
        if magic.startswith(b"\x1f\x8b"):
            text = TextFile(path, _ungzipped(path))
        elif magic == b"\x28\xb5\x2f\xfd":
            text = TextFile(path, _unzstd(path))
        else:
            text = TextFile(path)
        head = text.head()
    if not head:
        raise DataError(f"{path} is empty")
    _refuse_non_text(path, head)
    return text


def _ungzipped(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip file is damaged or cut short ({error})") from error


def _unzstd(path: Path) -> bytes:
    """By polars, as a CSV of one column: Python has no zstd of its own before 3.14."""
    lines = pl.scan_csv(
        path.absolute(), has_header=False, separator="\x01", quote_char=None, schema={"line": pl.String}, glob=False
    )
    try:
        joined: str = lines.select(pl.col("line").fill_null("").str.join("\n")).collect().item()
    except OSError as error:
        raise DataError(f"{path}: the zstd file is damaged or cut short ({error})") from error
    except pl.exceptions.ComputeError as error:
        raise DataError(f"{path}: its content is not UTF-8 text; unpack it (zstd -d) to learn in which line") from error
    return joined.encode() + b"\n"


def _refuse_non_text(path: Path, head: bytes) -> None:
    nuls = head.count(b"\0")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or nuls > 0.2 * len(head):
        even = head[0::2].count(b"\0")
        utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff")) or even in (0, nuls)
        if utf16:
            at = 0 if head[0] > 0x7F else head.index(0)
            raise DataError(
                f"{path} is UTF-16, not UTF-8 (byte {at}); convert it: "
                f"iconv -f utf-16 -t utf-8 {path.name} > converted-{path.name}"
            )
    if nuls > 8 and nuls > 0.002 * len(head):
        first = head.index(0)
        raise DataError(f"{path} is no text but binary data (byte {first} is NUL)")
    if b"\r" in head and b"\n" not in head and head.rstrip(b"\r").count(b"\r"):
        raise DataError(
            f"{path}: its lines end in CR alone; convert it: tr '\\r' '\\n' < {path.name} > converted-{path.name}"
        )
