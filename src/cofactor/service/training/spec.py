"""How a model is to be learnt: what a training job names, else what the store keeps, else what the active one was."""

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

__all__ = ["TrainingSpec"]


@dataclass(frozen=True)
class TrainingSpec:
    """How to learn.

    Attributes:

        estimator: the way, with its settings.
        kind: what of the store is learnt from, "ratings" or "events".
        seed: the same one gives the same model.
        user_features, item_features: metadata that priors for newcomers are learnt from; those the store does not have
            are left out.

    >>> TrainingSpec.of({"kind": "events"}).estimator.name, TrainingSpec.of({"estimator": {"estimator": "bias"}}).kind
    ('implicit-als', 'ratings')
    """

    estimator: Estimator = field(default_factory=BiasedMF)
    kind: Kind = "ratings"
    seed: int = 0
    user_features: tuple[str, ...] = ()
    item_features: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Any, before: TrainingSpec | None = None) -> TrainingSpec:
        """From JSON values, such as a job's spec; what they leave out is as `before`, as far as the two go together.

        A kind alone keeps the estimator of before where that learns from it, and else takes the usual one of the kind;
        an estimator alone takes the kind that it learns from. Raises DataError, KindError or ParameterError for values
        that no training can be made of.

        >>> TrainingSpec.of({"kind": "events"}, before=TrainingSpec()).estimator.name
        'implicit-als'
        """
        names = [one.name for one in fields(cls)]
        if given is None:
            given = {}
        if not isinstance(given, Mapping) or (unknown := [name for name in given if name not in names]):
            wrong = unknown[0] if isinstance(given, Mapping) else given
            raise DataError(f"a training is told {', '.join(names)}, not {wrong!r}")
        settled = {} if before is None else {name: getattr(before, name) for name in names}
        told = dict(given)
        if "estimator" in told:
            told["estimator"] = Estimator.from_dict(told["estimator"])
        if before is not None and "kind" in told and before.estimator.kind not in ("any", told["kind"]):
            del settled["estimator"]
        if before is not None and "estimator" in told and told["estimator"].kind not in ("any", before.kind):
            del settled["kind"]
        settled |= {name: _names(name, told[name]) if name.endswith("features") else told[name] for name in told}
        if "estimator" not in settled:
            settled["estimator"] = ImplicitALS() if settled.get("kind") == "events" else BiasedMF()
        learns = settled["estimator"].kind
        settled.setdefault("kind", "ratings" if learns == "any" else learns)
        if settled["kind"] not in list(get_args(Kind)) or learns not in (settled["kind"], "any"):
            raise KindError(f"{settled['estimator'].name} does not learn from {settled['kind']!r}")
        checks.seed(settled.get("seed", 0))
        return cls(**settled)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, from which `of` makes it again."""
        return {
            "estimator": self.estimator.to_dict(),
            "kind": self.kind,
            "seed": self.seed,
            "user_features": list(self.user_features),
            "item_features": list(self.item_features),
        }

    def with_priors(self, recommender: Recommender) -> Recommender:
        """Return the recommender with priors of new users and items if its model supports them."""
        users = _known(self.user_features, recommender.user_table)
        items = _known(self.item_features, recommender.item_table)
        if not supports_priors(recommender.model):
            return recommender
        return recommender.with_priors(user_features=users, item_features=items, seed=self.seed)


def _names(what: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise DataError(f"{what} are a list of names, not {given!r}")
    return tuple(given)


def _known(names: tuple[str, ...], table: Any) -> list[str]:
    return [] if table is None else [name for name in names if name in table.columns]
