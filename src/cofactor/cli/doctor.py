"""`cofactor doctor`: whether a service's folder is sound, and what to do where it is not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, TypeAlias

from typer import Exit, Option

from cofactor.cli.options import Json
from cofactor.cli.terminal import printable, results, show_json, table

__all__ = ["Data", "Db", "doctor"]

Data: TypeAlias = Annotated[
    str, Option(metavar="FOLDER", envvar="COFACTOR_SERVE_DATA", help="The folder of the service.")
]
Db: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="URL",
        envvar="COFACTOR_SERVE_DB",
        help="Its database, where that is not in the folder: postgresql://user@host/name",
    ),
]


def doctor(*, data: Data = "cofactor-data", db: Db = None, as_json: Json = False) -> None:
    """Look at a service: its store, its models' checksums, the disk, the clock, jobs, who was forgotten.

    Ends with exit code 1 where there is a problem, 0 where there are warnings at most.
    """
    from cofactor.service.doctor import examined, worst

    findings = examined(data, db)
    state = worst(findings)
    if as_json:
        show_json({"state": state, "findings": [asdict(finding) for finding in findings]})
    else:
        shown = table("check", "state", "what was found")
        for finding in findings:
            shown.add_row(finding.check, finding.state, printable(finding.says))
        results().print(shown)
    if state == "problem":
        raise Exit(1)
