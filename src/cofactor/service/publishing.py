"""From a fitted recommender to a model in the store: its artifact first, then its row."""

from __future__ import annotations

import secrets
import time
from typing import Any

from cofactor.data.interactions import Interactions
from cofactor.errors import StoreError
from cofactor.recommend import Recommender
from cofactor.service.artifacts import Artifacts
from cofactor.service.material import gathered
from cofactor.service.recipe import Recipe
from cofactor.service.scales import keep_scale
from cofactor.store import Loaded, Store, StoredModel

__all__ = ["add", "import_table", "promote", "publish_first", "publish_learned", "roll_back"]


def add(
    store: Store, artifacts: Artifacts, recommender: Recommender, *, watermark: int, metrics: Any = None
) -> StoredModel:
    """Publish it as a candidate. The file's name is new each time: nobody reads a file that is written again.

    Raises ArtifactError where it cannot be written, StoreError; nothing is left behind then.
    """
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
    path, checksum = artifacts.publish(recommender, name)
    spec = "{}" if recommender.estimator is None else recommender.estimator.to_json()
    try:
        return store.models.add_candidate(spec, path.name, checksum, watermark=watermark, metrics=metrics)
    except StoreError:
        artifacts.remove(name)
        raise


def promote(store: Store, artifacts: Artifacts, version: int, *, instead_of: int | None = None) -> StoredModel:
    """Check every byte of the artifact, then let the model answer. Raises ArtifactError, StoreError."""
    _check(artifacts, store.models.get(version))
    return store.models.promote(version, instead_of=instead_of)


def roll_back(store: Store, artifacts: Artifacts) -> StoredModel:
    """Let the previous model answer again, once its artifact is checked. Raises ArtifactError, StoreError."""
    previous = store.models.previous()
    if previous is None:
        raise StoreError("there is no previous model to roll back to")
    _check(artifacts, previous)
    return store.models.promote(previous.version)


def publish_first(store: Store, artifacts: Artifacts, table: Interactions, recipe: Recipe) -> StoredModel:
    """Import a table, learn from all that the store then holds, publish and promote: the first model of a store.

    Raises what `EventLog.load` and `publish_learned` raise.
    """
    whole = import_table(store, table)[1]
    return publish_learned(store, artifacts, recipe, table if whole else None)


def import_table(store: Store, table: Interactions) -> tuple[Loaded, bool]:
    """Store a table once, with the ratings that are too low for events, and the scale of the first.

    Parameters
    ----------
    store : Store
        Where its rows go; those that it holds already are not stored again.
    table : Interactions
        Ratings or events.

    Returns
    -------
    loaded : Loaded
        How the import went.
    whole : bool
        Whether the table alone is what the store now holds.

    Raises
    ------
    DataError
        For a row that cannot be stored; nothing is stored then.
    """
    is_empty = not store.events.after(0, 1)
    parts = [store.events.load(part) for part in (table, table.seen) if part is not None]
    loaded = Loaded(*(sum(counts) for counts in zip(*parts, strict=True)))
    keep_scale(store, table)
    return loaded, is_empty and not loaded.skipped


def publish_learned(
    store: Store, artifacts: Artifacts, recipe: Recipe, table: Interactions | None = None
) -> StoredModel:
    """Learn from what the store holds, with priors for new users and items, publish and promote.

    Parameters
    ----------
    store, artifacts : Store, Artifacts
        Where rows, titles and facts come from, and where the model goes.
    recipe : Recipe
        How to learn.
    table : Interactions, optional
        What the store holds, where the caller has it already: it is not read again.

    Returns
    -------
    StoredModel
        The active model.

    Raises
    ------
    DataError
        Where there is nothing to learn from.
    """
    watermark = store.events.watermark()
    rows = table if table is not None else gathered(store, recipe.kind, watermark, watermark).train
    keep_scale(store, rows)
    recommender = recipe.with_priors(Recommender.fit(recipe.estimator, rows, seed=recipe.seed))
    metrics = {"recipe": recipe.as_dict(), "rows": len(rows)}
    added = add(store, artifacts, recommender, watermark=watermark, metrics=metrics)
    return promote(store, artifacts, added.version)


def _check(artifacts: Artifacts, model: StoredModel) -> None:
    if model.file is None:
        raise StoreError(f"model {model.version} cannot be promoted: its artifact was deleted")
    artifacts.check(model.file, model.sha256)
    artifacts.open(model.file, verify=True)
