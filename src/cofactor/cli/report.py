"""`cofactor report`: everything about a table on one page that works without a network."""

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
    output: Annotated[str, Option("--output", "-o", metavar="FILE", help="Write the page here.")] = "report.html",
    estimator: Annotated[
        str | None,
        Option("--estimator", "--model", "-m", metavar="NAME", help="Whose model (biased-mf; of events implicit-als)."),
    ] = None,
    genres: Annotated[
        str | None, Option(metavar="COLUMN", help="Column of the item table that names kinds of items (genres).")
    ] = None,
    rounds: Annotated[int, Option(metavar="N", parser=whole_number, help="Rounds of the simulated feedback loop.")] = 6,
    settings: Settings = None,
    seed: Seed = 0,
) -> None:
    """Write a report: one page with figures that opens anywhere, offline, and its numbers beside it as JSON.

    What was read, the cross-tab, models compared, calibration, the map of tastes, what is loved, who decides what
    others are shown, how soon a newcomer is known, and where the feedback loop leads.
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.plots import require_plotly
    from cofactor.report import Study, make_report

    check_output(output, endings=(".html", ".htm"))
    require_plotly()
    chosen = estimator_of(estimator or DEFAULTS[source.kind], settings or ())
    source.suits([chosen])
    study = Study(source.read(), chosen, genres=genres, seed=seed, rounds=rounds)
    with messages().status("", spinner="dots") as status:  # nothing where stderr is no terminal
        made = make_report(
            study, title=f"Report on {Path(source.ratings).name or source.ratings}",
            on_section=lambda title: status.update(f"working out: {title}"),
        )  # fmt: skip
        numbers = made.write(output)
    results().print(f"the report is in {printable(output)}, its numbers in {printable(numbers)}", soft_wrap=True)
