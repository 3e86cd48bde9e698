"""Outputs of batch jobs: a folder of Parquet files or a database table, replaced only by a complete result."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cofactor.errors import ClusterError, ParameterError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["COLUMN_TYPES", "DatabaseTable", "ParquetFolder", "arrow_schema", "check_output", "write_frame"]

COLUMN_TYPES = {"int64": "bigint", "int32": "int", "float": "float", "double": "double", "string": "string"}
"""Types of Spark by the names of Arrow's types."""

CONTENT_KEY = b"cofactor"
"""Key in the metadata of Parquet files whose value names their content."""

OBJECT_STORES = ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "wasb", "wasbs")
"""Schemes of object stores, which cannot rename a folder atomically."""

TABLE_NAME = re.compile(r"""(\w+|"[^"]+"|`[^`]+`|\[[^\]]+\])(\.(\w+|"[^"]+"|`[^`]+`|\[[^\]]+\]))*""")


def check_output(address: str, table: str | None) -> None:
    """Check that an output can be replaced at once, and that a table is given for a database only.

    Parameters
    ----------
    address : str
        Path or URI of a folder, or JDBC URL.
    table : str or None
        Table of the database.

    Raises
    ------
    ParameterError
        If they do not fit together, or if the output is in an object store.
    """
    if address.partition("://")[0] in OBJECT_STORES:
        raise ParameterError(
            f"{address} is in an object store, which cannot replace a folder at once: write to a shared folder, "
            "to HDFS or to a database"
        )
    if address.startswith("jdbc:") != (table is not None):
        raise ParameterError("pass table together with a JDBC URL as output, and omit it for a folder")


def arrow_schema(frame: pl.DataFrame) -> pa.Schema:
    """Return the Arrow schema of a frame, with the types that Spark reads.

    Parameters
    ----------
    frame : polars.DataFrame
        Frame with integers, floats and strings.

    Returns
    -------
    pyarrow.Schema
    """
    import pyarrow as pa

    schema = frame.head(0).to_arrow().schema
    is_text = pa.types.is_large_string, pa.types.is_string_view
    return pa.schema([
        pa.field(column.name, pa.string() if any(test(column.type) for test in is_text) else column.type)
        for column in schema
    ])  # fmt: skip


def write_frame(
    spark: SparkSession,
    frame: pl.DataFrame,
    address: str,
    content: str,
    *,
    table: str | None,
    properties: Mapping[str, str] | None,
) -> None:
    """Write a frame of this process to a folder of Parquet files or a database table.

    Parameters
    ----------
    spark : SparkSession
        The session.
    frame : polars.DataFrame
        Frame to write.
    address : str
        Path or URI of a folder, or JDBC URL.
    content : str
        Content of the frame, such as "recommendations".
    table : str or None
        Table of the database.
    properties : mapping of str to str or None
        Properties of the connection to the database.

    Raises
    ------
    ClusterError
        If the output cannot be written, or is not an earlier result.
    """
    rows = frame.to_arrow().cast(schema := arrow_schema(frame))
    if table is not None:
        DatabaseTable(spark, address, table, properties or {}).replace(spark.createDataFrame(rows))
        return
    folder = ParquetFolder.of(address, content)
    with folder.replacing():
        folder.publish([folder.write_part(0, schema, [rows])])


