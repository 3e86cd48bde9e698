"""Posterior samples of a Bayesian factor model: arrays, fold-in of users in one sample, and the mean of the samples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from cofactor.arrays import Float32, Float64, Int32, contiguous
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.ridge import RATINGS, RidgeInputs, solve
from cofactor.kernels.sparse import SparseRows

__all__ = ["FactorMean", "Posterior", "SampleFoldIn", "as_item", "as_user", "features", "leave_one_out_means"]

HALF_WEIGHT_COUNT = 20.0
"""The history length at which the history-dependent prior and the prior of an unknown user get equal weights.

In a short history, the choice of items is only weak evidence of the user's preferences.
"""

NOISE_STEPS = 2
"""The number of alternating updates of a new user's vector and noise."""

BATCH_SIZE = 8
"""The number of samples that `FactorMean` collects before it reduces their rank."""

MIN_SQUARE = 1e-14
"""Directions of the samples with a squared length below this share of the largest are dropped."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior samples of a Bayesian factor model, as float32 arrays.

    The length of the object is S, the number of samples. A vector is [factors, bias, padding]; its width is a multiple
    of 8.

    Parameters
    ----------
    users : ndarray of shape (S, n_users, width)
        User vectors.
    items : ndarray of shape (S, n_items, width)
        Item vectors.
    user_noise : ndarray of shape (S, n_users)
        See `item_noise`.
    item_noise : ndarray of shape (S, n_items)
        In sample s, the rating of pair (u, i) has the precision user_noise[s, u] * item_noise[s, i].
    user_mean, user_precision : ndarray of shape (S, width)
        The normal prior of a user vector, without the contribution of the history.
    terms : ndarray of shape (S, n_items, width)
        The contribution of each rated item to a user's prior mean; of shape (S, 0, width) if it was not learned.
    unknown_user, unknown_user_variance, unknown_item, unknown_item_variance : ndarray of shape (S, width)
        The means and variances of the priors for unknown users and items, averaged over the terms of all users.
    base_noise : ndarray of shape (S,)
        The precision shared by all ratings.
    noise_shape : ndarray of shape (S,)
        The shape parameter of the gamma prior of a user's precision multiplier.
    """

    users: Float32
    items: Float32
    user_noise: Float32
    item_noise: Float32
    user_mean: Float32
    user_precision: Float32
    terms: Float32
    unknown_user: Float32
    unknown_user_variance: Float32
    unknown_item: Float32
    unknown_item_variance: Float32
    base_noise: Float32
    noise_shape: Float32

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class SampleFoldIn:
    """Ridge regressions that fit new users in one posterior sample, with prior means that depend on their histories.

    Parameters
    ----------
    items : ndarray of shape (m, width), float32
        Vectors of the items that occur in the histories.
    item_noise : ndarray of shape (m,), float32
        The noise of these items.
    entries : SparseRows
        The ratings minus the center, with columns renumbered to match `items`.
    inputs : RidgeInputs
        Inputs of the ridge regressions: the items, and the prior mean of each user.
    base_noise, noise_shape : float
        See `Posterior`.
    factors : int
        The number of factors.

    Notes
    -----
    A user without a history (n = 0) has the prior of an unknown user::

        prior = w (mean + sum_j term_j / sqrt(n)) + (1 - w) unknown,    w = n / (n + HALF_WEIGHT_COUNT)
    """

    items: Float32
    item_noise: Float32
    entries: SparseRows
    inputs: RidgeInputs
    base_noise: float
    noise_shape: float
    factors: int

    @classmethod
    def of(cls, post: Posterior, s: int, histories: SparseRows, k: int, center: float) -> Self:
        """Create the ridge regressions that fit new users in posterior sample s.

        Parameters
        ----------
        post : Posterior
            The samples.
        s : int
            The index of the sample.
        histories : SparseRows
            Ratings, one row for each user.
        k : int
            The number of factors.
        center : float
            The mean training rating.

        Returns
        -------
        SampleFoldIn
        """
        used_items, columns = np.unique(histories.columns, return_inverse=True)
        entries = replace(histories, columns=columns.astype(np.int32), values=histories.values - np.float32(center))
        owners, items = histories.owners, post.items[s, used_items]
        prior = np.tile(post.user_mean[s], (len(histories), 1))
        prior[histories.counts == 0] = post.unknown_user[s]
        if post.terms.shape[1]:
            scale = (1 / np.sqrt(np.maximum(histories.counts, 1))).astype(np.float32)
            terms = post.terms[s][histories.columns] * scale[owners, None]
            has_history = histories.counts > 0
            if len(terms):
                prior[has_history] += np.add.reduceat(terms, histories.start[:-1][has_history])
            weight = (histories.counts / (histories.counts + HALF_WEIGHT_COUNT)).astype(np.float32)[:, None]
            prior = weight * prior + (1 - weight) * post.unknown_user[s]
        width = items.shape[1]
        inputs = RidgeInputs(
            RATINGS,
            features(items, k),
            contiguous(items[:, k], np.float32),
            np.zeros((0, 0), np.float32),
            np.zeros(width, np.float32),
            contiguous(post.user_precision[s], np.float32),
            prior,
        )
        noise, shape = float(post.base_noise[s]), float(post.noise_shape[s])
        return cls(items, post.item_noise[s, used_items], entries, inputs, noise, shape, k)

    def mean_and_noise(self) -> tuple[Float32, Float32]:
        """Compute the conditional mean vector and the noise precision of each user by alternating updates of the two.

        Returns
        -------
        mean : ndarray of shape (n, width), float32
        noise : ndarray of shape (n,), float32
        """
        k, entries, owners = self.factors, self.entries, self.entries.owners
        noise = np.full(len(entries), self.base_noise, np.float32)
        mean, items = self.solve(noise), as_item(self.items, k)
        for _ in range(NOISE_STEPS):
            x = pair_dots(as_user(mean, k), items, owners.astype(np.int32), entries.columns)
            squares = (entries.values - x) ** 2 * self.item_noise[entries.columns]
            squared_error = np.bincount(owners, weights=squares, minlength=len(entries)) * self.base_noise
            factor = (self.noise_shape + entries.counts / 2) / (self.noise_shape + squared_error / 2)
            noise = (self.base_noise * factor).astype(np.float32)
            mean = self.solve(noise)
        return mean, noise

    def solve(self, noise: Float32, *, z: Float32 | None = None) -> Float32:
        """Compute the conditional mean of each user's vector, or draw the vector from its conditional distribution.

        Parameters
        ----------
        noise : ndarray of shape (n,), float32
            The noise precision for each user.
        z : ndarray of shape (width,), float32, optional
            Standard normal draws, shared by all users; None for the mean.

        Returns
        -------
        ndarray of shape (n, width), float32
        """
        weights = noise[self.entries.owners] * self.item_noise[self.entries.columns]
        if self.entries.weights is not None:
            weights = weights * self.entries.weights
        x = np.zeros((len(self.entries), self.items.shape[1]), np.float32)
        sample_noise = None if z is None else np.tile(z, (len(x), 1))
        solve(x, replace(self.entries, weights=weights), np.zeros(len(x), np.float32), self.inputs, noise=sample_noise)
        return x


