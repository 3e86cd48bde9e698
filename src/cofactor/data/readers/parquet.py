"""Parquet reader: decode files in a child process, so that a damaged file cannot crash this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from weakref import finalize

import polars as pl

from cofactor.data.readers.files import read_errors
from cofactor.data.readers.frame_table import FrameTable
from cofactor.data.readers.parquet_child import scan_file
from cofactor.errors import DataError

__all__ = ["open_parquet"]

_CHILD = (
    "import sys; sys.path[:] = sys.argv[2:]; from cofactor.data.readers.parquet_child import main; main(sys.argv[1])"
)


def open_parquet(path: Path) -> FrameTable:
    """Open a Parquet file; only the chosen columns are read.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    FrameTable
        The table.

    Raises
    ------
    DataError
        If the file cannot be decoded.
    """
    decoder = _decoder(path)
    columns = decoder.columns

    def take(roles: Mapping[str, int]) -> dict[str, pl.Series]:
        frame = decoder.frame([columns[k] for k in roles.values()])
        return {role: frame[columns[k]].alias(role) for role, k in roles.items()}

    def take_rows(roles: Mapping[str, int], first: int, n: int) -> dict[str, pl.Series]:
        frame = _decoder(path).frame([columns[k] for k in roles.values()], first, n)
        return {role: frame[columns[k]].alias(role) for role, k in roles.items()}

    return FrameTable(str(path), columns, take, take_rows=take_rows)


class _ChildDecoder:
    """Client for `parquet_child`, which documents the protocol."""

    def __init__(self, path: Path):
        self._path = path
        with read_errors(str(path)):
            self._errors = TemporaryFile()  # noqa: SIM115 - `finalize` closes it
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(path.absolute()), *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "POLARS_IGNORE_TIMEZONE_PARSE_ERROR": "1", "RUST_BACKTRACE": "0"},
            )
        self._finalizer = finalize(self, _close, self._process, self._errors)
        self.columns: list[str] = self._receive("columns")

    def frame(self, names: Sequence[str], first: int = 0, n: int | None = None) -> pl.DataFrame:
        """Read rows of the columns with the given names from the file; can be called only once."""
        try:
            with suppress(BrokenPipeError):
                request = {"columns": list(names), "first": first, "n": n}
                _pipe(self._process.stdin).write(json.dumps(request).encode() + b"\n")
                _pipe(self._process.stdin).flush()
            rows = self._receive("rows")
            stream = _pipe(self._process.stdout).read()
            if self._process.wait() != 0:
                raise self._exit_error()
        finally:
            self._finalizer()
        with read_errors(str(self._path)):
            frame = pl.read_ipc_stream(stream)
        if frame.height != rows or frame.columns != list(names):
            raise DataError(f"{self._path} cannot be read: the file is damaged")
        return frame

    def _receive(self, name: str) -> Any:
        """Return the value in the next message from the child; raise DataError if the child reports an error."""
        line = _pipe(self._process.stdout).readline()
        try:
            message = json.loads(line)
        except ValueError:
            raise self._exit_error() from None
        if "error" in message:
            raise DataError(f"{self._path} cannot be read: {message['error']}")
        return message[name]

    def _exit_error(self) -> DataError:
        """Return the error for a child that exited early, with the last line of its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        messages = [line for line in lines if line and not line.startswith("note:")]
        reason = f" ({messages[-1][:200]})" if messages else ""
        return DataError(
            f"{self._path} cannot be read: the process that decoded it exited{reason}; the file is damaged or does not "
            "fit into memory"
        )


class _InProcessDecoder:
    """Decoder in this process, for frozen programs that cannot start another Python process."""

    def __init__(self, path: Path):
        self._path = path
        with read_errors(str(path)):
            self._scan = scan_file(str(path.absolute()))
            self.columns = list(self._scan.collect_schema())

    def frame(self, names: Sequence[str], first: int = 0, n: int | None = None) -> pl.DataFrame:
        """Read rows of the columns with the given names from the file."""
        with read_errors(str(self._path)):
            return self._scan.select(names).slice(first, n).collect()


def _decoder(path: Path) -> _ChildDecoder | _InProcessDecoder:
    """Return a decoder for the file, in a child process if possible."""
    return _InProcessDecoder(path) if getattr(sys, "frozen", False) or not sys.executable else _ChildDecoder(path)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe that is known to be open."""
    assert pipe is not None
    return pipe


def _close(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """Kill the child process and close its files."""
    process.kill()
    process.wait()
    for file in (process.stdin, process.stdout, errors):
        with suppress(OSError):  # input that the process did not read
            _pipe(file).close()