@dataclass(frozen=True)
class ParquetFolder:
    """Folder of Parquet files that is replaced as a whole.

    The files are written to a hidden folder beside it, which is renamed when it is complete.

    Parameters
    ----------
    uri : str
        Absolute path of a folder that all machines share, or a URI that pyarrow can open, such as `hdfs://host/folder`.
    content : str
        Content of the files; an existing folder with other files is not replaced.
    token : str
        Text that distinguishes this run from others.
    """

    uri: str
    content: str
    token: str = field(default_factory=lambda: uuid4().hex[:12])

    @classmethod
    def of(cls, address: str, content: str) -> ParquetFolder:
        """Return the folder at a path or URI; the target of a symbolic link is replaced.

        Parameters
        ----------
        address : str
            Path or URI.
        content : str
            Content of the files.

        Returns
        -------
        ParquetFolder
        """
        if "://" not in address:
            path = Path(address).absolute()
            address = str(path.resolve() if path.is_symlink() else path)
        return cls(address, content)

    @cached_property
    def _location(self) -> tuple[Any, str]:
        """File system of pyarrow, and the path of the folder in it."""
        from pyarrow import fs

        if "://" not in self.uri:
            return fs.LocalFileSystem(), self.uri
        with _output_errors(self.uri):
            system, path = fs.FileSystem.from_uri(self.uri)
        return system, path.rstrip("/")

    def _sibling(self, suffix: str) -> str:
        parent, _, name = self._location[1].rpartition("/")
        return f"{parent}/.{name}.{self.token}.{suffix}"

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Prepare the hidden folder for a new result, and delete what is left of it at the end.

        Raises
        ------
        ClusterError
            If the folder exists and contains anything but an earlier result, or cannot be written.
        """
        self.require_replaceable()
        system, new = self._location[0], self._sibling("new")
        with _output_errors(self.uri):
            system.create_dir(new, recursive=True)
        try:
            yield
        finally:
            for _ in range(3):  # a task that is being canceled may still write to it
                with suppress(OSError):
                    system.delete_dir(new)
                    break

    def require_replaceable(self) -> None:
        """Check that the folder does not exist, is empty, or contains an earlier result.

        Raises
        ------
        ClusterError
            If it contains anything else.
        """
        from pyarrow import fs

        system, path = self._location
        with _output_errors(self.uri):
            info = system.get_file_info(path)
            if info.type == fs.FileType.NotFound:
                return
            if info.type != fs.FileType.Directory or not self._is_result():
                raise ClusterError(
                    f"{self.uri} exists and contains no {self.content}; delete it first or choose another folder"
                )

    def _is_result(self) -> bool:
        """Return whether the folder is empty or contains an earlier result."""
        import pyarrow as pa
        from pyarrow import fs, parquet

        system, path = self._location
        infos = system.get_file_info(fs.FileSelector(path))
        if not all(re.fullmatch(r"part-\d+\.parquet", info.base_name) for info in infos):
            return False
        try:
            schemas = [parquet.read_schema(info.path, filesystem=system) for info in infos[:1]]
        except pa.ArrowInvalid:
            return False
        return all((schema.metadata or {}).get(CONTENT_KEY) == self.content.encode() for schema in schemas)

    def write_part(self, number: int, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
        """Write one file of the new result; a task that runs again writes the same file.

        Parameters
        ----------
        number : int
            Number of the file.
        schema : pyarrow.Schema
            Columns of the tables.
        tables : iterable of pyarrow.Table
            Rows of the file.

        Returns
        -------
        int
            Number of rows.

        Raises
        ------
        ClusterError
            If the file cannot be written.
        """
        from pyarrow import parquet

        system, _ = self._location
        folder, n = self._sibling("new"), 0
        temporary = f"{folder}/.{number:05}.{uuid4().hex}"
        schema = schema.with_metadata({CONTENT_KEY: self.content.encode()})
        with _output_errors(self.uri):
            with parquet.ParquetWriter(temporary, schema, filesystem=system) as writer:
                for table in tables:
                    writer.write_table(table.replace_schema_metadata(schema.metadata))
                    n += len(table)
            if system.type_name == "local":
                with Path(temporary).open("rb") as file:
                    os.fsync(file.fileno())
            system.move(temporary, f"{folder}/{_part_name(number)}")
        return n

    def publish(self, rows: list[int]) -> None:
        """Replace the folder by the new result.

        Parameters
        ----------
        rows : list of int
            Number of rows that the tasks wrote to each file.

        Raises
        ------
        ClusterError
            If a file is missing or incomplete; the earlier result is then unchanged.
        """
        from pyarrow import fs, parquet

        system, path = self._location
        new, old = self._sibling("new"), self._sibling("old")
        with _output_errors(self.uri):
            names = {info.base_name: info.path for info in system.get_file_info(fs.FileSelector(new))}
            parts = [_part_name(number) for number in range(len(rows))]
            for name, n in zip(parts, rows, strict=True):
                if name not in names or parquet.read_metadata(names[name], filesystem=system).num_rows != n:
                    raise ClusterError(
                        f"files of the executors are missing: {self.uri} must be in a folder that all machines share"
                    )
            for name in names.keys() - set(parts):  # of tasks that were killed
                system.delete_file(names[name])
            existed = system.get_file_info(path).type != fs.FileType.NotFound
            if existed:
                system.move(path, old)
            try:
                system.move(new, path)
            except BaseException:
                if existed:
                    system.move(old, path)
                raise
            with suppress(OSError):
                system.delete_dir(old)


def _part_name(number: int) -> str:
    return f"part-{number:05}.parquet"


@contextmanager
def _output_errors(uri: str) -> Iterator[None]:
    """Turn errors of a file system into ClusterError."""
    try:
        yield
    except FileNotFoundError as error:
        raise ClusterError(f"{uri} cannot be written: it must be in a folder that all machines share") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # the messages of pyarrow have several sentences
        raise ClusterError(f"{uri} cannot be written: {reason}") from error


@dataclass(frozen=True)
class DatabaseTable:
    """Table of a database that is replaced in one transaction.

    The rows are written to a staging table first. They are then moved to the table in one transaction, which keeps its
    indexes and permissions.

    Parameters
    ----------
    spark : SparkSession
        The session.
    url : str
        JDBC URL.
    table : str
        Name of the table, with its schema if needed. It is created if it does not exist.
    properties : mapping of str to str
        Properties of the connection, such as `user`, `password` and `driver`.
    """

    spark: SparkSession
    url: str
    table: str
    properties: Mapping[str, str]

    def __post_init__(self) -> None:
        if not TABLE_NAME.fullmatch(self.table):
            raise ParameterError(f"table must be the name of a table, such as schema.table; got {self.table!r}")

    def replace(self, frame: DataFrame) -> int:
        """Replace the rows of the table by those of a frame.

        Parameters
        ----------
        frame : DataFrame
            New rows.

        Returns
        -------
        int
            Number of rows.

        Raises
        ------
        ClusterError
            If the table has other columns, or if the database fails; the earlier rows are then unchanged.
        """
        from pyspark.sql import Observation, functions

        with self._connection() as connection:
            existing = _columns(connection, self.table)
        if existing is not None and set(existing) != set(frame.columns):
            raise ClusterError(
                f"the table {self.table} has other columns ({', '.join(existing)}) and is not replaced; choose another "
                "table"
            )
        staging, observation, is_new = self._staging_name(), Observation("written"), False
        try:
            self._write(frame.observe(observation, functions.count(functions.lit(1)).alias("rows")), staging)
            n = int(observation.get["rows"])
            if existing is None:
                self._write(frame.limit(0), self.table)
                is_new = True
            with self._connection() as connection:
                self._move(connection, staging, frame.columns, n)
        except BaseException:
            with suppress(Exception):
                self._drop(staging)
                if is_new:
                    self._drop(self.table)
            raise
        self._drop(staging)
        return n

    def _write(self, frame: DataFrame, table: str) -> None:
        frame.write.jdbc(self.url, table, mode="error", properties=dict(self.properties))

    def _staging_name(self) -> str:
        suffix, last = f"_{uuid4().hex[:12]}", self.table[-1]
        return self.table[:-1] + suffix + last if last in '"`]' else self.table + suffix

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Open a connection in the way of Spark, with a transaction that is rolled back unless it is committed."""
        jvm = self.spark.sparkContext._jvm
        assert jvm is not None
        properties = jvm.PythonUtils.toScalaMap(dict(self.properties))
        options = jvm.org.apache.spark.sql.execution.datasources.jdbc.JDBCOptions(self.url, self.table, properties)
        connection = self._dialect().createConnectionFactory(options).apply(-1)
        try:
            connection.setAutoCommit(False)
            yield connection
        finally:
            connection.rollback()
            connection.close()

    def _dialect(self) -> Any:
        jvm = self.spark.sparkContext._jvm
        assert jvm is not None
        return jvm.org.apache.spark.sql.jdbc.JdbcDialects.get(self.url)

    def _move(self, connection: Any, staging: str, columns: list[str], n: int) -> None:
        """Replace the rows of the table by those of the staging table in one transaction."""
        if not connection.getMetaData().supportsTransactions():
            raise ClusterError(f"the database of {self.table} has no transactions, so that it cannot replace a table")
        names = ", ".join(self._dialect().quoteIdentifier(name) for name in columns)
        statement = connection.createStatement()
        count = statement.executeQuery(f"SELECT COUNT(*) FROM {staging}")
        count.next()
        if (n_staged := count.getLong(1)) != n:
            raise ClusterError(f"a task wrote its rows twice ({n_staged:,} instead of {n:,} rows); run the job again")
        statement.executeUpdate(f"DELETE FROM {self.table}")
        statement.executeUpdate(f"INSERT INTO {self.table} ({names}) SELECT {names} FROM {staging}")
        connection.commit()

    def _drop(self, table: str) -> None:
        with self._connection() as connection:
            if _columns(connection, table) is not None:
                connection.createStatement().executeUpdate(f"DROP TABLE {table}")
                connection.commit()


def _columns(connection: Any, table: str) -> list[str] | None:
    """Return the names of the columns of a table; None if it does not exist."""
    from py4j.protocol import Py4JJavaError

    statement = connection.createStatement()
    try:
        names = statement.executeQuery(f"SELECT * FROM {table} WHERE 1 = 0").getMetaData()
        return [names.getColumnName(number) for number in range(1, names.getColumnCount() + 1)]
    except Py4JJavaError:
        connection.rollback()
        return None
    finally:
        statement.close()