def leave_one_out_means(post: Posterior, history: SparseRows, k: int, center: float) -> Float64:
    """Compute a user's mean vector with each row of the history left out in turn, and with all rows.

    The results are those of `SampleFoldIn.mean_and_noise`.

    Parameters
    ----------
    post : Posterior
        The samples.
    history : SparseRows
        The ratings of one user, with m entries.
    k : int
        The number of factors.
    center : float
        The mean training rating.

    Returns
    -------
    ndarray of shape (S, m + 1, width), float64
        The last vector of each sample is that of the user with all rows.

    Notes
    -----
    Without row j, the normal equations of a user with noise precision v are::

        (P + v (F' A F - a_j f_j f_j')) x = P prior_j + v (F' A t - a_j t_j f_j)

    In the basis in which P is the identity and F' A F is diagonal, each solution takes O(width) operations by the
    Sherman-Morrison formula.
    """
    m, end = len(history.columns), ((0, 0), (0, 1))  # an additional row without weight, whose removal has no effect
    items = post.items[:, history.columns].astype(np.float64)
    t = np.pad(history.values - np.float32(center) - items[:, :, k], end)
    noise = np.pad(post.item_noise[:, history.columns].astype(np.float64), end)
    a = noise if history.weights is None else noise * np.append(history.weights, 0)
    F = np.pad(items, (*end, (0, 0)))
    F[:, :, k], F[:, :, k + 1 :] = 1, 0
    n = np.append(np.full(m, m - 1.0), m)  # the number of rows that are left
    prior = _leave_one_out_priors(post, history.columns, n)
    # change of basis: x = root^-1 V y, where root = P^1/2, and Z are the features in the new basis
    root = np.sqrt(post.user_precision.astype(np.float64))[:, None]
    whitened = F / root
    eigenvalues, V = np.linalg.eigh(np.matmul((whitened * a[:, :, None]).transpose(0, 2, 1), whitened))
    Z, start = np.matmul(whitened, V), np.matmul(prior * root, V)
    target = np.einsum("sm,smw->sw", a * t, Z)[:, None] - (a * t)[:, :, None] * Z
    # sums for the squared errors of all rows but j
    squares = (noise * t**2).sum(axis=1, keepdims=True)
    products, gram = np.einsum("sm,smw->sw", noise * t, Z), np.matmul((Z * noise[:, :, None]).transpose(0, 2, 1), Z)

    def solve(v: Float64) -> Float64:
        diagonal = 1 + v * eigenvalues[:, None]
        u, z = (start + v * target) / diagonal, Z / diagonal
        step = v[:, :, 0] * a
        step *= np.einsum("smw,smw->sm", Z, u) / (1 - step * np.einsum("smw,smw->sm", Z, z))
        solution: Float64 = u + step[:, :, None] * z
        return solution

    base, shape = (x.astype(np.float64)[:, None] for x in (post.base_noise, post.noise_shape))
    y = solve(np.tile(base[:, :, None], (1, m + 1, 1)))
    for _ in range(NOISE_STEPS):
        errors = squares - 2 * np.einsum("smw,sw->sm", y, products) + np.einsum("smw,smw->sm", np.matmul(y, gram), y)
        errors -= noise * (t - np.einsum("smw,smw->sm", y, Z)) ** 2
        factor = (shape + n / 2) / (shape + base * errors / 2)
        y = solve((base * factor)[:, :, None])
    means: Float64 = np.matmul(y, V.transpose(0, 2, 1)) / root
    return means


