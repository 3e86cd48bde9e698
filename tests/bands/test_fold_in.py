"""Fold-in agrees with training: users with 20 rows, fitted with a model or folded into it from the same rows.

The protocol is that of `benchmarks/fold_in.py`, which measures it on public data sets.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fold_in import as_events, compare, split_of
from cofactor import BiasedMF, Recommender, Split
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.estimators.base import estimators_of_kind
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss

CASES = [(kind, type_) for kind in ("ratings", "events") for type_ in estimators_of_kind(kind)]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6))]


def synthetic_split(seed: int, kind: str) -> Split:
    """Ratings or events of 300 to 900 users, 8 to 30 per user on average, with numbers of very different size."""
    rng = np.random.default_rng(seed)
    n_users, n_items = int(rng.integers(300, 900)), int(rng.integers(150, 500))
    config = SyntheticConfig(
        n_users=n_users, n_items=n_items, n_ratings=int(n_users * rng.uniform(8, 30)),
        factor_std=rng.uniform(0.2, 0.6), noise_std=rng.uniform(0.5, 1.0), user_bias_std=rng.uniform(0.2, 0.6),
    )  # fmt: skip
    table = generate(config, seed=seed).interactions
    return split_of(table if kind == "ratings" else as_events(table), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "type_"), CASES, ids=lambda value: value if isinstance(value, str) else value.name)
def test_folded_in_users_are_as_good_as_trained_users(kind: str, type_: type, seed: int) -> None:
    """The metric is worse by at most 1 %, or the paired interval includes 0."""
    result = compare(type_(), synthetic_split(seed, kind))
    assert result["users"] >= 30
    assert result["holds"], result


def test_without_its_penalty_fold_in_is_worse_than_training() -> None:
    """The penalty of fold-in of BiasedMF is needed: with the penalty of training alone, users are overfitted."""
    split = synthetic_split(0, "ratings")
    trained = Recommender.fit(BiasedMF(), split.train, seed=0)
    model = trained.model
    assert isinstance(model, FactorModel)
    assert isinstance(model.loss, RatingsLoss)
    assert model.loss.fold_in_l2 > 0
    rows = np.flatnonzero(split.test.by_user.counts)
    histories = trained.histories.take(rows)
    distances = []
    for loss in (model.loss, replace(model.loss, fold_in_l2=0.0)):
        folded = replace(model, loss=loss).fold_in(histories)
        scores = folded.user_factors @ model.item_factors.T + folded.user_bias[:, None]
        trained_scores = model.user_factors[rows] @ model.item_factors.T + model.user_bias[rows, None]
        distances.append(float(np.mean((scores - trained_scores) ** 2)))
    assert distances[0] < 0.5 * distances[1]
