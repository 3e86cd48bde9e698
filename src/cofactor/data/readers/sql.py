"""SQL reader: read the result of a query in batches through SQLAlchemy (extra `sql`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cofactor.data.readers.columns import Role
from cofactor.data.readers.frame_table import typed_rows
from cofactor.data.readers.tables import Batches, Rows
from cofactor.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["SqlTable", "is_url", "open_query"]

_BATCH = 10_000
_CHUNK = 1_000_000
_FILE_SCHEMES = ("http", "https", "ftp", "file", "s3", "gs", "az", "hdfs")


@dataclass(frozen=True)
class SqlTable:
    """Table of the rows that a database query returns, which can be read only once; implements `tables.Table`.

    Attributes
    ----------
    result : sqlalchemy.CursorResult
        Result of the query.
    name, columns, positional_roles, row_unit, is_typed : see `tables.Table`
        The attributes of every table.
    """

    name: str
    columns: list[str]
    result: Any
    positional_roles: list[Role] = field(default_factory=list)
    row_unit: Literal["line", "row"] = "row"
    is_typed: bool = True

    def read(self, roles: Mapping[str, int], max_rejected: int | None) -> Rows:
        """Read the chosen columns in batches of ten thousand rows; can be called only once.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store; no row is rejected here.

        Returns
        -------
        Rows
            The columns.

        Raises
        ------
        DataError
            If the database reports an error.
        """
        batches = Batches.of_objects(list(roles))
        positions = list(roles.values())
        with _database_errors(self.name):
            all_rows = chain.from_iterable(self.result.partitions(_BATCH))
            for row, cells in enumerate(all_rows, start=1):
                batches.add(row, [cells[k] for k in positions])
        return typed_rows(batches.finish()[0], list(roles), 0, max_rejected)

    def chunks(self, roles: Mapping[str, int], max_rejected: int | None) -> Iterator[Rows]:
        """Read the chosen columns in chunks of a million rows; can be called only once.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store; no row is rejected here.

        Yields
        ------
        Rows
            The columns of one chunk.

        Raises
        ------
        DataError
            If the database reports an error.
        """
        positions, first, is_last = list(roles.values()), 0, False
        with _database_errors(self.name):
            all_rows = chain.from_iterable(self.result.partitions(_BATCH))
            while not is_last:
                batches, n = Batches.of_objects(list(roles)), 0
                for cells in islice(all_rows, _CHUNK):
                    n += 1
                    batches.add(first + n, [cells[k] for k in positions])
                is_last = n < _CHUNK
                if n or not first:
                    yield typed_rows(batches.finish()[0], list(roles), first, max_rejected)
                first += n


def is_url(source: object) -> bool:
    """Return whether a source is a URL, such as `sqlite:///ratings.db` or `postgresql://host/name`.

    Parameters
    ----------
    source : object
        Any object.

    Returns
    -------
    bool
        True for a string that starts with a scheme and `://`.

    Examples
    --------
    >>> is_url("sqlite:///ratings.db"), is_url("ratings.csv")
    (True, False)
    """
    return isinstance(source, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", source) is not None


@contextmanager
def open_query(url: str, query: str | None) -> Iterator[SqlTable]:
    """Context manager that runs a query and streams its rows from the server.

    Nothing is written: changes made by the query are rolled back. Messages and reports contain no passwords.

    Parameters
    ----------
    url : str
        A database URL; `postgresql://` uses psycopg 3.
    query : str or None
        The SQL query.

    Yields
    ------
    SqlTable
        The result.

    Raises
    ------
    DataError
        If there is no query, the URL is invalid, or the database cannot be reached or rejects the query.
    MissingExtraError
        If the extra `sql` or the database driver is not installed.
    """
    if url.partition("://")[0].lower() in _FILE_SCHEMES:
        raise DataError(f"{url} is not a database URL; to read a remote file, download it and pass its path")
    if query is None:
        raise DataError('a database requires a query, such as query="select user_id, item_id, rating from ratings"')
    try:
        import sqlalchemy
    except ImportError as error:
        raise MissingExtraError('reading from a database requires SQLAlchemy: pip install "cofactor[sql]"') from error
    address = _address(url)
    name = address.render_as_string(hide_password=True)
    with _database_errors(name):
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
        connection = engine.connect()
    try:
        with _database_errors(name):
            # pass the query to the driver unchanged: ":x" and "%" are not parameters
            streaming_connection = connection.execution_options(stream_results=True, no_parameters=True)
            result = streaming_connection.exec_driver_sql(query)
            if not result.returns_rows:
                raise DataError(f"{name}: the query returns no rows; use a SELECT statement")
            columns = list(result.keys())
        yield SqlTable(name, columns, result)
    finally:
        connection.close()  # no commit: changes made by the query are rolled back
        engine.dispose()


def _address(url: str) -> URL:
    """Parse a database URL; raise DataError for an invalid one and for a missing SQLite file."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DataError(
            "the source is not a valid database URL; write it as in postgresql://user@host:5432/name"
        ) from error
    if address.drivername in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite":
        file = address.database
        if file and not file.startswith((":memory:", "file:")) and not Path(file).exists():
            raise DataError(f"{file}: there is no such database file")  # SQLite would create the file
    return address


@contextmanager
def _database_errors(name: str) -> Iterator[None]:
    """Convert errors from SQLAlchemy and its drivers to one-line errors without connection secrets."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise DataError(f"{name}: {reason}") from error
    except SQLAlchemyError as error:
        raise DataError(f"{name}: {str(error).partition(chr(10))[0]}") from error
    except (ValueError, OverflowError) as error:  # invalid UTF-8, numbers out of range
        raise DataError(f"{name}: {error}") from error
    except ImportError as error:
        raise MissingExtraError(
            f'{name} needs the driver {error.name!r}; for PostgreSQL: pip install "cofactor[sql]"'
        ) from error