def _leave_one_out_priors(post: Posterior, columns: Int32, n: Float64) -> Float64:
    """Return a user's prior mean with each row of the history left out, and with all n[-1] rows; see `SampleFoldIn`."""
    mean, unknown = (x.astype(np.float64)[:, None] for x in (post.user_mean, post.unknown_user))
    if not post.terms.shape[1]:
        return np.where(n[:, None] > 0, mean, unknown)
    terms = np.pad(post.terms[:, columns].astype(np.float64), ((0, 0), (0, 1), (0, 0)))
    sums, weight = terms.sum(axis=1, keepdims=True) - terms, (n / (n + HALF_WEIGHT_COUNT))[:, None]
    prior: Float64 = weight * (mean + sums / np.sqrt(np.maximum(n, 1))[:, None]) + (1 - weight) * unknown
    return prior


@dataclass
class FactorMean:
    """Running mean of the matrix factorizations of several posterior samples, stored as a low-rank factorization.

    Parameters
    ----------
    width : int
        The maximum number of columns.
    count : int, default 0
        The number of samples that have been added.

    Attributes
    ----------
    _left, _right : list of ndarray of shape (n_users, k) or (n_items, k), float32
        The reduced factors, followed by the factors of the samples that have not been reduced yet.

    Notes
    -----
    The mean 1/S sum_s U_s V_s' of S samples is stored as L R'. Samples are concatenated: [U_1 .. U_s] [V_1 .. V_s]'.
    After every few samples, they are reduced to the leading `width` directions by the eigendecompositions of both Gram
    matrices, in float64, and an SVD of the product of their square roots.

    References
    ----------
    C. Eckart, G. Young. The approximation of one matrix by another of lower rank. Psychometrika 1 (1936).

    Examples
    --------
    >>> mean = FactorMean(width=2)
    >>> for s in (1, 3):
    ...     mean.add(np.float32([[s], [0]]), np.float32([[1], [1]]))
    >>> left, right = mean.result()
    >>> (left @ right.T + 0).round(3).tolist()
    [[2.0, 2.0], [0.0, 0.0]]
    """

    width: int
    count: int = 0
    _left: list[Float32] = field(default_factory=list)
    _right: list[Float32] = field(default_factory=list)

    def add(self, left: Float32, right: Float32) -> None:
        """Add the factors of one posterior sample to the running mean.

        Parameters
        ----------
        left : ndarray of shape (n_users, k), float32
            U_s.
        right : ndarray of shape (n_items, k), float32
            V_s.
        """
        self._left.append(left.copy())
        self._right.append(right.copy())
        self.count += 1
        if len(self._left) > BATCH_SIZE:
            self._reduce()

    def result(self) -> tuple[Float32, Float32]:
        """Return factors whose product is the mean of the products of all samples; requires at least one sample.

        Returns
        -------
        left : ndarray of shape (n_users, r), float32
            L; r is at most `width`.
        right : ndarray of shape (n_items, r), float32
            R.
        """
        self._reduce()
        scale = np.float32(1 / np.sqrt(self.count))
        return self._left[0] * scale, self._right[0] * scale

    @one_thread_blas()
    def _reduce(self) -> None:
        left, right = np.hstack(self._left).astype(np.float64), np.hstack(self._right).astype(np.float64)
        left_root, left_inverse = _gram_root(left)
        right_root, right_inverse = _gram_root(right)
        u, s, vt = np.linalg.svd(left_root @ right_root.T)
        rank = min(self.width, len(s))
        root = np.sqrt(s[:rank])
        self._left = [contiguous(left @ (left_inverse @ (u[:, :rank] * root)), np.float32)]
        self._right = [contiguous(right @ (right_inverse @ (vt[:rank].T * root)), np.float32)]


