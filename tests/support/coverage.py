"""Simulated per-user metrics with a known truth, and the coverage of the intervals that are computed from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

import numpy as np

from cofactor.arrays import Float64, random_stream
from cofactor.metrics.intervals import bootstrap_intervals, ratio_interval
from cofactor.metrics.ranking import RANKING_BOUNDS

K = 10
BATCH = 50
"""Number of simulated sets that share the resamples of a bootstrap."""


@dataclass(frozen=True)
class Population:
    """Distribution of the values of users.

    Attributes
    ----------
    description : str
        Parameters.
    truth : float
        Mean of the values, or ratio of the means of both sums.
    draw : callable
        Function of a number of users and a random stream that returns values and numbers of rows, each (n,).
    """

    description: str
    truth: float
    draw: Callable[[int, np.random.Generator], tuple[Float64, Float64]]


def hit_rate(number: int) -> Population:
    """Hits with a probability from 2 to 50%, drawn on a logarithmic scale."""
    p = exp(random_stream(0, "hit rate", number).uniform(log(0.02), log(0.5)))
    return Population(f"p = {p:.3f}", p, lambda n, stream: ((stream.random(n) < p).astype(np.float64), np.ones(n)))


def ndcg(number: int) -> Population:
    """NDCG@10 of users with 1 to about 20 test items, whose probability of a hit differs and falls with the rank."""
    parameters = random_stream(0, "ndcg", number)
    level, shape = exp(parameters.uniform(log(0.02), log(0.3))), exp(parameters.uniform(log(0.3), log(5)))
    decay, n_test = parameters.uniform(0.8, 1), exp(parameters.uniform(log(1), log(20)))
    discount = 1 / np.log2(np.arange(2, K + 2))

    def draw(n: int, stream: np.random.Generator) -> tuple[Float64, Float64]:
        n_relevant = 1 + stream.poisson(n_test - 1, n)
        p = np.minimum(stream.gamma(shape, level / shape, n), 0.9)[:, None] * decay ** np.arange(K)
        is_hit = stream.random((n, K)) < p
        is_hit &= is_hit.cumsum(axis=1) <= n_relevant[:, None]
        ideal = np.cumsum(discount)[np.minimum(n_relevant, K) - 1]
        return (is_hit @ discount) / ideal, np.ones(n)

    truth = float(draw(500_000, random_stream(0, "ndcg truth", number))[0].mean())
    return Population(f"mean {truth:.3f}, {n_test:.0f} test items", truth, draw)


def rmse(number: int) -> Population:
    """Squared errors of users with log-normal numbers of rows and different error variances with mean 1."""
    parameters = random_stream(0, "rmse", number)
    sigma, mu, spread = parameters.uniform(0.5, 1.5), parameters.uniform(1, 3.5), parameters.uniform(0.1, 0.6)

    def draw(n: int, stream: np.random.Generator) -> tuple[Float64, Float64]:
        counts = np.maximum(np.round(np.exp(mu + sigma * stream.standard_normal(n))), 1)
        variance = np.exp(spread * stream.standard_normal(n) - spread**2 / 2)
        return variance * stream.chisquare(counts), counts

    return Population(f"sd of log rows {sigma:.2f}, of log variance {spread:.2f}", 1.0, draw)


POPULATIONS = {"hit rate": hit_rate, "NDCG@10": ndcg, "RMSE": rmse}


def coverage(metric: str, population: Population, n: int, *, runs: int, seed: int) -> tuple[float, float, float]:
    """Return the shares of intervals above the truth and below it, and of sets that have an interval."""
    stream = random_stream(seed, "coverage", n)
    samples = [population.draw(n, stream) for _ in range(runs)]
    if metric == "RMSE":
        intervals = [ratio_interval(*sample) for sample in samples]
    else:
        intervals = []
        for start in range(0, runs, BATCH):
            batch = {str(run): sample[0] for run, sample in enumerate(samples[start : start + BATCH])}
            intervals += bootstrap_intervals(batch, bounds=RANKING_BOUNDS, seed=start).values()
    low, high = (np.array([interval[end] for interval in intervals]) for end in (1, 2))
    return (
        float((low > population.truth).mean()),
        float((high < population.truth).mean()),
        float(np.isfinite(low).mean()),
    )
