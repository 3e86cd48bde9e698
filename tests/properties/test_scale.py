"""The scale of ratings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.data.scale import MAX_LEVELS, Scale
from cofactor.errors import DataError


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([1, 5, 3], (1, 3, 5)),
        ([1, 2, 4], (1, 2, 3, 4)),
        (np.arange(1, 11) / 2, tuple(np.arange(1, 11) / 2)),
        ([0, 0.5, 5], tuple(np.arange(11) / 2)),
        ([3, 3, 3], (3,)),
        (np.float32([0.1, 0.2, 0.3]), (0.1, 0.2, 0.3)),
        ([-1, 1], (-1, 1)),
        (range(MAX_LEVELS), tuple(range(MAX_LEVELS))),
        (range(MAX_LEVELS + 1), ()),
        ([1, 2, 2.5, 2.8], ()),
        ([0, 1, 100], ()),
    ],
)
def test_undeclared_levels_are_the_even_grid_of_the_values(values: list[float], levels: tuple[float, ...]) -> None:
    scale = Scale.infer(values)
    assert scale.levels == pytest.approx(levels)
    assert (scale.low, scale.high) == (pytest.approx(min(values)), pytest.approx(max(values)))


@given(st.lists(st.integers(-40, 40), min_size=1), st.sampled_from([0.25, 0.5, 1.0, 10.0]))
def test_a_scale_contains_the_values_it_was_made_from(steps: list[int], step: float) -> None:
    values = np.float32(steps) * np.float32(step)
    scale = Scale.infer(values)
    assert scale.contains(values).all()
    assert scale.low <= scale.high
    assert scale.extended_range[0] < scale.low
    assert scale.extended_range[1] > scale.high
    assert len(scale.levels) <= MAX_LEVELS
    assert not scale.contains(np.float32([scale.low - step, scale.high + step])).any()


def test_declared_levels_are_unchanged() -> None:
    scale = Scale.from_levels([5, 1, 2.5])
    assert scale.levels == (1.0, 2.5, 5.0)
    assert scale.contains(np.float32([1, 2, 2.5])).tolist() == [True, False, True]
    assert scale.step == 1.5
    assert scale.extended_range == (0.25, 5.75)


@pytest.mark.parametrize("levels", [[], [1, 1], [1, float("nan")], [1, float("inf")], ["a"], [None], [[1]], 3])
def test_levels_that_cannot_be_declared(levels: Any) -> None:
    with pytest.raises(DataError, match="rating levels must be distinct finite numbers"):
        Scale.from_levels(levels)


def test_an_empty_table_has_no_scale() -> None:
    with pytest.raises(DataError, match="cannot be inferred without ratings; declare it"):
        Scale.infer([])


def test_the_scale_does_not_depend_on_the_order_of_values_nor_on_the_sign_of_zero() -> None:
    for values in ([-0.0, 0.0, 1.0], [1.0, 0.0, -0.0]):
        assert str(Scale.infer(values)) == "Scale(low=0.0, high=1.0, levels=(0.0, 1.0))"


STARS = Scale.from_levels([1, 2, 3, 4, 5])


@pytest.mark.parametrize("value", [99, -7, 0.999, 4.5, 1e30, -1e30, float("nan"), float("inf"), 5.0001])
def test_a_value_off_the_levels_is_named_with_the_scale(value: float) -> None:
    message = "the rating of 'alien' is .*, which is not on the rating scale of 1 to 5 with levels 1, 2, 3, 4, 5; "
    with pytest.raises(DataError, match=message):
        STARS.check([4, value], name=lambda place: ["no", "the rating of 'alien'"][place])


@pytest.mark.parametrize("value", [0.69, 0.91, float("nan"), 1e30])
def test_a_range_without_levels_accepts_all_values_between_its_ends(value: float) -> None:
    scale = Scale(0.7, 0.9)
    scale.check(np.float32([0.7, 0.8, 0.7654321, 0.9]))
    with pytest.raises(DataError, match=r"the rating is .* not on the rating scale of 0.7 to 0.9; "):
        scale.check(value)


def test_levels_are_compared_as_float32() -> None:
    tenths = Scale.from_levels([k / 10 for k in range(1, 10)])
    tenths.check(np.float32([k / 10 for k in range(1, 10)]))
    tenths.check(np.float64(np.float32(0.7)))
    thirds = Scale.infer(np.float32([0, 1 / 3, 2 / 3]))
    thirds.check([1 / 3, 2 / 3])
    with pytest.raises(DataError, match=r"is 0.65, "):
        tenths.check(0.65)


def test_empty_values_pass_and_long_lists_of_levels_are_truncated() -> None:
    STARS.check([])
    with pytest.raises(DataError, match=r"1 to 100 with levels 1, 2, 3, ..., 100"):
        Scale.from_levels(range(1, 101)).check(2.5)
