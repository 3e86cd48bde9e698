"""Blocks of variables in the Gibbs sampler of `BayesianMF`: vectors, terms of their prior means, and session biases."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lgamma
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.arrays import Bool, Float32, Float64, Int64, contiguous
from cofactor.kernels.gibbs import draw_history_terms
from cofactor.kernels.ridge import RATINGS, RidgeInputs, solve
from cofactor.kernels.sparse import SparseRows
from cofactor.models.session_bias import SessionBias

__all__ = ["Chain", "Sessions", "Terms", "normal_gamma"]

NOISE_SHAPES = np.array([1.0, 1.5, 2, 3, 4, 6, 8, 12, 16, 24])
"""Candidate shapes for the gamma prior of the row noise; a large shape means that rows hardly differ in noise."""

PADDING_PRECISION = np.float32(1e9)
"""Prior precision of padding dimensions, high enough to keep them at zero."""


@dataclass
class Terms:
    """Additive terms of the prior means of users or items: a scaled sum over the rated items, raters or features.

    The total of row r is scale_r sum(Y_c for the columns c of row r). The columns of a user row are the items that the
    user rated, or the user's features; the columns of an item row are the users who rated it, or its features. A row
    without columns has the average total of the other rows.

    Attributes
    ----------
    rows_by_column : SparseRows
        For each column, the rows that contain it.
    scale : ndarray of shape (n_rows,), float32
        Factor that multiplies the sum for each row.
    dimensions : int
        Number of leading vector dimensions that the terms affect: the factors, or the factors and the bias.
    values : ndarray of shape (n_columns, width), float32
        Y, the vector of each column.
    total : ndarray of shape (n_rows, width), float32
        Sum of the terms for each row.
    empty_rows : ndarray of shape (n_rows,), bool
        Mask of the rows without columns.
    """

    rows_by_column: SparseRows
    scale: Float32
    dimensions: int
    values: Float32
    total: Float32
    empty_rows: Bool

    @classmethod
    def initialize(cls, rows_by_column: SparseRows, scale: Float32, dimensions: int, width: int) -> Terms:
        """Create additive terms of prior means with Y, the vectors of the columns, initialized to 0.

        Parameters
        ----------
        rows_by_column : SparseRows
            For each column, the rows that contain it.
        scale : ndarray of shape (n_rows,), float32
            Factor that multiplies the sum for each row.
        dimensions : int
            Number of leading dimensions that the terms affect.
        width : int
            Padded width of the vectors.

        Returns
        -------
        Terms
            Terms whose `total` is zero.
        """
        values = np.zeros((len(rows_by_column), width), np.float32)
        empty_rows = np.bincount(rows_by_column.columns, minlength=len(scale)) == 0
        return cls(rows_by_column, scale, dimensions, values, np.zeros((len(scale), width), np.float32), empty_rows)

    def draw_random_inputs(self, stream: np.random.Generator) -> tuple[Float32, Float32]:
        """Draw the prior precision and the noise for the next sample of Y, the vectors of the columns.

        Parameters
        ----------
        stream : numpy.random.Generator
            Random number generator.

        Returns
        -------
        precision : ndarray of shape (width,), float32
            Precision of the prior of Y, sampled given the current Y.
        noise : ndarray of shape (n_columns, width), float32
            Standard normal noise, 0 in dimensions without terms.
        """
        precision = np.full(self.values.shape[1], PADDING_PRECISION, np.float32)
        precision[: self.dimensions] = normal_gamma(self.values[:, : self.dimensions], stream)[1]
        noise = stream.standard_normal(self.values.shape, dtype=np.float32)
        noise[:, self.dimensions :] = 0
        return precision, noise

    def draw(self, residual: Float32, vectors: Float32, precision: Float32, noise: Float32) -> None:
        """Sample Y, the vectors of the columns, given the user or item vectors, and update `total`.

        Parameters
        ----------
        residual : ndarray of shape (n_rows, width), float32
            Vectors minus their prior means; updated in place.
        vectors : ndarray of shape (width,), float32
            Precision of the vectors around their prior means.
        precision : ndarray of shape (width,), float32
            Precision of the prior of Y.
        noise : ndarray of shape (n_columns, width), float32
            Standard normal noise, as returned by `draw_random_inputs`.
        """
        previous = residual.copy()
        columns = self.rows_by_column
        run = draw_history_terms(self.values.shape[1])
        run(self.values, residual, columns.start, columns.columns, self.scale, precision, vectors, noise)
        self.total += previous - residual
        self.total[:, self.dimensions :] = 0
        if self.empty_rows.any() and not self.empty_rows.all():
            self.total[self.empty_rows] = self.total[~self.empty_rows].mean(axis=0)


@dataclass
class Chain:
    """Current state of all users, or of all items, in the Gibbs chain.

    A row without entries is sampled from its prior.

    Attributes
    ----------
    entries : SparseRows
        Ratings in each row, minus the terms that are not modeled by the vectors.
    vectors : ndarray of shape (n, width), float32
        Row vectors [factors, bias, padding].
    noise : ndarray of shape (n,), float64
        Factor that multiplies the precision of each row's ratings.
    mean, precision : ndarray of shape (width,), float32
        Mean and precision of the prior on the vectors.
    terms : list of Terms
        Additive terms of the prior means of the rows.
    shape : float
        Shape of the gamma prior on `noise`, which has mean 1.
    """

    entries: SparseRows
    vectors: Float32
    noise: Float64
    mean: Float32
    precision: Float32
    terms: list[Terms] = field(default_factory=list)
    shape: float = 4.0

    @classmethod
    def initialize(cls, entries: SparseRows, width: int, factors: Float32) -> Chain:
        """Create the initial state from given factors, with zero biases, equal noise and a standard normal prior.

        Parameters
        ----------
        entries : SparseRows
            Ratings in each row.
        width : int
            Padded width of the vectors.
        factors : ndarray of shape (n, k), float32
            Initial factors.

        Returns
        -------
        Chain
            Initial state.
        """
        vectors = np.zeros((len(entries), width), np.float32)
        vectors[:, : factors.shape[1]] = factors
        noise = np.ones(len(entries))
        return cls(entries, vectors, noise, np.zeros(width, np.float32), np.ones(width, np.float32))

    @property
    def prior(self) -> Float32:
        """Prior mean of each vector: the common mean plus the additive terms; ndarray of shape (n, width), float32."""
        return sum((terms.total for terms in self.terms), np.zeros_like(self.vectors)) + self.mean

    def draw_prior(self, width: int, stream: np.random.Generator) -> None:
        """Sample the mean and precision of the prior of the vectors, given the vectors, separately for each dimension.

        Parameters
        ----------
        width : int
            Number of dimensions before the padding.
        stream : numpy.random.Generator
            Random number generator.
        """
        deviations = self.vectors[:, :width] - (self.prior - self.mean)[:, :width]
        self.mean[:width], self.precision[:width] = normal_gamma(deviations, stream)
        self.precision[width:] = PADDING_PRECISION

    def draw_vectors(self, other: Chain, factors: int, weights: Float32, stream: np.random.Generator) -> None:
        """Sample each user vector given the item vectors, or vice versa, by Bayesian ridge regression.

        Parameters
        ----------
        other : Chain
            State of the items if these are users, or of the users if these are items.
        factors : int
            Number of factors.
        weights : ndarray of shape (n_entries,), float32
            Precision of each rating, in the order of `entries`.
        stream : numpy.random.Generator
            Random number generator.
        """
        features = other.vectors.copy()
        features[:, factors], features[:, factors + 1 :] = 1, 0
        inputs = RidgeInputs(
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
        solve(self.vectors, entries, np.zeros(len(noise), np.float32), inputs, noise=noise)

    def draw_terms(self, random_inputs: list[tuple[Float32, Float32]]) -> None:
        """Sample all additive terms of the prior means, one after the other.

        Parameters
        ----------
        random_inputs : list of tuple of (ndarray, ndarray)
            Result of `Terms.draw_random_inputs` for each element of `terms`.
        """
        residual = self.vectors - self.prior
        for terms, (precision, noise) in zip(self.terms, random_inputs, strict=True):
            terms.draw(residual, self.precision, precision, noise)

    def draw_noise(self, squared_error: NDArray[Any], counts: NDArray[Any], stream: np.random.Generator) -> None:
        """Sample the precision multipliers of users or items; select the shape of their prior by maximum likelihood.

        Parameters
        ----------
        squared_error : ndarray of shape (n,), float64
            Weighted sum of squared residuals for each row.
        counts : ndarray of shape (n,), float64
            Number of ratings in each row.
        stream : numpy.random.Generator
            Random number generator.

        Notes
        -----
        The conditional distribution::

            noise_r ~ Gamma(shape + counts_r / 2, rate shape + misfit_r / 2)
        """
        self.noise = stream.gamma(self.shape + counts / 2, 1 / (self.shape + squared_error / 2))
        log_normalizer = NOISE_SHAPES * np.log(NOISE_SHAPES) - np.array([lgamma(shape) for shape in NOISE_SHAPES])
        log_likelihood = (
            log_normalizer * len(self.noise)
            + (NOISE_SHAPES - 1) * np.log(self.noise).sum()
            - NOISE_SHAPES * self.noise.sum()
        )
        self.shape = float(NOISE_SHAPES[log_likelihood.argmax()])


@dataclass
class Sessions:
    """Session biases in the Gibbs chain: one bias per user and time bin, with a zero-mean normal prior.

    Attributes
    ----------
    table : SessionBias
        Sessions of each user.
    session_of_rating : ndarray of shape (n,), int64
        Session index of each of the n ratings.
    biases : ndarray of shape (m,), float64
        Current sample of the m session biases.
    total : ndarray of shape (m,), float64
        Sum of the recorded samples.
    """

    table: SessionBias
    session_of_rating: Int64
    biases: Float64
    total: Float64

    @classmethod
    def initialize(cls, table: SessionBias, session_of_rating: Int64) -> Sessions:
        """Create session biases of 0 from the result of `SessionBias.of_ratings`.

        Parameters
        ----------
        table : SessionBias
            Sessions of each user.
        session_of_rating : ndarray of shape (n,), int64
            Session index of each rating.

        Returns
        -------
        Sessions
            Session biases, initially 0.
        """
        m = len(table.rows.values)
        return cls(table, session_of_rating, np.zeros(m), np.zeros(m))

    @property
    def offsets(self) -> Float32:
        """Current session bias of each rating; ndarray of shape (n,), float32."""
        return self.biases.astype(np.float32)[self.session_of_rating]

    def draw(self, residual: Float32, precision: Float32, stream: np.random.Generator) -> None:
        """Sample the session biases given the residuals of the ratings, and replace the current biases.

        Parameters
        ----------
        residual : ndarray of shape (n,), float32
            Residuals of the ratings before session biases are subtracted.
        precision : ndarray of shape (n,), float32
            Precision of each rating.
        stream : numpy.random.Generator
            Random number generator.
        """
        m = len(self.biases)
        prior_precision = stream.gamma((m + 1) / 2, 1 / (0.5 * float(self.biases @ self.biases) + 0.5))
        total = np.bincount(self.session_of_rating, precision, m) + prior_precision
        mean = np.bincount(self.session_of_rating, precision * residual, m) / total
        self.biases = mean + stream.standard_normal(m) / np.sqrt(total)


def normal_gamma(vectors: Float32, stream: np.random.Generator) -> tuple[Float64, Float64]:
    """Sample the mean and precision of each dimension of normally distributed vectors from a normal-gamma posterior.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float32
        Observed vectors x; if n is 0, the mean and precision are sampled from their prior.
    stream : numpy.random.Generator
        Random number generator.

    Returns
    -------
    mean, precision : ndarray of shape (width,), float64
        Sampled mean and precision.

    Notes
    -----
    The posterior of each dimension::

        m = sum x / (n + 1)
        precision ~ Gamma((n + 3) / 2, rate 1/2 + 1/2 sum (x - m)^2)
        mean ~ N(m, 1 / ((n + 1) precision))

    Examples
    --------
    >>> stream = np.random.default_rng(0)
    >>> x = stream.normal(3.0, 0.5, (10_000, 1)).astype(np.float32)
    >>> mean, precision = normal_gamma(x, stream)
    >>> round(float(mean[0]), 1), round(float(precision[0]))              # 1 / 0.5^2
    (3.0, 4)
    """
    x = vectors.astype(np.float64)
    n = len(x)
    m = x.sum(axis=0) / (n + 1)
    precision = stream.gamma((n + 3) / 2, 1 / (0.5 * ((x - m) ** 2).sum(axis=0) + 0.5))
    return stream.normal(m, 1 / np.sqrt(precision * (n + 1))), precision
