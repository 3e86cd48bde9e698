"""Conversion of SQLAlchemy and driver errors to store errors, whose one-line messages contain no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cofactor.errors import StoreError, StoreUnavailableError

__all__ = ["convert_errors", "store_error"]

_TRANSIENT = {"OperationalError", "InterfaceError", "TimeoutError"}  # class names in SQLAlchemy and in all drivers


def store_error(error: Exception, name: str, written: Literal["no", "unknown"]) -> StoreError:
    """Convert an error raised by SQLAlchemy or a driver to a store error.

    Parameters
    ----------
    error : Exception
        Error raised by SQLAlchemy or a driver.
    name : str
        Name of the database, for the message.
    written : {'no', 'unknown'}
        Whether the transaction may have been committed.

    Returns
    -------
    StoreError
        A StoreUnavailableError if a retry may succeed, otherwise a StoreError.

    Examples
    --------
    >>> import sqlite3
    >>> store_error(sqlite3.OperationalError("database or disk is full"), "shop.db", "no")
    StoreUnavailableError('shop.db: database or disk is full')
    """
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
    connection_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if connection_lost or _TRANSIENT & {class_.__name__ for class_ in type(error).__mro__}:
        return StoreUnavailableError(f"{name}: {reason}", written)
    return StoreError(f"{name}: {reason}")


@contextmanager
def convert_errors(name: str) -> Iterator[None]:
    """Context manager that converts SQLAlchemy errors to store errors; use it only for reading.

    Parameters
    ----------
    name : str
        Name of the database, for the message.

    Yields
    ------
    None

    Raises
    ------
    StoreError
        In place of a SQLAlchemy error.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise store_error(error, name, "no") from error