def _gram_root(X: Float64) -> tuple[Float64, Float64]:
    """Return R with R'R = X'X, and T with orthonormal columns XT (0 where X is singular) and XTR = X."""
    squares, V = np.linalg.eigh(X.T @ X)
    lengths = np.sqrt(np.where(squares > MIN_SQUARE * squares[-1], squares, 0))
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return lengths[:, None] * V.T, V * inverse


def features(vectors: Float32, k: int) -> Float32:
    """Return the features [factors, 1, padding] of items for fitting users, or of users for fitting items.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float32
        Vectors [factors, bias, padding].
    k : int
        The number of factors.

    Returns
    -------
    ndarray of shape (n, width), float32
        The features, as a copy; the padding is 0.

    Examples
    --------
    >>> features(np.float32([[0.5, 9, 9]]), 1).tolist()
    [[0.5, 1.0, 0.0]]
    """
    features = contiguous(vectors, np.float32).copy()
    features[:, k] = 1
    features[:, k + 1 :] = 0
    return features


def as_user(vectors: Float32, k: int) -> Float32:
    """Convert user vectors to [factors, bias, 1], so that the dot product with `as_item` includes both biases.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float32
        Vectors [factors, bias, padding].
    k : int
        The number of factors.

    Returns
    -------
    ndarray of shape (n, k + 2), float32
        One vector for each user.

    Examples
    --------
    >>> user, item = as_user(np.float32([[2, 0.5, 0]]), 1), as_item(np.float32([[3, 0.25, 0]]), 1)
    >>> (user @ item.T).tolist()                         # 2 * 3 + 0.5 + 0.25
    [[6.75]]
    """
    extended_vectors = np.zeros((len(vectors), k + 2), np.float32)
    extended_vectors[:, : k + 1], extended_vectors[:, k + 1] = vectors[:, : k + 1], 1
    return extended_vectors


def as_item(vectors: Float32, k: int) -> Float32:
    """Convert item vectors to [factors, 1, bias], so that the dot product with `as_user` includes both biases.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float32
        Vectors [factors, bias, padding].
    k : int
        The number of factors.

    Returns
    -------
    ndarray of shape (n, k + 2), float32
        One vector for each item.
    """
    extended_vectors = np.zeros((len(vectors), k + 2), np.float32)
    extended_vectors[:, :k], extended_vectors[:, k], extended_vectors[:, k + 1] = vectors[:, :k], 1, vectors[:, k]
    return extended_vectors
