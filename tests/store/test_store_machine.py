"""Any order of events, retries, removals, erasures and restores gives the state of a model in thirty lines."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as Gate
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cofactor.errors import ConflictError
from cofactor.store import Event, Store, Tombstone
from cofactor.store.schema import metadata

USERS, ITEMS, LATE = ["ana", "bo", "7"], ["alien", "clue"], 10**10
EVENTS = st.builds(
    lambda user, item, kind, value, time, key: Event(user, item, None if kind == "removal" else value, kind, time, key),
    st.sampled_from(USERS),
    st.sampled_from(ITEMS),
    st.sampled_from(["rating", "rating", "event", "removal"]),
    st.integers(1, 3),
    st.sampled_from([None, 100, 200, 300]),
    st.sampled_from([None, None, "k1", "k2", "k3"]),
)


class Model:
    """Reference implementation of the store."""

    def __init__(self, rows: dict[int, Event] | None = None, tombstones: dict[str, int] | None = None) -> None:
        self.rows, self.tombstones = dict(rows or {}), dict(tombstones or {})

    @property
    def last(self) -> int:
        return max([*self.rows, *self.tombstones.values()], default=0)

    def append(self, events: list[Event]) -> list[tuple[int, bool]] | None:
        rows, last, answers = dict(self.rows), self.last, []
        for event in events:
            first = next((seq for seq, stored in rows.items() if event.key and stored.key == event.key), None)
            if first is None:
                last += 1
                rows[last] = event
                answers.append((last, False))
            elif repr(self.with_time(event, rows[first].time)) == repr(rows[first]):
                answers.append((first, True))
            else:
                return None
        self.rows = rows
        return answers

    def with_time(self, event: Event, time: int | None) -> Event:
        return Event(
            event.user, event.item, event.value, event.kind, time if event.time is None else event.time, event.key
        )

    def erase(self, user: str, seq: int) -> None:
        self.rows = {at: event for at, event in self.rows.items() if event.user != user or at > seq}
        self.tombstones[user] = seq

    def state(self, kind: str) -> dict[tuple[str, str], float]:
        values: dict[tuple[str, str], float] = {}
        for _, event in sorted(self.rows.items(), key=lambda row: (row[1].time or LATE, row[0])):
            pair = event.user, event.item
            if event.kind == "removal":
                values.pop(pair, None)
            elif event.kind == kind:
                values[pair] = event.value + (values.get(pair, 0) if kind == "event" else 0)
        return values


def rows_of_all(store: Store) -> dict[str, list[dict[str, Any]]]:
    with store._database.read_transaction() as connection:
        return {
            name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for name, table in metadata.tables.items()
        }


def put_back(store: Store, rows: dict[str, list[dict[str, Any]]]) -> None:
    def do(connection: Any) -> None:
        for name, table in metadata.tables.items():
            if name != "settings":
                connection.execute(table.delete())
                if rows.get(name):
                    connection.execute(table.insert(), rows[name])

    store._writer.run(do)


class Machine(RuleBasedStateMachine):
    def __init__(self, store: Store, stall: Callable[[Store], Gate]) -> None:
        super().__init__()
        self.store, self.stall, self.model = store, stall, Model()
        put_back(store, {})
        self.backup, self.backed_up = rows_of_all(store), Model()
        self.exported: list[Tombstone] = []

    @rule(events=st.lists(EVENTS, min_size=1, max_size=4))
    def append(self, events: list[Event]) -> None:
        expected = self.model.append(events)
        if expected is None:
            with pytest.raises(ConflictError):
                self.store.events.append(events)
        else:
            assert [tuple(receipt) for receipt in self.store.events.append(events)] == expected

    @rule(requests=st.lists(st.lists(EVENTS, min_size=1, max_size=2), min_size=2, max_size=4))
    def append_at_once(self, requests: list[list[Event]]) -> None:
        gate = self.stall(self.store)
        futures = [self.store.events.submit(events) for events in requests]
        gate.set()  # in one transaction
        for events, future in zip(requests, futures, strict=True):
            expected = self.model.append(events)
            if expected is None:
                assert isinstance(future.exception(), ConflictError)
            else:
                assert [tuple(receipt) for receipt in future.result()] == expected

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        keyed = {seq: event for seq, event in self.model.rows.items() if event.key}
        if keyed:
            seq = data.draw(st.sampled_from(sorted(keyed)))
            assert [tuple(receipt) for receipt in self.store.events.append([keyed[seq]])] == [(seq, True)]

    @rule(user=st.sampled_from(USERS))
    def erase(self, user: str) -> None:
        has_events = any(event.user == user for event in self.model.rows.values())
        expected = (
            self.model.tombstones[user] if user in self.model.tombstones and not has_events else self.model.last + 1
        )
        tombstone = self.store.erasure.erase(user)
        assert tombstone.seq == expected
        self.model.erase(user, expected)
        self.exported = [other for other in self.exported if other.hash != tombstone.hash] + [tombstone]

    @rule()
    def back_up(self) -> None:
        self.backup, self.backed_up = rows_of_all(self.store), Model(self.model.rows, self.model.tombstones)

    @rule()
    def restore(self) -> None:
        put_back(self.store, self.backup)
        self.model = Model(self.backed_up.rows, self.backed_up.tombstones)
        for _ in range(2):  # reapplying twice has no further effect
            self.store.erasure.reapply(self.exported)
        names = {self.store.erasure.hash(user): user for user in USERS}
        for tombstone in self.exported:
            if self.model.tombstones.get(names[tombstone.hash], 0) < tombstone.seq:
                self.model.erase(names[tombstone.hash], tombstone.seq)

    @invariant()
    def store_equals_model(self) -> None:
        events = self.store.events
        assert [event.seq for event in events.after(0)] == sorted(self.model.rows)
        assert events.watermark() == self.model.last
        assert {user: self.store.erasure.erasure_seq(user) for user in USERS} == {
            user: self.model.tombstones.get(user) for user in USERS
        }
        for kind, event_kind in (("ratings", "rating"), ("events", "event")):
            expected = self.model.state(event_kind)
            frame = events.snapshot(kind)  # type: ignore[arg-type]
            assert {(str(u), str(i)): value for u, i, value, _ in frame.rows()} == expected
            each = {(u, row.item): row.value for u in USERS for row in events.user_snapshot(u, kind)}  # type: ignore[arg-type]
            assert each == expected


@pytest.mark.parametrize("examples", [4, pytest.param(25, marks=pytest.mark.long)])
def test_the_store_equals_the_reference(shared_store: Store, stall: Callable[[Store], Gate], examples: int) -> None:
    steps = settings(max_examples=examples, stateful_step_count=15, deadline=None)
    run_state_machine_as_test(lambda: Machine(shared_store, stall), settings=steps)
