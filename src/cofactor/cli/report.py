"""`cofactor report`: a self-contained HTML report on a table and a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Seed, Settings, whole_number
from cofactor.cli.side_tables import check_output
from cofactor.cli.terminal import messages, printable, results

__all__ = ["report"]

DEFAULTS = {"ratings": "biased-mf", "events": "implicit-als"}


@reads_table
def report(
    source: Source,
    *,
    output: Annotated[
        str, Option("--output", "-o", metavar="FILE", help="Write the report to this file.")
    ] = "report.html",
    estimator: Annotated[
        str | None,
        Option("--estimator", "--model", "-m", metavar="NAME", help="Model (biased-mf; for events implicit-als)."),
    ] = None,
    genres: Annotated[
        str | None, Option(metavar="COLUMN", help="Column of the item table with the genres of an item (genres).")
    ] = None,
    rounds: Annotated[
        int, Option(metavar="N", parser=whole_number, help="Rounds of the feedback loop simulation.")
    ] = 6,
    settings: Settings = None,
    seed: Seed = 0,
) -> None:
    """Write a self-contained HTML page with figures, which needs no network, and its numbers as a JSON file next to it.

    Sections: the table, cross-tab, model comparison, calibration, factor map, popular items, influence of users,
    learning curve of new users, and feedback loop.
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.plots import require_plotly
    from cofactor.report import Study, make_report

    check_output(output, endings=(".html", ".htm"))
    require_plotly()
    spec = estimator_of(estimator or DEFAULTS[source.kind], settings or ())
    source.suits([spec])
    study = Study(source.read(), spec, genres=genres, seed=seed, rounds=rounds)
    with messages().status("", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        page = make_report(
            study, title=f"Report on {Path(source.ratings).name or source.ratings}",
            on_section=lambda title: status.update(f"computing: {title}"),
        )  # fmt: skip
        numbers = page.write(output)
    results().print(f"wrote the report to {printable(output)}, its numbers to {printable(numbers)}", soft_wrap=True)
