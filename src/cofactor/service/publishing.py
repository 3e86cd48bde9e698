"""From a fitted recommender to a model in the store: its artifact first, then its row."""

from __future__ import annotations

import secrets
import time
from typing import Any

from cofactor.data.interactions import Interactions
from cofactor.errors import StoreError
from cofactor.recommend import Recommender
from cofactor.service.artifacts import Artifacts
from cofactor.service.recipe import Recipe
from cofactor.service.scales import keep_scale
from cofactor.store import Store, StoredModel

__all__ = ["add", "promote", "publish_first", "roll_back"]


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
    """Import a table, learn from it with priors for newcomers, publish and promote: the first model of a store.

    Raises what `EventLog.load`, `Recommender.fit` and `add` raise.
    """
    store.events.load(table)
    keep_scale(store, table)
    watermark = store.events.watermark()
    recommender = recipe.with_priors(Recommender.fit(recipe.estimator, table, seed=recipe.seed))
    metrics = {"recipe": recipe.as_dict(), "rows": len(table)}
    added = add(store, artifacts, recommender, watermark=watermark, metrics=metrics)
    return promote(store, artifacts, added.version)


def _check(artifacts: Artifacts, model: StoredModel) -> None:
    if model.file is None:
        raise StoreError(f"model {model.version} cannot be promoted: its artifact was deleted")
    artifacts.check(model.file, model.sha256)
    artifacts.open(model.file, verify=True)
