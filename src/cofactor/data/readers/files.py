"""Text files: read, decompress and scan bytes, and convert read errors to clear messages."""

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

__all__ = ["TextFile", "TextStatistics", "open_text", "read_errors", "require_file"]

_BLOCK = 1 << 18
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TextStatistics:
    """Byte-level statistics of a text file, used to verify the result of a parser.

    Attributes
    ----------
    n_lines, n_separators : int
        Number of lines and of separators.
    n_trailing_blank : int
        Number of blank lines at the end.
    has_quotes : bool
        Whether there are any quotes.
    has_valid_quotes : bool
        Whether every quote opens a field, closes a field, or is doubled within a quoted field.
    has_nuls : bool
        Whether there are any NUL bytes.
    has_lone_cr : bool
        Whether there is a CR without a following LF.
    """

    n_lines: int
    n_separators: int
    n_trailing_blank: int
    has_quotes: bool
    has_valid_quotes: bool
    has_nuls: bool
    has_lone_cr: bool


class _QuoteChecker:
    """Blockwise check that quotes occur only at the ends of fields, or doubled within quoted fields.

    A quote after an even number of quotes opens a field, so a separator or a line end must precede it. Any other quote
    closes a field, so a separator or a line end must follow it. The two quotes of a doubled pair are adjacent.
    """

    def __init__(self, separator: str):
        is_field_end = np.zeros(256, bool)
        is_field_end[[ord(separator), ord('"'), ord("\n")]] = True
        self._before, self._after = is_field_end, is_field_end.copy()
        self._after[ord("\r")] = True  # files with a lone CR are read row by row anyway
        self._last: int | None = None
        self._valid = True
        self.count = 0

    @property
    def is_valid(self) -> bool:
        """Whether all quotes so far are valid and none is still open."""
        return self._valid and self.count % 2 == 0

    def add(self, block: bytes) -> None:
        """Check the quotes in the next block of bytes, which must not be empty."""
        codes = np.frombuffer(block, np.uint8)
        start = 3 if self._last is None and block.startswith(_BOM) else 0
        last = ord("\n") if self._last is None else self._last
        if last == ord('"') and self.count % 2 == 0:  # the previous block ended with a closing quote
            self._valid &= bool(self._after[codes[0]])
        if b'"' in block:
            positions = np.flatnonzero(codes == ord('"'))
            opening_positions, closing_positions = positions[self.count % 2 :: 2], positions[1 - self.count % 2 :: 2]
            bytes_before = np.where(opening_positions > start, codes[opening_positions - 1], last)
            bytes_after = codes[closing_positions[closing_positions + 1 < len(codes)] + 1]
            self._valid &= bool(self._before[bytes_before].all() and self._after[bytes_after].all())
            self.count += len(positions)
        self._last = block[-1]


