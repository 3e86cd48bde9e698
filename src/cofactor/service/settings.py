"""Service settings, read from flags, `COFACTOR_SERVE_...` variables and a TOML file, in this order of precedence.

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

__all__ = ["ARTIFACTS", "PREFIX", "GateCriterion", "ServiceSettings", "parent_has_exited", "store_url"]

PREFIX = "COFACTOR_SERVE_"
SETTINGS_VARIABLE = "COFACTOR_SERVING"  # all settings as JSON, set by a parent process for its workers
PARENT_VARIABLE = "COFACTOR_SERVING_PARENT"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
ARTIFACTS = "artifacts"
"""Name of the artifact folder inside the folder of a service."""

GateCriterion: TypeAlias = Literal["mean", "upper"]
"""Estimate of the loss that is compared with the tolerance of the promotion gate; see `PromotionGate`."""


class ServiceSettings(BaseSettings):
    """Service settings with their default values and ranges.

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

    data: str = Field("cofactor-data", description="Folder for the artifacts and, unless db is set, for the store")
    db: str | None = Field(None, description="URL of the store: sqlite:///file.db or postgresql://user@host/name")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 for any free port")
    workers: int = Field(1, ge=1, le=64, description="Number of server processes")
    threads: int = Field(
        4, ge=1, le=64, description="Number of threads per process for ranking and for reading the store"
    )
    max_queue: int = Field(
        512, ge=1, description="Maximum number of requests waiting for a thread, per process; beyond it, 503"
    )
    max_body: int = Field(8_000_000, ge=1_000, description="Maximum size of a request body, in bytes")
    max_n: int = Field(1_000, ge=1, description="Maximum number of items in a list and of rows on a page")
    max_batch: int = Field(1_000, ge=1, description="Maximum number of users in a batch")
    rate: float = Field(2_000, gt=0, description="Maximum number of requests per second for each key, per process")
    poll: float = Field(1.0, gt=0, le=60, description="Seconds between checks for a newly promoted model")
    key_cache_seconds: float = Field(2.0, ge=0, le=60, description="Seconds for which a worker caches a verified key")
    cache: int = Field(1_000, ge=1, description="Maximum number of folded-in users in the cache, per process")
    body_seconds: float = Field(30.0, gt=0, description="Maximum time for receiving a request body, in seconds")
    connections: int = Field(4_000, ge=1, description="Maximum number of connections, per process; beyond it, 503")

    train: bool = Field(True, description="Whether to train new models in a separate process")
    train_after: int = Field(5_000, ge=1, description="Train after this number of changes")
    train_every: float = Field(3_600.0, ge=1, description="Train after this number of seconds, if anything changed")
    gate_tolerance: float = Field(
        0.01, ge=0, description="Maximum loss of accuracy of a new model, as a fraction of the metric"
    )
    gate_criterion: GateCriterion = Field(
        "mean", description="Loss to compare with the tolerance: mean, or upper for the upper end of its 95% interval"
    )
    gate_coverage: float = Field(0.2, ge=0, description="Maximum relative decrease in catalog coverage")
    gate_top_share: float = Field(
        0.1,
        ge=0,
        description="Maximum absolute increase in the fraction of positions with the 1% most-recommended items",
    )
    gate_lift: float = Field(0.25, ge=0, description="Maximum relative increase in popularity lift")

    @property
    def url(self) -> str:
        """URL of the store."""
        return store_url(self.data, self.db)

    @property
    def artifacts(self) -> Path:
        """Path of the artifact folder."""
        return Path(self.data) / ARTIFACTS

    @property
    def tombstones(self) -> Path:
        """Path of the file to which the tombstones of erased users are exported."""
        return Path(self.data) / "tombstones.json"

    @property
    def is_local(self) -> bool:
        """Whether the service accepts connections only from this machine."""
        return self.host in LOOPBACK

    @classmethod
    def of(cls, flags: Mapping[str, Any], file: str | Path | None = None) -> Self:
        """Create settings from flags, environment variables and a TOML file.

        Parameters
        ----------
        flags : mapping of str to Any
            Values by name; None for flags that were not set.
        file : str or Path, optional
            TOML file.

        Returns
        -------
        ServiceSettings
            The settings.

        Raises
        ------
        ParameterError
            If a name or value is invalid, including environment variables that start with `COFACTOR_SERVE_` but match
            no setting; the message names the setting.
        """
        names = {f"{PREFIX}{name}".upper() for name in cls.model_fields}
        in_environment = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}
        if unknown_variables := sorted(in_environment - names):
            raise ParameterError(f"{unknown_variables[0]}: unknown setting")
        values = {} if file is None else _read_toml(file)
        values = {name: value for name, value in values.items() if f"{PREFIX}{name}".upper() not in in_environment}
        try:
            return cls(**(values | {name: value for name, value in flags.items() if value is not None}))
        except ValidationError as error:
            raise ParameterError(_message(error)) from None

    def export_to_workers(self) -> None:
        """Write the settings to the environment variables of this process, for its workers to read."""
        os.environ[SETTINGS_VARIABLE], os.environ[PARENT_VARIABLE] = self.model_dump_json(), str(os.getpid())

    @classmethod
    def from_parent_process(cls) -> Self:
        """Read the settings that the parent process passed with `export_to_workers`.

        Returns
        -------
        ServiceSettings
            The settings.
        """
        return cls(**json.loads(os.environ[SETTINGS_VARIABLE]))


def store_url(data: str | Path, db: str | None = None) -> str:
    """Return the store URL of a service.

    Parameters
    ----------
    data : str or Path
        Folder of the service.
    db : str, optional
        URL of the database, if it is not `store.db` in the folder.

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


def parent_has_exited() -> bool:
    """Return whether the parent process that passed the settings to this process has exited.

    Returns
    -------
    bool
        Whether it has exited; False in a process without such a parent.

    Examples
    --------
    >>> parent_has_exited()
    False
    """
    parent = os.environ.get(PARENT_VARIABLE, str(os.getpid()))
    return parent not in (str(os.getpid()), str(os.getppid()))


def _read_toml(file: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file} is not valid TOML: {error}") from error


def _message(error: ValidationError) -> str:
    """Return the first error as a single line."""
    first_error = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first_error["loc"]) or "settings"
    return f"{name}: unknown setting" if first_error["type"] == "extra_forbidden" else f"{name}: {first_error['msg']}"
