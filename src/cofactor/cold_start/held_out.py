"""Held-out users: accuracy of a prior for users not seen in training, by number of rows per user.

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

from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream, read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.estimators.base import Estimator
from cofactor.estimators.bias import Bias
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.registry import primary_metric
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.user_batch import UserBatch

__all__ = ["LENGTHS", "STRENGTHS", "HeldOutUsers", "PriorUse", "baseline_shift"]

LENGTHS = (0, 1, 2, 3, 5, 10, 20)
"""History lengths at which accuracy for new users is measured; each also represents the lengths up to the next."""

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0, 10.0, 30.0)
"""Candidate values for the strength of the prior."""

SHARE, MIN_USERS = 0.25, 10
"""Share of the users who are held out, and the minimum number of users at each length."""

STRENGTH_LENGTHS, MAX_USERS_FOR_STRENGTH = (1, 3, 10), 200
"""History lengths used to choose the strength, and the maximum number of users at each length."""

MAX_USERS: dict[Kind, int] = {"ratings": 1000, "events": 400}
"""Maximum number of users at each of `LENGTHS`."""

WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Candidate weights of item popularity in the lists of new users, for event models."""

MIN_SHARE = 1e-3
"""Minimum distance of a predicted rating from the ends of the sigmoid, as a fraction of its range."""

K = 10

_log = logging.getLogger("cofactor")


class PriorUse(NamedTuple):
    """Strength of a prior, and whether it is used for each history length in `LENGTHS`.

    Attributes
    ----------
    strength : float
        Factor of the precision.
    applies : ndarray of shape (len(LENGTHS),), bool
        Whether the prior is used.
    shift_weights : ndarray of shape (len(LENGTHS),), float64
        Weight of the item biases of a baseline; see `Prior`.
    """

    strength: float
    applies: Bool
    shift_weights: Float64


class FoldInCandidate(NamedTuple):
    """Candidate configuration for folding in new users: a prior or the training penalty, and the weight of the shift.

    Attributes
    ----------
    prior : GaussianPrior or None
        Prior of each user.
    weight : float
        Weight of the shift.
    """

    prior: GaussianPrior | None
    weight: float


