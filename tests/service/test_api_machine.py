"""The event log over HTTP against a reference in plain Python: any order, retries, deletions, restores, restarts."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.service import registry
from cofactor.service.api.app import create_app
from cofactor.service.backup import back_up, restore
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.store import Store

USERS = ("7", "8", "ana", "bo")
"""Two users of the training data, and two others."""
ITEMS = ("0", "1", "2", "no model knows it")
KEYS = ("a", "b", "c", "d")
NOW = 10**12
"""Time of an event without one: after all others."""


class SentEvent(NamedTuple):
    """An event as it is sent."""

    user: str
    item: str
    kind: str
    value: float | None
    time: int | None
    key: str | None

    def body(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if value is not None}


@st.composite
def sent_events(draw: st.DrawFn) -> SentEvent:
    kind = draw(st.sampled_from(("rating", "event", "removal")))
    value = None if kind == "removal" else float(draw(st.integers(1, 5)))
    user, item, key = draw(st.sampled_from(USERS)), draw(st.sampled_from(ITEMS)), draw(st.sampled_from((None, *KEYS)))
    return SentEvent(user, item, kind, value, draw(st.sampled_from((None, 1_000, 1_001, 1_002))), key)


@dataclass
class Reference:
    """Expected state: the log by number, the first event of each key, and other changes."""

    log: dict[int, SentEvent] = field(default_factory=dict)
    keys: dict[str, tuple[SentEvent, int]] = field(default_factory=dict)
    unavailable: set[str] = field(default_factory=set)
    forgotten: list[str] = field(default_factory=list)
    model: int = 2

    def answer(self, event: SentEvent) -> tuple[str, int]:
        """Return the expected answer to storing this: "new", "again" with the first number, or "conflict"."""
        if event.key not in self.keys or event.key is None:
            return "new", max(self.log, default=0)
        first, seq = self.keys[event.key]
        same = event if event.time is not None else event._replace(time=first.time)
        return ("again", seq) if same == first else ("conflict", seq)

    def keep(self, event: SentEvent, seq: int) -> None:
        self.log[seq] = event
        if event.key is not None:
            self.keys[event.key] = (event, seq)

    def forget(self, user: str) -> None:
        self.log = {seq: event for seq, event in self.log.items() if event.user != user}
        self.keys = {key: entry for key, entry in self.keys.items() if entry[0].user != user}
        self.forgotten.append(user)

    def state(self, user: str, kind: str) -> dict[str, float]:
        """Return by item the last rating, or the sum of events, since the last removal, in the order of their times."""
        stored_value: dict[str, float] = {}
        own_events = [
            (NOW if entry.time is None else entry.time, seq, entry)
            for seq, entry in self.log.items()
            if entry.user == user
        ]
        for _, _, event in sorted(own_events):
            if event.kind == "removal":
                stored_value.pop(event.item, None)
            elif event.kind == kind:
                assert event.value is not None
                stored_value[event.item] = event.value + (stored_value.get(event.item, 0.0) if kind == "event" else 0.0)
        return stored_value


class Place:
    """A service's folder, and the service while it runs."""

    def __init__(self, template: Path, key: str):
        self.home = Path(mkdtemp(dir=template.parent))
        self.folder, self.key, self.copies = self.home / "0", key, 0
        shutil.copytree(template, self.folder)
        self.client: TestClient = self.start()

    def start(self) -> TestClient:
        service_settings = ServiceSettings.of({"data": str(self.folder), "poll": 60.0, "train": False})
        client = TestClient(create_app(service_settings), headers={"Authorization": f"Bearer {self.key}"})
        client.__enter__()
        return client

    def stop(self) -> None:
        self.client.__exit__(None, None, None)

    def new(self) -> Path:
        self.copies += 1
        return self.home / str(self.copies)

    def restored(self, backup: Path) -> None:
        """Replace the service, of which only the newest tombstones are left, by the backup."""
        self.stop()
        tombstones, goal = self.folder / "tombstones.json", self.new()
        restore(backup, goal, tombstones if tombstones.exists() else None)
        shutil.rmtree(self.folder)
        self.folder = goal
        self.client = self.start()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        response = self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def best(self, user: str) -> list[tuple[str, float]]:
        items = self.get("/v1/recommendations", user=user, n=100, log=False)["items"]
        return [(entry["item"], entry["score"]) for entry in items]

    def send(self, events: list[SentEvent], *, bulk: bool) -> list[dict[str, Any]]:
        """Send events and return the answer to each: seq and duplicate, or an error."""
        if bulk:
            body = "\n".join(json.dumps(event.body()) for event in events)
            response = self.client.post("/v1/events/bulk", content=body)
            assert response.status_code == 200, response.text
            results: list[dict[str, Any]] = response.json()["results"]
            return results
        answers = []
        for event in events:
            response = self.client.post("/v1/events", json=event.body())
            assert response.status_code in (201, 409), response.text
            answers.append(response.json() if response.status_code == 201 else {"error": response.json()["detail"]})
        return answers

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self.home)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, ratings: Interactions) -> tuple[Path, str, Interactions]:
    """Return the folder of a service with two models, its key, and the imported ratings."""
    folder = tmp_path_factory.mktemp("machine") / "template"
    service_settings = ServiceSettings.of({"data": str(folder)})
    folder.mkdir()
    artifacts = ArtifactRegistry(service_settings.artifacts)
    with Store.open(service_settings.url) as store:
        store.events.load(ratings)
        for factors in (4, 6):
            rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=factors), ratings, seed=1).ensure_priors()
            added = registry.add_candidate(store, artifacts, rec, watermark=store.events.watermark())
            registry.promote(store, artifacts, added.version)
        return folder, store.keys.create("admin", "the machine"), ratings


