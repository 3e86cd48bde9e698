"""The log of events: stored once, in order, and read back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cofactor.errors import ConflictError, DataError, StoreError, StoreUnavailableError
from cofactor.service.training.data import training_data
from cofactor.store import Event, Impression, Store, StoredEvent
from cofactor.store.connect import LOCK_KEY
from cofactor.store.event import KINDS, checked_rows
from cofactor.store.transaction import append_requests


def test_stored_events_round_trip(store: Store) -> None:
    events = [
        Event("ana", "alien", 4.5, time=880_000_000),
        Event(7, "clüe \U0001f47d", kind="event"),
        Event("7", 9, 2.5, kind="event", time=5),
        Event("ana", "alien", kind="removal", time=880_000_001),
        Event(" ana", "'; drop table events --", -1),
    ]
    before = int(time.time())
    receipts = store.events.append(events)
    assert [(receipt.seq, receipt.duplicate) for receipt in receipts] == [(n, False) for n in range(1, 6)]
    stored = store.events.after(0)
    assert [event[:5] for event in stored] == [
        (1, "rating", "ana", "alien", 4.5),
        (2, "event", "7", "clüe \U0001f47d", 1.0),
        (3, "event", "7", "9", 2.5),
        (4, "removal", "ana", "alien", 0.0),
        (5, "rating", " ana", "'; drop table events --", -1.0),
    ]
    assert [stored[0].time, stored[2].time, stored[3].time] == [880_000_000, 5, 880_000_001]
    assert all(before <= event.received <= time.time() for event in stored)
    assert stored[1].time == stored[1].received
    assert store.events.of_user(7) == store.events.of_user("7") == [stored[1], stored[2]]
    assert store.events.of_user("ana", after=1) == [stored[3]]
    assert store.events.of_user("nobody") == []
    assert store.events.after(3, limit=1) == [stored[3]]
    assert store.events.watermark() == 5


def test_an_empty_store(store: Store) -> None:
    assert store.events.watermark() == 0
    assert store.events.after(0) == []
    assert list(store.events.until(99)) == []
    assert store.events.snapshot("ratings").rows() == []
    assert store.events.snapshot("events").columns == ["user", "item", "value", "time"]
    assert store.events.append([]) == []
    with pytest.raises(DataError, match="there are no ratings to train on"):
        training_data(store, "ratings", 0, 0)


@pytest.mark.parametrize("number", [-1, 2**63, 10**30, 1.5, "7", True, None])
def test_invalid_numbers_are_rejected(store: Store, number: int) -> None:
    for use in (
        lambda: store.events.after(number),
        lambda: store.events.after(0, limit=number),
        lambda: store.events.of_user("ana", after=number),
        lambda: list(store.events.until(number)),
        lambda: store.items.after(number),
        lambda: store.users.after(number),
        lambda: store.erasure.after(number),
        lambda: store.impressions.frame(after=number),
        lambda: store.jobs.get(number),
        lambda: store.models.get(number),
        lambda: store.models.promote(number),
    ):
        with pytest.raises(DataError, match=r"must be an integer between 0 and 2\^63 - 1"):
            use()


def test_a_key_is_stored_once(store: Store) -> None:
    first = store.events.append([Event("ana", "alien", 5, key="a"), Event("ana", "clue", 1, key="b", time=60)])
    again = store.events.append([Event("ana", "clue", 1, key="b"), Event("ana", "alien", 5.0, key="a")])
    assert [receipt.seq for receipt in again] == [first[1].seq, first[0].seq]
    assert all(receipt.duplicate for receipt in again)
    twice = store.events.append([Event("bo", "alien", 5, key="c"), Event("bo", "alien", 5, key="c")])
    assert [receipt.duplicate for receipt in twice] == [False, True]
    assert twice[0].seq == twice[1].seq
    assert store.events.watermark() == 3


@pytest.mark.parametrize(
    "other",
    [
        Event("bo", "alien", 5, key="a", time=60),
        Event("ana", "clue", 5, key="a", time=60),
        Event("ana", "alien", 4, key="a", time=60),
        Event("ana", "alien", 5, key="a", time=61),
        Event("ana", "alien", 5, "event", key="a", time=60),
    ],
)
def test_a_key_with_other_content_is_a_conflict_that_rejects_the_request(store: Store, other: Event) -> None:
    store.events.append([Event("ana", "alien", 5, key="a", time=60)])
    with pytest.raises(ConflictError, match="event 2: the key 'a' was already used for a different event") as caught:
        store.events.append([Event("cy", "alien", 1, key="n"), other])
    assert caught.value.places == (2,)
    assert store.events.of_user("cy") == []
    assert not store.events.append([Event("cy", "alien", 2, key="n")])[0].duplicate  # the key is free


def test_a_failed_request_does_not_affect_others(store: Store, stall: Callable[[Store], threading.Event]) -> None:
    store.events.append([Event("ana", "alien", 5, key="a")])
    gate = stall(store)
    futures = [store.events.submit([Event("bo", n, 1, key=f"k{n}")]) for n in range(5)]
    futures.insert(2, store.events.submit([Event("bo", "x", 4, key="a")]))
    futures.append(store.events.submit([Event("bo", 0, 1, key="k0")]))
    with pytest.raises(DataError, match="event 1: the user is empty"):
        store.events.submit([Event("", "alien", 5)])
    gate.set()
    assert isinstance(futures[2].exception(), ConflictError)
    seqs = [future.result()[0].seq for place, future in enumerate(futures) if place != 2]
    assert seqs == [2, 3, 4, 5, 6, 2]
    assert futures[-1].result()[0].duplicate


def test_keys_are_unique_within_a_transaction(store: Store) -> None:
    five, four = Event("ana", "alien", 5, key="a"), Event("ana", "alien", 4, key="a")
    requests = [[five], [Event("bo", 1, 1), four], [Event("bo", 2, 1, key="b"), five], [Event("bo", 2, 1, key="b")]]
    rows = [checked_rows(request, 0) for request in requests]
    first, second, third, fourth = store._writer.run(lambda connection: append_requests(connection, rows))
    assert first == [(1, False)]
    assert isinstance(second, ConflictError)
    assert second.places == (2,)
    assert third == [(2, False), (1, True)]
    assert fourth == [(2, True)]
    assert [event.item for event in store.events.after(0)] == ["alien", "2"]


def test_a_request_that_breaks_the_transaction_fails_alone(
    store: Store, stall: Callable[[Store], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that passes the validation but is rejected by the database."""
    from cofactor.store import transaction

    real = transaction._store

    def refuse(connection: object, rows: list[object], end: object) -> None:
        if any(row.user == "bad" for row in rows):  # type: ignore[attr-defined]
            raise StoreError("rejected")
        real(connection, rows, end)  # type: ignore[arg-type]

    monkeypatch.setattr(transaction, "_store", refuse)
    gate = stall(store)
    futures = [store.events.submit([Event(user, "alien", 1)]) for user in ("ana", "bad", "bo")]
    gate.set()
    assert [type(future.exception(10)) for future in futures] == [type(None), StoreError, type(None)]
    assert [event.user for event in store.events.after(0)] == ["ana", "bo"]


