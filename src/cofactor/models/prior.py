"""Priors: what a newcomer, user or item, is taken to be before the first rating.

    x ~ N(m, P^-1)        m = mean + sum over the newcomer's features of their effects

P is in units of the loss: with a prior, folding in minimizes  loss(x), its own penalty left out, + (x - m)' P (x - m).
A rating moves x less the better x was known before: nothing wild happens after one, and many decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, require_array
from cofactor.data.features import Encoder
from cofactor.errors import DataError
from cofactor.validation import require_valid_fields, validated

__all__ = ["Prior", "Priors"]


@dataclass(frozen=True, eq=False)
class Prior:
    """Of one side, users or items: N(mean + sum of effects, precision^-1).

        mean (w,), precision (w, w) float64: of [factors, bias]; of the factors alone where there
            are no biases
        effects (m, w) float64: what each of the m indicators of `encoder` adds to the mean
        encoder: from columns of the user or item table to indicators; None: all are taken to be alike

    Learnt by `cold_start.learn_priors`.

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

    def __post_init__(self) -> None:
        require_valid_fields(self)
        require_array("mean", self.mean, np.float64)
        width = len(self.mean)
        require_array("precision", self.precision, np.float64, (width, width))
        indicators = len(self.effects) if self.encoder is None else len(self.encoder.names)
        require_array("effects", self.effects, np.float64, (indicators, width))

    @validated
    def means(self, table: pl.DataFrame | None, n: int) -> Float64:
        """m of n newcomers, (n, w) float64, from a table with a row for each; without one, or without features, alike.

        Raises DataError where a column is missing or of another type.
        """
        checks.whole_number("n", n, low=0, high=MAX_ROWS)
        if table is not None and len(table) != n:
            raise DataError(f"table must have {n:,} rows, as many as n, not {len(table):,}")
        m = np.tile(self.mean, (n, 1))
        if table is None or self.encoder is None:
            return m
        told: Float64 = m + self.encoder.encode(table).dense(n) @ self.effects
        return told


@dataclass(frozen=True, eq=False)
class Priors:
    """What a recommender takes new users and new items to be; None on a side of which nothing was learnt.

    >>> one = Prior(np.zeros(1), np.eye(1), np.zeros((0, 1)))
    >>> priors = Priors(users=one)
    >>> again = Priors.from_parts(priors.arrays(), priors.settings())
    >>> again.users.mean.tolist(), again.items
    ([0.0], None)
    """

    users: Prior | None = None
    items: Prior | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """mean, precision and effects of each side there is, as users.mean and so on."""
        return {
            f"{side}.{name}": getattr(prior, name)
            for side, prior in (("users", self.users), ("items", self.items))
            if prior is not None
            for name in ("mean", "precision", "effects")
        }

    def settings(self) -> dict[str, Any]:
        """How each side's features are encoded; None for a side that there is not."""
        return {
            side: None if prior is None else {"encoder": prior.encoder and prior.encoder.settings()}
            for side, prior in (("users", self.users), ("items", self.items))
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The priors of a recommender's file."""

        def prior(side: str) -> Prior | None:
            if settings[side] is None:
                return None
            mean, precision, effects = (arrays[f"{side}.{name}"] for name in ("mean", "precision", "effects"))
            encoder = settings[side]["encoder"]
            return Prior(mean, precision, effects, None if encoder is None else Encoder.from_settings(encoder))

        return cls(prior("users"), prior("items"))