class Machine(RuleBasedStateMachine):
    """After any operations the service has the state of the reference."""

    def __init__(self, template: tuple[Path, str, Interactions]):
        super().__init__()
        folder, key, ratings = template
        self.catalog = {str(item) for item in ratings.items.ids(range(len(ratings.items)))}
        self.place = Place(folder, key)
        self.ref = Reference()
        page, last = self.place.get("/v1/events", limit=1_000), 0
        while page["events"]:
            for entry in page["events"]:
                if entry["user"] in USERS:
                    self.ref.keep(SentEvent(*(entry[name] for name in SentEvent._fields[:-1]), None), entry["seq"])
            last = page["next"]
            page = self.place.get("/v1/events", after=last, limit=1_000)
        self.imported = last
        assert {entry.user for entry in self.ref.log.values()} == {"7", "8"}
        self.backups: list[tuple[Path, Reference]] = []

    @rule(events=st.lists(sent_events(), min_size=1, max_size=8), bulk=st.booleans(), times=st.integers(1, 3))
    def tell(self, events: list[SentEvent], bulk: bool, times: int) -> None:
        for _ in range(times):
            for event, got in zip(events, self.place.send(events, bulk=bulk), strict=True):
                what, seq = self.ref.answer(event)
                if what == "new":
                    assert got["seq"] > seq
                    assert not got["duplicate"]
                    self.ref.keep(event, got["seq"])
                elif what == "again":
                    assert (got["seq"], got["duplicate"]) == (seq, True)
                else:
                    assert "key" in got["error"]

    @rule(user=st.sampled_from(USERS), item=st.sampled_from(ITEMS), kind=st.sampled_from(("rating", "event")))
    def remove_event(self, user: str, item: str, kind: str) -> None:
        """Store an event and remove it, each request sent twice: the item can be recommended again."""
        for entry in (SentEvent(user, item, kind, 4.0, None, None), SentEvent(user, item, "removal", None, None, None)):
            self.tell([entry], bulk=False, times=2)
            assert (item in self.ref.state(user, kind)) == (entry.kind == kind)
        self.lists_contain_exactly_the_unrated_available_items()

    @rule(user=st.sampled_from(USERS))
    def forget(self, user: str) -> None:
        assert self.place.client.delete("/v1/users", params={"user": user}).status_code == 200
        self.ref.forget(user)
        assert self.place.client.get("/v1/users", params={"user": user}).status_code == 404
        assert self.place.best(user) == self.place.best("nobody ever seen")

    @rule(items=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=2), available=st.booleans())
    def set_availability(self, items: list[str], available: bool) -> None:
        answer = {"items": items, "available": available}
        assert self.place.client.post("/v1/items/availability", json=answer).status_code == 200
        self.ref.unavailable = self.ref.unavailable - set(items) if available else self.ref.unavailable | set(items)

    @rule(version=st.sampled_from((1, 2)))
    def promote(self, version: int) -> None:
        assert self.place.client.post(f"/v1/models/{version}/promote").json()["status"] == "active"
        self.ref.model = version

    @rule()
    def roll_back(self) -> None:
        self.ref.model = 3 - self.ref.model
        assert self.place.client.post("/v1/models/roll-back").json()["version"] == self.ref.model

    @rule()
    def restart(self) -> None:
        self.place.stop()
        self.place.client = self.place.start()

    @rule()
    def back_up(self) -> None:
        goal = self.place.new()
        back_up(self.place.folder, goal)
        self.backups.append((goal, copy.deepcopy(self.ref)))

    @rule(which=st.integers(0, 9))
    def restore(self, which: int) -> None:
        if not self.backups:
            return
        backup, then = self.backups[which % len(self.backups)]
        since = self.ref.forgotten[len(then.forgotten) :]  # erasures since the backup
        self.place.restored(backup)
        self.backups = self.backups[: which % len(self.backups) + 1]
        self.ref = copy.deepcopy(then)
        for user in since:
            self.ref.forget(user)

    @rule(user=st.sampled_from(USERS), events=st.lists(sent_events(), min_size=1, max_size=3))
    def forget_since_a_backup(self, user: str, events: list[SentEvent]) -> None:
        """The backup contains earlier events, the tombstones the users who must not be in it."""
        self.tell(events=[entry._replace(user=user) for entry in events], bulk=True, times=1)
        self.back_up()
        self.forget(user=user)
        self.restore(which=len(self.backups) - 1)

    @invariant()
    def the_log_is_the_same(self) -> None:
        own_events = {}
        for user in USERS:
            own_events.update({entry.seq: entry for entry in self.store.events.of_user(user)})
        assert sorted(own_events) == sorted(self.ref.log)
        response = self.place.get("/v1/events", after=self.imported, limit=1_000)["events"]
        assert [entry["seq"] for entry in response] == [seq for seq in sorted(self.ref.log) if seq > self.imported]
        for entry in response:
            event = self.ref.log[entry["seq"]]
            assert (entry["user"], entry["item"], entry["kind"]) == event[:3]
            assert entry["value"] == (event.value or 0.0)
            assert entry["time"] == (entry["received"] if event.time is None else event.time)

    @invariant()
    def every_pair_has_the_same_state(self) -> None:
        for user in USERS:
            for kind, name in (("ratings", "rating"), ("events", "event")):
                response = {entry.item: entry.value for entry in self.store.events.user_snapshot(user, kind)}  # type: ignore[arg-type]
                assert response == self.ref.state(user, name)

    @invariant()
    def lists_contain_exactly_the_unrated_available_items(self) -> None:
        for user in USERS:
            answer = self.place.get("/v1/recommendations", user=user, n=100, log=False)
            assert answer["model"] == self.ref.model
            assert not answer["stale"]
            had = {*self.ref.state(user, "rating"), *self.ref.state(user, "event")}
            assert {entry["item"] for entry in answer["items"]} == self.catalog - had - self.ref.unavailable

    @property
    def store(self) -> Store:
        response: Store = self.place.client.app.state.service.store  # type: ignore[attr-defined]
        return response

    def teardown(self) -> None:
        self.place.end()


