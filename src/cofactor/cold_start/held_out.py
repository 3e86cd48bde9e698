"""Held-out users: the accuracy of a prior for users whom the model has not seen, by the number of their rows.

A share of the users is held out, and the estimator is fitted without them. Each of them is folded in from the first
g rows of their randomly ordered history, once with the prior and once with the penalty of training, and both are scored
on the same later rows: by the squared error for ratings, and by NDCG@10 for events. Users of the fit cannot be used for
this: the items have learned from their ratings, so that weak priors look too good.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cofactor.arrays import Bool, Float64, Int32, Int64, random_stream, read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.estimators.base import Estimator
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.registry import primary_metric
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.user_batch import UserBatch

__all__ = ["LENGTHS", "STRENGTHS", "HeldOutUsers", "PriorUse"]

LENGTHS = (0, 1, 2, 3, 5, 10, 20)
"""Numbers of rows of a new user from which the accuracy is measured; each also stands for the lengths up to the next."""

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0, 10.0)
"""Candidate values for the strength of the prior."""

SHARE, MIN_USERS, MAX_USERS = 0.25, 10, 400
"""Share of the users who are held out, and the minimum and maximum number of users who are scored at each length."""

K = 10

_log = logging.getLogger("cofactor")

class PriorUse(NamedTuple):
    """Strength of a prior, and the history lengths for which it is used.

    Attributes
    ----------
    strength : float
        Factor of the precision.
    applies : ndarray of shape (len(LENGTHS),), bool
        For each of `LENGTHS`, whether the prior is reliably better than the penalty of training.
    """

    strength: float
    applies: Bool


@dataclass(frozen=True, eq=False)
class HeldOutUsers:
    """Model that was fitted without some users, and the rows of these users.

    Attributes
    ----------
    model : FactorModel
        Model fitted without the held-out users; they have a row in it, without data.
    train : SparseRows
        Training data of the model.
    users : ndarray of shape (n,), int32
        Row numbers of the held-out users.
    rows : SparseRows
        Rows of the held-out users.
    position : ndarray of shape (n_entries,), int64
        Position of each entry of `rows` in the random order of its user.
    n_known : ndarray of shape (n,), int64
        Number of rows of each user that can be the history; the rows from this position on are scored.
    seed : int
        Seed of the samples.
    """

    model: FactorModel
    train: SparseRows
    users: Int32
    rows: SparseRows
    position: Int64
    n_known: Int64
    seed: int

    @classmethod
    def of(cls, estimator: Estimator, model: FactorModel, histories: SparseRows, seed: int) -> HeldOutUsers | None:
        """Hold out users, and fit an estimator without them.

        Parameters
        ----------
        estimator : Estimator
            Estimator of the model.
        model : FactorModel
            Fitted model, which provides the kind and the scale of the data.
        histories : SparseRows
            Training data of the model.
        seed : int
            Seed for the choice of users, the fit and the order of histories.

        Returns
        -------
        HeldOutUsers or None
            None if there are too few users with two or more rows.
        """
        stream = random_stream(seed, "held-out users")
        eligible = np.flatnonzero(histories.counts >= 2)
        n = int(SHARE * len(eligible))
        if n < MIN_USERS:
            return None
        users = np.sort(stream.permutation(eligible)[:n]).astype(np.int32)
        is_held_out = np.isin(histories.owners, users)
        train, rows = histories.filter(~is_held_out), histories.take(users)
        table = _table(train, model)
        fitted = estimator.fit(table, seed=seed)
        assert isinstance(fitted, FactorModel)
        order = np.lexsort((stream.random(len(rows.columns)), rows.owners))
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order)) - np.repeat(rows.start[:-1], rows.counts)
        return cls(fitted, train, users, rows, position, np.minimum(rows.counts // 2, LENGTHS[-1]), seed)

    def choose(self, means: Float64, precision: Float64) -> PriorUse:
        """Choose the strength of a prior and the history lengths for which it is used.

        A strength is as good as the sum over all lengths of the gain minus its standard error, where this is positive.
        The prior is used for the lengths where the gain of the best strength exceeds its standard error.

        Parameters
        ----------
        means : ndarray of shape (n, w), float64
            Prior mean of each held-out user.
        precision : ndarray of shape (w, w), float64
            Precision matrix for the strength 1.

        Returns
        -------
        PriorUse
        """
        limits = np.zeros((len(STRENGTHS), len(LENGTHS)))
        for column, length in enumerate(LENGTHS):
            sample = self._sample(length)
            if len(sample) < MIN_USERS:
                continue
            without, _ = self._values(sample, length, None)
            for row, strength in enumerate(STRENGTHS):
                if length == 0 and row > 0:  # without a history, the strength does not matter
                    limits[row, 0] = limits[0, 0]
                    continue
                values, n_terms = self._values(sample, length, GaussianPrior(means[sample], strength * precision))
                gains = values - without
                limits[row, column] = (gains.sum() - np.sqrt(np.square(gains).sum())) / n_terms
        best = int(np.maximum(limits[:, 1:], 0).sum(axis=1).argmax())
        applies = limits[best] > 0
        if applies[1:].any() and best in (0, len(STRENGTHS) - 1):
            end = "weakest" if best == 0 else "strongest"
            _log.warning(
                "the best strength of the prior for new users, %g, is the %s of the candidates (%g to %g)",
                STRENGTHS[best], end, STRENGTHS[0], STRENGTHS[-1],
            )  # fmt: skip
        return PriorUse(STRENGTHS[best], applies)

    def _sample(self, length: int) -> Int64:
        """Return the positions of the held-out users to score for a history length."""
        stream = random_stream(self.seed, "held-out sample", length)
        eligible = np.flatnonzero(self.n_known >= length)
        return np.sort(stream.permutation(eligible)[:MAX_USERS])

    def _values(self, sample: Int64, length: int, prior: GaussianPrior | None) -> tuple[Float64, int]:
        """Return the metric of each user, higher is better, and the number of terms by which its sum is divided."""
        n_known = self.n_known[self.rows.owners]
        is_known, is_history = self.position < n_known, self.position < np.minimum(length, n_known)
        known, history, test = (self.rows.filter(mask).take(sample) for mask in (is_known, is_history, ~is_known))
        model = self.model.fold_in(history, prior=prior)
        if self.model.least_squares.kind == "ratings":
            predictions = model.predict(UserBatch.trained(test.owners, history), test.columns)
            errors = np.square(predictions.astype(np.float64) - test.values)
            return -np.bincount(test.owners, errors, len(sample)), len(errors)
        positive = test if test.weights is None else test.filter(test.weights > 0)
        lists = ModelLists.of(
            model, UserBatch.folded(history), [K], exclude=known, relevant=positive,
            support=self.train.column_counts(model.n_items),
        )  # fmt: skip
        values = primary_metric("events", K).per_user(lists.served_hits)
        return np.where(values.counts > 0, values.sums, 0.0), int(values.counts.sum())


def _table(rows: SparseRows, model: FactorModel) -> Interactions:
    """Convert training data to a table whose IDs are the row numbers of the model."""
    users, items = (IdMap.of(np.arange(n)) for n in (model.n_users, model.n_items))
    return Interactions(
        users, items, read_only(rows.owners), rows.columns, rows.values, model.least_squares.kind,
        weights=rows.weights, scale=model.scale,
    )  # fmt: skip
