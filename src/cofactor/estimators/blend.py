"""Blend estimator: a weighted sum of the predictions or scores of several estimators."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np

from cofactor import checks
from cofactor.arrays import Float32, Float64, Int32, random_stream
from cofactor.checks import Seed
from cofactor.data.held_out import hold_out
from cofactor.data.interactions import Interactions, Kind, relevant_rows
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator, estimators_of_kind, parameter
from cofactor.estimators.neighbors import ItemKNN, UserKNN
from cofactor.estimators.training import EpochCallback, report_parts, require_validation
from cofactor.estimators.training_table import AcceptedKind, TableLike
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.ranking import Hits
from cofactor.metrics.registry import primary_metric
from cofactor.models.base import Model
from cofactor.models.blend import BlendModel, BlendPart, part_scores
from cofactor.models.user_batch import UserBatch
from cofactor.validation import validated

__all__ = ["Blend", "blend_weights", "blended", "simplex_least_squares"]

MAX_PARTS = 8
"""Maximum number of component models."""

SHARE = 0.2
"""Share of the rows that are held out to learn the weights."""

ROUNDS = 20
"""Number of rounds of weight selection for events."""

PRIOR_ROUNDS = 10
"""Number of rounds that the initial, equal weights count as."""

MAX_USERS = 4000
"""Maximum number of users whose lists determine the weights for events."""

N_CANDIDATES, K = 100, 10
"""Number of candidate items from each component model's list, and length of the evaluated lists."""

MIN_WEIGHT = 0.02
"""Minimum weight for keeping a rating model."""

MIN_GAIN = 1e-9
"""Minimum gain in NDCG for keeping another round of the selection."""

MIN_ERROR = 1e-300
"""Lower bound on the squared errors that serve as divisors in the equations."""

MAX_BLOCK_SCORES = 1 << 22
"""Approximate number of scores per component model in memory at a time."""


