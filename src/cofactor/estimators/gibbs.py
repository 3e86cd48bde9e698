"""The parts of the Gibbs chain of `BayesianMF`: one side's vectors, what pulls on them, and moods."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lgamma
from typing import Any

import numpy as np

from cofactor.arrays import Bool, Float32, Float64, Int64, contiguous
from cofactor.kernels.gibbs import draw_history_terms
from cofactor.kernels.ridge import RATINGS, Side, solve
from cofactor.kernels.sparse import SparseRows
from cofactor.models.session_bias import SessionBias

__all__ = ["Chain", "Sessions", "Terms", "normal_gamma"]

NOISE_SHAPES = np.array([1.0, 1.5, 2, 3, 4, 6, 8, 12, 16, 24])
"""Shapes of the gamma prior of the rows' noise that are tried; a large one says that all rows are alike."""

PADDING = np.float32(1e9)
"""The precision of dimensions that are not there: they stay zero."""


@dataclass
class Terms:
    """What having a column adds to the prior mean of a row's vector: total_r = scale_r sum over its columns Y_c.

    Columns are the items a user rated (users alike), or features. Who has none gets what the others get on average.

        holders: for each column the rows that have it
        scale (n_rows,) float32
        dimensions: how many of a vector's first numbers they reach: factors, or factors and bias
        values (n_columns, width) float32: Y
        total (n_rows, width) float32
        without (n_rows,) bool: who has no column
    """

    holders: SparseRows
    scale: Float32
    dimensions: int
    values: Float32
    total: Float32
    without: Bool

    @classmethod
    def begin(cls, holders: SparseRows, scale: Float32, dimensions: int, width: int) -> Terms:
        """Y = 0: a column adds nothing yet."""
        blank = np.zeros((len(holders), width), np.float32)
        without = np.bincount(holders.columns, minlength=len(scale)) == 0
        return cls(holders, scale, dimensions, blank, np.zeros((len(scale), width), np.float32), without)

    def randomness(self, stream: np.random.Generator) -> tuple[Float32, Float32]:
        """What is random in the next draw: the precision of Y's own prior (width,), and noise (n_columns, width)."""
        precision = np.full(self.values.shape[1], PADDING, np.float32)
        precision[: self.dimensions] = normal_gamma(self.values[:, : self.dimensions], stream)[1]
        noise = stream.standard_normal(self.values.shape, dtype=np.float32)
        noise[:, self.dimensions :] = 0
        return precision, noise

    def draw(self, residual: Float32, vectors: Float32, precision: Float32, noise: Float32) -> None:
        """Y drawn given the vectors, whose precision is `vectors` (width,).

        `residual` (n_rows, width), the vectors less all their prior means, follows. The equations: `kernels.gibbs`.
        """
        before = residual.copy()
        columns = self.holders
        run = draw_history_terms(self.values.shape[1])
        run(self.values, residual, columns.start, columns.columns, self.scale, precision, vectors, noise)
        self.total += before - residual
        self.total[:, self.dimensions :] = 0
        if self.without.any() and not self.without.all():
            self.total[self.without] = self.total[~self.without].mean(axis=0)


