"""Settings of the service: from flags, else `COFACTOR_SERVE_...` variables, else a TOML file.

Unknown names are rejected.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cofactor.errors import ParameterError

__all__ = ["ARTIFACTS", "PREFIX", "GateCriterion", "ServiceSettings", "is_orphan", "store_url"]

PREFIX = "COFACTOR_SERVE_"
WHOLE = "COFACTOR_SERVING"  # all settings as JSON, set by a parent process for its workers
PARENT = "COFACTOR_SERVING_PARENT"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
ARTIFACTS = "artifacts"
"""Name of the folder of artifacts in the folder of a service."""

GateCriterion: TypeAlias = Literal["mean", "upper"]
"""Estimate of the loss that the promotion gate compares with its tolerance; see `PromotionGate`."""


class ServiceSettings(BaseSettings):
    """Settings of the service with their default values and ranges.

    Limits "per process" apply to each worker process separately.

    Examples
    --------
    >>> ServiceSettings.of({"port": 9000}).port, ServiceSettings.of({"data": "/srv/films"}).url
    (9000, 'sqlite:////srv/films/store.db')
    >>> ServiceSettings.of({"prot": 9000})
    Traceback (most recent call last):
    cofactor.errors.ParameterError: prot: unknown setting
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data: str = Field("cofactor-data", description="Folder of the artifacts and, unless db is set, of the store")
    db: str | None = Field(None, description="URL of the store, sqlite:///file.db or postgresql://user@host/name")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 for any free port")
    workers: int = Field(1, ge=1, le=64, description="Number of server processes")
    threads: int = Field(4, ge=1, le=64, description="Threads per process that rank and read the store")
    max_queue: int = Field(512, ge=1, description="Requests that may wait for these threads, per process; then 503")
    max_body: int = Field(8_000_000, ge=1_000, description="Maximum size of a request body, in bytes")
    max_n: int = Field(1_000, ge=1, description="Maximum number of items in a list and of rows in a page")
    max_batch: int = Field(1_000, ge=1, description="Maximum number of users in a batch")
    rate: float = Field(2_000, gt=0, description="Maximum number of requests per second and key, per process")
    poll: float = Field(1.0, gt=0, le=60, description="Seconds between two checks for a newly promoted model")
    key_cache_seconds: float = Field(2.0, ge=0, le=60, description="Seconds for which a worker trusts a checked key")
    cache: int = Field(1_000, ge=1, description="Maximum number of folded-in users in the cache, per process")
    body_seconds: float = Field(30.0, gt=0, description="Seconds within which a request body must arrive")
    connections: int = Field(4_000, ge=1, description="Maximum number of connections, per process; then 503")

    train: bool = Field(True, description="Whether to train new models in a separate process")
    train_after: int = Field(5_000, ge=1, description="Train after this number of changes")
    train_every: float = Field(3_600.0, ge=1, description="Train after this number of seconds, if anything changed")
    gate_tolerance: float = Field(0.01, ge=0, description="Share of the metric by which a new model may be worse")
    gate_criterion: GateCriterion = Field(
        "mean", description="Loss to compare with the tolerance: mean, or upper for the upper end of its 95 % interval"
    )
    gate_coverage: float = Field(0.2, ge=0, description="Share by which the catalog coverage may fall")
    gate_top_share: float = Field(
        0.1, ge=0, description="Amount by which the share of the 1 % most recommended items may rise"
    )
    gate_lift: float = Field(0.25, ge=0, description="Share by which the popularity lift may rise")

    @property
    def url(self) -> str:
        """URL of the store."""
        return store_url(self.data, self.db)

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts."""
        return Path(self.data) / ARTIFACTS

    @property
    def tombstones(self) -> Path:
        """File to which the tombstones are exported."""
        return Path(self.data) / "tombstones.json"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to the service."""
        return self.host in LOOPBACK

    @classmethod
    def of(cls, flags: Mapping[str, Any], file: str | Path | None = None) -> Self:
        """Combine flags, environment variables and a TOML file.

        Parameters
        ----------
        flags : mapping of str to Any
            Values by name; None for a flag that was not set.
        file : str or Path, optional
            TOML file.

        Returns
        -------
        ServiceSettings
            The settings.

        Raises
        ------
        ParameterError
            If a value or a name is invalid; the message names the setting. This includes variables that start with
            `COFACTOR_SERVE_` and match no setting.
        """
        names = {f"{PREFIX}{name}".upper() for name in cls.model_fields}
        in_environment = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}
        if unknown := sorted(in_environment - names):
            raise ParameterError(f"{unknown[0]}: unknown setting")
        values = {} if file is None else _read_toml(file)
        values = {name: value for name, value in values.items() if f"{PREFIX}{name}".upper() not in in_environment}
        try:
            return cls(**(values | {name: value for name, value in flags.items() if value is not None}))
        except ValidationError as error:
            raise ParameterError(_message(error)) from None

    def hand_over(self) -> None:
        """Store the settings in the environment of this process, from which its workers read them."""
        os.environ[WHOLE], os.environ[PARENT] = self.model_dump_json(), str(os.getpid())

    @classmethod
    def handed_over(cls) -> Self:
        """Return the settings that the parent process passed by `hand_over`.

        Returns
        -------
        ServiceSettings
            The settings.
        """
        return cls(**json.loads(os.environ[WHOLE]))


def store_url(data: str | Path, db: str | None = None) -> str:
    """Return the URL of the store of a service.

    Parameters
    ----------
    data : str or Path
        Folder of the service.
    db : str, optional
        URL of the database, if it is not the file `store.db` in the folder.

    Returns
    -------
    str
        The URL.

    Examples
    --------
    >>> store_url("/srv/films")
    'sqlite:////srv/films/store.db'
    """
    return db or f"sqlite:///{Path(data).absolute() / 'store.db'}"


def is_orphan() -> bool:
    """Return whether the parent process that passed the settings to this process has ended.

    Returns
    -------
    bool
        Whether it has; False in a process without such a parent.

    Examples
    --------
    >>> is_orphan()
    False
    """
    parent = os.environ.get(PARENT, str(os.getpid()))
    return parent not in (str(os.getpid()), str(os.getppid()))


def _read_toml(file: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file} is not valid TOML: {error}") from error


def _message(error: ValidationError) -> str:
    """Return the first error as one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "settings"
    return f"{name}: unknown setting" if first["type"] == "extra_forbidden" else f"{name}: {first['msg']}"
