"""`cofactor evaluate --calibration`: whether predicted distributions mean what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

from cofactor.cli.screen import messages, printable, results, show_json, table
from cofactor.cli.source import Source
from cofactor.cli.tables import check_output
from cofactor.errors import DataError, ParameterError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from cofactor.estimators import Estimator
    from cofactor.evaluate.calibration import Calibration
    from cofactor.evaluate.split import Split

__all__ = ["check_calibration", "report_calibration", "show_calibration"]

QUARTILES = ("1st", "2nd", "3rd", "4th")
LEGEND = (
    "Log-likelihood, in nats per rating: higher is better. CRPS, in units of the ratings: lower is better. One width: "
    "the same means with one width for all ratings, which a model that knows how sure it is must beat. Expected: the "
    "mass that the intervals hold by the model's own word. User's noise: of the residuals in training."
)


def check_calibration(source: Source, models: Sequence[str], *, asked: bool, plot: str | None) -> None:
    """Raises ParameterError or MissingExtraError, before anything is read, for what cannot be calibrated or drawn."""
    if asked and source.kind == "events":
        raise ParameterError("--calibration is of predicted ratings; leave out --events and --positive-from")
    if plot is None:
        return
    from cofactor.plots import require_plotly

    if not asked:
        raise ParameterError("--plot draws what --calibration finds: give that too")
    if len(models) > 1:
        raise ParameterError(f"--plot draws one model, not {len(models)}: give one --model")
    check_output(plot, endings=(".html", ".htm"))
    require_plotly()


def report_calibration(
    estimators: Sequence[Estimator], split: Split, *, plot: str | None, seed: int, as_json: bool
) -> None:
    """Fit each estimator on the training part, calibrate it on the test part, and print what was found.

    Raises KindError for a model without a distribution, DataError for a plot of a scale without levels.
    """
    from cofactor.evaluate.calibration import calibration
    from cofactor.evaluate.protocol import labels_of
    from cofactor.recommend import Recommender

    scale = split.test.scale
    if plot is not None and (scale is None or len(scale.levels) < 2):
        raise DataError("--plot draws how often each level is reached, and these ratings have no levels: see --levels")
    found = {}
    with messages().status("", spinner="dots") as status:  # nothing where stderr is no terminal
        for estimator, label in zip(estimators, labels_of(estimators), strict=True):
            status.update(f"learning {label}")
            found[label] = calibration(Recommender.fit(estimator, split.train, seed=seed), split)
    if plot is not None:
        [(label, one)] = found.items()
        _draw(label, one, split, plot)
    if as_json:
        models = [{"model": label, **one.as_dict()} for label, one in found.items()]
        sizes = {"train": len(split.train), "test": len(split.test)}
        show_json({"split": split.description, "models": models, **sizes, "plot": plot})
        return
    out = results()
    show_calibration(out, found, split)
    if plot is not None:
        out.print(f"\nthe figure is in {printable(plot)}", soft_wrap=True)


def show_calibration(out: Console, found: Mapping[str, Calibration], split: Split) -> None:
    """Tables of at most 80 columns: how good the distributions are, and whom their intervals serve."""
    sizes = f"{len(split.train):,} to learn from, {len(split.test):,} to test"
    out.print(f"Split: {split.description}: {sizes}", soft_wrap=True)
    columns = ("RMSE", "log-likelihood", "one width", "CRPS", "one width")
    shown = table("model", *((column, "right") for column in columns))
    for label, one in found.items():
        numbers = (one.rmse, one.log_likelihood, one.constant_log_likelihood, one.crps, one.constant_crps)
        shown.add_row(label, *("-" if isnan(number) else f"{number:.4f}" for number in numbers))
    out.print(shown)
    for label, one in found.items():
        names = [name.removeprefix("covered ") for name in one.coverage.columns if name.startswith("covered ")]
        for level in names:
            _show_coverage(out, label, one.coverage, level)
    out.print(LEGEND)


def _show_coverage(out: Console, label: str, coverage: pl.DataFrame, level: str) -> None:
    import polars as pl

    cells = coverage.select("group", covered=f"covered {level}", expected=f"expected {level}")
    everyone = cells.row(0, named=True)
    out.print(f"{label}: {level} intervals hold {_percent(everyone['covered'])} % of the ratings,", style="bold")
    out.print(f"{_percent(everyone['expected'])} % expected; and by quartile, held / expected, in %", style="bold")
    shown = table("quartiles of", *((quartile, "right") for quartile in QUARTILES))
    for group in cells["group"].unique(maintain_order=True)[1:]:
        rows = cells.filter(pl.col("group") == group).select("covered", "expected").rows()
        shown.add_row(group, *(" / ".join(map(_percent, row)) for row in rows))
    out.print(shown)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _draw(label: str, found: Calibration, split: Split, path: str) -> None:
    """Write the figure of reliability as a page of its own. Raises DataError without levels, OSError."""
    from cofactor.artifact import write_whole
    from cofactor.plots import reliability_plot, self_contained_html

    title = f"{label} on {split.description}"
    page = self_contained_html(reliability_plot(found.reliability, title=title), title=title)
    write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
