"""Priors for new users and new items, learned from the trained vectors and from features.

The vectors x (factors and bias) of the users or of the items are regressed on feature indicators h:

    x_r = mean + E' h_r + residual_r,   minimizing  sum_r w_r |residual_r|^2 + ridge |E|^2,   w_r = n_r / (n_r + 5)

where row r has n_r ratings. With the covariance S of the residuals, the prior for a new row with indicators h is
N(mean + E' h, S); its precision in units of the loss is P = strength noise S^-1. The ridge is chosen to minimize the
error on held-out vectors. The strength for users, and the lengths of histories for which the prior is used, are chosen
on users who are held out of another fit; see `cold_start.held_out`. The strength for items minimizes the error on
held-out ratings when trained items are folded in from a few of their ratings. For item-item models of events, see
`cold_start.item_weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream
from cofactor.checks import Seed
from cofactor.cold_start.held_out import LENGTHS, HeldOutUsers, PriorUse, baseline_shift
from cofactor.cold_start.item_weights import HALF_WEIGHT_RATINGS, WEIGHT_RIDGE
from cofactor.data.features import Encoder
from cofactor.errors import DataError, KindError
from cofactor.estimators.base import Estimator
from cofactor.estimators.paired import PairedModels
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import require_histories
from cofactor.models.base import Model
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.paired import PairedModel
from cofactor.models.prior import Prior, Priors, WeightPrior
from cofactor.validation import validated

__all__ = ["default_priors", "learn_priors", "supports_priors"]

Entity: TypeAlias = Literal["user", "item"]

RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Candidate values for the ridge of the regression."""

