"""The taste map: items on the axes along which their factors differ most, with names at both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.errors import KindError, ParameterError
from cofactor.fork import require_threads
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.base import HasFactors
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["TasteMap"]


@dataclass(frozen=True, eq=False)
class TasteMap:
    """Items by the principal axes of their factors; biases are not in it, so quality is kept out of taste.

    Attributes:

        items: item, axis_1, axis_2, ..., support[, title], in row order.
        shares: (axes,) float64: of the factors' variance along each axis, the largest first; 0 where all lie alike.

    An axis has no direction of its own: it points to where its items lie farthest out.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> drawn = cofactor.interpret.TasteMap.of(rec)
    >>> drawn.items.columns, bool(drawn.shares[0] >= drawn.shares[1])
    (['item', 'axis_1', 'axis_2', 'support'], True)
    """

    items: pl.DataFrame
    shares: Float64

    @classmethod
    @one_thread_blas()
    @validated
    def of(cls, recommender: Recommender, *, axes: int = 2, min_support: int = 1) -> Self:
        """The map of the items with at least `min_support` ratings.

            (axis_1, ..., axis_a) = (q - mean of q) V,    V the leading right singular vectors of the rows q - mean of q

        Fewer axes than asked for where there are fewer items. Raises KindError where there are no factors,
        ParameterError for more axes than factors, and where no item has so many ratings.
        """
        model = require_recommender("recommender", recommender).model
        min_support = checks.whole_number("min_support", min_support, low=0)
        width = model.item_factors.shape[1] if isinstance(model, HasFactors) else 0
        if width == 0:
            raise KindError("this model has no item factors to draw; fit one with factors, such as biased-mf")
        axes = checks.whole_number("axes", axes, low=1, high=width)
        rows = np.flatnonzero(recommender.support >= min_support)
        if len(rows) == 0:
            raise ParameterError(f"no item has min_support={min_support} ratings")
        factors = model.item_factors[rows].astype(np.float64)
        left, size, _ = np.linalg.svd(factors - factors.mean(axis=0), full_matrices=False)
        place = left[:, :axes] * size[:axes]
        place *= np.sign(place[np.abs(place).argmax(axis=0), np.arange(place.shape[1])])
        columns = {f"axis_{a + 1}": place[:, a] for a in range(place.shape[1])}
        items = pl.DataFrame({"item": recommender.items.ids(rows), **columns, "support": recommender.support[rows]})
        if recommender.titles is not None:
            items = items.with_columns(title=recommender.titles.gather(rows))
        return cls(items, size[:axes] ** 2 / max(float(np.square(size).sum()), 1e-300))

    @validated
    def ends(self, axis: int, n: int = 5) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The n items farthest out at the low and at the high end of an axis (from 1), the farthest first.

        Two frames as `items`. Raises ParameterError for an axis that is not there.
        """
        require_threads()
        axis, n = checks.whole_number("axis", axis, low=1, high=len(self.shares)), checks.whole_number("n", n, low=0)
        by = self.items.sort(f"axis_{axis}", maintain_order=True)
        return by.head(min(n, len(by))), by.reverse().head(min(n, len(by)))
