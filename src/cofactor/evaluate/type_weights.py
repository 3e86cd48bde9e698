"""Weights of event types, learned by predicting held-out events of one type, such as purchases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Int64
from cofactor.checks import Seed
from cofactor.data.event_types import combine_events, require_event_tables
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.estimators import Estimator, ImplicitALS
from cofactor.estimators.base import require_estimator
from cofactor.evaluate.evaluation import fit_and_score
from cofactor.evaluate.split import Order, Split, split_random
from cofactor.validation import validated

__all__ = ["TypeWeights", "learn_type_weights"]

CANDIDATES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weights that are tried for a type, relative to the target type."""

SHARE = 0.2
"""Share of the events of the target type that are held out."""


@dataclass(frozen=True, eq=False)
class TypeWeights:
    """Learned weights of event types; returned by `learn_type_weights`.

    Attributes
    ----------
    weights : dict of str to float
        Weight of each type; that of the target is 1.
    metric : str
        Key of the metric, such as "ndcg@10".
    value : float
        Metric with these weights on the held-out events of the target type.
    target_only : float
        Metric with the events of the target type alone.
    trials : pl.DataFrame
        One row per trial, in order, with one column for the weight of each type and one for the metric.

    Examples
    --------
    >>> import cofactor, numpy as np
    >>> draw = np.random.default_rng(0)
    >>> ids = lambda n: (draw.integers(0, 30, n), draw.integers(0, 20, n))
    >>> tables = {name: cofactor.Interactions.from_columns(*ids(200), kind="events") for name in ("view", "purchase")}
    >>> learned = cofactor.evaluate.learn_type_weights(tables, target="purchase", estimator=cofactor.ItemKNN())
    >>> learned.weights["purchase"], learned.value >= learned.target_only
    (1.0, True)
    """

    weights: dict[str, float]
    metric: str
    value: float
    target_only: float
    trials: pl.DataFrame


@validated
def learn_type_weights(
    tables: Mapping[str, Interactions],
    *,
    target: str,
    estimator: Estimator | None = None,
    trials: int = 30,
    k: int = 10,
    seed: Seed = 0,
    on_trial: Callable[[Mapping[str, float], float], None] | None = None,
) -> TypeWeights:
    """Learn the weights of event types that predict held-out events of one type best.

    Parameters
    ----------
    tables : mapping of str to Interactions
        Table of events of each type, as returned by `read_event_types`.
    target : str
        Type to predict, such as "purchase"; its weight is 1.
    estimator : Estimator or None, default None
        Estimator of events; None means `ImplicitALS()`.
    trials : int, default 30
        Maximum number of fits.
    k : int, default 10
        Cutoff of NDCG.
    seed : int, Generator or None, default 0
        Seed of the split and the fits; the same seed gives the same weights.
    on_trial : callable, optional
        Called with the weights and the metric after each trial.

    Returns
    -------
    TypeWeights
        The best weights that were tried.

    Raises
    ------
    ParameterError
        If `target` is not one of several types, or `trials` is below 1.
    DataError
        If there are too few events of the target type to hold some out.
    KindError
        If a table contains ratings, or the estimator needs them.

    Notes
    -----
    If all tables have times, the latest 20 % of the pairs of the target type are held out, and training ends before
    them; otherwise a random 20 %. The held-out pairs are removed from all types, so that the task is to find new items.
    Lists exclude the items of all training events of a user, whatever their weights. The first trial uses the target
    type alone. Then the weight of one type at a time, the most frequent first, is set to the best of 0, .01, .03, .1,
    .3 and 1, until a pass over all types changes nothing.

    Examples
    --------
    >>> import cofactor
    >>> buys = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], kind="events")
    >>> views = cofactor.Interactions.from_columns([1, 2, 2], [9, 8, 7], kind="events")
    >>> tables = {"view": views, "buy": buys}
    >>> learned = cofactor.evaluate.learn_type_weights(tables, target="buy", estimator=cofactor.Popularity(), trials=2)
    >>> len(learned.trials), list(learned.weights)
    (2, ['view', 'buy'])
    """
    require_event_tables(tables)
    target = checks.choice("target", target, tuple(tables))
    if len(tables) < 2:
        raise ParameterError(f"tables must contain at least two event types; got only {target!r}")
    estimator = ImplicitALS() if estimator is None else require_estimator(estimator)
    trials, seed = checks.whole_number("trials", trials, low=1), checks.seed(seed)
    k = checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH)
    checks.optional_callable("on_trial", on_trial)
    train, test = _held_out(tables, target, seed)
    order: Order = (
        "by time" if test.times is not None and all(table.times is not None for table in train.values()) else "any"
    )
    all_events = combine_events(train, dict.fromkeys(train, 1.0))
    values: dict[tuple[float, ...], float] = {}

    def value(weights: dict[str, float]) -> float:
        key = tuple(weights.values())
        if key not in values:
            events = combine_events(train, weights)
            unused = all_events.select(~np.isin(_pairs(all_events), _pairs(events)))
            events = replace(events, seen=unused)  # the same items are excluded in all trials
            split = Split(events, test, f"held-out events of type {target}", order)
            score = fit_and_score(estimator, split, label=estimator.name, ks=(k,), seed=seed)
            values[key] = score.metrics[f"ndcg@{k}"][0]
            if on_trial is not None:
                on_trial(dict(weights), values[key])
        return values[key]

    best = {name: float(name == target) for name in tables}
    target_only = value(best)
    others = sorted((name for name in tables if name != target), key=lambda name: -len(tables[name]))
    changed = True
    while changed and len(values) < trials:
        changed = False
        for name in others:
            for candidate in CANDIDATES:
                trial = {**best, name: candidate}
                if tuple(trial.values()) not in values and len(values) >= trials:
                    break
                if value(trial) > value(best):
                    best, changed = trial, True
    columns = dict(zip(tables, zip(*values, strict=True), strict=True))
    table = pl.DataFrame({**columns, f"ndcg@{k}": list(values.values())})
    return TypeWeights(best, f"ndcg@{k}", value(best), target_only, table)


def _held_out(
    tables: Mapping[str, Interactions], target: str, seed: int
) -> tuple[dict[str, Interactions], Interactions]:
    """Return the training tables and the held-out events of the target type, all with the same ID maps."""
    all_events = combine_events(tables, dict.fromkeys(tables, 1.0))
    same_ids = {name: table.with_ids(all_events.users, all_events.items) for name, table in tables.items()}
    events = same_ids[target]
    cutoff: int | None = None
    if all(table.times is not None for table in tables.values()) and events.times is not None:
        cutoff = int(np.quantile(events.times, 1 - SHARE, method="higher"))
        is_test = events.times >= cutoff
    else:
        test = split_random(events, test=SHARE, seed=seed).test
        is_test = np.isin(_pairs(events), _pairs(test))
    held_out_pairs = _pairs(events)[is_test]
    train = {}
    for name, table in same_ids.items():
        keep: Bool = ~np.isin(_pairs(table), held_out_pairs)
        if cutoff is not None and table.times is not None:
            keep &= table.times < cutoff
        train[name] = table.select(keep)
    if not is_test.any() or not len(train[target]):
        raise DataError(f"there are too few events of type {target!r} to hold some of them out")
    return train, events.select(is_test)


def _pairs(table: Interactions) -> Int64:
    """Encode each user-item pair as one integer: ndarray of shape (n,), int64."""
    return table.u.astype(np.int64) * table.n_items + table.i
