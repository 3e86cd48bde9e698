"""Service bootstrap: import a table, train the first model and create the first key; safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, ParameterError
from cofactor.evaluate.selection import choose
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.data import store_scale, training_data
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import TRAIN
from cofactor.shell import as_path, command
from cofactor.store import ImportResult, Store
from cofactor.store.snapshot import other_kind

__all__ = ["PrepareResult", "import_table", "prepare"]


class PrepareResult(NamedTuple):
    """Imported rows, active model and admin key of a service, as returned by `prepare`.

    Attributes
    ----------
    import_result : ImportResult or None
        Result of the import; None if there was no table.
    version : int
        Version of the active model.
    is_first_model : bool
        Whether this call trained the first model.
    key : str or None
        New admin key, which cannot be retrieved again; None if the store already had keys.
    """

    import_result: ImportResult | None
    version: int
    is_first_model: bool
    key: str | None


def prepare(
    settings: ServiceSettings,
    table: Interactions | None,
    spec: TrainingSpec,
    report: Callable[[str], None] = lambda _: None,
    *,
    budget: float | None = None,
) -> PrepareResult:
    """Set up the folder and the store of a service.

    Parameters
    ----------
    settings : ServiceSettings
        Settings of the service.
    table : Interactions or None
        Table to import. Rows that were already imported are not stored again, and existing item and user metadata is
        not changed.
    spec : TrainingSpec
        Specification of the first model. If a model is already active, new rows are folded in, and a training job is
        queued.
    report : callable, optional
        Called with a message about each step.
    budget : float, optional
        Time budget in seconds for choosing the estimator of the first model automatically; it replaces the one of
        `spec`.

    Returns
    -------
    PrepareResult
        Import result, active model and new key.

    Raises
    ------
    DataError
        If a row is invalid or there is no data to train on.
    ParameterError
        If all keys are revoked and the service is reachable from other machines.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "clue", "alien"], [5, 4, 4])
    >>> with TemporaryDirectory() as folder:
    ...     settings, spec = ServiceSettings.of({"data": folder}), TrainingSpec(cofactor.Bias())
    ...     first = prepare(settings, ratings, spec)
    ...     second = prepare(settings, ratings, spec)
    >>> first.import_result.stored, first.is_first_model, first.key is None
    (3, True, False)
    >>> second.import_result.stored, second.is_first_model, second.key is None
    (0, False, True)
    """
    Path(settings.data).mkdir(mode=0o700, parents=True, exist_ok=True)
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        keys = store.keys.all()
        if keys and all(key.revoked is not None for key in keys) and not settings.is_local:
            where = ["--data", as_path(settings.data)] if settings.db is None else ["--db", settings.db]
            raise ParameterError(
                f"all keys are revoked and {settings.host} is reachable from other machines; first create a key with "
                f"`{command('key', '--role', 'admin', *where)}`"
            )
        import_result = None if table is None else import_table(store, table, report)
        active_model = store.models.active()
        is_first_model = active_model is None
        if active_model is None:
            _check_kind(store, spec.kind)
            if budget is not None:
                report(f"choosing a model for {spec.kind}, in about {budget:.0f} s")
                last = store.events.watermark()
                estimator, _ = choose(training_data(store, spec.kind, last, last).train, budget=budget, seed=spec.seed)
                spec = replace(spec, estimator=estimator)
            report(f"fitting {spec.estimator.name} on {spec.kind}")
            active_model = Trainer(store, artifacts, spec=spec).train()
        elif import_result is not None and import_result.stored:
            store.jobs.enqueue_once(TRAIN)
        key = None if keys else store.keys.create("admin", "created at the first start")
        return PrepareResult(import_result, active_model.version, is_first_model, key)


def import_table(store: Store, table: Interactions, report: Callable[[str], None] = lambda _: None) -> ImportResult:
    """Import a table once, with its metadata, its rating scale and the ratings that were too low to become events.

    Metadata is stored first, so that an invalid cell stops the import before any row is stored. Strings with several
    parts, such as "Comedy|War", are stored as lists, so that filters can match a part.

    Parameters
    ----------
    store : Store
        The store.
    table : Interactions
        Ratings or events.
    report : callable, optional
        Called with a message about each step.

    Returns
    -------
    ImportResult
        Number of rows, stored rows and skipped rows.

    Raises
    ------
    DataError
        If a row is invalid.
    """
    for entity, frame, rows in (("item", table.item_table, store.items), ("user", table.user_table, store.users)):
        if frame is not None and (count := rows.add_table(_with_lists(frame))):
            report(f"stored the metadata of {count:,} {entity}s: {', '.join(frame.columns[1:])}")
    lower_ratings_text = "" if table.seen is None else f" and {len(table.seen):,} lower ratings"
    report(f"importing {len(table):,} {table.kind}{lower_ratings_text}")
    parts = [store.events.load(part) for part in (table, table.seen) if part is not None]
    store_scale(store, table)
    return ImportResult(*(sum(counts) for counts in zip(*parts, strict=True)))


def _with_lists(frame: pl.DataFrame) -> pl.DataFrame:
    """Split string columns at "|", except titles."""
    names = [name for name in frame.columns[1:] if frame[name].dtype == pl.String and name != "title"]
    names = [name for name in names if frame[name].str.contains("|", literal=True).any()]
    part = pl.element().str.strip_chars()
    return frame.with_columns(pl.col(names).str.split("|").list.eval(part.filter(part != ""))) if names else frame


def _check_kind(store: Store, kind: Kind) -> None:
    """Raise DataError if the store contains no data of this kind."""
    if store.events.contains(kind):
        return
    other = other_kind(kind)
    if store.events.contains(other):
        option = "pass --events to train on them" if other == "events" else "omit --events to train on them"
        raise DataError(f"there is no model yet, and the store contains {other} but no {kind}: {option}")
    raise DataError("there is no model yet and no data to train one on; specify a table of ratings")
