"""What SQLAlchemy and its drivers raise, as the store's own errors: one line, without the connection's secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cofactor.errors import StoreError, StoreUnavailableError

__all__ = ["clear_errors", "store_error"]

_PASSING = {"OperationalError", "InterfaceError", "TimeoutError"}  # as SQLAlchemy and all drivers call them


def store_error(error: Exception, name: str, written: Literal["no", "unknown"]) -> StoreError:
    """The error to raise instead: StoreUnavailableError for what another try may mend, StoreError for what it cannot.

    error: SQLAlchemy's or a driver's own.

    >>> import sqlite3
    >>> store_error(sqlite3.OperationalError("database or disk is full"), "shop.db", "no")
    StoreUnavailableError('shop.db: database or disk is full')
    """
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or _PASSING & {kind.__name__ for kind in type(error).__mro__}:
        return StoreUnavailableError(f"{name}: {reason}", written)
    return StoreError(f"{name}: {reason}")


@contextmanager
def clear_errors(name: str) -> Iterator[None]:
    """Around whatever only reads: nothing was written where it fails."""
    try:
        yield
    except SQLAlchemyError as error:
        raise store_error(error, name, "no") from error
