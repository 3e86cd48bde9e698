"""The gate: what lets a candidate pass, and what holds it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.estimators import Bias, ExplicitALS, ImplicitALS, Popularity
from cofactor.recommender.recommender import Recommender
from cofactor.recommender.updating import as_of, rows_of
from cofactor.service.training.data import TrainingData
from cofactor.service.training.promotion_gate import ListStatistics, PromotionGate


def data_of(table: Interactions, held: int = 400) -> TrainingData:
    frame = table.frame().with_columns(pl.col("user", "item").cast(pl.String)).sample(fraction=1, shuffle=True, seed=1)
    known, held_out = frame[:-held], frame[-held:]
    train = Interactions.from_columns(
        known["user"], known["item"], known["value"], times=known["time"], kind=table.kind
    )
    columns = ["user", "item", "value", "time"]
    return TrainingData(train, known.select(columns), held_out.select(columns), len(known), len(frame))


def test_a_model_is_as_good_as_itself(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    rec = Recommender.fit(ExplicitALS(factors=4), data.train)
    result = PromotionGate().evaluate(rec, rec, data)
    assert result.reasons == ()
    assert result.accuracy is not None
    assert result.accuracy.loss == 0
    assert result.accuracy.events == 400
    assert result.candidate == result.active


def test_the_measure_is_the_rmse_of_the_rows_held_out(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    one, other = (Recommender.fit(estimator, data.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    found = PromotionGate().evaluate(one, other, data).accuracy
    assert found is not None
    held = data.held_out
    told = one.predict(held["user"], held["item"])["prediction"].to_numpy()
    assert found.metric == "rmse"
    assert found.candidate == pytest.approx(np.sqrt(np.mean((told - held["value"].to_numpy()) ** 2)), abs=1e-4)
    assert found.low <= found.loss <= found.high
    assert found.loss == pytest.approx(found.candidate - found.active)


def test_a_worse_model_is_held_with_the_figures(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    worse, better = (Recommender.fit(estimator, data.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    result = PromotionGate().evaluate(worse, better, data)
    assert any("accuracy on the newest events is worse: rmse" in reason for reason in result.reasons)
    back = PromotionGate(coverage=0.9, lift=9, top_share=1).evaluate(better, worse, data)
    assert back.reasons == ()


def test_events_are_measured_by_what_is_found(small_events: Interactions) -> None:
    data = data_of(small_events, 300)
    worse, better = (Recommender.fit(one, data.train) for one in (Popularity(), ImplicitALS(factors=4)))
    result = PromotionGate().evaluate(worse, better, data)
    assert result.accuracy is not None
    assert result.accuracy.metric == "ndcg@10"
    assert 0 < result.accuracy.candidate < result.accuracy.active < 1
    assert result.accuracy.loss == pytest.approx(result.accuracy.active - result.accuracy.candidate)
    assert any("accuracy" in reason for reason in result.reasons)
    assert any("coverage falls" in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (ListStatistics(0.3, 0.5, 0.1, 1.0), "coverage falls"),
        (ListStatistics(0.5, 0.5, 0.3, 1.0), "1 % most recommended"),
        (ListStatistics(0.5, 0.5, 0.1, 1.5), "popularity lift"),
    ],
)
def test_each_limit_has_its_reason(shown: ListStatistics, reason: str) -> None:
    before = ListStatistics(0.5, 0.5, 0.1, 1.0)
    assert PromotionGate()._exposure_reasons(before, before) == []
    found = PromotionGate()._exposure_reasons(shown, before)
    assert len(found) == 1
    assert reason in found[0]


def test_too_few_events_are_not_measured(small_ratings: Interactions) -> None:
    data = data_of(small_ratings, 20)
    rec = Recommender.fit(Bias(), data.train)
    result = PromotionGate().evaluate(rec, rec, data)
    assert result.accuracy is None
    assert "20 new events" in result.notes[0]
    assert result.as_dict()["accuracy"] is None


def test_proof_may_be_asked_for(small_ratings: Interactions) -> None:
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


def test_no_proof_is_made_of_few_users(small_ratings: Interactions) -> None:
    """An interval over a dozen users covers too little: a gate that asks for one stays shut, and says why."""
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
        r"criterion 'upper' needs an interval of the loss, which 80 events of \d+ users do not give: An interval",
        reason,
    )
    assert shut.as_dict()["accuracy"]["high"] is None
    assert gate.evaluate(better, worse, data).reasons == ()
    lost = replace(gate, tolerance=-5.0).evaluate(better, worse, data).reasons[0]
    assert "no interval" in lost
    assert "nan" not in lost


def test_who_changed_is_folded_in_and_nobody_else(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    rec = Recommender.fit(ExplicitALS(factors=4), data.train)
    users = IdMap.of(["user 1", "user 2", "zoe"])
    told = pl.DataFrame({"user": ["zoe", "user 2"], "item": ["item 1", "no such item"], "value": [5.0, 5.0]})
    rows = data.snapshot.select("user", "item", "value").filter(pl.col("user").is_in(["user 1", "user 2"]))
    now = as_of(rec, users, pl.concat([rows, told.cast({"value": pl.Float32})]))
    before = rec.model.user_factors[rec.users.rows(["user 1", "user 2"])]
    assert np.array_equal(now.model.user_factors[:2], before)
    assert now.histories.counts[2] == 1
    fewer = as_of(rec, users, rows[1:])
    assert np.array_equal(fewer.model.user_factors[1], before[1]) != np.array_equal(
        fewer.model.user_factors[0], before[0]
    )


def test_enough_users_are_looked_for_among_the_newest_events() -> None:
    """Up to half of what is new is held out to find ten of them."""
    lone = [str(n // 20) for n in range(1_000)]  # each comes with twenty ratings at once
    new = pl.DataFrame({"seq": range(1, 1_001), "user": lone})
    assert PromotionGate(share=0.1).cutoff(new, 1_000) == 1_000 - 181
    assert PromotionGate(share=0.5).cutoff(new, 1_000) == 500
    assert PromotionGate(share=0.1, min_users=40).cutoff(new, 1_000) == 500
    assert PromotionGate().cutoff(new[:49], 1_000) == 1_000
    assert PromotionGate(max_events=150).cutoff(new, 1_000) == 850
    assert PromotionGate().cutoff(new[:60], 60) == 10


def test_too_few_users_are_not_measured(small_ratings: Interactions) -> None:
    data = data_of(small_ratings)
    rec = Recommender.fit(Bias(), data.train)
    few = replace(data, held_out=data.held_out.with_columns(user=pl.lit("user 1")).unique("item"))
    assert len(few.held_out) >= 50
    result = PromotionGate().evaluate(rec, rec, few)
    assert result.accuracy is None
    assert "of 1 users" in result.notes[0]


def test_what_was_had_before_is_nothing_to_find(small_events: Interactions) -> None:
    """Played again: lists leave it out, so that no model could find it."""
    data = data_of(small_events, 300)
    rec = Recommender.fit(Popularity(), data.train)
    again = replace(data, held_out=data.snapshot[:300])
    result = PromotionGate().evaluate(rec, rec, again)
    assert result.reasons == ()
    assert result.accuracy is None
    assert "300 new events of 0 users" in result.notes[0]


def test_ids_of_either_type_are_found() -> None:
    assert rows_of(IdMap.of([1, 20]), pl.Series(["20", "020", "x"])).tolist() == [1, -1, -1]
    assert rows_of(IdMap.of(["1", "x"]), pl.Series(["x", "1", "y"])).tolist() == [1, 0, -1]
    assert rows_of(IdMap.of([1]), pl.Series([], dtype=pl.String)).tolist() == []


def test_limits_are_checked() -> None:
    with pytest.raises(ParameterError):
        PromotionGate(share=1.0)
    with pytest.raises(ParameterError):
        PromotionGate(min_events=0)
    with pytest.raises(ParameterError):
        PromotionGate(min_users=0)
    with pytest.raises(ParameterError):
        PromotionGate(criterion="low")  # type: ignore[arg-type]
