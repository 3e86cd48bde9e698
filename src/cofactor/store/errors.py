"""Conversion of errors of SQLAlchemy and its drivers to errors of the store: one line, without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cofactor.errors import StoreError, StoreUnavailableError

__all__ = ["clear_errors", "store_error"]

_TRANSIENT = {"OperationalError", "InterfaceError", "TimeoutError"}  # class names in SQLAlchemy and in all drivers


def store_error(error: Exception, name: str, written: Literal["no", "unknown"]) -> StoreError:
    """Return the error to raise instead of an error of SQLAlchemy or of a driver.

    Parameters
    ----------
    error : Exception
        Error of SQLAlchemy or of a driver.
    name : str
        Name of the database, for the message.
    written : {'no', 'unknown'}
        Whether the transaction may have been committed.

    Returns
    -------
    StoreError
        A StoreUnavailableError if a retry may succeed, else a StoreError.

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
def clear_errors(name: str) -> Iterator[None]:
    """Convert errors of SQLAlchemy inside the context, which must only read.

    Parameters
    ----------
    name : str
        Name of the database, for the messages.

    Yields
    ------
    None

    Raises
    ------
    StoreError
        Instead of an error of SQLAlchemy.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise store_error(error, name, "no") from error
