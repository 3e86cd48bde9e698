"""Bernoulli mixture: clusters of users by the items that they have rated.

A user of cluster k has rated item j with probability p_kj, independently of the other items. Whether a new user knows
an item changes the probability of each cluster by Bayes' rule, and with it the probability of every other item. Two
items that occur together do so because the same clusters contain both, so no evidence is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, random_stream
from cofactor.checks import Seed
from cofactor.errors import ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.validation import validated

__all__ = ["BernoulliMixture"]

ITERATIONS = 20
"""Iterations of expectation-maximization; the estimates change little after about twelve."""

INITIAL_WEIGHT = 0.1
"""Weight of the history of one random user in the initial item probabilities of a cluster."""

PSEUDO_COUNT = 2.0
"""Number of users with average item probabilities that are added to each cluster."""


@dataclass(frozen=True, eq=False)
class BernoulliMixture:
    """Mixture of Bernoulli distributions over the items that a user has rated.

    Parameters
    ----------
    weights : ndarray of shape (n_clusters,), float64
        Share of the users in each cluster; the sum is 1.
    item_probabilities : ndarray of shape (n_clusters, n_items), float64
        p, the probability that a user of a cluster has rated an item; above 0 and below 1.
    responsibilities : ndarray of shape (n_users, n_clusters), float64
        Probability of each cluster for each user of the training data; rows sum to 1.

    References
    ----------
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39.

    Examples
    --------
    >>> rows = SparseRows.of([0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 2, 2], [1] * 6, n_rows=4)
    >>> mixture = BernoulliMixture.of(rows, 3, n_clusters=2)
    >>> probabilities = mixture.memberships([0], [True]) @ mixture.item_probabilities
    >>> bool(probabilities[1] > probabilities[2])
    True
    """

    weights: Float64
    item_probabilities: Float64
    responsibilities: Float64

    @classmethod
    @validated
    def of(cls, histories: SparseRows, n_items: int, *, n_clusters: int, seed: Seed = 0) -> Self:
        """Fit a mixture by expectation-maximization.

        Parameters
        ----------
        histories : SparseRows
            Items of each user.
        n_items : int
            Number of items.
        n_clusters : int
            Number of clusters; at most the number of users, and at least 1.
        seed : int, Generator or None, default 0
            Seed of the random initialization.

        Returns
        -------
        BernoulliMixture
            Without users, one cluster in which each item has probability 0.5.

        Notes
        -----
        ::

            responsibilities_uk ~ weights_k prod_j p_kj^x_uj (1 - p_kj)^(1 - x_uj)
            p_kj = (sum_u responsibilities_uk x_uj + PSEUDO_COUNT p_j) / (sum_u responsibilities_uk + PSEUDO_COUNT)

        p_j is the share of users with item j, smoothed by half a user. Initially each cluster is the average of all
        users with a small weight on the history of one random user. Time of an iteration and memory are proportional to
        n_clusters times the number of ratings.
        """
        checks.whole_number("n_clusters", n_clusters, low=1)
        histories.checked("histories", checks.whole_number("n_items", n_items, low=0, high=MAX_ROWS))
        n, k = len(histories), max(min(n_clusters, len(histories)), 1)
        item_shares = (histories.column_counts(n_items) + 0.5) / (n + 1)
        weights, probabilities = np.full(k, 1 / k), np.tile(item_shares, (k, 1))
        initial_users = random_stream(seed, "kinds").permutation(n)[:k]
        for row, user in zip(probabilities, initial_users, strict=False):
            row *= 1 - INITIAL_WEIGHT
            row[histories.row(int(user)).columns] += INITIAL_WEIGHT
        responsibilities = np.ones((0, k))
        for _ in range(ITERATIONS if n else 0):
            responsibilities = _expectation(weights, probabilities, histories)
            sizes = responsibilities.sum(axis=0)
            weights = (sizes + 1) / (n + k)
            counts = _expected_counts(responsibilities, histories, n_items)
            probabilities = (counts + PSEUDO_COUNT * item_shares) / (sizes + PSEUDO_COUNT)[:, None]
        return cls(weights, probabilities, responsibilities)

    @validated
    def memberships(self, items: Sequence[int], rated: Sequence[bool]) -> Float64:
        """Return the probability of each cluster for a user, given whether they have rated some items.

        Parameters
        ----------
        items : sequence of int
            Item rows.
        rated : sequence of bool
            Whether the user has rated each of these items.

        Returns
        -------
        ndarray of shape (n_clusters,), float64
            The sum is 1. Equal to `weights` for no items.

        Notes
        -----
        ::

            membership_k ~ weights_k prod_j p_kj^rated_j (1 - p_kj)^(1 - rated_j)
        """
        rows = checks.row_numbers("items", items, self.item_probabilities.shape[1])
        if checks.as_array(rated).shape != rows.shape:
            both = f"{checks.describe(items)} and {checks.describe(rated)}"
            raise ParameterError(f"items and rated must have the same length, not {both}")
        p = self.item_probabilities[:, rows]
        log = np.log(self.weights) + np.log(np.where(checks.mask("rated", rated, len(rows)), p, 1 - p)).sum(axis=1)
        memberships: Float64 = _softmax(log[None])[0]
        return memberships


def _expectation(weights: Float64, probabilities: Float64, histories: SparseRows) -> Float64:
    """Return the responsibilities: the likelihood of an empty row times the odds of each item in the row."""
    owner = histories.owners
    log_absent = np.log1p(-probabilities)
    log_odds, log = np.log(probabilities) - log_absent, np.empty((len(histories), len(weights)))
    for cluster, empty_row in enumerate(np.log(weights) + log_absent.sum(axis=1)):
        log[:, cluster] = empty_row + np.bincount(owner, log_odds[cluster][histories.columns], minlength=len(histories))
    return _softmax(log)


def _expected_counts(responsibilities: Float64, histories: SparseRows, n_items: int) -> Float64:
    """Return the expected number of users of each cluster with each item: ndarray of shape (n_clusters, n_items)."""
    owner = histories.owners
    rows = [np.bincount(histories.columns, column[owner], minlength=n_items) for column in responsibilities.T]
    counts: Float64 = np.stack(rows)
    return counts


def _softmax(log: Float64) -> Float64:
    """Return the probabilities of rows of log weights; each row sums to 1."""
    shifted = np.exp(log - log.max(axis=1, keepdims=True))
    probabilities: Float64 = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
