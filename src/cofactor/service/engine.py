"""The live engine: the model that answers now, and everybody as they are now.

    trained row            where nothing happened to the user since the model learnt
    folded in              from all that the store holds of the user, where something did, or the model knows nothing
    prior, popularity      where nobody knows anything

A request takes the model it finds and keeps it to its end; a newly promoted one is put in its place beside it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cofactor.arrays import ALL_ROWS, Bool
from cofactor.errors import ArtifactError, StoreUnavailableError
from cofactor.kernels.parallel import threads
from cofactor.recommender.users import UserView
from cofactor.service.answers import Query, Recommendation, RecommendedItem
from cofactor.service.catalog_update import with_new_items
from cofactor.service.change_feed import ChangeFeed
from cofactor.service.exploring import Place, mixed, rarely_rated
from cofactor.service.loaded_model import AnsweredBy, ItemAnsweredBy, LoadedModel
from cofactor.service.lru import LRUCache
from cofactor.service.registry import ArtifactRegistry
from cofactor.store import Store, StoredEvent
from cofactor.store.snapshot import user_snapshot

__all__ = ["Engine", "NoModelError"]

MASKS = 64
"""Filters whose items are remembered."""

_log = logging.getLogger("cofactor.service")


class NoModelError(StoreUnavailableError):
    """No model was promoted yet: ask again once one was."""


class Engine:
    """Answers from the active model and the store; one for each process, shared by its threads.

    Attributes:

        store, artifacts, changes: what it reads.
        swaps, failures: how often another model was put in place, and could not be.

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
    ...     before = [place.item for place in engine.recommend("cy", Query(n=2)).items]
    ...     _ = store.events.append([Event("cy", "alien", 5)])
    ...     after = engine.recommend("cy", Query(n=2))
    >>> before, [place.item for place in after.items], after.by
    (['alien', 'clue'], ['clue'], 'fold-in')
    """

    def __init__(self, store: Store, artifacts: ArtifactRegistry, *, cache: int = 1_000):
        self.store = store
        self.artifacts = artifacts
        self.swaps = self.failures = 0
        oldest = [model.watermark for model in (store.models.active(), store.models.previous()) if model is not None]
        self.changes = ChangeFeed(store, since=min(oldest, default=0))
        self._people: LRUCache[UserView] = LRUCache(cache)
        self._masks: LRUCache[Any] = LRUCache(MASKS)
        self._serving: LoadedModel | None = None
        self._mapped: LoadedModel | None = None
        self._widened = (0, 0)
        self._swapping = threading.Lock()
        self.refresh()

    # which model answers

    def refresh(self) -> bool:
        """Put the active model in place, if it is another; whether it was. What it cannot open is logged, not served.

        Raises StoreUnavailableError.
        """
        with self._swapping:
            active = self.store.models.active()
            if active is None or active.file is None or (self._serving and self._serving.version == active.version):
                return False
            try:
                recommender = self.artifacts.open(active.file, verify=False)
            except ArtifactError as problem:
                self.failures += 1
                _log.error("model %d cannot be opened, the one before goes on: %s", active.version, problem)
                return False
            edition = 0 if self._serving is None else self._serving.edition + 1
            serving = LoadedModel(active.version, active.watermark, recommender, edition)
            self._warm(serving)
            self.changes.extend_back_to(active.watermark)
            self._serving, self._mapped, self.swaps = serving, serving, self.swaps + 1
            self._people.clear()
            self._masks.clear()
            previous = self.store.models.previous()
            self.changes.discard_until(min(active.watermark, previous.watermark if previous else active.watermark))
            return True

    def widen(self) -> bool:
        """Put items that the model did not learn of into it, where it has priors of items; whether there were any."""
        with self._swapping:
            mapped, now = self._mapped, self._serving
            if mapped is None or now is None or self._widened == (mapped.version, self.changes.catalog_version):
                return False
            self._widened = (mapped.version, self.changes.catalog_version)
            wider = with_new_items(mapped, self.changes.items())
            if wider is None or len(wider.recommender.items) == len(now.recommender.items):
                return False
            wider = replace(wider, edition=now.edition + 1)
            self._warm(wider)
            self._serving = wider
            self._people.clear()
            self._masks.clear()
            return True

    def _warm(self, serving: LoadedModel) -> None:
        """One list, one newcomer: what must be compiled or mapped is, before anybody waits for it."""
        rec = serving.recommender
        _ = rec.catalog.by_support
        if not len(rec.users):
            return
        history = rec.histories.row(0)
        pairs = list(zip(serving.items(history.columns[:3]), history.values[:3].tolist(), strict=True))
        with threads(1):
            for view in (rec.for_rows(np.zeros(1, np.int32)), serving.newcomer(pairs)):
                view.rank(1)

    @property
    def serving(self) -> LoadedModel:
        """The model that answers. Raises NoModelError where none was promoted yet."""
        if self._serving is None:
            raise NoModelError("no model was promoted yet", "no")
        return self._serving

    @property
    def version(self) -> int | None:
        """Of the model that answers, or None."""
        return None if self._serving is None else self._serving.version

    def check_rating(self, value: float) -> None:
        """Raises DataError for a rating that is off the scale of the model that answers."""
        if self._serving is not None:
            self._serving.check_values([value])

    def knows_item(self, item: str) -> bool:
        """Whether the model that answers learnt of this item."""
        return self._serving is not None and self._serving.item_row(item) >= 0

    def knows_user(self, user: str) -> tuple[bool, bool]:
        """Whether the model that answers may use what it learnt of this user, and whether anything happened since."""
        if self._serving is None:
            return False, False
        mark, user = self._serving.watermark, str(self._serving.recommender.users.parse(user))
        trained = self._serving.trained(user) is not None and not self.changes.erased_after(user, mark)
        return trained, self.changes.last_event(user) > mark

    # who asks

    def person(self, user: str) -> tuple[LoadedModel, UserView, bool]:
        """The model, the user as it sees them now, and whether that is stale: the store could not be asked."""
        serving, stale = self.serving, not self.catch_up()
        user = str(serving.recommender.users.parse(user))  # as the store writes it
        last, facts = self.changes.last_change(user), self.changes.last_metadata_change(user)
        if last <= serving.watermark and (trained := serving.trained(user)) is not None:
            return serving, trained, stale
        key = (serving.version, serving.edition, user, last, facts)
        person = self._people.get(key)
        if person is None:
            try:
                person = self._looked_up(serving, user, facts)
                self._people.put(key, person)
            except StoreUnavailableError:
                person, stale = self._remembered(serving, user), True
        return serving, person, stale

    def catch_up(self) -> bool:
        """Know all that was acknowledged by now; False where the store cannot be asked."""
        try:
            self.changes.catch_up()
        except StoreUnavailableError:
            return False
        return True

    def _looked_up(self, serving: LoadedModel, user: str, facts: int) -> UserView:
        """From everything that the store holds of the user, which is nothing of a life that was forgotten."""
        events = self.store.events.of_user(user)
        history, also = _history(serving, events)
        known = self.store.users.get(user) if facts else None
        return serving.newcomer(history, also, None if known is None else known.metadata)

    def _remembered(self, serving: LoadedModel, user: str) -> UserView:
        """As the model knew the user, while the store does not answer."""
        trained = None if self.changes.erased_after(user, serving.watermark) else serving.trained(user)
        return trained or serving.newcomer([])

    # lists

    def recommend(self, user: str, wish: Query, stream: np.random.Generator | None = None) -> Recommendation:
        """The best items of a user, known or not. stream: for exploration; drawn anew unless given."""
        serving, person, stale = self.person(user)
        return self._ranked(serving, person, wish, stale, stream)

    def recommend_for(
        self, history: Sequence[tuple[str, float]], wish: Query, stream: np.random.Generator | None = None
    ) -> Recommendation:
        """The best items of somebody who is known by these (item, value) pairs alone; nothing is kept."""
        serving, stale = self.serving, not self.catch_up()
        unknown = [item for item, _ in history if serving.item_row(item) < 0]
        return self._ranked(serving, serving.newcomer(history, unknown), wish, stale, stream)

    def _ranked(
        self, serving: LoadedModel, person: UserView, wish: Query, stale: bool, stream: np.random.Generator | None
    ) -> Recommendation:
        allowed = self._allowed(serving, wish)
        mask = ALL_ROWS if allowed is None else allowed
        with threads(1):
            lists, list_scores = person.rank(wish.n, allowed=mask, rank_by=wish.rank_by, diversity=wish.diversity)
        rows, scores = lists[0][lists[0] >= 0], list_scores[0][lists[0] >= 0]
        marks = dict(zip(rows.tolist(), person.catalog.answered_by(person.model, rows, scores).to_list(), strict=True))
        best = list(zip(rows.tolist(), scores.tolist(), strict=True))
        if wish.explore > 0:
            pool = rarely_rated(serving, person, allowed)
            places = mixed(best, pool, wish.n, wish.explore, stream or np.random.default_rng())
        else:
            places = [Place(row, score, False, 1.0) for row, score in best]
        by: AnsweredBy = person.source
        if by == "popularity" and "model" in marks.values():
            by = "prior"
        return Recommendation(serving.version, by, stale, self._told(serving, places, marks))

    def _told(
        self, serving: LoadedModel, places: list[Place], marks: dict[int, ItemAnsweredBy]
    ) -> list[RecommendedItem]:
        ids = serving.items(np.array([place.row for place in places], np.int32))
        return [
            RecommendedItem(
                item,
                rank,
                place.score,
                "exploration" if place.explored else marks[place.row],
                self.title(serving, item, place.row),
                place.explored,
                place.propensity,
            )
            for rank, (item, place) in enumerate(zip(ids, places, strict=True), start=1)
        ]

    def title(self, serving: LoadedModel, item: str, row: int) -> str | None:
        """The title in the store, else that in the table the model learnt from."""
        known = self.changes.item(item)
        return known.title if known is not None and known.title is not None else serving.title(row)

    def available(self, serving: LoadedModel) -> Bool | None:
        """Which item rows can be had; None for all."""
        return self._allowed(serving, Query())

    def _allowed(self, serving: LoadedModel, wish: Query) -> Bool | None:
        catalog = self.changes.catalog_version
        key = (serving.version, serving.edition, catalog, json.dumps(wish.where, sort_keys=True))
        found = self._masks.get(key)
        if found is None:
            named = self._having(wish.where) if wish.where else None
            found = (serving.mask(self.changes.unavailable, named),)
            self._masks.put(key, found)
        mask: Bool | None = found[0]
        rows = [row for item in wish.exclude if (row := serving.item_row(item)) >= 0]
        if rows:
            mask = np.ones(len(serving.recommender.items), bool) if mask is None else mask.copy()
            mask[rows] = False
        return mask

    def _having(self, where: Any) -> list[str]:
        return [name for name, item in self.changes.items().items() if _has(item.metadata, where)]


def _history(serving: LoadedModel, events: list[StoredEvent]) -> tuple[list[tuple[str, float]], list[str]]:
    """What counts for this model, and all other items that the user did something with."""
    kind = serving.recommender.kind
    history = [(kept.item, kept.value) for kept in user_snapshot(events, kind)]
    other = user_snapshot(events, "events" if kind == "ratings" else "ratings")
    return history, [kept.item for kept in other]


def _has(metadata: dict[str, Any], where: Any) -> bool:
    """Whether every named value is there: equal, or among the values of a list, on either side."""
    return all(_meets(metadata.get(name), wanted) for name, wanted in where.items())


def _meets(found: Any, wanted: Any) -> bool:
    values = found if isinstance(found, list) else [found]
    return any(one in values for one in (wanted if isinstance(wanted, list) else [wanted]))
