"""Intervals over users: their coverage where the truth is known, closed forms, determinism, and empty cases."""

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
    MIN_USERS,
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    paired_difference,
    paired_rmse_difference,
    ratio_interval,
    standard_error,
    t_interval,
)
from cofactor.metrics.student_t import t_quantile
from tests.support.coverage import POPULATIONS, coverage

LONG = pytest.mark.long


def test_equal_to_the_textbook_loop():
    values = np.random.default_rng(0).random(237)
    ends = [values.min(), values.max()]
    means = []
    for resample in range(200):
        stream = random_stream(3, "bootstrap", resample)
        weights = np.concatenate([stream.standard_exponential(237), stream.standard_gamma(0.5, 2)])
        means.append(np.average(np.append(values, ends), weights=weights))
    interval = bootstrap_interval(values, confidence=0.9, resamples=200, seed=3)
    np.testing.assert_allclose(interval, [values.mean(), *np.quantile(means, [0.05, 0.95])], rtol=1e-12)


@pytest.mark.parametrize(("hits", "low", "high"), [(5, 0.0097, 0.0540), (100, 0.4310, 0.5690), (198, 0.9681, 0.9981)])
def test_a_hit_rate_has_the_jeffreys_interval(hits, low, high):
    """The bounds are the 0.025 and 0.975 quantiles of Beta(hits + 1/2, 200 - hits + 1/2)."""
    values = np.repeat([1.0, 0.0], [hits, 200 - hits])
    interval = bootstrap_interval(values, bounds=(0, 1), resamples=20_000)
    assert interval[1:] == pytest.approx((low, high), abs=0.0015)


@pytest.mark.parametrize("n", [200, 1000])
def test_equal_values_at_a_bound_have_the_exact_binomial_limit(n):
    limit = 1 - 0.05 ** (1 / n)
    assert bootstrap_interval(np.zeros(n), bounds=(0, 1)) == pytest.approx((0.0, 0.0, limit))
    assert bootstrap_interval(np.ones(n), bounds=(0, 1)) == pytest.approx((1.0, 1 - limit, 1.0))
    inside = bootstrap_interval(np.full(n, 0.5), bounds=(0, 1))
    assert inside.low < 0.5 < inside.high
    assert bootstrap_interval(np.full(n, 0.5)) == pytest.approx((0.5, 0.5, 0.5))


def test_bounds_agree_with_the_standard_error():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    mean, low, high = bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    ratio = ratio_interval(values + 20, np.ones(4000))
    assert (ratio.high - ratio.low) / 2 == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize("metric", POPULATIONS)
@pytest.mark.parametrize("number", [0, 1, *(pytest.param(number, marks=LONG) for number in range(2, 8))])
def test_95_percent_intervals_cover_the_truth_in_95_percent_of_samples(metric, number):
    """The limits are 93 and 97%, widened by two standard deviations of a share of 400 samples."""
    population = POPULATIONS[metric](number)
    for n, runs in ((200, 400), (1000, 400)):
        above, below, share = coverage(metric, population, n, runs=runs, seed=number)
        assert share == 1
        assert 0.93 - 0.025 < 1 - above - below < 0.97 + 0.017, (population.description, n)
    assert coverage(metric, population, MIN_USERS - 1, runs=3, seed=number)[2] == 0


def test_a_ratio_of_unequal_histories_has_few_degrees_of_freedom():
    """With a quarter of the rows, one user counts like a quarter of the sample."""
    counts = np.ones(300)
    equal = standard_error(np.random.default_rng(0).random(300), counts)
    assert equal[1] == pytest.approx(299)
    counts[0] = 100
    errors = np.random.default_rng(0).random(300) * counts
    assert standard_error(errors, counts)[1] < 60


def test_the_standard_error_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(2).random(50)
    error, degrees = standard_error(3 * values, np.full(50, 3.0))
    assert error == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert degrees == pytest.approx(49)
    assert np.isnan(standard_error(values[:1], np.ones(1))).all()


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 3.5, 2.94010), (0.975, 10, 2.22814), (0.95, 30, 1.69726),
     (0.995, 5, 4.03214), (0.975, 1e6, 1.95996), (0.6, 4, 0.27072),
     (0.975, 3, 3.182446), (0.975, 4, 2.776445), (0.975, 9, 2.262157), (0.975, 120, 1.979930)],
)  # fmt: skip
def test_quantiles_of_students_t_distribution(probability, degrees, expected):
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=2e-5)


