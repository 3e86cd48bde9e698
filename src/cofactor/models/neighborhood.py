"""Models of likeness: what similar items, or similar users, say about an item. Neither stores a history.

A user is what the history passed in says, so the same model serves those it learnt from and those who came later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import ALL_ROWS, ROW_ORDER, Bool, Float32, Float64, Int32, ItemOrder, read_only, require_array
from cofactor.errors import DataError
from cofactor.kernels.neighbor_scores import AVERAGE, SUM, add_by_users, places_of
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
from cofactor.models.block_scoring import Scoring, predicted_pairs, score_matrix, top_items
from cofactor.models.explanation import By, Explanation, split_off
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.similarity import Likeness, Links, links_from_parts
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["ItemItemModel", "UserUserModel"]


@dataclass(frozen=True, eq=False)
class ItemItemModel:
    """Items speak for items.

        events:   score(u, i) = sum_j x_uj W_ji
        ratings:  score(u, i) = b_ui + sum_j w_uj s_ij x_uj / (damping + sum_j w_uj s_ij)

    x: of events value times weight, negative for a dislike; of ratings what is above `baseline`. j: the items of u's
    history (`links` says which, and W or s): what is added to b_ui is additive over the history. There is nothing about
    users in it but their number; who has no history scores b_ui, of events 0.

    >>> import numpy as np
    >>> from cofactor.kernels.sparse import SparseRows
    >>> from cofactor.models.similarity import DenseLinks
    >>> model = ItemItemModel(1, DenseLinks(np.float32([[0, 0.5], [0.25, 0]])))
    >>> has_the_first = SparseRows.of(rows=[0], columns=[0], values=[1], n_rows=1)
    >>> model.scores(UserBatch.of([0], has_the_first)).tolist()
    [[0.0, 0.5]]
    """

    kind: ClassVar[str] = "item-item"

    n_users: int
    links: Links
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.whole_number("n_users", self.n_users, low=0)
        _require_baseline(self.baseline, self.n_items)

    @property
    def n_items(self) -> int:
        """The items that are linked: the catalog."""
        return self.links.n_items

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 says that nothing links the user to the item: True for events."""
        return self.baseline is None

    def __repr__(self) -> str:
        return f"ItemItemModel({self.n_users:,} users, {self.n_items:,} items, {self.links!r})"

    def _scoring(self, users: UserBatch) -> Scoring:
        scoring = Scoring.of(users.histories, self.baseline, self.n_items)

        def block(first: int, last: int) -> Float32:
            out = scoring.levels(first, last)
            self.links.add(out, scoring.entries.slice(first, last))
            return out

        return replace(scoring, block=block)

    def scores(self, users: UserBatch) -> Float32:
        """Score every item for each user of the batch: ndarray of shape (n_users, n_items), float32."""
        return score_matrix(self._scoring(checked_batch(self, users)))

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """The n best items of each history, exactly, as `ScoresItems.top` says; see `kernels.topk_dense`."""
        users, n, exclude, allowed, order = checked_lists(self, users, n, exclude, allowed, order)
        return top_items(self._scoring(users), n, exclude, allowed, self._zeros_by(order))

    def _zeros_by(self, order: ItemOrder) -> Int32:
        return (order if self.zero_is_unknown else ROW_ORDER).rows

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating, clipped to the scale, or the score of an event for each user and item.

        Users and items of -1 get the baseline; for events 0. Returns an ndarray of shape (n,), float32.
        """
        users, items = checked_batch_pairs(self, users, items)
        return predicted_pairs(self._scoring, users, items, self.baseline)

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """The n items linked most with each item, and how much: (n_asked, n); -1 and 0 where there are no more.

        With a weight for every pair, not more columns than items. allowed: as in `top`.
        """
        return self.links.strongest(*checked_nearest("items", items, self.n_items, n, allowed))

    @validated
    def item_similarity(self, items: Int32) -> Float32:
        """How alike all pairs within each row of items are: (m, c) gives (m, c, c) float32, 1 for itself, 0 for -1."""
        return self.links.between(checked_item_lists(self, items))

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Return what each item of one user's history adds, x_uj W_ji or its part of the average; the rest is 0."""
        _, item, _ = checked_known_pair(self, users, item)
        scoring = self._scoring(users)
        terms = self.links.terms(scoring.entries, item)
        return _explanation(scoring, self.baseline, item, scoring.entries.columns, terms, "history")

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """The same model: only the number of users changes."""
        require_no_prior(prior)
        return replace(self, n_users=len(require_histories(histories, self.n_items)))

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """As many users as `take` (n,) names: there is nothing else about them to pick."""
        return replace(self, n_users=len(checked_take(take, self.n_users, other.n_users)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The links' arrays, and the items' biases of a baseline."""
        return self.links.arrays() | ({} if self.baseline is None else self.baseline.arrays())

    def settings(self) -> dict[str, Any]:
        """The number of users, the form of the links, and the baseline's settings; None for events."""
        baseline = None if self.baseline is None else self.baseline.settings()
        return {"n_users": self.n_users, "links": self.links.settings(), "baseline": baseline}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The model of a file, with links dense or between neighbors as `settings` say."""
        baseline = settings["baseline"]
        return cls(
            checks.plain("n_users", settings["n_users"], int),
            links_from_parts(arrays, settings["links"]),
            None if baseline is None else Baseline.from_parts(arrays, baseline),
        )


@dataclass(frozen=True, eq=False)
class UserUserModel:
    """Users speak for users.

        events:   score(u, i) = sum_v s_uv x_vi
        ratings:  score(u, i) = b_ui + sum_v w_vi s_uv x_vi / (damping + sum_v w_vi s_uv)

    x: of events value times weight, negative for a dislike; of ratings what is above `baseline`. v: the k most similar
    of u's neighbors who have i. Neighbors are rows of `training`, kept whole: what they had is what they say. That is a
    row of the model's own, apart from the users it serves.

        neighbors (n_users, width) int32: rows of `training`, best first, -1 from where there are no more
        similarity (n_users, width) float32: s
        training: x of every training row, and its weights
        owner (n_training,) int32: which user it is now, -1 where nobody's

    Who has no neighbors scores b_ui, of events 0.

    >>> import numpy as np
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], kind="events")
    >>> model, one = cofactor.UserKNN().fit(events), np.int32([0])
    >>> rows, how = model.similar_users(one, 1)
    >>> rows.tolist(), how.round(2)
    ([[1]], array([[0.82]], dtype=float32))
    >>> model.scores(UserBatch.trained(one, events.by_user)).round(2)        # all from user 1
    array([[0.82, 0.82, 0.82]], dtype=float32)
    """

    kind: ClassVar[str] = "user-user"

    neighbors: Int32
    similarity: Float32
    training: SparseRows
    owner: Int32
    n_items: int
    likeness: Likeness
    k: int
    damping: float
    baseline: Baseline | None = None

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
                raise DataError(f"{name} must hold row numbers from 0 to {n - 1}, or -1, not {row}")

    @property
    def n_users(self) -> int:
        """The users that neighbors were found for: those of training, or folded in."""
        return len(self.neighbors)

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 says that nothing links the user to the item: True for events."""
        return self.baseline is None

    def __repr__(self) -> str:
        width = self.neighbors.shape[1]
        return f"UserUserModel({self.n_users:,} users, {self.n_items:,} items, up to {width} neighbors)"

    def _scoring(self, users: UserBatch) -> Scoring:
        scoring = Scoring.of(users.histories, self.baseline, self.n_items)

        def block(first: int, last: int) -> Float32:
            out, rows = scoring.levels(first, last), users.rows[first:last]
            add_by_users(
                out, self.neighbors[rows], self.similarity[rows], self.training,
                rule=SUM if self.baseline is None else AVERAGE, k=self.k, damping=self.damping,
            )  # fmt: skip
            return out

        return replace(scoring, block=block)

    def scores(self, users: UserBatch) -> Float32:
        """Score every item for each user of the batch: ndarray of shape (n_users, n_items), float32."""
        return score_matrix(self._scoring(checked_batch(self, users)))

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """The n best items of each user, exactly, as `ScoresItems.top` says; see `kernels.topk_dense`."""
        users, n, exclude, allowed, order = checked_lists(self, users, n, exclude, allowed, order)
        return top_items(self._scoring(users), n, exclude, allowed, self._zeros_by(order))

    def _zeros_by(self, order: ItemOrder) -> Int32:
        return (order if self.zero_is_unknown else ROW_ORDER).rows

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating, clipped to the scale, or the score of an event for each user and item.

        Users and items of -1 get the baseline; for events 0. Returns an ndarray of shape (n,), float32.
        """
        users, items = checked_batch_pairs(self, users, items)
        return predicted_pairs(self._scoring, users, items, self.baseline)

    def similar_users(self, users: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """The n most similar users, and how similar: (n_asked, n); -1 and 0 where there are no more.

        Not more columns than neighbors are stored. A neighbor who is none of the model's users any more is left out,
        and so are users that are not `allowed` ((n_users,) bool, empty for all).
        """
        users, n, allowed = checked_nearest("users", users, self.n_users, n, allowed)
        near, how = self.neighbors[users], self.similarity[users]
        who = np.where(near >= 0, self.owner[np.maximum(near, 0)], -1)
        if len(allowed):
            who = np.where((who >= 0) & allowed[who], who, -1)
        order = np.argsort(who < 0, axis=1, kind="stable")[:, :n]
        who, how = np.take_along_axis(who, order, axis=1), np.take_along_axis(how, order, axis=1)
        return who.astype(np.int32), np.where(who >= 0, how, np.float32(0))

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """What each neighbor who has the item adds, s_uv x_vi or its part of the average: nothing is left over.

        `rows` are users, -1 for one who is not there any more; none where no neighbor has the item.
        """
        user, item, _ = checked_known_pair(self, users, item)
        scoring = self._scoring(users)
        near = self.neighbors[user]
        near, how = near[near >= 0], self.similarity[user][near >= 0].astype(np.float64)
        own = self.training.take(near)
        at = np.flatnonzero(own.columns == item)
        who = own.owners[at]
        places = places_of(how[who], self.k)
        at, who, places = at[places > 0], who[places > 0], places[places > 0]
        x, ws = own.values[at].astype(np.float64), how[who] * places
        if self.baseline is not None:
            ws = ws if own.weights is None else ws * own.weights[at]
            below = self.damping + ws.sum()
            ws = ws / below if below > 0 else np.zeros(len(ws))
        rows = self.owner[near[who]]
        return _explanation(scoring, self.baseline, item, rows, ws * x, "neighbors")

    # newcomers

    @cached_property
    def _lists(self) -> tuple[SparseRows, ColumnLists]:
        weighed = self.likeness.weighed(self.training)
        return weighed, self.likeness.listed(weighed, self.n_items)

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Users worked out from their histories alone: their neighbors among the training rows, as in training."""
        require_histories(histories, self.n_items)
        require_no_prior(prior)
        entries = Scoring.of(histories, self.baseline, self.n_items).entries
        weighed, lists = self._lists
        near, how = nearest(
            self.likeness.weighed(entries), lists, weighed,
            measure=self.likeness.measure, n=self.neighbors.shape[1], shrink=self.likeness.shrink,
        )  # fmt: skip
        nobody = np.full(len(self.owner), -1, np.int32)
        return replace(self, neighbors=read_only(near), similarity=read_only(how), owner=read_only(nobody))

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Users picked from this model (take >= 0) and from `other` (row -1 - take)."""
        take = checked_take(take, self.n_users, other.n_users)
        own = take >= 0
        neighbors = np.empty((len(take), self.neighbors.shape[1]), np.int32)
        similarity = np.empty(neighbors.shape, np.float32)
        for picked, model, rows in ((own, self, take[own]), (~own, other, -1 - take[~own])):
            neighbors[picked], similarity[picked] = model.neighbors[rows], model.similarity[rows]
        now = np.full(self.n_users, -1, np.int32)
        now[take[own]] = np.flatnonzero(own)
        owner = np.where(self.owner >= 0, now[np.maximum(self.owner, 0)], -1).astype(np.int32)
        return replace(
            self, neighbors=read_only(neighbors), similarity=read_only(similarity), owner=read_only(owner)
        )  # fmt: skip

    # files

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Who is near whom and how much, the training rows, whose they are, and the items' biases of a baseline."""
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
        """How users are compared, k, damping, the number of items and the baseline's settings; None for events."""
        return {
            "n_items": self.n_items,
            "likeness": self.likeness.settings(),
            "k": self.k,
            "damping": self.damping,
            "baseline": None if self.baseline is None else self.baseline.settings(),
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The model of a file; the lists that newcomers are compared by are made when first needed."""
        baseline = settings["baseline"]
        return cls(
            arrays["neighbors"],
            arrays["similarity"],
            SparseRows(arrays["start"], arrays["columns"], arrays["values"], arrays.get("weights")),
            arrays["owner"],
            checks.plain("n_items", settings["n_items"], int),
            checks.plain("likeness", settings["likeness"], Likeness),
            checks.plain("k", settings["k"], int),
            checks.plain("damping", settings["damping"], float),
            None if baseline is None else Baseline.from_parts(arrays, baseline),
        )


def _explanation(
    scoring: Scoring, baseline: Baseline | None, item: int, rows: Int32, terms: Float64, by: By
) -> Explanation:  # fmt: skip
    """One asked user's parts: the baseline's, if there is one, and the terms."""
    score, mean, its = float(scoring.block(0, 1)[0, item]), 0.0, 0.0
    if baseline is not None:
        mean, its = baseline.mean, float(baseline.item_bias[item])
    own = float(scoring.level[0]) - mean
    rest = split_off(mean + own + its + float(terms.sum()), score, np.append(terms, score))
    return Explanation(score, mean, own, its, rows, terms, rest, by)


def _require_baseline(baseline: Baseline | None, n_items: int) -> None:
    """Raise DataError unless a baseline has a bias for each item."""
    if baseline is not None and len(baseline.item_bias) != n_items:
        raise DataError(f"baseline must have {n_items:,} item biases, not {len(baseline.item_bias):,}")
