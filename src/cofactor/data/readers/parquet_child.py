"""Parquet child process: decode one file for `parquet.open_parquet`.

Parquet pages have no checksums, and a damaged page can abort the process that decodes it; a child process protects the
reader. Protocol on the standard streams:

1. The child writes a line of JSON with the columns, `{"columns": [...]}`.
2. The reader writes a line of JSON with the columns and rows to read, `{"columns": [...], "first": k, "n": n}`; n is
   null for all rows from k on.
3. The child writes `{"rows": n}` and then the table as an Arrow IPC stream.

Instead of either line, the child can write `{"error": reason}`.
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

__all__ = ["main", "scan_file", "serve", "with_supported_zones"]


def main(path: str) -> None:
    """Answer the requests for one Parquet file: read them from stdin and write the responses to stdout.

    Parameters
    ----------
    path : str
        Path of the file.
    """
    with suppress(OSError):  # Linux: if memory runs out, kill this process and not the reader
        Path("/proc/self/oom_score_adj").write_text("1000")
    serve(path, sys.stdin.buffer, sys.stdout.buffer)


def serve(path: str, requests: BinaryIO, responses: BinaryIO) -> None:
    """Answer the requests for one Parquet file; stop early if the parent sends no request or decoding fails.

    Parameters
    ----------
    path : str
        Path of the file.
    requests : binary file
        Stream with the reader's requests.
    responses : binary file
        Stream for the answers.
    """
    scan = scan_file(path)
    names = _send_result(responses, "columns", lambda: list(scan.collect_schema()))
    if names is None or not (request := requests.readline()):
        return
    requested = json.loads(request)
    rows = scan.select(requested["columns"]).slice(requested["first"], requested["n"])
    frame: pl.DataFrame | None = None

    def read() -> int:
        nonlocal frame
        frame = with_supported_zones(rows.collect())
        return frame.height

    _send_result(responses, "rows", read)
    if frame is not None:
        frame.write_ipc_stream(responses)
        responses.flush()


def scan_file(path: str) -> pl.LazyFrame:
    """Scan a file by its exact path, without glob patterns or Hive partitions.

    Parameters
    ----------
    path : str
        Path of the file.

    Returns
    -------
    LazyFrame
        The scan.
    """
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def with_supported_zones(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert times to UTC if polars does not support their time zone, such as +05:30.

    Parameters
    ----------
    frame : DataFrame
        Any frame.

    Returns
    -------
    DataFrame
        The frame; the times denote the same instants.
    """
    types = {name: type_ for name, dtype in frame.schema.items() if (type_ := _with_supported_zone(dtype)) != dtype}
    return frame.cast(types) if types else frame  # type: ignore[arg-type]


def _with_supported_zone(dtype: pl.DataType) -> pl.DataType:
    """Return a type with unsupported time zones replaced by UTC, including those in nested types."""
    if isinstance(dtype, pl.Datetime):
        is_supported = dtype.time_zone in (None, "UTC") or dtype.time_zone in available_timezones()
        return dtype if is_supported else pl.Datetime(dtype.time_unit, "UTC")
    if isinstance(dtype, pl.List):
        return pl.List(_with_supported_zone(dtype.inner))  # type: ignore[arg-type]
    if isinstance(dtype, pl.Array):
        return pl.Array(_with_supported_zone(dtype.inner), dtype.size)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_supported_zone(field.dtype) for field in dtype.fields})  # type: ignore[arg-type]
    return dtype


def _send_result(responses: BinaryIO, name: str, compute: Callable[[], Any]) -> Any:
    """Send the result of `work` under a name, or an error message; return the result, or None after an error."""
    try:
        result = compute()
        message = {name: result}
    except (OSError, MemoryError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        result, message = None, {"error": (str(error).strip() or type(error).__name__).partition("\n")[0]}
    responses.write(json.dumps(message).encode() + b"\n")
    responses.flush()
    return result
