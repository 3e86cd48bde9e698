"""The registry of metrics: a metric is one object, and what is registered appears in every interface."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.estimators import BiasedMF, ExplicitALS, ImplicitALS
from cofactor.evaluate import compare, evaluate, split_per_user, split_random
from cofactor.evaluate.split import Split
from cofactor.metrics.base import UserValues
from cofactor.metrics.catalog import CatalogMetric
from cofactor.metrics.intervals import bootstrap_interval, paired_difference, paired_rmse_difference, ratio_interval
from cofactor.metrics.ranking import Hits, RankingMetric, capped_recall, precision
from cofactor.metrics.rating import MAE, RMSE, RatingMetric, errors_by_user
from cofactor.metrics.registry import METRICS, metric_named, primary_metric, validation_metric
from cofactor.plots import cold_start_plot, comparison_plot
from tests.support.command_line import stdout_of

SOURCE = Path(cofactor.__file__).parent
MISSES = RankingMetric(
    name="miss_rate", label="misses", greater_is_better=False, digits=1, function=lambda hits, k: 1 - precision(hits, k)
)
CLOSE = RatingMetric(
    name="close", label="within 1", greater_is_better=True, loss=lambda error: (np.abs(error) < 1) * 1.0,
    loss_name="is_close",
)  # fmt: skip
MOST_SHOWN = CatalogMetric(
    name="most", label="most shown", greater_is_better=False, function=lambda lists: lists.list_counts.max()
)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register three metrics that only this test has."""
    for metric in (MISSES, CLOSE, MOST_SHOWN):
        monkeypatch.setitem(METRICS, metric.name, metric)


@pytest.fixture
def of_events(small_events: Interactions) -> Split:
    return split_per_user(small_events, test=0.3)


@pytest.mark.usefixtures("added")
def test_a_new_ranking_metric_is_evaluated_compared_and_drawn(of_events: Split) -> None:
    evaluation = evaluate(ImplicitALS(factors=4, epochs=3), of_events, ks=(5, 10))
    for score in evaluation.scores:
        for k in (5, 10):
            assert score.metrics[f"miss_rate@{k}"].mean == pytest.approx(1 - score.metrics[f"precision@{k}"].mean)
            assert np.isnan(score.metrics[f"most@{k}"].low)
            assert 1 <= score.metrics[f"most@{k}"].mean <= len(score.users)
    assert {"miss_rate@5", "most@10"} <= set(evaluation.frame()["metric"])
    comparison = compare(ImplicitALS(factors=4, epochs=3), of_events)
    assert "miss_rate@10" in comparison.best.score.metrics
    figure = comparison_plot(comparison.frame().with_columns(metric=pl.lit("miss_rate@10")))
    assert figure.layout.xaxis.title.text == "misses@10 (lower is better)"
    curve = {f"{name}{end}": [0.5] for name in ("personal", "baseline") for end in ("", "_low", "_high")}
    drawn = cold_start_plot(pl.DataFrame({"history_length": [1], **curve}), metric="miss_rate@10")
    assert drawn.layout.yaxis.title.text == "misses@10 (lower is better)"


@pytest.mark.usefixtures("added")
def test_a_new_rating_metric_is_evaluated(small_ratings: Interactions) -> None:
    split = split_random(small_ratings)
    score = evaluate(BiasedMF(factors=2, epochs=2), split)["biased-mf"]
    model = cofactor.Recommender.fit(BiasedMF(factors=2, epochs=2), split.train)
    predicted = model.predict(split.test.frame()["user"], split.test.frame()["item"])["prediction"].to_numpy()
    assert score.metrics["close"].mean == pytest.approx(np.mean(np.abs(split.test.values - predicted) < 1), abs=1e-9)
    assert score.per_user["is_close"].shape == score.users.shape


@pytest.mark.usefixtures("added")
def test_new_metrics_are_columns_of_the_command_line(tmp_path: Path, small_ratings: Interactions) -> None:
    path = tmp_path / "ratings.csv"
    small_ratings.frame().select("user", "item", rating="value").write_csv(path)
    options = ["-m", "explicit-als", "--set", "factors=2"]
    ratings = stdout_of("evaluate", path, *options)
    assert "within 1" in ratings
    events = stdout_of("evaluate", path, "--min-rating", 4, "-m", "popularity", "--split", "per-user", "-k", 5)
    assert "misses" in events
    assert "most shown" in events
    assert max(map(len, events.splitlines()[1:])) <= 80


def test_the_command_line_names_all_metrics(tmp_path: Path, small_ratings: Interactions) -> None:
    path = tmp_path / "ratings.csv"
    small_ratings.frame().select("user", "item", rating="value").write_csv(path)
    output = stdout_of("evaluate", path, "--min-rating", 4, "-m", "popularity", "--split", "per-user")
    for metric in METRICS.values():
        assert (metric.label in output) == (metric.kind == "events"), metric.name


