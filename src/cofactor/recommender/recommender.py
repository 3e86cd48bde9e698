"""The Recommender: a model with the ids, histories and titles around it. Ids in, ids out; all maths is below."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Int32, Int64
from cofactor.data.id_columns import id_series, is_single, single_id
from cofactor.data.ids import Id, IdMap
from cofactor.data.interactions import Interactions, Kind, require_interactions
from cofactor.data.scale import Scale
from cofactor.data.side_table import SideTable
from cofactor.errors import ArtifactError, DataError, ForkError, KindError, ParameterError, UnknownIdError
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import EpochCallback, Estimator, item_evidence
from cofactor.kernels.sparse import SparseRows, merge_counts, merge_latest, vstack
from cofactor.metrics.model_lists import ModelLists
from cofactor.models import KINDS
from cofactor.models.arguments import require_histories, solvable
from cofactor.models.base import FoldsIn, TakesItems
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.prior import Priors
from cofactor.models.rerank import RankBy
from cofactor.models.user_batch import UserBatch
from cofactor.recommender import persistence
from cofactor.recommender.artifact import read_artifact, write_artifact
from cofactor.recommender.catalog import Catalog
from cofactor.recommender.users import UserSource, UserView
from cofactor.validation import validated

__all__ = ["Recommender", "checked_estimator", "require_recommender"]


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
        priors: what new users and items are taken to be, or None; see `cold_start.learn_priors`.
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

    model: Any
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
        estimator: Any,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: Recommender | None = None,
        callback: EpochCallback | None = None,
    ) -> Recommender:
        """Learn a model and put the table's ids, histories and titles around it.

        `seed`: the same one gives the same model, bit by bit. `validation`: rows of the same ids, on which to stop when
        they gain no more. `init_model`: a recommender of the same ids to go on from. `callback` is told of every epoch.
        Raises KindError for a table of the other kind, DataError for one without rows or with other ids than
        `init_model` or `validation`, ParameterError for what is no estimator, DivergedError.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
        >>> losses = []
        >>> model = cofactor.BiasedMF(factors=2, epochs=3)
        >>> rec = cofactor.Recommender.fit(model, ratings, callback=lambda epoch: losses.append(epoch.loss))
        >>> len(losses), losses[2] < losses[0]
        (3, True)
        """
        checked_estimator(estimator).require(interactions)
        checks.seed(seed)
        checks.optional_callable("callback", callback)
        if init_model is not None:
            require_recommender("init_model", init_model)
        if validation is not None:
            require_interactions("validation", validation)
        if init_model is not None and not (
            init_model.users.equals(interactions.users) and init_model.items.equals(interactions.items)
        ):
            raise DataError("init_model must have the same users and items as the table; fit without it")
        model = checked_estimator(estimator).fit(
            interactions,
            seed=seed,
            validation=validation,
            init_model=None if init_model is None else init_model.model,
            callback=callback,
        )
        return cls(
            model,
            interactions.users,
            interactions.items,
            interactions.by_user,
            interactions.kind,
            estimator,
            interactions.user_table,
            interactions.item_table,
            seen=None if interactions.seen is None else interactions.seen.by_user,
            scale=interactions.scale,
            evidence=item_evidence(estimator, interactions),
        )

    def __repr__(self) -> str:
        return f"Recommender({self.estimator!r}, {len(self.users):,} users, {len(self.items):,} items)"

    @cached_property
    def catalog(self) -> Catalog:
        """The items, their titles, and what the model knows of them."""
        return Catalog(self.items, self.histories, self.titles, self.evidence)

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
        return UserView(self.catalog, self.model, self.batch(rows), self.excluded.take(rows), "model", self.users)

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
        rows = self._history(history)
        return self.for_rows_of_history(rows, self._features(user_features))

    def for_rows_of_history(self, histories: SparseRows, table: pl.DataFrame | None = None) -> UserView:
        """Return a view of new users, one for each history by item rows; see `folded_in` for the arguments."""
        model = self.folded_in(histories, table)
        has_prior = self.priors is not None and self.priors.users is not None
        source: UserSource = "fold-in" if len(histories.columns) else "prior" if has_prior else "popularity"
        return UserView(self.catalog, model, UserBatch.folded(histories), histories, source, self.users)

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
        u, i, at = self.users.rows(users), self.items.rows(items), _seconds(times, len(users))
        ratings: Float32 = self.model.predict(self.batch(u, at), i)
        new = np.flatnonzero(u < 0)
        if not len(new) or self.priors is None or self.priors.users is None:
            return ratings
        empty, rows = SparseRows.empty(1), np.zeros(len(new), np.int32)
        ratings = np.array(ratings)
        unknown = UserBatch.trained(rows, empty, None if at is None else at[new])
        ratings[new] = self.folded_in(empty).predict(unknown, i[new])
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
        """The n items liked by the same people: item, rank, score[, title].

        The score is a cosine, -1..1; for item-item models the model's own similarity (EASE: its weight). Fewer where
        fewer are known to be alike; items that the model never met in training are in no list, and have an empty one.
        Raises UnknownIdError, DataError for more than one id, KindError for a model without vectors or similarities,
        ParameterError for n below 1.

        >>> import cofactor
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> found = rec.similar_items(7, n=3)
        >>> found.columns, found["rank"].to_list(), 7 in found["item"]
        (['item', 'rank', 'score'], [1, 2, 3], False)
        """
        rows, scores = self._similar("item", item, "similar_items", n)
        frame = pl.DataFrame({"item": self.items.ids(rows), "rank": _ranks(len(rows)), "score": scores})
        return self.catalog.with_titles(frame, rows)

    def similar_users(self, user: Id, n: int = 10) -> pl.DataFrame:
        """The n users of the most similar taste: user, rank, score (cosine, -1..1); errors as in `similar_items`.

        >>> import cofactor
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> rec.similar_users(7, n=3).columns
        ['user', 'rank', 'score']
        """
        rows, scores = self._similar("user", user, "similar_users", n)
        return pl.DataFrame({"user": self.users.ids(rows), "rank": _ranks(len(rows)), "score": scores})

    def _similar(self, what: str, id_: Id, method: str, n: int) -> tuple[Int32, Float32]:
        n = checks.whole_number("n", n, low=1)
        ids = self.items if what == "item" else self.users
        try:
            row = np.array([ids.row(single_id(what, id_))], np.int32)
        except UnknownIdError as unknown:
            raise UnknownIdError(f"{what} {unknown}") from None
        if not hasattr(self.model, method) or getattr(self.model, "factors", 1) == 0:
            raise KindError("this model has no vectors to compare; fit one with factors, such as biased-mf")
        comparable = self._comparable(what)
        if len(comparable) and not comparable[row[0]]:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        rows, scores = getattr(self.model, method)(row, min(n, len(ids)), comparable)
        there = rows[0] >= 0
        return rows[0][there], scores[0][there]

    def _comparable(self, what: str) -> Bool:
        """Items with evidence, or users with a history: the others have no vector that says anything."""
        if what == "item":
            return ALL_ROWS if self.evidence is None else self.evidence
        return self.histories.counts > 0

    # newcomers and new ratings

    def folded_in(self, histories: SparseRows, table: pl.DataFrame | None = None) -> Any:
        """The model with newcomers of these histories as its users: about the prior, where there is one.

        histories: a row for each newcomer, none give a model without users. table: a row for each, with the columns
        that the prior learnt from. Raises KindError for a model that cannot fold in, DataError as the prior's encoder.

        >>> import cofactor
        >>> from cofactor.kernels.sparse import SparseRows
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> rec.folded_in(SparseRows.of([0, 1], [0, 1], [5, 5], 2)).n_users
        2
        """
        if not isinstance(self.model, FoldsIn):
            raise KindError("this model cannot fold in new users; fit it again with their ratings")
        require_histories(histories, len(self.items))
        if table is not None:
            checks.instance("table", table, pl.DataFrame, "give a polars frame with a row for each history")
        prior = None if self.priors is None else self.priors.users
        gaussian = None if prior is None else GaussianPrior(prior.means(table, len(histories)), prior.precision)
        with solvable():
            return self.model.fold_in(histories, prior=gaussian)

    def _features(self, user_features: Any) -> pl.DataFrame | None:
        """One newcomer's row of the user table, as far as the prior asks for it."""
        if user_features is None:
            return None
        if not isinstance(user_features, Mapping):
            wrong = checks.shown(user_features)
            raise ParameterError(f"user_features must map columns of the user table to values, not {wrong}")
        prior = None if self.priors is None else self.priors.users
        learnt = [] if prior is None or prior.encoder is None else [column.name for column in prior.encoder.columns]
        if unknown := [name for name in user_features if name not in learnt]:
            known = ", ".join(learnt) or "none: learn priors with user_features first"
            raise DataError(f"user_features: the prior was not learned from {unknown[0]!r}; columns it knows: {known}")
        return pl.DataFrame({name: [user_features.get(name)] for name in learnt})

    def _history(self, history: Any) -> SparseRows:
        """One new user's history as a matrix of one row. Raises DataError, UnknownIdError."""
        if not isinstance(history, Iterable) or isinstance(history, str):
            raise DataError(f"history must be a list of items or of (item, rating) pairs, not {checks.shown(history)}")
        given = list(islice(history.items() if isinstance(history, Mapping) else history, len(self.items) + 1))
        if len(given) > len(self.items):
            raise DataError(f"history must have at most {len(self.items):,} entries, one for each item")
        pairs = [one if isinstance(one, tuple | list) else (one, 1.0) for one in given]
        if self.kind == "ratings" and any(not isinstance(one, tuple | list) for one in given):
            raise DataError("give the history as (item, rating) pairs: this model learnt from ratings")
        if bad := [pair for pair in pairs if len(pair) != 2 or not _is_number(pair[1])]:
            raise DataError(f"history: {checks.shown(bad[0])} is not an (item, rating) pair with a finite number")
        items = id_series("history", [item for item, _ in pairs])
        rows = self.items.rows(items)
        if (rows < 0).any():
            raise UnknownIdError(f"history: item {items[int((rows < 0).argmax())]!r} is not known to this model")
        if items.n_unique() < len(items):
            raise DataError(f"item {items.filter(items.is_duplicated())[0]!r} stands twice in the history")
        values = [value for _, value in pairs]
        if self.scale is not None:
            self.scale.check(values, name=lambda place: f"the rating of item {items[place]!r}")
        return SparseRows.of(np.zeros(len(rows), np.int64), rows, values, 1)

    @validated
    def updated(self, new: Interactions) -> Recommender:
        """A new Recommender that knows these rows too: changed and new users folded in, nothing retrained.

        A pair that was known already takes the new rating (events are added up). Items must be known: see `with_items`
        for new ones. Everybody else keeps their row; no rows change nothing. Raises KindError for the other kind and
        for a model that cannot fold in, UnknownIdError for new items, DataError for a rating off the scale, user ids of
        another type, or a user table that does not go with the known one.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings)
        >>> after = rec.updated(cofactor.Interactions.from_columns(["zoe"], ["clue"], [5]))
        >>> len(rec.users), len(after.users), after.recommend("zoe")["item"].to_list()
        (2, 3, ['alien'])
        """
        if require_interactions("new", new).kind != self.kind:
            raise KindError(f"this model learnt from {self.kind}, and these are {new.kind}")
        self._check_scale(new)
        low = new.seen
        changed, met = np.unique(new.u if low is None else np.concatenate([new.u, low.u])), np.unique(new.i)
        item_rows = np.full(new.n_items, -1, np.int32)
        item_rows[met] = self.items.rows(new.items.ids(met))
        if (unknown := met[item_rows[met] < 0]).size:
            more = f" and {unknown.size - 1} more are" if unknown.size > 1 else " is"
            raise UnknownIdError(f"item {new.items.ids(unknown[:1])[0]!r}{more} new: see with_items, or fit again")
        ids = new.users.ids(changed)
        arrived = new.by_user.take(changed)
        arrived = replace(arrived, columns=item_rows[arrived.columns])
        merge = merge_counts if self.kind == "events" else merge_latest
        after = merge(self.histories.take(self.users.rows(ids)), arrived)
        users = self.users.union(IdMap.of(ids))
        table = _with_rows_for(users, self.user_table, new.user_table)
        folded = self.folded_in(after, None if table is None else table[users.rows(ids)])
        take = np.array(self.users.rows(users.all))
        take[users.rows(ids)] = -1 - np.arange(len(ids), dtype=np.int32)
        picked = np.where(take < 0, len(self.users) - 1 - take, take)
        return replace(
            self,
            model=self.model.with_users(folded, take),
            users=users,
            histories=vstack(self.histories, after).take(picked),
            user_table=table,
            seen=self._seen_with(new, ids, changed, picked),
        )

    def _seen_with(self, new: Interactions, ids: pl.Series, changed: Int32, picked: Int64) -> SparseRows | None:
        """What users have seen after `new`; items that the model does not know are left out."""
        if self.seen is None and new.seen is None:
            return None
        before = SparseRows.empty(len(self.users)) if self.seen is None else self.seen
        arrived = SparseRows.empty(len(changed))
        if new.seen is not None:
            low = new.seen.by_user.take(changed)
            item_rows = self.items.rows(new.items.all)[low.columns]
            owner = np.repeat(np.arange(len(low)), low.counts)[item_rows >= 0]
            arrived = SparseRows.of(owner, item_rows[item_rows >= 0], low.values[item_rows >= 0], len(low))
        after = merge_latest(before.take(self.users.rows(ids)), arrived)
        return vstack(before, after).take(picked)

    def _check_scale(self, ratings: Interactions) -> None:
        """Raise DataError for a rating that is not on the scale."""

        def name(row: int) -> str:
            user, item = ratings.users.ids(ratings.u[[row]])[0], ratings.items.ids(ratings.i[[row]])[0]
            return f"the rating of user {user!r} and item {item!r}"

        if self.scale is not None:
            self.scale.check(ratings.values, name=name)

    @validated
    def with_items(self, table: Any, ratings: Interactions | None = None) -> Recommender:
        """A new Recommender whose catalog holds these new items too: nothing is retrained.

        table: a row for each new item, with the columns that the priors were learnt from; its ids are in the column
        that is usually called so ("item", "movieId", "id", ...), else in the first. `ratings` of them, if there are
        any, move them from the prior, and are then what `updated` takes. Raises KindError without priors of items or
        where the model takes no new ones, DataError for a rating off the scale, for ids that are known or stand twice,
        and for what is no table with a column of ids. A table without rows changes nothing.

        >>> import cofactor, polars as pl
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
        >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
        >>> wider = cofactor.cold_start.learn_priors(rec).with_items(pl.DataFrame({"item": [100, 101]}))
        >>> len(wider.items), len(wider.recommend(3, candidates=[100, 101]))
        (42, 2)
        """
        prior = None if self.priors is None else self.priors.items
        if prior is None or not isinstance(self.model, TakesItems):
            raise KindError(
                "new items need a prior: cold_start.learn_priors of biased-mf, explicit-als, implicit-als, bpr"
            )
        side = SideTable.of(table, "item")
        table = side.keyed((side.id_columns or [*side.frame.columns, *side.index.columns])[0])
        ids = table["item"]
        if ids.n_unique() < len(ids) or (self.items.rows(ids) >= 0).any():
            raise DataError("new items must be new: some ids of the table are known or stand twice")
        items, raters = self.items.union(IdMap.of(ids)), self._raters(ids, ratings)
        with solvable():
            factors, bias = self.model.fold_in_items(
                raters, GaussianPrior(prior.means(table, len(ids)), prior.precision)
            )
        take = np.array(self.items.rows(items.all))
        take[items.rows(ids)] = -1 - np.arange(len(ids), dtype=np.int32)
        moved = items.rows(self.items.all)
        wider = replace(
            self,
            model=self.model.with_items(factors, bias, take),
            items=items,
            histories=replace(self.histories, columns=moved[self.histories.columns]),
            seen=None if self.seen is None else replace(self.seen, columns=moved[self.seen.columns]),
            evidence=None if self.evidence is None else np.append(self.evidence, True)[np.maximum(take, -1)],
            item_table=_with_rows_for(items, self.item_table, table),
        )
        return wider if ratings is None else wider.updated(ratings)

    def _raters(self, items: pl.Series, ratings: Interactions | None) -> SparseRows:
        """For each of these items who of the known users rated it, and how."""
        if ratings is None:
            return SparseRows.empty(len(items))
        if ratings.kind != self.kind:
            raise KindError(f"this model learnt from {self.kind}, and these are {ratings.kind}")
        self._check_scale(ratings)
        places, users = ratings.items.rows(items), self.users.rows(ratings.users.all)
        own = ratings.by_item.take(places)
        known = users[own.columns] >= 0
        owner = np.repeat(np.arange(len(own)), own.counts)[known]
        weights = None if own.weights is None else own.weights[known]
        return SparseRows.of(owner, users[own.columns[known]], own.values[known], len(own), weights)

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
        arrays = {f"model.{name}": array for name, array in self.model.arrays().items()}
        arrays |= persistence.id_arrays("users", self.users) | persistence.id_arrays("items", self.items)
        arrays |= persistence.row_arrays("histories", self.histories)
        if self.seen is not None:
            arrays |= persistence.row_arrays("seen", self.seen)
        if self.evidence is not None:
            arrays["evidence"] = self.evidence
        priors = Priors() if self.priors is None else self.priors
        arrays |= {f"priors.{name}": array for name, array in priors.arrays().items()}
        for name in ("user_table", "item_table"):
            if (table := getattr(self, name)) is not None:
                arrays[name] = persistence.frame_bytes(table)
        manifest = {
            "kind": self.kind,
            "model": {"kind": self.model.kind, **self.model.settings()},
            "estimator": None if self.estimator is None else json.loads(self.estimator.to_json()),
            "priors": None if self.priors is None else self.priors.settings(),
            "scale": None if self.scale is None else asdict(self.scale),
        }
        write_artifact(checks.path("path", path), arrays, manifest)

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
        path, verify = checks.path("path", path), checks.flag("verify", verify)
        artifact = read_artifact(path, verify=verify)
        if not verify:
            artifact.verify(name for name, array in artifact.arrays.items() if not _is_numbers(name, array))
        try:
            return cls._of_parts(artifact.arrays, artifact.manifest)
        except ForkError:
            raise
        except (Exception, pl.exceptions.PanicException) as problem:
            what = f"lacks {problem}" if isinstance(problem, KeyError) else f"cannot be understood ({problem})"
            raise ArtifactError(f"{path} {what}: it was written by another version of cofactor") from problem

    @classmethod
    def _of_parts(cls, arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> Recommender:
        """The recommender of a file. Raises whatever it may for parts that are not those of one."""
        settings = manifest["model"]
        model_arrays, prior_arrays = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in ("model.", "priors.")
        )
        users, items = persistence.id_map("users", arrays), persistence.id_map("items", arrays)
        user_table, item_table = (
            persistence.frame(arrays[name], len(ids)) if name in arrays else None
            for name, ids in (("user_table", users), ("item_table", items))
        )
        return cls(
            KINDS[settings["kind"]].from_parts(model_arrays, settings),
            users,
            items,
            persistence.rows("histories", arrays),
            manifest["kind"],
            _estimator(manifest["estimator"]),
            user_table,
            item_table,
            None if manifest["priors"] is None else Priors.from_parts(prior_arrays, manifest["priors"]),
            persistence.rows("seen", arrays) if "seen.start" in arrays else None,
            checks.plain("scale", manifest["scale"], Scale | None),
            arrays.get("evidence"),
        )