@dataclass(frozen=True)
class TextFile:
    """Text file on disk, or its decompressed content.

    Attributes
    ----------
    path : Path
        Path of the file.
    data : bytes or None, default None
        The decompressed content; None to read the file itself.
    """

    path: Path
    data: bytes | None = None

    @property
    def polars_source(self) -> Path | bytes:
        """Input for polars: the path or the decompressed bytes."""
        return self.path.absolute() if self.data is None else self.data  # absolute, because polars expands a leading ~

    def head(self, size: int = 1 << 16) -> bytes:
        """Return the first `size` bytes of the text, without a UTF-8 byte order mark.

        Parameters
        ----------
        size : int, default 65536
            Maximum number of bytes to read.

        Returns
        -------
        bytes
            The bytes; empty for an empty file.
        """
        with self._open() as file:
            return file.read(size).removeprefix(_BOM)

    def lines(self) -> Iterator[bytes]:
        """Iterate over the lines, without line ends (`\\n` or `\\r\\n`) or a byte order mark.

        Yields
        ------
        bytes
            One line.
        """
        with self._open() as file:
            for number, line in enumerate(file):
                start = 3 if number == 0 and line.startswith(_BOM) else 0
                yield line[start:].removesuffix(b"\n").removesuffix(b"\r")

    def blocks(self, size: int, *, skip_lines: int = 0, has_quotes: bool = True) -> Iterator[bytes]:
        """Iterate over blocks of complete rows; a UTF-8 byte order mark at the beginning is skipped.

        A block ends at a line end outside of quotes and after a line that is not blank. If there is no such place, it
        grows up to 16 times the size.

        Parameters
        ----------
        size : int
            Approximate size of a block in bytes.
        skip_lines : int, default 0
            Number of lines to skip at the beginning.
        has_quotes : bool, default True
            Whether a quoted field can contain line ends.

        Yields
        ------
        bytes
            The block, which ends in a line end unless it is the last one.
        """
        with self._open() as file:
            start = file.read(len(_BOM)).removeprefix(_BOM)
            for _ in range(skip_lines):
                newline = start.find(b"\n")
                start = start[newline + 1 :] if newline >= 0 else (file.readline(), b"")[1]
            pending = start
            while data := file.read(size):
                pending += data
                end = _end_of_rows(pending, has_quotes)
                if not end and len(pending) >= 16 * size:
                    end = pending.rfind(b"\n") + 1
                if end:
                    yield pending[:end]
                    pending = pending[end:]
            if pending:
                yield pending

    def row_texts(self, line_numbers: Sequence[int]) -> dict[int, str]:
        """Return the text of the lines with the given line numbers.

        Parameters
        ----------
        line_numbers : sequence of int
            Line numbers, from 1.

        Returns
        -------
        dict of int to str
            Text by line number; {} if no lines are given.
        """
        requested, last = set(line_numbers), max(line_numbers, default=0)
        numbered_lines = enumerate(islice(self.lines(), last), start=1)
        return {
            number: line.decode("utf-8", "backslashreplace") for number, line in numbered_lines if number in requested
        }

    def statistics(self, separator: str) -> TextStatistics:
        """Count lines, separators and quotes in one pass over the bytes.

        It takes about a quarter of a second per gigabyte.

        Parameters
        ----------
        separator : str
            The field separator, one character.

        Returns
        -------
        TextStatistics
            The counts.
        """
        newlines = n_separators = n_cr = n_crlf = 0
        has_nuls = False
        quote_checker = _QuoteChecker(separator)
        tail = b""
        with self._open() as file:
            while block := file.read(_BLOCK):
                codes = np.frombuffer(block, np.uint8)
                newlines += int(np.count_nonzero(codes == ord("\n")))
                n_separators += int(np.count_nonzero(codes == ord(separator)))
                quote_checker.add(block)
                has_nuls = has_nuls or b"\0" in block
                if b"\r" in block or tail.endswith(b"\r"):
                    n_cr += block.count(b"\r")
                    n_crlf += (tail[-1:] + block).count(b"\r\n")
                tail = block if len(block) == _BLOCK else (tail + block)[-_BLOCK:]
        is_unterminated = bool(tail) and not tail.endswith(b"\n")
        normalized_tail = tail.replace(b"\r\n", b"\n")
        n_final_newlines = len(normalized_tail) - len(normalized_tail.rstrip(b"\n"))
        return TextStatistics(
            newlines + is_unterminated,
            n_separators,
            max(n_final_newlines - 1, 0),
            quote_checker.count > 0,
            quote_checker.is_valid,
            has_nuls,
            n_cr > n_crlf,
        )

    def notes(self) -> tuple[str, ...]:
        """Return load-report notes about harmless irregularities, such as a missing final newline.

        Returns
        -------
        tuple of str
            A note if the last line does not end in a newline; otherwise ().
        """
        with self._open() as file:
            file.seek(-1, io.SEEK_END)
            if file.read(1) != b"\n":
                return ("the last line does not end in a newline; it was read anyway",)
        return ()

    def _open(self) -> io.BufferedIOBase:
        return self.path.open("rb") if self.data is None else io.BytesIO(self.data)


def _end_of_rows(data: bytes, has_quotes: bool) -> int:
    """Return the position after the last line end that is outside of quotes and ends a line with text, or 0."""
    end = data.rfind(b"\n")
    quotes = data.count(b'"', 0, max(end, 0)) if has_quotes else 0
    while end > 0:
        line = data.rfind(b"\n", 0, end) + 1
        if quotes % 2 == 0 and data[line:end].strip(b" \r"):
            return end + 1
        quotes -= data.count(b'"', max(line - 1, 0), end) if has_quotes else 0
        end = line - 1
    return 0