@dataclass(frozen=True)
class Blend(Estimator):
    """Blend: a weighted sum of the predicted ratings, or of the standardized scores, of several estimators.

    Parameters
    ----------
    parts : tuple of Estimator, default (ItemKNN(), UserKNN())
        Estimators to combine, at most 8; in JSON, a list of their objects or names.
    weights : tuple of float or None, default None
        Weight of each component model, at least 0, or none to learn them from held-out rows.

    Notes
    -----
    Predicted ratings r_k are in the same units, and scores x_k of events are divided by their standard deviation s_k(u)
    over all items for each user::

        ratings:  r(u, i) = sum_k w_k r_k(u, i)
        events:   score(u, i) = sum_k w_k x_k(u, i) / s_k(u)

    Given weights are divided by their sum. Weights that are not given are learned in three steps: the component models
    are fitted without 20 % of the rows of each user, namely the latest rows if times order them, and random rows
    otherwise (see `data.held_out`); the weights that suit the held-out rows best are chosen; and the component models
    with positive weights are fitted to all rows. If `fit` is given validation rows, they take the place of the held-out
    rows, and the component models are fitted once. If no row can be held out, all weights are equal.

    For ratings, the weights minimize the squared error on the held-out rows, with w_k >= 0 and sum_k w_k = 1 (stacked
    regressions; the sum is fixed, so that no intercept is needed, and predictions follow a change of the rating scale);
    component models with a weight below .02 are left out. For events, the weights are chosen by ensemble selection:
    starting from equal weights that sum to 10, the weight of one component model is increased by 1 in each of 20
    rounds, so that NDCG@10 on the held-out rows is best; the weights after the best round are used. The start keeps the
    weights close to equal where the held-out rows do not distinguish the component models: of ImplicitALS, EASE and
    UserKNN on MovieLens-100k, weights that start from the best component model have a lower NDCG@10 than ImplicitALS
    alone (.3196 and .3221, mean of five splits).

    References
    ----------
    Breiman 1996, "Stacked regressions".
    Caruana et al. 2004, "Ensemble selection from libraries of models".

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 1, 4, 2, 3])
    >>> model = Blend((cofactor.Bias(), cofactor.ItemKNN()), (0.25, 0.75)).fit(ratings)
    >>> model
    BlendModel(3 users, 2 items: 0.25 factor, 0.75 item-item)
    """

    name: ClassVar[str] = "blend"
    kind: ClassVar[AcceptedKind] = "any"

    parts: tuple[Estimator, ...] = parameter(
        (ItemKNN(), UserKNN()), "estimators to combine, at most 8; in JSON, a list of their objects or names"
    )
    weights: tuple[float, ...] | None = parameter(
        None, "weight of each component model, at least 0, or none to learn them from held-out rows"
    )

    def __post_init__(self) -> None:
        for name in ("parts", "weights"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.parts, tuple) and any(isinstance(part, str | Mapping) for part in self.parts):
            parts: list[Any] = list(self.parts)
            try:
                estimators = (Estimator.from_dict(part) if isinstance(part, str | Mapping) else part for part in parts)
                object.__setattr__(self, "parts", tuple(estimators))
            except ParameterError as error:
                raise ParameterError(f"blend: parts: {error}") from error
        super().__post_init__()
        self._check_parts()
        if self.weights is not None:
            object.__setattr__(self, "weights", self._checked_weights(self.weights))
        kinds: set[Any] = {part.kind for part in self.parts} - {"any"}
        object.__setattr__(self, "kind", kinds.pop() if kinds else "any")

    @classmethod
    def json_schema(cls, kind: Kind | None = None) -> dict[str, Any]:
        """Return the JSON Schema for the output of `to_dict`; see `Estimator.json_schema`.

        Parameters
        ----------
        kind : {"ratings", "events"} or None, default None
            Kind of the tables that the component models must accept; None for either.

        Returns
        -------
        dict of str to object
            Schema with the schemas of all estimators that can be component models, by the kind of table that they learn
            from.

        Raises
        ------
        ParameterError
            If `kind` is invalid.
        """
        if kind is not None:
            checks.choice("kind", kind, get_args(Kind))
        schema = super().json_schema()
        kinds: list[dict[str, Any]] = []
        for table_kind in get_args(Kind) if kind is None else (kind,):
            parts = [part.json_schema() for part in estimators_of_kind(table_kind) if not _is_composite(part())]
            kinds.append({"items": {"anyOf": parts}})
        schema["properties"]["parts"] |= {"maxItems": MAX_PARTS, "allOf": [{"anyOf": kinds}]}
        for option in schema["properties"]["weights"]["anyOf"]:
            if "items" in option:
                option["items"]["minimum"] = 0
        return schema

    def _check_parts(self) -> None:
        """Raise ParameterError unless the component models are estimators that learn from the same kind of table."""
        if not isinstance(self.parts, tuple) or not 1 <= len(self.parts) <= MAX_PARTS:
            raise ParameterError(
                f"blend: parts must be a tuple of 1 to {MAX_PARTS} estimators, not {checks.describe(self.parts)}"
            )
        for part in self.parts:
            if not isinstance(part, Estimator) or _is_composite(part):
                raise ParameterError(
                    "blend: parts must be estimators that do not contain other estimators, such as cofactor.ItemKNN(), "
                    f"not {checks.describe(part)}"
                )
        if {"ratings", "events"} <= {part.kind for part in self.parts}:
            kinds = ", ".join(f"{part.name} from {part.kind}" for part in self.parts)
            raise ParameterError(f"blend: parts must learn from the same kind of table; got {kinds}")

    def _checked_weights(self, weights: Any) -> tuple[float, ...]:
        """Return the weights as floats; raise ParameterError unless there is one per component and one is positive."""
        if not isinstance(weights, tuple) or len(weights) != len(self.parts):
            raise ParameterError(
                f"blend: weights must be one number for each of {len(self.parts)} component models, "
                f"not {checks.describe(weights)}"
            )
        numbers = tuple(float(checks.finite_number("blend: weights", weight, low=0)) for weight in weights)
        if not any(numbers):
            raise ParameterError("blend: weights must not all be 0")
        return weights if all(type(weight) is float for weight in weights) else numbers  # sklearn.base.clone needs it

    @property
    def item_features(self) -> tuple[str, ...]:
        """Columns of the item table that a component model uses."""
        return tuple(name for part in self.parts for name in getattr(part, "item_features", ()))

    def check_table(self, interactions: TableLike) -> Interactions:
        """Return the training table, or raise an error if a component model cannot be trained on it.

        See `Estimator.check_table`.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Argument passed to `fit`.

        Returns
        -------
        Interactions
            Training table.
        """
        table = super().check_table(interactions)
        for part in self.parts:
            part.check_table(table)
        return table

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> BlendModel:
        """Fit the component models, and learn their weights if they are not given.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings or events.
        seed : int, Generator or None, default 0
            Seed for the fits of the component models and the choice of held-out rows.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs as `interactions`, for early stopping of the component models and for the
            weights.
        init_model : Model, optional
            Ignored.
        callback : callable, optional
            Called with an `Epoch` after the fit of each component model.

        Returns
        -------
        BlendModel
            Model with the component models of positive weight.

        Raises
        ------
        KindError
            If the table has the wrong kind for a component model.
        DataError
            If the table has no rows or all weights are 0, or if `validation` has different IDs.
        DivergedError
            If the fit of a component model diverges.
        """
        del init_model
        table, seed = self.check_table(interactions), checks.seed(seed)
        weights = self.weights
        if weights is None and validation is None:
            weights = self._held_out_weights(table, seed, callback)
        used = [k for k in range(len(self.parts)) if weights is None or weights[k] > 0]
        models = [self.parts[k].fit(table, seed=seed, validation=validation) for k in report_parts(used, callback)]
        if weights is None:
            assert validation is not None
            learned = blend_weights(models, table, require_validation(validation, table), seed=seed)
        else:
            learned = tuple(weights[k] for k in used)
        return blended(models, learned, table)

    def _held_out_weights(self, table: Interactions, seed: int, callback: EpochCallback | None) -> tuple[float, ...]:
        """Learn the weights on held-out rows; return equal weights if there is nothing to learn from."""
        inner, held_out = hold_out(table, share=SHARE, seed=seed)
        has_weight = inner.weights is None or inner.weights.any()
        if len(self.parts) == 1 or not len(inner) or not has_weight or not len(relevant_rows(held_out)):
            return (1.0,) * len(self.parts)
        models = [part.fit(inner, seed=seed) for part in report_parts(self.parts, callback)]
        return blend_weights(models, inner, held_out, seed=seed)


