"""Trainer: train a model on the stored data, compare it with the active model, and promote it or put it on hold."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from cofactor.errors import ArtifactError, StoreError, StoreUnavailableError
from cofactor.estimators.training import Epoch
from cofactor.recommender.recommender import Recommender
from cofactor.service.registry import ArtifactRegistry, orphaned_files
from cofactor.service.training.data import TrainingData, new_events, store_scale, training_data
from cofactor.service.training.promotion_gate import GateResult, PromotionGate
from cofactor.service.training.spec import TrainingSpec, spec_of
from cofactor.store import Store, StoredModel

__all__ = ["UNTIL_KEY", "ProgressCallback", "Trainer"]

ProgressCallback: TypeAlias = Callable[[float, str], None]
"""Function called with the training progress (0 to 1) and a message; it may raise JobLostError to stop training."""

UNTIL_KEY = "until"
"""Metrics key for the sequence number of the last change in the store when the training run started."""
FIT_PROGRESS = 0.7
"""Progress of a training run after the last epoch."""


class _ActiveModel(NamedTuple):
    """Active model that a candidate is compared with."""

    stored: StoredModel
    recommender: Recommender


@dataclass(frozen=True)
class Trainer:
    """Trainer that fits models on the data in a store and promotes those that pass the promotion gate.

    Attributes
    ----------
    store : Store
        Store with the data and the model metadata.
    artifacts : ArtifactRegistry
        Registry of the model files.
    gate : PromotionGate
        Limits for candidates.
    spec : TrainingSpec
        Specification of the first model.
    keep : int
        Number of artifacts to keep in addition to those of the active and previous models.

    Examples
    --------
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
    gate: PromotionGate = field(default_factory=PromotionGate)
    spec: TrainingSpec = field(default_factory=TrainingSpec)
    keep: int = 3

    def train(
        self, values: Any = None, on_progress: ProgressCallback = lambda _progress, _message: None, *, name: str = ""
    ) -> StoredModel:
        """Train a model, compare it with the active model, and promote it or put it on hold.

        Parameters
        ----------
        values : mapping of str to Any, optional
            Values of the specification; see `TrainingSpec.of`. Missing values default to those of the active model, or
            to `spec` if there is no active model.
        on_progress : callable, optional
            Called with the progress and a message.
        name : str, default ""
            File name of the artifact without its suffix; "" to generate a name.

        Returns
        -------
        StoredModel
            The promoted or held model.

        Raises
        ------
        DataError
            If the store contains no data of this kind.
        KindError, ParameterError
            If the specification is invalid.
        DivergedError, ArtifactError, StoreUnavailableError
            If fitting, writing the artifact or accessing the database fails; the active model does not change. Errors
            raised by `on_progress` are propagated.

        Notes
        -----
        The artifact is read back and verified before the comparison, so that the model that is promoted is exactly the
        one that was compared. The first model is trained on all data and promoted without a comparison.
        """
        active = self._active()
        spec = TrainingSpec.of(values, spec_of(active.stored, active.recommender.kind) if active else self.spec)
        on_progress(0.0, "reading the events")
        until = cutoff = self.store.events.watermark()
        if active is not None:
            cutoff = self.gate.cutoff(new_events(self.store, spec.kind, active.stored.watermark, until), until)
        data = training_data(self.store, spec.kind, cutoff, until)
        store_scale(self.store, data.train)
        start = time.monotonic()
        candidate = _fit(spec, data, on_progress)
        seconds = round(time.monotonic() - start, 3)
        on_progress(0.75, "writing the model")
        path, checksum = self.artifacts.publish(candidate, name or f"model-{secrets.token_hex(8)}")
        try:
            candidate = self.artifacts.open(path.name, verify=True)
            result = self._compare(candidate, active, data, spec, on_progress)
            metrics = {
                "training_spec": spec.as_dict(),
                "fit_seconds": seconds,
                UNTIL_KEY: until,
                "gate": result.as_dict(),
                "rows": len(data.train),
            }
            estimator = candidate.estimator.to_json() if candidate.estimator else "null"
            new_model = self.store.models.add_candidate(
                estimator, path.name, checksum, watermark=cutoff, metrics=metrics
            )
        except BaseException:
            self.artifacts.remove(path.name)
            raise
        on_progress(0.95, "promoting or holding the model")
        model = self._promote_or_hold(new_model, active, result)
        self.prune()
        return model

    def prune(self) -> list[int]:
        """Delete orphaned files and old artifacts, except those of the active and previous models.

        Returns
        -------
        list of int
            Versions of the models whose artifacts were deleted.
        """
        deleted_versions = []
        for model in self.store.models.prunable(self.keep):
            try:
                self.store.models.mark_pruned(model.version)
            except StoreUnavailableError:
                raise
            except StoreError:  # promoted in the meantime
                continue
            self.artifacts.remove(str(model.file))
            deleted_versions.append(model.version)
        for path in orphaned_files(self.store, self.artifacts):
            path.unlink(missing_ok=True)
        return deleted_versions

    def _active(self) -> _ActiveModel | None:
        """Return the active model; None if there is none or its file is damaged and must be replaced."""
        active = self.store.models.active()
        if active is None or active.file is None:
            return None
        try:
            return _ActiveModel(active, self.artifacts.open(active.file, verify=True))
        except ArtifactError:
            return None

    def _compare(
        self,
        candidate: Recommender,
        active: _ActiveModel | None,
        data: TrainingData,
        spec: TrainingSpec,
        on_progress: ProgressCallback,
    ) -> GateResult:
        if active is None:
            return GateResult(notes=("there was no model to compare with",))
        if active.recommender.kind != candidate.kind:
            kinds_text = (
                f"it was trained on {candidate.kind}, but the active model was trained on {active.recommender.kind}"
            )
            return GateResult(reasons=(f"{kinds_text}, so they cannot be compared; promote it manually",))
        on_progress(0.8, f"comparing on {len(data.held_out):,} newer events")
        result = self.gate.evaluate(candidate, active.recommender, data, seed=spec.seed)
        if result.notes and spec_of(active.stored).estimator != spec.estimator:
            reason = f"it uses a different estimator ({spec.estimator}), and {result.notes[0]}"
            result = replace(result, reasons=(*result.reasons, reason))
        return result

    def _promote_or_hold(self, new_model: StoredModel, active: _ActiveModel | None, result: GateResult) -> StoredModel:
        if result.reasons:
            return self.store.models.hold(new_model.version, result.reasons)
        try:
            return self.store.models.promote(new_model.version, expected_active=active and active.stored.version)
        except StoreUnavailableError:
            raise
        except StoreError as error:  # another model was promoted in the meantime
            return self.store.models.hold(new_model.version, [str(error)])


def _fit(spec: TrainingSpec, data: TrainingData, on_progress: ProgressCallback) -> Recommender:
    def callback(epoch: Epoch) -> None:
        on_progress(0.05 + (FIT_PROGRESS - 0.05) * epoch.number / epoch.of, f"epoch {epoch.number} of {epoch.of}")

    on_progress(0.05, f"fitting on {len(data.train):,} {spec.kind}")
    recommender = Recommender.fit(spec.estimator, data.train, seed=spec.seed, callback=callback)
    on_progress(FIT_PROGRESS, "learning priors for new users and items")
    return spec.with_priors(recommender)
