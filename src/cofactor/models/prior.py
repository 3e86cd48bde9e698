"""Normal priors for the vectors of new users and items, which apply before their first rating.

    x ~ N(m, P^-1)        m = mean + sum over the features of the user or item of their effects

P is in units of the loss: with a prior, fold-in minimizes the loss without the training penalty, plus
(x - m)' P (x - m). The more precise the prior, the less each rating moves x. After many ratings, the influence of the
prior is small.

Item-item models have no vectors. Their prior for new items, `WeightPrior`, predicts the item-item weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Bool, Float32, Float64, Int32, Int64, require_array
from cofactor.data.features import Encoder
from cofactor.errors import DataError
from cofactor.models.factor import with_new_items
from cofactor.models.fold_in import GaussianPrior
from cofactor.validation import require_valid_fields, validated

__all__ = ["Prior", "Priors", "WeightPrior"]

PRIOR_ARRAYS = ("mean", "precision", "effects", "lengths", "applies", "shifted", "item_shift")
"""Fields of a `Prior` that are arrays."""


@dataclass(frozen=True, eq=False)
class Prior:
    """Normal prior for new users or new items, whose mean is a common mean plus the effects of their features.

    It is learned by `cold_start.learn_priors`.

    Parameters
    ----------
    mean : ndarray of shape (w,), float64
        The mean of [factors, bias], or of the factors in a model without biases.
    precision : ndarray of shape (w, w), float64
        The precision matrix.
    effects : ndarray of shape (m, w), float64
        The contribution of each of the encoder's m indicators to the mean.
    encoder : Encoder, optional
        Converts columns in the user or item table to indicators; None if all users or items have the same prior.
    lengths : ndarray of shape (l,), int64, default [0]
        Lengths of histories in ascending order, from 0.
    applies : ndarray of shape (l,), bool, default [True]
        Whether the prior is used for histories of at least `lengths[j]` rows and fewer than `lengths[j + 1]`. Where it
        is not, the penalty of training is used, as without a prior.
    shifted : ndarray of shape (l,), bool, default [False]
        Whether new users start from the item biases of a baseline there: the mean is that of their features alone, and
        `item_shift` is added to the item biases.
    item_shift : ndarray of shape (n_items,), float32, default empty
        Differences between the item biases of the baseline and those of the model; empty if `shifted` is false.

    Examples
    --------
    >>> films = pl.DataFrame({"item": ["alien", "brazil"], "genres": ["Horror", "Comedy"]})
    >>> encoder = Encoder.of(films, ["genres"], "item")                          # Comedy, Horror
    >>> prior = Prior(np.array([3.0]), np.eye(1), np.array([[0.5], [-0.5]]), encoder)
    >>> prior.means(pl.DataFrame({"genres": ["Comedy", "War"]}), 2).tolist()
    [[3.5], [3.0]]
    """

    mean: Float64
    precision: Float64
    effects: Float64
    encoder: Encoder | None = None
    lengths: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    applies: Bool = field(default_factory=lambda: np.ones(1, bool))
    shifted: Bool = field(default_factory=lambda: np.zeros(1, bool))
    item_shift: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        require_valid_fields(self)
        require_array("lengths", self.lengths, np.int64)
        if not len(self.lengths) or self.lengths[0] != 0 or (np.diff(self.lengths) <= 0).any():
            raise DataError(f"lengths must be ascending numbers, the first of which is 0; got {self.lengths.tolist()}")
        checks.mask("applies", self.applies, len(self.lengths))
        checks.mask("shifted", self.shifted, len(self.lengths))
        require_array("item_shift", self.item_shift, np.float32)
        require_array("mean", self.mean, np.float64)
        width = len(self.mean)
        require_array("precision", self.precision, np.float64, (width, width))
        n_indicators = len(self.effects) if self.encoder is None else len(self.encoder.names)
        require_array("effects", self.effects, np.float64, (n_indicators, width))

    @property
    def applies_without_history(self) -> bool:
        """Whether the prior is used for users or items without any rating or event."""
        return bool(self.applies[0])

    @validated
    def groups(self, table: pl.DataFrame | None, counts: Int64) -> list[tuple[Int64, GaussianPrior | None]]:
        """Return the prior of new users with histories of given lengths.

        Parameters
        ----------
        table : polars.DataFrame, optional
            One row for each new user; if None, none of their features is known.
        counts : ndarray of shape (n,), int64
            Number of rows of each history.

        Returns
        -------
        list of (ndarray of shape (m,), int64, and GaussianPrior or None)
            Positions of the users that have the same prior, and this prior: None for the penalty of training. A single
            group if there are no users.

        Examples
        --------
        >>> applies, shifted = np.array([True, False]), np.array([False, False])
        >>> prior = Prior(np.zeros(1), np.eye(1), np.zeros((0, 1)), None, np.array([0, 5]), applies, shifted)
        >>> [(rows.tolist(), part is None) for rows, part in prior.groups(None, np.array([4, 5, 0]))]
        [([0, 2], False), ([1], True)]
        """
        means = self.means(table, len(counts))
        column = np.searchsorted(self.lengths, counts, "right") - 1
        kind = np.where(self.applies[column], 1 + self.shifted[column], 0)
        found: list[tuple[Int64, GaussianPrior | None]] = []
        for each, prior in (
            (1, GaussianPrior(means, self.precision)),
            (2, GaussianPrior(means - self.mean, self.precision, self.item_shift)),
            (0, None),
        ):
            rows = np.flatnonzero(kind == each)
            if len(rows) or not len(counts):
                found.append((rows, None if prior is None else prior._replace(means=prior.means[rows])))
        return found[:1] if not len(counts) else found

    @validated
    def means(self, table: pl.DataFrame | None, n: int) -> Float64:
        """Return the prior mean for each new user or item.

        Parameters
        ----------
        table : polars.DataFrame, optional
            One row for each new user or item; if None, all have the same mean.
        n : int
            The number of new users or items.

        Returns
        -------
        ndarray of shape (n, w), float64

        Raises
        ------
        DataError
            If a column is missing or has the wrong type, or the table does not have n rows.
        """
        checks.whole_number("n", n, low=0, high=MAX_ROWS)
        if table is not None and len(table) != n:
            raise DataError(f"table must have n={n:,} rows; got {len(table):,}")
        means = np.tile(self.mean, (n, 1))
        if table is not None and self.encoder is not None:
            means += self.encoder.encode(table).dense(n) @ self.effects
        return means


@dataclass(frozen=True, eq=False)
class WeightPrior:
    """Prior for the weights of new items in an item-item model: a ridge regression on the features of the known items.

    It is created by `cold_start.learn_priors`, and applied by `cold_start.add_item_weights`.

    Parameters
    ----------
    encoder : Encoder
        Converts columns in the item table to indicators.
    ridge : float
        The penalty of the regression.

    Examples
    --------
    >>> films = pl.DataFrame({"item": ["alien", "brazil"], "genres": ["Horror", "Comedy"]})
    >>> WeightPrior(Encoder.of(films, ["genres"], "item"), ridge=10.0).encoder.names
    ('genres=Comedy', 'genres=Horror')
    """

    encoder: Encoder
    ridge: float

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.finite_number("ridge", self.ridge, low=1e-6)


@dataclass(frozen=True, eq=False)
class Priors:
    """Priors for the new users and new items of a recommender.

    Parameters
    ----------
    users : Prior, optional
        None if no prior was learned for users; for a paired model, the prior of its ranker.
    items : Prior or WeightPrior, optional
        As `users`, for items; a `WeightPrior` for an item-item model.
    rating_model : Priors, optional
        Priors of the rating model of a paired model; None for other models or if no priors were learned for it.

    Examples
    --------
    >>> priors = Priors(users=Prior(np.zeros(1), np.eye(1), np.zeros((0, 1))))
    >>> copy = Priors.from_parts(priors.arrays(), priors.settings())
    >>> copy.users.mean.tolist(), copy.items
    ([0.0], None)
    """

    users: Prior | None = None
    items: Prior | WeightPrior | None = None
    rating_model: Priors | None = None

    def with_items(self, take: Int32) -> Priors:
        """Return the priors of a model with new items, whose biases are not shifted.

        Parameters
        ----------
        take : ndarray of shape (n_items,), int32
            Row number of each item before; negative for new items.

        Returns
        -------
        Priors
        """
        users = self.users
        if users is not None and len(users.item_shift):
            users = replace(users, item_shift=with_new_items(users.item_shift, take))
        rating_model = None if self.rating_model is None else self.rating_model.with_items(take)
        return replace(self, users=users, rating_model=rating_model)

    @property
    def user_prior(self) -> Prior | None:
        """Prior for users: that of the model or, for a paired model whose ranker has none, that of the rating model."""
        return self.rating_model.users if self.users is None and self.rating_model is not None else self.users

    @property
    def is_empty(self) -> bool:
        """Whether there is no prior, neither for users nor for items."""
        return self.users is None and self.items is None and (self.rating_model is None or self.rating_model.is_empty)

    @property
    def user_columns(self) -> list[str]:
        """Columns of the user table from which the user priors were learned; empty if they depend on no features."""
        prior = self.user_prior
        return [] if prior is None or prior.encoder is None else [column.name for column in prior.encoder.columns]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the user prior and the item prior by name, such as `users.mean`.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        arrays = {
            f"{entity}.{name}": getattr(prior, name)
            for entity, prior in (("users", self.users), ("items", self.items))
            if isinstance(prior, Prior)
            for name in PRIOR_ARRAYS
        }
        nested = {} if self.rating_model is None else self.rating_model.arrays()
        return arrays | {f"rating_model.{name}": array for name, array in nested.items()}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the feature encoders of the user prior and the item prior; None for a missing prior.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        settings: dict[str, Any] = {
            entity: None if prior is None else {"encoder": prior.encoder and prior.encoder.settings()}
            for entity, prior in (("users", self.users), ("items", self.items))
        }
        if isinstance(self.items, WeightPrior):
            settings["items"]["ridge"] = self.items.ridge
        return settings | {"rating_model": None if self.rating_model is None else self.rating_model.settings()}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct priors from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        Priors
            A bitwise identical object.
        """

        def prior(entity: str) -> Prior | None:
            if settings[entity] is None or "ridge" in settings[entity]:
                return None
            encoder = settings[entity]["encoder"]
            return Prior(
                **{name: arrays[f"{entity}.{name}"] for name in PRIOR_ARRAYS},
                encoder=None if encoder is None else Encoder.from_settings(encoder),
            )

        nested = None
        if settings["rating_model"] is not None:
            prefix = "rating_model."
            nested_arrays = {
                name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
            }
            nested = cls.from_parts(nested_arrays, settings["rating_model"])
        items: Prior | WeightPrior | None = prior("items")
        if settings["items"] is not None and "ridge" in settings["items"]:
            ridge = checks.plain("ridge", settings["items"]["ridge"], float)
            items = WeightPrior(Encoder.from_settings(settings["items"]["encoder"]), ridge)
        return cls(prior("users"), items, nested)
