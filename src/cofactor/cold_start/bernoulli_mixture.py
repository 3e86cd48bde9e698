"""Bernoulli mixture: clusters of users based on which items they have rated.

A user in cluster k has rated item j with probability p_kj, independently of the other items. Knowing whether a new user
has rated an item updates the probability of each cluster by Bayes' rule, and hence the probability of every other item.
Items are conditionally independent given the cluster, so evidence from correlated items is not counted twice.
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
"""Number of expectation-maximization iterations; the estimates change little after about twelve."""

INITIAL_WEIGHT = 0.1
"""Weight of one random user's history in the initial item probabilities of a cluster."""

PSEUDO_COUNT = 2.0
"""Number of pseudo-users with average item probabilities that are added to each cluster."""


@dataclass(frozen=True, eq=False)
class BernoulliMixture:
    """Mixture of Bernoulli distributions over the items that a user has rated.

    Parameters
    ----------
    weights : ndarray of shape (n_clusters,), float64
        Share of the users in each cluster; the sum is 1.
    item_probabilities : ndarray of shape (n_clusters, n_items), float64
        Probability p that a user in a cluster has rated an item; above 0 and below 1.
    responsibilities : ndarray of shape (n_users, n_clusters), float64
        Probability of each cluster for each user in the training data; rows sum to 1.

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
        """Fit a mixture with expectation-maximization.

        Parameters
        ----------
        histories : SparseRows
            Items of each user.
        n_items : int
            Number of items.
        n_clusters : int
            Number of clusters, at least 1; limited to the number of users.
        seed : int, Generator or None, default 0
            Seed for the random initialization.

        Returns
        -------
        BernoulliMixture
            The fitted mixture. If there are no users, it has one cluster in which each item has probability 0.5.

        Notes
        -----
        ::

            responsibilities_uk ~ weights_k prod_j p_kj^x_uj (1 - p_kj)^(1 - x_uj)
            p_kj = (sum_u responsibilities_uk x_uj + PSEUDO_COUNT p_j) / (sum_u responsibilities_uk + PSEUDO_COUNT)

        p_j is the share of users who have rated item j, smoothed by half a user. Initially, each cluster is the average
        over all users plus a small weight on the history of one random user. The memory and the time per iteration are
        proportional to n_clusters times the number of ratings.
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
        """Return the probability of each cluster for a user, given which of the listed items they have rated.

        Parameters
        ----------
        items : sequence of int
            Row numbers of the items.
        rated : sequence of bool
            Whether the user has rated each of these items.

        Returns
        -------
        ndarray of shape (n_clusters,), float64
            Probabilities with a sum of 1; equal to `weights` if `items` is empty.

        Notes
        -----
        ::

            membership_k ~ weights_k prod_j p_kj^rated_j (1 - p_kj)^(1 - rated_j)
        """
        rows = checks.row_numbers("items", items, self.item_probabilities.shape[1])
        if checks.as_array(rated).shape != rows.shape:
            lengths = f"{checks.describe(items)} and {checks.describe(rated)}"
            raise ParameterError(f"items and rated must have the same length; got {lengths}")
        p = self.item_probabilities[:, rows]
        log_weights = np.log(self.weights) + np.log(np.where(checks.mask("rated", rated, len(rows)), p, 1 - p)).sum(
            axis=1
        )
        memberships: Float64 = _softmax(log_weights[None])[0]
        return memberships


def _expectation(weights: Float64, probabilities: Float64, histories: SparseRows) -> Float64:
    """Compute the responsibilities from the likelihood of an empty row and the odds of each item in a row."""
    owner = histories.owners
    log_absent = np.log1p(-probabilities)
    log_odds, log_weights = np.log(probabilities) - log_absent, np.empty((len(histories), len(weights)))
    for cluster, empty_row in enumerate(np.log(weights) + log_absent.sum(axis=1)):
        log_weights[:, cluster] = empty_row + np.bincount(
            owner, log_odds[cluster][histories.columns], minlength=len(histories)
        )
    return _softmax(log_weights)


def _expected_counts(responsibilities: Float64, histories: SparseRows, n_items: int) -> Float64:
    """Return the expected number of raters of each item in each cluster: ndarray of shape (n_clusters, n_items)."""
    owner = histories.owners
    rows = [
        np.bincount(histories.columns, cluster_responsibilities[owner], minlength=n_items)
        for cluster_responsibilities in responsibilities.T
    ]
    counts: Float64 = np.stack(rows)
    return counts


def _softmax(log_weights: Float64) -> Float64:
    """Convert log weights to probabilities; each row sums to 1."""
    exponentials = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    probabilities: Float64 = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
