"""Checks of arguments: valid values are returned in their plain type, errors name the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from cofactor import checks
from cofactor.errors import DataError, ParameterError

FOREIGN: list[Any] = [
    None,
    "3",
    b"3",
    1.5,
    3.0,
    True,
    np.True_,
    float("nan"),
    np.float32(3),
    [3],
    {},
    pytest.param(object(), id="object"),
    pl.DataFrame({"a": [3]}),
    pd.Series([3]),
    np.array(3),
    np.array([3]),
]


@pytest.mark.parametrize("value", FOREIGN, ids=repr)
def test_whole_numbers_are_ints_only(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^k must be an integer >= 1, not "):
        checks.whole_number("k", value, low=1)
    if value is not None:
        with pytest.raises(ParameterError, match=r"^seed must be an integer from 0 to 4294967295, not "):
            checks.seed(value)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)], ids=repr)
def test_numpy_ints_become_ints(value: Any) -> None:
    for number in (checks.whole_number("k", value, low=1), checks.seed(value)):
        assert type(number) is int
        assert number == 3


def test_ranges_include_both_ends() -> None:
    assert [checks.whole_number("k", value, low=-1, high=1) for value in (-1, 0, 1)] == [-1, 0, 1]
    assert checks.seed(0) == 0
    assert checks.seed(checks.MAX_SEED) == 2**32 - 1
    for value in (-2, 2, -(2**70), 2**70, 10**5000):
        with pytest.raises(ParameterError, match=r"^k must be an integer from -1 to 1, not "):
            checks.whole_number("k", value, low=-1, high=1)
    for value in (-1, 2**32, 2**40, 2**70):
        with pytest.raises(ParameterError, match=rf"^seed must be an integer from 0 to 4294967295, not {value}$"):
            checks.seed(value)


def test_whole_numbers_fit_in_64_bits() -> None:
    for value in (2**63, -(2**63) - 1, 10**5000, np.uint64(2**64 - 1)):
        with pytest.raises(ParameterError, match=r"^n must be an integer and fit into 64 bits, not "):
            checks.whole_number("n", value)
    assert checks.whole_number("n", 2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("value", [None, "3", True, np.True_, float("nan"), float("-inf"), 10**400, 1j, [3.0]], ids=str)
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^power must be a finite number >= 0, not "):
        checks.finite_number("power", value, low=0)
    with pytest.raises(ParameterError, match=r"^test must be a fraction strictly between 0 and 1, not "):
        checks.fraction("test", value)


def test_number_ranges_include_or_exclude_their_ends() -> None:
    assert checks.finite_number("power", np.float32(0.5), low=0, high=1) == 0.5
    assert checks.finite_number("power", 1, low=0, high=1) == 1.0
    assert checks.finite_number("cap", 1e-300, above=0) == 1e-300
    with pytest.raises(ParameterError, match=r"^cap must be a finite number above 0, not 0$"):
        checks.finite_number("cap", 0, above=0)
    with pytest.raises(ParameterError, match=r"^cap must be a finite number above 0 and below 2, not 2$"):
        checks.finite_number("cap", 2, above=0, below=2)
    with pytest.raises(ParameterError, match=r"^power must be a finite number from 0 to 1, not 1\.1$"):
        checks.finite_number("power", 1.1, low=0, high=1)
    for value in (0, 1, -0.1, 1.5):
        with pytest.raises(ParameterError, match=r"^test must be a fraction"):
            checks.fraction("test", value)


@pytest.mark.parametrize("value", [0, 1, None, "yes", [True], np.int8(1)], ids=repr)
def test_flags_are_true_or_false(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^exclude_seen must be True or False, not "):
        checks.flag("exclude_seen", value)
    assert checks.flag("exclude_seen", np.True_) is True


@pytest.mark.parametrize("value", [None, "Mean", 1, ["mean"], {}], ids=repr)
def test_choices_are_strings_of_the_list(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^by must be mean or lower, not "):
        checks.choice("by", value, ("mean", "lower"))
    assert checks.choice("by", "mean", ("mean", "lower")) == "mean"


@pytest.mark.parametrize(
    "value", [5, None, "5", b"5", [], (), [True], [0], [5, 1.5], [5, None], [[5]], {"a": 1}], ids=repr
)
def test_lists_of_whole_numbers(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^ks must be a list of integers >= 1, not "):
        checks.whole_numbers("ks", value, low=1)


@pytest.mark.parametrize("value", [[5, 1], (5, 1), np.array([5, 1]), pl.Series([5, 1]), pd.Series([5, 1])], ids=repr)
def test_lists_of_whole_numbers_become_tuples_of_ints(value: Any) -> None:
    numbers = checks.whole_numbers("ks", value, low=1)
    assert numbers == (5, 1)
    assert all(type(number) is int for number in numbers)


@pytest.mark.parametrize(
    "value",
    [
        None, 1, "12", "", True, [True], [1.0], ["1"], [None], [[1]], [[1], [1, 2]], {1}, {}, [2**70],
        pl.DataFrame({"a": [1]}), np.array(1), np.array([1.0, np.nan]), pytest.param(object(), id="object"),
    ],
    ids=repr,
)  # fmt: skip
def test_row_numbers_are_a_list_of_whole_numbers(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^rows must be a list or array of row numbers \(integers\), not "):
        checks.row_numbers("rows", value, 10)


@pytest.mark.parametrize("row", [10, -1, -(2**31), 2**31, 2**40, 2**63])
def test_row_numbers_are_within_the_table(row: int) -> None:
    with pytest.raises(ParameterError, match=rf"^rows must contain row numbers from 0 to 9, not {row}$"):
        checks.row_numbers("rows", np.array([0, row, 3], np.uint64 if row > 0 else np.int64), 10)
    with pytest.raises(ParameterError, match=r"^rows must be empty: there are no rows, not "):
        checks.row_numbers("rows", np.array([row]), 0)


def test_an_unknown_row_is_minus_one_where_that_is_allowed() -> None:
    assert checks.row_numbers("users", [-1, 9], 10, unknown=True).tolist() == [-1, 9]
    for row in (-2, 10):
        with pytest.raises(ParameterError, match=rf"^users must contain row numbers from -1 to 9, not {row}$"):
            checks.row_numbers("users", [row], 10, unknown=True)


@pytest.mark.parametrize(
    "value",
    [[], (), [3, 1], range(3), np.arange(6, dtype=np.uint64)[::2], pl.Series([3, 1]), pd.Series([3, 1])],
    ids=repr,
)
def test_row_numbers_become_contiguous_int32(value: Any) -> None:
    rows = checks.row_numbers("rows", value, 10)
    assert rows.dtype == np.int32
    assert rows.flags.c_contiguous
    assert rows.tolist() == list(value)


def test_row_numbers_are_not_copied_unnecessarily() -> None:
    rows = np.arange(3, dtype=np.int32)
    assert checks.row_numbers("rows", rows, 3) is rows


@pytest.mark.parametrize(
    "value", [None, True, [True], [1, 0, 1], ["a"], np.ones((3, 1), bool), [[True], [True, False]]], ids=repr
)
def test_masks_have_a_bool_for_each_row(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^allowed must be True or False for each of 3 rows, not "):
        checks.mask("allowed", value, 3, optional=True)


def test_masks_become_contiguous_and_may_be_empty() -> None:
    strided = np.array([True, False, False, False, True, False])[::2]
    mask = checks.mask("allowed", strided, 3)
    assert mask.flags.c_contiguous
    assert mask.tolist() == [True, False, True]
    assert checks.mask("allowed", [], 3, optional=True).shape == (0,)
    with pytest.raises(ParameterError, match=r"^allowed must be"):
        checks.mask("allowed", [], 3)


@pytest.mark.parametrize(
    "value", ["2020-01-01", None, 1.0, True, [1], [1, 2, 3], [[1, 2]], [None, 1], np.uint64(2**63)], ids=repr
)
def test_times_are_whole_seconds_of_the_right_length(value: Any) -> None:
    with pytest.raises(
        ParameterError,
        match=r"^times must be integer seconds since the Unix epoch \(1 or 2 values\), not ",
    ):
        checks.seconds("times", value, 2)


def test_a_single_time_is_broadcast() -> None:
    assert checks.seconds("times", 60, 2).tolist() == [60, 60]
    assert checks.seconds("times", np.array([1, 2], np.int32), 2).tolist() == [1, 2]


def test_objects_of_another_class_name_the_argument_and_the_advice() -> None:
    with pytest.raises(
        DataError, match=r"^split must be of type dict, not a polars\.DataFrame of shape \(1, 1\): make one$"
    ):
        checks.instance("split", pl.DataFrame({"a": [1]}), dict, "make one")
    assert checks.instance("split", {}, dict, "make one") == {}


def test_functions_can_be_omitted() -> None:
    assert checks.optional_callable("on_fit", None) is None
    assert checks.optional_callable("on_fit", print) is print
    with pytest.raises(ParameterError, match=r"^on_fit must be callable or None, not 3$"):
        checks.optional_callable("on_fit", 3)


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_messages_show_values_on_one_short_line() -> None:
    values: list[tuple[Any, str]] = [
        (1.5, "1.5"),
        ("a" * 500, "a str of 500"),
        (list(range(1000)), "a list of 1,000"),
        (10**5000, "a int"),
        (Silent(), "a Silent"),
        (np.zeros((2, 3)), "a numpy.ndarray of shape (2, 3) and dtype float64"),
        (pl.DataFrame({"a": [1, 2]}), "a polars.DataFrame of shape (2, 1)"),
        (pd.DataFrame({"a": [1, 2]}), "a pandas.DataFrame of shape (2, 1)"),
    ]
    for value, text in values:
        assert checks.describe(value) == text