@pytest.mark.parametrize("examples", [2, pytest.param(15, marks=pytest.mark.long)])
def test_the_event_log_equals_the_reference_after_any_operations(
    template: tuple[Path, str, Interactions], examples: int
) -> None:
    machine_settings = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, database=None, derandomize=True
    )
    run_state_machine_as_test(lambda: Machine(template), settings=machine_settings)


@pytest.fixture(scope="module")
def place(template: tuple[Path, str, Interactions]) -> Iterator[Place]:
    response = Place(template[0], template[1])
    yield response
    response.end()


COUNT = itertools.count()


@settings(max_examples=5, deadline=None, database=None, derandomize=True)
@given(
    data=st.data(),
    events=st.lists(sent_events(), min_size=2, max_size=12),
    bulk=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_the_order_of_arrival_does_not_change_the_state(
    place: Place, data: st.DataObject, events: list[SentEvent], bulk: list[bool]
) -> None:
    """Each event is sent at least twice, in any order, around a backup and a restore: as if sent once, by time."""
    number = next(COUNT)
    timed = [
        entry._replace(user=f"in order {number}", time=1_000 + second, key=f"{number}-{second}")
        for second, entry in enumerate(events)
    ]
    place.send([entry._replace(key=f"first-{entry.key}") for entry in timed], bulk=True)
    own_events = [entry._replace(user=f"in any order {number}") for entry in timed]
    deliveries = data.draw(st.permutations(own_events + data.draw(st.lists(st.sampled_from(own_events), max_size=5))))
    cut, lost = sorted(data.draw(st.tuples(*[st.integers(0, len(deliveries))] * 2)))
    place.send(deliveries[:cut], bulk=bulk[0] and cut > 0)
    backup = place.new()
    back_up(place.folder, backup)
    place.send(deliveries[cut:lost], bulk=bulk[1] and cut < lost)
    place.restored(backup)
    seqs = {}
    for event, answer in zip(deliveries, place.send(deliveries, bulk=bulk[2]), strict=True):
        assert seqs.setdefault(event.key, answer["seq"]) == answer["seq"]
    store: Store = place.client.app.state.service.store  # type: ignore[attr-defined]
    assert len(store.events.of_user(own_events[0].user)) == len(own_events)
    for kind in ("ratings", "events"):
        response, expected = (store.events.user_snapshot(entry[0].user, kind) for entry in (own_events, timed))  # type: ignore[arg-type]
        assert response == expected
    assert place.best(own_events[0].user) == place.best(timed[0].user)
