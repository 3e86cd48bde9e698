"""The strong, well-known model that every comparison holds, with settings tuned on this very data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

from cofactor.data.interactions import Kind
from cofactor.errors import DataError, DivergedError
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import figure, is_better, main_metric
from cofactor.evaluate.split import Split
from cofactor.evaluate.validation_split import inner_split
from cofactor.recommender.recommender import Recommender

__all__ = ["RIVALS", "tuned_rival"]

RIVALS: dict[Kind, dict[str, Mapping[str, Sequence[float]]]] = {
    "ratings": {
        "item-knn": {"shrink": (0.25, 1, 4), "k": (0.5, 1, 2), "damping": (0.25, 1, 4)},
        "explicit-als": {"l2": (0.5, 1, 2)},
    },
    "events": {"implicit-als": {"alpha0": (0.25, 1, 4), "l2": (0.25, 1, 4)}},
}
"""Per kind of table: models in order of preference, and by what each setting's default is multiplied, in turn."""


def tuned_rival(split: Split, *, k: int = 10, seed: int = 0, on_fit: Callable[[], None] | None = None) -> Estimator:
    """The first of RIVALS that the registry has, with the settings that do best on a validation part.

    One setting after the other, the others held (coordinate search): five to seven fits on the training part without
    its validation part; the test part is never looked at. A table too small to be parted gives the defaults. A fit that
    diverges loses. Source of the need: Rendle, Zhang & Koren (2019), "On the difficulty of evaluating baselines".

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> tuned_rival(cofactor.split_random(ratings)).name
    'item-knn'
    """
    name, grid = next((n, g) for n, g in RIVALS[split.train.kind].items() if n in REGISTRY)
    best: Estimator = REGISTRY[name]()
    try:
        inner = inner_split(split, seed=seed)
    except DataError:
        return best
    metric = main_metric(split.train.kind, k)
    found = {best: _figure_or_nan(best, inner, k, seed, on_fit)}
    for setting, factors in grid.items():
        for factor in factors:
            default = getattr(REGISTRY[name](), setting)
            candidate = best.with_settings(**{setting: type(default)(default * factor)})
            if candidate not in found:
                found[candidate] = _figure_or_nan(candidate, inner, k, seed, on_fit)
        best = _best(found, metric)
    return best


def _best(found: dict[Any, float], metric: str) -> Any:
    best = next(iter(found))
    for candidate, value in found.items():
        if is_better(metric, value, found[best]):
            best = candidate
    return best


def _figure_or_nan(
    estimator: Estimator, inner: Split, k: int, seed: int, on_fit: Callable[[], None] | None
) -> float:  # fmt: skip
    if on_fit is not None:
        on_fit()
    try:
        return figure(Recommender.fit(estimator, inner.train, seed=seed), inner, k=k)
    except DivergedError:
        return nan
