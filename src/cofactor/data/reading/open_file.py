"""Opens a file as a table: the format by its first bytes, its ending and the look of its first line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cofactor import checks
from cofactor.data.reading.columns import Role
from cofactor.data.reading.files import TextFile, existing_file, open_text, unreadable
from cofactor.data.reading.frame_table import FrameTable
from cofactor.data.reading.json_table import JsonTable, open_json_table
from cofactor.data.reading.parquet import open_parquet
from cofactor.data.reading.text_table import TextTable, open_text_table
from cofactor.errors import DataError

__all__ = ["Format", "open_file"]

Format: TypeAlias = Literal["csv", "tsv", "::", "parquet", "jsonl"]

_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def open_file(
    path: Path,
    format: Format | None,  # noqa: A002
    by_place: Callable[[list[str]], list[Role] | None],
) -> TextTable | JsonTable | FrameTable:
    """The table in a file; `by_place` says what the first row of a text file holds, None for a header.

    Raises DataError when there is no such file, or when it is none of the formats; ParameterError
    for a format we do not know.
    """
    if format is not None:
        checks.choice("format", format, get_args(Format))
    if format == "parquet" or (_is_parquet(existing_file(path)) and format is None):
        return open_parquet(existing_file(path))
    text = open_text(path)
    found, separator = _text_format(text, format)
    return open_json_table(text) if found == "jsonl" else open_text_table(text, separator, by_place)


def _is_parquet(path: Path) -> bool:
    with unreadable(str(path)), path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PK\x03\x04":
        raise DataError(f"{path} is a zip archive or a spreadsheet; unpack it, or save the table as CSV")
    return magic == b"PAR1"


def _text_format(text: TextFile, given: Format | None) -> tuple[Format, str]:
    """The format of a text file and its separator (empty for JSON lines)."""
    path = text.path.with_suffix("") if text.path.suffix.lower() in (".gz", ".zst") else text.path
    known = given or _ENDINGS.get(path.suffix.lower())
    line = text.head().lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    if known == "jsonl" or (known is None and line.startswith(("{", "["))):
        if line.startswith("["):
            raise DataError(f"{text.path} is one JSON array; write one object a line instead (JSON lines)")
        return "jsonl", ""
    if path.suffix.lower() == ".parquet" and given is None:
        raise DataError(f"{text.path} is no Parquet file: it does not begin with PAR1")
    if known == "::" or (known is None and "::" in line):
        return "::", "::"
    if given == "tsv":
        return "tsv", "\t"
    usual = "\t" if known == "tsv" else ","
    separator = max((usual, "\t", ",", ";", "|"), key=line.count)
    return ("tsv" if separator == "\t" else "csv"), separator
