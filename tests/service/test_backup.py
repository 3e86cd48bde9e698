"""Backup and restore of a service; erased users stay erased."""

from __future__ import annotations

import shutil
import stat
import threading
from pathlib import Path

import pytest

from cofactor.errors import ArtifactError, StoreError
from cofactor.service import backup as module
from cofactor.service.backup import back_up, restore
from cofactor.service.doctor import check_service, worst_state
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings, store_url
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import run_queued_jobs
from cofactor.store import Event, Item, Store
from tests.support.command_line import run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder of a service with three models, of which two are in use."""
    folder = tmp_path / "service"
    folder.mkdir()
    with Store.open(store_url(folder)) as store:
        store.events.append([Event(user, item, 1 + (user + item) % 5) for user in range(12) for item in range(9)])
        store.items.put([Item(0, "Alien")])
        trainer = Trainer(store, ArtifactRegistry(folder / "artifacts"))
        for _ in range(3):
            assert trainer.train({"estimator": "bias"}).status == "active"
    return folder


def test_a_restored_service_equals_the_original(data: Path, tmp_path: Path) -> None:
    backup = back_up(data, tmp_path / "backup")
    with Store.open(store_url(data)) as store:
        models, events = store.models.all(), store.events.after(0)
    shutil.rmtree(data)
    restored = restore(tmp_path / "backup", data)
    assert restored.watermark == backup.watermark
    assert restored.models == [2, 3]
    with Store.open(store_url(data)) as store:
        assert store.events.after(0) == events
        assert [(model.version, model.status) for model in store.models.all()] == [
            (o.version, o.status) for o in models
        ]
        active = store.models.active()
        assert active is not None
        artifacts = ArtifactRegistry(data / "artifacts")
        assert len(artifacts.open(str(active.file), verify=True).recommend(3, exclude_seen=False)) == 9
        assert store.models.roll_back().version == 2
        with pytest.raises(StoreError, match="deleted"):
            store.models.promote(1)
    assert worst_state(check_service(data)) == "ok"


def test_erased_users_stay_erased(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    with Store.open(store_url(data)) as store:
        store.erasure.erase(3)
        store.erasure.export(tmp_path / "tombstones.json")
    shutil.rmtree(data)
    restored = restore(tmp_path / "backup", data, tmp_path / "tombstones.json")
    assert restored.erased == 1
    with Store.open(store_url(data)) as store:
        assert store.events.of_user(3) == []
        active = store.models.active()
        assert active is not None
        assert store.erasure.erasure_seq(3) > active.watermark  # type: ignore[operator]  # so it is masked
        assert [job.state for job in store.jobs.newest(1)] == ["queued"]
    assert [job.state for job in run_queued_jobs(ServiceSettings.of({"data": str(data)}))] == ["done"]
    with Store.open(store_url(data)) as store:
        newest = store.models.active()
        assert newest is not None
        assert 3 not in ArtifactRegistry(data / "artifacts").open(str(newest.file), verify=True).users
        assert 4 in ArtifactRegistry(data / "artifacts").open(str(newest.file), verify=True).users


def test_a_backup_is_made_while_the_service_is_used(data: Path, tmp_path: Path) -> None:
    over = threading.Event()
    with Store.open(store_url(data)) as store:

        def write() -> None:
            n = 0
            while not over.is_set():
                n += 1
                store.events.append([Event("x1", n, 3), Event("x2", n, 4)])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for n in range(3):
                back_up(data, tmp_path / f"backup{n}")
        finally:
            over.set()
            writer.join()
    restore(tmp_path / "backup2", tmp_path / "new")
    with Store.open(store_url(tmp_path / "new")) as store:
        assert len(store.events.of_user("x1")) == len(store.events.of_user("x2"))  # one request, one transaction


def test_a_promotion_during_a_backup_is_detected(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, times = module.write_atomically, []

    def write(path: Path, do: object) -> None:
        real(path, do)  # type: ignore[arg-type]
        if path.parent.name == "artifacts" and len(times) < 2:
            times.append(path)
            with Store.open(store_url(data)) as store:
                store.models.roll_back()

    monkeypatch.setattr(module, "write_atomically", write)
    backup = back_up(data, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new")
    with Store.open(store_url(tmp_path / "new")) as store:
        active = store.models.active()
        assert active is not None
        assert active.version == backup.models[0]


def test_only_the_owner_can_read_a_backup(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "backup" / "store.db").stat().st_mode) == 0o600


def test_the_command_prints_the_content_of_a_backup(data: Path, tmp_path: Path) -> None:
    result = run("backup", tmp_path / "backup", "--data", data)
    assert result.exit_code == 0, result.output
    assert "and models 3, 2" in result.stdout
    assert "PostgreSQL" not in result.output


@pytest.mark.parametrize("name", ["store.db", "tombstones.json", "artifacts", "backup.json"])
def test_a_damaged_backup_is_not_restored(data: Path, tmp_path: Path, name: str) -> None:
    back_up(data, tmp_path / "backup")
    path = tmp_path / "backup" / name
    path = next(path.iterdir()) if path.is_dir() else path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if name != "backup.json" else content[:-9])
    with pytest.raises(StoreError):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert [left.name for left in tmp_path.glob(".*")] == []


def test_existing_files_are_not_overwritten(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    with pytest.raises(StoreError, match="already exists"):
        back_up(data, tmp_path / "backup")
    with pytest.raises(StoreError, match="not empty"):
        restore(tmp_path / "backup", data)
    (tmp_path / "empty").mkdir()
    assert restore(tmp_path / "backup", tmp_path / "empty").models == [2, 3]


def test_a_damaged_artifact_stops_a_backup(data: Path, tmp_path: Path) -> None:
    with Store.open(store_url(data)) as store:
        active = store.models.active()
    assert active is not None
    (data / "artifacts" / str(active.file)).write_bytes(b"")
    with pytest.raises(ArtifactError):
        back_up(data, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    assert list(tmp_path.glob(".*")) == []


def test_a_folder_without_a_backup_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    with pytest.raises(StoreError, match="was not created by `cofactor backup`"):
        restore(tmp_path / "odd", tmp_path / "new")
    (tmp_path / "odd" / "backup.json").write_text('{"format": 1, "watermark": 0, "sha256": {"../../etc/passwd": "0"}}')
    with pytest.raises(StoreError, match="outside the folder"):
        restore(tmp_path / "odd", tmp_path / "new")
    (tmp_path / "odd" / "backup.json").write_text('{"format": 9, "watermark": 0, "sha256": {}}')
    with pytest.raises(StoreError, match="newer version of cofactor"):
        restore(tmp_path / "odd", tmp_path / "new")
