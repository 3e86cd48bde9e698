"""Erasure: only a salted hash stays, and a restored backup can be erased again."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from cofactor.errors import DataError, StoreError
from cofactor.store import Event, Impression, Item, Store, Tombstone
from cofactor.store.schema import metadata


def content(store: Store) -> str:
    """Content of all tables as text."""
    with store._database.read_transaction() as connection:
        return repr({name: connection.execute(table.select()).fetchall() for name, table in metadata.tables.items()})


def fill(store: Store) -> None:
    store.events.append([Event("ana@example.org", n, 5, key=f"a{n}") for n in range(5)])
    store.events.append([Event("bo", 1, 4)])
    store.users.put("ana@example.org", {"age": 31})
    store.items.put([Item(1, "One")])
    store.impressions.log([Impression("ana@example.org", [1]), Impression("bo", [1])])
    store.impressions.flush()


def test_only_a_salted_hash_is_kept(store: Store) -> None:
    fill(store)
    assert store.erasure.erasure_seq("ana@example.org") is None
    tombstone = store.erasure.erase("ana@example.org")
    assert tombstone.seq == 9 == store.events.watermark() == store.erasure.erasure_seq("ana@example.org")
    assert "ana@example.org" not in content(store)
    assert tombstone.hash == store.erasure.hash("ana@example.org")
    assert len(tombstone.hash) == 64
    assert store.erasure.is_erased("ana@example.org")
    assert not store.erasure.is_erased("bo")
    assert store.erasure.after(8) == [tombstone]
    assert store.erasure.after(9) == []
    assert store.users.get("ana@example.org") is None
    assert [event.user for event in store.events.after(0)] == ["bo"]
    assert store.impressions.frame()["user"].to_list() == ["bo"]
    assert store.events.snapshot("ratings")["user"].to_list() == ["bo"]


def test_hashes_of_two_stores_differ(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/a.db") as first, Store.open(f"sqlite:///{tmp_path}/b.db") as second:
        assert first.erasure.hash("ana") != second.erasure.hash("ana")


def test_deleted_bytes_are_overwritten_on_disk(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        fill(store)
        files = [tmp_path / "store.db", tmp_path / "store.db-wal"]
        assert any(b"ana@example.org" in file.read_bytes() for file in files)
        store.erasure.erase("ana@example.org")
        assert not any(b"ana@example.org" in file.read_bytes() for file in files)


def test_erasure_is_idempotent_and_unknown_users_get_a_tombstone(store: Store) -> None:
    fill(store)
    tombstone = store.erasure.erase("ana@example.org")
    assert store.erasure.erase("ana@example.org") == tombstone
    assert store.events.watermark() == tombstone.seq
    unknown = store.erasure.erase("nobody")
    assert store.erasure.is_erased("nobody")
    assert store.erasure.after(0) == [tombstone, unknown]
    with pytest.raises(DataError, match="the user is empty"):
        store.erasure.erase("")


def test_events_after_an_erasure_belong_to_a_new_user(store: Store) -> None:
    fill(store)
    first = store.erasure.erase("ana@example.org")
    (receipt,) = store.events.append([Event("ana@example.org", 9, 2, key="a1")])  # the old keys are free
    assert not receipt.duplicate
    assert receipt.seq > first.seq
    assert not store.erasure.is_erased("ana@example.org")
    assert store.erasure.erasure_seq("ana@example.org") == first.seq
    assert [row.item for row in store.events.user_snapshot("ana@example.org", "ratings")] == ["9"]
    second = store.erasure.erase("ana@example.org")
    assert store.erasure.after(0) == [second]
    assert second.seq > receipt.seq


def test_erasure_is_atomic(empty_url: str) -> None:
    with Store.open(empty_url) as store:
        fill(store)
        check_atomic_erasure(store)


def check_atomic_erasure(store: Store) -> None:
    before = content(store)
    if store._database.kind == "sqlite":
        trigger = "CREATE TRIGGER no BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'not today'); END"
        store._writer.run(lambda c: c.exec_driver_sql(trigger).close())
    else:
        for sql in (
            "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$ LANGUAGE plpgsql",
            "CREATE TRIGGER no BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION no()",
        ):
            store._writer.run(lambda c, sql=sql: c.exec_driver_sql(sql).close())  # type: ignore[misc]
    with pytest.raises(StoreError, match="not today"):
        store.erasure.erase("ana@example.org")
    assert content(store) == before


def test_buffered_impressions_are_erased(store: Store, url: str) -> None:
    with Store.open(url) as other:
        other.impressions.log([Impression("ana", [1]), Impression("bo", [1])])
        store.erasure.erase("ana")
        other.impressions.flush()
    assert store.impressions.frame()["user"].to_list() == ["bo"]


def test_concurrent_appends_and_erasures_leave_no_row_before_a_tombstone(store: Store, url: str) -> None:
    with Store.open(url) as other:
        stop = threading.Event()

        def rate() -> None:
            n = 0
            while not stop.is_set():
                other.events.append([Event("ana", n, 1), Event("bo", n, 1)])
                n += 1

        thread = threading.Thread(target=rate)
        thread.start()
        tombstones = []
        try:
            for _ in range(10):
                tombstones.append(store.erasure.erase("ana"))
                time.sleep(0.005)
        finally:
            stop.set()
            thread.join()
        tombstones.append(store.erasure.erase("ana"))
        bo = store.events.of_user("bo")
    assert [tombstone.seq for tombstone in tombstones] == sorted(tombstone.seq for tombstone in tombstones)
    assert store.events.of_user("ana") == []
    assert [event.item for event in bo] == [str(n) for n in range(len(bo))]


def test_tombstones_are_reapplied_once(store: Store) -> None:
    fill(store)
    tombstones = [Tombstone(store.erasure.hash("ana@example.org"), 20, int(time.time()))]
    assert store.erasure.reapply(tombstones) == 1
    assert store.erasure.is_erased("ana@example.org")
    assert store.events.watermark() == 20  # numbers of another store are not reused
    assert store.events.append([Event("ana@example.org", 3, 3)])[0].seq == 21
    assert store.erasure.reapply(tombstones) == 0
    assert len(store.events.of_user("ana@example.org")) == 1
    assert store.erasure.reapply([]) == 0


def test_an_older_tombstone_does_not_erase_later_events(store: Store) -> None:
    fill(store)
    assert store.erasure.reapply([Tombstone(store.erasure.hash("ana@example.org"), 3, 0)]) == 1
    assert [event.seq for event in store.events.of_user("ana@example.org")] == [4, 5]
    assert store.users.get("ana@example.org") is not None


def test_tombstones_are_exported_and_reapplied(store: Store, empty_url: str, tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/other.db") as other:  # an old store, or one created again from old files
        fill(other)
    fill(store)
    store.erasure.erase("ana@example.org")
    store.erasure.export(tmp_path / "tombstones.json")
    assert "ana@example.org" not in (tmp_path / "tombstones.json").read_text()
    with Store.open(f"sqlite:///{tmp_path}/other.db") as other:
        assert other.erasure.reapply_file(tmp_path / "tombstones.json") == 1
        assert other.erasure.is_erased("ana@example.org")
        assert "ana@example.org" not in content(other)
        assert other.erasure.reapply_file(tmp_path / "tombstones.json") == 0
    with Store.open(f"sqlite:///{tmp_path}/other.db") as other:  # the salt was kept
        assert other.erasure.is_erased("ana@example.org")
    with Store.open(f"sqlite:///{tmp_path}/third.db") as third:
        third.erasure.erase("cy")
        with pytest.raises(StoreError, match="belongs to another store"):
            third.erasure.reapply_file(tmp_path / "tombstones.json")
        assert third.erasure.is_erased("cy")


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"salt": "x", "tombstones": [1]}', json.dumps({"salt": "x"})])
def test_invalid_tombstone_files_are_rejected(tmp_path: Path, written: str) -> None:
    (tmp_path / "t.json").write_text(written)
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        for path in (tmp_path / "t.json", tmp_path / "nowhere"):
            with pytest.raises(StoreError, match="is not a valid tombstone file"):
                store.erasure.reapply_file(path)


def test_the_watermark_never_decreases(store: Store) -> None:
    seen = [0]
    for n in range(5):
        store.events.append([Event("ana", n, 1)])
        seen.append(store.events.watermark())
        store.erasure.erase("ana")
        seen.append(store.events.watermark())
        store.items.put([Item(1, str(n))])
        seen.append(store.events.watermark())
        store.users.put("ana", {})
        seen.append(store.events.watermark())
    assert seen == list(range(21))
    with store._database.read_transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 0