def test_a_higher_level_is_wider_and_other_seeds_differ_a_little():
    values = np.random.default_rng(3).random(200)
    wide, narrow = bootstrap_interval(values, confidence=0.99), bootstrap_interval(values, confidence=0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert bootstrap_interval(values) == bootstrap_interval(values)
    other = bootstrap_interval(values, seed=1)
    assert other != bootstrap_interval(values)
    assert other.low == pytest.approx(bootstrap_interval(values).low, abs=0.01)
    counts = np.arange(1, 201)
    wide, narrow = (ratio_interval(values * counts, counts, confidence=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_bounds_lie_within_the_values(values, seed):
    repeated = values * 100
    mean, low, high = bootstrap_interval(repeated, resamples=50, seed=seed)
    assert min(values) - 1e-12 <= low <= mean <= high <= max(values) + 1e-12
    assert mean == pytest.approx(np.mean(values))


def test_users_without_a_test_item_change_nothing():
    values = np.random.default_rng(4).random(250)
    with_blanks = np.insert(values, [0, 10, 250], np.nan)
    assert bootstrap_interval(with_blanks) == bootstrap_interval(values)


def test_metrics_of_the_same_users_share_resamples_and_match_each_alone():
    draw = np.random.default_rng(5)
    metrics = {"a": draw.random(260), "b": draw.random(260), "a again": None}
    metrics["a again"] = metrics["a"]
    together = bootstrap_intervals(metrics)
    assert together["a"] == together["a again"] == bootstrap_interval(metrics["a"])
    assert together["b"] == bootstrap_interval(metrics["b"])


def test_a_metric_that_some_users_lack_is_averaged_over_those_who_have_it():
    values = np.random.default_rng(6).random(600)
    partial = np.where(np.arange(600) % 3 == 0, np.nan, values)
    none, single = np.full(600, np.nan), np.where(np.arange(600) == 7, 0.5, np.nan)
    together = bootstrap_intervals({"all": values, "some": partial, "none": none, "one": single})
    assert together["some"].mean == pytest.approx(np.nanmean(partial))
    assert together["some"].low < together["some"].mean < together["some"].high
    alone = bootstrap_interval(partial)
    assert together["some"].high - together["some"].low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert np.isnan(together["none"]).all()
    assert together["one"].mean == 0.5
    assert np.isnan(together["one"][1:]).all()


def test_a_ratio_counts_users_not_rows():
    draw = np.random.default_rng(7)
    counts = draw.integers(1, 40, 500)
    level = draw.gamma(2.0, 1.0, 500)  # the error of a user: rows of one user are correlated
    errors = ratio_interval(level * counts, counts)
    assert errors.mean == pytest.approx((level * counts).sum() / counts.sum())
    by_rows = ratio_interval(np.repeat(level, counts), np.ones(counts.sum()))
    assert errors.high - errors.low > 3 * (by_rows.high - by_rows.low)


def test_users_without_rows_change_nothing():
    values = np.random.default_rng(8).random(280)
    ratio = ratio_interval(values * 4, np.full(280, 4))
    padded = ratio_interval(np.append(values * 4, 0.0), np.append(np.full(280, 4), 0))
    assert padded == ratio
    assert ratio.mean == pytest.approx(values.mean())


def test_a_ratio_of_differences_can_be_negative():
    draw = np.random.default_rng(14)
    counts = draw.integers(1, 9, 400)
    difference = ratio_interval(draw.normal(-0.1, 0.3, 400) * counts, counts)
    assert difference.low < difference.mean < 0
    assert difference.high - difference.mean == pytest.approx(difference.mean - difference.low)


def test_pairing_sees_a_difference_that_intervals_side_by_side_hide():
    draw = np.random.default_rng(9)
    a = draw.random(400)
    b = a - 0.01 - draw.normal(0, 0.02, 400)
    assert bootstrap_interval(a).low < bootstrap_interval(b).high
    difference = paired_difference(a, b)
    assert 0 < difference.low < 0.01 < difference.high < 0.02
    swapped = paired_difference(b, a)
    np.testing.assert_allclose(swapped, [-difference.mean, -difference.high, -difference.low], atol=2e-4)
    blank = np.append(a, np.nan)
    assert paired_difference(blank, np.append(b, 0.5)) == difference


def test_no_users_and_one_user():
    assert np.isnan(bootstrap_interval([])).all()
    assert np.isnan(bootstrap_interval([np.nan, np.nan])).all()
    assert np.isnan(ratio_interval([], [])).all()
    assert np.isnan(ratio_interval([0.0], [0])).all()
    assert np.isnan(paired_difference([], [])).all()
    assert bootstrap_intervals({}) == {}
    alone = bootstrap_interval([0.5])
    assert alone.mean == 0.5
    assert np.isnan(alone[1:]).all()


def means_without_bounds(*intervals: Interval) -> list[float]:
    for interval in intervals:
        assert np.isnan(interval[1:]).all()
    return [interval.mean for interval in intervals]


@pytest.mark.parametrize("n", [1, 2, 5, 20, 50, MIN_USERS - 1])
def test_no_interval_over_too_few_users(n):
    draw = np.random.default_rng(11)
    a, b, counts = draw.random(n), draw.random(n), draw.integers(1, 9, n)
    means = means_without_bounds(
        bootstrap_interval(a), ratio_interval(a * counts, counts), paired_difference(a, b),
        paired_rmse_difference(a, b, counts), bootstrap_intervals({"recall": a}, bounds=(0, 1))["recall"],
    )  # fmt: skip
    root = np.sqrt(a.sum() / counts.sum()) - np.sqrt(b.sum() / counts.sum())
    expected = [a.mean(), (a * counts).sum() / counts.sum(), (a - b).mean(), root, a.mean()]
    np.testing.assert_allclose(means, expected, atol=1e-12)


def test_an_interval_from_enough_users_on_not_counting_those_without_the_metric():
    values = np.random.default_rng(12).random(MIN_USERS)
    assert np.isfinite(bootstrap_interval(values)).all()
    assert means_without_bounds(bootstrap_interval(np.append(values[:-1], np.nan)))
    counts = np.append(np.ones(MIN_USERS - 1), 0)
    assert means_without_bounds(
        ratio_interval(values * counts, counts), paired_rmse_difference(values, values**2, counts)
    )


@pytest.mark.parametrize("different", [0, 1, 4])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_there_always_is_an_interval_from_enough_users_on(value, different):
    values, ones = np.full(MIN_USERS, value), np.ones(MIN_USERS)
    values[:different] = 0.5 + np.arange(different) / 100
    for interval in (
        bootstrap_interval(values, bounds=(0, 1)), bootstrap_interval(values), ratio_interval(values, ones),
        paired_difference(values, np.zeros(MIN_USERS)), paired_rmse_difference(values + 1, ones, ones),
    ):  # fmt: skip
        assert interval.low <= interval.mean <= interval.high
    bounded = bootstrap_interval(values, bounds=(0, 1))
    assert bounded.high - bounded.low > 0.01


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
    with pytest.raises(ParameterError, match="confidence must be a fraction strictly between 0 and 1"):
        ratio_interval([1.0, 2.0], [1, 1], confidence=95)
    with pytest.raises(ParameterError, match="resamples must be an integer >= 1"):
        bootstrap_interval([1.0, 2.0], resamples=0)
    with pytest.raises(ParameterError, match="bounds must be in ascending order; got 1 and 0"):
        bootstrap_interval([0.5], bounds=(1, 0))
    with pytest.raises(DataError, match="per_user must lie within the bounds 0 and 1"):
        bootstrap_interval([2.0], bounds=(0, 1))
    with pytest.raises(DataError, match="one value per user for each metric"):
        bootstrap_intervals({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(DataError, match="got infinity in 'b'"):
        bootstrap_intervals({"a": [1.0], "b": [math.inf]})
    with pytest.raises(DataError, match="a and b must have the same users; got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="shape"):
        ratio_interval([1.0], [1.0, 2.0])
    for sums, counts in (([math.nan], [1]), ([1.0], [-1])):
        with pytest.raises(DataError, match="finite"):
            ratio_interval(sums, counts)


@pytest.mark.parametrize("n", [2, 3, 5, 16])
def test_the_interval_covers_the_mean_of_normal_values(n: int) -> None:
    draws = np.random.default_rng(n).normal(1.0, 3.0, (1000, n))
    intervals = np.array([t_interval(values) for values in draws])
    covered = (intervals[:, 1] <= 1) & (intervals[:, 2] >= 1)
    assert 0.93 <= covered.mean() <= 0.97


def test_an_interval_needs_two_finite_values() -> None:
    assert np.isnan(t_interval([])).all()
    assert t_interval([2.0])[0] == 2
    assert np.isnan(t_interval([2.0])[1:]).all()
    assert np.isnan(t_interval([2.0, np.nan])).all()
    with pytest.raises(ParameterError, match="confidence"):
        t_interval([1.0, 2.0], confidence=1.5)
