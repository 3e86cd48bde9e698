"""Coverage, novelty and Gini of exposure on vectors whose answer is known, and within their bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.errors import DataError
from cofactor.metrics.catalog import coverage, exposure, gini, novelty

RANKED = np.array([[0, 1, 2], [0, 1, -1], [0, -1, -1]], np.int32)


def test_exposure_counts_lists_and_skips_blanks():
    assert exposure(RANKED, 5).tolist() == [3, 2, 1, 0, 0]
    assert exposure(np.zeros((0, 3), np.int32), 2).tolist() == [0, 0]
    assert exposure(np.zeros((0, 3), np.int32), 0).tolist() == []
    for row in (5, -2):
        with pytest.raises(
            DataError, match=f"`ranked` contains item row number {row}, but row numbers must be less than n_items=5"
        ):
            exposure(np.array([[0, row]], np.int32), 5)


def test_coverage():
    assert coverage(exposure(RANKED, 6)) == 0.5
    assert coverage(exposure(np.full((2, 2), -1, np.int32), 6)) == 0.0
    assert math.isnan(coverage(exposure(np.zeros((0, 2), np.int32), 0)))


def test_novelty_is_the_mean_self_information_of_the_recommended_items():
    expected = (3 * 0 + 2 * 1 + 1 * 3) / 6  # 8, 4 and 1 of 8 users: 0, 1 and 3 bits
    assert novelty(exposure(RANKED, 3), [8, 4, 1], 8) == pytest.approx(expected)


def test_an_item_of_no_user_is_as_novel_as_an_item_of_one_user():
    assert novelty([1], [0], 32) == novelty([1], [1], 32) == 5.0


def test_novelty_of_nothing_and_of_impossible_support():
    assert math.isnan(novelty([0, 0], [1, 1], 2))
    assert math.isnan(novelty([], [], 0))
    for support in ([3, 1, 1], [-1, 1, 1], [math.nan, 1, 1]):
        with pytest.raises(DataError, match="support must be"):
            novelty([1, 1, 1], support, 2)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 1, 1, 1], 0.0),
        ([0, 0, 0, 9], 0.75),
        ([5], 0.0),
        ([1, 3], 0.25),
        ([1, 2, 3, 4], 0.25),
        ([0, 0, 1, 1], 0.5),
    ],
)
def test_gini_of_known_vectors(counts, expected):
    assert gini(counts) == pytest.approx(expected, abs=1e-15)


counts = st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any)


@given(counts)
def test_gini_is_half_the_relative_mean_difference(counts):
    x, n = np.array(counts, float), len(counts)
    expected = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert gini(counts) == pytest.approx(expected, abs=1e-12)
    assert 0 <= gini(counts) <= (n - 1) / n + 1e-12


@given(counts, st.randoms(use_true_random=False))
def test_gini_ignores_order_and_scale(counts, random):
    shuffled = counts[:]
    random.shuffle(shuffled)
    assert gini(shuffled) == gini(counts)
    assert gini([3 * count for count in counts]) == pytest.approx(gini(counts), abs=1e-12)


def test_gini_of_nothing_and_of_impossible_counts():
    assert math.isnan(gini([]))
    assert math.isnan(gini([0, 0]))
    for bad in ([-1, 2], [math.nan], [math.inf]):
        with pytest.raises(DataError, match="counts must be an array of finite numbers >= 0"):
            gini(bad)