def _is_composite(estimator: Estimator) -> bool:
    """Return whether a hyperparameter of an estimator is an estimator, or contains estimators."""
    values = estimator.get_params().values()
    return any(isinstance(part, Estimator) for value in values for part in (value if type(value) is tuple else [value]))


def blended(models: Sequence[Model], weights: Sequence[float], table: Interactions) -> BlendModel:
    """Create a blend of the models with positive weights, which are normalized to sum to 1.

    Parameters
    ----------
    models : sequence of Model
        Models that were fitted to the table.
    weights : sequence of float
        Weight of each model, at least 0; at least one is positive.
    table : Interactions
        Training table, whose scale predicted ratings are clipped to.

    Returns
    -------
    BlendModel
        The blend.
    """
    used = [k for k, weight in enumerate(weights) if weight > 0]
    total = sum(weights[k] for k in used)
    parts: tuple[Any, ...] = tuple(models[k] for k in used)
    scale = table.scale if table.kind == "ratings" else None
    return BlendModel(parts, tuple(weights[k] / total for k in used), scale)


def blend_weights(
    models: Sequence[Model], train: Interactions, held_out: Interactions, *, seed: Seed = 0
) -> tuple[float, ...]:
    """Learn the weights of a blend on held-out rows; see `Blend`.

    Parameters
    ----------
    models : sequence of Model
        Models that were fitted to the training rows.
    train : Interactions
        Training rows.
    held_out : Interactions
        Held-out rows, with the same IDs.
    seed : int, Generator or None, default 0
        Seed for the choice of users, if there are more than 4,000.

    Returns
    -------
    tuple of float
        Weight of each model; they sum to 1.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 4, 2])
    >>> inner, held_out = table.select([True, True, True, False]), table.select([False, False, False, True])
    >>> blend_weights([cofactor.Bias().fit(inner), cofactor.ItemKNN().fit(inner)], inner, held_out)
    (1.0, 0.0)
    """
    parts: tuple[Any, ...] = tuple(models)
    blend = BlendModel(parts, (1.0,) * len(parts))  # which checks the models
    if train.kind == "ratings":
        users = UserBatch.trained(held_out.u, train.by_user, held_out.times)
        predictions = np.stack([part.predict(users, held_out.i) for part in parts]).astype(np.float64)
        row_weights = np.ones(len(held_out)) if held_out.weights is None else held_out.weights.astype(np.float64)
        weights = np.array(
            simplex_least_squares(predictions, target := held_out.values.astype(np.float64), row_weights)
        )
        used = np.flatnonzero(weights >= MIN_WEIGHT)
        weights[:] = 0
        weights[used] = simplex_least_squares(predictions[used], target, row_weights)
        return tuple(weights.tolist())
    histories = train.sequences if blend.uses_order else train.by_user
    relevant = relevant_rows(held_out).by_user
    users_with_rows = np.flatnonzero(relevant.counts).astype(np.int32)
    if len(users_with_rows) > MAX_USERS:
        chosen = random_stream(checks.seed(seed), "blend users").permutation(len(users_with_rows))[:MAX_USERS]
        users_with_rows = users_with_rows[np.sort(chosen)]
    candidates = _Candidates.of(
        parts, UserBatch.trained(users_with_rows, histories), train.excluded.take(users_with_rows)
    )
    return candidates.select_weights(relevant.take(users_with_rows))


