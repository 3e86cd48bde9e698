"""Model registry: metadata and status of trained models, of which at most one is active."""

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
from cofactor.store.validation import checked_integer, checked_json, checked_text
from cofactor.store.writer import Writer

__all__ = ["ModelStatus", "Models", "StoredModel"]

ModelStatus: TypeAlias = Literal["candidate", "active", "previous", "held", "retired"]


@dataclass(frozen=True)
class StoredModel:
    """Model in the registry, as of the time it was read.

    Attributes
    ----------
    version : int
        Version of the model, starting at 1.
    status : {'candidate', 'active', 'previous', 'held', 'retired'}
        "candidate" is a new model, "active" the model in use, "previous" the model used before it, "held" a model that
        must not be used because of `reasons`, and "retired" an older model.
    estimator : Any
        JSON-serializable specification of the estimator.
    file : str or None
        File name of the artifact; None if it was deleted.
    sha256 : str
        SHA-256 of the artifact.
    metrics : Any
        Metrics of the model.
    reasons : list of str
        Reasons the model is held; empty otherwise.
    watermark : int
        Sequence number of the last change in the training data.
    created : int
        Time of creation, in seconds since the Unix epoch.
    changed : int
        Time of the last status change, in seconds since the Unix epoch.

    Examples
    --------
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
    """Model registry of the store.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.

    Examples
    --------
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
        """Register a new model as a candidate.

        Parameters
        ----------
        estimator : str or mapping
            Specification of the estimator, as a JSON string or as JSON-serializable values.
        file : str
            File name of the artifact.
        sha256 : str
            SHA-256 of the artifact.
        watermark : int
            Sequence number of the last change in the training data.
        metrics : Any, default None
            JSON-serializable metrics of the model.

        Returns
        -------
        StoredModel
            The model, with the status "candidate".

        Raises
        ------
        DataError
            If an argument cannot be stored.
        StoreError
            If the estimator is a string but not valid JSON.
        """
        try:
            spec = json.loads(estimator) if isinstance(estimator, str) else plain(estimator)
        except ValueError as error:
            raise StoreError(f"the estimator is not valid JSON: {error}") from error
        row = {
            "status": "candidate",
            "estimator": checked_json(spec, "the estimator"),
            "file": checked_text(file, "the artifact's file name", 1_000),
            "sha256": checked_text(sha256, "the artifact's checksum", 128),
            "metrics": checked_json(plain(metrics), "the metrics"),
            "reasons": "[]",
            "watermark": checked_integer(watermark, "the watermark"),
            "created": now(),
            "changed": now(),
        }
        statement = insert(models).values(row).returning(models.c.version)
        return self._writer.run(lambda connection: _get(connection, connection.execute(statement).scalar_one()))

    def promote(self, version: int, *, expected_active: int | None = None) -> StoredModel:
        """Activate a model; the formerly active model becomes the previous one, and the old previous model is retired.

        Parameters
        ----------
        version : int
            Version of the model; nothing changes if it is already active.
        expected_active : int or None, default None
            Version of the active model that the model was compared with; None for no check.

        Returns
        -------
        StoredModel
            The model.

        Raises
        ------
        StoreError
            If a model other than `expected_active` is active, the version does not exist, or its artifact was deleted.
        """
        return self._writer.run(lambda connection: _promote(connection, version, expected_active))

    def roll_back(self) -> StoredModel:
        """Activate the previous model; the formerly active model becomes the previous one.

        Returns
        -------
        StoredModel
            The newly active model.

        Raises
        ------
        StoreError
            If there is no previous model.
        """
        return self._writer.run(_roll_back)

    def hold(self, version: int, reasons: Iterable[str]) -> StoredModel:
        """Put a model on hold, so that it is not used.

        Parameters
        ----------
        version : int
            Version of the model.
        reasons : iterable of str
            Reasons the model must not be used.

        Returns
        -------
        StoredModel
            The model.

        Raises
        ------
        StoreError
            If the model is active or does not exist.
        """
        reasons_json = checked_json([str(reason) for reason in reasons], "the reasons")
        return self._writer.run(lambda connection: _hold(connection, version, reasons_json))

    def active(self) -> StoredModel | None:
        """Return the active model, if any.

        Returns
        -------
        StoredModel or None
            The model; None if there is none.
        """
        with self._database.read_transaction() as connection:
            return _find_by_status(connection, "active")

    def previous(self) -> StoredModel | None:
        """Return the previous model, which `roll_back` would activate.

        Returns
        -------
        StoredModel or None
            The model; None if there is none.
        """
        with self._database.read_transaction() as connection:
            return _find_by_status(connection, "previous")

    def get(self, version: int) -> StoredModel:
        """Return the registered model with a given version.

        Parameters
        ----------
        version : int
            Version of the model.

        Returns
        -------
        StoredModel
            The model.

        Raises
        ------
        StoreError
            If there is no model with this version.
        """
        with self._database.read_transaction() as connection:
            return _get(connection, version)

    def all(self) -> list[StoredModel]:
        """Return all registered models.

        Returns
        -------
        list of StoredModel
            The models, ordered by version; empty if there are none.
        """
        with self._database.read_transaction() as connection:
            return [_model(row) for row in connection.execute(select(models).order_by(models.c.version))]

    def prunable(self, keep: int = 0) -> list[StoredModel]:
        """Return the models whose artifacts may be deleted.

        These are retired and held models, and candidates older than the active model, but never the active or the
        previous model.

        Parameters
        ----------
        keep : int, default 0
            Number of the newest such models to omit.

        Returns
        -------
        list of StoredModel
            The models, ordered by version; empty if there are none.
        """
        stored_models = self.all()
        active_version = max((model.version for model in stored_models if model.status == "active"), default=0)
        prunable = [
            model
            for model in stored_models
            if model.file is not None
            and (
                model.status in ("retired", "held") or (model.status == "candidate" and model.version < active_version)
            )
        ]
        return prunable[: len(prunable) - keep] if keep else prunable

    def mark_pruned(self, version: int) -> None:
        """Record that the artifact of a model is about to be deleted, so that the model can no longer be promoted.

        Parameters
        ----------
        version : int
            Version of the model.

        Raises
        ------
        StoreError
            If the model is the active or the previous model.
        """
        self._writer.run(lambda connection: _mark_pruned(connection, version))