@dataclass(frozen=True, eq=False)
class HeldOutUsers:
    """Model fitted without some users, and the rows of these users.

    Attributes
    ----------
    model : FactorModel
        Model fitted without the held-out users; they have a row in it, without data.
    train : SparseRows
        Training data of the model.
    item_shift : ndarray of shape (n_items,), float32
        Result of `baseline_shift` for the model.
    users : ndarray of shape (n,), int32
        Row numbers of the held-out users.
    rows : SparseRows
        Rows of the held-out users.
    position : ndarray of shape (n_entries,), int64
        Position of each entry of `rows` in the random order of its user.
    n_first : ndarray of shape (n,), int64
        Number of rows of each user that can be the history; the rows from this position on are scored.
    seed : int
        Seed of the samples.
    """

    model: FactorModel
    train: SparseRows
    item_shift: Float32
    users: Int32
    rows: SparseRows
    position: Int64
    n_first: Int64
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
        n_first = np.minimum(rows.counts // 2, LENGTHS[-1])
        return cls(fitted, train, baseline_shift(fitted, train), users, rows, position, n_first, seed)

    def choose(self, mean: Float64, deviations: Float64, precision: Float64) -> PriorUse:
        """Choose the strength of a prior, and its use for each history length.

        Parameters
        ----------
        mean : ndarray of shape (w,), float64
            Common mean of the prior.
        deviations : ndarray of shape (n, w), float64
            Difference between the prior mean of each held-out user and the common mean.
        precision : ndarray of shape (w, w), float64
            Precision matrix for the strength 1.

        Returns
        -------
        PriorUse
            For each length, the candidate whose gain over the training penalty, minus its standard error, is
            largest: the prior around the mean; for ratings, the prior around the baseline; for events, the penalty of
            training with a share of popularity. If no difference is positive, the penalty of training alone. An
            exception are new users without ratings, for whom the gain decides. The strength of the prior has the
            largest sum of these differences, over some lengths, where they are positive.
        """
        limits = np.zeros((len(STRENGTHS), len(STRENGTH_LENGTHS)))
        for column, length in enumerate(STRENGTH_LENGTHS):
            sample = self._sample(length, MAX_USERS_FOR_STRENGTH)
            if not len(sample):
                continue
            candidates = [c for s in STRENGTHS for c in self._priors(sample, mean, deviations, s * precision)]
            pairs = np.array(self._gains(sample, length, candidates)).reshape(len(STRENGTHS), -1, 2)
            limits[:, column] = pairs[:, :, 1].max(axis=1)
        best = max(range(len(STRENGTHS)), key=lambda row: (np.maximum(limits[row], 0).sum(), limits[row].sum()))
        applies, weights = np.zeros(len(LENGTHS), bool), np.zeros(len(LENGTHS))
        for column, length in enumerate(LENGTHS):
            sample = self._sample(length, MAX_USERS[self.kind])
            if not len(sample):
                continue
            candidates = self._priors(sample, mean, deviations, STRENGTHS[best] * precision)
            if self.kind == "events" and length > 0:
                candidates += [FoldInCandidate(None, weight) for weight in WEIGHTS]
            is_first = self.kind == "ratings" and length == 0
            gains = [gain if is_first else limit for gain, limit in self._gains(sample, length, candidates)]
            if max(gains) > 0:
                chosen = candidates[int(np.argmax(gains))]
                applies[column], weights[column] = chosen.prior is not None, chosen.weight
        if applies[1:].any() and best in (0, len(STRENGTHS) - 1):
            _log.warning(
                "the best strength of the prior for new users is %g, at the edge of the candidates (%g to %g)",
                STRENGTHS[best], STRENGTHS[0], STRENGTHS[-1],
            )  # fmt: skip
        return PriorUse(STRENGTHS[best], applies, weights)

    @property
    def kind(self) -> Kind:
        """Kind of the data."""
        return self.model.least_squares.kind

    def _priors(self, sample: Int64, mean: Float64, deviations: Float64, precision: Float64) -> list[FoldInCandidate]:
        """Return the candidate priors of a sample of users: centered on the mean and, for ratings, on the baseline."""
        around_mean = FoldInCandidate(GaussianPrior(mean + deviations[sample], precision), 0.0)
        if self.kind == "events":
            return [around_mean]
        return [around_mean, FoldInCandidate(GaussianPrior(deviations[sample], precision, self.item_shift), 1.0)]

    def _sample(self, length: int, size: int) -> Int64:
        """Return the positions of the held-out users to score for a history length; empty if there are too few."""
        stream = random_stream(self.seed, "held-out sample", length)
        eligible = np.flatnonzero(self.n_first >= length)
        return np.sort(stream.permutation(eligible)[: size if len(eligible) >= MIN_USERS else 0])

    def _gains(self, sample: Int64, length: int, candidates: list[FoldInCandidate]) -> list[tuple[float, float]]:
        """Return, for each candidate, the mean gain in the metric, and this gain minus its standard error."""
        without, n_terms = self._values(sample, length, FoldInCandidate(None, 0.0))
        gains = []
        for candidate in candidates:
            gain = self._values(sample, length, candidate)[0] - without
            total, error = float(gain.sum()), float(np.sqrt(np.square(gain).sum()))
            gains.append((total / n_terms, (total - error) / n_terms))
        return gains

    def _values(self, sample: Int64, length: int, candidate: FoldInCandidate) -> tuple[Float64, int]:
        """Return each user's sum of the metric (higher is better), and the total number of terms."""
        n_first = self.n_first[self.rows.owners]
        is_first, is_history = self.position < n_first, self.position < np.minimum(length, n_first)
        first, history, test = (self.rows.filter(mask).take(sample) for mask in (is_first, is_history, ~is_first))
        model = self.model.fold_in(history, prior=candidate.prior)
        if candidate.prior is None and candidate.weight:
            model = model.with_shift(self.item_shift, candidate.weight)
        if self.kind == "ratings":
            predictions = model.predict(UserBatch.trained(test.owners, history), test.columns)
            errors = np.square(predictions.astype(np.float64) - test.values)
            return -np.bincount(test.owners, errors, len(sample)).astype(np.float64), len(errors)
        positive = test if test.weights is None else test.filter(test.weights > 0)
        lists = ModelLists.of(
            model, UserBatch.folded(history), [K], exclude=first, relevant=positive,
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


@one_thread_blas()
def baseline_shift(model: FactorModel, histories: SparseRows) -> Float32:
    """Return the differences between the item biases of a baseline and of a model.

    Parameters
    ----------
    model : FactorModel
        Fitted model.
    histories : SparseRows
        Training data of the model.

    Returns
    -------
    ndarray of shape (n_items,), float32
        In units of raw scores. For ratings, the baseline is `Bias`: with the shift, the model predicts the same ratings
        for a new user without ratings. For events, n / (n + alpha0 n_users) for an item with n events: the score that
        minimizes the loss if it is the same for all users.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 2], [0, 1, 0, 1], [5, 2, 4, 1])
    >>> model = cofactor.ExplicitALS(factors=1).fit(ratings)
    >>> shift = baseline_shift(model, ratings.by_user)
    >>> unknown = UserBatch.trained([-1, -1], ratings.by_user)
    >>> expected = cofactor.Bias().fit(ratings).predict(unknown, np.int32([0, 1]))
    >>> bool(np.allclose(model.mean + model.item_bias + shift, expected))
    True
    """
    blanks = model.least_squares.unobserved_gram(np.ones((model.n_users, 1), np.float32))  # alpha0 n_users
    if blanks.size:
        counts = histories.column_counts(model.n_items).astype(np.float64)
        return (counts / np.maximum(counts + float(blanks[0, 0]), 1e-12)).astype(np.float32)
    bias = Bias().fit(_table(histories, model))
    x = bias.mean + bias.item_bias.astype(np.float64)
    if model.rating_range is not None:
        low, high = model.rating_range
        share = np.clip((x - low) / (high - low), MIN_SHARE, 1 - MIN_SHARE)
        x = np.log(share / (1 - share))
    return (x - model.mean - model.item_bias).astype(np.float32)
