"""Recommender: a fitted model with IDs, histories and tables; it maps between IDs and row numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, cast, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Int32, Int64
from cofactor.checks import Seed
from cofactor.cold_start.priors import default_priors, learn_priors, supports_priors
from cofactor.data.id_columns import Id, id_series, is_single, single_id
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind, require_interactions
from cofactor.data.readers.frame_table import ArrowFrame
from cofactor.data.readers.read import read_events, read_ratings
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError
from cofactor.estimators.base import Estimator, item_evidence, require_estimator
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.sparse import SparseRows, merge_latest
from cofactor.metrics.model_lists import ModelLists
from cofactor.models.arguments import require_histories
from cofactor.models.base import Model, PredictsRatings, ScoresItems
from cofactor.models.paired import ranking_part
from cofactor.models.prior import Priors
from cofactor.models.user_batch import UserBatch
from cofactor.recommender import frames, persistence
from cofactor.recommender.catalog import Catalog, known_rows
from cofactor.recommender.updating import (
    TrainedItems,
    add_items,
    check_ratings,
    differing_rows,
    extend_table,
    feature_table,
    fold_in,
    fold_in_of_user,
    history_row,
    initialize_cold_items,
    initialize_cold_users,
    merge_ratings,
    model_histories,
    new_item_table,
    replace_rows,
    replace_users,
    source_without_history,
    starts_from_prior,
    table_rows,
)
from cofactor.recommender.users import ListOptions, UserView
from cofactor.results import AnsweredBy, ExplanationMethod, RankBy, SelectionTrial
from cofactor.validation import validated

__all__ = ["Recommender", "require_recommender"]


@dataclass(frozen=True, eq=False)
class Recommender:
    """Fitted model with the IDs, histories and tables of its users and items.

    Created by `fit` and `load`. Immutable; `updated` and `with_items` return a new recommender.

    Parameters
    ----------
    model : Model
        Fitted model, which works with row numbers. A `PairedModel` ranks items with one model, and predicts ratings
        with another one.
    users, items : IdMap
        IDs of the rows.
    histories : SparseRows
        Histories that the model was trained on: one row of item row numbers per user, with times if the model uses the
        order of a history.
    kind : {"ratings", "events"}
        Kind of data that the model was trained on.
    estimator : Estimator, optional
        Estimator that fitted the model.
    user_table, item_table : pl.DataFrame, optional
        Features in row order, with the IDs in the first column.
    priors : Priors, optional
        Priors for new users and new items; see `with_priors`. If None, a model of ratings learns a prior for new users
        when the first of them is folded in; `Priors()` is no prior.
    seen : SparseRows, optional
        Items that each user has seen without liking them. They are not recommended and not used for training.
    scale : Scale, optional
        Rating scale that new ratings must be on; None for events.
    evidence : ndarray of shape (n_items,), bool, optional
        Mask of the items for which the model has evidence from ratings, features or a prior; None for all. The model
        does not rank other items, and they are not similar to any item.
    trials : tuple of SelectionTrial, default ()
        What automatic selection tried, if `cofactor.fit` chose the estimator.
    seed : int, optional
        Seed of the fit.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> rec
    Recommender(Bias(damping=5.0), 2 users, 2 items)
    >>> rec.recommend("bo", n=1)["item"].to_list()
    ['brazil']
    """

    model: Model
    users: IdMap
    items: IdMap
    histories: SparseRows
    kind: Kind
    estimator: Estimator | None = None
    user_table: pl.DataFrame | None = None
    item_table: pl.DataFrame | None = None
    priors: Priors | None = None
    seen: SparseRows | None = None
    scale: Scale | None = None
    evidence: Bool | None = None
    trials: tuple[SelectionTrial, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            checks.instance(name, getattr(self, name), IdMap, "create one with IdMap.of(ids)")
        checks.choice("kind", self.kind, get_args(Kind))
        if self.seed is not None:
            checks.seed(self.seed)
        n_users, n_items = len(self.users), len(self.items)
        require_histories(self.histories, n_items, n_rows=n_users)
        if self.seen is not None:
            require_histories(self.seen, n_items, n_rows=n_users, name="seen")
        if self.evidence is not None:
            checks.mask("evidence", self.evidence, n_items)
        for name, n in (("users", n_users), ("items", n_items)):
            if (model_size := getattr(self.model, f"n_{name}", n)) != n:
                raise DataError(f"model must have {n:,} {name}, one per ID; got {model_size:,}")

    @classmethod
    @validated
    def fit(
        cls,
        estimator: Estimator,
        interactions: TableLike | ArrowFrame,
        *,
        seed: Seed = 0,
        validation: Interactions | None = None,
        init_model: Recommender | None = None,
        callback: EpochCallback | None = None,
    ) -> Recommender:
        """Fit a model and combine it with the IDs, histories and tables of the training data.

        Parameters
        ----------
        estimator : Estimator
            Estimator to fit.
        interactions : Interactions, data frame or CSR matrix
            Training table. A frame (polars, pandas, pyarrow, duckdb) is read by `cofactor.read_events` if the estimator
            accepts only events, else by `cofactor.read_ratings`. The IDs of a matrix are its row and column numbers.
        seed : int, Generator or None, default 0
            Seed for the fit; the same integer gives bit-identical results. See `Estimator.fit`.
        validation : Interactions, optional
            Held-out rows with the same IDs as `interactions`, for early stopping.
        init_model : Recommender, optional
            Recommender with the same IDs from which to continue training.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        Recommender
            Fitted recommender.

        Raises
        ------
        KindError
            If a table is of the wrong kind.
        DataError
            If the table cannot be read or has no rows, or if the IDs of `init_model` or `validation` differ.
        ParameterError
            If `estimator` is not an estimator, or if the shape of `init_model` does not match.
        DivergedError
            If the fit diverges.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
        >>> losses = []
        >>> model = cofactor.BiasedMF(factors=2, epochs=3)
        >>> rec = cofactor.Recommender.fit(model, ratings, callback=lambda epoch: losses.append(epoch.loss))
        >>> len(losses), losses[2] < losses[0]
        (3, True)
        """
        read = read_events if require_estimator(estimator).kind == "events" else read_ratings
        table = estimator.check_table(read(interactions) if isinstance(interactions, ArrowFrame) else interactions)
        if init_model is not None and not (
            init_model.users.equals(table.users) and init_model.items.equals(table.items)
        ):
            raise DataError(
                "init_model must have the same users and items as the table; to fit other users or items, omit it"
            )
        seed = checks.seed(seed)
        model = estimator.fit(
            table,
            seed=seed,
            validation=validation,
            init_model=None if init_model is None else init_model.model,
            callback=callback,
        )
        return cls(
            model,
            table.users,
            table.items,
            model_histories(model, table),
            table.kind,
            estimator,
            table.user_table,
            table.item_table,
            seen=None if table.seen is None else table.seen.by_user,
            scale=table.scale,
            evidence=item_evidence(estimator, table),
            seed=seed,
        )

    def __repr__(self) -> str:
        return f"Recommender({self.estimator!r}, {len(self.users):,} users, {len(self.items):,} items)"

    @cached_property
    def catalog(self) -> Catalog:
        """Items with their titles, rating counts and evidence."""
        return Catalog(self.items, self.histories, self.item_table, self.evidence, self.model, self.scale)

    @property
    def support(self) -> Int64:
        """Number of ratings or events for each item: ndarray of shape (n_items,), int64."""
        return self.catalog.support

    @cached_property
    def excluded(self) -> SparseRows:
        """Items excluded from each user's recommendations, because of the user's history or `seen`: n_users rows."""
        return self.histories if self.seen is None else merge_latest(self.histories, self.seen)

    def for_users(self, users: Id | Iterable[Id] | pl.Series) -> UserView:
        """Return a view of known users, for ranking, prediction and explanation.

        Parameters
        ----------
        users : ID, or iterable of IDs
            Known users.

        Returns
        -------
        UserView
            View of the users, in the order of `users`.

        Raises
        ------
        UnknownIdError
            If a user is unknown; for a new user, call `for_history`.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).for_users("ana").recommend()["item"].to_list()
        ['clue']
        """
        return self.for_rows(self.user_rows(users))

    def for_rows(self, rows: Int32) -> UserView:
        """Return a view of known users, given their row numbers.

        Parameters
        ----------
        rows : ndarray of shape (n,), int32
            User row numbers.

        Returns
        -------
        UserView
            View of the users, in the order of `rows`.

        Raises
        ------
        ParameterError
            If a row number is out of range.
        """
        rows = checks.row_numbers("rows", rows, len(self.users))
        return self._view(self.model, self.batch(rows), self.excluded.take(rows), "model")

    def for_history(
        self,
        history: Mapping[Id, float] | Iterable[tuple[Id, float]] | Iterable[Id],
        *,
        user_features: Mapping[str, Any] | None = None,
    ) -> UserView:
        """Return a view of a new user, who is folded in from a history; nothing is retrained or stored.

        Parameters
        ----------
        history : mapping, iterable of (item, value) pairs, or iterable of items
            Ratings of items; for a model of events, items or (item, count) pairs, with a negative count for a dislike.
            The items are in chronological order, the latest last, which sequential models use. With an empty history,
            items are ranked by item biases or a prior if available, else by popularity.
        user_features : mapping, optional
            Mapping from columns of the user table to values, if priors were learned from them.

        Returns
        -------
        UserView
            View of the new user.

        Raises
        ------
        DataError
            If the history is invalid, or if a rating is not on the scale.
        UnknownIdError
            If an item is unknown.
        KindError
            If the model cannot fold in new users.

        Examples
        --------
        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> rec.for_history([("alien", 5)]).recommend(n=2).select("item", "rank").rows()
        [('brazil', 1), ('clue', 2)]
        """
        rows = history_row(history, self.items, self.kind, self.scale)
        return self.for_histories(rows, feature_table(user_features, self.priors))

    def for_histories(self, histories: SparseRows, table: pl.DataFrame | None = None) -> UserView:
        """Return a view of new users, who are folded in from histories with item row numbers.

        Parameters
        ----------
        histories : SparseRows
            One row of item row numbers for each new user.
        table : pl.DataFrame, optional
            One row for each new user, with the columns from which the prior was learned.

        Returns
        -------
        UserView
            View of the users, in the order of `histories`.

        Raises
        ------
        KindError
            If the model cannot fold in new users.
        DataError
            If the histories do not match the model, or the table does not match the prior.
        """
        model = self.folded_in(histories, table)
        source = "fold-in" if len(histories.columns) else source_without_history(self.new_user_priors)
        view = self._view(model, UserBatch.folded(histories), histories, source, table)
        is_unknown = not len(histories.columns) and not starts_from_prior(self.model, self.new_user_priors)
        return replace(view, predicts_as_unknown=is_unknown)

    def for_known_and_new(self, rows: Int32, histories: SparseRows, table: pl.DataFrame | None = None) -> UserView:
        """Return a view of known users, given by row number, and of new users, who are folded in.

        Parameters
        ----------
        rows : ndarray of shape (n_users,), int32
            Row numbers of known users; -1 for the users in `histories`, in order.
        histories : SparseRows
            History of each user who is folded in.
        table : pl.DataFrame, optional
            One row for each user who is folded in, with the columns from which the prior was learned.

        Returns
        -------
        UserView
            View of the users, in the order of `rows`.

        Raises
        ------
        KindError
            If the model cannot fold in new users.
        ParameterError
            If a row number is out of range.
        """
        rows = checks.row_numbers("rows", rows, len(self.users), unknown=True)
        require_histories(histories, len(self.items), n_rows=int((rows < 0).sum()))
        model = replace_users(self.model, self.new_user_priors, rows, histories, table)
        batch = UserBatch.folded(replace_rows(self.histories, rows, histories))
        table = table if len(histories) == len(rows) else None
        return self._view(model, batch, replace_rows(self.excluded, rows, histories), "fold-in", table)

    def _view(
        self, model: Model, batch: UserBatch, exclude: SparseRows, source: AnsweredBy, table: pl.DataFrame | None = None
    ) -> UserView:
        fold_in = fold_in_of_user(self.priors if source == "model" else self.new_user_priors, model, batch, table)
        ranker = cast("ScoresItems", model)
        return UserView(self.catalog, ranker, batch, exclude, source, self.users, self.model, fold_in=fold_in)

    def batch(self, rows: Int32, times: Any = None) -> UserBatch:
        """Return a batch of users, given by row number, with their histories, for use as model input.

        Parameters
        ----------
        rows : ndarray of shape (n,), int32
            User row numbers; -1 for an unknown user.
        times : sequence of int, optional
            Seconds since the Unix epoch, one value per row.

        Returns
        -------
        UserBatch
            Users, in the order of `rows`.

        Examples
        --------
        >>> import cofactor, numpy as np
        >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).batch(np.int32([1, 0])).histories.counts.tolist()
        [1, 2]
        """
        return UserBatch.trained(rows, self.histories, times)

    def ranked_lists(
        self, rows: Int32, ks: Sequence[int], relevant: SparseRows, *, exclude: SparseRows | None = None
    ) -> ModelLists:
        """Return ranked lists of unseen items, including ties, for ranking metrics.

        Parameters
        ----------
        rows : ndarray of shape (n,), int32
            User row numbers.
        ks : sequence of int
            List lengths.
        relevant : SparseRows
            Test items of each user: n rows.
        exclude : SparseRows, optional
            Items to exclude from the list of each user: n rows; by default all items that the user has seen.

        Returns
        -------
        ModelLists
            Ranked lists, in the order of `rows`.

        Examples
        --------
        >>> import cofactor, numpy as np
        >>> events = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "heat", "clue"], kind="events")
        >>> rec = cofactor.Recommender.fit(cofactor.Popularity(), events)
        >>> test = SparseRows.of([0], [0], [1], 1)  # the test item of bo is alien, which is as popular as heat
        >>> rec.ranked_lists(np.array([1], np.int32), [1], test).hits.size.tolist()
        [2]
        """
        rows = checks.row_numbers("rows", rows, len(self.users))
        ks = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH)
        require_histories(relevant, len(self.items), n_rows=len(rows), name="relevant")
        exclude = self.excluded.take(rows) if exclude is None else exclude
        require_histories(exclude, len(self.items), n_rows=len(rows), name="exclude")
        return ModelLists.of(
            *ranking_part(self.model, self.batch(rows)),
            ks,
            exclude=exclude,
            relevant=relevant,
            evidence=ALL_ROWS if self.evidence is None else self.evidence,
            support=self.catalog.popularity,
        )

    def recommend(
        self,
        users: Id | Iterable[Id] | pl.Series,
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
        """Return the top n items for one or more users.

        Parameters
        ----------
        users : ID, or iterable of IDs
            Known users; for a new user, call `for_history`.
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
            Columns user, item, rank (from 1), score, prediction, support, answered_by, and title if titles are
            available. Items are ranked by the score, which is not clipped to the rating scale; prediction is the
            predicted rating as in `predict`, null for a model of events; support is the number of ratings or events of
            the item.

        Raises
        ------
        UnknownIdError
            If a user or a candidate is unknown.
        KindError
            If the model does not support this kind of ranking.
        ParameterError
            If an argument is out of range, or if `where` is invalid or does not match the item table.

        Examples
        --------
        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
        >>> rec.recommend("cy").select("user", "item", "rank").rows()
        [('cy', 'alien', 1), ('cy', 'clue', 2)]
        >>> rec.recommend(["bo", "cy"], candidates=["clue"])["user"].to_list()  # bo has rated it
        ['cy']
        """
        return self.for_users(users).recommend(
            n,
            exclude_seen=exclude_seen,
            candidates=candidates,
            exclude=exclude,
            min_support=min_support,
            where=where,
            rank_by=rank_by,
            diversity=diversity,
        )

    def recommend_all(self, n: int = 10, **options: Unpack[ListOptions]) -> pl.DataFrame:
        """Return the top n items for every user, in row order.

        Parameters
        ----------
        n : int, default 10
            Length of each list.
        **options : Any
            Keyword arguments of `recommend`, such as `exclude_seen`, `where` and `diversity`.

        Returns
        -------
        pl.DataFrame
            Ranked lists; see `recommend`.
        """
        return self.for_rows(np.arange(len(self.users), dtype=np.int32)).recommend(n, **options)

    def user_rows(self, users: Id | Iterable[Id] | pl.Series) -> Int32:
        """Return the row numbers of known users.

        Parameters
        ----------
        users : ID, or iterable of IDs
            IDs of n users.

        Returns
        -------
        ndarray of shape (n,), int32
            User row numbers.

        Raises
        ------
        UnknownIdError
            If a user is unknown.
        """
        return known_rows(self.users, id_series("users", users), "user", "; for a new user, call for_history")

    def predict(self, users: Any, items: Any, *, times: Any = None) -> Any:
        """Predict the ratings for one or more user-item pairs.

        Parameters
        ----------
        users, items : ID, or sequence of IDs
            Users and items of the pairs; a single user or item is paired with each element of the other argument.
            Unknown IDs are allowed: their predictions come from biases or priors, and `unknown` counts them.
        times : int or sequence of int, optional
            Seconds since the Unix epoch, for models that use times: one value for all pairs, or one per pair.

        Returns
        -------
        float or pl.DataFrame
            A float for one pair, else columns user, item and prediction (float32). Ratings are clipped to their scale;
            models of events return ranking scores.

        Raises
        ------
        DataError
            If an ID has the wrong type, or if the numbers of users and items differ.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
        >>> rec.predict("ana", "clue") < rec.predict("ana", "alien")
        True
        >>> rec.predict("ana", ["alien", "jaws"]).shape, rec.unknown("ana", ["alien", "jaws"])
        ((2, 3), (0, 1))
        """
        u, i = id_series("users", users), id_series("items", items)
        if is_single(users) and is_single(items):
            return float(self._predict_rows(u, i, times)[0])
        u = u.new_from_index(0, len(i)) if is_single(users) else u
        i = i.new_from_index(0, len(u)) if is_single(items) else i
        if len(u) != len(i):
            raise DataError(f"users and items must have the same length; got {len(u):,} users and {len(i):,} items")
        return pl.DataFrame({"user": u, "item": i, "prediction": self._predict_rows(u, i, times)})

    def unknown(self, users: Any, items: Any) -> tuple[int, int]:
        """Count the users and items that the model does not know.

        Parameters
        ----------
        users, items : ID, or sequence of IDs
            IDs to look up; the numbers of users and items may differ.

        Returns
        -------
        n_users, n_items : int
            Number of unknown users and of unknown items.
        """
        u, i = self.users.rows(id_series("users", users)), self.items.rows(id_series("items", items))
        return int((u < 0).sum()), int((i < 0).sum())

    def _predict_rows(self, users: pl.Series, items: pl.Series, times: Any) -> Float32:
        if not isinstance(self.model, PredictsRatings):
            raise KindError("this model cannot predict ratings")
        u, i = self.users.rows(users), self.items.rows(items)
        seconds = None if times is None else checks.seconds("times", times, len(users))
        ratings = self.model.predict(self.batch(u, seconds), i)
        new = np.flatnonzero(u < 0)
        if len(new) and starts_from_prior(self.model, self.new_user_priors):
            ratings = np.array(ratings)
            prior: Any = self.folded_in(SparseRows.empty(1))
            rows, new_times = np.zeros(len(new), np.int32), None if seconds is None else seconds[new]
            ratings[new] = prior.predict(UserBatch.trained(rows, SparseRows.empty(1), new_times), i[new])
        return ratings

    def explain(self, user: Id, item: Id | Iterable[Id], *, method: ExplanationMethod = "removal") -> pl.DataFrame:
        """Explain the score of a user-item pair by the items in the user's history.

        Parameters
        ----------
        user : ID
            Known user.
        item : ID, or iterable of IDs
            Known items. The removal effects of several items take little more time than those of one.
        method : {"removal", "contribution"}, default "removal"
            Quantity that is returned for each item in the history: the effect of removing it on the score, or its
            contribution to the score.

        Returns
        -------
        pl.DataFrame
            For removal effects, columns item, value (the user's value), effect, and title if titles are available, with
            one row for each item in the history, largest effect first. A positive effect means that the score would be
            lower without this row of the history.

            For contributions, columns part, item, value, term, and title if titles are available. The parts are "mean",
            "user" and "item"; one "history" part for each item in the user's history, with the user's value, largest
            term first; and "not attributed". User-user models have a "neighbor" part for each similar user. Neural
            networks have a "without" part for each item: its removal effect.

            If `item` is an iterable, the first column is explained_item.

        Raises
        ------
        UnknownIdError
            If the user or an item is unknown.
        KindError
            If the model cannot explain its scores.
        ParameterError
            If the method is unknown.

        Notes
        -----
        The removal effect of a row j compares two users who are folded in, with all rows and without row j. For users
        of the training of linear factor models, such as ALS models, the items respond to the removal. The effect
        predicts how the score changes when this row is removed and the model is refitted. Contributions add up to the
        score by which items are ranked, but do not predict this change::

            effect_j = score(history) - score(history without row j)
            score = mean + b_u + b_i + sum of the terms of the history + not attributed

        Examples
        --------
        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> effects = rec.explain("cy", "alien")
        >>> effects.columns, effects["item"].to_list()
        (['item', 'value', 'effect'], ['brazil'])
        >>> terms = rec.explain("cy", "alien", method="contribution")
        >>> terms["part"].to_list()
        ['mean', 'user', 'item', 'history', 'not attributed']
        >>> score = rec.recommend("cy", n=1)["score"][0]
        >>> abs(terms["term"].sum() - score) < 1e-4
        True
        """
        return self.for_users(single_id("user", user)).explain(item, method=method)

    @property
    def titles(self) -> pl.Series | None:
        """Column `title` of the item table, in row order; None if there is no such column."""
        return self.catalog.titles

    def similar_items(self, item: Id, n: int = 10) -> pl.DataFrame:
        """Return the n items that are most similar to an item.

        Parameters
        ----------
        item : ID
            Known item.
        n : int, default 10
            Maximum number of items.

        Returns
        -------
        pl.DataFrame
            Columns item, rank (from 1), score, and title if titles are available. The score is a cosine similarity from
            -1 to 1; item-item models use their own similarity (EASE: its weight). Fewer rows if fewer items are
            similar; empty for an item about which the model has no evidence.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        KindError
            If the model has no vectors or similarities.

        Examples
        --------
        >>> import cofactor
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> similar = rec.similar_items(7, n=3)
        >>> similar.columns, similar["rank"].to_list(), 7 in similar["item"]
        (['item', 'rank', 'score'], [1, 2, 3], False)
        """
        rows, scores = self.catalog.similar(self.model, item, n)
        return self.catalog.with_titles(frames.neighbors("item", self.items, rows, scores), rows)

    def similar_users(self, user: Id, n: int = 10) -> pl.DataFrame:
        """Return the n users with the most similar taste to a given user.

        Parameters
        ----------
        user : ID
            Known user.
        n : int, default 10
            Maximum number of users.

        Returns
        -------
        pl.DataFrame
            Columns user, rank (from 1) and score, which is a cosine similarity from -1 to 1, or the model's own
            similarity for a user-user model. Empty for a user without a history.

        Raises
        ------
        UnknownIdError
            If the user is unknown.
        KindError
            If the model has no user vectors or similarities.
        ParameterError
            If n is below 1.
        """
        return self.for_users(single_id("user", user)).similar(n)

    def with_priors(
        self, *, user_features: Sequence[str] = (), item_features: Sequence[str] = (), seed: Seed = 0
    ) -> Recommender:
        """Learn priors for new users and new items, and return a recommender with these priors.

        With features, the items and users of the catalog without training data that have at least one feature are
        placed by them: the model ranks these items, and ranks for these users. All others are unchanged.

        Parameters
        ----------
        user_features, item_features : sequence of str, default ()
            Columns of the user table and of the item table on which the priors depend. If empty, all new users (items)
            have the same prior. Item-item models of events (EASE, RP3beta, ItemKNN, ...) require item features, and
            have no prior for users.
        seed : int, Generator or None, default 0
            Seed for the cross-validation.

        Returns
        -------
        Recommender
            Recommender with the learned `priors`.

        Raises
        ------
        KindError
            If the model does not support priors.
        DataError
            If a column is missing.

        Examples
        --------
        >>> import cofactor
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900, genres=4)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> len(rec.with_priors(item_features=["genres"]).for_history([(7, 5.0)]).recommend(n=3))
        3
        """
        priors = learn_priors(
            self.model, self.histories, user_table=self.user_table, item_table=self.item_table,
            user_features=user_features, item_features=item_features, estimator=self.estimator, seed=seed,
        )  # fmt: skip
        trained_items = TrainedItems(self.items, self.item_table, self.histories)
        model, evidence = initialize_cold_items(self.model, priors, trained_items, self.evidence)
        model = initialize_cold_users(model, priors, self.histories, self.user_table)
        return replace(self, model=model, priors=priors, evidence=evidence)

    def ensure_priors(self, *, seed: Seed = 0) -> Recommender:
        """Return a recommender with priors, if its model supports them; missing priors are learned without features.

        Parameters
        ----------
        seed : int, Generator or None, default 0
            Seed for the cross-validation, if priors are learned.

        Returns
        -------
        Recommender
            Recommender with priors; the recommender itself if it already has priors or its model does not support them.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
        >>> cofactor.Recommender.fit(cofactor.ItemKNN(), ratings).ensure_priors().priors is None
        True
        """
        checks.require_seed(seed)
        return self.with_priors(seed=seed) if self.priors is None and supports_priors(self.model) else self

    @cached_property
    def new_user_priors(self) -> Priors | None:
        """Priors for folding in users: `priors`, or the default priors of a rating model, learned on first use.

        Set `priors` to `Priors()` to fold in users without a prior.
        """
        has_default = self.priors is None and self.kind == "ratings"
        return default_priors(self.model, self.estimator, self.histories) if has_default else self.priors

    def folded_in(self, histories: SparseRows, table: pl.DataFrame | None = None) -> Model:
        """Fold in new users from their histories, and return a model with only these users.

        Parameters
        ----------
        histories : SparseRows
            One row of item row numbers for each new user.
        table : pl.DataFrame, optional
            One row for each new user, with the columns from which the prior was learned.

        Returns
        -------
        Model
            Model with the same items and parameters, and only the new users.

        Raises
        ------
        KindError
            If the model cannot fold in new users.
        DataError
            If the histories do not match the model, or the table does not match the prior.
        """
        return fold_in(self.model, self.new_user_priors, histories, table)

    @validated
    def updated(self, new: Interactions) -> Recommender:
        """Return a recommender that includes new ratings: users with new ratings are folded in, without retraining.

        Parameters
        ----------
        new : Interactions
            Ratings of known items; see `with_items` for new items. A new rating replaces the earlier one for the same
            user-item pair; events are summed.

        Returns
        -------
        Recommender
            Updated recommender, in which all other users are unchanged.

        Raises
        ------
        KindError
            If the table is of the wrong kind, or if the model cannot fold in users.
        UnknownIdError
            If an item is unknown.
        DataError
            If a rating is not on the scale, or if the user IDs or the user table do not match.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> after = rec.updated(cofactor.Interactions.from_columns(["zoe"], ["clue"], [5]))
        >>> len(rec.users), len(after.users), after.recommend("zoe")["item"].to_list()
        (2, 3, ['alien'])
        """
        check_ratings(require_interactions("new", new), self.kind, self.scale)
        merged = merge_ratings(self.users, self.items, self.kind, self.histories, self.seen, new)
        table = extend_table(merged.users, self.user_table, new.user_table)
        return self.with_users(merged.users, merged.histories, merged.changed, table=table, seen=merged.seen)

    def with_users(
        self,
        users: IdMap,
        histories: SparseRows,
        changed: Bool | None = None,
        *,
        table: pl.DataFrame | None = None,
        seen: SparseRows | None = None,
    ) -> Recommender:
        """Return a recommender that contains only the given users, with the given histories.

        Parameters
        ----------
        users : IdMap
            IDs of n_users known or new users.
        histories : SparseRows
            Histories of the users: n_users rows.
        changed : ndarray of shape (n_users,), bool, optional
            Mask of the users to fold in; the others keep their vectors. By default, users whose history differs are
            folded in. New users are always folded in.
        table : pl.DataFrame, optional
            User table, in the order of `users`.
        seen : SparseRows, optional
            Additional items to exclude from lists: n_users rows.

        Returns
        -------
        Recommender
            Recommender with only these users.

        Raises
        ------
        KindError
            If a user must be folded in but the model cannot fold in users.
        """
        checks.instance("users", users, IdMap, "create it with IdMap.of(ids)")
        require_histories(histories, len(self.items), n_rows=len(users))
        rows = np.array(self.users.rows(users.all))
        changed = differing_rows(self.histories.take(rows), histories) if changed is None else changed
        rows[checks.mask("changed", changed, len(users))] = -1
        folded_in, folded_table = histories.take(np.flatnonzero(rows < 0)), table_rows(table, rows < 0)
        priors = self.new_user_priors if len(folded_in) else self.priors
        model = replace_users(self.model, priors, rows, folded_in, folded_table)
        return replace(self, model=model, users=users, histories=histories, user_table=table, seen=seen, priors=priors)

    @validated
    def with_items(self, table: Any, ratings: Interactions | None = None) -> Recommender:
        """Return a recommender with new items added to its catalog, without retraining.

        Parameters
        ----------
        table : data frame
            One row per new item, with the columns from which the priors were learned. The IDs are read from a column
            with a common name ("item", "movieId", "id", ...), else from the first column.
        ratings : Interactions, optional
            Ratings of the new items. They are used to fold in the items, and then as in `updated`. The weights of an
            item-item model depend on the features only, until it is fitted again.

        Returns
        -------
        Recommender
            Recommender with the known and the new items.

        Raises
        ------
        KindError
            If there is no item prior, or if the model does not support adding items.
        DataError
            If an ID is already known or occurs twice, if the table has no IDs, or if a rating is not on the scale.

        Examples
        --------
        >>> import cofactor, polars as pl
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> extended = rec.with_priors().with_items(pl.DataFrame({"item": [100, 101]}))
        >>> len(extended.items), len(extended.recommend(3, candidates=[100, 101]))
        (42, 2)
        """
        table = new_item_table(table, self.items)
        if ratings is not None:
            check_ratings(ratings, self.kind, self.scale)
        trained_items = TrainedItems(self.items, self.item_table, self.histories)
        model, items, take = add_items(self.model, self.priors, trained_items, table, self.users, ratings)
        new_item_rows = items.rows(self.items.all)
        extended_recommender = replace(
            self,
            model=model,
            items=items,
            histories=replace(self.histories, columns=new_item_rows[self.histories.columns]),
            seen=None if self.seen is None else replace(self.seen, columns=new_item_rows[self.seen.columns]),
            evidence=None if self.evidence is None else np.append(self.evidence, True)[np.maximum(take, -1)],
            priors=None if self.priors is None else self.priors.with_items(take),
            item_table=extend_table(items, self.item_table, table),
        )
        return extended_recommender if ratings is None else extended_recommender.updated(ratings)

    @validated
    def save(self, path: str | Path) -> None:
        """Save the recommender to a file atomically.

        An existing model file is replaced and keeps its mode; if the path is a symbolic link, its target is replaced.

        Parameters
        ----------
        path : str or Path
            Path of the file.

        Raises
        ------
        ArtifactError
            If the file cannot be written, or if it exists and is not a model.

        Examples
        --------
        >>> import cofactor
        >>> from tempfile import TemporaryDirectory
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
        >>> with TemporaryDirectory() as folder:
        ...     rec.save(f"{folder}/films.cofactor")
        ...     again = cofactor.Recommender.load(f"{folder}/films.cofactor")
        ...     again.predict("ana", "clue") == rec.predict("ana", "clue")
        True
        """
        persistence.save(checks.path("path", path), vars(self))

    @classmethod
    @validated
    def load(cls, path: str | Path, *, verify: bool = True) -> Recommender:
        """Load a saved recommender; its arrays are memory-mapped from the file.

        Parameters
        ----------
        path : str or Path
            Path of the file.
        verify : bool, default True
            Whether to verify all checksums in the file. If False, the floating-point arrays of the model and of the
            histories are skipped, which is faster; use it for a file that was verified before.

        Returns
        -------
        Recommender
            Recommender with memory-mapped arrays.

        Raises
        ------
        ArtifactError
            If the file is not a complete and undamaged model. With verify=False, damage to the skipped arrays is not
            detected and may change scores.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Recommender.load("nowhere.cofactor")
        Traceback (most recent call last):
        cofactor.errors.ArtifactError: nowhere.cofactor cannot be read: No such file or directory
        """
        return persistence.load(checks.path("path", path), cls, verify=checks.flag("verify", verify))


def require_recommender(name: str, value: object) -> Recommender:
    """Check that a value is a Recommender, and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : object
        Value to check.

    Returns
    -------
    Recommender
        The value itself.

    Raises
    ------
    DataError
        If the value is not a Recommender.
    """
    hint = "create one with cofactor.Recommender.fit(estimator, table) or cofactor.Recommender.load(path)"
    return checks.instance(name, value, Recommender, hint)
