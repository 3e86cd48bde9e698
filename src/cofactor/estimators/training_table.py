"""Training tables: the types of training data that estimators accept, and their conversion."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from cofactor import checks
from cofactor.arrays import read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind, require_interactions
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.errors import DataError

__all__ = ["AcceptedKind", "CSRMatrix", "TableLike", "as_interactions", "standardized"]

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


def standardized(ratings: Interactions) -> tuple[Interactions, float]:
    """Divide ratings by the unit of their scale (`Scale.unit`), so that hyperparameters are independent of the scale.

    Learning rates, penalties and priors then have the same effect on every scale. Ratings from 1 to 5 are returned
    unchanged.

    Parameters
    ----------
    ratings : Interactions
        Table of ratings.

    Returns
    -------
    tuple of (Interactions, float)
        Table with values and scale divided by the unit, and the unit. A table of events is returned unchanged, with
        unit 1.

    Examples
    --------
    >>> ratings = Interactions.from_columns([0, 0], [0, 1], [10, 100])
    >>> standard, unit = standardized(ratings)
    >>> unit, (standard.values * unit).tolist()
    (36.0, [10.0, 100.0])
    """
    scale = ratings.scale
    if scale is None or scale.unit == 1:
        return ratings, 1.0
    unit = scale.unit
    levels = tuple(level / unit for level in scale.levels)
    values = read_only((ratings.values / unit).astype(np.float32))
    return replace(ratings, values=values, scale=Scale(scale.low / unit, scale.high / unit, levels)), unit
