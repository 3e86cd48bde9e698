"""`cofactor evaluate`: models compared on one split, with 95 % intervals and a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    ExcludeName,
    Json,
    Lengths,
    Models,
    Seed,
    Settings,
    SplitName,
    TestShare,
    check_exclude,
    check_split,
    parted,
)
from cofactor.cli.side_tables import check_output
from cofactor.cli.terminal import messages, printable, results, show_json, table
from cofactor.errors import DataError, ParameterError

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.evaluate.evaluation import Evaluation, Score
    from cofactor.evaluate.split import Split

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from cofactor.estimators import Estimator
    from cofactor.evaluate.reliability import Calibration
    from cofactor.evaluate.split import Split

__all__ = ["check_calibration", "evaluate", "report_calibration", "show_calibration", "show_evaluation"]


RANKING = (("ndcg", "recall", "precision", "mrr"), ("hit_rate", "map", "coverage", "novelty", "gini"))


LOWER_IS_BETTER = ("rmse", "mae", "gini")


BASELINES = ("bias", "popularity")


HEADS = {
    "ndcg": "NDCG",
    "mrr": "MRR",
    "hit_rate": "hit rate",
    "map": "MAP",
    "rmse": "RMSE",
    "mae": "MAE",
    "gini": "Gini",
}


OF_ALL_LISTS = ("coverage", "novelty", "gini")
"""Metrics of all lists together, which have no interval over users."""


DIGITS = {"rmse": 4, "mae": 4, "novelty": 2}


LEGEND = (
    "* best of its column. Below a number stands its 95 % interval over users. Users differ more than models do, so "
    "intervals of two models may overlap although one is surely better: the command compare tests the difference user "
    "by user."
)


@reads_table
def evaluate(
    source: Source,
    *,
    model: Models = None,
    split: SplitName = "random",
    test: TestShare = None,
    exclude: ExcludeName = None,
    k: Lengths = None,
    calibration: Annotated[
        bool, Option("--calibration", help="Tell instead whether predicted distributions of ratings come true.")
    ] = False,
    plot: Annotated[
        str | None, Option(metavar="FILE", help="With --calibration: draw it, as .html (one model).")
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare models on rows they have not seen, beside a baseline that every model must beat.

    Ratings are scored by RMSE and MAE; events (--events or --min-rating) by full rankings at k. Without --model it
    is biased-mf, of events implicit-als.

    The splits: random rows; a share of each user's rows (per-user); the last rows of each user (last); everything after
    one moment (by-time); users held out whole (users).

    --set NAME=VALUE is for all models that have the setting, --set MODEL.NAME=VALUE for one.

    With --calibration, models that predict distributions (bayesian-mf; neural-mf with head=classification) are tested
    on those: do 80 % intervals hold 80 %, for every kind of user and item?
    """
    from cofactor.cli.estimator_options import estimators_of
    from cofactor.evaluate import evaluate as compare

    check_calibration(source, model or (), asked=calibration, plot=plot)
    usual = "implicit-als" if source.kind == "events" else "bayesian-mf" if calibration else "biased-mf"
    names = model or [usual]
    estimators = estimators_of(names, settings or ())
    source.suits(estimators)
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    parts = parted(source.read(), split, test, seed)
    if calibration:
        report_calibration(estimators, parts, plot=plot, seed=seed, as_json=as_json)
        return
    console = messages()
    with console.status("", spinner="dots") as status:  # nothing where stderr is no terminal
        found = compare(
            estimators, parts, ks=tuple(k or (10,)), seed=seed, exclude=excluded,
            on_fit=lambda name: status.update(f"learning {name}"),
        )  # fmt: skip
    if as_json:
        show_json({**found.as_dict(), "train": len(parts.train), "test": len(parts.test)})
        return
    show_evaluation(results(), found, parts)


