"""Neighborhood models: scores from similar items or from similar users.

The models do not store the histories of the users that they serve. Histories are passed in a `UserBatch`, so that
trained and new users are treated alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import (
    ALL_ROWS,
    ROW_ORDER,
    Bool,
    Counts,
    Float32,
    Float64,
    Int32,
    Int64,
    ItemOrder,
    read_only,
    require_array,
)
from cofactor.errors import DataError
from cofactor.kernels.neighbor_scores import AVERAGE, SUM, add_by_users, top_k_membership
from cofactor.kernels.neighbors import ColumnLists, nearest
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import (
    checked_batch,
    checked_batch_pairs,
    checked_item_lists,
    checked_known_pair,
    checked_lists,
    checked_nearest,
    checked_take,
    require_histories,
    require_no_prior,
)
from cofactor.models.baseline import Baseline
from cofactor.models.block_scoring import (
    Scoring,
    predict_pairs,
    recency_weights,
    score_matrix,
    top_items,
    without_zero_weights,
)
from cofactor.models.explanation import AttributionBasis, Explanation, unattributed_rest
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.similarity import ItemSimilarity, NeighborSimilarity, SimilarityMeasure, similarity_from_parts
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["ItemItemModel", "UserUserModel"]


AVERAGE_BLOCK_USERS = 512
"""The maximum number of users in a block whose scores are averages: each block reads all similarities once."""


class _HasScoring(Protocol):
    """Protocol for the attributes of a neighborhood model that ranking and prediction use."""

    @property
    def n_users(self) -> int: ...
    @property
    def n_items(self) -> int: ...
    @property
    def baseline(self) -> Baseline | None: ...
    @property
    def zero_is_unknown(self) -> bool: ...
    def _scoring(self, users: UserBatch) -> Scoring: ...


class _BlockScorer:
    """Mixin with ranking and prediction for models that have a method `_scoring`."""

    @property
    def zero_is_unknown(self: _HasScoring) -> bool:
        """Whether a score of exactly 0 means no evidence about the user-item pair; True for event models."""
        return self.baseline is None

    def scores(self: _HasScoring, users: UserBatch) -> Float32:
        """Compute the scores of all items for each user.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).

        Returns
        -------
        ndarray of shape (n_users, n_items), float32
            Unclipped scores; higher is better.
        """
        return score_matrix(self._scoring(checked_batch(self, users)))

    def top(
        self: _HasScoring,
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
        return top_items(self._scoring(users), n, exclude, allowed, zero_order.rows)

    def predict(self: _HasScoring, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating for each user-item pair, clipped to the rating scale; event models return unclipped scores.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
            If the user or the item is unknown, the baseline for ratings and 0 for events.
        """
        users, items = checked_batch_pairs(self, users, items)
        return predict_pairs(self._scoring, users, items, self.baseline)


