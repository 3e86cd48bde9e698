"""Snapshots of all events, and imports of tables."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cofactor
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, KindError
from cofactor.service.training.data import training_data
from cofactor.store import Event, Store, StoredEvent, bulk_import
from cofactor.store.snapshot import snapshot_of, user_snapshot

SCHEMA = {"seq": pl.Int64, "kind": pl.Int8, "user": pl.String, "item": pl.String, "value": pl.Float64}
SCHEMA |= {"time": pl.Int64, "received": pl.Int64}
EVENT_ROW = st.tuples(
    st.sampled_from(["rating", "event", "removal"]),
    st.sampled_from(["ana", "bo", "cy"]),
    st.sampled_from(["7", "07", "alien"]),
    st.integers(1, 5),
    st.integers(0, 6),
    st.integers(2, 4),
)


def table_of(store: Store, kind: Kind) -> Interactions:
    until = store.events.watermark()
    return training_data(store, kind, until, until).train


@given(st.lists(EVENT_ROW, max_size=30), st.integers(1, 40), st.sampled_from(["ratings", "events"]))
def test_the_snapshot_of_all_users_is_the_snapshot_of_each(rows: list[tuple], page: int, kind: Kind) -> None:
    received = 0
    events = []
    for seq, (what, user, item, value, time, came) in enumerate(rows, start=1):
        received = max(received, came)
        events.append(StoredEvent(seq, what, user, item, 0.0 if what == "removal" else float(value), time, received))
    codes = ["rating", "event", "removal"]
    frames = [
        pl.DataFrame([(e[0], codes.index(e[1]), *e[2:]) for e in events[at : at + page]], SCHEMA, orient="row")
        for at in range(0, len(events), page)
    ]
    with patch("cofactor.store.snapshot.PART_SIZE", 7):
        parts = snapshot_of(frames, kind)
    assert parts.sort(pl.all()).equals(snapshot_of(frames, kind).sort(pl.all()))
    state = {(user, item): (value, time) for user, item, value, time in snapshot_of(frames, kind).rows()}
    each = {}
    for user in ("ana", "bo", "cy"):
        for row in user_snapshot([event for event in events if event.user == user], kind):
            each[user, row.item] = (row.value, row.time)
    assert state == each


def test_the_latest_rating_by_time_wins_and_removals_delete_it(store: Store) -> None:
    store.events.append(
        [
            Event("ana", "alien", 5, time=200),
            Event("ana", "alien", 1, time=100),  # stored later, with an earlier time
            Event("ana", "clue", 2, time=100),
            Event("ana", "clue", 3, time=100),  # the last stored
            Event("ana", "jaws", 4, time=100),
            Event("ana", "jaws", kind="removal", time=101),
            Event("ana", "heat", 4, time=100),
            Event("ana", "heat", kind="removal", time=101),
            Event("ana", "heat", 1, time=102),
            Event("ana", "alien", kind="event"),
            Event("bo", "x", kind="removal"),
        ]
    )
    expected = [("alien", 5.0, 200), ("clue", 3.0, 100), ("heat", 1.0, 102)]
    assert [tuple(row) for row in store.events.user_snapshot("ana", "ratings")] == expected
    assert store.events.snapshot("ratings").sort("item").rows() == [("ana", *row) for row in expected]
    assert store.events.snapshot("ratings", until=2).rows() == [("ana", "alien", 5.0, 200)]
    assert store.events.snapshot("events").rows()[0][:3] == ("ana", "alien", 1.0)
    with pytest.raises(KindError, match="kind must be 'ratings' or 'events'; got 'clicks'"):
        store.events.snapshot("clicks")  # type: ignore[arg-type]


def test_events_are_summed_since_the_last_removal(store: Store) -> None:
    def played(item: str, time: int, value: float = 1) -> Event:
        return Event("ana", item, value, "event", time=time)

    store.events.append([played("alien", 1), played("alien", 2, 2.5), played("clue", 3), played("clue", 9, 2)])
    store.events.append([Event("ana", "clue", kind="removal", time=5), played("jaws", 1)])
    store.events.append([Event("ana", "jaws", kind="removal", time=5), Event("ana", "alien", 4)])
    expected = [("alien", 3.5, 2), ("clue", 2.0, 9)]
    assert [tuple(row) for row in store.events.user_snapshot("ana", "events")] == expected
    assert store.events.snapshot("events").sort("item").rows() == [("ana", *row) for row in expected]


def test_ids_of_training_data_are_integers_if_all_are_canonical_decimals(store: Store) -> None:
    store.events.append([Event(7, 10, 5), Event("8", 9, 4)])
    assert table_of(store, "ratings").frame().select("user", "item").rows() == [(7, 10), (8, 9)]
    store.events.append([Event(7, "010", 3)])
    assert table_of(store, "ratings").frame().select("user", "item").rows() == [
        (7, "010"),
        (7, "10"),
        (8, "9"),
    ]


@pytest.fixture(scope="module")
def ratings(small_ratings: Interactions) -> Interactions:
    """Ratings with times in the past."""
    assert small_ratings.times is not None
    return replace(small_ratings, times=small_ratings.times - 1_000_000_000)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_import, "PAGE_SIZE", 700)


@pytest.mark.usefixtures("small_pages")
def test_a_table_round_trips(store: Store, ratings: Interactions) -> None:
    loaded = store.events.load(ratings)
    assert loaded == (len(ratings), len(ratings), 0)
    assert table_of(store, "ratings").frame().equals(ratings.frame())
    assert store.events.load(ratings) == (len(ratings), 0, 0)  # each table once
    assert store.events.watermark() == len(ratings)
    assert store.events.load(ratings, name="again").stored == len(ratings)


@pytest.mark.usefixtures("small_pages")
def test_a_table_of_events_with_integer_ids_and_no_times(store: Store) -> None:
    plays = Interactions.from_columns([3, 1, 3], [10, 20, 30], [2, 1, 0.5], kind="events")
    assert store.events.load(plays, kind="events").stored == 3
    loaded = table_of(store, "events")
    assert loaded.frame().drop("time").equals(plays.frame())
    assert loaded.times is not None
    assert (loaded.times == store.events.after(0)[0].received).all()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("broken_after", [0, 1, 3])
def test_an_interrupted_import_is_resumed(
    url: str, ratings: Interactions, broken_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = bulk_import._insert, iter(range(99))

    def breaks(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        if next(steps) == broken_after:
            raise KeyboardInterrupt  # after the rows, before the commit

    with Store.open(url) as store:
        monkeypatch.setattr(bulk_import, "_insert", breaks)
        monkeypatch.setattr(store._writer, "run", lambda do: _in_this_thread(store, do))
        with pytest.raises(KeyboardInterrupt):
            store.events.load(ratings)
        monkeypatch.undo()
        assert store.events.watermark() == broken_after * 700
    monkeypatch.setattr(bulk_import, "PAGE_SIZE", 900)  # and with other pages
    with Store.open(url) as store:
        user, item, *_ = ratings.frame().row(0)
        store.events.append([Event(user, item, 3, time=1)])  # in between, of an older time
        loaded = store.events.load(ratings)
        assert loaded.stored == len(ratings) - broken_after * 700
        assert store.events.watermark() == len(ratings) + 1
        assert table_of(store, "ratings").frame().equals(ratings.frame())


def _in_this_thread(store: Store, do: object) -> object:
    with store._database.transaction() as connection:
        return do(connection)  # type: ignore[operator]


@pytest.mark.usefixtures("small_pages")
def test_a_frame_keeps_its_order(store: Store) -> None:
    frame = pl.DataFrame({"user": ["ana"] * 3, "item": ["alien"] * 3, "value": [3, 1, 5]})
    assert store.events.load(frame, kind="ratings").stored == 3
    assert store.events.snapshot("ratings")["value"].to_list() == [5.0]
    assert store.events.load(frame, kind="events").stored == 3  # another kind is another table
    assert store.events.snapshot("events")["value"].to_list() == [9.0]


@pytest.mark.usefixtures("small_pages")
def test_unusual_ids_round_trip(store: Store) -> None:
    odd = ['a,"b"', "\\.", "\\N", "NULL", " padded ", "ünï\U0001f47d", "'", "%s", "?", ":x", '""', "\\"]
    frame = pl.DataFrame({"user": odd, "item": odd[::-1], "value": [1.0] * len(odd)})
    assert store.events.load(frame, kind="ratings").stored == len(odd)
    assert [(event.user, event.item) for event in store.events.after(0)] == list(zip(odd, odd[::-1], strict=True))
    assert store.events.load(frame, kind="ratings").stored == 0


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"user": ["a"], "item": ["b"]}), "no column 'value'; its columns are user, item"),
        (
            pl.DataFrame(
                {"user": ["a"], "item": ["b"], "value": [None]},
                {"user": pl.String, "item": pl.String, "value": pl.Float64},
            ),
            "row 1: the value is missing",
        ),
        (
            pl.DataFrame({"user": ["a"], "item": [None], "value": [1.0]}),
            "'item' must have type String or Int64, not Null",
        ),
        (pl.DataFrame({"user": ["a", ""], "item": ["b"] * 2, "value": [1.0] * 2}), "the user '' is empty"),
        (
            pl.DataFrame({"user": ["a"], "item": [1.5], "value": [1.0]}),
            "the column 'item' must have type String or Int64, not Float64",
        ),
        (pl.DataFrame({"user": ["a"] * 2, "item": ["b"] * 2, "value": [1.0, float("nan")]}), "row 2: the value nan"),
        (
            pl.DataFrame({"user": ["a"], "item": ["b"], "value": [1.0], "time": [10**12]}),
            "row 1: the time 1000000000000",
        ),
        (
            pl.DataFrame({"user": ["a"], "item": ["b"], "value": [1.0], "time": [1.5]}),
            "'time' must have type Int64, not Float64",
        ),
        ([1, 2], "table must be Interactions or a polars DataFrame, not list"),
    ],
)
def test_invalid_tables_are_rejected(store: Store, frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        store.events.load(frame, kind="ratings")
    assert store.events.watermark() == 0


def test_a_table_must_be_of_the_kind(store: Store, ratings: Interactions) -> None:
    with pytest.raises(KindError, match="which contains ratings; got 'events'"):
        store.events.load(ratings, kind="events")
    with pytest.raises(KindError, match="`kind` is required for a DataFrame"):
        store.events.load(ratings.frame())
    with pytest.raises(DataError, match="the store does not support weights"):
        store.events.load(ratings.with_weights(np.full(len(ratings), 2.0)))


@pytest.mark.usefixtures("small_pages")
def test_rows_of_erased_users_are_not_imported(store: Store, ratings: Interactions) -> None:
    store.erasure.erase("user 3")
    theirs = int((ratings.frame()["user"] == "user 3").sum())
    assert theirs > 0
    assert store.events.load(ratings) == (len(ratings), len(ratings) - theirs, theirs)
    assert store.events.of_user("user 3") == []
    assert store.erasure.is_erased("user 3")


def test_an_imported_table_can_be_fitted(store: Store, ratings: Interactions) -> None:
    store.events.load(ratings)
    rec = cofactor.Recommender.fit(cofactor.Bias(), table_of(store, "ratings"))
    assert len(rec.users) == ratings.n_users
