"""User views: ranking, prediction and explanation for known users, and for new users based on their histories.

`Recommender.for_users` and `Recommender.for_history` return a `UserView`. The library, the command line, the evaluation
and the service all use it to rank, predict and explain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypedDict, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Float64, Int32, Int64, random_stream
from cofactor.checks import Seed
from cofactor.cold_start.questionnaire import Questionnaire
from cofactor.data.id_columns import Id, id_series, is_single, single_id
from cofactor.data.ids import IdMap
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import linalg_as_data_error
from cofactor.models.base import Explains, HasUncertainty, Model, PredictsRatings, ScoresItems
from cofactor.models.explanation import Explanation
from cofactor.models.paired import ranking_part, rating_part
from cofactor.models.removal import RemovalEffects, UserFit, item_scores, own_fold_in, removal_effects
from cofactor.models.rerank import rank_items
from cofactor.models.user_batch import UserBatch
from cofactor.recommender import frames
from cofactor.recommender.catalog import Catalog, known_rows, vectors_method
from cofactor.recommender.exploration import (
    NEW_ITEM_SUPPORT,
    Impressions,
    Position,
    draw_positions,
    sampler,
    spread_new_items,
)
from cofactor.recommender.questions import Questions
from cofactor.recommender.updating import with_appended_users
from cofactor.results import AnsweredBy, ExplanationMethod, ItemIndexName, RankBy, RecommendedItem

__all__ = ["ListOptions", "UserView"]

NO_ITEMS = np.zeros(0, np.int32)

TitleOf = Callable[[str, int], str | None]
"""Function that returns the title of an item, given its ID as a string and its row number."""


class ListOptions(TypedDict, total=False):
    """Keyword arguments of `UserView.recommend`."""

    exclude_seen: bool
    candidates: Iterable[Id] | None
    exclude: Iterable[Id] | None
    min_support: int
    where: str | None
    rank_by: RankBy
    diversity: float


@dataclass(frozen=True, eq=False)
class UserView:
    """View of one or more known or new users with their current histories.

    Created by `Recommender.for_users` and `Recommender.for_history`.

    Parameters
    ----------
    catalog : Catalog
        Items with their titles, rating counts and evidence.
    model : Model
        Model that contains these users; for new users, the model into which they were folded.
    batch : UserBatch
        Users with their histories.
    exclude : SparseRows
        One row per user, with the items that are excluded from lists because the user has seen them.
    source : {"model", "fold-in", "prior", "popularity"}
        Basis of the answers; "popularity" for a new user without a history or a prior.
    user_ids : IdMap
        IDs of the users in the trained model.
    trained_model : Model
        Trained model, which contains the users in `user_ids`.
    predicts_as_unknown : bool, default False
        Whether ratings are predicted by the trained model as for an unknown user, because the user has no history and
        the model that predicts ratings has no prior.
    fold_in : callable, optional
        Function that folds in histories of a single user with the priors for new users; None without priors.

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
    trained_model: Model
    predicts_as_unknown: bool = False
    fold_in: UserFit | None = None

    def __len__(self) -> int:
        return len(self.batch)

    # ranking

    @property
    def item_index(self) -> ItemIndexName | None:
        """Index of items that `rank` uses: "clusters" for the factor models of large catalogs, or None."""
        index: ItemIndexName | None = getattr(ranking_part(self.model, self.batch)[0], "item_index", None)
        return index

    def rank(
        self,
        n: int,
        *,
        exclude_seen: bool = True,
        allowed: Bool = ALL_ROWS,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
    ) -> tuple[Int32, Float32]:
        """Return the row numbers and scores of the top n items for each user.

        All lists in the library, the command line, the evaluation and the service come from this method.

        Parameters
        ----------
        n : int
            Length of each list; it is limited to the number of items.
        exclude_seen : bool, default True
            Whether to exclude the items in `exclude`.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank; an empty array for all.
        rank_by : {"mean", "lower", "upper"}, default "mean"
            Rank by the expected score, or by the lower or upper end of its interval, which requires a model with a
            predictive distribution.
        diversity : float, default 0.0
            Diversity of the lists, from 0 (order by score) to 1 (items that are as different as possible).

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers, best first; padded with -1.
        scores : ndarray of shape (n_users, n), float32
            Scores of the items; padded with -inf.

        Raises
        ------
        ParameterError
            If an argument is out of range.
        KindError
            If the model does not support this kind of ranking.
        """
        n = checks.whole_number("n", n, low=1)
        allowed = checks.mask("allowed", allowed, self.catalog.n_items, optional=True)
        checks.flag("exclude_seen", exclude_seen)
        exclude = self.exclude if exclude_seen else SparseRows.empty(len(self))
        evidence = ALL_ROWS if self.catalog.evidence is None else self.catalog.evidence
        return rank_items(
            *ranking_part(self.model, self.batch),
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
        exclude: Iterable[Id] | None = None,
        min_support: int = 0,
        where: str | None = None,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
    ) -> pl.DataFrame:
        """Return the top n items for each user.

        Parameters
        ----------
        n : int, default 10
            Length of each list.
        exclude_seen : bool, default True
            Whether to exclude items in the user's history, and items with low ratings that `to_events` did not convert
            to events.
        candidates : iterable of IDs, optional
            Rank only these items.
        exclude : iterable of IDs, optional
            Items that are not listed, in addition to those that the user has seen; unknown IDs have no effect.
        min_support : int, default 0
            Minimum number of ratings or events of a listed item.
        where : str, optional
            Filter expression over the columns of the item table, such as `year >= 1990 and genre contains "Drama"`; see
            `cofactor.data.where`.
        rank_by : {"mean", "lower", "upper"}, default "mean"
            Rank by the expected score, or by the lower or upper end of its interval, which requires a model with a
            predictive distribution.
        diversity : float, default 0.0
            Diversity of the lists, from 0 (order by score) to 1 (items that are as different as possible).

        Returns
        -------
        pl.DataFrame
            Columns user (not for a new user), item, rank (from 1), score, prediction, support, answered_by, and title
            if titles are available. `prediction` is the predicted rating as in `predict`, null for a model of events.
            `support` is the number of ratings or events of the item. `answered_by` is "model", or "popularity" for the
            most popular unseen items, which complete the list with a score of 0 if the model has no evidence. Fewer
            rows if fewer than n items are left.

        Raises
        ------
        UnknownIdError
            If a candidate is unknown.
        KindError
            If the model does not support this kind of ranking.
        ParameterError
            If an argument is out of range, or if `where` is invalid or does not match the item table.

        Examples
        --------
        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> ratings = ratings.with_item_table({"item": ["alien", "brazil", "clue"], "year": [1979, 1985, 1985]})
        >>> new_user = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings).for_history({"clue": 4})
        >>> new_user.recommend(where="year between 1980 and 1989").select("item", "support").rows()
        [('brazil', 2)]
        >>> len(new_user.recommend(min_support=2, exclude=["alien", "brazil"]))
        0
        """
        allowed = self.catalog.candidate_mask(candidates)
        excluded = NO_ITEMS if exclude is None else self.catalog.items.rows(id_series("exclude", exclude))
        allowed = self.catalog.filter_mask(allowed, excluded, min_support=min_support, where=where)
        rows, scores = self.rank(n, exclude_seen=exclude_seen, allowed=allowed, rank_by=rank_by, diversity=diversity)
        return self.frame(rows, scores)

    def frame(self, rows: Int32, scores: Float32) -> pl.DataFrame:
        """Convert ranked lists to a data frame.

        Parameters
        ----------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers, best first; padded with -1.
        scores : ndarray of shape (n_users, n), float32
            Scores of the items.

        Returns
        -------
        pl.DataFrame
            Ranked lists; see `recommend`.
        """
        is_item = rows >= 0
        columns = {
            "score": scores,
            "prediction": self._predicted(np.repeat(np.arange(len(self)), is_item.sum(axis=1)), rows[is_item]),
            "support": self.catalog.support[rows],
            "answered_by": self.catalog.answered_by(self.model, rows[is_item], scores[is_item]),
        }
        return frames.ranking(self.catalog, self._listed_users(rows), rows, **columns)

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
        """Return the top n items for each user as `RecommendedItem` objects, for the service.

        Parameters
        ----------
        n : int
            Length of each list.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank and to explore; an empty array for all.
        rank_by : {"mean", "lower", "upper"}, default "mean"
            See `rank`.
        diversity : float, default 0.0
            See `rank`.
        explore : float, default 0.0
            Probability that a position goes to an item with few ratings; see `exploration.draw_positions`.
        stream : numpy.random.Generator, optional
            Random generator for exploration; by default, a new one with fresh entropy.
        title_of : callable, optional
            Function that returns the title of an item; by default, titles come from the item table.

        Returns
        -------
        list of tuple of RecommendedItem
            One tuple per user, best first. IDs are strings.
        """
        rows, scores = self.rank(n, allowed=allowed, rank_by=rank_by, diversity=diversity)
        is_item = rows >= 0
        answered_by = iter(self.catalog.answered_by(self.model, rows[is_item], scores[is_item]))
        title_of = self.catalog.title_of if title_of is None else title_of
        has_few_ratings = self.catalog.support < NEW_ITEM_SUPPORT if explore > 0 else ALL_ROWS
        has_few_ratings = has_few_ratings & allowed if len(has_few_ratings) and len(allowed) else has_few_ratings
        stream = np.random.default_rng() if explore > 0 and stream is None else stream
        lists: list[tuple[RecommendedItem, ...]] = []
        for user, size in enumerate(is_item.sum(axis=1).tolist()):
            ranked_rows, ranked_scores = rows[user, :size], scores[user, :size]
            sources = dict(zip(ranked_rows.tolist(), answered_by, strict=False))
            if stream is None or explore == 0:
                positions = [Position(*pair, False, 1.0) for pair in zip(sources, ranked_scores.tolist(), strict=True)]
            else:
                pool = has_few_ratings.copy()
                pool[self.exclude.row(user).columns] = False
                positions = draw_positions(ranked_rows, ranked_scores, np.flatnonzero(pool), n, explore, stream)
            listed_rows = np.array([position.row for position in positions], np.int32)
            ids = map(str, self.catalog.items.ids(listed_rows))
            predictions = self._predicted(np.full(len(positions), user), listed_rows)
            lists.append(
                tuple(
                    RecommendedItem(
                        item=item,
                        rank=rank,
                        score=position.score,
                        prediction=prediction,
                        support=int(self.catalog.support[position.row]),
                        answered_by="exploration" if position.explored else sources[position.row],
                        title=title_of(item, position.row),
                        explored=position.explored,
                        propensity=position.propensity,
                    )
                    for rank, (item, position, prediction) in enumerate(
                        zip(ids, positions, predictions, strict=True), start=1
                    )
                )
            )
        return lists

    def explore(
        self,
        n: int = 10,
        *,
        share: float = 0.1,
        cap: int = 100,
        min_ratings: int = NEW_ITEM_SUPPORT,
        impressions: Impressions | None = None,
        seed: Seed = 0,
    ) -> pl.DataFrame:
        """Return the top n items for each user, with a fraction of all positions assigned to items with few ratings.

        Parameters
        ----------
        n : int, default 10
            Length of each list.
        share : float, default 0.1
            Expected fraction of the positions that are filled by exploration, from 0 to 1.
        cap : int, default 100
            Maximum number of positions for each new item in this call.
        min_ratings : int, default 5
            Items with fewer ratings count as new and are shown only in explored positions.
        impressions : Impressions, optional
            Number of previous impressions and clicks for each item.
        seed : int, Generator or None, default 0
            Seed for the draws; the same seed gives the same lists.

        Returns
        -------
        pl.DataFrame
            Columns user (not for a new user), item, rank (from 1), explored, and title if titles are available. If no
            new item is left for a position, it gets the next item in the ranking.

        Raises
        ------
        ParameterError
            If an argument is out of range.

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
        cap = checks.whole_number("cap", cap, low=0)
        min_ratings = checks.whole_number("min_ratings", min_ratings, low=0)
        if impressions is not None:
            checks.instance("impressions", impressions, Impressions, "create them with Impressions(n_shown, n_clicked)")
            if len(impressions.n_shown) != self.catalog.n_items:
                n_items = len(impressions.n_shown)
                raise ParameterError(
                    f"impressions must have one entry per item, {self.catalog.n_items:,} in total; got {n_items:,}"
                )
        stream, is_known = random_stream(seed, "explore"), self.catalog.support >= min_ratings
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
        """Return the user ID for each listed item, or None for a new user."""
        if self.source != "model":
            return None
        return self.user_ids.ids(np.repeat(self.batch.rows, (rows >= 0).sum(axis=1)))

    # predicting

    def predict(self, items: Id | Iterable[Id], *, times: Any = None) -> Any:
        """Predict the rating for each user-item pair; see `Recommender.predict`.

        Parameters
        ----------
        items : ID, or iterable of IDs
            One item for all users; any number of items for a single user; or one item per user.
        times : int or sequence of int, optional
            Seconds since the Unix epoch: one value for all pairs, or one per pair.

        Returns
        -------
        float, or ndarray of shape (n,), float32
            Predicted ratings; a float for one user and one item.

        Raises
        ------
        DataError
            If an ID has the wrong type, or if the numbers of users and items differ.
        """
        model, batch, rows = self._pairs(items, times)
        if not isinstance(model, PredictsRatings):
            raise KindError("this model cannot predict ratings")
        ratings = model.predict(batch, rows)
        return float(ratings[0]) if len(self) == 1 and is_single(items) else ratings

    def _rating_part(self) -> tuple[object, UserBatch]:
        """Return the model that predicts ratings, and its users.

        For a user without a history or a prior, the trained model makes the prediction for an unknown user.
        """
        if self.predicts_as_unknown:
            unknown_users = UserBatch.trained(np.full(len(self), -1, np.int32), self.catalog.histories)
            return rating_part(self.trained_model), unknown_users
        return rating_part(self.model), self.batch

    def _predicted(self, users: Int64, items: Int32) -> pl.Series:
        """Return predicted ratings of user-item pairs, or null without ratings; `users` are positions in the view."""
        model, batch = self._rating_part()
        if self.catalog.scale is None or not isinstance(model, PredictsRatings):
            return pl.Series("prediction", [None], dtype=pl.Float32).new_from_index(0, len(items))
        return pl.Series("prediction", model.predict(batch.take(users), items))

    def _pairs(self, items: Id | Iterable[Id], times: Any) -> tuple[object, UserBatch, Int32]:
        """Return the model, the user of each pair, and the item row numbers; see `predict` for the arguments."""
        model, batch = self._rating_part()
        ids = [single_id("items", items)] if is_single(items) else id_series("items", items)
        rows = self.catalog.items.rows(ids)
        positions = np.zeros(len(rows), np.int64) if len(self) == 1 else np.arange(len(self))
        rows = np.repeat(rows, len(self)) if is_single(items) and len(self) > 1 else rows
        if len(rows) != len(positions):
            raise DataError(f"items must contain one item for each of the {len(self):,} users; got {len(rows):,}")
        seconds = None if times is None else checks.seconds("times", times, len(rows))
        return model, batch.take(positions, seconds), rows

    def interval(self, items: Id | Iterable[Id], *, confidence: float = 0.9) -> tuple[Float64, Float64]:
        """Return the prediction interval for each user-item pair.

        Parameters
        ----------
        items : ID, or iterable of IDs
            One item for all users; any number of items for a single user; or one item per user.
        confidence : float, default 0.9
            Probability that the interval contains the rating.

        Returns
        -------
        low, high : ndarray of shape (n,), float64
            Lower and upper ends of the intervals, in rating units.

        Raises
        ------
        KindError
            If the model has no predictive distributions.
        """
        model, batch, rows = self._pairs(items, None)
        if not isinstance(model, HasUncertainty):
            raise KindError(
                "this model has no predictive distributions; fit a model that has them, such as bayesian-mf"
            )
        low, high = model.distribution(batch, rows).interval(confidence)
        return low, high

    # explaining

    def explanation(self, item: int) -> Explanation:
        """Return the contributions that add up to the score of a user-item pair, given the row number of the item.

        Parameters
        ----------
        item : int
            Row number of the item.

        Returns
        -------
        Explanation
            Terms that add up to the score.

        Raises
        ------
        KindError
            If the model cannot explain its scores.
        ParameterError
            If the view contains more than one user.
        """
        model, batch = ranking_part(self.model, self.batch)
        if not isinstance(model, Explains):
            raise KindError("this model cannot explain its scores")
        with linalg_as_data_error():
            return model.explain(batch, item)

    def score(self, item: Id) -> float:
        """Return the ranking score of an item for the user, before clipping to the rating scale.

        Parameters
        ----------
        item : ID
            Known item.

        Returns
        -------
        float
            Score.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        ParameterError
            If the view contains more than one user.
        """
        self._require_one_user()
        row = np.array([self.catalog.item_row(item)], np.int32)
        return float(item_scores(*ranking_part(self.model, self.batch), row)[0, 0])

    def removal_effects(self, items: Int32) -> RemovalEffects:
        """Return the effects of removing each row of the user's history on the scores of items.

        Parameters
        ----------
        items : ndarray of shape (n_items,), int32
            Row numbers of the items.

        Returns
        -------
        RemovalEffects
            Effects; see `models.removal`.

        Raises
        ------
        KindError
            If the model cannot fold in users.
        ParameterError
            If the view contains more than one user.
        """
        model, batch = ranking_part(self.model, self.batch)
        with linalg_as_data_error():
            if self.source != "model":
                return removal_effects(model, batch, items, fold_in=self.fold_in)
            fold_in = own_fold_in(model, batch, self.fold_in)
            response = self.catalog.item_response if fold_in is None else None
            return removal_effects(model, batch, items, fold_in=fold_in, item_response=response)

    def explain(self, item: Id | Iterable[Id], *, method: ExplanationMethod = "removal") -> pl.DataFrame:
        """Explain the score of a user-item pair by the items in the user's history.

        Parameters
        ----------
        item : ID, or iterable of IDs
            Known items.
        method : {"removal", "contribution"}, default "removal"
            Effects of removing each item in the history on the score, or their contributions to the score.

        Returns
        -------
        pl.DataFrame
            Effects or contributions; see `Recommender.explain`.

        Raises
        ------
        UnknownIdError
            If an item is unknown.
        KindError
            If the model cannot explain its scores.
        ParameterError
            If the method is unknown, or if the view contains more than one user.
        """
        checks.choice("method", method, get_args(ExplanationMethod))
        is_single_item = is_single(item)
        ids = pl.Series([single_id("item", item)]) if is_single_item else id_series("item", item)
        rows = known_rows(self.catalog.items, ids, "item")
        history = self.batch.histories.row(0)
        if method == "removal":
            tables = frames.removal_effects(self.removal_effects(rows), self.catalog, history)
        else:
            explanations = map(self.explanation, rows.tolist())
            tables = [frames.explanation(terms, self.user_ids, self.catalog, history) for terms in explanations]
        if is_single_item:
            return tables[0]
        ids = self.catalog.items.ids(rows)
        return pl.concat([
            table.insert_column(0, ids[n : n + 1].alias("explained_item").new_from_index(0, len(table)))
            for n, table in enumerate(tables)
        ])  # fmt: skip

    # neighbors

    def similar(self, n: int = 10) -> pl.DataFrame:
        """Return the known users with the most similar taste to the user.

        Parameters
        ----------
        n : int, default 10
            Maximum number of users.

        Returns
        -------
        pl.DataFrame
            Columns user, rank (from 1) and score, which is a cosine similarity from -1 to 1, or the model's own
            similarity for a user-user model. Empty for a user without a history.

        Raises
        ------
        KindError
            If the model has no user vectors or similarities.
        ParameterError
            If the view contains more than one user, or if n is below 1.
        """
        n = checks.whole_number("n", n, low=1)
        self._require_one_user()
        model, row = self.trained_model, int(self.batch.rows[0])
        n_users = len(self.user_ids)
        if self.source != "model":
            row = n_users
            model = with_appended_users(model, self.model)
        similar_users = vectors_method(model, "similar_users")
        if not len(ranking_part(self.model, self.batch)[1].histories.columns):
            return frames.neighbors("user", self.user_ids, np.zeros(0, np.int32), np.zeros(0, np.float32))
        has_history = self.catalog.ranking_histories.counts > 0
        if self.source != "model":
            has_history = np.append(has_history, True)
        rows, scores = similar_users(np.array([row], np.int32), min(n, n_users), has_history)
        is_item = (rows[0] >= 0) & (rows[0] != row)
        return frames.neighbors("user", self.user_ids, rows[0][is_item], scores[0][is_item])

    def _require_one_user(self) -> None:
        if len(self) != 1:
            raise ParameterError(f"this method requires a view of exactly one user; got {len(self):,}")

    # questions

    def questions(self, *, seed: Seed = 0) -> Questions:
        """Return a questionnaire for the user, with the ratings in their history as answers.

        Parameters
        ----------
        seed : int, Generator or None, default 0
            Seed for the user clusters on which the questions are based.

        Returns
        -------
        Questions
            Questions; items in the user's history are not asked about.

        Raises
        ------
        KindError
            If the model has no rating factors.
        ParameterError
            If the view contains more than one user.

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
