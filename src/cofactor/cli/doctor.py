"""`cofactor doctor`: check the folder of a service and explain how to fix problems."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, TypeAlias

from typer import Exit, Option

from cofactor.cli.options import Json
from cofactor.cli.terminal import printable, results, show_json, table

__all__ = ["Data", "Db", "doctor"]

Data: TypeAlias = Annotated[str, Option(metavar="FOLDER", envvar="COFACTOR_SERVE_DATA", help="Folder of the service.")]
Db: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="URL",
        envvar="COFACTOR_SERVE_DB",
        help="Database of the service, if it is not in the folder: postgresql://user@host/name.",
    ),
]


def doctor(*, data: Data = "cofactor-data", db: Db = None, as_json: Json = False) -> None:
    """Check a service: its store, model checksums, disk space, clock, jobs and erased users.

    Exits with code 1 if there is a problem, with 0 if there are only warnings or nothing to report.
    """
    from cofactor.service.doctor import examined, worst

    findings = examined(data, db)
    state = worst(findings)
    if as_json:
        show_json({"state": state, "findings": [asdict(finding) for finding in findings]})
    else:
        shown = table("check", "state", "result")
        for finding in findings:
            shown.add_row(finding.check, finding.state, printable(finding.says))
        results().print(shown)
    if state == "problem":
        raise Exit(1)
