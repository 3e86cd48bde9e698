"""Accuracy on MovieLens-100k inside stated bands, so that a broken learner cannot pass.

The splits are S0 and I0 (`evaluate/movielens_splits.py`); the full tables are made by `benchmarks/accuracy.py`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.evaluate.movielens_splits import i0_rows, s0_rows, split_rows
from cofactor.evaluate.split import Split
from cofactor.metrics.intervals import paired_difference
from cofactor.metrics.rating import rmse
from cofactor.metrics.registry import ranking_metrics
from cofactor.models.user_batch import UserBatch

SEEDS = range(5)


@pytest.fixture(scope="module")
def file_order(movielens: Interactions) -> pl.DataFrame:
    """The maker's file, whose order S0 and I0 are defined on."""
    assert len(movielens) == 100_000
    path = cofactor.datasets.fetch("movielens-100k") / "ratings.tsv"
    return pl.read_csv(path, separator="\t", has_header=False, new_columns=["user", "item", "value", "time"])


@pytest.fixture(scope="module")
def s0(movielens: Interactions, file_order: pl.DataFrame) -> Split:
    _, test = s0_rows()
    return split_rows(movielens, test, users=file_order["user"], items=file_order["item"], description="S0")


@pytest.fixture(scope="module")
def i0(movielens: Interactions, file_order: pl.DataFrame) -> list[Split]:
    events = movielens.to_events(min_rating=4)
    columns = {"users": file_order["user"], "items": file_order["item"]}
    values = file_order["value"].to_numpy()
    return [
        split_rows(events, i0_rows(columns["users"], values, seed=seed)[1], **columns).excluding("positives")
        for seed in range(10)
    ]


def mean_rmse(estimator: cofactor.BiasedMF | cofactor.Bias | cofactor.ExplicitALS, split: Split) -> float:
    def error_of(seed: int) -> float:
        rec = cofactor.Recommender.fit(estimator, split.train, seed=seed)
        return rmse(split.test.values, rec.model.predict(UserBatch.trained(split.test.u, rec.histories), split.test.i))

    return float(np.mean([error_of(seed) for seed in SEEDS]))


def test_s0_is_the_published_split(s0: Split) -> None:
    assert (len(s0.train), len(s0.test)) == (80_000, 20_000)
    unseen = ~np.isin(s0.test.u, s0.train.u) | ~np.isin(s0.test.i, s0.train.i)
    assert unseen.sum() == 36


def test_biased_mf_at_its_defaults(s0: Split) -> None:
    assert 0.905 < mean_rmse(cofactor.BiasedMF(factors=50), s0) <= 0.920


@pytest.mark.long
def test_a_pair_ranks_as_its_ranker_and_predicts_as_its_rating_model(s0: Split) -> None:
    """Hits are the test ratings of 4 and up; everything that a user rated in training is left out."""
    pair = cofactor.PairedModels(cofactor.ImplicitALS(), cofactor.BayesianMF(), min_rating=4)
    rec = cofactor.Recommender.fit(pair, s0.train)
    metrics = cofactor.evaluate.score(rec, s0, label="pair").metrics
    assert 0.375 < metrics["ndcg@10"].mean < 0.395
    assert 0.878 < metrics["rmse"].mean <= 0.885
    ranker = cofactor.Recommender.fit(pair.ranker, s0.train.to_events(min_rating=4))
    columns = ["user", "item", "rank", "score", "answered_by"]
    assert rec.recommend_all(10).select(columns).equals(ranker.recommend_all(10).select(columns))
    rating_model = cofactor.Recommender.fit(pair.rating_model, s0.train)
    users, items = s0.test.users.ids(s0.test.u), s0.test.items.ids(s0.test.i)
    assert rec.predict(users, items).equals(rating_model.predict(users, items))


@pytest.mark.long
def test_each_component_reduces_the_error(s0: Split) -> None:
    plain = cofactor.BiasedMF(l2=0.044, pseudo_ratings=0)
    full = mean_rmse(plain, s0)
    assert mean_rmse(cofactor.BiasedMF(), s0) < full
    assert mean_rmse(plain.set_params(biases=False), s0) > full + 0.004
    assert abs(mean_rmse(plain.set_params(rating_range=None), s0) - full) < 0.004
    assert mean_rmse(plain.set_params(l2=0.0, l2_bias=0.0), s0) > full + 0.03


@pytest.mark.long
def test_the_other_rating_estimators(s0: Split) -> None:
    assert 0.915 < mean_rmse(cofactor.ExplicitALS(), s0) < 0.928
    assert 0.950 < mean_rmse(cofactor.Bias(), s0) < 0.956


def ease(split: Split, l2: float = 300.0) -> np.ndarray:
    """NDCG@10 per user of EASE by its closed form (Steck 2019): B = -P / diag(P) off the diagonal."""
    X = np.zeros((split.train.n_users, split.train.n_items))
    X[split.train.u, split.train.i] = 1
    P = np.linalg.inv(X.T @ X + l2 * np.eye(split.train.n_items))
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    scores = np.where(X > 0, -np.inf, X @ B)
    return ndcg(split, np.argsort(-scores, axis=1, kind="stable")[:, :10].astype(np.int32))


def ndcg(split: Split, ranked: np.ndarray) -> np.ndarray:
    users = np.flatnonzero(split.test.by_user.counts)
    return ranking_metrics(ranked[users], split.test.by_user.take(users), ks=(10,))["ndcg@10"]


@pytest.mark.long
def test_implicit_als_at_its_defaults_keeps_up_with_ease(i0: list[Split]) -> None:
    """Per-user NDCG averaged over the ten splits, then bootstrapped over users."""

    def mine(split: Split) -> np.ndarray:
        rec = cofactor.Recommender.fit(cofactor.ImplicitALS(), split.train)
        return ndcg(split, rec.for_rows(np.arange(len(rec.users), dtype=np.int32)).rank(10)[0])

    theirs = [ease(split) for split in i0]
    assert theirs[0].mean() == pytest.approx(0.3247, abs=2e-4)
    ours = [mine(split) for split in i0]
    gap = paired_difference(np.mean(ours, axis=0), np.mean(theirs, axis=0))
    assert gap.mean > -0.003
    assert gap.low > -0.008
    assert np.mean(ours) > 0.31


def test_popularity(i0: list[Split]) -> None:
    rec = cofactor.Recommender.fit(cofactor.Popularity(), i0[0].train)
    mean_ndcg = ndcg(i0[0], rec.for_rows(np.arange(len(rec.users), dtype=np.int32)).rank(10)[0]).mean()
    assert mean_ndcg == pytest.approx(0.152, abs=0.002)


def test_graph_filter_keeps_up_with_ease(i0: list[Split]) -> None:
    rec = cofactor.Recommender.fit(cofactor.GraphFilter(), i0[0].train)
    mean_ndcg = ndcg(i0[0], rec.for_rows(np.arange(len(rec.users), dtype=np.int32)).rank(10)[0]).mean()
    assert mean_ndcg == pytest.approx(0.328, abs=0.003)
