"""`cofactor report`: write a self-contained HTML report on a rating or event table and a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Refits, Seed, Settings, whole_number
from cofactor.cli.side_tables import check_output
from cofactor.cli.terminal import messages, printable, results

__all__ = ["report"]

DEFAULT_MODELS = {"ratings": "biased-mf", "events": "implicit-als"}


@reads_table
def report(
    source: Source,
    *,
    output: Annotated[str, Option("--output", "-o", metavar="FILE", help="Path of the HTML file.")] = "report.html",
    estimator: Annotated[
        str | None,
        Option(
            "--estimator",
            "--model",
            "-m",
            metavar="NAME",
            help="Name of the model (biased-mf; for events, implicit-als).",
        ),
    ] = None,
    genres: Annotated[
        str | None, Option(metavar="COLUMN", help="Column of the item table with the genres (genres).")
    ] = None,
    rounds: Annotated[
        int, Option(metavar="N", parser=whole_number, help="Number of rounds in the feedback loop simulation.")
    ] = 6,
    refits: Refits = 0,
    settings: Settings = None,
    seed: Seed = 0,
) -> None:
    """Write a self-contained HTML report that works offline, and a JSON file with its values.

    Sections: data, cross-tabulation, model comparison, calibration, factor map, item ranking, concentration and
    exposure, group influence, cold start, and feedback loop.
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.plots import require_plotly
    from cofactor.report import Study, make_report

    check_output(output, suffixes=(".html", ".htm"))
    require_plotly()
    model_estimator = estimator_of(estimator or DEFAULT_MODELS[source.kind], source.settings(settings))
    source.check_estimators([model_estimator])
    study = Study(source.read(), model_estimator, genres=genres, seed=seed, rounds=rounds, refits=refits)
    with messages().status("", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        html_report = make_report(
            study, title=f"Report on {Path(source.ratings).name or source.ratings}",
            on_section=lambda title: status.update(f"computing: {title}"),
        )  # fmt: skip
        json_path = html_report.write(output)
    results().print(f"wrote the report to {printable(output)} and its values to {printable(json_path)}", soft_wrap=True)
