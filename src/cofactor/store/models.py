"""The models that were learnt, and which one answers: at most one is active, whoever promotes at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, insert, select, update

from cofactor.arrays import plain
from cofactor.errors import StoreError
from cofactor.store.connect import Database, lock, now
from cofactor.store.schema import models
from cofactor.store.validation import checked_json, checked_text, checked_whole
from cofactor.store.writer import Writer

__all__ = ["ModelStatus", "Models", "StoredModel"]

ModelStatus: TypeAlias = Literal["candidate", "active", "previous", "held", "retired"]


@dataclass(frozen=True)
class StoredModel:
    """A model as it stood when it was read.

    Attributes:

        version: its number, from 1 on.
        status: candidate (just learnt), active (it answers), previous (it answered before), held (it may not, for
            `reasons`), or retired.
        estimator: how it was learnt: the estimator as JSON's values.
        file, sha256: its artifact's name and checksum; None for the file once it was deleted.
        metrics: what was measured.
        reasons: why it is held.
        watermark: the number of the last change that it learnt from.
        created, changed: when it was added, and when its status last changed.

    >>> StoredModel(1, "active", {"estimator": "bias"}, "a.cofactor", "0" * 64, None, [], 9, created=6, changed=9).file
    'a.cofactor'
    """

    version: int
    status: ModelStatus
    estimator: Any
    file: str | None
    sha256: str
    metrics: Any
    reasons: list[str]
    watermark: int
    created: int
    changed: int


class Models:
    """The models, newest last.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     for name in ("a", "b"):
    ...         model = store.models.add_candidate({"estimator": "bias"}, f"{name}.cofactor", "0" * 64, watermark=9)
    ...         _ = store.models.promote(model.version)
    ...     [(model.file, model.status) for model in store.models.all()], store.models.roll_back().file
    ([('a.cofactor', 'previous'), ('b.cofactor', 'active')], 'a.cofactor')
    """

    def __init__(self, database: Database, writer: Writer):
        self._database = database
        self._writer = writer

    def add_candidate(
        self, estimator: str | Mapping[str, Any], file: str, sha256: str, *, watermark: int, metrics: Any = None
    ) -> StoredModel:
        """A model that was just learnt. `estimator`: its JSON, as text or values. Raises DataError."""
        try:
            spec = json.loads(estimator) if isinstance(estimator, str) else plain(estimator)
        except ValueError as error:
            raise StoreError(f"the estimator is no JSON: {error}") from error
        row = {
            "status": "candidate",
            "estimator": checked_json(spec, "the estimator"),
            "file": checked_text(file, "the artifact's file name", 1_000),
            "sha256": checked_text(sha256, "the artifact's checksum", 128),
            "metrics": checked_json(plain(metrics), "the metrics"),
            "reasons": "[]",
            "watermark": checked_whole(watermark, "the watermark"),
            "created": now(),
            "changed": now(),
        }
        add = insert(models).values(row).returning(models.c.version)
        return self._writer.run(lambda connection: _get(connection, connection.execute(add).scalar_one()))

    def promote(self, version: int, *, instead_of: int | None = None) -> StoredModel:
        """This model answers from now on; the active one becomes the previous, and that is retired, all at once.

        `instead_of`: the version it was compared with. Raises StoreError where another one is active by now, where
        there is no such version, and where its file was deleted. The active model stays what it is.
        """
        return self._writer.run(lambda connection: _promote(connection, version, instead_of))

    def roll_back(self) -> StoredModel:
        """The previous model answers again, and the active one becomes the previous. Raises StoreError without one."""
        return self._writer.run(_roll_back)

    def hold(self, version: int, reasons: Iterable[str]) -> StoredModel:
        """This model may not answer, for these reasons. Raises StoreError for the active one and for none."""
        told = checked_json([str(reason) for reason in reasons], "the reasons")
        return self._writer.run(lambda connection: _hold(connection, version, told))

    def active(self) -> StoredModel | None:
        """The model that answers, or None."""
        with self._database.reading() as connection:
            return _with_status(connection, "active")

    def previous(self) -> StoredModel | None:
        """The model that `roll_back` would bring back, or None."""
        with self._database.reading() as connection:
            return _with_status(connection, "previous")

    def get(self, version: int) -> StoredModel:
        """One model. Raises StoreError where there is none."""
        with self._database.reading() as connection:
            return _get(connection, version)

    def all(self) -> list[StoredModel]:
        """Every model, by version."""
        with self._database.reading() as connection:
            return [_model(row) for row in connection.execute(select(models).order_by(models.c.version))]

    def prunable(self, keep: int = 0) -> list[StoredModel]:
        """Those whose artifact may be deleted, but for the newest `keep` of them: never the active or previous one.

        Retired and held ones, and candidates older than the active model, which nobody promoted.
        """
        found = self.all()
        active = max((model.version for model in found if model.status == "active"), default=0)
        over = [
            model
            for model in found
            if model.file is not None
            and (model.status in ("retired", "held") or (model.status == "candidate" and model.version < active))
        ]
        return over[: len(over) - keep] if keep else over

    def pruned(self, version: int) -> None:
        """The model's artifact is about to be deleted: nobody can promote it from now on.

        Raises StoreError for the active and the previous one.
        """
        self._writer.run(lambda connection: _pruned(connection, version))


def _model(row: Any) -> StoredModel:
    values = row._asdict()
    return StoredModel(**{**values, **{name: json.loads(values[name]) for name in ("estimator", "metrics", "reasons")}})


def _get(connection: Connection, version: int) -> StoredModel:
    query = select(models).where(models.c.version == checked_whole(version, "the version"))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise StoreError(f"there is no model {version}")
    return _model(row)


def _with_status(connection: Connection, status: ModelStatus) -> StoredModel | None:
    query = select(models).where(models.c.status == status).order_by(models.c.version.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _model(row)


def _become(connection: Connection, version: int, status: ModelStatus, **more: Any) -> None:
    connection.execute(update(models).where(models.c.version == version).values(status=status, changed=now(), **more))


def _promote(connection: Connection, version: int, instead_of: int | None) -> StoredModel:
    lock(connection)
    model, active = _get(connection, version), _with_status(connection, "active")
    if instead_of is not None and (active is None or active.version != instead_of):
        found = "none is" if active is None else f"model {active.version} is"
        raise StoreError(f"model {version} was compared with model {instead_of}, and {found} active by now")
    if model.file is None:
        raise StoreError(f"model {version} cannot be promoted: its artifact was deleted")
    if model.status == "active":
        return model
    previous = _with_status(connection, "previous")
    if active is not None:
        if previous is not None and previous.version != version:
            _become(connection, previous.version, "retired")
        _become(connection, active.version, "previous")
    _become(connection, version, "active", reasons="[]")
    return _get(connection, version)


def _roll_back(connection: Connection) -> StoredModel:
    lock(connection)
    previous = _with_status(connection, "previous")
    if previous is None:
        raise StoreError("there is no previous model to roll back to")
    return _promote(connection, previous.version, None)


def _hold(connection: Connection, version: int, reasons: str) -> StoredModel:
    lock(connection)
    if _get(connection, version).status == "active":
        raise StoreError(f"model {version} is active: roll back or promote another first")
    _become(connection, version, "held", reasons=reasons)
    return _get(connection, version)


def _pruned(connection: Connection, version: int) -> None:
    lock(connection)
    model = _get(connection, version)
    if model.status in ("active", "previous"):
        raise StoreError(f"model {version} is the {model.status} one: its artifact must stay")
    connection.execute(update(models).where(models.c.version == version).values(file=None))