def test_concurrent_appends_lose_no_event_and_leave_no_gap(store: Store) -> None:
    def write(user: int) -> list[int]:
        return [store.events.append([Event(user, n, 1, key=f"{user}-{n}")])[0].seq for n in range(10)]

    with ThreadPoolExecutor(20) as pool:
        seqs = list(pool.map(write, range(20)))
    assert sorted(seq for some in seqs for seq in some) == list(range(1, 201))
    assert all(some == sorted(some) for some in seqs)


def test_receipts_are_returned_after_the_commit(store: Store, url: str) -> None:
    with Store.open(url) as other:
        for n in range(20):
            (receipt,) = store.events.append([Event("ana", n, 1)])
            assert other.events.watermark() == receipt.seq


def test_the_watermark_never_skips_a_late_transaction(url: str, kind: str) -> None:
    """A writer stalls between its numbers and its commit: no larger number becomes visible before."""
    with Store.open(url) as first, Store.open(url) as second:
        first.events.append([Event("ana", 0, 1)])
        gate, inside = threading.Event(), threading.Event()

        def stalled(connection: object) -> None:
            append_requests(connection, [checked_rows([Event("slow", 1, 1)], 0)])  # type: ignore[arg-type]
            inside.set()
            gate.wait(5)

        slow = threading.Thread(target=lambda: first._writer.run(stalled))
        slow.start()
        inside.wait(5)
        fast = second.events.submit([Event("fast", 2, 1)])
        time.sleep(0.2)
        assert not fast.done()
        assert second.events.watermark() == 1
        gate.set()
        slow.join()
        assert fast.result(5)[0].seq == 3
        assert [event.user for event in second.events.after(1)] == ["slow", "fast"]


