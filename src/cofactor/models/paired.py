"""Paired model: a ranker trained on events and a rating model, for the same users and items.

The histories contain ratings. The rating model takes all of them, and the ranker takes the liked ones as events, as in
`Interactions.to_events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import ROW_ORDER, Bool, Float32, Int32, ItemOrder, read_only
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import checked_batch, require_histories, require_no_prior
from cofactor.models.base import Model, PredictsRatings, ScoresItems
from cofactor.models.blend import PART_TYPES as BLEND_PART_TYPES
from cofactor.models.blend import BlendModel
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.user_batch import UserBatch
from cofactor.validation import validated

__all__ = ["PART_TYPES", "PairedModel", "UncertainPairedModel", "default_min_rating", "ranking_part", "rating_part"]

PART_TYPES: dict[str, type[Model]] = BLEND_PART_TYPES | {BlendModel.model_type: BlendModel}
"""Classes that can be component models of a paired model, by model type."""

LIKED_SHARE = 0.75
"""Position on the rating scale, from 0 (lowest) to 1 (highest), at or above which ratings are liked by default."""


@dataclass(frozen=True, eq=False)
class PairedModel:
    """Ranker and rating model for the same users and items; create with `of`.

    Parameters
    ----------
    ranker : Model
        Model of events that ranks items. Its events are the ratings of at least `min_rating`, with the value 1.
    rating_model : Model
        Model that predicts ratings.
    min_rating : float
        Lowest rating that is an event for the ranker.

    Raises
    ------
    DataError
        If a model lacks the ability, or if the models have different numbers of users or items.
    ParameterError
        If `min_rating` is not finite.

    Examples
    --------
    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> ranker = cofactor.ItemKNN().fit(ratings.to_events(min_rating=4))
    >>> model = PairedModel.of(ranker, cofactor.Bias().fit(ratings), min_rating=4)
    >>> cy = UserBatch.trained([2], ratings.by_user)
    >>> model.scores(cy).astype(float).round(2).tolist(), round(float(model.predict(cy, np.int32([0]))[0]), 1)
    ([[0.12, 0.0, 0.0]], 4.3)
    """

    model_type: ClassVar[str] = "paired"

    ranker: Any
    rating_model: Any
    min_rating: float

    def __post_init__(self) -> None:
        for name, protocol, capability in (
            ("ranker", ScoresItems, "ranks items"),
            ("rating_model", PredictsRatings, "predicts ratings"),
        ):
            model = getattr(self, name)
            if not isinstance(model, protocol) or not isinstance(model, Model):
                raise DataError(f"{name} must be a model that {capability}; got {checks.describe(model)}")
        checks.finite_number("min_rating", self.min_rating)
        for name in ("n_users", "n_items"):
            sizes = getattr(self.ranker, name), getattr(self.rating_model, name)
            if sizes[0] != sizes[1]:
                raise DataError(f"ranker and rating_model must have the same {name}; got {sizes[0]:,} and {sizes[1]:,}")

    @staticmethod
    def of(ranker: Any, rating_model: Any, min_rating: float) -> PairedModel:
        """Combine a ranker and a rating model.

        Parameters
        ----------
        ranker : Model
            Model of events that ranks items.
        rating_model : Model
            Model that predicts ratings.
        min_rating : float
            Lowest rating that is an event for the ranker.

        Returns
        -------
        PairedModel
            An `UncertainPairedModel` if the rating model predicts distributions.
        """
        cls = UncertainPairedModel if hasattr(rating_model, "distribution") else PairedModel
        return cls(ranker, rating_model, min_rating)

    @property
    def n_users(self) -> int:
        """Number of users in both models."""
        return int(self.rating_model.n_users)

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return int(self.rating_model.n_items)

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 means that the ranker has no evidence about the user-item pair."""
        return bool(self.ranker.zero_is_unknown)

    @property
    def uses_order(self) -> bool:
        """Whether the ranker uses the order of a history."""
        return bool(getattr(self.ranker, "uses_order", False))

    @property
    def uses_times(self) -> bool:
        """Whether the rating model uses the times of predictions."""
        return bool(getattr(self.rating_model, "uses_times", False))

    def __repr__(self) -> str:
        return f"PairedModel(ranker={self.ranker!r}, rating_model={self.rating_model!r})"

    # The ratings as events

    def liked(self, histories: SparseRows) -> SparseRows:
        """Convert histories of ratings to histories of events for the ranker.

        Parameters
        ----------
        histories : SparseRows
            Ratings: one row for each user, or for each item.

        Returns
        -------
        SparseRows
            The ratings of at least `min_rating` whose weight is not 0, with the value 1 and the same weights and times.
        """
        checks.instance(
            "histories", histories, SparseRows, "create one with SparseRows.of(rows, columns, values, n_rows)"
        )
        is_liked = histories.values >= self.min_rating
        liked = histories.filter(is_liked if histories.weights is None else is_liked & (histories.weights != 0))
        events = liked.with_values(read_only(np.ones(len(liked.columns), np.float32)))
        events.__dict__.update(weights=liked.weights, times=liked.times)
        return events

    def liked_batch(self, users: UserBatch) -> UserBatch:
        """Convert a batch of users with ratings to a batch of the same users with events for the ranker.

        Parameters
        ----------
        users : UserBatch
            n users with histories of ratings.

        Returns
        -------
        UserBatch
            The n users.
        """
        users = checked_batch(self, users, unknown=True)
        return UserBatch.of(users.rows, self.liked(users.histories))

    # Predicting and ranking

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating for each user-item pair with the rating model.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
            Predicted ratings, clipped to the rating scale.
        """
        predictions: Float32 = self.rating_model.predict(users, items)
        return predictions

    def scores(self, users: UserBatch) -> Float32:
        """Compute the scores of all items for each user with the ranker.

        Parameters
        ----------
        users : UserBatch
            n users of the model.

        Returns
        -------
        ndarray of shape (n, n_items), float32
            Scores.
        """
        scores: Float32 = self.ranker.scores(self.liked_batch(users))
        return scores

    def top(
        self, users: UserBatch, n: int, *, exclude: SparseRows, allowed: Bool, order: ItemOrder = ROW_ORDER
    ) -> tuple[Int32, Float32]:
        """Return the top n items of the ranker for each user; see `ScoresItems.top`.

        Parameters
        ----------
        users : UserBatch
            Users of the model.
        n : int
            The length of each list.
        exclude : SparseRows
            The items to exclude, one row for each user in the batch.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank; an empty array means all items.
        order : ItemOrder
            Order of the items that the ranker cannot score for the user.

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers; padded with -1.
        scores : ndarray of shape (n_users, n), float32
            Scores; -inf where the row is -1.
        """
        lists: tuple[Int32, Float32] = self.ranker.top(
            self.liked_batch(users), n, exclude=exclude, allowed=allowed, order=order
        )
        return lists

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain the score of the ranker for one user-item pair.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
            The explanation.
        """
        explanation: Explanation = self.ranker.explain(self.liked_batch(users), item)
        return explanation

    # New users

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> PairedModel:
        """Return a model with the same items and one new user for each history.

        Parameters
        ----------
        histories : SparseRows
            One row of ratings for each new user.
        prior : GaussianPrior, optional
            Must be None: each of the models has its own prior.

        Returns
        -------
        PairedModel
            Both models with the new users.
        """
        require_no_prior(prior)
        require_histories(histories, self.n_items)
        return self.of(
            self.ranker.fold_in(self.liked(histories)), self.rating_model.fold_in(histories), self.min_rating
        )

    def with_users(self, other: PairedModel, take: Int32) -> PairedModel:
        """Return a model with users selected from this model and another one; see `FoldsIn.with_users`.

        Parameters
        ----------
        other : PairedModel
            A model with the same items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        PairedModel
            A model with n users.
        """
        checks.instance("other", other, PairedModel, "create one with fold_in")
        return self.of(
            self.ranker.with_users(other.ranker, take),
            self.rating_model.with_users(other.rating_model, take),
            self.min_rating,
        )

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of both models, with the prefixes `ranker.` and `rating_model.`.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return {
            f"{part}.{name}": array
            for part in ("ranker", "rating_model")
            for name, array in getattr(self, part).arrays().items()
        }

    def settings(self) -> dict[str, Any]:
        """Return `min_rating`, and the type and settings of both models.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        parts = {"ranker": self.ranker, "rating_model": self.rating_model}
        settings = {name: {"model_type": model.model_type, **model.settings()} for name, model in parts.items()}
        return {"min_rating": self.min_rating, **settings}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct a model from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        PairedModel
            A bitwise identical object.
        """
        parts = {}
        for part in ("ranker", "rating_model"):
            prefix, part_settings = f"{part}.", settings[part]
            part_arrays = {
                name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
            }
            parts[part] = PART_TYPES[part_settings["model_type"]].from_parts(part_arrays, part_settings)
        return cls(**parts, min_rating=checks.plain("min_rating", settings["min_rating"], float))