def simplex_least_squares(predictions: Float64, target: Float64, row_weights: Float64) -> tuple[float, ...]:
    """Minimize the weighted squared error of a convex combination of predictions.

    Parameters
    ----------
    predictions : ndarray of shape (k, n), float64
        Predictions of k models.
    target : ndarray of shape (n,), float64
        Values to predict.
    row_weights : ndarray of shape (n,), float64
        Weight of each squared error.

    Returns
    -------
    tuple of float
        k weights, at least 0, which sum to 1.

    Notes
    -----
    With weights that sum to 1, the error is sum_k w_k e_k, where e_k is the error of model k. The weights that minimize
    it, without a bound, are computed for each of the 2^k - 1 sets of models; of the sets whose weights are all at least
    0, the one with the smallest error is the minimum.

    Examples
    --------
    >>> predictions = np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    >>> weights = simplex_least_squares(predictions, np.array([2.5, 3.5]), np.ones(2))
    >>> [round(weight, 6) for weight in weights]
    [0.25, 0.75, 0.0]
    """
    errors = (predictions - target) * np.sqrt(row_weights)
    gram = errors @ errors.T
    n_models = len(predictions)
    best, best_loss = np.eye(n_models)[0], np.inf
    for size in range(1, n_models + 1):
        for subset in itertools.combinations(range(n_models), size):
            part = gram[np.ix_(subset, subset)]
            system = np.ones((size + 1, size + 1))  # the unknowns are the weights and the multiplier of their sum
            system[:size, :size], system[size, size] = part / max(part.max(), MIN_ERROR), 0
            solution = np.linalg.lstsq(system, np.eye(size + 1)[size], rcond=None)[0][:size]
            if solution.min() < 0 or not np.isclose(solution.sum(), 1):
                continue
            weights = np.zeros(n_models)
            weights[list(subset)] = solution / solution.sum()
            loss = float(weights @ gram @ weights)
            if loss < best_loss:
                best, best_loss = weights, loss
    return tuple(best.tolist())


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Candidate items of each user, with the scores of each component model, for ranking with any weights.

    items : ndarray of shape (n_users, width), int32; row numbers in ascending order, padded with -1
    scores : ndarray of shape (n_parts, n_users, width), float32; the standardized scores, -inf in the padding
    """

    items: Int32
    scores: Float32

    @classmethod
    def of(cls, parts: Sequence[BlendPart], users: UserBatch, exclude: SparseRows) -> _Candidates:
        """Collect the first items of each component model's list for each user."""
        n_items = parts[0].n_items
        depth = min(N_CANDIDATES, n_items)
        width = max(min(depth * len(parts), n_items), K)
        items = np.full((len(users), width), -1, np.int32)
        scores = np.full((len(parts), len(users), width), -np.inf, np.float32)
        step = max(MAX_BLOCK_SCORES // n_items, 1)
        for first in range(0, len(users), step):
            block = users.take(slice(first, first + step))
            excluded = exclude.slice(first, first + len(block))
            dense = np.stack([part_scores(part, block, is_rating=False) for part in parts])
            dense[:, excluded.owners, excluded.columns] = -np.inf
            best = np.argpartition(-dense, depth - 1, axis=2)[:, :, :depth]
            for row in range(len(block)):
                distinct = np.unique(best[:, row])
                distinct = distinct[dense[0, row, distinct] > -np.inf]
                items[first + row, : len(distinct)] = distinct
                scores[:, first + row, : len(distinct)] = dense[:, row, distinct]
        return cls(items, scores)

    def select_weights(self, relevant: SparseRows) -> tuple[float, ...]:
        """Choose the weights that maximize NDCG@10, by ensemble selection."""
        n_parts = len(self.scores)
        counts = np.full(n_parts, PRIOR_ROUNDS / n_parts)
        sums = PRIOR_ROUNDS * self.scores.mean(axis=0, dtype=np.float64)
        best = (self._ndcg(sums, relevant), counts / counts.sum())
        for _ in range(ROUNDS):
            values = [self._ndcg(sums + self.scores[k], relevant) for k in range(n_parts)]
            added = int(np.argmax(values))
            counts[added] += 1
            sums += self.scores[added]
            if values[added] > best[0] + MIN_GAIN:
                best = (values[added], counts / counts.sum())
        return tuple(best[1].tolist())

    def _ndcg(self, sums: Float64, relevant: SparseRows) -> float:
        """Return the mean NDCG@10 of the lists that are ranked by a weighted sum of scores."""
        first = np.sort(np.argpartition(-sums, K - 1, axis=1)[:, :K], axis=1)
        order = np.argsort(-np.take_along_axis(sums, first, axis=1), axis=1, kind="stable")
        ranked = np.take_along_axis(self.items, np.take_along_axis(first, order, axis=1), axis=1)
        return primary_metric("events", K).per_user(Hits.of(ranked, relevant)).aggregate()
