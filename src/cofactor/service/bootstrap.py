"""What a service does before it answers: import, learn a first model, make a first key. Done again, it does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, ParameterError
from cofactor.service.registry import ArtifactRegistry, import_table, publish_learned
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.shell import as_path, command
from cofactor.store import ImportResult, Store
from cofactor.store.snapshot import other_kind

__all__ = ["Prepared", "prepared"]


class Prepared(NamedTuple):
    """How it went.

    loaded: of the import, None without a table. version: of the model that answers. is_first: whether it was learnt
    now. key: an admin key, where there was none; it can never be shown again.
    """

    loaded: ImportResult | None
    version: int
    is_first: bool
    key: str | None


def prepared(
    settings: ServiceSettings,
    table: Interactions | None,
    recipe: TrainingSpec,
    tell: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """A folder and a store that can be served.

    Rows that were imported before are not stored twice, and what was said of items and users since then stays. Where a
    model answers already, rows that are new count in the next answers, and a training is asked for. Raises DataError
    where there is nothing to learn from, ParameterError where others than this machine could come in and there is no
    key, and what `publish_first` raises.

    >>> from tempfile import TemporaryDirectory
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "clue", "alien"], [5, 4, 4])
    >>> with TemporaryDirectory() as folder:
    ...     settings, recipe = ServiceSettings.of({"data": folder}), TrainingSpec(cofactor.Bias())
    ...     first = prepared(settings, ratings, recipe)
    ...     again = prepared(settings, ratings, recipe)
    >>> first.loaded.stored, first.is_first, first.key is None
    (3, True, False)
    >>> again.loaded.stored, again.is_first, again.key is None
    (0, False, True)
    """
    folder = Path(settings.data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        keys = store.keys.all()
        where = ["--data", as_path(settings.data)] if settings.db is None else ["--db", settings.db]
        if keys and all(key.revoked is not None for key in keys) and not settings.is_local:
            raise ParameterError(
                f"every key is revoked, and {settings.host} is open to others: make one first, by "
                f"`{command('key', '--role', 'admin', *where)}`"
            )
        table = None if table is None else _in_parts(table)
        loaded, is_whole = (None, False) if table is None else _imported(store, table, tell)
        active, is_first = store.models.active(), False
        if active is None:
            _require_rows(store, recipe.kind)
            tell(f"learning {recipe.estimator.name} from {recipe.kind}")
            active, is_first = publish_learned(store, artifacts, recipe, table if is_whole else None), True
        elif loaded is not None and loaded.stored:
            store.jobs.enqueue_once("train")
        key = None if keys else store.keys.create("admin", "made at the first start")
        return Prepared(loaded, active.version, is_first, key)


def _imported(store: Store, table: Interactions, tell: Callable[[str], None]) -> tuple[ImportResult, bool]:
    """Import as `import_table` does; items and users first, so that a cell that cannot be kept stops it before."""
    if table.item_table is not None and (count := store.items.add_table(table.item_table)):
        tell(f"storing what is known of {count:,} items: {_names(table.item_table)}")
    if table.user_table is not None and (count := store.users.add_table(table.user_table)):
        tell(f"storing what is known of {count:,} users: {_names(table.user_table)}")
    low = "" if table.seen is None else f" and {len(table.seen):,} lower ratings"
    tell(f"storing {len(table):,} {table.kind}{low}")
    return import_table(store, table)


def _names(table: pl.DataFrame) -> str:
    return ", ".join(table.columns[1:])


def _in_parts(table: Interactions) -> Interactions:
    """Texts of several parts, as "Comedy|War", as lists of them: a filter by metadata names one of the parts."""
    items, users = (None if side is None else _parted(side) for side in (table.item_table, table.user_table))
    return replace(table, item_table=items, user_table=users)


def _parted(side: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name in side.columns[1:] if side[name].dtype == pl.String and name != "title"]
    several = [name for name in texts if side[name].str.contains("|", literal=True).any()]
    part = pl.element().str.strip_chars()
    return side.with_columns(pl.col(several).str.split("|").list.eval(part.filter(part != ""))) if several else side


def _require_rows(store: Store, kind: Kind) -> None:
    """Raise DataError where the store holds nothing of this kind."""
    if store.events.holds(kind):
        return
    other = other_kind(kind)
    if store.events.holds(other):
        how = "learn from them with --events" if other == "events" else "leave out --events"
        raise DataError(f"there is no model yet, and the store holds {other} and no {kind}: {how}")
    raise DataError("there is no model yet, and nothing to learn one from: name a table of ratings")
