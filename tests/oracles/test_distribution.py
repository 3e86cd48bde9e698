"""Predicted ratings as distributions: the mixture kernels against references, and the mass against closed forms."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.scale import Scale
from cofactor.errors import DataError, ParameterError
from cofactor.kernels import reference
from cofactor.kernels.mixture import ROWS_PER_TASK, mixture_cdf, mixture_quantile
from cofactor.kernels.parallel import threads
from cofactor.models.distribution import MIN_PROBABILITY, Distribution, Histogram, edges_of

STARS = Scale.from_levels([1, 2, 3, 4, 5])
NORMAL = NormalDist()


def mixture(seed: int, n: int = 7, components: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(3, 2, (n, components)), rng.gamma(2, 0.5, (n, components)) + 1e-3


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_distribution_function_equals_the_reference(seed: int, components: int) -> None:
    means, sds = mixture(seed, components=components)
    points = np.random.default_rng(seed).normal(3, 4, 6)
    expected = reference.mixture_cdf(means, sds, np.tile(points, (7, 1)))
    np.testing.assert_allclose(mixture_cdf(means, sds, points), expected, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.floats(1e-6, 1 - 1e-6))
@settings(max_examples=40, deadline=None)
def test_quantiles_equal_the_reference(seed: int, components: int, p: float) -> None:
    means, sds = mixture(seed, components=components)
    quantiles = mixture_quantile(means, sds, p)
    np.testing.assert_allclose(reference.mixture_cdf(means, sds, quantiles[:, None])[:, 0], p, atol=1e-10)
    if 0.001 < p < 0.999:  # farther out, reference and kernel may differ where a mixture is flat
        slope = reference.mixture_cdf(means, sds, quantiles[:, None] + [[-1e-4, 1e-4]])
        steep = (slope[:, 1] - slope[:, 0]) > 1e-8
        expected = reference.mixture_quantile(means, sds, p)
        np.testing.assert_allclose(quantiles[steep], expected[steep], atol=1e-6)


def test_far_tails_and_components_far_apart() -> None:
    means, sds = np.array([[0.0, 100.0]]), np.array([[1e-3, 1e-3]])
    assert mixture_quantile(means, sds, 0.25)[0] == pytest.approx(0.0, abs=1e-9)
    assert mixture_quantile(means, sds, 0.75)[0] == pytest.approx(100.0, abs=1e-9)
    assert 0.0 < mixture_quantile(means, sds, 0.5)[0] < 100.0
    deep = mixture_cdf(np.zeros((1, 1)), np.ones((1, 1)), np.array([-12.0]))[0, 0]
    assert deep == pytest.approx(1.776482112077679e-33, rel=1e-9)  # 1 + erf would be 0 here


def test_any_number_of_threads_and_any_batch_give_the_same_bits() -> None:
    means, sds = mixture(3, n=2 * ROWS_PER_TASK + 5, components=4)
    results = []
    for n in (1, 2, 4):
        with threads(n):
            distribution = Distribution.of(means, sds, STARS)
            results.append((distribution.mass.tobytes(), *(end.tobytes() for end in distribution.interval())))
    assert results[0] == results[1] == results[2]
    alone = Distribution.of(means[7:8], sds[7:8], STARS)
    assert alone.mass.tobytes() == distribution.mass[7:8].tobytes()
    assert alone.interval()[0].tobytes() == distribution.interval()[0][7:8].tobytes()


def test_one_normal_is_binned_halfway_between_levels_with_its_tails_at_the_ends() -> None:
    distribution = Distribution.of([[3.2]], [[0.9]], STARS)
    edges = [NORMAL.cdf((edge - 3.2) / 0.9) for edge in (1.5, 2.5, 3.5, 4.5)]
    np.testing.assert_allclose(distribution.mass[0], np.diff([0, *edges, 1]), atol=1e-12)
    assert distribution.at_least(4)[0] == pytest.approx(1 - edges[2])
    assert distribution.at_least(3.5)[0] == distribution.at_least(4)[0]  # no level lies between
    assert (distribution.at_least(1)[0], distribution.at_least(5.1)[0]) == (1.0, 0.0)
    low, high = distribution.interval(0.8)
    assert (low[0], high[0]) == pytest.approx((3.2 - 1.2815515655 * 0.9, 3.2 + 1.2815515655 * 0.9))
    assert distribution.mean()[0] == pytest.approx(3.2)
    assert distribution.sd()[0] == pytest.approx(0.9)


def test_moments_and_quantiles_are_those_of_draws_from_the_mixture() -> None:
    means, sds = np.array([[1.0, 2.0, 6.0]]), np.array([[0.5, 1.0, 2.0]])
    distribution = Distribution.of(means, sds, STARS)
    rng = np.random.default_rng(0)
    which = rng.integers(0, 3, 400_000)
    draws = rng.normal(means[0][which], sds[0][which])
    assert distribution.mean()[0] == pytest.approx(draws.mean(), abs=0.02)
    assert distribution.sd()[0] == pytest.approx(draws.std(), rel=0.01)
    np.testing.assert_allclose(np.ravel(distribution.interval(0.9)), np.quantile(draws, [0.05, 0.95]), atol=0.03)
    binned = np.clip(np.round(draws), 1, 5)
    np.testing.assert_allclose(distribution.mass[0], [(binned == level).mean() for level in range(1, 6)], atol=0.005)


def test_mass_has_a_floor_and_sums_to_one() -> None:
    sure = Distribution.of([[3.0], [40.0]], [[1e-3], [0.1]], STARS)
    np.testing.assert_allclose(sure.mass.sum(axis=1), 1, atol=1e-12)
    assert sure.mass.min() >= MIN_PROBABILITY * 0.99
    assert sure.mass[0].argmax() == 2
    assert sure.mass[1].argmax() == 4  # beyond the scale: its nearest end


def test_half_stars_as_float32_are_reached_by_their_own_value() -> None:
    tenths = Scale.from_levels([0.1, 0.2, 0.3])
    distribution = Distribution.of([[0.2]], [[0.05]], tenths)
    for place, value in enumerate((0.1, 0.2, 0.3)):
        assert distribution.at_least(value)[0] == pytest.approx(distribution.mass[0, place:].sum())


def test_a_scale_without_levels_has_no_mass_but_means_and_intervals() -> None:
    distribution = Distribution.of([[3.0]], [[1.0]], Scale(1.0, 5.0))
    assert distribution.mass.shape == (1, 0)
    assert distribution.at_least(4.0)[0] == pytest.approx(1 - NORMAL.cdf(1.0))
    assert distribution.interval()[0][0] == pytest.approx(3 - 1.959964, abs=1e-6)
    single = Distribution.of([[3.0]], [[1.0]], Scale.from_levels([3.0]))
    assert single.mass.tolist() == [[1.0]]
    assert len(Distribution.of(np.zeros((0, 4)), np.ones((0, 4)), STARS)) == 0


def test_invalid_mixtures_are_rejected() -> None:
    with pytest.raises(DataError, match="sds must be positive"):
        Distribution.of([[1.0]], [[0.0]], STARS)
    for means, sds in (([[np.nan]], [[1.0]]), ([[1.0]], [[np.inf]]), ([1.0], [1.0])):
        with pytest.raises(ParameterError, match=r"(means|sds) must be an array of finite numbers with shape"):
            Distribution.of(means, sds, STARS)
    for means, sds in (([[1.0, 2.0]], [[1.0]]), (np.zeros((3, 0)), np.zeros((3, 0)))):
        with pytest.raises(DataError, match=r"must have the same shape \(n, S\)"):
            Distribution.of(means, sds, STARS)
    distribution = Distribution.of([[3.0]], [[1.0]], STARS)
    for level in (0.0, 1.0, 95):
        with pytest.raises(ParameterError, match="confidence must be a fraction strictly between 0 and 1"):
            distribution.interval(level)
    with pytest.raises(ParameterError, match="fraction strictly between 0 and 1"):
        distribution.quantile(1.0)
    with pytest.raises(ParameterError, match="finite number"):
        distribution.at_least(float("nan"))


# a bare mass

UNEVEN = Scale.from_levels([0, 1, 3, 3.5])


def masses(seed: int, n: int = 9, levels: int = 4) -> np.ndarray:
    mass: np.ndarray = np.random.default_rng(seed).dirichlet(np.full(levels, 0.7), n) + 1e-5
    return mass / mass.sum(axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.sampled_from([UNEVEN, STARS, Scale.from_levels([2.0])]))
@settings(max_examples=40, deadline=None)
def test_moments_and_tails_of_a_mass_are_its_own(seed: int, scale: Scale) -> None:
    mass, levels = masses(seed, levels=len(scale.levels)), np.array(scale.levels)
    distribution = Distribution.of_mass(mass, scale)
    np.testing.assert_allclose(distribution.mass, mass, atol=1e-12)
    np.testing.assert_allclose(distribution.mean(), mass @ levels, atol=1e-12)
    second = mass @ levels**2 - (mass @ levels) ** 2
    np.testing.assert_allclose(distribution.sd() ** 2, second, atol=1e-11)
    for value in (-1.0, *levels, 1.5, 9.0):
        np.testing.assert_allclose(distribution.at_least(value), mass[:, levels >= value].sum(axis=1), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([UNEVEN, STARS]), st.floats(1e-6, 1 - 1e-6))
@settings(max_examples=60, deadline=None)
def test_quantiles_of_a_mass_invert_the_line_through_its_cells(seed: int, scale: Scale, share: float) -> None:
    mass = masses(seed, levels=len(scale.levels))
    distribution = Distribution.of_mass(mass, scale)
    edges = edges_of(distribution.levels)
    reached = np.hstack([np.zeros((len(mass), 1)), np.cumsum(mass, axis=1)])
    x = distribution.quantile(share)
    assert ((edges[0] <= x) & (x <= edges[-1])).all()
    back = [np.interp(x[row], edges, reached[row]) for row in range(len(mass))]
    np.testing.assert_allclose(back, share, atol=1e-9)
    assert (distribution.quantile(share / 2) < x).all()


def test_cells_meet_halfway_and_the_outer_ones_are_centered_on_their_levels() -> None:
    assert edges_of(np.array(UNEVEN.levels, np.float32)).tolist() == [-0.5, 0.5, 2.0, 3.25, 3.75]
    distribution = Distribution.of_mass([[0.1, 0.2, 0.3, 0.4]], UNEVEN)
    for share, expected in ((0.05, 0.0), (0.1, 0.5), (0.3, 2.0), (0.45, 2.625), (0.6, 3.25), (0.8, 3.5)):
        assert distribution.quantile(share)[0] == pytest.approx(expected)
    low, high = distribution.interval(0.8)
    assert (low[0], high[0]) == (pytest.approx(0.5), pytest.approx(3.625))
    single = Distribution.of_mass([[1.0]], Scale.from_levels([3.0]))
    assert (single.mean()[0], single.sd()[0]) == (3.0, 0.0)
    assert np.ravel(single.interval(0.5)).tolist() == [2.75, 3.25]


def test_a_mass_has_a_floor_and_a_row_alone_is_the_row_in_a_batch() -> None:
    distribution = Distribution.of_mass([[0.0, 0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0, 0.5]], STARS)
    np.testing.assert_allclose(distribution.mass.sum(axis=1), 1, atol=1e-12)
    assert distribution.mass.min() >= MIN_PROBABILITY * 0.99
    assert distribution.quantile(0.5)[0] == pytest.approx(3.0)
    assert distribution.quantile(0.5)[1] == pytest.approx(3.0)  # between the two levels: nothing but the floor
    assert np.isfinite(distribution.interval(1 - 1e-12)).all()
    many, few = Distribution.of_mass(masses(4, 500, 5), STARS), Distribution.of_mass(masses(4, 500, 5)[77:78], STARS)
    for together, alone in zip(many.interval(), few.interval(), strict=True):
        assert together[77:78].tobytes() == alone.tobytes()
    assert many.mean()[77:78].tobytes() == few.mean().tobytes()
    empty = Distribution.of_mass(np.zeros((0, 5)), STARS)
    assert (len(empty), empty.quantile(0.5).shape, empty.mean().shape) == (0, (0,), (0,))
    assert isinstance(empty.curve, Histogram)
    assert repr(many) == "Distribution(500 ratings, 5 levels, cells)"


def test_invalid_masses_are_rejected() -> None:
    for wrong in ([0.5, 0.5], [[0.5, 0.5]], np.zeros((3, 0))):
        with pytest.raises(ParameterError, match=r"mass must be an array of finite numbers with shape \(any, 5\)"):
            Distribution.of_mass(wrong, STARS)
    with pytest.raises(DataError, match="scale must have levels"):
        Distribution.of_mass(np.zeros((2, 0)), Scale(1.0, 5.0))
    for row in ([0.2, 0.2, 0.2, 0.2, 0.3], [0.5, 0.6, 0, 0, -0.1]):
        with pytest.raises(DataError, match="row 2 of mass must contain probabilities that sum to 1"):
            Distribution.of_mass([[1, 0, 0, 0, 0], row], STARS)
    for row in ([np.nan, 1, 0, 0, 0], [np.inf, 0, 0, 0, 0]):
        with pytest.raises(ParameterError, match="mass must be an array of finite numbers"):
            Distribution.of_mass([[1, 0, 0, 0, 0], row], STARS)
    distribution = Distribution.of_mass([[1, 0, 0, 0, 0]], STARS)
    for share in (0.0, 1.0):
        with pytest.raises(ParameterError, match="fraction strictly between 0 and 1"):
            distribution.quantile(share)
    with pytest.raises(ParameterError, match="probability must be a finite number"):
        distribution.quantile(float("nan"))
