"""Items, users, impressions and settings."""

from __future__ import annotations

import threading
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.errors import DataError, StoreUnavailableError
from cofactor.store import Event, Impression, Item, Store, impressions

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_items_are_put_read_and_replaced(store: Store) -> None:
    assert store.items.put([]) == 0
    first = store.items.put(
        [Item("alien", "Alien", metadata={"year": 1979, "genre": ["horror"]}), Item(7, available=False)]
    )
    assert store.items.get("alien") == (first, "alien", "Alien", True, {"year": 1979, "genre": ["horror"]})
    assert store.items.get(7) == (first, "7", None, False, {})
    assert store.items.get("nothing") is None
    second = store.items.put([Item("alien", "Aliens"), Item("clue"), Item("alien", "Alien³")])
    assert second == first + 1 == store.events.watermark()
    assert store.items.get("alien") == (second, "alien", "Alien³", True, {})
    assert [item.item for item in store.items.after(first)] == ["alien", "clue"]
    assert [item.item for item in store.items.after()] == ["7", "alien", "clue"]
    assert store.items.after(second) == []


def test_availability_changes_no_other_column(store: Store) -> None:
    store.items.put([Item("alien", "Alien", metadata={"year": 1979})])
    seq = store.items.set_available(["alien", "new"], available=False)
    assert store.items.get("alien") == (seq, "alien", "Alien", False, {"year": 1979})
    assert store.items.get("new") == (seq, "new", None, False, {})
    store.items.set_available(["new"], available=True)
    assert [item.available for item in store.items.after()] == [False, True]


def test_many_items_from_a_table(store: Store) -> None:
    table = pl.DataFrame(
        {"movie": range(25_000), "title": [f"film {n}" for n in range(25_000)], "year": [1979] * 25_000}
    )
    last = store.items.put_table(table)
    assert last == 3
    assert len(store.items.after()) == 25_000
    assert store.items.get(24_999) == (3, "24999", "film 24999", True, {"year": 1979})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("", "Alien"), "item 2 is empty"),
        (Item("alien", "a" * 1_001), "item 2: the title must have at most 1,000 characters"),
        (Item("alien", "a\0"), r"item 2: the title contains the control character U\+0000"),
        (Item("alien", metadata={"x": float("nan")}), "item 2: the metadata cannot be stored as JSON"),
        (Item("alien", metadata={"x": object()}), "item 2: the metadata cannot be stored as JSON"),
        (Item("alien", metadata={"x": "y" * 70_000}), "item 2: the metadata must be at most 65,536 bytes"),
        (Item("alien", metadata={"x": "\ud800"}), "item 2: the metadata contains an unpaired surrogate"),
        (Item("alien", metadata=[1]), "item 2: the metadata must be a mapping from strings to values"),  # type: ignore[arg-type]
        (Item("alien", metadata={1: 2}), "item 2: the metadata must be a mapping from strings to values"),  # type: ignore[dict-item]
        (Item("alien", available=1), "item 2: available must be true or false; got 1"),  # type: ignore[arg-type]
        ("alien", "item 2 must be an Item, not str"),
    ],
)
def test_an_invalid_item_rejects_the_whole_call(store: Store, item: Item, message: str) -> None:
    with pytest.raises(DataError, match=message):
        store.items.put([Item("clue"), item])
    assert store.items.after() == []


@given(st.dictionaries(st.text(max_size=9), JSON, max_size=4))
def test_metadata_round_trips(shared_store: Store, metadata: dict[str, object]) -> None:
    try:
        shared_store.items.put([Item("x", metadata=metadata)])
    except DataError as error:
        if "surrogate" not in str(error):
            raise
    else:
        item = shared_store.items.get("x")
        assert item is not None
        assert item.metadata == metadata


def test_metadata_of_users(store: Store) -> None:
    first = store.users.put("ana", {"age": 31})
    second = store.users.put(7, {})
    assert store.users.after() == [(first, "ana", {"age": 31}), (second, "7", {})]
    third = store.users.put("ana", {"age": 32})
    assert store.users.after(second) == [(third, "ana", {"age": 32})]
    assert (store.users.seqs_after(), store.users.seqs_after(second)) == ({"ana": third, "7": second}, {"ana": third})
    assert store.users.get(7) == (second, "7", {})
    with pytest.raises(DataError, match="the user's metadata must be a mapping from strings to values"):
        store.users.put("ana", "old")  # type: ignore[arg-type]


def test_tables_fill_in_missing_metadata_only(store: Store) -> None:
    store.items.put([Item("alien", "Alien³"), Item("blank", available=False)])
    table = pl.DataFrame({
        "film": ["alien", "blank", "new", "empty"],
        "title": ["Alien", "Blank", None, None],
        "year": [1979, 1980, 1981, None],
    })  # fmt: skip
    assert store.items.add_table(table) == 2
    last = store.events.watermark()
    assert store.items.get("alien") == (1, "alien", "Alien³", True, {})
    assert store.items.get("blank") == (2, "blank", "Blank", False, {"year": 1980})
    assert store.items.get("new") == (2, "new", None, True, {"year": 1981})
    assert store.items.get("empty") is None
    assert store.items.add_table(table) == 0
    assert store.events.watermark() == last
    with pytest.raises(DataError, match="the item table has no columns"):
        store.items.add_table(pl.DataFrame())


