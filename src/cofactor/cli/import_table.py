"""`cofactor import`: write a table file, from which tables that are larger than the memory are mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Json
from cofactor.cli.terminal import note, results, show_json
from cofactor.errors import ParameterError
from cofactor.shell import command

__all__ = ["import_table"]


@reads_table
def import_table(
    source: Source,
    *,
    output: Annotated[
        Path, Option("-o", "--output", metavar="FILE", help="Table file to write, such as ratings.cofactor.")
    ],
    as_json: Json = False,
) -> None:
    """Import a table of any size into a table file, whose arrays are mapped into memory.

    Text files, Parquet files and databases are read in chunks. Later commands take the table file in place of RATINGS,
    and start without reading or sorting the source again.
    """
    for option in ("min_rating", "counts", "event_type", "type_weights", "items", "users"):
        if getattr(source, option) is not None:
            name = option.replace("_", "-")
            raise ParameterError(f"--{name} does not apply to import; pass it to the command that reads the table file")
    table = source.read(into=output)
    summary = {"file": str(output), "bytes": output.stat().st_size, "rows": len(table), "kind": table.kind}
    summary |= {"users": table.n_users, "items": table.n_items}
    if as_json:
        show_json({**summary, "load": None if table.report is None else table.report.as_dict()})
        return
    report = table.report
    if report is not None and report.duplicates:
        note(f"duplicate rows merged: {report.duplicates:,} ({report.duplicate_rule})")
    out = results()
    out.print(
        f"{output}: {len(table):,} {table.kind}, {table.n_users:,} users, {table.n_items:,} items, "
        f"{output.stat().st_size / 1e6:,.1f} MB",
        soft_wrap=True,
    )
    events = ["--events"] if table.kind == "events" else []
    out.print(f"next: {command('describe', str(output), *events)}", soft_wrap=True)
