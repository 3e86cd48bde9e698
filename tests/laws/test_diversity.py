"""Lists reranked by maximal marginal relevance, and lists ranked by an end of the predicted interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError
from cofactor.estimators import Bias, BiasedMF, ExplicitALS, ImplicitALS, Popularity
from cofactor.kernels.parallel import threads
from cofactor.models.base import HasUncertainty
from cofactor.models.distribution import Distribution
from cofactor.models.factor import FactorModel
from cofactor.models.rerank import mmr
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender


@pytest.fixture(scope="module")
def rec(small_ratings: Interactions) -> Recommender:
    return Recommender.fit(BiasedMF(factors=6, epochs=10, init_std=0.1), small_ratings)


@pytest.fixture(scope="module")
def all_users(rec: Recommender) -> np.ndarray:
    return np.arange(len(rec.users), dtype=np.int32)


def cosines(rec: Recommender, rows: np.ndarray) -> np.ndarray:
    vectors = rec.model.item_factors[rows].astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit @ np.swapaxes(unit, -1, -2)


# maximal marginal relevance


def mmr_by_hand(scores: np.ndarray, similarity: np.ndarray, n: int, trade_off: float) -> list[int]:
    left = [place for place in range(len(scores)) if np.isfinite(scores[place])]
    candidate_scores = scores[left]
    spread = candidate_scores.max() - candidate_scores.min() if len(left) else 1
    relevance = (scores - candidate_scores.min()) / (spread or 1) if len(left) else scores
    picked: list[int] = []
    while left and len(picked) < n:
        values = [
            (1 - trade_off) * relevance[i] - trade_off * max((similarity[i, j] for j in picked), default=0.0)
            for i in left
        ]
        picked.append(left.pop(int(np.argmax(values))))
    return picked + [-1] * (n - len(picked))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_picks_are_those_of_the_textbook_loop(seed: int, n: int, trade_off: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, (4, 9))
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    scores[0] = -np.inf
    vectors = rng.normal(0, 1, (4, 9, 3))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    similarity = vectors @ vectors.transpose(0, 2, 1)
    picks = mmr(scores, similarity, n, trade_off)
    assert picks.tolist() == [mmr_by_hand(scores[u], similarity[u], n, trade_off) for u in range(4)]


def test_no_users_and_no_candidates() -> None:
    assert mmr(np.zeros((0, 3)), np.zeros((0, 3, 3)), 2, 0.5).shape == (0, 2)
    assert mmr(np.zeros((2, 0)), np.zeros((2, 0, 0)), 2, 0.5).tolist() == [[-1, -1], [-1, -1]]
    equal = mmr(np.ones((1, 3)), np.ones((1, 3, 3)), 3, 0.5)
    assert equal.tolist() == [[0, 1, 2]]


def test_diversity_makes_lists_less_similar_and_keeps_the_best_first(rec: Recommender, all_users: np.ndarray) -> None:
    plain, plain_scores = rec.for_rows(all_users).rank(8)
    similarity, score = [], []
    for diversity in (0.0, 0.3, 0.7, 1.0):
        rows, scores = rec.for_rows(all_users).rank(8, diversity=diversity)
        assert rows[:, 0].tolist() == plain[:, 0].tolist()
        assert all(len(set(row)) == 8 for row in rows.tolist())
        off = ~np.eye(8, dtype=bool)
        similarity.append(float(cosines(rec, rows)[:, off].mean()))
        score.append(float(scores.mean()))
        seen = rec.histories
        assert not any(set(rows[u].tolist()) & set(seen.row(u).columns.tolist()) for u in all_users[::9])
    assert similarity == sorted(similarity, reverse=True)
    assert similarity[0] > similarity[-1] + 0.2
    assert score == sorted(score, reverse=True)
    zero, zero_scores = rec.for_rows(all_users).rank(8, diversity=0.0)
    assert zero.tobytes() == plain.tobytes()
    assert zero_scores.tobytes() == plain_scores.tobytes()


def test_a_diverse_list_is_mmr_over_the_best_ten_times_n(rec: Recommender) -> None:
    u = np.array([17], np.int32)
    best, scores = rec.for_rows(u).rank(40)
    expected = mmr_by_hand(scores[0].astype(np.float64), cosines(rec, best[0]), 4, 0.4)
    rows, picked = rec.for_rows(u).rank(4, diversity=0.4)
    assert rows[0].tolist() == best[0][expected].tolist()
    assert picked[0].tolist() == scores[0][expected].tolist()


def test_one_user_alone_in_a_batch_and_on_any_threads_gets_the_same_diverse_list(
    rec: Recommender, all_users: np.ndarray
) -> None:
    results = []
    for n in (1, 2, 4):
        with threads(n):
            results.append(rec.for_rows(all_users).rank(6, diversity=0.5))
    for rows, scores in results[1:]:
        assert rows.tobytes() == results[0][0].tobytes()
        assert scores.tobytes() == results[0][1].tobytes()
    for u in all_users[::11]:
        rows, scores = rec.for_rows(all_users[u : u + 1]).rank(6, diversity=0.5)
        assert rows.tobytes() == results[0][0][u : u + 1].tobytes()
        assert scores.tobytes() == results[0][1][u : u + 1].tobytes()


def test_diverse_lists_by_id_for_one_user_all_users_and_new_users(rec: Recommender) -> None:
    single = rec.recommend("user 3", n=5, diversity=0.6)
    assert single.columns == ["user", "item", "rank", "score", "prediction", "support", "answered_by"]
    assert single["rank"].to_list() == [1, 2, 3, 4, 5]
    batch = rec.recommend_all(5, diversity=0.6)
    assert batch.filter(batch["user"] == "user 3").equals(single)
    assert single["item"].to_list() != rec.recommend("user 3", n=5)["item"].to_list()
    history = [("item 1", 5), ("item 2", 1)]
    new_user = rec.for_history(history).recommend(n=5, diversity=0.9)
    assert new_user["item"][0] == rec.for_history(history).recommend(n=1)["item"][0]
    assert not {"item 1", "item 2"} & set(new_user["item"])
    candidates = ["item 4", "item 5", "item 6", "item 1"]
    assert set(rec.recommend("user 3", n=4, candidates=candidates, diversity=0.5)["item"]) <= set(candidates)


def test_a_list_longer_than_the_catalog_ends_where_it_ends(rec: Recommender) -> None:
    plain, diverse = rec.recommend("user 3", n=1000), rec.recommend("user 3", n=1000, diversity=0.5)
    assert sorted(plain["item"]) == sorted(diverse["item"])
    assert np.isfinite(diverse["score"].to_numpy()).all()


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan"), "much", None, True])
def test_diversity_is_a_share(rec: Recommender, diversity: Any) -> None:
    with pytest.raises(ParameterError, match="diversity must be a number between 0"):
        rec.recommend("user 3", diversity=diversity)


def test_models_without_vectors_are_rejected(small_ratings: Interactions, small_events: Interactions) -> None:
    for estimator, table in ((Bias(), small_ratings), (Popularity(), small_events)):
        with pytest.raises(KindError, match="no item vectors"):
            Recommender.fit(estimator, table).recommend("user 3", diversity=0.2)


def test_models_of_events_are_diversified_too(small_events: Interactions) -> None:
    rec = Recommender.fit(ImplicitALS(factors=8, epochs=3), small_events)
    rows, plain = (
        rec.for_rows(np.arange(50, dtype=np.int32)).rank(6, diversity=0.8)[0],
        rec.for_rows(np.arange(50)).rank(6)[0],
    )
    off = ~np.eye(6, dtype=bool)
    assert cosines(rec, rows)[:, off].mean() < cosines(rec, plain)[:, off].mean() - 0.05


# by the mean, cautiously, optimistically


@dataclass(frozen=True, eq=False)
class Unsure(FactorModel):
    """A factor model that is unsure of every second item."""

    def distribution(self, users: UserBatch, items: Any) -> Distribution:
        sd = np.where(items % 2 == 0, 0.2, 1.5)[:, None]
        return Distribution.of(self.raw_scores(users.rows, items)[:, None], sd, Scale.from_levels([1, 2, 3, 4, 5]))


@pytest.fixture(scope="module")
def unsure(small_ratings: Interactions) -> Recommender:
    fitted = Recommender.fit(ExplicitALS(factors=3, epochs=3), small_ratings)
    model = Unsure(**{**fitted.model.arrays(), **{k: getattr(fitted.model, k) for k in ("mean", "scale", "loss")}})
    assert isinstance(model, HasUncertainty)
    return Recommender(model, fitted.users, fitted.items, fitted.histories, "ratings")


def test_cautious_and_optimistic_go_by_the_ends_of_the_80_percent_interval(unsure: Recommender) -> None:
    users = np.arange(60, dtype=np.int32)
    best, means = unsure.for_rows(users).rank(40)
    sd = np.where(best % 2 == 0, 0.2, 1.5)
    for by, sign in (("lower", -1), ("upper", 1)):
        rows, scores = unsure.for_rows(users).rank(4, rank_by=by)  # type: ignore[arg-type]
        ends = means + sign * 1.2815515655 * sd
        np.testing.assert_allclose(scores, -np.sort(-ends, axis=1)[:, :4], atol=1e-5)
        assert (rows == np.take_along_axis(best, np.argsort(-ends, axis=1, kind="stable")[:, :4], axis=1)).mean() > 0.99
    share = {by: (unsure.for_rows(users).rank(4, rank_by=by)[0] % 2 == 0).mean() for by in ("lower", "mean", "upper")}  # type: ignore[arg-type]
    assert share["lower"] > 0.9 > share["mean"] > 0.1 > share["upper"]


def test_rank_by_works_with_diversity_for_new_users_and_in_batches(unsure: Recommender) -> None:
    rows, scores = unsure.for_rows(np.arange(30, dtype=np.int32)).rank(5, rank_by="lower", diversity=0.3)
    alone, alone_scores = unsure.for_rows(np.array([11], np.int32)).rank(5, rank_by="lower", diversity=0.3)
    assert alone.tobytes() == rows[11:12].tobytes()
    assert alone_scores.tobytes() == scores[11:12].tobytes()
    new_user = unsure.for_history([("item 1", 5), ("item 3", 4)]).recommend(n=6, rank_by="lower")
    assert sum(row % 2 == 0 for row in unsure.items.rows(new_user["item"])) >= 5
    listed = unsure.recommend("user 3", n=1000, rank_by="upper")
    assert sorted(listed["item"]) == sorted(unsure.recommend("user 3", n=1000)["item"])


def test_a_model_without_a_distribution_is_rejected(rec: Recommender) -> None:
    with pytest.raises(KindError, match=r"does not predict a distribution.*'lower'.*bayesian-mf"):
        rec.recommend("user 3", rank_by="lower")
    with pytest.raises(ParameterError, match="rank_by must be one of mean, lower, upper, not 'bold'"):
        rec.recommend("user 3", rank_by="bold")  # type: ignore[arg-type]