@contextmanager
def read_errors(name: str) -> Iterator[None]:
    """Context manager that converts errors from reading damaged, missing or protected files into DataError.

    Parameters
    ----------
    name : str
        Name of the source, for error messages.

    Raises
    ------
    DataError
        For errors raised by the operating system or by polars.
    """
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{name} cannot be read: permission denied") from error
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{name} cannot be read: {reason}") from error


def require_file(path: Path) -> Path:
    """Check that a path is a non-empty regular file and return it.

    Parameters
    ----------
    path : Path
        The path.

    Returns
    -------
    Path
        The path itself.

    Raises
    ------
    DataError
        If the file does not exist, is empty, is a folder or a pipe, or has a name that is not UTF-8.
    """
    with read_errors(str(path)):
        if not _is_utf8(path):
            raise DataError(f"{path}: the file name is not valid UTF-8; rename the file")
        if path.is_dir():
            raise DataError(f"{path} is a folder; pass the path of a file")
        if not path.exists():
            raise DataError(f"{path}: there is no such file")
        if not path.is_file():  # a pipe can be read only once
            raise DataError(f"{path} is not a regular file; write its content to a file first")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
    return path


def _is_utf8(path: Path) -> bool:
    """Return whether a path can be encoded as UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def open_text(path: Path) -> TextFile:
    """Open a text file, decompressing it if it is gzip or zstd.

    The compression is recognized by the first bytes, not by the file name.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    TextFile
        The text.

    Raises
    ------
    DataError
        If a compressed file is damaged, or the beginning of the file is not UTF-8 text.
    """
    with read_errors(str(path)):
        with path.open("rb") as file:
            magic_bytes = file.read(4)
        if magic_bytes.startswith(b"\x1f\x8b"):
            text = TextFile(path, _read_gzip(path))
        elif magic_bytes == b"\x28\xb5\x2f\xfd":
            text = TextFile(path, _read_zstd(path))
        else:
            text = TextFile(path)
        head = text.head()
    if not head:
        raise DataError(f"{path} is empty")
    _require_text(path, head)
    return text


def _read_gzip(path: Path) -> bytes:
    """Return the decompressed content of a gzip file."""
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip file is damaged or truncated ({error})") from error


def _read_zstd(path: Path) -> bytes:
    """Return the decompressed content of a zstd file, using polars: Python has no zstd module before 3.14."""
    lines = pl.scan_csv(
        path.absolute(), has_header=False, separator="\x01", quote_char=None, schema={"line": pl.String}, glob=False
    )
    try:
        joined: str = lines.select(pl.col("line").fill_null("").str.join("\n")).collect().item()
    except OSError as error:
        raise DataError(f"{path}: the zstd file is damaged or truncated ({error})") from error
    except pl.exceptions.ComputeError as error:
        raise DataError(
            f"{path}: the decompressed content is not valid UTF-8; to find the invalid line, decompress the file (zstd "
            "-d) and read the result"
        ) from error
    return joined.encode() + b"\n"


def _require_text(path: Path, head: bytes) -> None:
    """Raise DataError if the first bytes are UTF-16, binary data, or lines that end in CR."""
    n_nul_bytes = head.count(b"\0")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or n_nul_bytes > 0.2 * len(head):
        n_even = head[0::2].count(b"\0")
        is_utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff")) or n_even in (0, n_nul_bytes)
        if is_utf16:
            byte = 0 if head[0] > 0x7F else head.index(0)
            raise DataError(
                f"{path} is UTF-16, not UTF-8 (byte {byte}); convert it: "
                f"iconv -f utf-16 -t utf-8 {path.name} > converted-{path.name}"
            )
    if n_nul_bytes > 8 and n_nul_bytes > 0.002 * len(head):
        byte = head.index(0)
        raise DataError(f"{path} is binary data, not text (byte {byte} is NUL)")
    if b"\r" in head and b"\n" not in head and head.rstrip(b"\r").count(b"\r"):
        raise DataError(
            f"{path}: its lines end in CR without LF; convert it: tr '\\r' '\\n' < {path.name} > converted-{path.name}"
        )
