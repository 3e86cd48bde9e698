"""Promotion gate: which candidates are promoted and which are held."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.estimators import Bias, ExplicitALS, ImplicitALS, PairedModels, Popularity
from cofactor.recommender.recommender import Recommender
from cofactor.service.training.data import TrainingData
from cofactor.service.training.point_in_time import as_of
from cofactor.service.training.promotion_gate import ListStatistics, PromotionGate, ranking_accuracy


def data_of(table: Interactions, held: int = 400) -> TrainingData:
    frame = table.frame().with_columns(pl.col("user", "item").cast(pl.String)).sample(fraction=1, shuffle=True, seed=1)
    earlier, held_out = frame[:-held], frame[-held:]
    train = Interactions.from_columns(
        earlier["user"], earlier["item"], earlier["value"], times=earlier["time"], kind=table.kind
    )
    columns = ["user", "item", "value", "time"]
    return TrainingData(train, earlier.select(columns), held_out.select(columns), len(earlier), len(frame))


def test_a_model_is_as_good_as_itself(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    rec = Recommender.fit(ExplicitALS(factors=4), data.train)
    result = PromotionGate().evaluate(rec, rec, data)
    assert result.reasons == ()
    assert result.accuracy is not None
    assert result.accuracy.loss == 0
    assert result.accuracy.events == 400
    assert result.candidate == result.active


def test_accuracy_is_the_rmse_of_the_held_out_rows(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    candidate, active = (Recommender.fit(estimator, data.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    accuracy = PromotionGate().evaluate(candidate, active, data).accuracy
    assert accuracy is not None
    held = data.held_out
    predicted = candidate.predict(held["user"], held["item"])["prediction"].to_numpy()
    assert accuracy.metric == "rmse"
    assert accuracy.candidate == pytest.approx(np.sqrt(np.mean((predicted - held["value"].to_numpy()) ** 2)), abs=1e-4)
    assert np.isnan([accuracy.low, accuracy.high]).all()  # fewer than 200 users
    assert accuracy.loss == pytest.approx(accuracy.candidate - accuracy.active)


def test_a_worse_model_is_held_with_its_metrics(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    worse, better = (Recommender.fit(estimator, data.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    result = PromotionGate().evaluate(worse, better, data)
    assert any("accuracy on the newest events is worse: rmse" in reason for reason in result.reasons)
    back = PromotionGate(coverage=0.9, lift=9, top_share=1).evaluate(better, worse, data)
    assert back.reasons == ()


def test_accuracy_of_events_is_ndcg(small_events: Interactions) -> None:
    data = data_of(small_events, 300)
    worse, better = (Recommender.fit(estimator, data.train) for estimator in (Popularity(), ImplicitALS(factors=4)))
    result = PromotionGate().evaluate(worse, better, data)
    assert result.accuracy is not None
    assert result.accuracy.metric == "ndcg@10"
    assert 0 < result.accuracy.candidate < result.accuracy.active < 1
    assert result.accuracy.loss == pytest.approx(result.accuracy.active - result.accuracy.candidate)
    assert any("accuracy" in reason for reason in result.reasons)
    assert any("coverage falls" in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("statistics", "reason"),
    [
        (ListStatistics(0.3, 0.5, 0.1, 1.0), "coverage falls"),
        (ListStatistics(0.5, 0.5, 0.3, 1.0), "1% most-recommended"),
        (ListStatistics(0.5, 0.5, 0.1, 1.5), "popularity lift"),
    ],
)
def test_each_limit_has_its_reason(statistics: ListStatistics, reason: str) -> None:
    before = ListStatistics(0.5, 0.5, 0.1, 1.0)
    assert PromotionGate()._exposure_reasons(before, before) == []
    reasons = PromotionGate()._exposure_reasons(statistics, before)
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_accuracy_is_not_compared_on_too_few_events(small_ratings: Interactions) -> None:
    data = data_of(small_ratings, 20)
    rec = Recommender.fit(Bias(), data.train)
    result = PromotionGate().evaluate(rec, rec, data)
    assert result.accuracy is None
    assert "20 new events" in result.notes[0]
    assert result.as_dict()["accuracy"] is None


def test_the_upper_end_of_the_loss_can_be_the_criterion(small_ratings: Interactions) -> None:
    data = data_of(small_ratings, 60)
    rec = Recommender.fit(ExplicitALS(factors=4), data.train)
    other = Recommender.fit(ExplicitALS(factors=4), data.train, seed=1)
    loose, strict = (
        PromotionGate(criterion=end, tolerance=0.004).evaluate(rec, other, data) for end in ("mean", "upper")
    )
    assert loose.accuracy is not None
    assert strict.accuracy == loose.accuracy
    allowed = 0.004 * loose.accuracy.active
    assert (strict.reasons == ()) == (loose.accuracy.high <= allowed)
    assert (loose.reasons == ()) == (loose.accuracy.loss <= allowed)


def test_the_upper_criterion_needs_enough_users(small_ratings: Interactions) -> None:
    """A dozen users give no interval: the criterion that needs it rejects the candidate with this reason."""
    few = small_ratings.select(small_ratings.u < 12)
    data = data_of(few, held=80)
    worse, better = (Recommender.fit(estimator, data.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    gate = PromotionGate(tolerance=5.0, min_users=5, coverage=1, top_share=1, lift=99)
    shut = replace(gate, criterion="upper").evaluate(better, worse, data)
    assert shut.accuracy is not None
    assert np.isnan([shut.accuracy.low, shut.accuracy.high]).all()
    assert np.isfinite(shut.accuracy.loss)
    (reason,) = shut.reasons
    assert re.search(
        r"criterion 'upper' requires an interval for the loss, but 80 events from \d+ users give none: An interval",
        reason,
    )
    assert shut.as_dict()["accuracy"]["high"] is None
    assert gate.evaluate(better, worse, data).reasons == ()
    lost = replace(gate, tolerance=-5.0).evaluate(better, worse, data).reasons[0]
    assert "no interval" in lost
    assert "nan" not in lost


def test_only_users_with_changes_are_folded_in(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    rec = Recommender.fit(ExplicitALS(factors=4), data.train)
    users = IdMap.of(["user 1", "user 2", "zoe"])
    new = pl.DataFrame({"user": ["zoe", "user 2"], "item": ["item 1", "no such item"], "value": [5.0, 5.0]})
    rows = data.snapshot.select("user", "item", "value").filter(pl.col("user").is_in(["user 1", "user 2"]))
    now = as_of(rec, users, pl.concat([rows, new.cast({"value": pl.Float32})]))
    before = rec.model.user_factors[rec.users.rows(["user 1", "user 2"])]
    assert np.array_equal(now.model.user_factors[:2], before)
    assert now.histories.counts[2] == 1
    fewer = as_of(rec, users, rows[1:])
    assert np.array_equal(fewer.model.user_factors[1], before[1]) != np.array_equal(
        fewer.model.user_factors[0], before[0]
    )


def test_more_events_are_held_out_to_reach_enough_users() -> None:
    """Up to half of the new events are held out to reach ten users."""
    lone = [str(n // 20) for n in range(1_000)]  # each has twenty ratings in a row
    new = pl.DataFrame({"seq": range(1, 1_001), "user": lone})
    assert PromotionGate(share=0.1).cutoff(new, 1_000) == 1_000 - 181
    assert PromotionGate(share=0.5).cutoff(new, 1_000) == 500
    assert PromotionGate(share=0.1, min_users=40).cutoff(new, 1_000) == 500
    assert PromotionGate().cutoff(new[:49], 1_000) == 1_000
    assert PromotionGate(max_events=150).cutoff(new, 1_000) == 850
    assert PromotionGate().cutoff(new[:60], 60) == 10


def test_accuracy_is_not_compared_on_too_few_users(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    rec = Recommender.fit(Bias(), data.train)
    few = replace(data, held_out=data.held_out.with_columns(user=pl.lit("user 1")).unique("item"))
    assert len(few.held_out) >= 50
    result = PromotionGate().evaluate(rec, rec, few)
    assert result.accuracy is None
    assert "from 1 users" in result.notes[0]


def test_repeated_events_are_ignored(small_events: Interactions) -> None:
    """Recommendations exclude items of the history, so that no model can list them."""
    data = data_of(small_events, 300)
    rec = Recommender.fit(Popularity(), data.train)
    again = replace(data, held_out=data.snapshot[:300])
    result = PromotionGate().evaluate(rec, rec, again)
    assert result.reasons == ()
    assert result.accuracy is None
    assert "300 new events from 0 users" in result.notes[0]


def test_ids_of_both_types_have_rows() -> None:
    assert IdMap.of([1, 20]).rows(pl.Series(["20", "020", "x"])).tolist() == [1, -1, -1]
    assert IdMap.of(["1", "x"]).rows(pl.Series(["x", "1", "y"])).tolist() == [1, 0, -1]
    assert IdMap.of([1]).rows(pl.Series([], dtype=pl.String)).tolist() == []


def test_limits_are_checked() -> None:
    with pytest.raises(ParameterError):
        PromotionGate(share=1.0)
    with pytest.raises(ParameterError):
        PromotionGate(min_events=0)
    with pytest.raises(ParameterError):
        PromotionGate(min_users=0)
    with pytest.raises(ParameterError):
        PromotionGate(criterion="low")  # type: ignore[arg-type]


def test_pairs_are_compared_by_both_metrics(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    good, worse_ranker, worse_ratings = (
        Recommender.fit(PairedModels(ranker, rating_model, min_rating=4), data.train)
        for ranker, rating_model in (
            (ImplicitALS(factors=4), ExplicitALS(factors=4)),
            (Popularity(), ExplicitALS(factors=4)),
            (ImplicitALS(factors=4), Bias()),
        )
    )
    lenient = PromotionGate(coverage=0.99, lift=99, top_share=1)
    result = lenient.evaluate(good, good, data)
    assert result.reasons == result.notes == ()
    assert result.accuracy is not None
    assert result.ranking is not None
    assert (result.accuracy.metric, result.ranking.metric) == ("rmse", "ndcg@10")
    assert result.ranking.events == (data.held_out["value"] >= 4).sum()
    (reason,) = lenient.evaluate(worse_ranker, good, data).reasons
    assert "accuracy on the newest events is worse: ndcg@10" in reason
    (reason,) = lenient.evaluate(worse_ratings, good, data).reasons
    assert "accuracy on the newest events is worse: rmse" in reason


def test_the_ranking_of_a_pair_is_that_of_its_ranker(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    pair = Recommender.fit(PairedModels(ImplicitALS(factors=4), Bias(), min_rating=4), data.train)
    single = Recommender.fit(Bias(), data.train)
    ranking = PromotionGate().evaluate(pair, single, data).ranking
    assert ranking is not None
    liked = data.held_out.filter(pl.col("value") >= 4)
    users = IdMap.of(liked["user"].unique())
    alone = ranking_accuracy(
        as_of(pair, users, data.snapshot), as_of(single, users, data.snapshot), liked, k=10, seed=0
    )
    assert repr(ranking) == repr(alone)  # bounds may be nan
    assert PromotionGate().evaluate(single, pair, data).ranking is not None
    assert PromotionGate().evaluate(single, single, data).ranking is None


def test_rankings_are_not_compared_on_too_few_users(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    pair = Recommender.fit(PairedModels(ImplicitALS(factors=4), Bias(), min_rating=4), data.train)
    disliked = data.held_out.with_columns(value=pl.lit(2.0))
    result = PromotionGate().evaluate(pair, pair, replace(data, held_out=disliked))
    assert result.accuracy is not None
    assert result.ranking is None
    assert result.notes == (
        "rankings were not compared: 0 new liked ratings from 0 users; at least 10 users are required",
    )
