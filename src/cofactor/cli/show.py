"""`cofactor show`: describe a saved model, and list the trials of automatic selection."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import nan
from typing import TYPE_CHECKING, Any

from cofactor.cli.options import Json, ModelFile
from cofactor.cli.terminal import printable, results, show_json, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from cofactor.estimators import Estimator
    from cofactor.recommender.recommender import Recommender
    from cofactor.results import SelectionTrial

__all__ = ["best_trials", "describe_estimator", "show", "show_trials"]


def show(model: ModelFile, *, as_json: Json = False) -> None:
    """Describe a saved model: its estimator, its size, and the trials of automatic selection on held-out rows."""
    from cofactor.recommender.recommender import Recommender

    recommender = Recommender.load(model)
    facts = _facts(recommender)
    if as_json:
        show_json(facts | {"trials": [asdict(trial) for trial in recommender.trials]})
        return
    out = results()
    estimator = "unknown" if recommender.estimator is None else describe_estimator(recommender.estimator)
    out.print(f"model: {printable(estimator)}", soft_wrap=True)
    sizes = f"{facts['rows']:,} {facts['kind']} ({facts['users']:,} users x {facts['items']:,} items)"
    out.print(f"fitted to {sizes}", soft_wrap=True)
    if recommender.priors is not None and not recommender.priors.is_empty:
        out.print("new users and items start from a prior")
    show_trials(out, recommender.trials)


def describe_estimator(estimator: Estimator) -> str:
    """Return the name of an estimator followed by its non-default hyperparameters.

    Parameters
    ----------
    estimator : Estimator
        The estimator.

    Returns
    -------
    str
        Description in one line.

    Examples
    --------
    >>> import cofactor
    >>> describe_estimator(cofactor.ItemKNN(k=50)), describe_estimator(cofactor.Bias())
    ('item-knn (k=50)', 'bias')
    """
    values, defaults = estimator.to_dict(), type(estimator)().to_dict()
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    return _with_settings(estimator.name, changed)


def show_trials(out: Console, trials: Sequence[SelectionTrial]) -> None:
    """Print a table of the trials of automatic selection, and the reason for the choice.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    trials : sequence of SelectionTrial
        Trials; nothing is printed if there are none.
    """
    if not trials:
        return
    for metric in dict.fromkeys(trial.metric for trial in trials):
        output_table = table(("", "left"), "model", (metric, "right"), ("seconds", "right"))
        for trial in trials:
            if trial.metric == metric:
                value = "" if trial.value is None else f"{trial.value:.4f}"
                mark = "*" if trial.chosen else ""
                name = _with_settings(trial.estimator, trial.settings)
                seconds = "-" if trial.value is None and trial.seconds == 0 else f"{trial.seconds:.1f}"
                output_table.add_row(mark, printable(name), value, seconds)
        out.print(output_table)
    for trial in trials:
        if trial.note is not None:
            out.print(f"{trial.estimator}: {printable(trial.note)}", soft_wrap=True)


def best_trials(trials: Sequence[SelectionTrial]) -> list[SelectionTrial]:
    """Return the best trial for each estimator and metric, and the selected trials.

    Parameters
    ----------
    trials : sequence of SelectionTrial
        All trials.

    Returns
    -------
    list of SelectionTrial
        Trials, in their order.
    """
    from cofactor.metrics.registry import metric_named

    best: dict[tuple[str, str], SelectionTrial] = {}
    for trial in trials:
        key, value = (trial.metric, trial.estimator), nan if trial.value is None else trial.value
        previous = best.get(key)
        if previous is None or previous.value is None or metric_named(trial.metric).is_better(value, previous.value):
            best[key] = trial
    return [trial for trial in trials if trial.chosen or trial in best.values()]


def _with_settings(name: str, settings: Any) -> str:
    """Return the name of an estimator with hyperparameters in parentheses."""
    parts = [f"{key}={_format(value)}" for key, value in settings.items()]
    return f"{name} ({', '.join(parts)})" if parts else name


def _format(value: Any) -> str:
    """Return a short string for the JSON value of a hyperparameter."""
    if isinstance(value, list):
        return f"[{', '.join(map(_format, value))}]"
    if isinstance(value, dict):
        from cofactor.estimators.base import Estimator

        return describe_estimator(Estimator.from_dict(value)) if "estimator" in value else json.dumps(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _facts(recommender: Recommender) -> dict[str, Any]:
    estimator = recommender.estimator
    return {
        "estimator": None if estimator is None else estimator.to_dict(),
        "model_type": recommender.model.model_type,
        "kind": recommender.kind,
        "rows": int(recommender.support.sum()),
        "users": len(recommender.users),
        "items": len(recommender.items),
        "priors": recommender.priors is not None and not recommender.priors.is_empty,
    }
