"""One training: from the store's table to a model that answers, or is held with the reasons."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cofactor.errors import ArtifactError, StoreError, StoreUnavailableError
from cofactor.estimators.training import Epoch
from cofactor.recommender.recommender import Recommender
from cofactor.service.registry import ArtifactRegistry, orphans
from cofactor.service.training.data import Material, gathered, since
from cofactor.service.training.promotion_gate import GateResult, Guard
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store, StoredModel

__all__ = ["SEEN", "Tell", "Trainer", "recipe_before", "recipe_of"]

Tell = Callable[[float, str], None]
"""Told how far a training is, from 0 to 1, and in words; it may raise JobLostError to end it."""

SEEN = "seen"
"""In a model's metrics: the last change there was when its training began."""
FITTED = 0.7
"""Of the progress, when the last epoch is over."""


class _Rival(NamedTuple):
    """The model that a candidate has to hold its own against, and the row of the store it came from, if any."""

    stored: StoredModel
    recommender: Recommender


@dataclass(frozen=True)
class Trainer:
    """Learns models from a store and promotes those that the guard lets pass.

    Attributes:

        store, artifacts: what is learnt from, and where models go.
        guard: what a candidate may lose.
        recipe: how the first model is learnt, where neither the job nor the store says.
        keep: how many artifacts stay beside the active and the previous one.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 5), Event("bo", "alien", 4), Event("bo", "clue", 2)])
    ...     trainer = Trainer(store, ArtifactRegistry(f"{folder}/artifacts"))
    ...     model = trainer.train({"estimator": "bias"})
    ...     model.status, model.watermark, store.models.active().version
    ('active', 3, 1)
    """

    store: Store
    artifacts: ArtifactRegistry
    guard: Guard = field(default_factory=Guard)
    recipe: TrainingSpec = field(default_factory=TrainingSpec)
    keep: int = 3

    def train(self, spec: Any = None, tell: Tell = lambda _progress, _line: None, *, name: str = "") -> StoredModel:
        """Learn a model, measure it, and promote or hold it; the model as it then stands in the store.

        spec: see `TrainingSpec.of`; what it leaves out is as with the model before. name: of the artifact's file; drawn
        at random unless given. What was measured is what is promoted, bit for bit: the file, read back and verified.
        The first model learns from everything and meets no guard. Raises DataError where there is nothing to learn
        from, KindError, ParameterError, DivergedError, ArtifactError, StoreUnavailableError, and what `tell` raises;
        the active model answers on.
        """
        rival = self._rival()
        recipe = TrainingSpec.of(spec, recipe_before(rival.stored, rival.recommender) if rival else self.recipe)
        tell(0.0, "reading the events")
        seen = self.store.events.watermark()
        cut = seen
        if rival is not None:
            cut = self.guard.cut(since(self.store, recipe.kind, rival.stored.watermark, seen), seen)
        material = gathered(self.store, recipe.kind, cut, seen)
        began = time.monotonic()
        candidate = self._fitted(recipe, material, tell)
        seconds = round(time.monotonic() - began, 3)
        tell(0.75, "writing the model")
        path, checksum = self.artifacts.publish(candidate, name or f"model-{secrets.token_hex(8)}")
        try:
            verdict, candidate = self._judged(path, rival, material, recipe, tell)
            metrics = {"recipe": recipe.as_dict(), "fit_seconds": seconds, SEEN: seen, "guard": verdict.as_dict()}
            added = self.store.models.add_candidate(
                candidate.estimator.to_json() if candidate.estimator else "null",
                path.name,
                checksum,
                watermark=cut,
                metrics=metrics | {"rows": len(material.train)},
            )
        except BaseException:
            self.artifacts.remove(path.name)
            raise
        tell(0.95, "deciding")
        decided = self._decided(added, rival, verdict)
        self.prune()
        return decided

    def prune(self) -> list[int]:
        """Delete old artifacts, never the active or the previous model's; the versions that lost theirs.

        Old files that belong to no model go, too.
        """
        gone = []
        for model in self.store.models.prunable(self.keep):
            try:
                self.store.models.pruned(model.version)
            except StoreUnavailableError:
                raise
            except StoreError:  # promoted meanwhile
                continue
            if model.file is not None:
                self.artifacts.remove(model.file)
            gone.append(model.version)
        for path in orphans(self.store, self.artifacts):
            path.unlink(missing_ok=True)
        return gone

    def _rival(self) -> _Rival | None:
        """The active model. One whose file is damaged cannot be compared with; what comes next replaces it."""
        active = self.store.models.active()
        if active is None or active.file is None:
            return None
        try:
            return _Rival(active, self.artifacts.open(active.file, verify=True))
        except ArtifactError:
            return None

    def _fitted(self, recipe: TrainingSpec, material: Material, tell: Tell) -> Recommender:
        def callback(epoch: Epoch) -> None:
            tell(0.05 + (FITTED - 0.05) * epoch.number / epoch.of, f"epoch {epoch.number} of {epoch.of}")

        tell(0.05, f"learning from {len(material.train):,} {recipe.kind}")
        learnt = Recommender.fit(recipe.estimator, material.train, seed=recipe.seed, callback=callback)
        tell(FITTED, "learning what newcomers are like")
        return recipe.with_priors(learnt)

    def _judged(
        self, path: Path, rival: _Rival | None, material: Material, recipe: TrainingSpec, tell: Tell
    ) -> tuple[GateResult, Recommender]:
        """What the guard says of the very file, read back."""
        candidate = self.artifacts.open(path.name, verify=True)
        if rival is None:
            return GateResult(notes=("there was no model to compare with",)), candidate
        if rival.recommender.kind != candidate.kind:
            told = f"it learnt from {candidate.kind} and the active model from {rival.recommender.kind}"
            return GateResult(reasons=(f"{told}: the two cannot be compared; promote it by hand",)), candidate
        tell(0.8, f"asking about {len(material.held_out):,} newer events")
        verdict = self.guard.judge(candidate, rival.recommender, material, seed=recipe.seed)
        if verdict.accuracy is None and recipe_of(rival.stored).estimator != recipe.estimator:
            why = f"it was learnt in another way ({recipe.estimator}), and {verdict.notes[0]}"
            verdict = GateResult((*verdict.reasons, why), None, verdict.candidate, verdict.active, verdict.notes)
        return verdict, candidate

    def _decided(self, added: StoredModel, rival: _Rival | None, verdict: GateResult) -> StoredModel:
        if verdict.reasons:
            return self.store.models.hold(added.version, verdict.reasons)
        try:
            return self.store.models.promote(added.version, instead_of=rival and rival.stored.version)
        except StoreUnavailableError:
            raise
        except StoreError as changed:
            return self.store.models.hold(added.version, [str(changed)])


def recipe_before(stored: StoredModel, recommender: Recommender) -> TrainingSpec:
    """Return a model's recipe, where the store tells; else its estimator, on what it learned from."""
    if isinstance(stored.metrics, dict) and stored.metrics.get("recipe"):
        return recipe_of(stored)
    estimator, kind = recommender.estimator, recommender.kind
    return TrainingSpec.of({"kind": kind}) if estimator is None else TrainingSpec(estimator, kind)


def recipe_of(model: StoredModel) -> TrainingSpec:
    """How this model was learnt, as far as the store tells."""
    metrics = model.metrics if isinstance(model.metrics, dict) else {}
    return TrainingSpec.of(metrics.get("recipe") or ({"estimator": model.estimator} if model.estimator else None))
