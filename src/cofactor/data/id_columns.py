"""Ids as callers pass them: one id, or any sequence, array or column of ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.data.ids import Id, id_column, id_fault
from cofactor.errors import DataError

__all__ = ["id_series", "is_single", "single_id"]


def is_single(ids: Any) -> bool:
    """Return whether the value is one id, not a collection of ids.

    Parameters
    ----------
    ids : object
        The value.

    Returns
    -------
    bool
        True for an integer or a string.

    Examples
    --------
    >>> is_single(7), is_single("ana"), is_single(["ana"])
    (True, True, False)
    """
    return isinstance(ids, int | str | np.integer)


def single_id(name: str, value: Any) -> Id:
    """Return the value after checking that it is one id.

    Parameters
    ----------
    name : str
        The name of the argument, for the message.
    value : object
        The value to check.

    Returns
    -------
    int or str
        The ID.

    Raises
    ------
    DataError
        If the value is not an integer of 64 bits or a valid string.

    Examples
    --------
    >>> single_id("user", ["ana"])
    Traceback (most recent call last):
    cofactor.errors.DataError: user must be an id, an integer or a string, not ['ana']
    """
    if not is_single(value) or isinstance(value, bool):
        raise DataError(f"{name} must be an id, an integer or a string, not {checks.shown(value)}")
    if not isinstance(value, str) and not -(2**63) <= value < 2**63:
        raise DataError(f"{name}: {checks.shown(value)} does not fit into 64 bits; pass ids as strings")
    if isinstance(value, str) and (fault := id_fault(value)):
        raise DataError(f"{name}: the id {fault}: {checks.shown(value)}")
    return value  # type: ignore[no-any-return]


def id_series(name: str, ids: Any) -> pl.Series:
    """Return one id, or the ids of any sequence, array or column, as a polars Series.

    Parameters
    ----------
    name : str
        The name of the argument, for the message.
    ids : id, or iterable of ids
        Also columns of pandas and pyarrow.

    Returns
    -------
    pl.Series of shape (n,), Int64 or String

    Raises
    ------
    DataError
        If the values are not ids, or are of two types.

    Examples
    --------
    >>> id_series("users", "ana").to_list(), id_series("users", (7, 3)).to_list()
    (['ana'], [7, 3])
    """
    if hasattr(ids, "to_pylist"):  # pyarrow
        ids = ids.to_pylist()
    elif hasattr(ids, "to_numpy") and not isinstance(ids, pl.Series):  # columns of other libraries
        ids = ids.to_numpy()
    if is_single(ids):
        ids = [ids]
    checks.require_bounded(name, ids)
    if not isinstance(ids, Iterable) or isinstance(ids, bytes):
        raise DataError(f"{name} must be an id or a list of ids, integers or strings, not {checks.shown(ids)}")
    try:
        return id_column(ids if isinstance(ids, pl.Series | np.ndarray) else list(ids))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
