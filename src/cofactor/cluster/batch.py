"""Batch jobs on Apache Spark: recommend items to all users, and audit the exposure of the items in their lists.

The tasks load the artifact and rank with the functions that `Recommender.recommend` uses, so the lists are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Int32
from cofactor.audit.concentration import Exposure, exposure_of_lists
from cofactor.cluster.blocks import run_on_blocks
from cofactor.cluster.model_file import ModelFile, sent_model
from cofactor.cluster.output import COLUMN_TYPES, DatabaseTable, ParquetFolder, arrow_schema, check_output, write_frame
from cofactor.cluster.session import LOCAL_MASTER, spark_session
from cofactor.data.features import indicators
from cofactor.data.id_columns import Id
from cofactor.metrics.catalog import exposure as item_exposure
from cofactor.recommender.recommender import Recommender
from cofactor.recommender.users import ListOptions
from cofactor.validation import validated

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

__all__ = ["BatchLists", "exposure", "number_of_tasks", "recommend_all"]

BLOCK_USERS = 4096
"""Maximum number of users for whom a task ranks items at once."""

BLOCK_ROWS = 2**19
"""Maximum number of recommended items that a task holds at once, unless the list of one user is longer."""

PART_USERS = 100_000
"""Maximum number of users of one task by default, and thus of one file."""

CONTENT = "recommendations"

EXPOSURE_CONTENT = "exposure of items"


@dataclass(frozen=True)
class BatchLists:
    """Result of `recommend_all`.

    Attributes
    ----------
    output : str
        Folder or JDBC URL with the lists.
    users : int
        Number of users for whom items were ranked.
    rows : int
        Number of recommended items in all lists.

    Examples
    --------
    >>> result = BatchLists("lists", users=2, rows=20)
    >>> result.rows / result.users
    10.0
    """

    output: str
    users: int
    rows: int


@validated
def recommend_all(
    model: str | Path,
    output: str | Path,
    *,
    n: int = 10,
    users: Iterable[Id] | None = None,
    table: str | None = None,
    properties: Mapping[str, str] | None = None,
    partitions: int | None = None,
    master: str = LOCAL_MASTER,
    settings: Mapping[str, str] | None = None,
    **options: Unpack[ListOptions],
) -> BatchLists:
    """Recommend the top n items to all users of a model on Apache Spark.

    The lists are those of `Recommender.recommend`. An earlier result is replaced only by a complete new one, and the
    same model and arguments give the same rows.

    Parameters
    ----------
    model : str or Path
        Path of the model file on this machine; Spark sends it to its executors.
    output : str or Path
        Folder for Parquet files, which all machines must be able to write to, or a JDBC URL together with `table`.
    n : int, default 10
        Length of each list.
    users : iterable of IDs, optional
        Known users; by default all users of the model.
    table : str, optional
        Table of the database, with its schema if needed. It is created if it does not exist.
    properties : mapping of str to str, optional
        Properties of the connection to the database, such as `user`, `password` and `driver`.
    partitions : int, optional
        Number of tasks, and of Parquet files; by default, at most 100,000 users for each.
    master : str, optional
        Master URL, such as `spark://HOST:7077`; by default, all cores of this machine. Not used if this process has an
        active Spark session.
    settings : mapping of str to str, optional
        Settings of Spark, such as `{"spark.executor.memory": "8g"}`.
    **options : Any
        Keyword arguments of `Recommender.recommend`: `exclude_seen`, `candidates`, `exclude`, `min_support`, `where`,
        `rank_by` and `diversity`.

    Returns
    -------
    BatchLists
        Numbers of users and rows. The columns of the output are those of `Recommender.recommend`.

    Raises
    ------
    MissingExtraError
        If PySpark is not installed.
    ArtifactError
        If the model file is missing or damaged.
    ClusterError
        If Spark fails, or if the output exists and is not an earlier result.
    UnknownIdError
        If a user or a candidate is unknown.
    KindError
        If the model does not support this kind of ranking.
    ParameterError
        If an argument is invalid.

    Notes
    -----
    Parquet files are written to a hidden folder beside `output`, which is renamed at the end. The rows of a database
    table are written to a staging table first, and are moved to the table in one transaction.

    Examples
    --------
    >>> from cofactor import cluster
    >>> cluster.recommend_all("films.cofactor", "/shared/lists", master="spark://host:7077")  # doctest: +SKIP
    BatchLists(output='/shared/lists', users=943, rows=9430)
    """
    path, address = checks.path("model", model), str(output)
    check_output(address, table)
    recommender = Recommender.load(path)
    n = checks.whole_number("n", n, low=1)
    partitions = None if partitions is None else checks.whole_number("partitions", partitions, low=1)
    rows = None if users is None else recommender.user_rows(users)
    n_users = len(recommender.users) if rows is None else len(rows)
    for name in ("candidates", "exclude"):
        if options.get(name) is not None:
            options[name] = list(options[name])  # type: ignore[arg-type]
    example = recommender.for_rows(np.arange(1, dtype=np.int32)).recommend(n, **options)
    with spark_session(master, settings=dict(settings or {})) as spark, sent_model(spark, path) as file:
        n_parts = number_of_tasks(spark, n_users, partitions)
        lists = _Lists(file, rows, n_users, n_parts, n, options, arrow_schema(example))
        if table is not None:
            n_rows = DatabaseTable(spark, address, table, properties or {}).replace(lists.frame(spark))
        else:
            n_rows = lists.write(spark, ParquetFolder.of(address, CONTENT))
    return BatchLists(address, n_users, n_rows)


@validated
def exposure(
    model: str | Path,
    *,
    n: int = 10,
    column: str | None = None,
    output: str | Path | None = None,
    table: str | None = None,
    properties: Mapping[str, str] | None = None,
    partitions: int | None = None,
    master: str = LOCAL_MASTER,
    settings: Mapping[str, str] | None = None,
) -> Exposure:
    """Audit how the top n unseen items for each user distribute exposure, with lists that are ranked on Apache Spark.

    The result is that of `cofactor.audit.exposure`.

    Parameters
    ----------
    model : str or Path
        Path of the model file on this machine; Spark sends it to its executors.
    n : int, default 10
        Length of each user's list.
    column : str, optional
        Column of the item table with genres.
    output : str or Path, optional
        Folder for a Parquet file, or a JDBC URL together with `table`, to which the exposure of each item is written:
        columns item, lists (number of lists that contain it) and support.
    table, properties : optional
        Table of the database and properties of the connection, as in `recommend_all`.
    partitions : int, optional
        Number of tasks; by default, at most 100,000 users for each.
    master : str, optional
        Master URL, such as `spark://HOST:7077`; by default, all cores of this machine. Not used if this process has an
        active Spark session.
    settings : mapping of str to str, optional
        Settings of Spark, such as `{"spark.executor.memory": "8g"}`.

    Returns
    -------
    Exposure
        Concentration, coverage, popularity and genre shares, with intervals.

    Raises
    ------
    MissingExtraError
        If PySpark is not installed.
    ArtifactError
        If the model file is missing or damaged.
    ClusterError
        If Spark fails, or if the output exists and is not an earlier result.
    DataError
        If the item table has no such column.
    ParameterError
        If an argument is invalid.

    Notes
    -----
    The tasks return 4 n bytes for each user to this process, which computes the measures.

    Examples
    --------
    >>> from cofactor import cluster
    >>> cluster.exposure("films.cofactor", n=10, master="local[2]").coverage  # doctest: +SKIP
    0.27
    """
    path, n = checks.path("model", model), checks.whole_number("n", n, low=1)
    if output is not None or table is not None:
        check_output(str(output), table)
    recommender = Recommender.load(path)
    partitions = None if partitions is None else checks.whole_number("partitions", partitions, low=1)
    if column is not None:
        indicators(recommender.item_table, [column], "item")
    n_users = len(recommender.users)
    rows = np.full((n_users, min(n, len(recommender.items))), -1, np.int32)
    with spark_session(master, settings=dict(settings or {})) as spark, sent_model(spark, path) as file:
        if output is not None and table is None:
            ParquetFolder.of(str(output), EXPOSURE_CONTENT).require_replaceable()
        n_parts = number_of_tasks(spark, n_users, partitions)
        ranked = spark.range(0, n_parts, 1, n_parts).mapInArrow(
            _ranker(file, n_users, n_parts, n), "first bigint, rows binary"
        )
        for first, block in ranked.collect():
            part = np.frombuffer(block, np.int32).reshape(-1, rows.shape[1])
            rows[first : first + len(part)] = part
        if output is not None:
            lists = item_exposure(rows, len(recommender.items))
            frame = pl.DataFrame({"item": recommender.items.all, "lists": lists, "support": recommender.support})
            write_frame(spark, frame, str(output), EXPOSURE_CONTENT, table=table, properties=properties)
    return exposure_of_lists(recommender, rows, column=column)


@dataclass(frozen=True, eq=False)
class _Lists:
    """Ranked lists of users, which tasks compute part by part."""

    file: ModelFile
    rows: Int32 | None
    n_users: int
    n_parts: int
    n: int
    options: ListOptions
    schema: Any

    def tables(self, part: int) -> Iterator[pa.Table]:
        """Yield the lists of one part in a task."""
        recommender = self.file.load()
        for start, stop in _user_blocks(self.n_users, self.n_parts, part, self.n):
            rows = np.arange(start, stop, dtype=np.int32) if self.rows is None else self.rows[start:stop]
            yield recommender.for_rows(rows).recommend(self.n, **self.options).to_arrow().cast(self.schema)

    def frame(self, spark: SparkSession) -> Any:
        """Return the lists as a data frame of Spark."""

        def rank(batches: Iterator[Any]) -> Iterator[Any]:
            for batch in batches:
                for part in batch.column(0).to_pylist():
                    for table in self.tables(part):
                        yield from table.to_batches()

        columns = ", ".join(f"`{field.name}` {COLUMN_TYPES[str(field.type)]}" for field in self.schema)
        return spark.range(0, self.n_parts, 1, self.n_parts).mapInArrow(rank, columns)

    def write(self, spark: SparkSession, folder: ParquetFolder) -> int:
        """Write the lists to a folder, and return the number of rows."""
        with folder.replacing():
            counts = run_on_blocks(
                spark, self.n_parts, lambda part: folder.write_part(part, self.schema, self.tables(part))
            )
            folder.publish([int(count) for count in counts])
        return int(sum(counts))


def _ranker(file: ModelFile, n_users: int, n_parts: int, n: int) -> Any:
    """Return the function of the tasks that rank items without converting them to IDs."""

    def rank(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        for batch in batches:
            for part in batch.column(0).to_pylist():
                recommender = file.load()
                for start, stop in _user_blocks(n_users, n_parts, part, n):
                    rows, _ = recommender.for_rows(np.arange(start, stop, dtype=np.int32)).rank(n)
                    yield pa.RecordBatch.from_pydict({"first": [start], "rows": [rows.tobytes()]})

    return rank


def _user_blocks(n_users: int, n_parts: int, part: int, n: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the last row + 1 of each block of users in a part, for lists of n items."""
    first, end = n_users * part // n_parts, n_users * (part + 1) // n_parts
    size = max(1, min(BLOCK_USERS, BLOCK_ROWS // n))
    for start in range(first, end, size):
        yield start, min(start + size, end)


def number_of_tasks(spark: SparkSession, n_users: int, partitions: int | None) -> int:
    """Return the number of tasks of a job over all users.

    Parameters
    ----------
    spark : SparkSession
        The session.
    n_users : int
        Number of users.
    partitions : int or None
        Number of tasks, if it was given.

    Returns
    -------
    int
        By default, the number of cores, or more if a task would have more than 100,000 users.
    """
    return partitions or max(spark.sparkContext.defaultParallelism, -(-n_users // PART_USERS))
