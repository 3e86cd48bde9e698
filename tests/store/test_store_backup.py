"""Backups of SQLite: consistent while it is used; restored completely or not at all."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from cofactor.errors import StoreError
from cofactor.store import Event, Item, Store


def test_a_backup_is_consistent_under_concurrent_writes(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.append([Event("ana", n, 1) for n in range(5_000)])
        stop = threading.Event()

        def write() -> None:
            n = 0
            while not stop.is_set():
                store.events.append([Event("bo", n, 1), Event("cy", n, 1)])  # both or none
                n += 1

        thread = threading.Thread(target=write)
        thread.start()
        for n in range(5):
            store.back_up(tmp_path / f"{n}.backup")
        stop.set()
        thread.join()
    sizes = []
    for n in range(5):
        assert stat.S_IMODE((tmp_path / f"{n}.backup").stat().st_mode) == 0o600
        with Store.restore(tmp_path / f"{n}.backup", f"sqlite:///{tmp_path}/{n}.db") as restored:
            events = restored.events.after(0, 100_000)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert len(restored.events.of_user("bo")) == len(restored.events.of_user("cy"))
            sizes.append(len(events))
    assert sizes == sorted(sizes)
    assert sizes[0] >= 5_000
    left = {file.name for file in tmp_path.iterdir() if file.suffix not in (".db", ".backup")}
    assert not {name for name in left if not name.endswith(("-wal", "-shm"))}, left


def test_a_restored_store_is_complete_and_erases_again(tmp_path: Path) -> None:
    backup, tombstones = tmp_path / "store.backup", tmp_path / "tombstones.json"
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.append([Event("ana", 1, 5, key="a"), Event("bo", 1, 4)])
        store.items.put([Item(1, "One")])
        key = store.keys.create("admin", "me")
        store.erasure.erase("cy")
        model = store.models.add_candidate("{}", "m.cofactor", "0", watermark=2)
        store.models.promote(model.version)
        store.back_up(backup)
        store.events.append([Event("ana", 2, 3), Event("dan", 1, 1)])  # lost with the disk
        store.erasure.erase("ana")
        store.erasure.export(tombstones)
        watermark = store.events.watermark()
    with Store.restore(backup, f"sqlite:///{tmp_path}/new.db", tombstones) as new:
        assert [event.user for event in new.events.after(0)] == ["bo"]
        assert new.erasure.is_erased("ana")
        assert new.erasure.is_erased("cy")
        assert new.keys.check(key) is not None
        assert new.models.active() is not None
        assert new.items.get(1) is not None
        assert new.events.watermark() == watermark  # numbers are not reused
        assert not new.events.append([Event("ana", 1, 5, key="a")])[0].duplicate
        assert new.erasure.reapply_file(tombstones) == 0
        assert len(new.events.of_user("ana")) == 1


def test_invalid_backups_are_rejected(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.append([Event("ana", n, 1) for n in range(2_000)])
        store.back_up(tmp_path / "good")
        with pytest.raises(StoreError, match="no backup was written"):
            store.back_up(tmp_path / "no" / "folder")
    data = (tmp_path / "good").read_bytes()
    damaged = {
        "truncated": data[: len(data) // 2],
        "garbled": data[:20_000] + bytes(b ^ 255 for b in data[20_000:60_000]) + data[60_000:],
        "empty folder": None,
        "notes": b"no database at all" * 999,
    }
    for name, content in damaged.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match=r"is damaged|cannot be restored"):
            Store.restore(tmp_path / name, f"sqlite:///{tmp_path}/new.db")
        assert not (tmp_path / "new.db").exists(), name
    with pytest.raises(StoreError, match="already exists; move it elsewhere first"):
        Store.restore(tmp_path / "good", f"sqlite:///{tmp_path}/store.db")
    (tmp_path / "new.db-wal").write_bytes(b"left over")
    with pytest.raises(StoreError, match="belongs to another store"):
        Store.restore(tmp_path / "good", f"sqlite:///{tmp_path}/new.db")
    with pytest.raises(StoreError, match="the URL must be a SQLite URL"):
        Store.restore(tmp_path / "good", "postgresql://host/shop")


def test_a_restore_without_readable_tombstones_leaves_no_store(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.back_up(tmp_path / "good")
    (tmp_path / "stones.json").write_text("cut sho")
    with pytest.raises(StoreError, match="is not a valid tombstone file"):
        Store.restore(tmp_path / "good", f"sqlite:///{tmp_path}/new.db", tmp_path / "stones.json")
    assert not list(tmp_path.glob("new.db*"))


def test_postgresql_is_backed_up_by_pg_dump(server: object, tmp_path: Path) -> None:
    url = server.new(template="template")  # type: ignore[attr-defined]
    with Store.open(url) as store, pytest.raises(StoreError, match="pg_dump --format=custom"):
        store.back_up(tmp_path / "x")
