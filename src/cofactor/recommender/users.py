"""Users as of now: ranking, predicting and explaining for known users and for new users given by a history.

`Recommender.for_users` and `Recommender.for_history` return a `UserView`. The library, the command line, the evaluator
and the service rank, predict and explain through it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Int32
from cofactor.data.id_columns import Id, id_series, is_single, single_id
from cofactor.data.ids import IdMap
from cofactor.errors import DataError, KindError, UnknownIdError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import solvable
from cofactor.models.base import Explains
from cofactor.models.explanation import Explanation, told
from cofactor.models.rerank import RankBy, ranked
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.catalog import Catalog

__all__ = ["UserSource", "UserView"]

UserSource: TypeAlias = Literal["model", "fold-in", "prior", "popularity"]
"""What a view of users is based on: rows of the trained model, histories that were folded in, a prior, or nothing."""


@dataclass(frozen=True, eq=False)
class UserView:
    """One user, several users, or a new user, as of now.

    Parameters
    ----------
    catalog : Catalog
        The items, and what the model knows of them.
    model : Model
        The model whose users these are; for new users, the model that they were folded into.
    batch : UserBatch
        The users with their histories.
    exclude : SparseRows
        A row for each user: items that lists leave out, because the user has seen them.
    source : {"model", "fold-in", "prior", "popularity"}
        What the answers are based on; "popularity" for a new user without a history or a prior.
    user_ids : IdMap
        The ids of the users of the trained model.

    Examples
    --------
    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
    >>> rec.for_users("cy").recommend(n=1)["item"].to_list()
    ['alien']
    >>> rec.for_history([("alien", 5)]).recommend(n=2)["item"].to_list()
    ['brazil', 'clue']
    """

    catalog: Catalog
    model: Any
    batch: UserBatch
    exclude: SparseRows
    source: UserSource
    user_ids: IdMap

    def __len__(self) -> int:
        return len(self.batch)

    # ranking

    def rank(
        self,
        n: int,
        *,
        exclude_seen: bool = True,
        allowed: Bool = ALL_ROWS,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
    ) -> tuple[Int32, Float32]:
        """Rank items for each user by row number.

        Every list of the library, the command line, the evaluator and the service comes from this method.

        Parameters
        ----------
        n : int
            The length of each list; at most the number of items counts.
        exclude_seen : bool, default True
            Leave out `exclude`.
        allowed : ndarray of shape (n_items,), bool
            The items to rank; an empty array for all.
        rank_by, diversity
            See `models.rerank.ranked`.

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item rows, best first; -1 where a list ends.
        scores : ndarray of shape (n_users, n), float32
            -inf where a list ends.

        Raises
        ------
        ParameterError
            For arguments out of range.
        KindError
            If the model cannot rank in this way.
        """
        n = checks.whole_number("n", n, low=1)
        allowed = checks.mask("allowed", allowed, self.catalog.n_items, optional=True)
        checks.flag("exclude_seen", exclude_seen)
        exclude = self.exclude if exclude_seen else SparseRows.empty(len(self))
        evidence = ALL_ROWS if self.catalog.evidence is None else self.catalog.evidence
        return ranked(
            self.model,
            self.batch,
            min(n, self.catalog.n_items),
            exclude=exclude,
            allowed=allowed,
            rank_by=rank_by,
            diversity=diversity,
            evidence=evidence,
            order=self.catalog.order,
        )

    def recommend(
        self,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
    ) -> pl.DataFrame:
        """Return the n best items of each user.

        Parameters
        ----------
        n : int, default 10
            The length of each list.
        exclude_seen : bool, default True
            Leave out items of the user's history, and low ratings that `to_events` did not turn into events.
        candidates : iterable of ids, optional
            Rank only these items.
        rank_by : {"mean", "lower", "upper"}, default "mean"
            Rank by the expected score, by the lower or by the upper end of its interval; the latter two need a model
            with a distribution.
        diversity : float, default 0.0
            From 0, the plain order, to 1, lists of items that are as different as possible.

        Returns
        -------
        pl.DataFrame
            Columns user (not for a new user), item, rank (from 1), score, answered_by, and title where titles are
            known. `answered_by` is "model", or "popularity" where the model has no evidence and the most popular
            unseen items complete the list with a score of 0. Fewer rows where fewer than n items are left.

        Raises
        ------
        UnknownIdError
            For an unknown candidate.
        KindError
            If the model cannot rank in this way.
        ParameterError
            For arguments out of range.
        """
        allowed = self.catalog.mask(candidates)
        rows, scores = self.rank(n, exclude_seen=exclude_seen, allowed=allowed, rank_by=rank_by, diversity=diversity)
        return self.frame(rows, scores)

    def frame(self, rows: Int32, scores: Float32) -> pl.DataFrame:
        """Return ranked lists as a frame; see `recommend` for the columns."""
        valid = rows >= 0
        columns: dict[str, Any] = {}
        if self.source == "model":
            columns["user"] = self.user_ids.ids(np.repeat(self.batch.rows, valid.sum(axis=1)))
        columns["item"] = self.catalog.items.ids(rows[valid])
        ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1, dtype=np.int32), rows.shape)
        columns["rank"], columns["score"] = ranks[valid], scores[valid]
        columns["answered_by"] = self.catalog.answered_by(self.model, rows[valid], scores[valid])
        return self.catalog.with_titles(pl.DataFrame(columns), rows[valid])

    # predicting

    def predict(self, items: Id | Iterable[Id], *, times: Any = None) -> Any:
        """Predict the rating of each user and item; see `Recommender.predict`.

        Parameters
        ----------
        items : id, or iterable of ids
            One item for all users; for one user, any number of items; for several users, one item for each.
        times : int or sequence of int, optional
            Seconds since 1970, one for all pairs or one for each.

        Returns
        -------
        float, or ndarray of shape (n,), float32
            A float for one user and one item.

        Raises
        ------
        DataError
            For ids of the wrong type and for another number of items than of users.
        """
        ids = id_series("items", items)
        rows = self.catalog.items.rows(ids)
        positions = np.zeros(len(rows), np.int64) if len(self) == 1 else np.arange(len(self))
        rows = np.repeat(rows, len(self)) if is_single(items) and len(self) > 1 else rows
        if len(rows) != len(positions):
            raise DataError(f"items must be one for each of {len(self):,} users, not {len(rows):,}")
        at = None if times is None else checks.seconds("times", times, len(rows))
        ratings: Float32 = self.model.predict(self.batch.take(positions, at), rows)
        return float(ratings[0]) if len(self) == 1 and is_single(items) else ratings

    # explaining

    def explanation(self, item: int) -> Explanation:
        """Return the terms of the score of one user and the item of this row number.

        Raises KindError for a model that does not explain its scores, ParameterError for more than one user.
        """
        if not isinstance(self.model, Explains):
            raise KindError("this model cannot explain its scores")
        with solvable():
            return self.model.explain(self.batch, item)

    def explain(self, item: Id) -> pl.DataFrame:
        """Return the terms that a score is the sum of; see `Recommender.explain` for the columns.

        Raises UnknownIdError for an unknown item; otherwise as `explanation`.
        """
        try:
            row = self.catalog.items.row(single_id("item", item))
        except UnknownIdError as unknown:
            raise UnknownIdError(f"item {unknown}") from None
        explanation = self.explanation(row)
        return told(
            explanation, self.user_ids, self.catalog.items, self.batch.histories.row(0), self.catalog.titles
        )  # fmt: skip
