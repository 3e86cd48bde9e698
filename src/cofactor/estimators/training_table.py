"""Training tables: the types of training data that estimators accept, and their conversion."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from cofactor import checks
from cofactor.arrays import Float64, Int32, read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind, require_interactions
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale, centered
from cofactor.errors import DataError
from cofactor.models.factor import FactorModel
from cofactor.models.posterior import BayesianModel

__all__ = ["AcceptedKind", "CSRMatrix", "Standardization", "TableLike", "as_interactions", "damped_biases"]

MIN_STD = 1e-15
"""Standard deviation up to which all ratings count as equal, because penalties in rating units would underflow."""

R = TypeVar("R", FactorModel, BayesianModel)

AcceptedKind: TypeAlias = Kind | Literal["any"]
"""Kind of table that an estimator accepts: "ratings", "events", or "any" for either."""


@runtime_checkable
class CSRMatrix(Protocol):
    """Sparse users x items matrix in compressed sparse row (CSR) format, such as `scipy.sparse.csr_array`.

    Attributes
    ----------
    indptr : array-like of shape (n_users + 1,), integer
        Index of the first entry in each row, followed by the total number of entries.
    indices : array-like of shape (n_entries,), integer
        Column index of each entry.
    data : array-like of shape (n_entries,), numeric
        Value of each entry: a rating, or a positive event count or amount. Absent entries are unobserved pairs.
    shape : tuple of (int, int)
        Number of users and number of items.
    """

    @property
    def indptr(self) -> ArrayLike:
        """Start of each row in `indices` and `data`, followed by the total number of entries."""

    @property
    def indices(self) -> ArrayLike:
        """Column index of each entry."""

    @property
    def data(self) -> ArrayLike:
        """Value of each entry."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of users and number of items."""


TableLike: TypeAlias = Interactions | CSRMatrix
"""Types of training data that estimators accept."""


def as_interactions(name: str, table: TableLike, kind: Kind) -> Interactions:
    """Convert a CSR matrix to an Interactions table; return an existing table unchanged.

    The IDs of the table are the row and column numbers of the matrix.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    table : Interactions or CSR matrix of shape (n_users, n_items)
        Table or matrix to convert.
    kind : {"ratings", "events"}
        Kind of the values in a matrix. For repeated entries, the last rating is kept; events are summed.

    Returns
    -------
    Interactions
        Table in which every row and column of the matrix has an ID, including those without entries.

    Raises
    ------
    DataError
        If `table` is neither a table nor a CSR matrix, or the matrix is inconsistent or has no entries.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> matrix = SimpleNamespace(indptr=[0, 1, 1], indices=[2], data=[4.5], shape=(2, 3))
    >>> as_interactions("interactions", matrix, "ratings")
    Interactions(1 ratings, 2 users x 3 items)
    """
    if isinstance(table, Interactions | np.ndarray) or not isinstance(table, CSRMatrix):
        return require_interactions(name, table)
    if (matrix_format := getattr(table, "format", "csr")) != "csr":
        raise DataError(f"{name} must be a CSR matrix, not {matrix_format!r}; convert it with .tocsr()")
    start, columns = checks.as_array(table.indptr), checks.as_array(table.indices)
    values, shape = checks.as_array(table.data), tuple(table.shape)
    if not (
        len(shape) == 2
        and start.shape == (shape[0] + 1,)
        and values.shape == columns.shape == (len(columns),)
        and start.dtype.kind in "iu"
        and columns.dtype.kind in "iu"
        and start[0] == 0
        and start[-1] == len(columns)
        and (start[1:] >= start[:-1]).all()
        and not (len(columns) and (columns.min() < 0 or columns.max() >= shape[1]))
    ):
        raise DataError(f"{name} must be a valid CSR matrix; indptr, indices and data do not match shape {shape}")
    users = np.repeat(np.arange(shape[0]), start[1:] - start[:-1])
    report = LoadReport(source="a CSR matrix", rows=len(columns))
    entries = Interactions.from_columns(users, columns, values, kind=kind, report=report)
    u, i = (
        ids.all.to_numpy().astype(np.int32)[rows]
        for ids, rows in ((entries.users, entries.u), (entries.items, entries.i))
    )
    user_ids, item_ids = (IdMap.of(np.arange(n)) for n in shape)
    return replace(entries, users=user_ids, items=item_ids, u=read_only(u), i=read_only(i))


