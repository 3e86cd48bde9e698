"""Training specification: estimator, kind of data, seed and features of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from cofactor import checks
from cofactor.cold_start import supports_priors
from cofactor.data.interactions import Kind
from cofactor.errors import DataError, KindError
from cofactor.estimators import BiasedMF, ImplicitALS
from cofactor.estimators.base import Estimator
from cofactor.recommender.recommender import Recommender
from cofactor.store import StoredModel

__all__ = ["TrainingSpec", "spec_of"]


@dataclass(frozen=True)
class TrainingSpec:
    """Specification of a training run.

    Attributes
    ----------
    estimator : Estimator
        Estimator to fit.
    kind : {'ratings', 'events'}
        Kind of the training data.
    seed : int
        Seed for the fit and for the priors.
    user_features, item_features : tuple of str
        Names of the metadata from which the priors for new users and items are learned; missing names are ignored.

    Examples
    --------
    >>> TrainingSpec.of({"kind": "events"}).estimator.name, TrainingSpec.of({"estimator": {"estimator": "bias"}}).kind
    ('implicit-als', 'ratings')
    """

    estimator: Estimator = field(default_factory=BiasedMF)
    kind: Kind = "ratings"
    seed: int = 0
    user_features: tuple[str, ...] = ()
    item_features: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Any, base: TrainingSpec | None = None) -> TrainingSpec:
        """Create a training specification from JSON values, such as the parameters of a training job.

        Parameters
        ----------
        values : mapping of str to Any or None
            Values for some of the fields; None for no values.
        base : TrainingSpec, optional
            Values for the other fields. Its estimator is replaced by the default for the kind in `values` if it does
            not support that kind, and its kind by that of the estimator in `values`.

        Returns
        -------
        TrainingSpec
            The specification.

        Raises
        ------
        DataError, KindError, ParameterError
            If the values are not a valid specification.

        Examples
        --------
        >>> TrainingSpec.of({"kind": "events"}, base=TrainingSpec()).estimator.name
        'implicit-als'
        """
        names = [field.name for field in fields(cls)]
        values = {} if values is None else values
        if not isinstance(values, Mapping) or (unknown_names := [name for name in values if name not in names]):
            invalid_value = unknown_names[0] if isinstance(values, Mapping) else values
            raise DataError(f"training parameters must be among {', '.join(names)}; got {invalid_value!r}")
        merged_values = {} if base is None else {name: getattr(base, name) for name in names}
        new_values = dict(values)
        if "estimator" in new_values:
            new_values["estimator"] = Estimator.from_dict(new_values["estimator"])
            if base is not None and new_values["estimator"].kind not in ("any", base.kind):
                del merged_values["kind"]
        elif base is not None and base.estimator.kind not in ("any", new_values.get("kind", base.kind)):
            del merged_values["estimator"]
        merged_values |= {
            name: _names(name, new_values[name]) if name.endswith("features") else new_values[name]
            for name in new_values
        }
        if "estimator" not in merged_values:
            merged_values["estimator"] = ImplicitALS() if merged_values.get("kind") == "events" else BiasedMF()
        accepted_kind = merged_values["estimator"].kind
        merged_values.setdefault("kind", "ratings" if accepted_kind == "any" else accepted_kind)
        if merged_values["kind"] not in list(get_args(Kind)) or accepted_kind not in (merged_values["kind"], "any"):
            raise KindError(f"{merged_values['estimator'].name} cannot be trained on {merged_values['kind']!r}")
        checks.seed(merged_values.get("seed", 0))
        return cls(**merged_values)

    def as_dict(self) -> dict[str, Any]:
        """Return the training specification as JSON-serializable values that `of` accepts.

        Returns
        -------
        dict of str to Any
            Values by field name.
        """
        return {
            "estimator": self.estimator.to_dict(),
            "kind": self.kind,
            "seed": self.seed,
            "user_features": list(self.user_features),
            "item_features": list(self.item_features),
        }

    def with_priors(self, recommender: Recommender) -> Recommender:
        """Return a recommender with priors for new users and items.

        Parameters
        ----------
        recommender : Recommender
            A fitted recommender.

        Returns
        -------
        Recommender
            The recommender with priors, or the same recommender if its model does not support them.
        """
        users = _existing_columns(self.user_features, recommender.user_table)
        items = _existing_columns(self.item_features, recommender.item_table)
        if not supports_priors(recommender.model, items):
            return recommender
        return recommender.with_priors(user_features=users, item_features=items, seed=self.seed)


def spec_of(model: StoredModel, kind: Kind | None = None) -> TrainingSpec:
    """Return the training specification of a model, as recorded in the store.

    Parameters
    ----------
    model : StoredModel
        The model.
    kind : {'ratings', 'events'}, optional
        Kind of its training data, if the model was not trained by the service.

    Returns
    -------
    TrainingSpec
        The specification, with default values where the store has none.
    """
    stored = model.metrics.get("training_spec") if isinstance(model.metrics, dict) else None
    fallback = {"estimator": model.estimator or None, "kind": kind}
    return TrainingSpec.of(stored or {name: value for name, value in fallback.items() if value is not None})


def _names(parameter: str, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{parameter} must be a list of strings; got {names!r}")
    return tuple(names)


def _existing_columns(names: tuple[str, ...], table: Any) -> list[str]:
    return [] if table is None else [name for name in names if name in table.columns]