def _model(row: Any) -> StoredModel:
    values = row._asdict()
    return StoredModel(**{**values, **{name: json.loads(values[name]) for name in ("estimator", "metrics", "reasons")}})


def _get(connection: Connection, version: int) -> StoredModel:
    query = select(models).where(models.c.version == checked_integer(version, "the version"))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise StoreError(f"there is no model {version}")
    return _model(row)


def _find_by_status(connection: Connection, status: ModelStatus) -> StoredModel | None:
    query = select(models).where(models.c.status == status).order_by(models.c.version.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _model(row)


def _set_status(connection: Connection, version: int, status: ModelStatus, **more: Any) -> None:
    connection.execute(update(models).where(models.c.version == version).values(status=status, changed=now(), **more))


def _promote(connection: Connection, version: int, expected_active: int | None) -> StoredModel:
    lock(connection)
    model, active = _get(connection, version), _find_by_status(connection, "active")
    if expected_active is not None and (active is None or active.version != expected_active):
        current_text = "no model" if active is None else f"model {active.version}"
        raise StoreError(f"model {version} was compared with model {expected_active}, but {current_text} is active now")
    if model.file is None:
        raise StoreError(f"model {version} cannot be promoted: its artifact was deleted")
    if model.status == "active":
        return model
    previous = _find_by_status(connection, "previous")
    if active is not None:
        if previous is not None and previous.version != version:
            _set_status(connection, previous.version, "retired")
        _set_status(connection, active.version, "previous")
    _set_status(connection, version, "active", reasons="[]")
    return _get(connection, version)


def _roll_back(connection: Connection) -> StoredModel:
    lock(connection)
    previous = _find_by_status(connection, "previous")
    if previous is None:
        raise StoreError("there is no previous model to roll back to")
    return _promote(connection, previous.version, None)


def _hold(connection: Connection, version: int, reasons: str) -> StoredModel:
    lock(connection)
    if _get(connection, version).status == "active":
        raise StoreError(
            f"model {version} is active and cannot be put on hold; roll back or promote another model first"
        )
    _set_status(connection, version, "held", reasons=reasons)
    return _get(connection, version)


def _mark_pruned(connection: Connection, version: int) -> None:
    lock(connection)
    model = _get(connection, version)
    if model.status in ("active", "previous"):
        raise StoreError(f"the artifact of model {version} must not be deleted, because it is the {model.status} model")
    connection.execute(update(models).where(models.c.version == version).values(file=None))
