"""Blocks: number the IDs of a table, and store its rows by user and by item in blocks of users and of items.

Users and items get the same row numbers as in `Interactions`: the positions of their IDs in ascending order. Row r is
in block r % n_blocks at position r // n_blocks, so that popular items, which often have similar IDs, are in different
blocks. Each block is one file in the work folder, with the rows of its users (or items) as lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cofactor.arrays import Counts, Float64, Int32, row_starts, signed_confidence
from cofactor.cluster.storage import WorkFolder
from cofactor.data.interactions import Kind, sorted_and_merged
from cofactor.data.scale import MAX_LEVELS
from cofactor.errors import DataError
from cofactor.kernels.sparse import SparseRows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "SIDES",
    "Layout",
    "Totals",
    "block_rows",
    "number_ids",
    "pack",
    "read_rows",
    "run_on_blocks",
    "unpacked_rows",
]

SIDES = {"user": "item", "item": "user"}
"""The two sides of a table, each with the other one."""

MIN_ROWS_PER_BLOCK, MAX_ROWS_PER_BLOCK = 100_000, 4_000_000
"""Numbers of rows of the table in a block: fewer do not pay for a task, and more need too much memory."""

BLOCKS_PER_CORE = 4
"""Number of blocks for each core, so that all cores finish at about the same time."""


@dataclass(frozen=True)
class Layout:
    """Sizes of a table and its number of blocks.

    Parameters
    ----------
    kind : {"ratings", "events"}
        Kind of the table that is trained on.
    n_users, n_items : int
        Number of IDs.
    n_blocks : int
        Number of blocks of users, and of items.
    min_rating : float or None, default None
        Lowest rating that becomes an event; None if the source has the kind of the table.
    """

    kind: Kind
    n_users: int
    n_items: int
    n_blocks: int
    min_rating: float | None = None

    def n(self, side: str) -> int:
        """Return the number of users or of items.

        Parameters
        ----------
        side : {"user", "item"}
            Which.

        Returns
        -------
        int
        """
        return self.n_users if side == "user" else self.n_items


@dataclass
class Totals:
    """Sums over the rows of a table, from which the loss and the standardization follow.

    Attributes
    ----------
    rows, duplicates : int
        Number of rows, and the number of rows of the source that were merged with another one.
    with_weight : int
        Number of rows with a nonzero confidence or weight.
    users, items : int
        Number of users and items with such a row.
    confidence : float
        Sum of the magnitudes of the confidences.
    item_squares : float
        Sum over the items of the square of the number of rows with a nonzero confidence.
    weight, mean, squares : float
        Sum of the weights, weighted mean of the values, and weighted sum of the squared deviations from it.
    values : list of float
        Distinct values; more than `MAX_LEVELS` of them only represent the range.
    weighted : bool
        Whether the table has weights.
    """

    rows: int = 0
    duplicates: int = 0
    with_weight: int = 0
    users: int = 0
    items: int = 0
    confidence: float = 0.0
    item_squares: float = 0.0
    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    values: list[float] | None = None
    weighted: bool = False

    def add(self, other: Totals) -> None:
        """Add the sums of another part of the table.

        Parameters
        ----------
        other : Totals
            Sums of the other part.

        Notes
        -----
        Means and squared deviations are combined as in Chan, Golub & LeVeque 1983, "Algorithms for computing the sample
        variance", equation 2.1.
        """
        weight = self.weight + other.weight
        if weight > 0:
            difference = other.mean - self.mean
            self.squares += other.squares + difference**2 * self.weight * other.weight / weight
            self.mean += difference * other.weight / weight
        self.weight = weight
        for name in ("rows", "duplicates", "with_weight", "users", "items", "confidence", "item_squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.values = _distinct([*(self.values or []), *(other.values or [])])
        self.weighted |= other.weighted

    @classmethod
    def of(cls, texts: list[str]) -> Totals:
        """Return the sums of the parts that tasks reported.

        Parameters
        ----------
        texts : list of str
            One JSON object for each part.

        Returns
        -------
        Totals
        """
        total = cls()
        for text in texts:
            total.add(cls(**json.loads(text)))
        return total


def _distinct(values: list[float]) -> list[float]:
    """Return the sorted distinct values; the first ones and the last one if there are too many for levels."""
    distinct = sorted(set(values))
    return distinct if len(distinct) <= MAX_LEVELS + 1 else [*distinct[:MAX_LEVELS], distinct[-1]]


def number_ids(frame: DataFrame, side: str, folder: WorkFolder) -> tuple[DataFrame, int]:
    """Number the distinct IDs of a column in ascending order, and store them in the work folder.

    Parameters
    ----------
    frame : DataFrame
        Rows with the column `side`.
    side : {"user", "item"}
        Name of the column.
    folder : WorkFolder
        Folder; the IDs are written to `ids-{side}`, in files whose order is that of the IDs.

    Returns
    -------
    DataFrame
        Columns `side` (the ID) and `{side}_row` (int).
    int
        Number of distinct IDs.
    """
    import pyarrow as pa
    from pyspark.sql import functions as sf

    ids = frame.select(side).distinct().orderBy(side).persist()
    sizes = {row[0]: row[1] for row in ids.groupBy(sf.spark_partition_id()).count().collect()}
    starts, n = {}, 0
    for partition in sorted(sizes):
        starts[partition] = n
        n += sizes[partition]
    if n > np.iinfo(np.int32).max:
        raise DataError(f"there are {n:,} {side}s; at most {np.iinfo(np.int32).max:,} are possible")

    def number(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        parts = list(batches)
        if not sum(part.num_rows for part in parts):
            return
        first = starts[context.partitionId()]
        table = pa.Table.from_batches(parts)
        rows = pa.array(np.arange(first, first + len(table), dtype=np.int32))
        table = table.append_column(f"{side}_row", rows)
        folder.write(f"ids-{side}/{context.partitionId():06}.arrow", table.select([side]))
        yield from table.to_batches()

    type_ = dict(frame.dtypes)[side]
    numbered = ids.mapInArrow(number, f"{side} {type_}, {side}_row int").persist()
    numbered.count()
    ids.unpersist()
    return numbered, n


def pack(frame: DataFrame, layout: Layout, folder: WorkFolder, counts: Counts) -> Totals:
    """Store the rows of a table in blocks of users and in blocks of items.

    Duplicates are merged as in `Interactions.from_columns`: the latest rating is kept, and events are summed.

    Parameters
    ----------
    frame : DataFrame
        Columns user_row, item_row, value, time, weight and order.
    layout : Layout
        Sizes of the table.
    folder : WorkFolder
        Folder; the blocks are written to `user-rows` and `item-rows`, and ratings below `min_rating` to `seen`.
    counts : {"log", "binary", "raw"}
        Transformation of the values of events for the sums.

    Returns
    -------
    Totals
        Sums over the table.
    """
    from pyspark.sql import functions as sf

    n_blocks = layout.n_blocks
    blocks = frame.withColumn("block", sf.col("user_row") % n_blocks).repartitionById(n_blocks, "block")
    by_user = blocks.mapInArrow(_packer("user", layout, folder, counts), "totals string")
    totals = Totals.of([row[0] for row in by_user.collect()])
    if totals.rows == 0:
        raise DataError(f"no rating is at or above min_rating={layout.min_rating:g}")
    rows = unpacked_rows(frame.sparkSession, layout, folder)
    by_item = rows.repartitionById(n_blocks, "block").mapInArrow(
        _packer("item", layout, folder, counts), "totals string"
    )
    items = Totals.of([row[0] for row in by_item.collect()])
    totals.items, totals.item_squares = items.items, items.item_squares
    return totals


def _packer(side: str, layout: Layout, folder: WorkFolder, counts: Counts) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function of a task that writes the blocks of its rows, and returns their sums."""

    def run(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        parts = [part for part in batches if part.num_rows]
        if not parts:
            return
        table = pa.Table.from_batches(parts)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        block_of_row = columns["block"].to_numpy(zero_copy_only=False)
        for block in np.unique(block_of_row).tolist():
            chosen = np.flatnonzero(block_of_row == block)
            yield pa.RecordBatch.from_pydict(
                {"totals": [_write_block(side, block, columns, chosen, layout, folder, counts)]}
            )

    return run


def _write_block(
    side: str, block: int, columns: dict[str, Any], chosen: Any, layout: Layout, folder: WorkFolder, counts: Counts
) -> str:
    """Write one block, and return its sums as JSON."""
    arrays = {name: column.take(chosen) for name, column in columns.items() if name != "block"}
    u, i = (np.ascontiguousarray(arrays[f"{name}_row"].to_numpy(zero_copy_only=False), np.int32) for name in SIDES)
    columns_of_rows: dict[str, Any] = {"u": u, "i": i, "values": arrays["value"].to_numpy(zero_copy_only=False)}
    if arrays["weight"].null_count < len(chosen):
        columns_of_rows["weights"] = arrays["weight"].to_numpy(zero_copy_only=False).astype(np.float32)
    if side == "item":
        order = np.lexsort((u, i))
        merged = {name: column[order] for name, column in columns_of_rows.items()}
        rows = _sparse(merged["i"], merged["u"], merged, block, layout, "item")
        folder.write(f"item-rows/{block:06}.arrow", _as_table(rows))
        return json.dumps(asdict(_item_totals(rows, layout, counts)))
    if arrays["time"].null_count < len(chosen):
        columns_of_rows["times"] = np.floor(arrays["time"].to_numpy(zero_copy_only=False)).astype(np.int64)
    order = np.argsort(arrays["order"].to_numpy(zero_copy_only=False), kind="stable")
    source_kind: Kind = layout.kind if layout.min_rating is None else "ratings"
    in_order = {name: column[order] for name, column in columns_of_rows.items()}
    merged = sorted_and_merged(in_order, layout.n_users, layout.n_items, source_kind)
    merged.pop("times", None)
    n_duplicates = len(chosen) - len(merged["u"])
    if layout.min_rating is not None:
        is_event = merged["values"] >= layout.min_rating
        lower = {name: column[~is_event] for name, column in merged.items()}
        folder.write(f"seen/{block:06}.arrow", _as_table(_sparse(lower["u"], lower["i"], lower, block, layout, "user")))
        merged = {name: column[is_event] for name, column in merged.items()}
        merged["values"] = np.ones(len(merged["u"]), np.float32)
    rows = _sparse(merged["u"], merged["i"], merged, block, layout, "user")
    folder.write(f"user-rows/{block:06}.arrow", _as_table(rows))
    return json.dumps(asdict(_user_totals(rows, n_duplicates, layout, counts)))


def _sparse(rows: Int32, others: Int32, columns: dict[str, Any], block: int, layout: Layout, side: str) -> SparseRows:
    """Return the rows of one block from sorted entries."""
    n = len(block_rows(block, layout.n(side), layout.n_blocks))
    weights = columns.get("weights")
    return SparseRows(
        row_starts(np.bincount(rows // layout.n_blocks, minlength=n)),
        np.ascontiguousarray(others, np.int32),
        np.ascontiguousarray(columns["values"], np.float32),
        None if weights is None else np.ascontiguousarray(weights, np.float32),
    )


def _user_totals(rows: SparseRows, n_duplicates: int, layout: Layout, counts: Counts) -> Totals:
    totals = Totals(rows=len(rows.columns), duplicates=n_duplicates, weighted=rows.weights is not None)
    if layout.kind == "events":
        confidence = signed_confidence(rows.values, rows.weights, counts)
        totals.confidence = float(np.abs(confidence).sum(dtype=np.float64))
    else:
        confidence = np.ones(len(rows.values), np.float32) if rows.weights is None else rows.weights
        values, weights = rows.values.astype(np.float64), confidence.astype(np.float64)
        totals.weight = float(weights.sum())
        totals.mean = float(weights @ values) / totals.weight if totals.weight else 0.0
        totals.squares = float(weights @ (values - totals.mean) ** 2)
        totals.values = _distinct(np.unique(rows.values).astype(float).tolist())
    totals.with_weight = int(np.count_nonzero(confidence))
    totals.users = len(np.unique(rows.owners[confidence != 0]))
    return totals


def _item_totals(rows: SparseRows, layout: Layout, counts: Counts) -> Totals:
    if layout.kind == "events":
        confidence = signed_confidence(rows.values, rows.weights, counts)
    else:
        confidence = np.ones(len(rows.values), np.float32) if rows.weights is None else rows.weights
    support: Float64 = np.bincount(rows.owners[confidence != 0]).astype(np.float64)
    return Totals(items=int(np.count_nonzero(support)), item_squares=float(support @ support))


def unpacked_rows(spark: SparkSession, layout: Layout, folder: WorkFolder) -> DataFrame:
    """Return the rows of a table from its blocks of users.

    Parameters
    ----------
    spark : SparkSession
        The session.
    layout : Layout
        Sizes of the table.
    folder : WorkFolder
        Folder of the blocks.

    Returns
    -------
    DataFrame
        Columns user_row, item_row (int), value, weight (float; null without weights) and block (int, of the item).
    """
    return spark.range(0, layout.n_blocks, 1, layout.n_blocks).mapInArrow(
        _unpacker(layout, folder), "user_row int, item_row int, value float, weight float, block int"
    )


def _unpacker(layout: Layout, folder: WorkFolder) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function of a task that reads blocks of users, and returns their entries."""

    def run(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        for batch in batches:
            for block in batch.column(0).to_pylist():
                rows = read_rows(folder, "user-rows", block, layout, "user")
                owners = block_rows(block, layout.n_users, layout.n_blocks)[rows.owners]
                for first in range(0, len(owners), 1 << 20):
                    part = slice(first, first + (1 << 20))
                    columns = rows.columns[part]
                    weights = None if rows.weights is None else rows.weights[part]
                    yield pa.RecordBatch.from_pydict({
                        "user_row": pa.array(owners[part], pa.int32()),
                        "item_row": pa.array(columns, pa.int32()),
                        "value": pa.array(rows.values[part], pa.float32()),
                        "weight": pa.nulls(len(columns), pa.float32()) if weights is None else pa.array(weights),
                        "block": pa.array(columns % layout.n_blocks, pa.int32()),
                    })  # fmt: skip

    return run


def block_rows(block: int, n: int, n_blocks: int) -> Int32:
    """Return the row numbers of a block.

    Parameters
    ----------
    block : int
        Number of the block.
    n : int
        Number of users or items.
    n_blocks : int
        Number of blocks.

    Returns
    -------
    ndarray of shape (m,), int32

    Examples
    --------
    >>> block_rows(1, n=8, n_blocks=3).tolist()
    [1, 4, 7]
    """
    return np.arange(block, n, n_blocks, dtype=np.int32)


def _as_table(rows: SparseRows) -> Any:
    """Return sparse rows as an Arrow table with one list for each row."""
    import pyarrow as pa

    parts = {"columns": rows.columns, "values": rows.values, "weights": rows.weights}
    start = pa.array(rows.start, pa.int64())
    return pa.table({
        name: pa.LargeListArray.from_arrays(start, pa.array(part)) for name, part in parts.items() if part is not None
    })  # fmt: skip


def read_rows(folder: WorkFolder, name: str, block: int, layout: Layout, side: str) -> SparseRows:
    """Read the rows of one block; they are empty if no row of the block has entries.

    Parameters
    ----------
    folder : WorkFolder
        Folder of the blocks.
    name : {"user-rows", "item-rows", "seen"}
        Which rows.
    block : int
        Number of the block.
    layout : Layout
        Sizes of the table.
    side : {"user", "item"}
        What the rows are.

    Returns
    -------
    SparseRows
        One row for each user or item of the block.
    """
    try:
        table = folder.read(f"{name}/{block:06}.arrow")
    except FileNotFoundError:
        return SparseRows.empty(len(block_rows(block, layout.n(side), layout.n_blocks)))
    arrays = {column: table[column].combine_chunks() for column in table.column_names}
    flat = {column: array.values.to_numpy(zero_copy_only=True) for column, array in arrays.items()}
    start = np.ascontiguousarray(arrays["columns"].offsets.to_numpy(), np.int64)
    return SparseRows(start, flat["columns"], flat["values"], flat.get("weights"))


def run_on_blocks(spark: SparkSession, n_blocks: int, task: Callable[[int], float]) -> list[float]:
    """Run a function for each block in the tasks of one Spark job.

    Parameters
    ----------
    spark : SparkSession
        The session.
    n_blocks : int
        Number of blocks.
    task : callable
        Function of the number of a block. It may be called again for a block whose task is lost.

    Returns
    -------
    list of float
        Return values in the order of the blocks.
    """

    def run(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        for batch in batches:
            for block in batch.column(0).to_pylist():
                yield pa.RecordBatch.from_pydict({"block": [block], "result": [float(task(block))]})

    results = spark.range(0, n_blocks, 1, n_blocks).mapInArrow(run, "block bigint, result double").collect()
    return [row["result"] for row in sorted(results, key=lambda row: row["block"])]
