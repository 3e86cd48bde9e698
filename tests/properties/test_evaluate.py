"""The protocol: a single ranking path, a baseline, no training item in a ranking, intervals over users."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isnan, sqrt
from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import EASE, Bias, BiasedMF, ExplicitALS, ImplicitALS, Popularity
from cofactor.evaluate import Split, compare, split_last, split_per_user, split_random, split_users
from cofactor.evaluate.evaluation import Evaluation, baseline_for, evaluate, score
from cofactor.metrics.catalog import CATALOG_METRICS
from cofactor.metrics.list_overlap import list_overlap
from cofactor.metrics.ranking import RANKING_METRICS
from cofactor.metrics.rating import RATING_METRICS
from cofactor.recommender.recommender import Recommender

ALS = ExplicitALS(factors=4, epochs=5)
IALS = ImplicitALS(factors=4, epochs=5)


@pytest.fixture(scope="module")
def rated(of_ratings: Split) -> Evaluation:
    return evaluate([ALS, BiasedMF(factors=4)], of_ratings)


@pytest.fixture(scope="module")
def ranked(of_events: Split) -> Evaluation:
    return evaluate(IALS, of_events, ks=(5, 10))


# what is in the table


def test_a_baseline_is_always_included_once(of_ratings: Split, of_events: Split) -> None:
    def labels(*estimators: Any, split: Split) -> list[str]:
        return [score.label for score in evaluate(list(estimators), split).scores]

    assert labels(ALS, split=of_ratings) == ["explicit-als", "bias"]
    assert labels(split=of_ratings) == ["bias"]
    assert labels(Bias(damping=1.0), ALS, split=of_ratings) == ["bias", "explicit-als"]
    assert labels(IALS, split=of_events) == ["implicit-als", "popularity"]
    assert labels(Popularity(), split=of_events) == ["popularity"]
    assert type(baseline_for("ratings")) is Bias
    assert type(baseline_for("events")) is Popularity


def test_a_single_estimator_needs_no_list(of_ratings: Split) -> None:
    single, listed = evaluate(Bias(), of_ratings), evaluate([Bias()], of_ratings)
    assert single.frame().equals(listed.frame())


def test_the_same_estimator_twice_is_numbered(of_ratings: Split) -> None:
    narrow, wide = ExplicitALS(factors=1, epochs=2), ExplicitALS(factors=5, epochs=2)
    labels: list[str] = []
    both = evaluate([narrow, wide], of_ratings, on_fit=labels.append)
    assert labels == [score.label for score in both.scores] == ["explicit-als #1", "explicit-als #2", "bias"]
    alone = evaluate(wide, of_ratings)
    first, second = (e.frame().filter(model=label) for e, label in ((both, labels[1]), (alone, "explicit-als")))
    assert first.drop("model").equals(second.drop("model"))


def test_a_score_is_found_by_its_label(rated: Evaluation) -> None:
    assert rated["bias"] is rated.scores[-1]
    with pytest.raises(ParameterError, match="no model 'bpr' in this evaluation; it has explicit-als, biased-mf, bias"):
        rated["bpr"]


def test_the_frame_has_a_row_per_model_and_metric(rated: Evaluation, ranked: Evaluation, of_ratings: Split) -> None:
    frame = rated.frame()
    assert frame.columns == ["model", "metric", "value", "low", "high"]
    assert frame["model"].to_list() == [m for m in ("explicit-als", "biased-mf", "bias") for _ in RATING_METRICS]
    assert frame["metric"].to_list() == [metric.name for metric in RATING_METRICS] * 3
    assert frame.select(pl.col("low", "high").is_nan().all()).row(0) == (True, True)  # fewer than 200 users
    metrics = {metric.at(k).key for metric in (*RANKING_METRICS, *CATALOG_METRICS) for k in (5, 10)}
    served = {f"served_{metric.at(k).key}" for metric in RANKING_METRICS for k in (5, 10)}
    assert set(ranked.frame()["metric"]) == metrics | served
    assert (rated.description, rated.kind) == (of_ratings.description, "ratings")


@pytest.mark.parametrize("kind", ["ratings", "events"])
def test_intervals_over_enough_users(kind: str) -> None:
    config = SyntheticConfig(n_users=320, n_items=60, n_ratings=8_000, rating_levels=(1, 2, 3, 4, 5))
    ratings = generate(config).interactions
    split = split_random(ratings) if kind == "ratings" else split_per_user(ratings.to_events(min_rating=4))
    frame = evaluate([], split, ks=[5]).frame()
    catalog = [metric.at(5).key for metric in CATALOG_METRICS]
    assert (frame.filter(pl.col("metric").is_in(catalog))["low"].is_nan()).all()
    others = frame.filter(~pl.col("metric").is_in(catalog))
    assert len(others) >= 2
    assert (others["low"] < others["value"]).all()
    assert (others["value"] < others["high"]).all()
    if kind == "events":
        assert others["high"].max() <= 1  # type: ignore[operator]


def test_the_overlap_of_lists_between_seeds(of_ratings: Split, of_events: Split) -> None:
    for estimators, split in (
        ([BiasedMF(factors=8, epochs=2)], of_ratings),
        ([ImplicitALS(factors=8, epochs=1), EASE()], of_events),
    ):
        result = evaluate(estimators, split, ks=[5, 10], refits=2)
        noisy = result.scores[0].seed_overlap
        assert set(noisy) == {"seed_overlap@5", "seed_overlap@10"}
        assert 0 < noisy["seed_overlap@10"].mean < 1
        assert all(score.seed_overlap["seed_overlap@10"].mean == 1 for score in result.scores[1:])  # deterministic fits
        assert "seed_overlap@5" in result.frame()["metric"].to_list()
        alone = evaluate(estimators, split, ks=[5, 10])
        assert all(score.seed_overlap == {} for score in alone.scores)
        assert alone.scores[0].metrics.keys() == result.scores[0].metrics.keys()
        means = [[value.mean for value in e.scores[0].metrics.values()] for e in (alone, result)]
        assert means[0] == means[1]


def test_list_overlap_by_hand() -> None:
    a, b = [[1, 2, 3], [4, 5, -1], [-1, -1, -1]], [[3, 1, 9], [5, -1, -1], [-1, -1, -1]]
    np.testing.assert_allclose(list_overlap([a, b]), [2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(list_overlap([a, b, a]), [(2 / 3 + 2 / 3 + 1) / 3, 2 / 3, np.nan])
    with pytest.raises(ParameterError, match="at least two models; got 1"):
        list_overlap([a])
    with pytest.raises(DataError, match="same shape"):
        list_overlap([a, [[1]]])


def test_as_dict_is_plain_json_without_nan(rated: Evaluation, ranked: Evaluation) -> None:
    for evaluation in (rated, ranked):
        plain = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
        assert plain["kind"] == evaluation.kind
        assert [model["model"] for model in plain["models"]] == [score.label for score in evaluation.scores]
        first = plain["models"][0]
        assert first["fit_seconds"] > 0
        for name, interval in evaluation.scores[0].metrics.items():
            assert first["metrics"][name]["mean"] == interval.mean
    assert json.dumps(ranked.as_dict()["models"][0]["metrics"]["gini@5"]["low"]) == "null"


# values of the metrics


def test_rating_errors_are_those_of_the_test_rows(rated: Evaluation, of_ratings: Split) -> None:
    test = of_ratings.test
    rec = Recommender.fit(ALS, of_ratings.train)
    frame = test.frame()
    error = rec.predict(frame["user"], frame["item"])["prediction"].to_numpy() - test.values.astype(np.float64)
    score = rated["explicit-als"]
    assert score.metrics["rmse"].mean == pytest.approx(sqrt(np.mean(error**2)))
    assert score.metrics["mae"].mean == pytest.approx(np.mean(np.abs(error)))
    assert score.users.tolist() == np.unique(test.u).tolist()
    per_user = [np.mean(error[test.u == u] ** 2) for u in score.users]
    np.testing.assert_allclose(score.per_user["squared_error"], per_user)
    assert rated["explicit-als"].metrics["rmse"].mean < rated["bias"].metrics["rmse"].mean


def test_rankings_are_scored_as_recommended(ranked: Evaluation, of_events: Split) -> None:
    train, test = of_events.train, of_events.test
    rec = Recommender.fit(IALS, train)
    scores = ranked["implicit-als"]
    assert scores.users.tolist() == np.unique(test.u).tolist()
    for place, u in enumerate(scores.users.tolist()):
        recommended = rec.recommend(train.users.ids([u])[0], n=10)["item"].to_list()
        wanted = set(test.items.ids(test.i[test.u == u]))
        assert not set(recommended) & set(train.items.ids(train.i[train.u == u]))
        hits = [item in wanted for item in recommended]
        assert scores.per_user["recall@10"][place] == pytest.approx(sum(hits) / len(wanted))
        assert scores.per_user["precision@5"][place] == pytest.approx(sum(hits[:5]) / 5)
        gain = sum(hit / np.log2(rank + 2) for rank, hit in enumerate(hits))
        ideal = sum(1 / np.log2(rank + 2) for rank in range(min(10, len(wanted))))
        assert scores.per_user["ndcg@10"][place] == pytest.approx(gain / ideal)
    assert scores.metrics["ndcg@10"].mean == pytest.approx(scores.per_user["ndcg@10"].mean())
    recommendations = rec.recommend(train.users.ids(scores.users), n=10)
    assert scores.metrics["coverage@10"].mean == pytest.approx(recommendations["item"].n_unique() / train.n_items)


def test_popularity_has_the_gini_and_novelty_of_few_items(ranked: Evaluation) -> None:
    popular, personal = ranked["popularity"], ranked["implicit-als"]
    for k in (5, 10):
        assert popular.metrics[f"gini@{k}"].mean > personal.metrics[f"gini@{k}"].mean
        assert popular.metrics[f"novelty@{k}"].mean < personal.metrics[f"novelty@{k}"].mean
        assert popular.metrics[f"coverage@{k}"].mean < personal.metrics[f"coverage@{k}"].mean
    assert personal.metrics["ndcg@10"].mean > popular.metrics["ndcg@10"].mean


def test_a_disliked_test_row_is_not_a_hit(of_events: Split) -> None:
    disliked = np.arange(len(of_events.test)) % 3 == 0
    signed = Split(of_events.train, of_events.test.with_weights(np.where(disliked, -1.0, 1.0)))
    liked = Split(of_events.train, of_events.test.select(~disliked))
    of_signed, of_liked = (evaluate(IALS, split)["implicit-als"] for split in (signed, liked))
    assert of_signed.metrics == of_liked.metrics or repr(of_signed.metrics) == repr(of_liked.metrics)
    assert of_signed.users.tolist() == of_liked.users.tolist()
    split = Split(of_events.train, of_events.test.with_weights(-np.ones(len(of_events.test))))
    empty = evaluate(IALS, split)
    assert len(empty["implicit-als"].users) == 0
    assert isnan(empty["implicit-als"].metrics["ndcg@10"].mean)
    assert empty.as_dict()["models"][0]["metrics"]["ndcg@10"] == {"mean": None, "low": None, "high": None}


@pytest.mark.long
def test_results_are_reproducible_by_seed(of_ratings: Split) -> None:
    first, second, other = (evaluate(BiasedMF(factors=4), of_ratings, seed=seed) for seed in (3, 3, 4))
    assert first.frame().equals(second.frame())
    assert not first.frame().equals(other.frame())


def test_a_catalog_smaller_than_k_is_ranked_completely() -> None:
    events = Interactions.from_columns(
        ["a", "a", "b", "b", "c", "c"], ["x", "y", "y", "z", "z", "x"], kind="events", times=range(6)
    )
    evaluation = evaluate(IALS, split_last(events), ks=(2, 50))
    for metric in ("recall", "hit_rate", "coverage"):
        assert evaluation["popularity"].metrics[f"{metric}@50"].mean == 1.0  # two items are left, one is right
    assert evaluation["popularity"].per_user["precision@50"].tolist() == [1 / 50] * 3


# held-out users


@pytest.mark.parametrize("estimator", [ALS, BiasedMF(factors=4), Bias()])
def test_held_out_users_are_folded_in_before_scoring(estimator: Any, small_ratings: Interactions) -> None:
    split = split_users(small_ratings, test=0.3)
    assert split.fold_in is not None
    scores = evaluate(estimator, split)[estimator.name]
    assert scores.users.tolist() == np.unique(split.test.u).tolist()
    rec = Recommender.fit(estimator, split.train).updated(split.fold_in)
    frame = split.test.frame()
    error = rec.predict(frame["user"], frame["item"])["prediction"].to_numpy() - split.test.values
    assert scores.metrics["rmse"].mean == pytest.approx(sqrt(np.mean(error.astype(np.float64) ** 2)), rel=1e-6)
    strangers = score(Recommender.fit(estimator, split.train), replace(split, fold_in=None), label="not folded in")
    better = scores.metrics["rmse"].mean < strangers.metrics["rmse"].mean
    assert better or not estimator.personalized  # no user in these data is more generous than others


def test_what_was_folded_in_is_not_recommended_again(small_events: Interactions) -> None:
    split = split_users(small_events, test=0.3)
    assert split.fold_in is not None
    evaluation = evaluate(IALS, split)
    assert evaluation["implicit-als"].metrics["ndcg@10"].mean > evaluation["popularity"].metrics["ndcg@10"].mean
    rec = Recommender.fit(IALS, split.train).updated(split.fold_in)
    rows, _ = rec.for_rows(evaluation["implicit-als"].users).rank(10)
    histories = split.fold_in.by_user
    for row, u in zip(rows, evaluation["implicit-als"].users, strict=True):
        assert not set(row.tolist()) & set(histories.row(u).columns.tolist())


# invalid input


def test_estimators_of_the_other_kind_are_rejected_before_fitting(of_ratings: Split, of_events: Split) -> None:
    labels: list[str] = []
    with pytest.raises(KindError, match="implicit-als learns from events"):
        evaluate([ALS, IALS], of_ratings, on_fit=labels.append)
    with pytest.raises(KindError, match="explicit-als learns from ratings"):
        evaluate([IALS, ALS], of_events, on_fit=labels.append)
    assert labels == []


@pytest.mark.parametrize("what", ["bias", 3, None, Bias, ["bias"], [ALS, "bias"], [Bias]])
def test_invalid_estimators_are_rejected_before_fitting(of_ratings: Split, what: Any) -> None:
    labels: list[str] = []
    for function in (evaluate, compare):
        with pytest.raises(ParameterError, match=r"must be an estimator instance, such as cofactor\.Bias\(\), not"):
            function(what, of_ratings, on_fit=labels.append)
    assert labels == []


@pytest.mark.parametrize("ks", [(), (0,), (10, -1), (2.5,), ("10",)])
def test_ks_are_whole_numbers_from_1_on(of_events: Split, of_ratings: Split, ks: Any) -> None:
    labels: list[str] = []
    for estimator, split in ((IALS, of_events), (ALS, of_ratings)):
        with pytest.raises(ParameterError, match=r"ks must be (a list of integers >= 1|an integer), not"):
            evaluate(estimator, split, ks=ks, on_fit=labels.append)
    assert labels == []


def test_a_model_of_other_ids_or_another_kind_is_not_scored(of_ratings: Split, of_events: Split) -> None:
    stranger = Recommender.fit(ALS, Interactions.from_columns(["a", "b"], ["x", "y"], [1, 5]))
    with pytest.raises(DataError, match="different users or items; fit on"):
        score(stranger, of_ratings, label="stranger")
    fewer = Recommender.fit(IALS, Interactions.from_columns(["a", "b"], ["x", "y"], kind="events"))
    with pytest.raises(DataError, match="different users or items"):
        score(fewer, of_events, label="stranger")
    with pytest.raises(KindError, match="was trained on ratings, but the test set contains events"):
        score(Recommender.fit(ALS, of_ratings.train), of_events, label="mixed up")


def test_score_equals_evaluate(of_events: Split, ranked: Evaluation) -> None:
    alone = score(Recommender.fit(IALS, of_events.train), of_events, label="mine", ks=(5, 10), fit_seconds=1.5)
    assert (alone.label, alone.fit_seconds) == ("mine", 1.5)
    assert repr(alone.metrics) == repr(ranked["implicit-als"].metrics)
    assert alone.score_seconds > 0


def test_a_table_is_not_a_split_and_a_frame_is_read(small_ratings: Interactions) -> None:
    with pytest.raises(DataError, match="split must be of type Split, not Interactions"):
        evaluate(Bias(), small_ratings)
    read, table = (Recommender.fit(Bias(), data) for data in (small_ratings.frame(), small_ratings))
    assert read.recommend_all(3).equals(table.recommend_all(3))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_users_have_no_interval(n: int) -> None:
    draw = np.random.default_rng(n)
    u, i = np.divmod(np.arange(n * 12), 12)
    ratings = Interactions.from_columns(u, i, draw.integers(1, 6, len(u)))
    for table in (ratings, ratings.to_events(min_rating=1)):
        evaluation = evaluate([], split_per_user(table, test=0.5), ks=(3,))
        for metric, interval in evaluation.scores[0].metrics.items():
            assert np.isfinite(interval.mean), metric
            assert np.isnan([interval.low, interval.high]).all(), metric
        written = json.dumps(evaluation.as_dict())
        assert "NaN" not in written
        assert '"low": null, "high": null' in written
