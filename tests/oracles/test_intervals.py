"""Bootstrap intervals: their coverage where the truth is known, their determinism, and their empty cases."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.arrays import random_stream
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.parallel import threads
from cofactor.metrics.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_ratio,
    paired_difference,
    paired_rmse_difference,
)


def test_equal_to_the_textbook_loop():
    values = np.random.default_rng(0).random(37)
    streams = [random_stream(3, "bootstrap", resample) for resample in range(200)]
    means = [values[stream.integers(0, 37, 37, dtype=np.uint32)].mean() for stream in streams]
    interval = bootstrap_interval(values, confidence=0.9, resamples=200, seed=3)
    np.testing.assert_allclose(interval, [values.mean(), *np.quantile(means, [0.05, 0.95])], rtol=1e-12)


def test_ends_agree_with_the_standard_error():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    mean, low, high = bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.long
def test_95_percent_intervals_cover_the_truth_in_95_percent_of_samples():
    draw = np.random.default_rng(2)
    held = 0
    for seed in range(300):
        _, low, high = bootstrap_interval(draw.exponential(1.0, 100), resamples=200, seed=seed)
        held += low <= 1.0 <= high
    assert 0.90 <= held / 300 <= 0.975


def test_a_higher_level_is_wider_and_other_seeds_differ_a_little():
    values = np.random.default_rng(3).random(200)
    wide, narrow = bootstrap_interval(values, confidence=0.99), bootstrap_interval(values, confidence=0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert bootstrap_interval(values) == bootstrap_interval(values)
    other = bootstrap_interval(values, seed=1)
    assert other != bootstrap_interval(values)
    assert other.low == pytest.approx(bootstrap_interval(values).low, abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_ends_lie_within_the_values(values, seed):
    mean, low, high = bootstrap_interval(values, resamples=50, seed=seed)
    assert math.isnan(low) or min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert mean == pytest.approx(np.mean(values))


def test_users_without_a_test_item_change_nothing():
    values = np.random.default_rng(4).random(50)
    with_blanks = np.insert(values, [0, 10, 50], np.nan)
    assert bootstrap_interval(with_blanks) == bootstrap_interval(values)


def test_metrics_of_the_same_users_share_resamples_and_match_each_alone():
    draw = np.random.default_rng(5)
    metrics = {"a": draw.random(60), "b": draw.random(60), "a again": None}
    metrics["a again"] = metrics["a"]
    together = bootstrap_intervals(metrics)
    assert together["a"] == together["a again"] == bootstrap_interval(metrics["a"])
    assert together["b"] == bootstrap_interval(metrics["b"])


def test_a_metric_that_some_users_lack_is_averaged_over_those_who_have_it():
    values = np.random.default_rng(6).random(300)
    partial = np.where(np.arange(300) % 3 == 0, np.nan, values)
    none, single = np.full(300, np.nan), np.where(np.arange(300) == 7, 0.5, np.nan)
    together = bootstrap_intervals({"all": values, "some": partial, "none": none, "one": single})
    assert together["some"].mean == pytest.approx(np.nanmean(partial))
    assert together["some"].low < together["some"].mean < together["some"].high
    alone = bootstrap_interval(partial)
    assert together["some"].high - together["some"].low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert np.isnan(together["none"]).all()
    assert together["one"].mean == 0.5
    assert np.isnan(together["one"][1:]).all()


def test_a_ratio_is_resampled_by_user_not_by_row():
    draw = np.random.default_rng(7)
    counts = draw.integers(1, 40, 500)
    level = draw.gamma(2.0, 1.0, 500)  # a user's own error: rows of one user are correlated
    errors = bootstrap_ratio(level * counts, counts)
    assert errors.mean == pytest.approx((level * counts).sum() / counts.sum())
    by_rows = bootstrap_interval(np.repeat(level, counts), resamples=300)
    assert errors.high - errors.low > 3 * (by_rows.high - by_rows.low)


def test_a_ratio_with_equal_counts_is_the_interval_of_the_mean():
    values = np.random.default_rng(8).random(80)
    ratio = bootstrap_ratio(values * 4, np.full(80, 4))
    np.testing.assert_allclose(ratio, bootstrap_interval(values), rtol=1e-12)
    padded = bootstrap_ratio(np.append(values * 4, 0.0), np.append(np.full(80, 4), 0))
    assert padded == ratio


def test_pairing_sees_a_difference_that_intervals_side_by_side_hide():
    draw = np.random.default_rng(9)
    a = draw.random(400)
    b = a - 0.01 - draw.normal(0, 0.02, 400)
    assert bootstrap_interval(a).low < bootstrap_interval(b).high
    difference = paired_difference(a, b)
    assert 0 < difference.low < 0.01 < difference.high < 0.02
    swapped = paired_difference(b, a)
    np.testing.assert_allclose(swapped, [-difference.mean, -difference.high, -difference.low], rtol=1e-9)
    blank = np.append(a, np.nan)
    assert paired_difference(blank, np.append(b, 0.5)) == difference


def test_no_users_and_one_user():
    assert np.isnan(bootstrap_interval([])).all()
    assert np.isnan(bootstrap_interval([np.nan, np.nan])).all()
    assert np.isnan(bootstrap_ratio([], [])).all()
    assert np.isnan(bootstrap_ratio([0.0], [0])).all()
    assert np.isnan(paired_difference([], [])).all()
    assert bootstrap_intervals({}) == {}
    alone = bootstrap_interval([0.5])
    assert alone.mean == 0.5
    assert np.isnan(alone[1:]).all()


def means_without_ends(*intervals: Interval) -> list[float]:
    for interval in intervals:
        assert np.isnan(interval[1:]).all()
    return [interval.mean for interval in intervals]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 19])
def test_no_interval_over_fewer_than_twenty_users(n):
    draw = np.random.default_rng(11)
    a, b, counts = draw.random(n), draw.random(n), draw.integers(1, 9, n)
    means = means_without_ends(
        bootstrap_interval(a), bootstrap_ratio(a * counts, counts), paired_difference(a, b),
        paired_rmse_difference(a, b, counts), bootstrap_intervals({"recall": a})["recall"],
    )  # fmt: skip
    root = np.sqrt(a.sum() / counts.sum()) - np.sqrt(b.sum() / counts.sum())
    expected = [a.mean(), (a * counts).sum() / counts.sum(), (a - b).mean(), root, a.mean()]
    np.testing.assert_allclose(means, expected, atol=1e-12)


def test_an_interval_from_twenty_users_on_not_counting_those_without_the_metric():
    values = np.random.default_rng(12).random(20)
    assert np.isfinite(bootstrap_interval(values)).all()
    assert means_without_ends(bootstrap_interval(np.append(values[:19], np.nan)))
    counts = np.append(np.ones(19), 0)
    assert means_without_ends(
        bootstrap_ratio(values * counts, counts), paired_rmse_difference(values, values**2, counts)
    )


@pytest.mark.parametrize("n", [20, 1000])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("different", [0, 1, 4])
def test_no_interval_where_all_but_a_few_users_have_the_same_value(n, value, different):
    """20 users without a hit used to get [0, 0]."""
    values = np.full(n, value)
    values[:different] = 0.5 + np.arange(different) / 100
    ones = np.ones(n)
    means_without_ends(
        bootstrap_interval(values), bootstrap_ratio(values, ones), paired_difference(values, np.zeros(n)),
        paired_rmse_difference(values + 1, ones, ones),
    )  # fmt: skip
    values[:5] = 0.5 + np.arange(5) / 100
    for interval in (bootstrap_interval(values), paired_difference(values, np.zeros(n))):
        assert interval.low < interval.mean < interval.high


@pytest.mark.long
def test_95_percent_intervals_have_their_coverage_from_20_users_on():
    """Simulated per-user metrics: NDCG with many zeros, squared errors of users of very different counts."""
    draw = np.random.default_rng(13)

    def ndcg(zeros: float):
        return lambda n: np.where(draw.random(n) < zeros, 0, draw.beta(1, 3, n)), (1 - zeros) / 4

    def covered(sample, truth: float, n: int, runs: int) -> tuple[float, float]:
        """The share of intervals that hold the truth, and the share of samples that have an interval."""
        held = n_intervals = 0
        for run in range(runs):
            _, low, high = bootstrap_interval(sample(n), resamples=200, seed=run)
            n_intervals += math.isfinite(low)
            held += low <= truth <= high
        return held / max(n_intervals, 1), n_intervals / runs

    for zeros, n, least in ((0.5, 20, 0.88), (0.5, 50, 0.90), (0.8, 20, 0.88), (0.8, 100, 0.90), (0.95, 300, 0.90)):
        share, interval_share = covered(*ndcg(zeros), n, 300)
        assert least < share < 0.985, (zeros, n)
        assert interval_share > 0.3
    share, interval_share = covered(lambda n: draw.exponential(1, n), 1.0, 20, 300)
    assert 0.87 < share < 0.96
    assert interval_share == 1

    def errors(n: int):
        counts = draw.geometric(0.05, n)
        return draw.gamma(4, 0.25, n) * draw.chisquare(counts), counts

    squares, rows = errors(2_000_000)
    truth = squares.sum() / rows.sum()
    for n, least in ((20, 0.82), (100, 0.90)):
        held = 0
        for run in range(300):
            _, low, high = bootstrap_ratio(*errors(n), resamples=200, seed=run)
            held += low <= truth <= high
        assert least < held / 300 < 0.98, n


def test_memory_does_not_grow_with_the_resamples():
    values = np.random.default_rng(10).random(50_000)
    peaks = []
    for resamples in (20, 200):
        tracemalloc.start()
        with threads(1):  # two threads hold two shares at once, or not: it is chance
            bootstrap_interval(values, resamples=resamples)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 15 * values.nbytes


def test_wrong_input_is_named():
    with pytest.raises(ParameterError, match="confidence must be a fraction strictly between 0 and 1"):
        bootstrap_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ParameterError, match="resamples must be an integer >= 1"):
        bootstrap_interval([1.0, 2.0], resamples=0)
    with pytest.raises(DataError, match="one value per user in each metric"):
        bootstrap_intervals({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(DataError, match="got infinity in 'b'"):
        bootstrap_intervals({"a": [1.0], "b": [math.inf]})
    with pytest.raises(DataError, match="a and b must have the same users; got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="shape"):
        bootstrap_ratio([1.0], [1.0, 2.0])
    for sums, counts in (([math.nan], [1]), ([1.0], [-1])):
        with pytest.raises(DataError, match="finite"):
            bootstrap_ratio(sums, counts)
