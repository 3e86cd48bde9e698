"""Blend model: a weighted sum of the predictions or scores of other models.

It is a model type of its own, because its component models are of different types: a sum of an item-item model and a
factor model is neither of them. It has no arrays of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import ROW_ORDER, Bool, Float32, Float64, Int32, ItemOrder
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk_dense import top_of_blocks
from cofactor.models.arguments import (
    checked_batch,
    checked_batch_pairs,
    checked_known_pair,
    checked_lists,
    checked_take,
    require_histories,
    require_no_prior,
)
from cofactor.models.base import Explains, FoldsIn, Model, PredictsRatings, ScoresItems
from cofactor.models.explanation import AttributionBasis, Explanation, unattributed_rest
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.neighborhood import ItemItemModel, UserUserModel
from cofactor.models.network import LevelsNetworkModel, NetworkModel
from cofactor.models.posterior import BayesianModel
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["PART_TYPES", "BlendModel", "BlendPart", "part_scores"]

PART_TYPES: dict[str, type[Model]] = {
    cls.model_type: cls
    for cls in (FactorModel, BayesianModel, ItemItemModel, UserUserModel, NetworkModel, LevelsNetworkModel)
}
"""Classes that can be component models of a blend, by model type."""

MAX_SCORES = 1 << 22
"""The approximate number of scores that are in memory at a time, for each component model."""

SMALLEST_SPREAD = 1e-6
"""Scores whose standard deviation is below this fraction of the largest one are treated as equal."""

ATTRIBUTION: tuple[AttributionBasis, ...] = ("history", "leave-one-out", "neighbors")
"""The kinds of explanations in order of preference; the component models with another kind contribute to `rest`."""


@runtime_checkable
class BlendPart(Model, PredictsRatings, ScoresItems, FoldsIn, Explains, Protocol):
    """Capabilities that a blend requires of its component models."""


@dataclass(frozen=True, eq=False)
class BlendModel:
    """Blend model: the score of an item is a weighted sum of the scores of the blended models.

    Parameters
    ----------
    parts : tuple of Model
        At least one model of any other type; all have the same users and items.
    weights : tuple of float
        The weight of each component model, at least 0; for ratings, they sum to 1.
    scale : Scale, optional
        The scale that predictions are clipped to; None for a blend of event models.

    Raises
    ------
    DataError
        If the component models differ in users or items, or one of them does not support prediction, ranking, fold-in
        and explanations.

    Notes
    -----
    ::

        ratings:  score(u, i) = sum_k w_k r_k(u, i)
        events:   score(u, i) = sum_k w_k x_k(u, i) / s_k(u)

    r_k is the unclipped rating that component k predicts, x_k its score, and s_k(u) the standard deviation of its
    scores of all items for user u (a component with equal scores for all items is left out). A difference between two
    items is thus the weighted sum of the differences of the z-scores, and a pair about which no component has evidence
    keeps a score of 0. The score of a pair depends on the user and the item alone, and not on the items that a list may
    contain.

    Predicted ratings are the weighted sum of the predictions of the components, each of which is clipped to the scale.

    Examples
    --------
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 2, 0], kind="events")
    >>> parts = cofactor.ItemKNN().fit(events), cofactor.Popularity().fit(events)
    >>> user = UserBatch.trained([2], events.by_user)
    >>> for part in (*parts, BlendModel(parts, (0.25, 0.75))):
    ...     print((part.scores(user) / part.scores(user).std()).round(2))
    [[0.   2.12 2.12]]
    [[3.18 1.06 1.06]]
    [[4.77 2.65 2.65]]
    """

    model_type: ClassVar[str] = "blend"

    parts: tuple[BlendPart, ...]
    weights: tuple[float, ...]
    scale: Scale | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        if not isinstance(self.parts, tuple) or not self.parts:
            raise DataError(f"parts must be a non-empty tuple of models, not {checks.describe(self.parts)}")
        for k, part in enumerate(self.parts):
            if not isinstance(part, BlendPart) or isinstance(part, BlendModel):
                raise DataError(
                    f"component {k} must not itself be a blend, and must support prediction, ranking, fold-in and "
                    f"explanations; got {type(part).__name__}"
                )
            shape, first = (part.n_users, part.n_items), self.parts[0]
            if shape != (first.n_users, first.n_items):
                raise DataError(
                    f"all components must have {first.n_users:,} users and {first.n_items:,} items, like the first; "
                    f"component {k} has {shape[0]:,} and {shape[1]:,}"
                )
        if not isinstance(self.weights, tuple) or len(self.weights) != len(self.parts):
            raise DataError(f"weights must have one value per component ({len(self.parts)}), not {self.weights!r}")
        for weight in self.weights:
            checks.finite_number("weights", weight, low=0)

    @property
    def n_users(self) -> int:
        """Number of users in the model, trained or folded in."""
        return self.parts[0].n_users

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return self.parts[0].n_items

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 means no evidence about the user-item pair, as it does in all components."""
        return self.scale is None and all(part.zero_is_unknown for part in self.parts)

    @property
    def uses_order(self) -> bool:
        """Whether scores depend on the order of a user's history, so that histories must have times."""
        return any(getattr(part, "uses_order", False) for part in self.parts)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{weight:.3g} {part.model_type}" for weight, part in zip(self.weights, self.parts, strict=True)
        )
        return f"BlendModel({self.n_users:,} users, {self.n_items:,} items: {parts})"

    # Prediction and ranking

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating for each user-item pair, clipped to the rating scale; event models return unclipped scores.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user. The times in the batch are used by component models that learned time
            effects.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
            For events, 0 if the user or the item is unknown.
        """
        users, items = checked_batch_pairs(self, users, items)
        if self.scale is not None:
            sums = np.zeros(len(users))
            for part, weight in zip(self.parts, self.weights, strict=True):
                sums += weight * part.predict(users, items)
            return np.clip(sums.astype(np.float32), np.float32(self.scale.low), np.float32(self.scale.high))
        out = np.zeros(len(users), np.float32)
        pairs = np.flatnonzero((users.rows >= 0) & (items >= 0))
        distinct_users, owner = users.take(pairs).distinct()
        order = np.argsort(owner, kind="stable")
        pairs, owner = pairs[order], owner[order]
        for first, scores in self._score_blocks(distinct_users):
            block = slice(*np.searchsorted(owner, (first, first + len(scores))))
            out[pairs[block]] = scores[owner[block] - first, items[pairs[block]]]
        return out

    def scores(self, users: UserBatch) -> Float32:
        """Compute the unclipped scores of all items for each user; higher is better.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).

        Returns
        -------
        ndarray of shape (n_users, n_items), float32
        """
        users = checked_batch(self, users)
        out = np.empty((len(users), self.n_items), np.float32)
        for first, scores in self._score_blocks(users):
            out[first : first + len(scores)] = scores
        return out

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """Return the exact top n items for each user; see `ScoresItems.top` and `kernels.topk_dense`.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).
        n : int
            The length of each list.
        exclude : SparseRows
            The items to exclude, one row for each user in the batch.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank; an empty array means all items.
        order : ItemOrder
            The order of items for which an event model has no evidence.

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers; padded with -1 if fewer than n items remain.
        scores : ndarray of shape (n_users, n), float32
            -inf where the row is -1.
        """
        users, n, exclude, allowed, order = checked_lists(self, users, n, exclude, allowed, order)
        zero_order = order if self.zero_is_unknown else ROW_ORDER
        rows, best = np.empty((len(users), n), np.int32), np.empty((len(users), n), np.float32)
        for first, scores in self._score_blocks(users):
            last = first + len(scores)
            rows[first:last], best[first:last] = _top_items(
                scores, n, exclude.slice(first, last), allowed, zero_order.rows
            )
        return rows, best

    def _score_blocks(self, users: UserBatch) -> Iterator[tuple[int, Float32]]:
        """Yield, for each block of users, the index of the first user and the scores of all items."""
        step = max(MAX_SCORES // max(self.n_items, 1), 1)
        for first in range(0, len(users), step):
            block = users.take(slice(first, first + step))
            sums = np.zeros((len(block), self.n_items))
            for part, weight in zip(self.parts, self.weights, strict=True):
                sums += weight * part_scores(part, block, is_rating=self.scale is not None)
            yield first, sums.astype(np.float32)

    # Explanations

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain a score by the weighted sum of the explanations of the component models.

        Component models are explained by items in the history, or by neighbors. If both occur, the terms are those of
        the component models that are explained by the history, and the contribution of the others is in `rest`.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
            If a component model predicts ratings by a sigmoid, its terms are divided in proportion to those of the
            sigmoid's argument (the integrated gradients from the mean of the component model).
        """
        _, item, _ = checked_known_pair(self, users, item)
        explained = [self._part_explanation(k, users, item) for k in range(len(self.parts))]
        by = next(by for by in ATTRIBUTION if any(part.by == by for part in explained))
        mean, user, bias = (sum(getattr(part, name) for part in explained) for name in ("mean", "user", "item"))
        shown = [part for part in explained if part.by == by]
        rows, terms = _merge_rows(shown)
        score, attributed = float(self.scores(users)[0, item]), mean + user + bias + float(terms.sum())
        rest = unattributed_rest(attributed, score, np.append(terms, [mean, user, bias, score]))
        return Explanation(score, mean, user, bias, rows, terms, rest, by)

    def _part_explanation(self, k: int, users: UserBatch, item: int) -> Explanation:
        """Return the score of a component model and its explanation, both in units of the blend's score."""
        part, weight = self.parts[k], self.weights[k]
        explanation = part.explain(users, item)
        if self.scale is None:
            factor = weight * float(_inverse_spreads(part.scores(users))[0])
            return _scale(explanation, factor, factor * explanation.mean)
        link = _link(part)
        values = link(np.array([explanation.mean, explanation.score], np.float32)).astype(np.float64)
        low, high = (float(value) for value in values)
        slope = (high - low) / (explanation.score - explanation.mean) if explanation.score != explanation.mean else 0.0
        return _scale(explanation, weight * slope, weight * low)

    # Fold-in

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return a model with new users, folded into each component model.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user.
        prior : None
            Must be None; raises KindError otherwise.

        Returns
        -------
        BlendModel
            The model for the new users.
        """
        require_no_prior(prior)
        require_histories(histories, self.n_items)
        return replace(self, parts=tuple(part.fold_in(histories) for part in self.parts))

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model with users selected from this model and another one; see `FoldsIn.with_users`.

        Parameters
        ----------
        other : BlendModel
            A model with the same component models and items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        BlendModel
            A model with n users.
        """
        take = checked_take(take, self.n_users, other.n_users)
        if [type(part) for part in self.parts] != [type(part) for part in other.parts]:
            raise DataError("`other` must have component models of the same types")
        pairs = zip(self.parts, other.parts, strict=True)
        return replace(self, parts=tuple(part.with_users(other_part, take) for part, other_part in pairs))

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of all component models by name; each name starts with the number of the model.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return {f"{k}.{name}": array for k, part in enumerate(self.parts) for name, array in part.arrays().items()}

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {
            "parts": [{"model_type": part.model_type, **part.settings()} for part in self.parts],
            "weights": list(self.weights),
            "scale": None if self.scale is None else asdict(self.scale),
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct a model from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        BlendModel
            A bitwise identical object.
        """
        parts: list[Any] = []
        for k, part in enumerate(settings["parts"]):
            own = {name.removeprefix(f"{k}."): array for name, array in arrays.items() if name.startswith(f"{k}.")}
            parts.append(PART_TYPES[part["model_type"]].from_parts(own, part))
        weights = tuple(checks.plain("weights", weight, float) for weight in settings["weights"])
        return cls(tuple(parts), weights, checks.plain("scale", settings["scale"], Scale | None))


def part_scores(part: BlendPart, users: UserBatch, *, is_rating: bool) -> Float64:
    """Compute the scores of a component model for all items, on a common scale so that they can be added.

    Parameters
    ----------
    part : Model
        Component model of a blend.
    users : UserBatch
        Must not contain unknown users (row -1).
    is_rating : bool
        Whether the component model predicts ratings.

    Returns
    -------
    ndarray of shape (n_users, n_items), float64
        Unclipped ratings, or scores divided by their standard deviation over all items for each user.
    """
    scores = part.scores(users)
    if is_rating:
        return _link(part)(scores).astype(np.float64)
    return scores * _inverse_spreads(scores)[:, None]


def _inverse_spreads(scores: Float32) -> Float64:
    """Return the inverse of the standard deviation of each row of scores; 0 if they are equal."""
    inverse = np.zeros(len(scores))
    for row, values in enumerate(scores):  # one row at a time, so that a sum does not depend on the other users
        spread = float(values.std(dtype=np.float64)) if len(values) else 0.0
        if spread > SMALLEST_SPREAD * float(np.abs(values).max(initial=0)):
            inverse[row] = 1 / spread
    return inverse


def _link(part: object) -> Callable[[Float32], Float32]:
    """Return the function that converts the scores of a rating model to ratings."""
    link: Callable[[Float32], Float32] = getattr(part, "link", lambda scores: scores)
    return link


def _merge_rows(explained: list[Explanation]) -> tuple[Int32, Float64]:
    """Return the distinct rows of several explanations, by first occurrence, with the sum of the terms of each row.

    Users that are no longer in the model (row -1) are kept apart.
    """
    rows, terms = (np.concatenate([getattr(part, name) for part in explained]) for name in ("rows", "terms"))
    keys = np.where(rows >= 0, rows, -1 - np.arange(len(rows)))
    _, first, owner = np.unique(keys, return_index=True, return_inverse=True)
    order, sums = np.argsort(first), np.bincount(owner, terms, len(first)).astype(np.float64)
    return rows[first[order]].astype(np.int32), sums[order]


def _scale(explanation: Explanation, factor: float, mean: float) -> Explanation:
    """Return an explanation with a new mean and all other contributions multiplied by a factor."""
    return replace(
        explanation,
        score=mean + factor * (explanation.score - explanation.mean),
        mean=mean,
        user=explanation.user * factor,
        item=explanation.item * factor,
        terms=explanation.terms * factor,
        rest=explanation.rest * factor,
    )


@one_thread_blas()
def _top_items(scores: Float32, n: int, exclude: SparseRows, allowed: Bool, order: Int32) -> tuple[Int32, Float32]:
    """Return the top n items of each row of scores."""
    return top_of_blocks(
        lambda first, last: scores[first:last], scores.shape[1], n, exclude=exclude, allowed=allowed, order=order
    )
