"""Recommender: a fitted model with ids, histories and item tables. Ids in, ids out; it contains no mathematics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Int32, Int64
from cofactor.checks import Seed
from cofactor.cold_start.priors import learn_priors, supports_priors
from cofactor.data.id_columns import Id, id_series, is_single, single_id
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind, require_interactions
from cofactor.data.readers.frame_table import ArrowFrame
from cofactor.data.readers.read import read_events, read_ratings
from cofactor.data.scale import Scale
from cofactor.data.side_table import SideTable
from cofactor.errors import DataError, KindError, UnknownIdError
from cofactor.estimators.base import Estimator, item_evidence, require_estimator
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.sparse import SparseRows, merge_counts, merge_latest
from cofactor.metrics.model_lists import ModelLists
from cofactor.models.arguments import require_histories, solvable
from cofactor.models.base import Model, PredictsRatings, ScoresItems
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.prior import Priors
from cofactor.models.user_batch import UserBatch
from cofactor.recommender import frames, persistence
from cofactor.recommender.catalog import Catalog
from cofactor.recommender.updating import (
    check_ratings,
    differing_rows,
    extend_table,
    feature_table,
    fold_in,
    history_row,
    ratings_of_items,
    replace_users,
    replaced_rows,
    translated,
)
from cofactor.recommender.users import UserView
from cofactor.results import AnsweredBy, RankBy
from cofactor.validation import validated

__all__ = ["Recommender", "require_recommender"]

Merge: TypeAlias = Callable[[SparseRows, SparseRows], SparseRows]


@dataclass(frozen=True, eq=False)
class Recommender:
    """What people use, save and serve.

    Attributes:

        model: what the estimator's fit returned; it speaks row numbers.
        users, items: from ids to row numbers and back.
        histories: each user's rows: what was learnt from, left out of recommendations, folded in.
        kind: "ratings" or "events".
        estimator: how the model was learnt, or None when it was put together by hand.
        user_table, item_table: frames in row order, id column first, or None.
        priors: what new users and items are taken to be, or None; see `with_priors`.
        seen: items that each user has seen without liking them, beside the history (n_users rows), or None. They are
            not recommended; nothing is learned from them.
        scale: the scale of the ratings, that of the table; None for events. New ratings must lie on it.
        evidence: which items the model knows from a row that it learned from, from their features, or from a prior:
            (n_items,) bool; None for all. Other items are not ranked by the model, and are similar to nothing.

    Made by `fit` and `load`. It never changes: what learns more is a new one.

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

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            checks.instance(name, getattr(self, name), IdMap, "make one by IdMap.of(ids)")
        checks.choice("kind", self.kind, get_args(Kind))
        n_users, n_items = len(self.users), len(self.items)
        require_histories(self.histories, n_items, n_rows=n_users)
        if self.seen is not None:
            require_histories(self.seen, n_items, n_rows=n_users, name="seen")
        if self.evidence is not None:
            checks.mask("evidence", self.evidence, n_items)
        for name, n in (("users", n_users), ("items", n_items)):
            if (size := getattr(self.model, f"n_{name}", n)) != n:
                raise DataError(f"model must have {n:,} {name}, as many as there are ids, not {size:,}")

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
        """Fit a model, and combine it with the ids, histories and titles of the table.

        Parameters
        ----------
        estimator : Estimator
            Estimator to fit.
        interactions : Interactions, data frame or CSR matrix
            Training table. A frame (polars, pandas, pyarrow, duckdb) is read by `cofactor.read_events` if the estimator
            accepts events only, else by `cofactor.read_ratings`. The ids of a matrix are its row and column numbers.
        seed : int, Generator or None, default 0
            Seed of the fit; the same integer gives bit-identical results. See `Estimator.fit`.
        validation : Interactions, optional
            Held-out rows with the ids of `interactions`, for early stopping.
        init_model : Recommender, optional
            Recommender with the same ids to continue from.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        Recommender
            The recommender.

        Raises
        ------
        KindError
            If a table is of the other kind.
        DataError
            If the table cannot be read or has no rows, or if `init_model` or `validation` has other ids.
        ParameterError
            If `estimator` is not an estimator, or `init_model` has another shape.
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
            raise DataError("init_model must have the same users and items as the table; fit without it")
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
            table.by_user,
            table.kind,
            estimator,
            table.user_table,
            table.item_table,
            seen=None if table.seen is None else table.seen.by_user,
            scale=table.scale,
            evidence=item_evidence(estimator, table),
        )

    def __repr__(self) -> str:
        return f"Recommender({self.estimator!r}, {len(self.users):,} users, {len(self.items):,} items)"

    @cached_property
    def catalog(self) -> Catalog:
        """The items, their titles, and what the model knows of them."""
        return Catalog(self.items, self.histories, self.titles, self.evidence, self.model, self.scale)

    @property
    def support(self) -> Int64:
        """The number of ratings or events of each item: ndarray of shape (n_items,), int64.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).support.tolist()
        [2, 1]
        """
        return self.catalog.support

    @cached_property
    def excluded(self) -> SparseRows:
        """Items that lists leave out for each user: the history, and what was seen without being liked.

        n_users rows of item rows.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
        >>> rec = cofactor.Recommender.fit(cofactor.Popularity(), ratings.to_events(min_rating=4))
        >>> rec.histories.counts.tolist(), rec.excluded.counts.tolist()
        ([1, 1], [2, 1])
        """
        return self.histories if self.seen is None else merge_latest(self.histories, self.seen)

    # users

    def for_users(self, users: Id | Iterable[Id] | pl.Series) -> UserView:
        """Return a view of known users.

        Parameters
        ----------
        users : id, or iterable of ids

        Returns
        -------
        UserView

        Raises
        ------
        UnknownIdError
            For an unknown user; for a new user, call `for_history`.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).for_users("ana").recommend()["item"].to_list()
        ['clue']
        """
        return self.for_rows(self.user_rows(users))

    def for_rows(self, rows: Int32) -> UserView:
        """Return a view of the users of these row numbers.

        Parameters
        ----------
        rows : ndarray of shape (n,), int32

        Returns
        -------
        UserView

        Raises
        ------
        ParameterError
            For a row number that no user has.
        """
        rows = checks.row_numbers("rows", rows, len(self.users))
        return self._view(self.model, self.batch(rows), self.excluded.take(rows), "model")

    def for_history(
        self,
        history: Mapping[Id, float] | Iterable[tuple[Id, float]] | Iterable[Id],
        *,
        user_features: Mapping[str, Any] | None = None,
    ) -> UserView:
        """Return a view of a new user, who is folded in from a history. Nothing is retrained or stored.

        Parameters
        ----------
        history : mapping, iterable of (item, value) pairs, or iterable of items
            Ratings of items; for a model of events, items or (item, count) pairs, with a negative count for a dislike.
            An empty history gives what is best without any: by item biases or a prior, else the most popular items.
        user_features : mapping, optional
            Columns of the user table and their values, where priors were learned from them.

        Returns
        -------
        UserView

        Raises
        ------
        DataError
            For an invalid history and for a rating that is not on the scale.
        UnknownIdError
            For an unknown item.
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
        """Return a view of new users, one for each history by item rows; see `updating.fold_in` for the arguments."""
        model = self.folded_in(histories, table)
        has_prior = self.priors is not None and self.priors.users is not None
        source: AnsweredBy = "fold-in" if len(histories.columns) else "prior" if has_prior else "popularity"
        return self._view(model, UserBatch.folded(histories), histories, source)

    def for_known_and_new(self, rows: Int32, histories: SparseRows, table: pl.DataFrame | None = None) -> UserView:
        """Return a view of several users: known ones by their row, and new ones, who are folded in.

        Parameters
        ----------
        rows : ndarray of shape (n_users,), int32
            Rows of known users; -1 for the users of `histories`, in order.
        histories : SparseRows
            The history of each user who is folded in.
        table : pl.DataFrame, optional
            One row for each user who is folded in, with the columns that the prior was learned from.

        Returns
        -------
        UserView
        """
        rows = checks.row_numbers("rows", rows, len(self.users), unknown=True)
        model = replace_users(self.model, self.priors, rows, histories, table)
        batch = UserBatch.folded(replaced_rows(self.histories, rows, histories))
        return self._view(model, batch, replaced_rows(self.excluded, rows, histories), "fold-in")

    def _view(self, model: Model, batch: UserBatch, exclude: SparseRows, source: AnsweredBy) -> UserView:
        return UserView(self.catalog, cast("ScoresItems", model), batch, exclude, source, self.users, self.model)

    # recommending

    def batch(self, rows: Int32, times: Any = None) -> UserBatch:
        """Return these users, aligned with their histories, as models take them.

        Parameters
        ----------
        rows : ndarray of shape (n,), int32
            User rows; -1 is an unknown user.
        times : sequence of int, optional
            Seconds since 1970, one for each row.

        Returns
        -------
        UserBatch

        Examples
        --------
        >>> import cofactor, numpy as np
        >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).batch(np.int32([1, 0])).histories.counts.tolist()
        [1, 2]
        """
        return UserBatch.trained(rows, self.histories, times)

    def ranked_lists(self, rows: Int32, ks: Sequence[int], relevant: SparseRows) -> ModelLists:
        """Lists of these user rows with their ties, for ranking metrics; what is seen is left out.

        relevant: a row of test items for each of `rows`. Raises ParameterError for a row that no user has.

        >>> import cofactor, numpy as np
        >>> events = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "heat", "clue"], kind="events")
        >>> rec = cofactor.Recommender.fit(cofactor.Popularity(), events)
        >>> test = SparseRows.of([0], [0], [1], 1)                            # bo takes alien next
        >>> lists = rec.ranked_lists(np.array([1], np.int32), [1], test)
        >>> lists.hits.size.tolist()                                          # alien and heat are as popular
        [2]
        """
        rows = checks.row_numbers("rows", rows, len(self.users))
        ks = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH)
        require_histories(relevant, len(self.items), n_rows=len(rows), name="relevant")
        return ModelLists.of(
            self.model,
            self.batch(rows),
            ks,
            exclude=self.excluded.take(rows),
            relevant=relevant,
            evidence=ALL_ROWS if self.evidence is None else self.evidence,
            support=self.support,
        )

    def recommend(
        self,
        users: Id | Iterable[Id] | pl.Series,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
    ) -> pl.DataFrame:
        """The n best items of one user or several: user, item, rank (from 1), score, answered_by[, title].

        `exclude_seen`: leave out what is in a user's history, and low ratings that `to_events` made no events.
        `candidates`: only these items. `rank_by`: "lower" prefers what is surely good, "upper" what may be very good
        (models with a distribution). `diversity`: from 0, the plain order, to 1, as unlike each other as can be; scores
        need not fall then. Scores are what items are ranked by, not clipped to the scale: see `predict`. Where the
        model has no evidence, the most popular items that the user has not seen fill the list, with a score of 0;
        `answered_by` says "model" or "popularity" for each row. Where fewer than n are left, there are fewer rows; no
        users give none. Raises UnknownIdError for an item or a user who is not known (see `for_history`),
        KindError where the model cannot do what is asked, ParameterError for n below 1, another order or another share.

        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
        >>> rec.recommend("cy").select("user", "item", "rank").rows()
        [('cy', 'alien', 1), ('cy', 'clue', 2)]
        >>> rec.recommend(["bo", "cy"], candidates=["clue"])["user"].to_list()  # bo knows it
        ['cy']
        """
        view = self.for_users(users)
        return view.recommend(n, exclude_seen=exclude_seen, candidates=candidates, rank_by=rank_by, diversity=diversity)

    def recommend_all(
        self,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
    ) -> pl.DataFrame:
        """The n best items of every user, in row order; arguments, columns and errors as in `recommend`.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).recommend_all().select("user", "item").rows()
        [('ana', 'clue')]
        """
        view = self.for_rows(np.arange(len(self.users), dtype=np.int32))
        return view.recommend(n, exclude_seen=exclude_seen, candidates=candidates, rank_by=rank_by, diversity=diversity)

    def user_rows(self, users: Id | Iterable[Id] | pl.Series) -> Int32:
        """Row numbers of one user or several.

        Parameters
        ----------
        users : id, or iterable of ids
            Known users.

        Returns
        -------
        ndarray of shape (n,), int32
            Their rows in `histories`.

        Raises
        ------
        UnknownIdError
            For a user who is not known.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).user_rows(["bo", "ana"]).tolist()
        [1, 0]
        """
        ids = id_series("users", users)
        try:
            if len(ids) == 1:
                return np.array([self.users.row(ids[0])], np.int32)
            rows = self.users.rows(ids)
            if (rows < 0).any():
                first, unknown = ids[int((rows < 0).argmax())], (rows < 0).sum()
                raise UnknownIdError(f"{first!r} is not a known id ({unknown:,} of these {len(rows):,} are not)")
        except UnknownIdError as unknown:
            hint = "for a new user, call for_history with their ratings"
            raise UnknownIdError(f"user {unknown}; {hint}") from None
        return rows

    # predicting

    def predict(self, users: Any, items: Any, *, times: Any = None) -> Any:
        """The expected rating of a user and an item (a float), or of many pairs (user, item, prediction).

        One user with many items, or one item with many users, stands for that many pairs. Never fails on unknown ids:
        an unknown user is predicted the item's average level, or what the prior of new users says, and so on; `unknown`
        counts them. Models of events give the score that the pair would be ranked by. `times`, in seconds since 1970,
        one for all pairs or one each, count where the model learnt from time. In the units of the ratings, clipped to
        their scale, float32; no pairs give no rows. Raises DataError for ids of the wrong type, or of different
        numbers, and for other times.

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
            return float(self._predicted(u, i, times)[0])
        u = u.new_from_index(0, len(i)) if is_single(users) else u
        i = i.new_from_index(0, len(u)) if is_single(items) else i
        if len(u) != len(i):
            raise DataError(f"{len(u)} users but {len(i)} items: predictions are for pairs")
        return pl.DataFrame({"user": u, "item": i, "prediction": self._predicted(u, i, times)})

    def unknown(self, users: Any, items: Any) -> tuple[int, int]:
        """How many of these user ids, and of these item ids, the model has never seen.

        One id or many of each. Raises DataError for ids of the wrong type.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).unknown(["ana", "zoe"], "clue")
        (1, 0)
        """
        u, i = self.users.rows(id_series("users", users)), self.items.rows(id_series("items", items))
        return int((u < 0).sum()), int((i < 0).sum())

    def _predicted(self, users: pl.Series, items: pl.Series, times: Any) -> Float32:
        if not isinstance(self.model, PredictsRatings):
            raise KindError("this model cannot predict ratings")
        u, i = self.users.rows(users), self.items.rows(items)
        seconds = None if times is None else checks.seconds("times", times, len(users))
        ratings = self.model.predict(self.batch(u, seconds), i)
        new = np.flatnonzero(u < 0)
        if len(new) and self.priors is not None and self.priors.users is not None:
            ratings = np.array(ratings)
            prior: Any = self.folded_in(SparseRows.empty(1))
            rows, new_seconds = np.zeros(len(new), np.int32), None if seconds is None else seconds[new]
            ratings[new] = prior.predict(UserBatch.trained(rows, SparseRows.empty(1), new_seconds), i[new])
        return ratings

    # reasons

    def explain(self, user: Id, item: Id) -> pl.DataFrame:
        """What a score is made of: part, item, value, term[, title]; the terms add up to the score.

        Parts: "mean", "user" and "item", whatever was rated; then the user's "history", what adds most or takes away
        most first, each with the value it was given; and what is "not attributed". Models of neighbors tell of similar
        users, each a "neighbor" in a column user; networks of how much the score falls "without" an item. The score is
        what items are ranked by: see `predict` for the rating. Raises UnknownIdError, and KindError where the model
        cannot tell.

            mean + b_u + b_i + one term per item of the history + not attributed

        >>> import cofactor
        >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
        >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> why = rec.explain("cy", "alien")
        >>> why["part"].to_list()
        ['mean', 'user', 'item', 'history', 'not attributed']
        >>> score = rec.recommend("cy", n=1)["score"][0]
        >>> abs(why["term"].sum() - score) < 1e-4
        True
        """
        return self.for_users(single_id("user", user)).explain(item)

    @property
    def titles(self) -> pl.Series | None:
        """The `title` column of the item table, (n_items,) in row order, where there is one; else None.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], [7, 9], [5, 4])
        >>> titled = ratings.with_item_table({"item": [7, 9], "title": ["Alien", "Clue"]})
        >>> cofactor.Recommender.fit(cofactor.Bias(), titled).titles.to_list()
        ['Alien', 'Clue']
        """
        table = self.item_table
        return table["title"] if table is not None and "title" in table.columns else None

    # neighbors

    def similar_items(self, item: Id, n: int = 10) -> pl.DataFrame:
        """Return the n items liked by the same users.

        Parameters
        ----------
        item : id
        n : int, default 10

        Returns
        -------
        pl.DataFrame
            Columns item, rank (from 1), score, and title where titles are known. The score is a cosine from -1 to 1;
            item-item models use their own similarity (EASE: its weight). Fewer rows where fewer items are similar, and
            none for an item that the model has no evidence about.

        Raises
        ------
        UnknownIdError
            For an unknown item.
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
        """Return the n users with the most similar taste; see `UserView.similar`."""
        return self.for_users(single_id("user", user)).similar(n)

    # new users, new ratings and new items

    def with_priors(
        self, *, user_features: Sequence[str] = (), item_features: Sequence[str] = (), seed: int = 0
    ) -> Recommender:
        """Return the recommender with priors of new users and new items, learned from its model.

        Parameters
        ----------
        user_features, item_features : sequence of str, default ()
            Columns of the user table and of the item table that the priors depend on. Without columns, all new users
            (items) have the same prior.
        seed : int, default 0
            Seed of the cross-validation.

        Returns
        -------
        Recommender

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
            self.model,
            self.histories,
            user_table=self.user_table,
            item_table=self.item_table,
            user_features=user_features,
            item_features=item_features,
            seed=seed,
        )
        return replace(self, priors=priors)

    def ensure_priors(self, *, seed: int = 0) -> Recommender:
        """Return the recommender with priors if its model supports them: its own, else new ones without features.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
        >>> cofactor.Recommender.fit(cofactor.ItemKNN(), ratings).ensure_priors().priors is None
        True
        """
        checks.seed(seed)
        if self.priors is not None or not supports_priors(self.model):
            return self
        return self.with_priors(seed=seed)

    def folded_in(self, histories: SparseRows, table: pl.DataFrame | None = None) -> Model:
        """Return the model with new users of these histories; see `updating.fold_in`."""
        return fold_in(self.model, self.priors, histories, table)

    @validated
    def updated(self, new: Interactions) -> Recommender:
        """Return a recommender that includes new ratings: changed and new users are folded in, nothing is retrained.

        Parameters
        ----------
        new : Interactions
            Ratings of known items; see `with_items` for new ones. A pair that is known takes the new rating; events are
            added up. No rows change nothing.

        Returns
        -------
        Recommender
            All other users keep their row.

        Raises
        ------
        KindError
            For a table of the other kind, and for a model that cannot fold in.
        UnknownIdError
            For a new item.
        DataError
            For a rating that is not on the scale, user ids of another type, or a user table with other columns.

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
        rated = np.unique(new.i)
        if (unknown := new.items.ids(rated).filter(self.items.rows(new.items.ids(rated)) < 0)).len():
            more = f" and {len(unknown) - 1} more are" if len(unknown) > 1 else " is"
            raise UnknownIdError(f"item {unknown[0]!r}{more} new: call with_items first, or fit again")
        changed_ids = new.users.ids(np.unique(new.u if new.seen is None else np.concatenate([new.u, new.seen.u])))
        users = self.users.union(IdMap.of(changed_ids))
        rows, changed = self.users.rows(users.all), np.zeros(len(users), bool)
        changed[users.rows(changed_ids)] = True
        changed_ids = users.ids(np.flatnonzero(changed))

        kept_rows = np.where(changed, np.int32(-1), rows)

        def merged(known: SparseRows, table: Interactions | None, merge: Merge) -> SparseRows:
            added = SparseRows.empty(len(changed_ids))
            if table is not None:
                added = translated(table.by_user.take(table.users.rows(changed_ids)), self.items.rows(table.items.all))
            return replaced_rows(known, kept_rows, merge(known.take(rows[changed]), added))

        seen = None
        if self.seen is not None or new.seen is not None:
            seen = merged(SparseRows.empty(len(self.users)) if self.seen is None else self.seen, new.seen, merge_latest)
        histories = merged(self.histories, new, merge_counts if self.kind == "events" else merge_latest)
        table = extend_table(users, self.user_table, new.user_table)
        return self.with_users(users, histories, changed, table=table, seen=seen)

    def with_users(
        self,
        users: IdMap,
        histories: SparseRows,
        changed: Bool | None = None,
        *,
        table: pl.DataFrame | None = None,
        seen: SparseRows | None = None,
    ) -> Recommender:
        """Return a recommender of these users alone, with these histories.

        Parameters
        ----------
        users : IdMap
            n_users ids, known or new.
        histories : SparseRows
            Their histories: n_users rows.
        changed : ndarray of shape (n_users,), bool, optional
            The users who are folded in; the others keep their vector. By default those whose history differs. New users
            are always folded in.
        table : pl.DataFrame, optional
            The user table, in the order of `users`.
        seen : SparseRows, optional
            Further items that lists leave out: n_users rows.

        Returns
        -------
        Recommender

        Raises
        ------
        KindError
            If a user must be folded in and the model cannot do it.
        """
        rows = np.array(self.users.rows(users.all))
        if changed is None:
            changed = differing_rows(self.histories.take(rows), histories)
        rows[changed] = -1
        folded = rows < 0
        folded_table = None if table is None else table.filter(folded)
        model = replace_users(self.model, self.priors, rows, histories.take(np.flatnonzero(folded)), folded_table)
        return replace(self, model=model, users=users, histories=histories, user_table=table, seen=seen)

    @validated
    def with_items(self, table: Any, ratings: Interactions | None = None) -> Recommender:
        """Return a recommender whose catalog has new items too; nothing is retrained.

        Parameters
        ----------
        table : data frame
            A row for each new item, with the columns that the priors were learned from. The ids are in the column with
            a usual name ("item", "movieId", "id", ...), else in the first one. No rows change nothing.
        ratings : Interactions, optional
            Ratings of the new items. They move the items from the prior, and are then used as in `updated`.

        Returns
        -------
        Recommender

        Raises
        ------
        KindError
            Without priors of items, and for a model that cannot add items.
        DataError
            For known or duplicate ids, a rating that is not on the scale, or a table without ids.

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
        prior = None if self.priors is None else self.priors.items
        if prior is None or not isinstance(self.model, FactorModel):
            raise KindError(
                "new items need a prior: call with_priors on a model of biased-mf, explicit-als, implicit-als or bpr"
            )
        side = SideTable.of(table, "item")
        table = side.keyed((side.id_columns or [*side.frame.columns, *side.index.columns])[0])
        ids = table["item"]
        if ids.n_unique() < len(ids) or (self.items.rows(ids) >= 0).any():
            raise DataError("new items must be new: some ids of the table are known or occur twice")
        if ratings is not None:
            check_ratings(ratings, self.kind, self.scale)
        with solvable():
            factors, bias = self.model.fold_in_items(
                ratings_of_items(ids, self.users, ratings), GaussianPrior(prior.means(table, len(ids)), prior.precision)
            )
        items = self.items.union(IdMap.of(ids))
        take, moved = np.array(self.items.rows(items.all)), items.rows(self.items.all)
        take[items.rows(ids)] = -1 - np.arange(len(ids), dtype=np.int32)
        extended = replace(
            self,
            model=self.model.with_items(factors, bias, take),
            items=items,
            histories=replace(self.histories, columns=moved[self.histories.columns]),
            seen=None if self.seen is None else replace(self.seen, columns=moved[self.seen.columns]),
            evidence=None if self.evidence is None else np.append(self.evidence, True)[np.maximum(take, -1)],
            item_table=extend_table(items, self.item_table, table),
        )
        return extended if ratings is None else extended.updated(ratings)

    # files

    @validated
    def save(self, path: str | Path) -> None:
        """Write everything to one file, whole or not at all; see `artifact`.

        A model that is there is replaced and its mode stays; through a symbolic link the file behind it is replaced.
        Raises ArtifactError where the file cannot be written, and where another file is there that is no model.

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
        fields = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        persistence.save(checks.path("path", path), fields)

    @classmethod
    @validated
    def load(cls, path: str | Path, *, verify: bool = True) -> Recommender:
        """Map a saved file into memory: what `save` wrote, to the bit.

        Parameters
        ----------
        path : str or Path
            The file.
        verify : bool, default=True
            Compare all of it with its checksums first. False leaves out the floating-point arrays of model and
            histories, which makes loading quick: use it for a file that was verified before.

        Returns
        -------
        Recommender
            Its arrays stay in the file.

        Raises
        ------
        ArtifactError
            For anything but a whole, sound file. With verify=False, damage to the numbers that are left out goes
            unnoticed: they may change scores, nothing else.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Recommender.load("nowhere.cofactor")
        Traceback (most recent call last):
        cofactor.errors.ArtifactError: nowhere.cofactor cannot be read: No such file or directory
        """
        return cls(**persistence.load(checks.path("path", path), verify=checks.flag("verify", verify)))


def require_recommender(name: str, value: object) -> Recommender:
    """The value, a recommender.

    Parameters
    ----------
    name : str
        The argument's name.
    value : object
        The argument.

    Returns
    -------
    Recommender
        The value.

    Raises
    ------
    DataError
        For anything else, such as a model or a table.

    Examples
    --------
    >>> require_recommender("recommender", "bias")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: recommender must be of type Recommender, not 'bias': make one by ...
    """
    advice = "make one by cofactor.Recommender.fit(estimator, table) or cofactor.Recommender.load(path)"
    return checks.instance(name, value, Recommender, advice)
