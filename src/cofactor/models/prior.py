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
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import checked_take
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior, shift_with_new_items
from cofactor.validation import require_valid_fields, validated

__all__ = ["Prior", "Priors", "WeightPrior"]

PRIOR_ARRAYS = ("mean", "precision", "effects", "lengths", "applies", "shift_weights", "item_shift")
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
    shift_weights : ndarray of shape (l,), float64, default [0]
        Weight of `item_shift` in the scores of new users there. In a model of ratings, the prior is then around the
        shifted item biases: its mean is that of the features alone. In a model of events, the users are folded in
        first, with the penalty of training, and the shift is added to their scores.
    item_shift : ndarray of shape (n_items,), float32, default empty
        Differences between the item biases of a baseline and those of the model; empty if all weights are 0.

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
    shift_weights: Float64 = field(default_factory=lambda: np.zeros(1))
    item_shift: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        require_valid_fields(self)
        require_array("lengths", self.lengths, np.int64)
        if not len(self.lengths) or self.lengths[0] != 0 or (np.diff(self.lengths) <= 0).any():
            raise DataError(f"lengths must be ascending and start with 0; got {self.lengths.tolist()}")
        checks.mask("applies", self.applies, len(self.lengths))
        require_array("shift_weights", self.shift_weights, np.float64, (len(self.lengths),))
        require_array("item_shift", self.item_shift, np.float32)
        require_array("mean", self.mean, np.float64)
        width = len(self.mean)
        require_array("precision", self.precision, np.float64, (width, width))
        n_indicators = len(self.effects) if self.encoder is None else len(self.encoder.names)
        require_array("effects", self.effects, np.float64, (n_indicators, width))

    @property
    def applies_without_history(self) -> bool:
        """Whether users without any rating or event start from the prior or from the baseline."""
        return bool(self.applies[0] or self.shift_weights[0])

    @validated
    def fold_in(self, model: FactorModel, histories: SparseRows, table: pl.DataFrame | None = None) -> FactorModel:
        """Fold in new users, each with the prior for the length of their history.

        Parameters
        ----------
        model : FactorModel
            Model that the prior was learned for.
        histories : SparseRows
            One row of items for each of n new users.
        table : polars.DataFrame, optional
            One row for each new user; if None, none of their features is known.

        Returns
        -------
        FactorModel
            Model with the n new users.

        Examples
        --------
        >>> import cofactor
        >>> from cofactor.kernels.sparse import SparseRows
        >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
        >>> model = cofactor.ExplicitALS(factors=1).fit(ratings)
        >>> lengths, applies, weights = np.array([0, 1]), np.array([True, False]), np.zeros(2)
        >>> prior = Prior(np.float64([0.5, 0.25]), np.eye(2), np.zeros((0, 2)), None, lengths, applies, weights)
        >>> prior.fold_in(model, SparseRows.of([0], [1], [4.0], n_rows=2)).user_bias[1].tolist()
        0.25
        """
        means = self.means(table, len(histories))
        column = np.searchsorted(self.lengths, histories.counts, "right") - 1
        kinds, kind = np.unique(np.stack([self.applies, self.shift_weights])[:, column], axis=1, return_inverse=True)
        folded_in, order = model.fold_in(histories.take([])), np.zeros(0, np.int64)
        for each, (applies, weight) in enumerate(kinds.T):
            rows = np.flatnonzero(kind == each)
            part = model.fold_in(
                histories.take(rows), prior=self._centered_prior(means[rows], applies=applies, weight=weight)
            )
            if weight and not applies:
                part = part.with_shift(self.item_shift, weight)
            positions = np.concatenate([np.arange(len(order)), -1 - np.arange(len(rows))]).astype(np.int32)
            folded_in, order = folded_in.with_users(part, positions), np.concatenate([order, rows])
        return folded_in.with_users(folded_in, np.argsort(order).astype(np.int32))

    @validated
    def at(self, length: int, means: Float64) -> GaussianPrior | None:
        """Return the prior of new users with histories of a given length.

        Parameters
        ----------
        length : int
            Number of rows of each history.
        means : ndarray of shape (n, w), float64
            Result of `means` for the users.

        Returns
        -------
        GaussianPrior or None
            None if the penalty of training is used.
        """
        length = checks.whole_number("length", length, low=0, high=MAX_ROWS)
        means = checks.number_array("means", means, (None, len(self.mean)))
        column = int(np.searchsorted(self.lengths, length, "right")) - 1
        return self._centered_prior(means, applies=bool(self.applies[column]), weight=float(self.shift_weights[column]))

    def _centered_prior(self, means: Float64, *, applies: bool, weight: float) -> GaussianPrior | None:
        """Return the prior around the means, around the shifted item biases, or None."""
        if not applies:
            return None
        if weight:
            return GaussianPrior(means - self.mean, self.precision, self.item_shift)
        return GaussianPrior(means, self.precision)

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

    @validated
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
            take = checked_take(take, len(users.item_shift), len(take))
            users = replace(users, item_shift=shift_with_new_items(users.item_shift, take))
        rating_model = None if self.rating_model is None else self.rating_model.with_items(take)
        return replace(self, users=users, rating_model=rating_model)

    @property
    def user_prior(self) -> Prior | None:
        """Prior for users: that of the model or, for a paired model whose ranker has none, that of the rating model."""
        return self.rating_model.users if self.users is None and self.rating_model is not None else self.users

    @property
    def is_empty(self) -> bool:
        """Whether neither the users nor the items have a prior."""
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
