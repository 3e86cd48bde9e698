"""Tables in SQL databases: a URL and a query, read in batches through SQLAlchemy (extra `sql`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cofactor.data.readers.columns import Role
from cofactor.data.readers.tables import Batches, Refusals, Rows
from cofactor.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["SqlTable", "is_url", "open_query"]

_BATCH = 10_000
_NO_DATABASES = ("http", "https", "ftp", "file", "s3", "gs", "az", "hdfs")


@dataclass(frozen=True)
class SqlTable:
    """The result of a query, read once (see `tables.Table` for the attributes)."""

    name: str
    columns: list[str]
    result: Any
    by_place: list[Role] = field(default_factory=list)
    counts: Literal["line", "row"] = "row"
    typed: bool = True

    def read(self, roles: Mapping[str, int], most: int | None) -> Rows:
        """Ten thousand rows of the cursor at a time; can be done once."""
        batches = Batches.of_objects(list(roles))
        places = list(roles.values())
        with _clear_errors(self.name):
            every = chain.from_iterable(self.result.partitions(_BATCH))
            for row, cells in enumerate(every, start=1):
                batches.add(row, [cells[at] for at in places])
        columns, lines = batches.finish()
        shown = [columns[role] for role in roles]

        def texts(wanted: Sequence[int]) -> dict[int, str]:
            return {line: ", ".join(str(column[line - 1]) for column in shown) for line in wanted}

        return Rows(columns, lines, Refusals(most), (), texts)


def is_url(source: object) -> bool:
    """True for text like `sqlite:///ratings.db` or `postgresql://host/name`.

    >>> is_url("sqlite:///ratings.db"), is_url("ratings.csv")
    (True, False)
    """
    return isinstance(source, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", source) is not None


@contextmanager
def open_query(url: str, query: str | None) -> Iterator[SqlTable]:
    """The rows of a query, read from the server as they are asked for; nothing is ever written.

    `postgresql://` uses psycopg 3. Passwords never stand in messages or reports. Raises DataError
    when the database cannot be reached or does not take the query, MissingExtraError when the extra
    `sql`, or the driver of the database, is not installed.
    """
    if url.partition("://")[0].lower() in _NO_DATABASES:
        raise DataError(f"{url} is no database: download the file and give its path")
    if query is None:
        raise DataError('a database needs a query: query="select user_id, item_id, rating from ratings"')
    try:
        import sqlalchemy
    except ImportError as error:
        raise MissingExtraError('reading from a database needs: pip install "cofactor[sql]"') from error
    address = _address(url)
    name = address.render_as_string(hide_password=True)
    with _clear_errors(name):
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
        connection = engine.connect()
    try:
        with _clear_errors(name):
            # the query goes to the driver as it is: neither ":x" nor "%" in it is a parameter
            plain = connection.execution_options(stream_results=True, no_parameters=True)
            result = plain.exec_driver_sql(query)
            if not result.returns_rows:
                raise DataError(f"{name}: the query returns no rows; a select is needed")
            columns = list(result.keys())
        yield SqlTable(name, columns, result)
    finally:
        connection.close()  # without a commit: whatever the query changed is undone
        engine.dispose()


def _address(url: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DataError("this is no database URL; write it as in postgresql://user@host:5432/name") from error
    if address.drivername in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite":
        file = address.database
        if file and not file.startswith((":memory:", "file:")) and not Path(file).exists():
            raise DataError(f"{file}: there is no such database file")  # SQLite would create it
    return address


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """Turns the errors of SQLAlchemy and its drivers into one line without the connection's secrets."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise DataError(f"{name}: {reason}") from error
    except SQLAlchemyError as error:
        raise DataError(f"{name}: {str(error).partition(chr(10))[0]}") from error
    except (ValueError, OverflowError) as error:  # bytes that are no UTF-8, numbers out of range
        raise DataError(f"{name}: {error}") from error
    except ImportError as error:
        raise MissingExtraError(
            f'{name} needs the driver {error.name!r}; for PostgreSQL: pip install "cofactor[sql]"'
        ) from error