class UncertainPairedModel(PairedModel):
    """Paired model whose rating model predicts distributions.

    Parameters
    ----------
    ranker : Model
        Model of events that ranks items.
    rating_model : Model
        Model that predicts distributions of ratings.
    min_rating : float
        Lowest rating that is an event for the ranker.
    """

    model_type: ClassVar[str] = "paired-uncertain"

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return the predictive distribution of the rating for each user-item pair.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        Distribution
            The distributions of n ratings.
        """
        distribution: Distribution = self.rating_model.distribution(users, items)
        return distribution


@validated
def default_min_rating(scale: Scale) -> float:
    """Return the lowest rating that counts as liked on a scale, if none is specified.

    Parameters
    ----------
    scale : Scale
        Rating scale.

    Returns
    -------
    float
        The lowest level in the upper quarter of the range, or its lower end if the scale has no levels.

    Examples
    --------
    >>> [default_min_rating(Scale.from_levels(range(*ends))) for ends in ((1, 6), (0, 11))]
    [4.0, 8.0]
    >>> default_min_rating(Scale(-10, 10))
    5.0
    """
    span = scale.high - scale.low
    threshold = scale.low + LIKED_SHARE * span
    return float(next((level for level in scale.levels if level >= threshold - 1e-6 * span), threshold))


@validated
def ranking_part(model: Any, users: UserBatch) -> tuple[Any, UserBatch]:
    """Return the model that ranks items, and the users with the histories that it expects.

    Parameters
    ----------
    model : Model
        A model.
    users : UserBatch
        Users of the model with their histories.

    Returns
    -------
    model : Model
        The ranker of a paired model; any other model itself.
    users : UserBatch
        The users with events for the ranker of a paired model; else `users` itself.
    """
    return (model.ranker, model.liked_batch(users)) if isinstance(model, PairedModel) else (model, users)


def rating_part(model: Any) -> Any:
    """Return the model that predicts ratings.

    Parameters
    ----------
    model : Model
        A model.

    Returns
    -------
    Model
        The rating model of a paired model; any other model itself.
    """
    return model.rating_model if isinstance(model, PairedModel) else model
