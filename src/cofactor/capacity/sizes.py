"""Sizes of files in bytes: the table file, the temporary files of an import, and the model file.

IDs are integers of 8 bytes; string IDs take 8 bytes and their text.
"""

from __future__ import annotations

from cofactor.capacity.shape import TableShape
from cofactor.estimators import BPR, BiasedMF
from cofactor.estimators.base import Estimator

__all__ = ["import_bytes", "model_file_bytes", "read_bytes", "table_file_bytes"]

HEADER = 3_000
"""Approximate size of the header of a file."""

BY_USER, BY_ITEM, TIMES = 12, 8, 8
"""Bytes per row: row numbers and value in the order of users, row number and value in the order of items, and time."""


def table_file_bytes(shape: TableShape, *, times: bool = False) -> int:
    """Return the size of a table file.

    Parameters
    ----------
    shape : TableShape
        Shape of the table.
    times : bool, default False
        Whether the rows have times.

    Returns
    -------
    int

    Examples
    --------
    >>> table_file_bytes(TableShape(users=1_000, items=500, events=5_000))
    119008
    """
    by_user = BY_USER + (TIMES if times else 0)
    return HEADER + (by_user + BY_ITEM) * shape.events + 8 * (shape.users + shape.items) + 8 * (shape.items + 1)


def import_bytes(shape: TableShape, *, times: bool = False) -> int:
    """Return the disk space that an import needs, including the table file: its rows are sorted in temporary files.

    Parameters
    ----------
    shape : TableShape
        Shape of the table.
    times : bool, default False
        Whether the rows have times.

    Returns
    -------
    int

    Examples
    --------
    >>> import_bytes(TableShape(users=1_000, items=500, events=5_000))
    239008
    """
    by_user = BY_USER + (TIMES if times else 0)
    return table_file_bytes(shape, times=times) + (by_user + BY_USER) * shape.events


def model_file_bytes(shape: TableShape, factors: int) -> int:
    """Return the size of the file of a factor model with biases, IDs and histories.

    Parameters
    ----------
    shape : TableShape
        Shape of the table.
    factors : int
        Number of factors.

    Returns
    -------
    int

    Examples
    --------
    >>> model_file_bytes(TableShape(users=1_000, items=500, events=5_000), factors=64)
    453008
    """
    vectors = (4 * factors + 4 + 8) * (shape.users + shape.items)
    return HEADER + vectors + 8 * (shape.users + 1) + 8 * shape.events


def read_bytes(estimator: Estimator, shape: TableShape) -> int:
    """Return the size of the columns of the table file that each pass reads: row numbers in both orders for ALS.

    Parameters
    ----------
    estimator : Estimator
        The estimator.
    shape : TableShape
        Shape of the table.

    Returns
    -------
    int
        Number of bytes; 0 for BiasedMF, which copies the table.
    """
    if isinstance(estimator, BiasedMF):
        return 0
    return (4 if isinstance(estimator, BPR) else 8) * shape.events