def test_metadata_of_erased_users_is_not_added(store: Store) -> None:
    ages = pl.DataFrame({"name": range(25_000), "age": [None, *range(24_999)]})
    store.users.put(7, {"age": 99})
    store.erasure.erase(8)
    assert store.users.add_table(ages) == 24_997  # not 0, which has no metadata, nor 7, nor 8
    assert [store.users.get(name) for name in (0, 8)] == [None, None]
    assert (store.users.get(7), store.users.get(24_999)) == ((1, "7", {"age": 99}), (5, "24999", {"age": 24_998}))
    assert store.users.add_table(ages) == 0
    assert store.events.watermark() == 5
    with pytest.raises(DataError, match="user 2 is empty"):
        store.users.add_table(pl.DataFrame({"user": ["x", ""], "age": [1, 2]}))
    assert store.users.get("x") is None


def test_settings_are_shared(store: Store, url: str) -> None:
    store.settings.put("kind", "ratings")
    store.settings.put("scale", [0.5, 5])
    store.settings.put("kind", "events")
    with Store.open(url) as other:
        assert other.settings.get("kind") == "events"
        assert other.settings.get("scale") == [0.5, 5]
        assert other.settings.get("none") is None
    with pytest.raises(DataError, match="the setting 'x' cannot be stored as JSON"):
        store.settings.put("x", object())


def test_impressions_are_written_without_a_flush(store: Store, url: str) -> None:
    end = time.monotonic() + 60
    with Store.open(url) as other:
        while len(store.impressions.frame()) == 0:
            assert time.monotonic() < end
            other.impressions.log([Impression("ana", ["alien"], [0.25], model=3, time=60)])
            time.sleep(0.05)
        assert store.impressions.frame().rows()[0] == (1, "ana", "alien", 1, 0.25, 3, 60)
        other.impressions.log([Impression("bo", [6, 7])])
    assert store.impressions.frame().row(-1)[1:4] == ("bo", "7", 2)  # closing loses none
    last = int(store.impressions.frame()["id"][-1])
    assert store.impressions.frame(after=last - 1)["user"].to_list() == ["bo", "bo"]
    assert len(store.impressions.frame(limit=1)) == 1


def test_impressions_are_buffered_during_other_writes(store: Store) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: [store.events.append([Event("a", 1, 1)]) for _ in iter(stop.is_set, True)])
    thread.start()
    store.impressions.log([Impression("ana", ["alien"])])
    time.sleep(1.6)
    n_rows = len(store.impressions.frame())
    stop.set()
    thread.join()
    assert n_rows == 1


@pytest.mark.parametrize(
    ("impression", "message"),
    [
        (Impression("", ["alien"]), "impression 2: the user is empty"),
        (Impression("ana", "alien"), "impression 2: items must be a list; got 'alien'"),
        (Impression("ana", []), "impression 2 must have at least one item"),
        (Impression("ana", ["alien"], [1, 1]), "one propensity per item; got 1 items and 2 propensities"),
        (Impression("ana", ["alien"], [0.0]), "impression 2: the propensity must be between 1e-12 and 1"),
        (Impression("ana", ["alien"], [1.5]), "impression 2: the propensity must be between 1e-12 and 1"),
        (Impression("ana", ["alien"], model=-1), "impression 2: the model must be between 0"),
    ],
)
def test_invalid_impressions_are_rejected(store: Store, impression: Impression, message: str) -> None:
    with pytest.raises(DataError, match=message):
        store.impressions.log([Impression("ana", ["alien"]), impression])
    store.impressions.flush()
    assert len(store.impressions.frame()) == 0


def test_impressions_are_buffered_up_to_a_limit_during_an_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impressions, "MAX_BUFFERED", 5)

    def unavailable(*_: object) -> None:
        raise StoreUnavailableError("gone", "no")

    monkeypatch.setattr(store.impressions, "_write", unavailable)
    store.impressions.log([Impression("ana", [n]) for n in range(4)])
    with pytest.raises(StoreUnavailableError):
        store.impressions.flush()
    store.impressions.log([Impression("ana", [n]) for n in range(4, 8)])
    assert store.impressions.lost == 3
    monkeypatch.undo()
    store.impressions.flush()
    assert store.impressions.frame()["item"].to_list() == ["0", "1", "2", "3", "4"]


def test_old_impressions_can_be_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impressions, "DELETE_BATCH_SIZE", 3)
    store.impressions.log([Impression("ana", [n], time=n) for n in range(10)])
    store.impressions.flush()
    assert store.impressions.prune(before=8) == 8
    assert store.impressions.frame()["item"].to_list() == ["8", "9"]
    assert store.impressions.prune(before=8) == 0
