"""Map of the item factors: items projected onto the principal axes, with the extreme items on each axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int64
from cofactor.errors import KindError, ParameterError
from cofactor.fork import require_threads
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models import BayesianModel, FactorModel
from cofactor.models.paired import rating_part
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["FactorMap"]


@dataclass(frozen=True, eq=False)
class FactorMap:
    """Items projected onto the principal axes of their factors; create with `FactorMap.of`.

    Biases are not part of the factors, so the map of a rating model reflects preferences rather than quality. Models of
    events have no or weak item biases, and the popularity of an item is the largest part of its factors; it is taken
    out, so that the map reflects preferences here too. The sign of an axis is
    arbitrary; it is chosen so that the item farthest from the center is on the positive side.

    Attributes
    ----------
    items : polars.DataFrame
        Columns item, axis_1, axis_2, ..., support and, if the recommender has titles, title; sorted by item row number.
    shares : ndarray of shape (axes,), float64
        Share of the factor variance along each axis, without the part taken out, in descending order; 0 if all factors
        are equal.
    popularity_share : float
        Share of the factor variance that follows the number of events of an item and is taken out; 0 for ratings.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> factor_map = cofactor.interpret.FactorMap.of(rec)
    >>> factor_map.items.columns, bool(factor_map.shares[0] >= factor_map.shares[1])
    (['item', 'axis_1', 'axis_2', 'support'], True)
    """

    items: pl.DataFrame
    shares: Float64
    popularity_share: float

    @classmethod
    @one_thread_blas()
    @validated
    def of(cls, recommender: Recommender, *, axes: int = 2, min_support: int = 1) -> Self:
        """Create a map of the items with at least `min_support` ratings.

        Parameters
        ----------
        recommender : Recommender
            Recommender whose model has item factors.
        axes : int, default 2
            Number of axes, from 1 to the number of factors. The map has fewer axes if there are fewer items.
        min_support : int, default 1
            Minimum number of ratings of an item to include.

        Returns
        -------
        FactorMap
            Map of the items.

        Raises
        ------
        KindError
            If the model has no item factors.
        ParameterError
            If there are more axes than factors, or no item has enough ratings.

        Notes
        -----
        The columns of V are the leading right singular vectors of the matrix with rows q - mean(q):

            (axis_1, ..., axis_a) = (q - mean(q)) V

        For events, q is the residual of a regression of the factors on l and l^2, with l = log(1 + support).
        """
        model = rating_part(require_recommender("recommender", recommender).model)
        min_support = checks.whole_number("min_support", min_support, low=0)
        if not isinstance(model, FactorModel | BayesianModel) or (width := model.item_factors.shape[1]) == 0:
            raise KindError("this model has no item factors to map; fit a model with factors, such as biased-mf")
        axes = checks.whole_number("axes", axes, low=1, high=width)
        rows = np.flatnonzero(recommender.support >= min_support)
        if len(rows) == 0:
            raise ParameterError(f"no item has at least min_support={min_support} ratings; decrease min_support")
        factors = model.item_factors[rows].astype(np.float64)
        factors -= factors.mean(axis=0)
        total = float(np.square(factors).sum())
        if recommender.kind == "events":
            factors = _without_popularity(factors, recommender.support[rows])
        U, singular_values, _ = np.linalg.svd(factors, full_matrices=False)
        positions = U[:, :axes] * singular_values[:axes]
        positions *= np.sign(positions[np.abs(positions).argmax(axis=0), np.arange(positions.shape[1])])
        columns = {f"axis_{a + 1}": positions[:, a] for a in range(positions.shape[1])}
        items = pl.DataFrame({"item": recommender.items.ids(rows), **columns, "support": recommender.support[rows]})
        if recommender.titles is not None:
            items = items.with_columns(title=recommender.titles.gather(rows))
        variance = float(np.square(singular_values).sum())
        shares = singular_values[:axes] ** 2 / max(variance, 1e-300)
        return cls(items, shares, 0.0 if total == 0 else max(1 - variance / total, 0.0))

    @validated
    def ends(self, axis: int, n: int = 5) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the n most extreme items at the low end and at the high end of an axis.

        Parameters
        ----------
        axis : int
            Axis number, starting at 1.
        n : int, default 5
            Number of items at each end.

        Returns
        -------
        low, high : polars.DataFrame
            Rows of `items`, most extreme first; all items if there are fewer than n.

        Raises
        ------
        ParameterError
            If the map has no such axis, or `n` is negative.
        """
        require_threads()
        axis, n = checks.whole_number("axis", axis, low=1, high=len(self.shares)), checks.whole_number("n", n, low=0)
        ordered = self.items.sort(f"axis_{axis}", maintain_order=True)
        return ordered.head(min(n, len(ordered))), ordered.reverse().head(min(n, len(ordered)))


def _without_popularity(factors: Float64, support: Int64) -> Float64:
    """Return centered factors, (n_items, k), after regressing out a quadratic function of log support."""
    log_support = np.log1p(support.astype(np.float64))
    design = np.column_stack([log_support, log_support**2])
    design -= design.mean(axis=0)
    residuals: Float64 = factors - design @ np.linalg.lstsq(design, factors, rcond=None)[0]
    return residuals
