"""PairedModels estimator: a ranker trained on liked ratings as events, and a rating model trained on all ratings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cofactor import checks
from cofactor.checks import Seed
from cofactor.data.interactions import MAX_RATING, Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.errors import ParameterError
from cofactor.estimators.als import ImplicitALS
from cofactor.estimators.base import Estimator, estimators_of_kind, parameter
from cofactor.estimators.blend import Blend
from cofactor.estimators.mf import BiasedMF
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike, as_interactions
from cofactor.models.base import Model
from cofactor.models.paired import PairedModel, default_min_rating
from cofactor.validation import validated

__all__ = ["PairedModels"]

ROLES: dict[str, Kind] = {"ranker": "events", "rating_model": "ratings"}
"""Kind of the training table of each estimator, by the name of its field."""


@dataclass(frozen=True)
class PairedModels(Estimator):
    """Two models for one table of ratings: a ranker orders the lists, and a rating model predicts the ratings.

    Parameters
    ----------
    ranker : Estimator, default ImplicitALS()
        Estimator that ranks items, trained on events. The events are the liked ratings, each with the value 1 and the
        weight of the rating; ratings with a weight of 0 are ignored. A name or a dict, as in `Estimator.from_dict`, is
        converted.
    rating_model : Estimator, default BiasedMF()
        Estimator that predicts ratings, trained on ratings. A name or a dict is converted.
    min_rating : float or None, default None
        Lowest rating that counts as liked; None for the lowest level in the upper quarter of the scale. It is
        4 on a scale from 1 to 5.

    Notes
    -----
    The two models equal those that the estimators fit alone with the same seed: `ranker` to
    ``ratings.to_events(min_rating=min_rating)``, and `rating_model` to ``ratings``. A model that predicts ratings well
    often ranks poorly: the ratings of the items that a user chose say little about the items that they did not choose.

    References
    ----------
    Cremonesi et al. 2010, "Performance of recommender algorithms on top-N recommendation tasks".

    Examples
    --------
    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> estimator = PairedModels(ranker=cofactor.ItemKNN(), rating_model=cofactor.Bias(), min_rating=4)
    >>> rec = cofactor.Recommender.fit(estimator, ratings)
    >>> first = rec.recommend("cy", n=1)
    >>> first["item"][0], round(first["prediction"][0], 1), first["support"][0]
    ('alien', 4.3, 2)
    """

    name: ClassVar[str] = "paired-models"
    kind: ClassVar[Kind] = "ratings"

    ranker: Estimator = parameter(ImplicitALS(), "estimator that ranks items, trained on events")  # it is frozen
    rating_model: Estimator = parameter(BiasedMF(), "estimator that predicts ratings, trained on ratings")
    min_rating: float | None = parameter(
        None, "lowest rating that counts as liked; None for the lowest level in the upper quarter of the scale"
    )

    def __post_init__(self) -> None:
        for role, kind in ROLES.items():
            if isinstance(value := getattr(self, role), str | Mapping):
                try:
                    object.__setattr__(self, role, Estimator.from_dict(value))
                except ParameterError as error:
                    raise ParameterError(f"{self.name}: {role} must be an estimator for {kind}: {error}") from None
        super().__post_init__()
        for role, kind in ROLES.items():
            estimator = getattr(self, role)
            if estimator.kind not in (kind, "any") or isinstance(estimator, PairedModels):
                names = ", ".join(cls.name for cls in estimators_of_kind(kind) if cls is not PairedModels)
                raise ParameterError(
                    f"{self.name}: {role} must be an estimator for {kind} ({names}), not {estimator!r}"
                )
        if self.min_rating is not None:
            checks.finite_number(f"{self.name}: min_rating", self.min_rating, low=-MAX_RATING, high=MAX_RATING)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema for the output of `to_dict`; see `Estimator.json_schema`.

        Returns
        -------
        dict of str to object
            Schema with the schemas of all estimators that can be the ranker or the rating model.
        """
        schema = super().json_schema()
        for role, kind in ROLES.items():
            parts = [
                Blend.json_schema(kind) if part is Blend else part.json_schema()
                for part in estimators_of_kind(kind)
                if part is not cls
            ]
            del schema["properties"][role]["type"]
            schema["properties"][role]["anyOf"] = parts
        for option in schema["properties"]["min_rating"]["anyOf"]:
            if option["type"] == "number":
                option |= {"minimum": -MAX_RATING, "maximum": MAX_RATING}
        return schema

    @validated
    def liked_from(self, interactions: Interactions) -> float:
        """Return the lowest rating that counts as liked in a table.

        Parameters
        ----------
        interactions : Interactions
            Table of ratings.

        Returns
        -------
        float
            `min_rating`, or its default for the scale of the table.
        """
        if self.min_rating is not None:
            return float(self.min_rating)
        return default_min_rating(interactions.scale or Scale.infer(interactions.values))

    @validated
    def ranking_part(self, interactions: Interactions) -> tuple[Estimator, Interactions]:
        """Return the ranker and its training table, the liked ratings as events.

        Parameters
        ----------
        interactions : Interactions
            Table of ratings.

        Returns
        -------
        estimator : Estimator
            The ranker.
        interactions : Interactions
            The events.

        Raises
        ------
        DataError
            If no rating counts as liked.
        """
        events = interactions.to_events(min_rating=self.liked_from(interactions))
        return self.ranker, events if events.weights is None else events.select(events.weights != 0)

    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> PairedModel:
        """Fit the ranker to the liked ratings, and the rating model to all ratings.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings.
        seed : int, Generator or None, default 0
            Seed for both fits.
        validation : Interactions or CSR matrix, optional
            Held-out ratings, for early stopping of both fits.
        init_model : PairedModel, optional
            Models to continue from.
        callback : callable, optional
            Called with an `Epoch` after each epoch of the ranker, and then of the rating model.

        Returns
        -------
        PairedModel
            Both models.

        Raises
        ------
        KindError
            If the table contains events.
        DataError
            If the table has no rows or all weights are 0, or if no rating counts as liked.
        ParameterError
            If `init_model` is not a pair of models, or one of them has a different shape.
        DivergedError
            If a fit diverges.
        """
        table, seed = self.check_table(interactions), checks.seed(seed)
        if init_model is not None and not isinstance(init_model, PairedModel):
            raise ParameterError(
                f"init_model must be a PairedModel, fitted by paired-models; got {checks.describe(init_model)}"
            )
        ranker, events = self.ranking_part(table)
        min_rating = self.liked_from(table)
        held_out = None if validation is None else as_interactions("validation", validation, "ratings")
        has_liked = held_out is not None and held_out.kind == "ratings" and bool((held_out.values >= min_rating).any())
        ranking_model = ranker.fit(
            events,
            seed=seed,
            validation=held_out.to_events(min_rating=min_rating) if held_out is not None and has_liked else None,
            init_model=None if init_model is None else init_model.ranker,
            callback=callback,
        )
        rating_model = self.rating_model.fit(
            table,
            seed=seed,
            validation=held_out,
            init_model=None if init_model is None else init_model.rating_model,
            callback=callback,
        )
        return PairedModel.of(ranking_model, rating_model, min_rating)
