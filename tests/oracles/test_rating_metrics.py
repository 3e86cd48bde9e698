"""RMSE and MAE against scikit-learn; sums by user against plain loops; nothing that is not finite passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from cofactor.errors import DataError
from cofactor.metrics.rating import MAE, RMSE, errors_by_user, mae, rmse

rows = st.lists(st.tuples(st.integers(0, 4), st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=50)


@given(rows)
def test_against_scikit_learn(rows):
    _, y, p = (np.array(column) for column in zip(*rows, strict=True))
    assert rmse(y, p) == pytest.approx(root_mean_squared_error(y, p))
    assert mae(y, p) == pytest.approx(mean_absolute_error(y, p))
    assert mae(y, p) <= rmse(y, p) + 1e-12


@given(rows)
def test_sums_by_user_add_up(rows):
    u, y, p = (np.array(column) for column in zip(*rows, strict=True))
    errors = errors_by_user(u, y, p, n_users=6)
    for user in range(6):
        mine = [(b - a) for who, a, b in rows if who == user]
        assert RMSE.per_user(errors).sums[user] == pytest.approx(sum(e**2 for e in mine))
        assert MAE.per_user(errors).sums[user] == pytest.approx(sum(abs(e) for e in mine))
        assert errors.count[user] == len(mine)
    assert RMSE.per_user(errors).aggregate() == pytest.approx(rmse(y, p))
    assert MAE.per_user(errors).aggregate() == pytest.approx(mae(y, p))


def test_float32_predictions_are_averaged_in_double():
    y = np.full(3_000_000, 1.0, np.float32)
    assert rmse(y, y + np.float32(0.1)) == pytest.approx(float(np.float32(1.1)) - 1, rel=1e-9)


def test_perfect_and_empty():
    assert rmse([3, 4], [3, 4]) == mae([3, 4], [3, 4]) == 0
    assert np.isnan(rmse([], []))
    assert np.isnan(mae([], []))
    empty = errors_by_user(np.zeros(0, np.int32), [], [], n_users=2)
    assert empty.count.tolist() == [0, 0]
    assert RMSE.per_user(empty).sums.dtype == MAE.per_user(empty).sums.dtype == np.float64
    assert np.isnan(RMSE.per_user(empty).aggregate())
    assert errors_by_user([], [], [], n_users=2).count.tolist() == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", [rmse, mae])
def test_a_diverged_prediction_is_rejected_with_its_row(metric, bad):
    with pytest.raises(DataError, match=f"row 2: the prediction must be finite, not {bad} \\(1 more"):
        metric([1.0, 2.0, 3.0], [1.0, bad, bad])
    with pytest.raises(DataError, match="row 1: the rating must be finite"):
        metric([bad], [1.0])


def test_lengths_must_agree():
    with pytest.raises(
        DataError, match=r"y and p must be one-dimensional arrays of the same length.* got shapes \(2,\) and \(1,\)"
    ):
        rmse([1, 2], [1])
    with pytest.raises(DataError, match="u must contain 2 row numbers, one per rating"):
        errors_by_user([0], [1, 2], [1, 2], n_users=1)


@pytest.mark.parametrize("u", [[2], [-1], [0.5], ["a"]])
def test_users_are_row_numbers(u):
    with pytest.raises(DataError, match="u must contain row numbers less than n_users=2, not"):
        errors_by_user(u, [1], [1], n_users=2)
    assert errors_by_user(np.array([1], np.uint64), [1], [1], n_users=2).count.tolist() == [0, 1]