def show_evaluation(out: Console, found: Evaluation, split: Split) -> None:
    """Tables of at most 80 columns, best model first; the best number of each column has a star."""
    sizes = f"{len(split.train):,} to learn from, {len(split.test):,} to test"
    out.print(f"Split: {found.description}: {sizes}", soft_wrap=True)
    if found.kind == "ratings":
        _show_table(out, _sorted(found.scores, "rmse"), ["rmse", "mae"], with_time=True)
    else:
        ks = sorted({int(name.partition("@")[2]) for name in found.scores[0].metrics})
        for k in ks:
            out.print(f"\nLists of {k}", style="bold")
            scores = _sorted(found.scores, f"ndcg@{k}")
            for names in RANKING:
                _show_table(out, scores, [f"{name}@{k}" for name in names], with_time=names == RANKING[0])
            _show_served(out, scores, k)
    out.print(LEGEND)
    if any(
        isnan(interval.low) and not isnan(interval.mean) and _name(metric) not in OF_ALL_LISTS
        for score in found.scores
        for metric, interval in score.metrics.items()
    ):
        from cofactor.metrics.intervals import NO_INTERVAL

        out.print(NO_INTERVAL)


def _sorted(scores: Sequence[Score], metric: str) -> list[Score]:
    sign = 1 if _name(metric) in LOWER_IS_BETTER else -1
    value = {score.label: sign * score.metrics[metric].mean for score in scores}
    return sorted(scores, key=lambda score: (isnan(value[score.label]), value[score.label]))


def _show_table(out: Console, scores: Sequence[Score], metrics: Sequence[str], *, with_time: bool) -> None:
    heads = [HEADS.get(_name(metric), _name(metric)) for metric in metrics]
    shown = table("model", *((head, "right") for head in heads), *([("fit", "right")] if with_time else []))
    for score in scores:
        role = "\n  baseline" if score.label in BASELINES else ""
        cells = [_cell(score, metric, scores) for metric in metrics]
        shown.add_row(score.label + role, *cells, *([f"{score.fit_seconds:.1f} s"] if with_time else []))
    out.print(shown)


def _show_served(out: Console, scores: Sequence[Score], k: int) -> None:
    """The same lists as they are served, for the models whose lists popular items fill."""
    filled = [replace(score, metrics=score.served) for score in scores if _is_filled(score, k)]
    if filled:
        out.print(
            f"Lists of {k} as served: popular items fill the places for which a model has no evidence", style="bold"
        )
        _show_table(out, filled, [f"{name}@{k}" for name in RANKING[0]], with_time=False)


def _is_filled(score: Score, k: int) -> bool:
    pairs = [(score.metrics[name].mean, value.mean) for name, value in score.served.items() if name.endswith(f"@{k}")]
    return any(own != served and not isnan(own) for own, served in pairs)


def _cell(score: Score, metric: str, scores: Sequence[Score]) -> str:
    """The number, a star if it is the best, and its interval on a line of its own."""
    value, low, high = score.metrics[metric]
    if isnan(value):
        return "-"
    pick = min if _name(metric) in LOWER_IS_BETTER else max
    best = value == pick(other.metrics[metric].mean for other in scores)
    digits = DIGITS.get(_name(metric), 3)
    interval = f"\n{low:.{digits}f}-{high:.{digits}f}"
    if isnan(low):
        interval = "" if _name(metric) in OF_ALL_LISTS else "\nno interval"
    return f"{value:.{digits}f}{'*' if best and len(scores) > 1 else ' '}{interval}"


def _name(metric: str) -> str:
    return metric.partition("@")[0]


QUARTILES = ("1st", "2nd", "3rd", "4th")


CALIBRATION_LEGEND = (
    "Log-likelihood, in nats per rating: higher is better. CRPS, in units of the ratings: lower is better. One width: "
    "the same means with one width for all ratings, which a model that knows how sure it is must beat. Expected: the "
    "mass that the intervals hold by the model's own word. User's noise: of the residuals in training."
)


def check_calibration(source: Source, models: Sequence[str], *, asked: bool, plot: str | None) -> None:
    """Raises ParameterError or MissingExtraError, before anything is read, for what cannot be calibrated or drawn."""
    if asked and source.kind == "events":
        raise ParameterError("--calibration is of predicted ratings; leave out --events and --min-rating")
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
    from cofactor.evaluate.evaluation import labels_of
    from cofactor.evaluate.reliability import calibration
    from cofactor.recommender.recommender import Recommender

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
    out.print(CALIBRATION_LEGEND)


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
    from cofactor.files import write_whole
    from cofactor.plots import reliability_plot, self_contained_html

    title = f"{label} on {split.description}"
    page = self_contained_html(reliability_plot(found.reliability, title=title), title=title)
    write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