def test_keys_titles_and_directions() -> None:
    assert [metric.key for metric in (primary_metric("ratings"), primary_metric("events", 5))] == ["rmse", "ndcg@5"]
    assert metric_named("hit_rate@3").title == "hit rate@3"
    assert primary_metric("events", 7) == metric_named("ndcg@7")
    assert RMSE.at(10) is RMSE
    assert not any(METRICS[name].greater_is_better for name in ("rmse", "mae", "gini"))
    assert all(METRICS[name].greater_is_better for name in ("ndcg", "recall", "coverage", "novelty"))
    assert all(name == metric.name for name, metric in METRICS.items())
    for wrong in ("auc", "ndcg@", "ndcg@x", "", "NDCG@10"):
        with pytest.raises(
            ParameterError, match=re.escape(f"key must be the name of a metric ({', '.join(METRICS)}, ")
        ):
            metric_named(wrong)
    with pytest.raises(ParameterError, match="k must be"):
        metric_named("ndcg@0")


def test_a_number_is_better_than_nan_and_equals_are_not_better() -> None:
    nan = float("nan")
    for metric, better, worse in ((RMSE, 0.8, 0.9), (METRICS["ndcg"], 0.9, 0.8)):
        assert metric.is_better(better, worse)
        assert not metric.is_better(worse, better)
        assert not metric.is_better(better, better)
        assert metric.is_better(worse, nan)
        assert not metric.is_better(nan, worse)
        assert not metric.is_better(nan, nan)
        assert sorted([nan, worse, better], key=metric.sort_key)[:2] == [better, worse]


def test_early_stopping_follows_the_validation_metric(of_events: Split, small_ratings: Interactions) -> None:
    for estimator, split in (
        (ImplicitALS(factors=4, epochs=6, patience=1), of_events),
        (ExplicitALS(factors=4, epochs=6, patience=1), split_random(small_ratings)),
    ):
        values: list[float] = []
        estimator.fit(split.train, validation=split.test, callback=lambda epoch, to=values: to.append(epoch.validation))
        metric = validation_metric(split.train.kind)
        is_improvement = [metric.is_better(b, a) for a, b in pairwise(values)]
        assert all(is_improvement[:-1])
        assert len(values) == 6 or not is_improvement[-1]


def test_capped_recall_reaches_1_for_every_user() -> None:
    ranked = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    relevant = cofactor.Interactions.from_columns([0, 0, 0, 1], [0, 1, 2, 0], kind="events").by_user
    hits = Hits.of(ranked, relevant)
    assert capped_recall(hits, 2).tolist() == [1.0, 0.0]
    assert capped_recall(hits, 4).tolist() == [1.0, 1.0]


def test_user_values_agree_with_the_interval_functions() -> None:
    rng = np.random.default_rng(0)
    u = np.concatenate([np.arange(240), rng.integers(0, 240, 960)])
    y, p, q = rng.normal(size=(3, 1200))
    first, second = (errors_by_user(u, y, x, n_users=241) for x in (p, q))
    a, b = RMSE.per_user(first), RMSE.per_user(second)
    assert a.interval() == tuple(np.sqrt(ratio_interval(a.sums, a.counts)))
    difference = paired_rmse_difference(a.sums, b.sums, a.counts)
    assert a.difference(b) == difference
    assert a.standard_error(b) == pytest.approx((difference.high - difference.low) / 3.92, rel=0.05)
    assert a.difference(b).mean == pytest.approx(RMSE.compute(y, p) - RMSE.compute(y, q))
    c, d = MAE.per_user(first), MAE.per_user(second)
    assert c.difference(d).mean == pytest.approx(MAE.compute(y, p) - MAE.compute(y, q))
    x, z = (np.append(rng.random(250), np.nan) for _ in range(2))
    counts = np.append(np.ones(250, np.int64), 0)
    values, others = UserValues(x, counts, "mean"), UserValues(z, counts, "mean")
    assert values.interval(seed=3) == bootstrap_interval(x, seed=3)
    assert values.difference(others, seed=3) == paired_difference(x, z, seed=3)
    assert np.isfinite([values.interval(), values.difference(others), a.interval(), a.difference(b)]).all()
    hits = np.append(np.zeros(250), np.nan)
    assert UserValues(hits, counts, "mean", (0, 1)).interval() == bootstrap_interval(hits, bounds=(0, 1))
    differences = (x - z)[:-1]
    assert values.standard_error(others) == pytest.approx(differences.std(ddof=1) / np.sqrt(250))
    assert np.isnan(values.take(np.arange(1, dtype=np.int32)).standard_error(others.take(np.arange(1, dtype=np.int32))))
    assert values.aggregate() == np.nanmean(x)
    with pytest.raises(DataError, match="must have the same users"):
        values.difference(others.take(np.arange(3, dtype=np.int32)))
    with pytest.raises(DataError, match="same number of rows per user"):
        a.difference(UserValues(a.sums, a.counts * 2, "root mean"))


def test_a_ranking_metric_needs_the_length_of_the_lists() -> None:
    hits = Hits.of(np.array([[0]]), cofactor.Interactions.from_columns([0], [0], kind="events").by_user)
    with pytest.raises(ParameterError, match="has no cutoff; set the length of the lists"):
        METRICS["ndcg"].per_user(hits)  # type: ignore[attr-defined]


def test_no_code_compares_the_name_of_a_metric() -> None:
    names = {*METRICS, "capped_recall"} - {"coverage", "map"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                texts = [str(value).partition("@")[0] for value in constants if isinstance(value, str)]
                assert not names.intersection(texts), f"{path}:{node.lineno}"
