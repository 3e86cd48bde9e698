"""Engine: answer requests using the active model and the store.

Answers for a user are based on

- the user's row in the trained model, if the user has no changes since the training;
- a fold-in of all stored events and metadata of the user, if there are changes or the model has no row for the user;
- the prior or popularity, if the store has no data for the user.

Each request uses one model from start to end; a newly promoted model is used for later requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cofactor.arrays import ALL_ROWS, Bool
from cofactor.data.id_columns import Id
from cofactor.data.metadata import Metadata
from cofactor.errors import ArtifactError, KindError, StoreUnavailableError, UnknownIdError
from cofactor.kernels.parallel import threads
from cofactor.models.base import Explains, HasUncertainty, PredictsRatings
from cofactor.recommender.users import UserView
from cofactor.results import (
    AnsweredBy,
    ExplainedScore,
    ExplanationMethod,
    Prediction,
    Query,
    Question,
    Recommendation,
    RemovalEffect,
    ScorePart,
    SimilarItem,
    SimilarItems,
)
from cofactor.service.catalog_update import with_new_items
from cofactor.service.change_feed import ChangeFeed
from cofactor.service.loaded_model import LoadedModel, UserState
from cofactor.service.lru import LRUCache
from cofactor.service.registry import ArtifactRegistry
from cofactor.store import Store, StoredEvent
from cofactor.store.snapshot import user_snapshot

__all__ = ["Engine", "NoModelError"]

MAX_MASKS = 64
"""Maximum number of cached filter masks."""
CONFIDENCE = 0.9
"""Coverage probability of prediction intervals."""

_log = logging.getLogger("cofactor.service")


@dataclass
class _CachedUser:
    """State of a folded-in user and a view of only this user, which is created on first use."""

    state: UserState
    view: UserView | None = None


class NoModelError(StoreUnavailableError):
    """Error raised if no model has been promoted yet.

    Parameters
    ----------
    message : str
        The message.
    written : {'no', 'unknown'}
        See `StoreUnavailableError`.
    """


class Engine:
    """Engine that answers requests using the active model and the store; each process shares one among its threads.

    Parameters
    ----------
    store : Store
        Store of the service.
    artifacts : ArtifactRegistry
        Artifacts of the models.
    cache : int, default 1000
        Maximum number of folded-in users in the cache.

    Attributes
    ----------
    changes : ChangeFeed
        Changes in the store since the training.
    swaps, failures : int
        Number of models that were loaded, and that failed to load.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import cofactor
    >>> from cofactor.service.training.trainer import Trainer
    >>> from cofactor.store import Event, Store
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     artifacts = ArtifactRegistry(folder)
    ...     _ = store.events.load(ratings)
    ...     _ = Trainer(store, artifacts).train({"estimator": {"estimator": "explicit-als", "factors": 2}})
    ...     engine = Engine(store, artifacts)
    ...     before = [item.item for item in engine.recommend("cy", Query(n=2)).items]
    ...     _ = store.events.append([Event("cy", "alien", 5)])
    ...     after = engine.recommend("cy", Query(n=2))
    >>> before, [item.item for item in after.items], after.answered_by
    (['alien', 'clue'], ['clue'], 'fold-in')
    """

    def __init__(self, store: Store, artifacts: ArtifactRegistry, *, cache: int = 1_000):
        self.store = store
        self.artifacts = artifacts
        self.swaps = self.failures = 0
        watermarks = [
            model.watermark for model in (store.models.active(), store.models.previous()) if model is not None
        ]
        self.changes = ChangeFeed(store, since=min(watermarks, default=0))
        self._users: LRUCache[_CachedUser] = LRUCache(cache)
        self._masks: LRUCache[Bool] = LRUCache(MAX_MASKS)
        self._item_metadata: LRUCache[Metadata] = LRUCache(1)
        self._model: LoadedModel | None = None
        self._trained_model: LoadedModel | None = None
        self._extended = (0, 0)
        self._swap_lock = threading.Lock()
        self.refresh()

    # the active model

    def refresh(self) -> bool:
        """Load the active model unless it is already loaded.

        If it cannot be opened, the error is logged, and the previous model remains in use.

        Returns
        -------
        bool
            Whether a model was loaded.

        Raises
        ------
        StoreUnavailableError
            If the store cannot be read.
        """
        with self._swap_lock:
            active = self.store.models.active()
            if active is None or active.file is None or (self._model and self._model.version == active.version):
                return False
            try:
                recommender = self.artifacts.open(active.file, verify=False)
            except ArtifactError as error:
                self.failures += 1
                _log.error("model %d cannot be opened; the previous model remains in use: %s", active.version, error)
                return False
            catalog_revision = 0 if self._model is None else self._model.catalog_revision + 1
            loaded = LoadedModel(active.version, active.watermark, recommender, catalog_revision)
            self._warm_up(loaded)
            self.changes.extend_back_to(active.watermark)
            self._model, self._trained_model, self.swaps = loaded, loaded, self.swaps + 1
            self._users.clear()
            self._masks.clear()
            previous = self.store.models.previous()
            self.changes.discard_until(min(active.watermark, previous.watermark if previous else active.watermark))
            return True

    def extend_catalog(self) -> bool:
        """Add new items from the store to the model, if it has an item prior.

        Returns
        -------
        bool
            Whether items were added.
        """
        with self._swap_lock:
            trained_model, current_model = self._trained_model, self._model
            if (
                trained_model is None
                or current_model is None
                or self._extended == (trained_model.version, self.changes.catalog_version)
            ):
                return False
            self._extended = (trained_model.version, self.changes.catalog_version)
            extended_model = with_new_items(trained_model, self.changes.items())
            if extended_model is None or len(extended_model.recommender.items) == len(current_model.recommender.items):
                return False
            extended_model = replace(extended_model, catalog_revision=current_model.catalog_revision + 1)
            self._warm_up(extended_model)
            self._model = extended_model
            self._users.clear()
            self._masks.clear()
            return True

    def _warm_up(self, loaded: LoadedModel) -> None:
        """Rank items for a known and a new user, so that no request waits for compilation or page faults."""
        rec = loaded.recommender
        _ = rec.catalog.by_support
        if not len(rec.users):
            return
        history = rec.histories.row(0)
        state = UserState(-1, history.columns[:3], history.values[:3], np.arange(3)[: len(history.columns)])
        with threads(1):
            for view in (loaded.view([UserState(0)]), loaded.view([state])):
                view.rank(1)

    @property
    def model(self) -> LoadedModel:
        """Model in use. Raises NoModelError before the first promotion."""
        if self._model is None:
            raise NoModelError("no model has been promoted yet", "no")
        return self._model

    @property
    def version(self) -> int | None:
        """Version of the model in use; None before the first promotion."""
        return None if self._model is None else self._model.version

    def check_rating(self, value: float) -> None:
        """Check that a rating is on the model's scale; accept any value if there is no model or it has no scale.

        Parameters
        ----------
        value : float
            The rating.

        Raises
        ------
        DataError
            If the rating is not on the scale.
        """
        if self._model is not None and self._model.recommender.scale is not None:
            self._model.recommender.scale.check([value], name="the value")

    def knows_item(self, item: str) -> bool:
        """Return whether the model knows an item.

        Parameters
        ----------
        item : str
            ID of the item.

        Returns
        -------
        bool
            Whether the item is known; False if there is no model.
        """
        return self._model is not None and self._model.item_row(item) >= 0

    def knows_user(self, user: str) -> tuple[bool, bool]:
        """Return whether the model was trained on a user, and whether the user has newer events.

        Parameters
        ----------
        user : str
            ID of the user.

        Returns
        -------
        is_trained : bool
            Whether the model has a row for the user and the user was not erased after the training.
        has_newer_events : bool
            Whether the store has events for the user that the model was not trained on. Both values are False if there
            is no model.
        """
        if self._model is None:
            return False, False
        watermark, user = self._model.watermark, str(self._model.recommender.users.parse(user))
        has_row = self._model.user_row(user) >= 0 and not self.changes.erased_after(user, watermark)
        return has_row, self.changes.last_event(user) > watermark

    # users

    def catch_up(self) -> bool:
        """Read all changes that the store has acknowledged.

        Returns
        -------
        bool
            Whether the store could be read.
        """
        try:
            self.changes.catch_up()
        except StoreUnavailableError:
            return False
        return True

    def view(self, user: str) -> tuple[LoadedModel, UserView, bool]:
        """Return the model in use, a view of a user with their current history, and whether the history may be stale.

        Parameters
        ----------
        user : str
            ID of the user.

        Returns
        -------
        model : LoadedModel
            The model in use.
        view : UserView
            View of the user.
        is_stale : bool
            Whether the store could not be read, so that the newest events may be missing.

        Raises
        ------
        NoModelError
            Before the first promotion.
        """
        model, stale = self.model, not self.catch_up()
        (cached,), read_failed = self._cached_users(model, [user])
        if cached.view is None:
            cached.view = model.view([cached.state])
        return model, cached.view, stale or read_failed

    def _cached_users(self, model: LoadedModel, users: Sequence[str]) -> tuple[list[_CachedUser], bool]:
        """Return the cached or newly read state of each user, and whether the store could not be read."""
        names = [str(model.recommender.users.parse(user)) for user in users]  # in the form used by the store
        changes = [(self.changes.last_change(name), self.changes.last_metadata_change(name)) for name in names]
        keys = [
            (model.version, model.catalog_revision, name, *numbers)
            for name, numbers in zip(names, changes, strict=True)
        ]
        rows = model.recommender.users.rows(names, parse=True).tolist()
        cached = [
            _CachedUser(UserState(row)) if row >= 0 and last_seq <= model.watermark else self._users.get(key)
            for row, (last_seq, _), key in zip(rows, changes, keys, strict=True)
        ]
        missing_positions = {name: position for position, name in enumerate(names) if cached[position] is None}
        try:
            states = self._read_states(
                model, {name: changes[position][1] for name, position in missing_positions.items()}
            )
            for name, position in missing_positions.items():
                self._users.put(keys[position], _CachedUser(states[name]))
            read_failed = False
        except StoreUnavailableError:
            states, read_failed = {name: self._state_at_training(model, name) for name in missing_positions}, True
        new_entries = {name: _CachedUser(state) for name, state in states.items()}
        return [
            new_entries[name] if entry is None else entry for name, entry in zip(names, cached, strict=True)
        ], read_failed

    def _read_states(self, model: LoadedModel, users: Mapping[str, int]) -> dict[str, UserState]:
        """Return the states of users, built from their stored events and metadata.

        `users` maps IDs to the sequence number of the latest metadata change, or 0 if there is no metadata.
        """
        if not users:
            return {}
        events = self.store.events.of_users(list(users))
        metadata = self.store.users.get_many([user for user, number in users.items() if number])
        return {
            user: _state(model, events.get(user, []), metadata[user].metadata if user in metadata else None)
            for user in users
        }

    def _state_at_training(self, model: LoadedModel, user: str) -> UserState:
        """Return the state of a user at training time, for use while the store cannot be read."""
        return UserState() if self.changes.erased_after(user, model.watermark) else UserState(model.user_row(user))

    # answers

    def recommend(self, user: str, query: Query, stream: np.random.Generator | None = None) -> Recommendation:
        """Return the top n items for a user.

        Parameters
        ----------
        user : str
            ID of the user, who may be unknown.
        query : Query
            Length, filters and ranking of the list.
        stream : numpy.random.Generator, optional
            Random generator for exploration; a new one with fresh entropy by default.

        Returns
        -------
        Recommendation
            The list.

        Raises
        ------
        NoModelError
            Before the first promotion.
        KindError
            If the model does not support the ranking, or cannot fold in a user who has changes.
        """
        model, view, stale = self.view(user)
        return self._build_recommendations(model, [user], view, query, stale, stream)[0]

    def recommend_batch(
        self, users: Sequence[str], query: Query, stream: np.random.Generator | None = None
    ) -> list[Recommendation]:
        """Return the top n items for each of several users, ranked in a single call.

        Parameters
        ----------
        users : sequence of str
            IDs of the users, who may be unknown.
        query : Query
            Length, filters and ranking of the lists.
        stream : numpy.random.Generator, optional
            Random generator for exploration; a new one with fresh entropy by default.

        Returns
        -------
        list of Recommendation
            One list for each user, in the order of `users`.

        Raises
        ------
        NoModelError
            Before the first promotion.
        KindError
            If the model does not support the ranking, or cannot fold in a user who has changes.
        """
        model, stale = self.model, not self.catch_up()
        cached, read_failed = self._cached_users(model, users)
        states = [entry.state for entry in cached]
        sources = [model.source(state) for state in states]
        return self._build_recommendations(
            model, users, model.view(states), query, stale or read_failed, stream, sources
        )

    def recommend_for(
        self, history: Sequence[tuple[str, float]], query: Query, stream: np.random.Generator | None = None
    ) -> Recommendation:
        """Return the top n items for a new user with a given history; nothing is stored.

        Parameters
        ----------
        history : sequence of (str, float)
            (item ID, value) pairs in chronological order, the latest last; unknown items are ignored.
        query : Query
            Length, filters and ranking of the list.
        stream : numpy.random.Generator, optional
            Random generator for exploration; a new one with fresh entropy by default.

        Returns
        -------
        Recommendation
            The list; its `user` is None.

        Raises
        ------
        NoModelError
            Before the first promotion.
        KindError
            If the model does not support the ranking or cannot fold in new users.
        """
        model, stale = self.model, not self.catch_up()
        view = model.view([model.state(history)])
        return self._build_recommendations(model, [None], view, query, stale, stream)[0]

    def _build_recommendations(
        self,
        model: LoadedModel,
        users: Sequence[str | None],
        view: UserView,
        query: Query,
        stale: bool,
        stream: np.random.Generator | None,
        sources: Sequence[AnsweredBy] | None = None,
    ) -> list[Recommendation]:
        mask = self._allowed_mask(model, query)
        with threads(1):
            lists = view.recommended_items(
                query.n,
                allowed=mask,
                rank_by=query.rank_by,
                diversity=query.diversity,
                explore=query.explore,
                stream=stream,
                title_of=lambda item, row: self.title(model, item, row),
            )
        answers = []
        for position, (user, items) in enumerate(zip(users, lists, strict=True)):
            source = view.source if sources is None else sources[position]
            if source == "popularity" and any(item.answered_by == "model" for item in items):
                source = "prior"  # the biases of items
            answers.append(Recommendation(model.version, source, stale, user, items, view.item_index))
        return answers

    def predict(self, user: str, item: str) -> Prediction:
        """Return the expected rating for a user-item pair.

        Parameters
        ----------
        user : str
            ID of the user, who may be unknown.
        item : str
            ID of the item.

        Returns
        -------
        Prediction
            The expected rating, with a 90% interval if the model predicts distributions.

        Raises
        ------
        NoModelError
            Before the first promotion.
        UnknownIdError
            If the item is unknown.
        KindError
            If the model cannot predict ratings.
        """
        model, view, stale = self.view(user)
        if not isinstance(view.model, PredictsRatings):
            raise KindError("this model cannot predict ratings")
        item_id = self._item_id(model, item)
        with threads(1):
            value, interval = view.predict(item_id), None
            if isinstance(view.model, HasUncertainty):
                low, high = view.interval(item_id, confidence=CONFIDENCE)
                interval = (float(low[0]), float(high[0]))
        return Prediction(model.version, view.source, stale, user, item, float(value), interval)

    def explain(self, user: str, item: str, method: ExplanationMethod = "removal") -> ExplainedScore:
        """Explain the score of a user-item pair by the items in the user's history.

        Parameters
        ----------
        user : str
            ID of the user.
        item : str
            ID of the item.
        method : {"removal", "contribution"}, default "removal"
            Effects of removing each item in the history on the score, or contributions that add up to the score.

        Returns
        -------
        ExplainedScore
            The score with the effects or the contributions; those of similar users do not contain their IDs.

        Raises
        ------
        NoModelError
            Before the first promotion.
        UnknownIdError
            If the item is unknown, or if the user has no row in the model, no history and no prior.
        KindError
            If the model cannot explain its scores.
        """
        model, view, stale = self.view(user)
        item_id = self._item_id(model, item)
        if not isinstance(view.model, Explains):
            raise KindError("this model cannot explain its scores")
        if view.source == "popularity":
            raise UnknownIdError(f"user {user!r} is unknown to model {model.version}, so scores cannot be explained")
        with threads(1):
            score, frame = view.score(item_id), view.explain(item_id, method=method)
        effects: tuple[RemovalEffect, ...] = ()
        parts: tuple[ScorePart, ...] = ()
        if method == "removal":
            effects = tuple(self._removal_effect(model, row) for row in frame.iter_rows(named=True))
        else:
            parts = tuple(self._score_part(model, row) for row in frame.iter_rows(named=True))
        return ExplainedScore(model.version, view.source, stale, user, item, score, method, effects, parts)

    def _removal_effect(self, model: LoadedModel, row: Mapping[str, Any]) -> RemovalEffect:
        item = str(row["item"])
        return RemovalEffect(item, row["value"], row["effect"], self.title(model, item, model.item_row(item)))

    def _score_part(self, model: LoadedModel, row: Mapping[str, Any]) -> ScorePart:
        item = None if row.get("item") is None else str(row["item"])
        title = None if item is None else self.title(model, item, model.item_row(item))
        return ScorePart(row["part"], item, row.get("value"), float(row["term"]), title)

    def similar(self, item: str, n: int) -> SimilarItems:
        """Return the available items most similar to an item.

        Parameters
        ----------
        item : str
            ID of the item.
        n : int
            Maximum number of items.

        Returns
        -------
        SimilarItems
            The items, most similar first.

        Raises
        ------
        NoModelError
            Before the first promotion.
        UnknownIdError
            If the item is unknown.
        KindError
            If the model has no vectors or similarities.
        """
        self.catch_up()
        model = self.model
        mask = self._allowed_mask(model, Query())
        with threads(1):
            rec = model.recommender
            rows, scores = rec.catalog.similar(rec.model, self._item_id(model, item), n, mask)
        ids = [str(id_) for id_ in rec.items.ids(rows)]
        items = tuple(
            SimilarItem(id_, rank, float(score), self.title(model, id_, row))
            for rank, (id_, row, score) in enumerate(zip(ids, rows.tolist(), scores, strict=True), start=1)
        )
        return SimilarItems(item, model.version, items)

    def question(self, answers: Sequence[tuple[str, float | None]]) -> Question:
        """Return the next item to ask a new user about.

        Parameters
        ----------
        answers : sequence of (str, float or None)
            (item ID, rating) pairs so far; the rating is None if the user does not know the item.

        Returns
        -------
        Question
            The question; its `item` is None if no further answer would help.

        Raises
        ------
        NoModelError
            Before the first promotion.
        UnknownIdError
            If the item is unknown.
        KindError
            If the model has no factors learned from ratings.
        ParameterError
            If the items are not unique or a rating is not finite.
        DataError
            If a rating is not on the model's scale.
        """
        model = self.model
        questions = model.questions
        for item, value in answers:
            questions = questions.with_answer(self._item_id(model, item), value)
        best_item = questions.next_item()
        text = None if best_item is None else str(best_item)
        title = None if text is None else self.title(model, text, model.item_row(text))
        return Question(model.version, text, title, questions.expected_variance(), questions.expected_answers())

    # items

    def title(self, model: LoadedModel, item: str, row: int) -> str | None:
        """Return the title of an item from the store or, if it has none there, from the training table.

        Parameters
        ----------
        model : LoadedModel
            The model in use.
        item : str
            ID of the item.
        row : int
            Row number of the item in the model.

        Returns
        -------
        str or None
            The title; None if there is none.
        """
        record = self.changes.item(item)
        if record is not None and record.title is not None:
            return record.title
        return model.recommender.catalog.title_of(item, row)

    def _item_id(self, model: LoadedModel, item: str) -> Id:
        """Return an item ID in the ID type of the model. Raises UnknownIdError for an unknown item."""
        row = model.item_row(item)
        if row < 0:
            raise UnknownIdError(f"item {item!r} is unknown to model {model.version}")
        return model.recommender.items.id_at(row)

    def _allowed_mask(self, model: LoadedModel, query: Query) -> Bool:
        """Return a mask of the items that a list may contain; an empty array if all are allowed."""
        catalog, catalog_key = (
            model.recommender.catalog,
            (model.version, model.catalog_revision, self.changes.catalog_version),
        )
        key = (*catalog_key, query.min_support, query.where)
        mask = self._masks.get(key)
        if mask is None:
            metadata = None if query.where is None else self._metadata(model, catalog_key)
            unavailable = model.item_rows(list(self.changes.unavailable))
            filters: Any = {"min_support": query.min_support, "where": query.where, "metadata": metadata}
            mask = catalog.filter_mask(ALL_ROWS, unavailable, **filters)
            self._masks.put(key, mask)
        return catalog.filter_mask(mask, model.item_rows(query.exclude)) if query.exclude else mask

    def _metadata(self, model: LoadedModel, key: tuple[int, int, int]) -> Metadata:
        """Return the stored metadata and titles of the items of a model, cached until an item changes."""
        metadata = self._item_metadata.get(key)
        if metadata is None:
            records, ids = self.changes.items(), map(str, model.recommender.items.all.to_list())
            metadata = Metadata.of_records(
                [
                    {**(records[id_].metadata if id_ in records else {}), "title": self.title(model, id_, row)}
                    for row, id_ in enumerate(ids)
                ]
            )
            self._item_metadata.put(key, metadata)
        return metadata


def _state(model: LoadedModel, events: Sequence[StoredEvent], metadata: Mapping[str, Any] | None) -> UserState:
    """Return the state of a user with these events; items with events of the other kind are excluded from lists."""
    kind = model.recommender.kind
    history = user_snapshot(events, kind)
    other = user_snapshot(events, "events" if kind == "ratings" else "ratings")
    return model.state(
        [(value.item, value.value) for value in history],
        [value.item for value in other],
        metadata,
        times=[value.time for value in history],
    )
