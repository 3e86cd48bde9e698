"""What a service does before it answers: import, learn a first model, make a first key. Done again, it does nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.service.artifacts import Artifacts
from cofactor.service.publishing import publish_first
from cofactor.service.recipe import Recipe
from cofactor.service.settings import ServiceSettings
from cofactor.store import Loaded, Store

__all__ = ["Prepared", "prepared"]


class Prepared(NamedTuple):
    """How it went.

    loaded: of the import, None without a table. version: of the model that answers. is_first: whether it was learnt
    now. key: an admin key, where there was none; it can never be shown again.
    """

    loaded: Loaded | None
    version: int
    is_first: bool
    key: str | None


def prepared(
    settings: ServiceSettings, table: Interactions | None, recipe: Recipe, tell: Callable[[str], None] = lambda _: None
) -> Prepared:
    """A folder and a store that can be served.

    Rows that were imported before are not stored twice. Where a model answers already, rows that are new count in the
    next answers, and a training is asked for. Raises DataError where there is nothing to learn from, ParameterError
    where others than this machine could come in and there is no key, and what `publish_first` raises.

    >>> from tempfile import TemporaryDirectory
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "clue", "alien"], [5, 4, 4])
    >>> with TemporaryDirectory() as folder:
    ...     settings, recipe = ServiceSettings.of({"data": folder}), Recipe(cofactor.Bias())
    ...     first = prepared(settings, ratings, recipe)
    ...     again = prepared(settings, ratings, recipe)
    >>> first.loaded.stored, first.is_first, first.key is None
    (3, True, False)
    >>> again.loaded.stored, again.is_first, again.key is None
    (0, False, True)
    """
    folder = Path(settings.data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    artifacts = Artifacts(settings.artifacts)
    with Store.open(settings.url) as store:
        keys = store.keys.all()
        if keys and all(key.revoked is not None for key in keys) and not settings.is_local:
            raise ParameterError(f"every key is revoked, and {settings.host} is open to others: make a key first")
        loaded = None if table is None else _imported(store, table, tell)
        active, is_first = store.models.active(), False
        if active is None:
            rows = table if table is not None else _stored(store, recipe)
            tell(f"learning {recipe.estimator.name} from {len(rows):,} {rows.kind}")
            active, is_first = publish_first(store, artifacts, rows, recipe), True
        elif loaded is not None and loaded.stored:
            store.jobs.enqueue_once("train")
        key = None if keys else store.keys.create("admin", "made at the first start")
        return Prepared(loaded, active.version, is_first, key)


def _imported(store: Store, table: Interactions, tell: Callable[[str], None]) -> Loaded:
    tell(f"storing {len(table):,} {table.kind}")
    loaded = store.events.load(table)
    if loaded.stored and table.item_table is not None:
        store.items.put_table(_plain(table.item_table))
    if loaded.stored and table.user_table is not None:
        for row in _plain(table.user_table).iter_rows(named=True):
            user = row.pop(table.user_table.columns[0])
            store.users.put(user, row)
    return loaded


def _plain(table: pl.DataFrame) -> pl.DataFrame:
    """With dates as text: JSON has none."""
    return table.with_columns(pl.col(pl.Date, pl.Datetime, pl.Time).cast(pl.String))


def _stored(store: Store, recipe: Recipe) -> Interactions:
    try:
        return store.events.interactions(recipe.kind)
    except DataError:
        raise DataError("there is no model yet, and nothing to learn one from: name a table of ratings") from None