def _is_numbers(name: str, array: NDArray[Any]) -> bool:
    """Whether an array holds learned numbers or values of histories: large, and nothing but numbers."""
    return array.dtype.kind == "f" and name.startswith(("model.", "histories.", "seen."))


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


def checked_estimator(estimator: Any) -> Any:
    """The estimator itself. Raises ParameterError for what is none, such as its name.

    >>> checked_estimator("bias")
    Traceback (most recent call last):
    cofactor.errors.ParameterError: estimator must be an estimator, such as cofactor.Bias(), not 'bias'
    """
    if not isinstance(estimator, Estimator):
        raise ParameterError(f"estimator must be an estimator, such as cofactor.Bias(), not {checks.shown(estimator)}")
    return estimator


def _ranks(n: int) -> Int32:
    return np.arange(1, n + 1, dtype=np.int32)


def _seconds(times: Any, n: int) -> Int64 | None:
    """n times as whole seconds since 1970, from one for all or one each. Raises DataError."""
    if times is None:
        return None
    checks.require_bounded("times", times)
    given = np.asarray(times)
    if given.dtype.kind not in "iu" or given.shape not in ((), (n,)):
        raise DataError(
            f"times are whole seconds since 1970, one for all {n:,} pairs or one each, not {checks.shown(times)}"
        )
    return np.broadcast_to(given.astype(np.int64), (n,))


