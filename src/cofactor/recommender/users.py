"""User views: ranking, prediction and explanation for known users, and for new users from their histories.

`Recommender.for_users` and `Recommender.for_history` return a `UserView`. The library, the command line, the evaluator
and the service rank, predict and explain through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Float64, Int32, random_stream
from cofactor.checks import Seed
from cofactor.cold_start.questionnaire import Questionnaire
from cofactor.data.id_columns import Id, id_series, is_single
from cofactor.data.ids import IdMap
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import linalg_as_data_error
from cofactor.models.base import Explains, HasUncertainty, Model, PredictsRatings, ScoresItems
from cofactor.models.explanation import Explanation
from cofactor.models.rerank import rank_items
from cofactor.models.user_batch import UserBatch
from cofactor.recommender import frames
from cofactor.recommender.catalog import Catalog, vectors_method
from cofactor.recommender.exploration import (
    FEW_RATINGS,
    Impressions,
    Position,
    draw_positions,
    sampler,
    spread_new_items,
)
from cofactor.recommender.questions import Questions
from cofactor.recommender.updating import with_appended_users
from cofactor.results import AnsweredBy, RankBy, RecommendedItem

__all__ = ["UserView"]

TitleOf = Callable[[str, int], str | None]
"""Returns the title of an item from its id as text and its row."""


@dataclass(frozen=True, eq=False)
class UserView:
    """View of one or several users, known or new, with their current histories.

    Created by `Recommender.for_users` and `Recommender.for_history`.

    Parameters
    ----------
    catalog : Catalog
        The items with their titles, counts and evidence.
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
    trained : Model
        The trained model, which has the users of `user_ids`.

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
    model: ScoresItems
    batch: UserBatch
    exclude: SparseRows
    source: AnsweredBy
    user_ids: IdMap
    trained: Model

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
            The length of each list; it is limited to the number of items.
        exclude_seen : bool, default True
            Leave out `exclude`.
        allowed : ndarray of shape (n_items,), bool
            The items to rank; an empty array for all.
        rank_by : {"mean", "lower", "upper"}, default "mean"
            Rank by the expected score, by the lower or by the upper end of its interval; the latter two need a model
            with a distribution.
        diversity : float, default 0.0
            From 0, the order of the scores, to 1, lists of items that are as different as possible.

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
        return rank_items(
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
            From 0, the order of the scores, to 1, lists of items that are as different as possible.

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
        """Return ranked lists as a frame.

        Parameters
        ----------
        rows : ndarray of shape (n_users, n), int32
            Item rows, best first; -1 where a list ends.
        scores : ndarray of shape (n_users, n), float32
            Their scores.

        Returns
        -------
        pl.DataFrame
            See `recommend`.
        """
        valid = rows >= 0
        answered_by = self.catalog.answered_by(self.model, rows[valid], scores[valid])
        users = self._listed_users(rows)
        return frames.ranking(self.catalog, users, rows, score=scores, answered_by=answered_by)

    def recommended_items(
        self,
        n: int,
        *,
        allowed: Bool = ALL_ROWS,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
        explore: float = 0.0,
        stream: np.random.Generator | None = None,
        title_of: TitleOf | None = None,
    ) -> list[tuple[RecommendedItem, ...]]:
        """Return the n best items of each user as objects; the service answers with them.

        Parameters
        ----------
        n : int
            The length of each list.
        allowed : ndarray of shape (n_items,), bool
            The items to rank and to explore; an empty array for all.
        rank_by : {"mean", "lower", "upper"}, default "mean"
            See `rank`.
        diversity : float, default 0.0
            See `rank`.
        explore : float, default 0.0
            The probability of each position to go to an item with few ratings; see `exploration.draw_positions`.
        stream : numpy.random.Generator, optional
            For exploration; by default a new one with fresh entropy.
        title_of : callable, optional
            The title of an item; by default that of the item table.

        Returns
        -------
        list of tuple of RecommendedItem
            One tuple for each user, best first. Ids are text.
        """
        rows, scores = self.rank(n, allowed=allowed, rank_by=rank_by, diversity=diversity)
        valid = rows >= 0
        answered_by = iter(self.catalog.answered_by(self.model, rows[valid], scores[valid]))
        title_of = self.catalog.title_of if title_of is None else title_of
        few = self.catalog.support < FEW_RATINGS if explore > 0 else ALL_ROWS
        few = few & allowed if len(few) and len(allowed) else few
        stream = np.random.default_rng() if explore > 0 and stream is None else stream
        lists: list[tuple[RecommendedItem, ...]] = []
        for user, size in enumerate(valid.sum(axis=1).tolist()):
            own_rows, own_scores = rows[user, :size], scores[user, :size]
            sources = dict(zip(own_rows.tolist(), answered_by, strict=False))
            if stream is None or explore == 0:
                positions = [Position(*pair, False, 1.0) for pair in zip(sources, own_scores.tolist(), strict=True)]
            else:
                pool = few.copy()
                pool[self.exclude.row(user).columns] = False
                positions = draw_positions(own_rows, own_scores, np.flatnonzero(pool), n, explore, stream)
            ids = map(str, self.catalog.items.ids(np.array([position.row for position in positions], np.int32)))
            lists.append(
                tuple(
                    RecommendedItem(
                        item=item,
                        rank=rank,
                        score=position.score,
                        answered_by="exploration" if position.explored else sources[position.row],
                        title=title_of(item, position.row),
                        explored=position.explored,
                        propensity=position.propensity,
                    )
                    for rank, (item, position) in enumerate(zip(ids, positions, strict=True), start=1)
                )
            )
        return lists

    def explore(
        self,
        n: int = 10,
        *,
        share: float = 0.1,
        cap: int = 100,
        below: int = FEW_RATINGS,
        impressions: Impressions | None = None,
        seed: Seed = 0,
    ) -> pl.DataFrame:
        """Return the n best items of each user, with a share of all positions given to items with few ratings.

        Parameters
        ----------
        n : int, default 10
            The length of each list.
        share : float, default 0.1
            The expected share of explored positions, from 0 to 1.
        cap : int, default 100
            The largest number of positions that each new item gets in this call.
        below : int, default 5
            Items with fewer ratings are new; they get no other positions.
        impressions : Impressions, optional
            How often items were shown and clicked before.
        seed : int, Generator or None, default 0
            The same seed draws the same lists.

        Returns
        -------
        pl.DataFrame
            Columns user (not for a new user), item, rank (from 1), explored, and title where titles are known. A
            position for which no new item is left holds the next of the other items.

        Raises
        ------
        ParameterError
            For arguments out of range.

        Examples
        --------
        >>> import cofactor
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=200, n_ratings=900)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> lists = rec.for_users(rec.users.all).explore(n=10, share=0.2)
        >>> lists.columns, len(lists), round(lists["explored"].mean(), 2)
        (['user', 'item', 'rank', 'explored'], 600, 0.2)
        """
        share = checks.finite_number("share", share, low=0, high=1)
        cap, below = checks.whole_number("cap", cap, low=0), checks.whole_number("below", below, low=0)
        if impressions is not None:
            checks.instance("impressions", impressions, Impressions, "create them with Impressions(shown, clicked)")
            if len(impressions.shown) != self.catalog.n_items:
                n_items = len(impressions.shown)
                raise ParameterError(f"impressions must be of {self.catalog.n_items:,} items, not {n_items:,}")
        stream, is_known = random_stream(seed, "explore"), self.catalog.support >= below
        lists, explored = spread_new_items(
            self.rank(n, allowed=is_known)[0],
            np.flatnonzero(~is_known).astype(np.int32),
            self.exclude,
            share=share,
            cap=cap,
            sample=sampler(self.model, self.batch.rows, impressions),
            stream=stream,
        )
        return frames.ranking(self.catalog, self._listed_users(lists), lists, explored=explored)

    def _listed_users(self, rows: Int32) -> pl.Series | None:
        """Return the user of each listed item, or None for a new user."""
        if self.source != "model":
            return None
        return self.user_ids.ids(np.repeat(self.batch.rows, (rows >= 0).sum(axis=1)))

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
        model, batch, rows = self._pairs(items, times)
        if not isinstance(model, PredictsRatings):
            raise KindError("this model cannot predict ratings")
        ratings = model.predict(batch, rows)
        return float(ratings[0]) if len(self) == 1 and is_single(items) else ratings

    def _pairs(self, items: Id | Iterable[Id], times: Any) -> tuple[object, UserBatch, Int32]:
        """Return the model, the users of each pair, and the item rows; see `predict` for the arguments.

        For a user without a history or a prior, the trained model predicts as for an unknown user.
        """
        model: object = self.model
        batch = self.batch
        if self.source == "popularity":
            model = self.trained
            batch = UserBatch.trained(np.full(len(self), -1, np.int32), self.catalog.histories)
        ids = id_series("items", items)
        rows = self.catalog.items.rows(ids)
        positions = np.zeros(len(rows), np.int64) if len(self) == 1 else np.arange(len(self))
        rows = np.repeat(rows, len(self)) if is_single(items) and len(self) > 1 else rows
        if len(rows) != len(positions):
            raise DataError(f"items must be one for each of {len(self):,} users, not {len(rows):,}")
        seconds = None if times is None else checks.seconds("times", times, len(rows))
        return model, batch.take(positions, seconds), rows

    def interval(self, items: Id | Iterable[Id], *, confidence: float = 0.9) -> tuple[Float64, Float64]:
        """Return the interval of the rating of each user and item.

        Parameters
        ----------
        items : id, or iterable of ids
            One item for all users; for one user, any number of items; for several users, one item for each.
        confidence : float, default 0.9
            The probability with which the interval contains the rating.

        Returns
        -------
        low, high : ndarray of shape (n,), float64
            The ends of the intervals, in the units of the ratings.

        Raises
        ------
        KindError
            If the model has no predictive distributions.
        """
        model, batch, rows = self._pairs(items, None)
        if not isinstance(model, HasUncertainty):
            raise KindError("this model has no predictive distributions; fit one that does, such as bayesian-mf")
        low, high = model.distribution(batch, rows).interval(confidence)
        return low, high

    # explaining

    def explanation(self, item: int) -> Explanation:
        """Return the terms of the score of one user and one item, by row number.

        Parameters
        ----------
        item : int
            Item row.

        Returns
        -------
        Explanation
            The terms, which add up to the score.

        Raises
        ------
        KindError
            If the model cannot explain its scores.
        ParameterError
            If the view has more than one user.
        """
        if not isinstance(self.model, Explains):
            raise KindError("this model cannot explain its scores")
        with linalg_as_data_error():
            return self.model.explain(self.batch, item)

    def explain(self, item: Id) -> pl.DataFrame:
        """Return the terms that add up to the score of one user and one item.

        Parameters
        ----------
        item : id
            A known item.

        Returns
        -------
        pl.DataFrame
            See `Recommender.explain`.

        Raises
        ------
        UnknownIdError
            For an unknown item.
        KindError
            If the model cannot explain its scores.
        ParameterError
            If the view has more than one user.
        """
        explanation = self.explanation(self.catalog.item_row(item))
        return frames.explanation(explanation, self.user_ids, self.catalog, self.batch.histories.row(0))

    # neighbors

    def similar(self, n: int = 10) -> pl.DataFrame:
        """Return the known users whose taste is most similar to that of one user.

        Parameters
        ----------
        n : int, default 10
            The maximum number of users.

        Returns
        -------
        pl.DataFrame
            Columns user, rank (from 1) and score, a cosine from -1 to 1, or the similarity of a user-user model. No
            rows for a user without a history.

        Raises
        ------
        KindError
            If the model has no vectors of users.
        ParameterError
            For more than one user and for n below 1.
        """
        n = checks.whole_number("n", n, low=1)
        self._require_one_user()
        model, row = self.trained, int(self.batch.rows[0])
        n_users = len(self.user_ids)
        if self.source != "model":
            row = n_users
            model = with_appended_users(model, self.model)
        similar_users = vectors_method(model, "similar_users")
        if not len(self.batch.histories.columns):
            return frames.neighbors("user", self.user_ids, np.zeros(0, np.int32), np.zeros(0, np.float32))
        comparable = self.catalog.histories.counts > 0
        if self.source != "model":
            comparable = np.append(comparable, True)
        rows, scores = similar_users(np.array([row], np.int32), min(n, n_users), comparable)
        valid = (rows[0] >= 0) & (rows[0] != row)
        return frames.neighbors("user", self.user_ids, rows[0][valid], scores[0][valid])

    def _require_one_user(self) -> None:
        if len(self) != 1:
            raise ParameterError(f"this needs a view of one user, not of {len(self):,}")

    # questions

    def questions(self, *, seed: Seed = 0) -> Questions:
        """Return questions for this user, whose ratings count as answers.

        Parameters
        ----------
        seed : int, Generator or None, default 0
            Seed of the user clusters that the first question is based on.

        Returns
        -------
        Questions
            The questions; no question asks about an item of the user's history.

        Raises
        ------
        KindError
            If the model has no factors of ratings.
        ParameterError
            If the view has more than one user.

        Examples
        --------
        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> rec.for_history([("alien", 5), ("brazil", 4)]).questions().next_item()
        'clue'
        """
        self._require_one_user()
        history, population = self.batch.histories.row(0), self.catalog.population(checks.seed(seed))
        answers = tuple(float(value) for value in history.values)
        return Questions(self.catalog, Questionnaire(population, tuple(history.columns.tolist()), answers))
