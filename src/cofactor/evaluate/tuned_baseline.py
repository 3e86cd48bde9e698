"""Tuned baseline: a strong, well-known model for comparisons, with hyperparameters tuned on the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import nan

import numpy as np

from cofactor import checks
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.errors import DataError, DivergedError
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import primary_value
from cofactor.evaluate.split import Split
from cofactor.evaluate.validation_split import split_for_validation
from cofactor.metrics.registry import primary_metric
from cofactor.recommender.recommender import Recommender

__all__ = ["BASELINE_GRIDS", "tune_baseline"]

BASELINE_GRIDS: dict[Kind, dict[str, Mapping[str, Sequence[float]]]] = {
    "ratings": {
        "item-knn": {"shrink": (0.25, 1, 4), "k": (0.5, 1, 2), "damping": (0.25, 1, 4)},
        "explicit-als": {"l2": (0.5, 1, 2)},
    },
    "events": {"implicit-als": {"blank_ratio": (0.25, 1, 4), "l2_ratio": (0.25, 1, 4)}},
}
"""For each kind of table, models in order of preference, with the multiples of each default value to try."""

MAX_STORED = 32
"""The maximum number of tuned baselines in memory."""

_tuned: dict[bytes, Estimator] = {}


def tune_baseline(split: Split, *, k: int = 10, seed: Seed = 0, on_fit: Callable[[], None] | None = None) -> Estimator:
    """Tune a strong baseline model on the training set of a split.

    Parameters
    ----------
    split : Split
        Split; only its training set is used.
    k : int, default 10
        Cutoff for NDCG, for events.
    seed : int, Generator or None, default 0
        Seed for the validation split and of the fits.
    on_fit : callable, optional
        Called without arguments before each fit; not called if the result is known.

    Returns
    -------
    Estimator
        First model in BASELINE_GRIDS that is registered, with the best hyperparameters found, or with the default
        hyperparameters if the table is too small for a validation set.

    Notes
    -----
    Coordinate search: one hyperparameter is varied at a time while the others are held fixed. This takes five to seven
    fits on the training set, excluding the validation set. A fit that diverges is ranked last. The results of the last
    32 different calls are kept in memory, by the content of the training set.

    References
    ----------
    Rendle, Zhang & Koren (2019), "On the difficulty of evaluating baselines: a study on recommender systems", on why
    baselines must be tuned.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> tune_baseline(cofactor.split_random(ratings)).name
    'item-knn'
    """
    seed = checks.seed(seed)
    key = _content_key(split, k, seed)
    if key not in _tuned:
        tuned = _search(split, k, seed, on_fit)
        while len(_tuned) >= MAX_STORED:
            _tuned.pop(next(iter(_tuned)), None)
        _tuned[key] = tuned
        return tuned
    return _tuned[key]


def _content_key(split: Split, k: int, seed: int) -> bytes:
    """Return a hash of the data and settings that determine the tuned baseline of a split, excluding IDs."""
    train = split.train
    settings = (train.kind, train.n_users, train.n_items, train.scale, split.order, split.fold_in is not None, k, seed)
    digest = sha256(repr(settings).encode())
    for column in (train.u, train.i, train.values, train.times, train.weights):
        digest.update(b"none" if column is None else np.ascontiguousarray(column).data)
    return digest.digest()


def _search(split: Split, k: int, seed: int, on_fit: Callable[[], None] | None) -> Estimator:
    """Tune the baseline by a coordinate search; see `tune_baseline`."""
    name, grid = next((n, g) for n, g in BASELINE_GRIDS[split.train.kind].items() if n in REGISTRY)
    best: Estimator = REGISTRY[name]()
    try:
        validation = split_for_validation(split, seed=seed)
    except DataError:
        return best
    metric = primary_metric(split.train.kind, k)
    values = {best: _metric_or_nan(best, validation, k, seed, on_fit)}
    for param, multipliers in grid.items():
        for multiplier in multipliers:
            default = getattr(REGISTRY[name](), param)
            candidate = best.set_params(**{param: type(default)(default * multiplier)})
            if candidate not in values:
                values[candidate] = _metric_or_nan(candidate, validation, k, seed, on_fit)
        best = min(values, key=lambda candidate: metric.sort_key(values[candidate]))
    return best


def _metric_or_nan(
    estimator: Estimator, validation: Split, k: int, seed: int, on_fit: Callable[[], None] | None
) -> float:  # fmt: skip
    """Return the primary metric on the validation set; nan if the fit diverges."""
    if on_fit is not None:
        on_fit()
    try:
        return primary_value(Recommender.fit(estimator, validation.train, seed=seed), validation, k=k)
    except DivergedError:
        return nan
