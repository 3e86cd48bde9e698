"""`cofactor evaluate`: models compared on one split, with 95 % intervals and a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.options import Json, Models, Seed, Settings
from cofactor.cli.screen import messages, results, show_json, table
from cofactor.cli.source import Source, reads_table
from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.data.interactions import Interactions
    from cofactor.evaluate.protocol import Evaluation, Score
    from cofactor.evaluate.split import Split

__all__ = ["evaluate", "show_evaluation"]

SPLITS = ("random", "per-user", "last", "by-time", "users")
RANKING = (("ndcg", "recall", "precision", "mrr", "hit_rate"), ("map", "coverage", "novelty", "gini"))
LOWER_IS_BETTER = ("rmse", "mae", "gini")


@reads_table
def evaluate(
    source: Source,
    *,
    model: Models = None,
    split: Annotated[str, Option(metavar="|".join(SPLITS), help="How to part train and test.")] = "random",
    test: Annotated[
        float | None,
        Option(
            metavar="SHARE|N",
            help="The test's share of rows (of users, for users) [0.2]. For last: rows of each user [1].",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        list[int] | None, Option("--k", metavar="K", help="Lengths of list to score, for events [10]. Repeatable.")
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare models on rows they have not seen, beside a baseline that every model must beat.

    Ratings are scored by RMSE and MAE; events (--events or --positive-from) by full rankings at k. The splits:
    random rows; a share of each user's rows (per-user); the last rows of each user (last); everything after one
    moment (by-time); users held out whole (users). --set NAME=VALUE is for all models that have the setting,
    --set MODEL.NAME=VALUE for one.
    """
    from cofactor.cli.settings import estimators_of
    from cofactor.evaluate import evaluate as compare

    names = model or (["biased-mf"] if source.kind == "ratings" else ["implicit-als"])
    estimators = estimators_of(names, settings or ())
    source.suits(estimators)
    if split not in SPLITS:
        raise ParameterError(f"--split is one of {', '.join(SPLITS)}, not {split!r}")
    ratings = source.read()
    parts = _parted(ratings, split, test, seed)
    console = messages()
    with console.status("", spinner="dots") as status:  # nothing where stderr is no terminal
        found = compare(
            estimators, parts, ks=tuple(k or (10,)), seed=seed, on_fit=lambda name: status.update(f"learning {name}")
        )
    if as_json:
        show_json({**found.as_dict(), "train": len(parts.train), "test": len(parts.test)})
        return
    show_evaluation(results(), found, parts)


def _parted(ratings: Interactions, split: str, test: float | None, seed: int) -> Split:
    from cofactor.evaluate import split_by_time, split_last, split_per_user, split_random, split_users

    if split == "last":
        rows = 1.0 if test is None else test
        if rows != int(rows):
            raise ParameterError(f"--split last takes a whole number of rows of each user as --test, not {test:g}")
        return split_last(ratings, n=int(rows))
    share = 0.2 if test is None else test
    if split == "by-time":
        return split_by_time(ratings, test=share)
    cut = {"random": split_random, "per-user": split_per_user, "users": split_users}[split]
    return cut(ratings, test=share, seed=seed)


def show_evaluation(out: Console, found: Evaluation, split: Split) -> None:
    """Tables of at most 80 columns, best model first; the best number of each column has a star."""
    out.print(
        f"Split: {found.description}: {len(split.train):,} to learn from, {len(split.test):,} to test", soft_wrap=True
    )
    scores = found.scores
    if found.kind == "ratings":
        _show_table(out, _sorted(scores, "rmse"), ["rmse", "mae"])
    else:
        ks = sorted({int(name.partition("@")[2]) for name in scores[0].metrics})
        for k in ks:
            for names in RANKING:
                _show_table(out, _sorted(scores, f"ndcg@{k}"), [f"{name}@{k}" for name in names])
    out.print("* best of its column. Below each number: its 95 % interval over users. Where two\n"
              "intervals overlap much, the difference may be luck.", style="dim")  # fmt: skip


def _sorted(scores: tuple[Score, ...], metric: str) -> list[Score]:
    sign = 1 if _name(metric) in LOWER_IS_BETTER else -1
    value = {score.label: sign * score.metrics[metric].mean for score in scores}
    return sorted(scores, key=lambda score: (value[score.label] != value[score.label], value[score.label]))


def _show_table(out: Console, scores: list[Score], metrics: list[str]) -> None:
    shown = table("model", *((_head(metric), "right") for metric in metrics), ("fit", "right"))
    for score in scores:
        cells = [_cell(score, metric, scores) for metric in metrics]
        shown.add_row(f"{score.label}{_role(score)}", *cells, f"{score.fit_seconds:.1f} s")
    out.print(shown)


def _role(score: Score) -> str:
    return "\n  baseline" if score.label in ("bias", "popularity") else ""


def _cell(score: Score, metric: str, scores: list[Score]) -> str:
    value, low, high = score.metrics[metric]
    if value != value:
        return "-"
    values = [other.metrics[metric].mean for other in scores]
    best = min(values) if _name(metric) in LOWER_IS_BETTER else max(values)
    digits = 2 if _name(metric) == "novelty" else 4 if _name(metric) in ("rmse", "mae") else 3
    interval = "" if low != low else f"\n{low:.{digits}f}-{high:.{digits}f}"
    return f"{value:.{digits}f}{'*' if value == best and len(scores) > 1 else ' '}{interval}"


def _name(metric: str) -> str:
    return metric.partition("@")[0]


def _head(metric: str) -> str:
    name = _name(metric)
    words: dict[str, Any] = {
        "hit_rate": "hit rate",
        "ndcg": "NDCG",
        "mrr": "MRR",
        "map": "MAP",
        "rmse": "RMSE",
        "mae": "MAE",
    }
    return metric.replace(name, words.get(name, name), 1)