@dataclass(frozen=True)
class Standardization:
    """Linear transformation of ratings to mean 0 and standard deviation 1, so that hyperparameters have no unit.

    Learning rates, penalties and priors then have the same effect on every rating scale, and a fit on a r + b predicts
    a times the rating predicted by a fit on r, plus b.

    Attributes
    ----------
    mean : float
        Weighted mean of the ratings.
    std : float
        Weighted standard deviation of the ratings; 1 if all ratings are equal.

    Examples
    --------
    >>> ratings = Interactions.from_columns([0, 0], [0, 1], [10, 100])
    >>> transformation = Standardization.of(ratings)
    >>> transformation.mean, transformation.std, transformation.apply(ratings).values.tolist()
    (55.0, 45.0, [-1.0, 1.0])
    """

    mean: float
    std: float

    @classmethod
    def of(cls, ratings: Interactions) -> Standardization:
        """Compute the mean and the standard deviation of a table of ratings.

        Parameters
        ----------
        ratings : Interactions
            Table of ratings with at least one row of nonzero weight.

        Returns
        -------
        Standardization
            Transformation to mean 0 and standard deviation 1.
        """
        reference = 0.0 if ratings.scale is None else ratings.scale.low
        deviations = centered(ratings.values, reference, ratings.scale)
        shift = float(np.average(deviations, weights=ratings.weights))
        std = math.sqrt(float(np.average((deviations - shift) ** 2, weights=ratings.weights)))
        return cls(reference + shift, std if std > MIN_STD else 1.0)

    def apply(self, ratings: Interactions) -> Interactions:
        """Standardize the values and the scale of a table.

        Parameters
        ----------
        ratings : Interactions
            Table of ratings, with the same scale as the table from which the transformation was computed.

        Returns
        -------
        Interactions
            Table with standardized values and scale.
        """
        values = (centered(ratings.values, self.mean, ratings.scale) / self.std).astype(np.float32)
        return replace(ratings, values=read_only(values), scale=self.scale(ratings.scale))

    def scale(self, scale: Scale | None) -> Scale | None:
        """Standardize a rating scale.

        Parameters
        ----------
        scale : Scale or None
            Scale in rating units.

        Returns
        -------
        Scale or None
            Scale in standardized units.
        """
        if scale is None:
            return None
        low, high = self.standardized(scale.low), self.standardized(scale.high)
        return Scale(low, high, tuple(self.standardized(level) for level in scale.levels))

    def standardized(self, rating: float) -> float:
        """Standardize one rating.

        Parameters
        ----------
        rating : float
            Value in rating units.

        Returns
        -------
        float
            Value in standardized units.
        """
        return (rating - self.mean) / self.std

    def to_ratings(self, model: R, scale: Scale | None) -> R:
        """Convert a model of standardized ratings to rating units.

        Parameters
        ----------
        model : FactorModel or BayesianModel
            Model fitted to a standardized table.
        scale : Scale or None
            Scale in rating units.

        Returns
        -------
        FactorModel or BayesianModel
            Model of the ratings.
        """
        return model.rescaled(self.std, scale, shift=self.mean)

    def to_standard(self, model: R) -> R:
        """Convert a rating model to standardized units; the inverse of `to_ratings`.

        Parameters
        ----------
        model : FactorModel or BayesianModel
            Model in rating units.

        Returns
        -------
        FactorModel or BayesianModel
            Model of standardized ratings.
        """
        return model.rescaled(1 / self.std, None, shift=-self.mean / self.std)


def damped_biases(ratings: Interactions, damping: float) -> tuple[float, Float64, Float64]:
    """Compute the mean of ratings, and a damped bias of each user and item.

    Parameters
    ----------
    ratings : Interactions
        Table of ratings with at least one row of nonzero weight.
    damping : float
        Number of ratings equal to the mean that are added to each row.

    Returns
    -------
    mean : float
        Weighted mean rating.
    user_bias : ndarray of shape (n_users,), float64
        Damped mean of each user's ratings minus the mean and the item biases; 0 without ratings.
    item_bias : ndarray of shape (n_items,), float64
        Damped mean of each item's ratings minus the mean; 0 without ratings.

    Examples
    --------
    >>> ratings = Interactions.from_columns([0, 0, 1], [0, 1, 0], [5, 3, 4])
    >>> mean, _, item_bias = damped_biases(ratings, damping=1.0)
    >>> mean, item_bias.round(2).tolist()
    (4.0, [0.33, -0.5])
    """
    weights = np.ones(len(ratings)) if ratings.weights is None else ratings.weights
    mean = Standardization.of(ratings).mean
    deviations = centered(ratings.values, mean, ratings.scale)

    def damped_means(rows: Int32, values: Float64, n: int) -> Float64:
        total = np.bincount(rows, weights=values * weights, minlength=n)
        support = np.bincount(rows, weights=weights, minlength=n) + damping
        means: Float64 = np.divide(total, support, out=np.zeros(n), where=support > 0)
        return means

    item_bias = damped_means(ratings.i, deviations, ratings.n_items)
    user_bias = damped_means(ratings.u, deviations - item_bias[ratings.i], ratings.n_users)
    return mean, user_bias, item_bias