def _is_number(value: Any) -> bool:
    """Whether this is a number that float32 can hold."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and abs(float(value)) <= float(np.finfo(np.float32).max)


def _with_rows_for(ids: IdMap, table: pl.DataFrame | None, new: pl.DataFrame | None) -> pl.DataFrame | None:
    """The table with a row for each of `ids`: those it lacks from `new`, null where neither says anything."""
    if table is None:
        table, new = new, None
    if table is None:
        return None
    key = table.columns[0]
    table = _typed(ids, table, key)
    if new is not None:
        new = _typed(ids, new, key)
        arrived = new.filter(~pl.col(key).is_in(table[key].implode()))
        try:
            table = pl.concat([table, arrived], how="diagonal_relaxed")
        except pl.exceptions.PolarsError as problem:
            raise DataError(f"the new table's columns do not go with those that are known: {problem}") from problem
    return pl.DataFrame({key: ids.all}).join(table, on=key, how="left", maintain_order="left")


def _typed(ids: IdMap, table: pl.DataFrame, key: str) -> pl.DataFrame:
    """The table with its ids (the first column) in the type of the map, and under this name."""
    return pl.DataFrame([ids.typed(table.to_series(0)).alias(key), *table.drop(table.columns[0])])


def _estimator(spec: dict[str, Any] | None) -> Estimator | None:
    if spec is None:
        return None
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "estimator"}
    estimator: Estimator = REGISTRY[spec["estimator"]](**settings)
    return estimator