FOLDS = 5
"""Number of cross-validation folds for choosing the ridge."""

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Candidate values for the strength of the prior for new items."""

HISTORY_LENGTHS = (1, 2, 4, 8, 16)
"""Candidate numbers of ratings for folding in trained items to choose the strength; drawn at random per item."""

MAX_FOLDED_IN = 400
"""Maximum number of trained items that are folded in to choose the strength."""


def supports_priors(model: Model, item_features: Sequence[str] = ()) -> bool:
    """Return whether `learn_priors` supports a model.

    Parameters
    ----------
    model : Model
        Model to check.
    item_features : sequence of str, default ()
        Columns of the item table on which the prior for new items depends.

    Returns
    -------
    bool
        True for a factor model that stores its training loss and has at least one user and one item; with item
        features, also for an item-item model of events; and for a paired model with such a ranker or such a rating
        model.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> [supports_priors(estimator.fit(ratings)) for estimator in (cofactor.ItemKNN(), cofactor.ExplicitALS(factors=2))]
    [False, True]
    """
    if isinstance(model, PairedModel):
        return any(supports_priors(part, item_features) for part in (model.ranker, model.rating_model))
    if isinstance(model, ItemItemModel):
        return model.baseline is None and len(item_features) > 0
    return isinstance(model, FactorModel) and model.loss is not None and model.n_users > 0 and model.n_items > 0


@one_thread_blas()
@validated
def learn_priors(
    model: Model,
    histories: SparseRows,
    *,
    user_table: pl.DataFrame | None = None,
    item_table: pl.DataFrame | None = None,
    user_features: Sequence[str] = (),
    item_features: Sequence[str] = (),
    estimator: Estimator | None = None,
    seed: Seed = 0,
) -> Priors:
    """Learn priors for new users and new items from a trained model.

    Parameters
    ----------
    model : Model
        Factor model that stores its training loss, or an item-item model of events. For a paired model, priors are
        learned for the ranker and for the rating model, unless it does not support them.
    histories : SparseRows
        Training data of the model: one row of items for each user.
    user_table, item_table : pl.DataFrame or None, default None
        Features of the users and of the items, in the row order of the model.
    user_features, item_features : sequence of str, default ()
        Columns of the tables on which the prior mean depends; see `data.features.Encoder`. If empty, all new users
        (items) have the same prior; an item-item model requires item features and ignores user features.
    estimator : Estimator, optional
        Estimator that fitted the model. It is fitted again without a quarter of the users, on whom the strength of the
        user prior and the history lengths for which it is used are chosen. If None, the strength is 1 at all lengths.
    seed : int, Generator or None, default 0
        Seed for the cross-validation.

    Returns
    -------
    Priors
        Learned priors; the user prior is None for a model with a pairwise loss and for an item-item model.

    Raises
    ------
    KindError
        If the model has no trained vectors or does not store its training loss, or if an item-item model is not one of
        events or there are no item features.
    DataError
        If a column is missing, or if the histories or tables do not match the model.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900, genres=4)).interactions
    >>> model = cofactor.ExplicitALS(factors=4).fit(ratings)
    >>> priors = learn_priors(model, ratings.by_user, item_table=ratings.item_table, item_features=["genres"])
    >>> priors.users.mean.shape, priors.items.effects.shape, priors.items.encoder.names[0]
    ((5,), (4, 5), 'genres=genre 0')
    """
    user_features = checks.names("user_features", user_features)
    item_features = checks.names("item_features", item_features)
    seed = checks.seed(seed)
    if isinstance(model, PairedModel) and supports_priors(model, item_features):
        require_histories(histories, model.n_items, n_rows=model.n_users)
        parts = (estimator.ranker, estimator.rating_model) if isinstance(estimator, PairedModels) else (None, None)
        ranking, rating = (
            learn_priors(
                part,
                rows,
                user_table=user_table,
                item_table=item_table,
                user_features=user_features,
                item_features=item_features,
                estimator=part_estimator,
                seed=seed,
            )
            if supports_priors(part, item_features)
            else None
            for part, rows, part_estimator in (
                (model.ranker, model.liked(histories), parts[0]),
                (model.rating_model, histories, parts[1]),
            )
        )
        return replace(ranking or Priors(), rating_model=rating)
    is_item_item = isinstance(model, ItemItemModel)
    if not (isinstance(model, FactorModel) or is_item_item) or not supports_priors(model, item_features):
        raise KindError(
            "learned priors require a model fitted by biased-mf, explicit-als, implicit-als or bpr, or item_features "
            "and an item-item event model, such as ease; bayesian-mf and neural-mf have built-in priors"
        )
    require_histories(histories, model.n_items, n_rows=model.n_users)
    for name, table, n in (("user_table", user_table, model.n_users), ("item_table", item_table, model.n_items)):
        if table is not None and len(table) != n:
            raise DataError(f"{name} must have {n:,} rows, one per user or item of the model; got {len(table):,}")
    if not isinstance(model, FactorModel):
        return Priors(None, WeightPrior(Encoder.of(item_table, item_features, "item"), WEIGHT_RIDGE))
    items = _TrainedVectors.of(model, histories, "item", item_table, item_features).prior(seed)
    if model.loss is None or model.loss.least_squares is None:
        return Priors(None, items)
    users = _TrainedVectors.of(model, histories, "user", user_table, user_features).unit_prior(seed)
    if estimator is None:
        return Priors(users, items)
    prior_use = PriorUse(1.0, np.zeros(len(LENGTHS), bool), np.zeros(len(LENGTHS)))
    if (held_out := HeldOutUsers.of(estimator, model, histories, seed)) is not None:
        vectors = _TrainedVectors.of(held_out.model, held_out.train, "user", user_table, user_features)
        prior = vectors.unit_prior(seed)
        prior_use = held_out.choose(prior.mean, vectors.indicators[held_out.users] @ prior.effects, prior.precision)
    if model.least_squares.kind == "events" and not prior_use.applies[0]:
        prior_use.shift_weights[0] = 1.0  # users without events get the popular list
    users = replace(
        users,
        precision=prior_use.strength * users.precision,
        lengths=np.array(LENGTHS),
        applies=prior_use.applies,
        shift_weights=prior_use.shift_weights,
        item_shift=baseline_shift(model, histories) if prior_use.shift_weights.any() else users.item_shift,
    )
    return Priors(users, items)


def default_priors(model: Model, estimator: Estimator | None, histories: SparseRows) -> Priors | None:
    """Learn the priors that a rating model uses by default, without features.

    Parameters
    ----------
    model : Model
        Model of ratings. For a paired model, priors are learned for the rating model.
    estimator : Estimator or None
        Estimator that fitted the model; see `learn_priors`.
    histories : SparseRows
        Training data of the model: one row of items for each user.

    Returns
    -------
    Priors or None
        None if the model does not support priors.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> default_priors(cofactor.ItemKNN().fit(ratings), cofactor.ItemKNN(), ratings.by_user) is None
    True
    """
    if isinstance(model, PairedModel):
        part = estimator.rating_model if isinstance(estimator, PairedModels) else None
        return Priors(rating_model=default_priors(model.rating_model, part, histories))
    return learn_priors(model, histories, estimator=estimator) if supports_priors(model) else None


@dataclass(frozen=True, eq=False)
class _TrainedVectors:
    """Vectors, ratings and features of the trained users or items.

    Parameters
    ----------
    entity : {"user", "item"}
    model : FactorModel
    x : ndarray of shape (n, width), float64
        Vectors: factors and, if the model has one, the bias.
    rows : SparseRows
        The ratings of each user (item); columns are items (users).
    encoder : Encoder or None
    indicators : ndarray of shape (n, n_indicators), float64
        0 or 1.
    """

    entity: Entity
    model: FactorModel
    x: Float64
    rows: SparseRows
    encoder: Encoder | None
    indicators: Float64

    @classmethod
    def of(
        cls,
        model: FactorModel,
        histories: SparseRows,
        entity: Entity,
        table: pl.DataFrame | None,
        columns: Sequence[str],
    ) -> _TrainedVectors:
        parts = [getattr(model, f"{entity}_factors"), getattr(model, f"{entity}_bias")[:, None]]
        if model.loss is not None and not model.loss.has_bias:
            parts = parts[:1]
        x = np.hstack(parts).astype(np.float64)
        encoder, indicators = None, np.zeros((len(x), 0))
        if columns:
            encoder = Encoder.of(table, columns, entity)
            assert table is not None
            indicators = encoder.encode(table).dense(len(x))
        rows = histories.transpose(model.n_items) if entity == "item" else histories
        return cls(entity, model, x, rows, encoder, indicators)

    def prior(self, seed: int) -> Prior:
        """Return the item prior whose strength minimizes the loss on held-out ratings."""
        prior = self.unit_prior(seed)
        if self.model.loss is None or self.model.loss.least_squares is None:
            return prior
        losses = [self._held_out_loss(replace(prior, precision=s * prior.precision), seed) for s in STRENGTHS]
        return replace(prior, precision=STRENGTHS[int(np.argmin(losses))] * prior.precision)

    def unit_prior(self, seed: int) -> Prior:
        """Return the prior with strength 1."""
        mean, effects = self._regression(seed)
        residuals, weights = self.x - mean - self.indicators @ effects, self._weights
        S = (residuals * weights[:, None]).T @ residuals / max(weights.sum(), 1e-12)
        S += np.eye(len(S)) * max(1e-3 * float(np.trace(S)) / max(len(S), 1), 1e-9)
        return Prior(mean, self._noise * np.linalg.inv(S), effects, self.encoder)

    @property
    def _weights(self) -> Float64:
        """Regression weights w_r: ndarray of shape (n,), float64."""
        counts = self.rows.counts.astype(np.float64)
        weights: Float64 = counts / (counts + HALF_WEIGHT_RATINGS)
        return weights

    @property
    def _noise(self) -> float:
        """Mean squared training error in units of the loss."""
        loss = None if self.model.loss is None else self.model.loss.least_squares
        if loss is None or not len(self.rows.columns):
            return 1.0
        owner = self.rows.owners
        u, i = (owner, self.rows.columns) if self.entity == "user" else (self.rows.columns, owner)
        error = self.model.link(self.model.raw_scores(u, i)).astype(np.float64) - loss.targets(self.rows)
        return max(float(np.mean(error * error)), 1e-6)

    def _regression(self, seed: int) -> tuple[Float64, Float64]:
        """Return the mean and the effects, with the ridge that minimizes the error on held-out vectors."""
        weights, m = self._weights, self.indicators.shape[1]
        if m == 0 or weights.sum() == 0:
            mean: Float64 = self.x.T @ weights / max(weights.sum(), 1e-12)
            return mean, np.zeros((m, self.x.shape[1]))
        fold = random_stream(seed, "parts", self.entity).integers(FOLDS, size=len(self.x))
        losses = np.zeros(len(RIDGES))
        for k in range(FOLDS):
            is_held_out = fold == k
            train = ~is_held_out
            for r, (mean, effects) in enumerate(_ridges(self.x[train], self.indicators[train], weights[train])):
                residuals = self.x[is_held_out] - mean - self.indicators[is_held_out] @ effects
                losses[r] += float(weights[is_held_out] @ np.square(residuals).sum(axis=1))
        return _ridges(self.x, self.indicators, weights)[int(losses.argmin())]

    def _held_out_loss(self, prior: Prior, seed: int) -> float:
        """Return the loss on held-out ratings when a sample of items is folded in from a few ratings each."""
        stream = random_stream(seed, "left out", self.entity)
        eligible = np.flatnonzero(self.rows.counts >= 2)
        sample = np.sort(stream.permutation(eligible)[:MAX_FOLDED_IN])
        if len(sample) == 0:
            return 0.0
        rows = self.rows.take(sample)
        owner = rows.owners
        lengths = np.minimum(stream.choice(HISTORY_LENGTHS, len(rows)), rows.counts // 2)
        observed = _random_entries(rows, lengths, stream)
        weights = None if rows.weights is None else rows.weights[observed]
        history = SparseRows.of(owner[observed], rows.columns[observed], rows.values[observed], len(rows), weights)
        means = prior.mean + self.indicators[sample] @ prior.effects
        scores = self._scores(history, means, prior.precision)
        if self.model.least_squares.kind == "ratings":
            error = self.model.link(scores[owner, rows.columns]).astype(np.float64) - rows.values
            return float(np.mean(np.square(error[~observed])))
        gains = [_mean_gain(scores[r], rows.row(r).columns, observed[owner == r]) for r in range(len(rows))]
        return -float(np.mean(gains))

    def _scores(self, raters: SparseRows, means: Float64, precision: Float64) -> Float32:
        """Fold in items and return their scores for all users: ndarray of shape (n, n_users), float32."""
        vectors, bias = self.model.fold_in_items(raters, GaussianPrior(means, precision))
        users, user_bias = self.model.user_factors, self.model.user_bias
        scores: Float32 = vectors @ users.T + bias[:, None] + user_bias + np.float32(self.model.mean)
        return scores


def _ridges(x: Float64, h: Float64, weights: Float64) -> list[tuple[Float64, Float64]]:
    """Fit a weighted ridge regression with an unpenalized mean for each value in RIDGES; return means and effects."""
    total = max(float(weights.sum()), 1e-12)
    x_mean, h_mean = weights @ x / total, weights @ h / total
    centered = h - h_mean
    eigenvalues, axes = np.linalg.eigh((centered * weights[:, None]).T @ centered)
    target = axes.T @ ((centered * weights[:, None]).T @ (x - x_mean))
    solutions = []
    for ridge in RIDGES:
        effects = axes @ (target / (np.maximum(eigenvalues, 0) + ridge)[:, None])
        solutions.append((x_mean - h_mean @ effects, effects))
    return solutions


def _random_entries(rows: SparseRows, n: Int64, stream: np.random.Generator) -> Bool:
    """Draw n[r] entries from each row r without replacement; return a mask of the drawn entries."""
    owner = rows.owners
    order = np.lexsort((stream.random(len(owner)), owner))
    position_in_row = np.empty(len(owner), np.int64)
    position_in_row[order] = np.arange(len(owner)) - np.repeat(rows.start[:-1], rows.counts)
    is_drawn: Bool = position_in_row < n[owner]
    return is_drawn


def _mean_gain(scores: Float32, columns: Int32, observed: Bool) -> float:
    """Return the mean of 1 / log2(1 + rank) over the held-out entries, each ranked among the columns without entries.

    Ties count as half.
    """
    has_no_entry = np.ones(len(scores), bool)
    has_no_entry[columns] = False
    held_out_scores, other_scores = scores[columns[~observed]], np.sort(scores[has_no_entry])
    n_above = (
        len(other_scores)
        - (
            np.searchsorted(other_scores, held_out_scores, "left")
            + np.searchsorted(other_scores, held_out_scores, "right")
        )
        / 2
    )
    return float(np.mean(1 / np.log2(2 + n_above)))