@dataclass
class Chain:
    """One side of the cross-tab while it is drawn. Vectors are [factors, bias, padding].

        entries: its rows, values relative to what is not drawn here
        vectors (n, width) float32
        noise (n,) float64: each row's factor on the precision
        mean, precision (width,) float32: of the prior
        terms: what moves the prior mean of each row away from `mean`
        shape: of the gamma prior of `noise`, whose mean is 1

    A row without entries is drawn from its prior.
    """

    entries: SparseRows
    vectors: Float32
    noise: Float64
    mean: Float32
    precision: Float32
    terms: list[Terms] = field(default_factory=list)
    shape: float = 4.0

    @classmethod
    def begin(cls, entries: SparseRows, width: int, factors: Float32) -> Chain:
        """From first factors (n, k) float32: no biases, all noise alike, a standard normal prior."""
        vectors = np.zeros((len(entries), width), np.float32)
        vectors[:, : factors.shape[1]] = factors
        noise = np.ones(len(entries))
        return cls(entries, vectors, noise, np.zeros(width, np.float32), np.ones(width, np.float32))

    @property
    def prior(self) -> Float32:
        """Each row's prior mean, mean + sum of its terms: (n, width) float32."""
        return sum((terms.total for terms in self.terms), np.zeros_like(self.vectors)) + self.mean

    def draw_prior(self, width: int, stream: np.random.Generator) -> None:
        """mu and precision given the vectors: normal-gamma, apart for each dimension."""
        own = self.vectors[:, :width] - (self.prior - self.mean)[:, :width]
        self.mean[:width], self.precision[:width] = normal_gamma(own, stream)
        self.precision[width:] = PADDING

    def draw_vectors(self, other: Chain, factors: int, weights: Float32, stream: np.random.Generator) -> None:
        """Every row's vector given the other side's: one ridge regression each, solved and drawn."""
        features = other.vectors.copy()
        features[:, factors], features[:, factors + 1 :] = 1, 0
        side = Side(
            RATINGS,
            features,
            contiguous(other.vectors[:, factors], np.float32),
            np.zeros((0, 0), np.float32),
            np.zeros(features.shape[1], np.float32),
            self.precision,
            self.prior,
        )
        entries = SparseRows(self.entries.start, self.entries.columns, self.entries.values, weights)
        noise = stream.standard_normal(self.vectors.shape, dtype=np.float32)
        solve(self.vectors, entries, np.zeros(len(noise), np.float32), side, noise=noise)

    def draw_terms(self, randomness: list[tuple[Float32, Float32]]) -> None:
        """What moves the prior means, one kind of terms after the other."""
        residual = self.vectors - self.prior
        for terms, (precision, noise) in zip(self.terms, randomness, strict=True):
            terms.draw(residual, self.precision, precision, noise)

    def draw_noise(self, misfit: Any, counts: Any, stream: np.random.Generator) -> None:
        """Each row's factor on the precision, given its sum of squares; then the shape that fits the factors best.

            noise_r ~ Gamma(shape + counts_r / 2, rate shape + misfit_r / 2)

        misfit, counts (n,) float64.
        """
        self.noise = stream.gamma(self.shape + counts / 2, 1 / (self.shape + misfit / 2))
        peak = NOISE_SHAPES * np.log(NOISE_SHAPES) - np.array([lgamma(shape) for shape in NOISE_SHAPES])
        likelihood = (
            peak * len(self.noise) + (NOISE_SHAPES - 1) * np.log(self.noise).sum() - NOISE_SHAPES * self.noise.sum()
        )
        self.shape = float(NOISE_SHAPES[likelihood.argmax()])


@dataclass
class Sessions:
    """Moods while they are drawn: one number for every user and bin of time, normal around 0.

        table: who sat when
        which (n,) int64: the session of each rating
        drawn, total (m,) float64: this draw, and the sum of those remembered

    m sessions, n ratings.
    """

    table: SessionBias
    which: Int64
    drawn: Float64
    total: Float64

    @classmethod
    def begin(cls, table: SessionBias, which: Int64) -> Sessions:
        """All moods 0, from what `SessionBias.unknown` returns."""
        m = len(table.rows.values)
        return cls(table, which, np.zeros(m), np.zeros(m))

    @property
    def offsets(self) -> Float32:
        """What this draw adds to each rating: (n,) float32."""
        return self.drawn.astype(np.float32)[self.which]

    def draw(self, residual: Float64, precision: Float32, stream: np.random.Generator) -> None:
        """Every mood given its ratings' residuals (n,) without it, their precisions, and the other moods' spread."""
        m = len(self.drawn)
        spread = stream.gamma((m + 1) / 2, 1 / (0.5 * float(self.drawn @ self.drawn) + 0.5))
        total = np.bincount(self.which, precision, m) + spread
        mean = np.bincount(self.which, precision * residual, m) / total
        self.drawn = mean + stream.standard_normal(m) / np.sqrt(total)


def normal_gamma(vectors: Float32, stream: np.random.Generator) -> tuple[Float64, Float64]:
    """Mean and precision of a normal, drawn given its draws (n, width), each dimension apart: (width,) float64 each.

        m = sum x / (n + 1)
        precision ~ Gamma((n + 3) / 2, rate 1/2 + 1/2 sum (x - m)^2)
        mean ~ N(m, 1 / ((n + 1) precision))

    Without draws, n = 0, both are drawn from their own prior.

    >>> stream = np.random.default_rng(0)
    >>> many = stream.normal(3.0, 0.5, (10_000, 1)).astype(np.float32)
    >>> mean, precision = normal_gamma(many, stream)
    >>> round(float(mean[0]), 1), round(float(precision[0]))              # 1 / 0.5^2
    (3.0, 4)
    """
    x = vectors.astype(np.float64)
    n = len(x)
    m = x.sum(axis=0) / (n + 1)
    precision = stream.gamma((n + 3) / 2, 1 / (0.5 * ((x - m) ** 2).sum(axis=0) + 0.5))
    return stream.normal(m, 1 / np.sqrt(precision * (n + 1))), precision