@dataclass(frozen=True, eq=False)
class ItemItemModel(_BlockScorer):
    """Item-item model: the score of an item is a weighted sum or average over the items in the user's history.

    Parameters
    ----------
    n_users : int
        The number of users; the model stores nothing else about users.
    similarity : DenseSimilarity, NeighborSimilarity or SpectralSimilarity
        The weight of each item for the scores of other items.
    baseline : Baseline, optional
        The baseline for ratings; None for events.
    recency : float, default 1.0
        Events only: the factor for each later event in the user's history, from 0 to 1; see `recency_weights`.
    counts : {"log", "binary", "raw"}, default "log"
        The transformation f of the values of events.

    Notes
    -----
    ::

        events:   score(u, i) = sum_j recency^m_uj x_uj W_ji
        ratings:  score(u, i) = b_ui + sum_j w_uj s_ij x_uj / (damping + sum_j w_uj s_ij)

    For events, x is f(value) times weight, which is negative for a dislike, and m_uj is the number of events of u that
    are later than the event of j; for ratings, x is the deviation from the baseline. The sum is over the items j in the
    history of u. Without a history, the score is b_ui, or 0 for events.

    Examples
    --------
    >>> import numpy as np
    >>> from cofactor.kernels.sparse import SparseRows
    >>> from cofactor.models.similarity import DenseSimilarity
    >>> model = ItemItemModel(1, DenseSimilarity(np.float32([[0, 0.5], [0.25, 0]])))
    >>> history = SparseRows.of(rows=[0], columns=[0], values=[1], n_rows=1)
    >>> model.scores(UserBatch.of([0], history)).tolist()
    [[0.0, 0.5]]
    """

    model_type: ClassVar[str] = "item-item"

    n_users: int
    similarity: ItemSimilarity
    baseline: Baseline | None = None
    recency: float = 1.0
    counts: Counts = "log"

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.whole_number("n_users", self.n_users, low=0)
        checks.finite_number("recency", self.recency, low=0, high=1)
        _require_baseline(self.baseline, self.n_items)

    @property
    def uses_order(self) -> bool:
        """Whether scores depend on the order of a user's history, so that histories must have times."""
        return self.recency < 1

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return self.similarity.n_items

    def __repr__(self) -> str:
        return f"ItemItemModel({self.n_users:,} users, {self.n_items:,} items, {self.similarity!r})"

    def _scoring(self, users: UserBatch) -> Scoring:
        histories = without_zero_weights(users.histories)
        similarity = self.similarity
        scoring = Scoring.of(histories, self.baseline, self.n_items, self.counts)
        if self.recency < 1:
            values = scoring.entries.values * recency_weights(histories, self.recency)
            scoring = replace(scoring, entries=scoring.entries.with_values(values))

        def block(first: int, last: int) -> Float32:
            out = scoring.baselines(first, last)
            similarity.add_scores(out, scoring.entries.slice(first, last))
            return out

        if not isinstance(similarity, NeighborSimilarity) or similarity.average is None:
            return replace(scoring, block=block)

        def pairs(start: Int64, items: Int32) -> Float32:
            out = scoring.pair_baselines(start, items)
            similarity.add_pair_scores(out, scoring.entries, start, items)
            return out

        return replace(scoring, block=block, pairs=pairs, block_users=AVERAGE_BLOCK_USERS)

    def item_scores(self, users: UserBatch, items: Int32) -> Float32:
        """Compute the scores of some items for each user.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).
        items : ndarray of shape (n,), int32
            Item row numbers.

        Returns
        -------
        ndarray of shape (n_users, n), float32
        """
        users, items = checked_batch(self, users), checks.row_numbers("items", items, self.n_items)
        scoring, shape = self._scoring(users), (len(users), len(items))
        start = np.arange(len(users) + 1, dtype=np.int64) * len(items)
        if scoring.pairs is not None:
            return scoring.pairs(start, np.tile(items, len(users))).reshape(shape)
        entries = scoring.entries
        columns, positions = np.unique(entries.columns, return_inverse=True)
        all_columns = SparseRows.from_counts([len(columns)], columns, np.ones(len(columns), np.float32))
        scores = scoring.pair_baselines(start, np.tile(items, len(users))).reshape(shape).astype(np.float64)
        for n, item in enumerate(items.tolist()):
            weights = self.similarity.terms(all_columns, item)
            scores[:, n] += np.bincount(entries.owners, entries.values * weights[positions], len(users))
        return scores.astype(np.float32)

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar items for each item, by similarity or by the learned weight.

        Parameters
        ----------
        items : ndarray of shape (m,), int32
            Item rows.
        n : int
            The length of each list; at most n_items with dense or spectral weights.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to choose from; an empty array means all items.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        weights : ndarray of shape (m, n), float32
            Padded with 0.
        """
        return self.similarity.nearest(*checked_nearest("items", items, self.n_items, n, allowed))

    @validated
    def item_similarity(self, items: Int32) -> Float32:
        """Compute the similarity of each pair of items within each list.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            Values from -1 to 1; 1 for an item with itself, 0 for row -1.
        """
        return self.similarity.pairwise(checked_item_lists(self, items))

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain a score by the contribution of each item in the user's history; nothing is left unattributed.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
        """
        _, item, _ = checked_known_pair(self, users, item)
        scoring = self._scoring(users)
        terms = self.similarity.terms(scoring.entries, item)
        return _explanation(scoring, self.baseline, item, scoring.entries.columns, terms, "history")

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return the same model with one user for each history; see `FoldsIn.fold_in`.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user.
        prior : None
            Must be None; raises KindError otherwise.

        Returns
        -------
        ItemItemModel
            The model for the new users.
        """
        require_no_prior(prior)
        return replace(self, n_users=len(require_histories(histories, self.n_items)))

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Return the same model with one user for each entry of `take`; see `FoldsIn.with_users`.

        Parameters
        ----------
        other : ItemItemModel
            A model with the same items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        ItemItemModel
            A model with n users.
        """
        return replace(self, n_users=len(checked_take(take, self.n_users, other.n_users)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the item similarity, and of the item biases if there are any, by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return self.similarity.arrays() | ({} if self.baseline is None else self.baseline.arrays())

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        baseline = None if self.baseline is None else self.baseline.settings()
        return {
            "n_users": self.n_users,
            "similarity": self.similarity.settings(),
            "baseline": baseline,
            "recency": self.recency,
            "counts": self.counts,
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
        ItemItemModel
            A bitwise identical object.
        """
        baseline = settings["baseline"]
        return cls(
            checks.plain("n_users", settings["n_users"], int),
            similarity_from_parts(arrays, settings["similarity"]),
            None if baseline is None else Baseline.from_parts(arrays, baseline),
            checks.plain("recency", settings["recency"], float),
            settings["counts"],
        )


@dataclass(frozen=True, eq=False)
class UserUserModel(_BlockScorer):
    """User-user model: the score of an item is a weighted sum or average over the user's nearest neighbors.

    Parameters
    ----------
    neighbors : ndarray of shape (n_users, width), int32
        The neighbors of each user as row numbers of `training`, most similar first; padded with -1.
    similarity : ndarray of shape (n_users, width), float32
        The similarity s of each neighbor.
    training : SparseRows
        The training histories that neighbors are chosen from; the values are x (see Notes).
    owner : ndarray of shape (n_training,), int32
        The user of each row of `training`; -1 if the user is no longer in the model.
    n_items : int
        The number of items.
    measure : SimilarityMeasure
        The similarity measure for users.
    k : int
        The maximum number of neighbors that contribute to a score.
    damping : float
        A constant added to the sum of similarities.
    baseline : Baseline, optional
        The baseline for ratings; None for events.
    counts : {"log", "binary", "raw"}, default "log"
        The transformation f of the values of events.

    Notes
    -----
    ::

        events:   score(u, i) = sum_v s_uv x_vi
        ratings:  score(u, i) = b_ui + sum_v w_vi s_uv x_vi / (damping + sum_v w_vi s_uv)

    For events, x is f(value) times weight, which is negative for a dislike; for ratings, x is the deviation from the
    baseline. The sum is over the k most similar neighbors v of u that have item i. Without neighbors, the score is
    b_ui, or 0 for events.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], kind="events")
    >>> model, user = cofactor.UserKNN(event_shrink=0).fit(events), np.int32([0])
    >>> rows, similarities = model.similar_users(user, 1)
    >>> rows.tolist(), similarities.round(2)
    ([[1]], array([[0.82]], dtype=float32))
    >>> model.scores(UserBatch.trained(user, events.by_user)).round(2)        # from user 1
    array([[0.82, 0.82, 0.82]], dtype=float32)
    """

    model_type: ClassVar[str] = "user-user"

    neighbors: Int32
    similarity: Float32
    training: SparseRows
    owner: Int32
    n_items: int
    measure: SimilarityMeasure
    k: int
    damping: float
    baseline: Baseline | None = None
    counts: Counts = "log"

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.whole_number("n_items", self.n_items, low=0)
        checks.whole_number("k", self.k, low=1)
        checks.finite_number("damping", self.damping, low=0)
        _require_baseline(self.baseline, self.n_items)
        require_array("neighbors", self.neighbors, np.int32, (None, None))
        require_array("similarity", self.similarity, np.float32, self.neighbors.shape)
        require_histories(self.training, self.n_items, name="training")
        require_array("owner", self.owner, np.int32, (len(self.training),))
        for name, n in (("neighbors", len(self.training)), ("owner", len(self.neighbors))):
            rows = getattr(self, name)
            if rows.size and (rows.min() < -1 or rows.max() >= n):
                row = rows[(rows < -1) | (rows >= n)][0]
                raise DataError(f"{name} must contain row numbers from 0 to {n - 1}, or -1; got {row}")

    @property
    def n_users(self) -> int:
        """Number of users in the model, trained or folded in."""
        return len(self.neighbors)

    def __repr__(self) -> str:
        width = self.neighbors.shape[1]
        return f"UserUserModel({self.n_users:,} users, {self.n_items:,} items, up to {width} neighbors)"

    def _scoring(self, users: UserBatch) -> Scoring:
        scoring = Scoring.of(users.histories, self.baseline, self.n_items, self.counts)

        def block(first: int, last: int) -> Float32:
            out, rows = scoring.baselines(first, last), users.rows[first:last]
            add_by_users(
                out, self.neighbors[rows], self.similarity[rows], self.training,
                rule=SUM if self.baseline is None else AVERAGE, k=self.k, damping=self.damping,
            )  # fmt: skip
            return out

        return replace(scoring, block=block)

    def similar_users(self, users: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar users for each user.

        Parameters
        ----------
        users : ndarray of shape (m,), int32
            User row numbers.
        n : int
            The length of each list; at most the number of stored neighbors.
        allowed : ndarray of shape (n_users,), bool
            Mask of the users to choose from; an empty array means all users. Neighbors that are no longer in the model
            are always excluded.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        similarities : ndarray of shape (m, n), float32
            Padded with 0.
        """
        users, n, allowed = checked_nearest("users", users, self.n_users, n, allowed)
        neighbors, similarities = self.neighbors[users], self.similarity[users]
        rows = np.where(neighbors >= 0, self.owner[np.maximum(neighbors, 0)], -1)
        if len(allowed):
            rows = np.where((rows >= 0) & allowed[rows], rows, -1)
        order = np.argsort(rows < 0, axis=1, kind="stable")[:, :n]
        rows, similarities = np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)
        return rows.astype(np.int32), np.where(rows >= 0, similarities, np.float32(0))

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain a score by the contribution of each neighbor who has the item; nothing is left unattributed.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
            Its `rows` are users; -1 is a user that is no longer in the model.
        """
        user, item, _ = checked_known_pair(self, users, item)
        scoring = self._scoring(users)
        is_neighbor = self.neighbors[user] >= 0
        neighbors, similarity = self.neighbors[user][is_neighbor], self.similarity[user][is_neighbor].astype(np.float64)
        rows = self.training.take(neighbors)
        entries = np.flatnonzero(rows.columns == item)
        positions = np.repeat(np.arange(len(neighbors)), rows.counts)[entries]
        memberships = top_k_membership(similarity[positions], self.k)
        entries, positions, memberships = (
            entries[memberships > 0],
            positions[memberships > 0],
            memberships[memberships > 0],
        )
        x, ws = rows.values[entries].astype(np.float64), similarity[positions] * memberships
        if self.baseline is not None:
            ws = ws if rows.weights is None else ws * rows.weights[entries]
            denominator = self.damping + ws.sum()
            ws = ws / denominator if denominator > 0 else np.zeros(len(ws))
        return _explanation(scoring, self.baseline, item, self.owner[neighbors[positions]], ws * x, "neighbors")

    # Fold-in

    @cached_property
    def _training_lists(self) -> tuple[SparseRows, ColumnLists]:
        """The training rows with weights applied, and the column list of each item."""
        weighted_rows = self.measure.weighted(self.training)
        return weighted_rows, self.measure.column_lists(weighted_rows, self.n_items)

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return a model with new users, whose neighbors are found among the training users, as in training.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user.
        prior : None
            Must be None; raises KindError otherwise.

        Returns
        -------
        UserUserModel
        """
        require_histories(histories, self.n_items)
        require_no_prior(prior)
        entries = Scoring.of(histories, self.baseline, self.n_items, self.counts).entries
        weighted_rows, lists = self._training_lists
        neighbors, similarity = nearest(
            self.measure.weighted(entries), lists, weighted_rows,
            measure=self.measure.code, n=self.neighbors.shape[1], shrink=self.measure.shrink,
        )  # fmt: skip
        owner = np.full(len(self.owner), -1, np.int32)
        return replace(
            self, neighbors=read_only(neighbors), similarity=read_only(similarity), owner=read_only(owner)
        )  # fmt: skip

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model with users selected from this model and another one; see `FoldsIn.with_users`.

        Parameters
        ----------
        other : UserUserModel
            A model with the same items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        UserUserModel
            A model with n users.
        """
        take = checked_take(take, self.n_users, other.n_users)
        is_own = take >= 0
        neighbors = np.empty((len(take), self.neighbors.shape[1]), np.int32)
        similarity = np.empty(neighbors.shape, np.float32)
        for is_selected, model, rows in ((is_own, self, take[is_own]), (~is_own, other, -1 - take[~is_own])):
            neighbors[is_selected], similarity[is_selected] = model.neighbors[rows], model.similarity[rows]
        new_rows = np.full(self.n_users, -1, np.int32)
        new_rows[take[is_own]] = np.flatnonzero(is_own)
        owner = np.where(self.owner >= 0, new_rows[np.maximum(self.owner, 0)], -1).astype(np.int32)
        return replace(
            self, neighbors=read_only(neighbors), similarity=read_only(similarity), owner=read_only(owner)
        )  # fmt: skip

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the neighbors, their similarities, the training histories and any item biases as arrays by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        training: dict[str, NDArray[Any]] = {
            "start": self.training.start,
            "columns": self.training.columns,
            "values": self.training.values,
        }
        if self.training.weights is not None:
            training["weights"] = self.training.weights
        own = {"neighbors": self.neighbors, "similarity": self.similarity, "owner": self.owner}
        return own | training | ({} if self.baseline is None else self.baseline.arrays())

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {
            "n_items": self.n_items,
            "measure": self.measure.settings(),
            "k": self.k,
            "damping": self.damping,
            "baseline": None if self.baseline is None else self.baseline.settings(),
            "counts": self.counts,
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
        UserUserModel
            A bitwise identical object.
        """
        baseline = settings["baseline"]
        return cls(
            arrays["neighbors"],
            arrays["similarity"],
            SparseRows(arrays["start"], arrays["columns"], arrays["values"], arrays.get("weights")),
            arrays["owner"],
            checks.plain("n_items", settings["n_items"], int),
            checks.plain("measure", settings["measure"], SimilarityMeasure),
            checks.plain("k", settings["k"], int),
            checks.plain("damping", settings["damping"], float),
            None if baseline is None else Baseline.from_parts(arrays, baseline),
            settings["counts"],
        )


def _explanation(
    scoring: Scoring, baseline: Baseline | None, item: int, rows: Int32, terms: Float64, by: AttributionBasis
) -> Explanation:  # fmt: skip
    """Create the explanation of one user's score from the baseline, if there is one, and the terms."""
    score, mean, item_bias = float(scoring.block(0, 1)[0, item]), 0.0, 0.0
    if baseline is not None:
        mean, item_bias = baseline.mean, float(baseline.item_bias[item])
    user_bias = float(scoring.user_level[0]) - mean
    rest = unattributed_rest(mean + user_bias + item_bias + float(terms.sum()), score, np.append(terms, score))
    return Explanation(score, mean, user_bias, item_bias, rows, terms, rest, by)


def _require_baseline(baseline: Baseline | None, n_items: int) -> None:
    """Raise DataError if a baseline does not have a bias for each item."""
    if baseline is not None and len(baseline.item_bias) != n_items:
        raise DataError(f"baseline must have n_items={n_items:,} item biases; got {len(baseline.item_bias):,}")
