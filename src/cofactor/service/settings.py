"""How a service runs: from flags, then `COFACTOR_SERVE_...` variables, then a TOML file. Unknown names are refused."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cofactor.errors import ParameterError
from cofactor.service.training.promotion_gate import End, Guard
from cofactor.service.training.worker import ARTIFACTS, Due, store_url

__all__ = ["PREFIX", "ServiceSettings", "is_orphan"]

PREFIX = "COFACTOR_SERVE_"
WHOLE = "COFACTOR_SERVING"  # how a parent tells its workers: all settings as JSON
PARENT = "COFACTOR_SERVING_PARENT"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServiceSettings(BaseSettings):
    """Every setting with its default, unit and range.

    Limits named "per process" are counted by each worker on its own.

    >>> ServiceSettings.of({"port": 9000}).port, ServiceSettings.of({"data": "/srv/films"}).url
    (9000, 'sqlite:////srv/films/store.db')
    >>> ServiceSettings.of({"prot": 9000})
    Traceback (most recent call last):
    cofactor.errors.ParameterError: prot: there is no such setting
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data: str = Field("cofactor-data", description="The folder that holds artifacts and, unless db is given, the store")
    db: str | None = Field(None, description="URL of the store, sqlite:///file.db or postgresql://user@host/name")
    host: str = Field("127.0.0.1", description="Where to listen")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen at; 0 takes any that is free")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer")
    threads: int = Field(4, ge=1, le=64, description="Threads of each process that rank and read the store")
    max_queue: int = Field(512, ge=1, description="Requests that may wait for these threads, per process; then 503")
    max_body: int = Field(8_000_000, ge=1_000, description="Bytes of a request at most")
    max_n: int = Field(1_000, ge=1, description="Items in a list and rows of a page at most")
    max_batch: int = Field(1_000, ge=1, description="Users of a batch at most")
    rate: float = Field(2_000, gt=0, description="Requests per second and key, per process")
    poll: float = Field(1.0, gt=0, le=60, description="Seconds between two looks for a newly promoted model")
    key_cache_seconds: float = Field(2.0, ge=0, le=60, description="Seconds for which a worker trusts a checked key")
    cache: int = Field(1_000, ge=1, description="Users whose folded-in vectors are kept, per process")
    body_seconds: float = Field(30.0, gt=0, description="Seconds within which the body of a request must arrive")
    connections: int = Field(4_000, ge=1, description="Connections at once, per process; then 503")

    train: bool = Field(True, description="Whether a process beside those that answer learns new models")
    train_after: int = Field(5_000, ge=1, description="Events after which a new model is learnt")
    train_every: float = Field(3_600.0, ge=1, description="Seconds after which one is, where anything changed")
    guard_tolerance: float = Field(0.01, ge=0, description="Share of the metric that a new model may lose")
    guard_end: End = Field("mean", description="mean, or high: the far end of the loss's interval must be within that")
    guard_coverage: float = Field(0.2, ge=0, description="Share by which the part of the catalog shown may fall")
    guard_top_share: float = Field(0.1, ge=0, description="Points by which the share of the 1 % shown most may rise")
    guard_lift: float = Field(0.25, ge=0, description="Share by which the popularity of what is shown may rise")

    @property
    def url(self) -> str:
        """The store's URL."""
        return store_url(self.data, self.db)

    @property
    def guard(self) -> Guard:
        """What a new model may lose, and still be promoted."""
        return Guard(
            tolerance=self.guard_tolerance,
            end=self.guard_end,
            coverage=self.guard_coverage,
            top_share=self.guard_top_share,
            lift=self.guard_lift,
        )

    @property
    def due(self) -> Due:
        """When a new model is learnt."""
        return Due(self.train_after, self.train_every)

    @property
    def artifacts(self) -> Path:
        """The folder of artifacts."""
        return Path(self.data) / ARTIFACTS

    @property
    def tombstones(self) -> Path:
        """Where the tombstones are exported to, beside backups."""
        return Path(self.data) / "tombstones.json"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    @classmethod
    def of(cls, flags: Mapping[str, Any], file: str | Path | None = None) -> Self:
        """Settings from flags (None: not given), variables and a TOML file. Raises ParameterError, naming the setting.

        A variable that begins as ours do but names no setting is refused as well.
        """
        known = {f"{PREFIX}{name}".upper() for name in cls.model_fields}
        if unknown := [name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known]:
            raise ParameterError(f"{unknown[0]}: there is no such setting")
        told = {} if file is None else _read_toml(file)
        told = {name: value for name, value in told.items() if f"{PREFIX}{name}".upper() not in _upper(os.environ)}
        try:
            return cls(**(told | {name: value for name, value in flags.items() if value is not None}))
        except ValidationError as problem:
            raise ParameterError(_told(problem)) from None

    def hand_over(self) -> None:
        """Put everything into this process's environment, for the workers that it spawns."""
        os.environ[WHOLE], os.environ[PARENT] = self.model_dump_json(), str(os.getpid())

    @classmethod
    def handed_over(cls) -> Self:
        """What `hand_over` of the parent said."""
        return cls(**json.loads(os.environ[WHOLE]))


def is_orphan() -> bool:
    """Whether the process that handed settings over to this one, as its parent, is gone.

    >>> is_orphan()
    False
    """
    parent = os.environ.get(PARENT, str(os.getpid()))
    return parent not in (str(os.getpid()), str(os.getppid()))


def _upper(names: Mapping[str, str]) -> set[str]:
    return {name.upper() for name in names}


def _read_toml(file: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as problem:
        raise ParameterError(f"{file} cannot be read: {problem.strerror}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ParameterError(f"{file} is no TOML: {problem}") from problem


def _told(problem: ValidationError) -> str:
    first = problem.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "settings"
    return f"{name}: there is no such setting" if first["type"] == "extra_forbidden" else f"{name}: {first['msg']}"