@pytest.mark.parametrize("rejected_first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("value", [3, 4], ids=["the same", "another"])
def test_keys_of_a_rejected_request_are_free_in_the_same_transaction(
    store: Store, stall: Callable[[Store], threading.Event], value: int, rejected_first: bool
) -> None:
    """Queued requests are written together; a rejected one must not leave its keys behind."""
    store.events.append([Event("ana", "alien", 5, key="used")])
    new, conflict = Event("bo", "clue", 3, key="new"), Event("ana", "alien", 1, key="used")
    events = [new, conflict] if rejected_first else [conflict, new]
    gate = stall(store)
    futures = [
        store.events.submit(request)
        for request in (events, [Event("bo", "clue", value, key="new")], [Event("cy", "dune", 2, key="other")])
    ]
    gate.set()
    with pytest.raises(ConflictError) as caught:
        futures[0].result(30)
    assert caught.value.places == ((2,) if rejected_first else (1,))
    assert [tuple(receipt) for future in futures[1:] for receipt in future.result(30)] == [(2, False), (3, False)]
    stored = [(event.seq, event.user, event.value) for event in store.events.after(1)]
    assert stored == [(2, "bo", float(value)), (3, "cy", 2.0)]
    assert store.events.append([Event("bo", "clue", value, key="new")])[0] == (2, True)


def test_keys_of_a_rejected_request_are_free_afterwards(store: Store) -> None:
    store.events.append([Event("ana", "alien", 5, key="used")])
    with pytest.raises(ConflictError):
        store.events.append([Event("bo", "clue", 3, key="new"), Event("ana", "alien", 1, key="used")])
    assert store.events.append([Event("bo", "clue", 4, key="new")])[0] == (2, False)


def test_keys_of_an_accepted_request_are_known_in_the_same_transaction(
    store: Store, stall: Callable[[Store], threading.Event]
) -> None:
    gate = stall(store)
    futures = [store.events.submit([Event("bo", "clue", value, key="new")]) for value in (3, 3, 4)]
    gate.set()
    assert [tuple(futures[n].result(30)[0]) for n in (0, 1)] == [(1, False), (1, True)]
    with pytest.raises(ConflictError):
        futures[2].result(30)


def test_a_stalled_transaction_blocks_others_briefly(server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.new(template="template")  # type: ignore[attr-defined]
    with Store.open(url) as store, psycopg.connect(url) as other:
        store._writer.run(lambda connection: connection.exec_driver_sql("SET lock_timeout = '200ms'"))
        other.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
        with pytest.raises(StoreUnavailableError, match="lock timeout") as caught:
            store.events.append([Event("ana", "alien", 5)])
        assert caught.value.written == "no"
        other.execute(f"SELECT pg_advisory_unlock({LOCK_KEY})")
        assert store.events.append([Event("ana", "alien", 5)])[0].seq == 1


def test_pages_of_all_events(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from cofactor.store import event_log

    store.events.append([Event(n % 7, n, 1 + n, time=n) for n in range(95)])
    monkeypatch.setattr(event_log, "PAGE_SIZE", 20)
    pages = list(store.events.until(90, after=5))
    assert [len(page) for page in pages] == [20, 20, 20, 20, 5]
    assert [seq for page in pages for seq in page["seq"]] == list(range(6, 91))
    assert pages[0].columns == list(StoredEvent._fields)
    assert pages[0].row(0)[1:6] == (0, "5", "5", 6.0, 5)


def test_events_of_a_user_are_read_by_an_index(store: Store, kind: str) -> None:
    from cofactor.store import event_log

    store.events.append([Event(n % 500, n, 1) for n in range(5_000)])
    explain = "EXPLAIN QUERY PLAN " if kind == "sqlite" else "EXPLAIN "
    with store._database.read_transaction() as connection:
        if kind == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # 5,000 rows are too few to matter
        query = event_log._USER_QUERY.params(who="7", after=0).compile(
            connection, compile_kwargs={"literal_binds": True}
        )
        plan = str(connection.exec_driver_sql(explain + str(query)).fetchall())
    assert "events_user" in plan, plan
    assert [event.item for event in store.events.of_user(7, after=4_000)] == ["4007", "4507"]


def test_a_clock_set_back_does_not_let_an_old_rating_win(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from cofactor.store import event_log, transaction

    present = int(time.time())

    def clock(seconds: int) -> None:
        for module in (transaction, event_log):
            monkeypatch.setattr(module, "now", lambda: present + seconds)

    for seconds, value in ((0, 3), (-3600, 4), (-3599, 5)):
        clock(seconds)
        store.events.append([Event("ana", "alien", value)])
        assert [row.value for row in store.events.user_snapshot("ana", "ratings")] == [value]
    store.events.append([Event("bo", "alien", 2, time=present)])  # a caller whose clock is right
    store.events.append([Event("bo", "alien", kind="removal")])
    assert store.events.user_snapshot("bo", "ratings") == []
    assert store.events.snapshot("ratings")["value"].to_list() == [5.0]
    assert [event.received for event in store.events.after(0)] == [present] * 5
    clock(-400_000)
    assert store.events.append([Event("cy", "alien", 2, time=present)])  # today is not the future


def test_a_time_in_the_future_does_not_beat_later_events(store: Store) -> None:
    store.events.append([Event("ana", "alien", 5, time=int(time.time()) + 3_600)])
    store.events.append([Event("ana", "alien", kind="removal")])
    assert store.events.user_snapshot("ana", "ratings") == []


def test_close_writes_queued_events_and_rejects_new_ones(url: str) -> None:
    store = Store.open(url)
    futures = [store.events.submit([Event("ana", n, 1)]) for n in range(300)]
    store.close()
    assert [future.result()[0].seq for future in futures] == list(range(1, 301))
    with pytest.raises(StoreError, match="this store is closed"):
        store.events.append([Event("ana", "alien", 5)])
    with pytest.raises(StoreError, match="this store is closed"):
        store.impressions.log([Impression("ana", ["alien"])])
    store.close()
    with Store.open(url) as again:
        assert again.events.watermark() == 300


def test_a_full_queue_raises_an_error(
    store: Store, stall: Callable[[Store], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cofactor.store import writer

    gate = stall(store)
    monkeypatch.setattr(store._writer._queue, "maxsize", 2)
    futures = [store.events.submit([Event("ana", n, 1)]) for n in range(2)]
    with pytest.raises(StoreUnavailableError, match="the queue is full") as caught:
        store.events.submit([Event("ana", 2, 1)])
    assert caught.value.written == "no"
    monkeypatch.setattr(store._writer._queue, "maxsize", 9)
    with pytest.raises(StoreUnavailableError, match="no response after") as caught:
        store.events.append([Event("ana", 3, 1)], seconds=0.01)
    assert caught.value.written == "no"  # it was taken back in time
    monkeypatch.setattr(writer, "MAX_QUEUED_ROWS", 5)
    with pytest.raises(StoreUnavailableError, match=r"the queue is full \(3 requests with 3 events\)"):
        store.events.submit([Event("ana", n, 1) for n in range(3)])
    monkeypatch.undo()
    gate.set()
    assert [future.result()[0].seq for future in futures] == [1, 2]
    assert store.events.append([Event("ana", 4, 1)])[0].seq == 3


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=3),
    st.sampled_from([[], object(), 10**5000]),
)


ANY_EVENT = st.builds(
    Event, ANYTHING, ANYTHING, ANYTHING, st.one_of(st.sampled_from(KINDS), ANYTHING), ANYTHING, ANYTHING
)


@example(Event("ana", "alien", 1, 10**5000))  # type: ignore[arg-type]
@given(ANY_EVENT)
def test_an_event_is_valid_or_raises_a_clear_error(event: Event) -> None:
    try:
        (row,) = checked_rows([event], 1_700_000_000)
    except DataError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert message.startswith("event 1")
        assert len(message) < 300
        assert "\n" not in message
    else:
        assert row.user.strip()
        assert row.item.strip()
        assert not any(ord(c) < 32 or ord(c) == 127 for c in row.user + row.item + (row.key or ""))
        assert len(row.user) <= 256
        assert abs(row.value) <= 1e15
        assert row.time is None or 0 <= row.time <= 1_700_086_400


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(str.strip)


@given(st.lists(st.tuples(NAMES, NAMES, st.floats(-1e15, 1e15)), min_size=1, max_size=5))
def test_valid_events_round_trip(shared_store: Store, rows: list[tuple[str, str, float]]) -> None:
    last = shared_store.events.watermark()
    shared_store.events.append([Event(*row) for row in rows])
    assert [(event.user, event.item, event.value) for event in shared_store.events.after(last)] == rows


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Event("ana", "alien"), "the value is missing; a rating requires one"),
        (Event("ana", "alien", float("inf")), "the value must be finite; got inf"),
        (Event("ana", "alien", True), "the value must be a number; got True"),
        (Event("ana", "alien", "5"), "the value must be a number; got '5'"),  # type: ignore[arg-type]
        (Event("ana", "alien", 10**400), "the value must be between -1e"),
        (Event("ana", "alien", 0, "event"), "the value of an event must be between 1e-30"),
        (Event("ana", "alien", 1, "removal"), "the value must be omitted for a removal"),
        (Event("ana", "alien", 1, "like"), "the kind must be one of rating, event, removal"),  # type: ignore[arg-type]
        (Event("ana", "alien", 1, []), "the kind must be one of rating, event, removal"),  # type: ignore[arg-type]
        (Event("", "alien", 1), "the user is empty"),
        (Event("ana", "  ", 1), "the item is empty"),
        (Event("ana", "a\nb", 1), r"the item contains a control character: 'a\\nb'"),
        (Event("ana", "a" * 257, 1), "the item is longer than 256 characters: 'aaa"),
        (Event("ana", "\ud800", 1), r"the item contains an unpaired surrogate: '\\ud800'"),
        (Event(None, "alien", 1), "the user must be a string or an integer; got None"),  # type: ignore[arg-type]
        (Event(1.5, "alien", 1), "the user must be a string or an integer; got 1.5"),  # type: ignore[arg-type]
        (Event(2**63, "alien", 1), "the user must fit into 64 bits; pass larger IDs as strings"),
        (Event("ana", "alien", 1, time=1_700_000_000_000), "the time 1700000000000 is not in seconds"),
        (Event("ana", "alien", 1, time=-1), "the time must not be before 1970; got -1"),
        (Event("ana", "alien", 1, time=1_800_000_000), "at most one day ahead of this machine's clock"),
        (Event("ana", "alien", 1, time=1.5), "must be an integer number of seconds since 1970; got 1.5"),  # type: ignore[arg-type]
        (Event("ana", "alien", 1, key=""), "the key must not be empty; omit it if there is none"),
        (Event("ana", "alien", 1, key="k" * 129), "the key must have at most 128 characters; got 129"),
        (Event("ana", "alien", 1, key=7), "the key must be a string; got 7"),  # type: ignore[arg-type]
        ("ana", "must be an Event, not str"),
    ],
)
def test_each_error_names_position_and_reason(event: Event, message: str) -> None:
    with pytest.raises(DataError, match=rf"^event 2:? .*{message}"):
        checked_rows([Event("ana", "alien", 1), event], 1_700_000_000)


def test_too_many_events_at_once_are_rejected() -> None:
    with pytest.raises(DataError, match="events must contain at most 10,000 events; got 10,001"):
        checked_rows([Event("ana", "alien", 1)] * 10_001, 0)
