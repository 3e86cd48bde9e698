"""The guard: what lets a candidate pass, and what holds it."""

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
from cofactor.service.training.data import Material
from cofactor.service.training.promotion_gate import Guard, Shown


def material_of(table: Interactions, held: int = 400) -> Material:
    frame = table.frame().with_columns(pl.col("user", "item").cast(pl.String)).sample(fraction=1, shuffle=True, seed=1)
    known, held_out = frame[:-held], frame[-held:]
    train = Interactions.from_columns(
        known["user"], known["item"], known["value"], times=known["time"], kind=table.kind
    )
    columns = ["user", "item", "value", "time"]
    return Material(train, known.select(columns), held_out.select(columns), len(known), len(frame))


def test_a_model_is_as_good_as_itself(small_ratings: Interactions) -> None:
    material = material_of(small_ratings)
    rec = Recommender.fit(ExplicitALS(factors=4), material.train)
    verdict = Guard().judge(rec, rec, material)
    assert verdict.reasons == ()
    assert verdict.accuracy is not None
    assert verdict.accuracy.loss == 0
    assert verdict.accuracy.events == 400
    assert verdict.candidate == verdict.active


def test_the_measure_is_the_rmse_of_the_rows_held_out(small_ratings: Interactions) -> None:
    material = material_of(small_ratings)
    one, other = (Recommender.fit(estimator, material.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    found = Guard().judge(one, other, material).accuracy
    assert found is not None
    held = material.held_out
    told = one.predict(held["user"], held["item"])["prediction"].to_numpy()
    assert found.metric == "rmse"
    assert found.candidate == pytest.approx(np.sqrt(np.mean((told - held["value"].to_numpy()) ** 2)), abs=1e-4)
    assert found.low <= found.loss <= found.high
    assert found.loss == pytest.approx(found.candidate - found.active)


def test_a_worse_model_is_held_with_the_figures(small_ratings: Interactions) -> None:
    material = material_of(small_ratings)
    worse, better = (Recommender.fit(estimator, material.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    verdict = Guard().judge(worse, better, material)
    assert any("it loses on the newest events: rmse" in reason for reason in verdict.reasons)
    back = Guard(coverage=0.9, lift=9, top_share=1).judge(better, worse, material)
    assert back.reasons == ()


def test_events_are_measured_by_what_is_found(small_events: Interactions) -> None:
    material = material_of(small_events, 300)
    worse, better = (Recommender.fit(one, material.train) for one in (Popularity(), ImplicitALS(factors=4)))
    verdict = Guard().judge(worse, better, material)
    assert verdict.accuracy is not None
    assert verdict.accuracy.metric == "ndcg@10"
    assert 0 < verdict.accuracy.candidate < verdict.accuracy.active < 1
    assert verdict.accuracy.loss == pytest.approx(verdict.accuracy.active - verdict.accuracy.candidate)
    assert any("loses" in reason for reason in verdict.reasons)
    assert any("coverage falls" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (Shown(0.3, 0.5, 0.1, 1.0), "coverage falls"),
        (Shown(0.5, 0.5, 0.3, 1.0), "1 % shown most"),
        (Shown(0.5, 0.5, 0.1, 1.5), "popularity lift"),
    ],
)
def test_each_limit_has_its_reason(shown: Shown, reason: str) -> None:
    before = Shown(0.5, 0.5, 0.1, 1.0)
    assert Guard()._narrows(before, before) == []
    found = Guard()._narrows(shown, before)
    assert len(found) == 1
    assert reason in found[0]


def test_too_few_events_are_not_measured(small_ratings: Interactions) -> None:
    material = material_of(small_ratings, 20)
    rec = Recommender.fit(Bias(), material.train)
    verdict = Guard().judge(rec, rec, material)
    assert verdict.accuracy is None
    assert "20 new events" in verdict.notes[0]
    assert verdict.as_dict()["accuracy"] is None


def test_proof_may_be_asked_for(small_ratings: Interactions) -> None:
    material = material_of(small_ratings, 60)
    rec = Recommender.fit(ExplicitALS(factors=4), material.train)
    other = Recommender.fit(ExplicitALS(factors=4), material.train, seed=1)
    loose, strict = (Guard(end=end, tolerance=0.004).judge(rec, other, material) for end in ("mean", "high"))
    assert loose.accuracy is not None
    assert strict.accuracy == loose.accuracy
    allowed = 0.004 * loose.accuracy.active
    assert (strict.reasons == ()) == (loose.accuracy.high <= allowed)
    assert (loose.reasons == ()) == (loose.accuracy.loss <= allowed)


def test_no_proof_is_made_of_few_users(small_ratings: Interactions) -> None:
    """An interval over a dozen users covers too little: a gate that asks for one stays shut, and says why."""
    few = small_ratings.select(small_ratings.u < 12)
    material = material_of(few, held=80)
    worse, better = (Recommender.fit(estimator, material.train) for estimator in (Bias(), ExplicitALS(factors=4)))
    guard = Guard(tolerance=5.0, people=5, coverage=1, top_share=1, lift=99)
    shut = replace(guard, end="high").judge(better, worse, material)
    assert shut.accuracy is not None
    assert np.isnan([shut.accuracy.low, shut.accuracy.high]).all()
    assert np.isfinite(shut.accuracy.loss)
    (reason,) = shut.reasons
    assert re.search(r"end=high needs an interval of the loss, and there is none on 80 events of \d+ users: An", reason)
    assert shut.as_dict()["accuracy"]["high"] is None
    assert guard.judge(better, worse, material).reasons == ()
    lost = replace(guard, tolerance=-5.0).judge(better, worse, material).reasons[0]
    assert "no interval" in lost
    assert "nan" not in lost


def test_who_changed_is_folded_in_and_nobody_else(small_ratings: Interactions) -> None:
    material = material_of(small_ratings)
    rec = Recommender.fit(ExplicitALS(factors=4), material.train)
    users = IdMap.of(["user 1", "user 2", "zoe"])
    told = pl.DataFrame({"user": ["zoe", "user 2"], "item": ["item 1", "no such item"], "value": [5.0, 5.0]})
    rows = material.known.select("user", "item", "value").filter(pl.col("user").is_in(["user 1", "user 2"]))
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
    assert Guard(share=0.1).cut(new, 1_000) == 1_000 - 181
    assert Guard(share=0.5).cut(new, 1_000) == 500
    assert Guard(share=0.1, people=40).cut(new, 1_000) == 500
    assert Guard().cut(new[:49], 1_000) == 1_000
    assert Guard(most=150).cut(new, 1_000) == 850
    assert Guard().cut(new[:60], 60) == 10


def test_too_few_users_are_not_measured(small_ratings: Interactions) -> None:
    material = material_of(small_ratings)
    rec = Recommender.fit(Bias(), material.train)
    few = replace(material, held_out=material.held_out.with_columns(user=pl.lit("user 1")).unique("item"))
    assert len(few.held_out) >= 50
    verdict = Guard().judge(rec, rec, few)
    assert verdict.accuracy is None
    assert "of 1 users" in verdict.notes[0]


def test_what_was_had_before_is_nothing_to_find(small_events: Interactions) -> None:
    """Played again: lists leave it out, so that no model could find it."""
    material = material_of(small_events, 300)
    rec = Recommender.fit(Popularity(), material.train)
    again = replace(material, held_out=material.known[:300])
    verdict = Guard().judge(rec, rec, again)
    assert verdict.reasons == ()
    assert verdict.accuracy is None
    assert "300 new events of 0 users" in verdict.notes[0]


def test_ids_of_either_type_are_found() -> None:
    assert rows_of(IdMap.of([1, 20]), pl.Series(["20", "020", "x"])).tolist() == [1, -1, -1]
    assert rows_of(IdMap.of(["1", "x"]), pl.Series(["x", "1", "y"])).tolist() == [1, 0, -1]
    assert rows_of(IdMap.of([1]), pl.Series([], dtype=pl.String)).tolist() == []


def test_limits_are_checked() -> None:
    with pytest.raises(ParameterError):
        Guard(share=1.0)
    with pytest.raises(ParameterError):
        Guard(least=0)
    with pytest.raises(ParameterError):
        Guard(people=0)
    with pytest.raises(ParameterError):
        Guard(end="low")  # type: ignore[arg-type]
