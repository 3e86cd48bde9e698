"""The kernels of the network, and the minimizer that folds in new users."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.kernels import reference
from cofactor.kernels.dense import dense, row_dots
from cofactor.models.fold_in import barzilai_borwein

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)
sizes = st.integers(1, 40)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@few
@given(seeds, st.integers(0, 60), sizes, sizes)
def test_dense_equals_the_reference_and_a_row_does_not_depend_on_the_others(
    seed: int, n: int, rows: int, out: int
) -> None:
    rng = np.random.default_rng(seed)
    x, weights, bias = normal(rng, n, rows), normal(rng, rows, out), normal(rng, out)
    result = dense(x, weights, bias)
    assert result.shape == (n, out)
    np.testing.assert_allclose(result, reference.dense(x, weights, bias), rtol=1e-4, atol=1e-4)
    some = rng.permutation(n)[: n // 2 + 1]
    assert dense(x[some], weights, bias).tobytes() == result[some].tobytes()


@few
@given(seeds, st.integers(0, 60), sizes, sizes)
def test_row_dots_equal_the_reference_and_a_row_does_not_depend_on_the_others(
    seed: int, n: int, a: int, b: int
) -> None:
    rng = np.random.default_rng(seed)
    p, q = normal(rng, n, a), normal(rng, n, b)
    result = row_dots(p, q)
    np.testing.assert_allclose(result, reference.row_dots(p, q), rtol=1e-4, atol=1e-4)
    some = rng.permutation(n)[: n // 2 + 1]
    assert row_dots(p[some], q[some]).tobytes() == result[some].tobytes()


@few
@given(seeds, st.integers(1, 24))
def test_barzilai_borwein_ends_at_the_minimum_of_a_quadratic(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((width, 2 * width)) * rng.choice([0.3, 3.0])
    A, b = root @ root.T + np.eye(width), rng.standard_normal(width)
    values = []

    def slope(z: np.ndarray) -> tuple[float, np.ndarray]:
        wide = z.astype(np.float64)
        values.append(float(0.5 * wide @ A @ wide - b @ wide))
        return values[-1], (A @ wide - b).astype(np.float32)

    z = barzilai_borwein(slope, width, steps=2000, tolerance=1e-2)
    assert np.linalg.norm(A @ z - b) <= 1.1e-2
    assert slope(z)[0] <= values[0]


def test_barzilai_borwein_never_gets_worse_with_a_wrong_gradient() -> None:
    """The gradient has the wrong sign: no step helps, so the start is returned."""
    assert barzilai_borwein(lambda z: (float(z @ z), -2 * z - 1), 3, steps=9, tolerance=0.0).tolist() == [0.0] * 3


@pytest.mark.parametrize("steps", [0, 1])
def test_barzilai_borwein_takes_the_requested_number_of_steps(steps: int) -> None:
    calls: list[float] = []

    def slope(z: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(float(z[0]))
        return float(-z[0]), np.array([-1.0], np.float32)

    assert barzilai_borwein(slope, 1, steps=steps, tolerance=0.0)[0] == 0.5 * steps
    assert len(calls) == 1 + steps
