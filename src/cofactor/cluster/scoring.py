"""Scores on Apache Spark: evaluate a fitted model on held-out rows, which tasks rank or predict user by user."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32, read_only
from cofactor.cluster.batch import number_of_tasks
from cofactor.cluster.model_file import ModelFile, sent_model
from cofactor.cluster.output import ParquetFolder, check_output, write_frame
from cofactor.cluster.session import LOCAL_MASTER, spark_session
from cofactor.cluster.source import Source, read_source
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import KindError, UnknownIdError
from cofactor.evaluate.evaluation import Score
from cofactor.evaluate.leakage import require_no_history_pairs
from cofactor.evaluate.split import Exclude
from cofactor.evaluate.user_values import (
    ListValues,
    list_fields,
    prediction_errors,
    rating_fields,
    rating_values,
    relevant_lists,
)
from cofactor.metrics.base import UserValues
from cofactor.metrics.ranking import RankingMetric
from cofactor.metrics.rating import RATING_METRICS
from cofactor.metrics.registry import METRICS
from cofactor.models.paired import PairedModel
from cofactor.recommender.recommender import Recommender
from cofactor.validation import validated

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["score"]

CONTENT = "scores of users"

ERRORS, LISTS, ITEMS = range(3)
"""Parts of the result of a task: errors of users, metrics of the lists of users, and exposure of items."""


@validated
def score(
    model: str | Path,
    test: str | Path,
    *,
    ks: Sequence[int] = (10,),
    exclude: str = "seen",
    label: str | None = None,
    min_rating: float | None = None,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    format: str | None = None,  # noqa: A002
    query: str | None = None,
    ids: str = "auto",
    reader_options: Mapping[str, str] | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    table: str | None = None,
    properties: Mapping[str, str] | None = None,
    partitions: int | None = None,
    master: str = LOCAL_MASTER,
    settings: Mapping[str, str] | None = None,
) -> Score:
    """Evaluate a fitted model on held-out rows with Apache Spark.

    The metrics and their intervals are those of `cofactor.evaluate.score`, up to the rounding of sums.

    Parameters
    ----------
    model : str or Path
        Path of the model file on this machine; Spark sends it to its executors.
    test : str or Path
        Held-out rows: Parquet or text files (a file, a folder, a pattern or a URI), or a JDBC URL together with
        `query`. All users and items must be in the model.
    ks : sequence of int, default (10,)
        Cutoffs for the ranking metrics, for events.
    exclude : {'seen', 'positives'}, default "seen"
        As in `cofactor.evaluate.evaluate`.
    label : str, optional
        Name of the model in results tables; by default, that of its estimator.
    min_rating : float, optional
        Ratings of this value and up become events, for a model of events.
    user, item, value, time, weight : str, optional
        Column names, as in `cofactor.read_ratings`.
    format : {"csv", "tsv", "::", "parquet"}, optional
        Format of files; by default, it is detected.
    query : str, optional
        SQL query for a database.
    ids : {"auto", "text"}, default "auto"
        How to read IDs, as in `cofactor.read_ratings`.
    reader_options : mapping of str to str, optional
        Options of Spark's reader, such as `user`, `password`, `partitionColumn` and `numPartitions` for JDBC.
    seed : int, default 0
        Seed for the intervals.
    output : str or Path, optional
        Folder for a Parquet file, or a JDBC URL together with `table`, to which the values of each user are written:
        columns user, rows and one for each metric in `Score.per_user`.
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
    Score
        Metrics of the model.

    Raises
    ------
    MissingExtraError
        If PySpark is not installed.
    ArtifactError
        If the model file is missing or damaged.
    ClusterError
        If Spark fails, or if the output exists and is not an earlier result.
    DataError
        If the held-out rows are missing or invalid.
    UnknownIdError
        If a user or an item is not in the model.
    LeakageError
        If a held-out row is in the histories of the model.
    KindError
        If `min_rating` is given for a model of ratings.
    ParameterError
        If an argument is invalid.

    Notes
    -----
    The tasks return the metrics of each user, about 100 bytes for events, to this process, which computes intervals.

    Examples
    --------
    >>> from cofactor import cluster
    >>> score = cluster.score("films.cofactor", "held_out.parquet", min_rating=4, master="local[2]")  # doctest: +SKIP
    >>> round(score.metrics["ndcg@10"].mean, 2)  # doctest: +SKIP
    0.38
    """
    path, start = checks.path("model", model), clock.perf_counter()
    ks = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH)
    checks.choice("exclude", exclude, get_args(Exclude))
    seed = checks.seed(seed)
    partitions = None if partitions is None else checks.whole_number("partitions", partitions, low=1)
    if output is not None or table is not None:
        check_output(str(output), table)
    recommender = Recommender.load(path)
    if min_rating is not None and recommender.kind == "ratings":
        raise KindError("min_rating applies only to models of events, but this model was trained on ratings")
    kind: Kind = recommender.kind if min_rating is None else "ratings"
    columns = {"user": user, "item": item, "value": value, "time": time, "weight": weight}
    source = Source(str(test), kind, columns, format, query, ids, reader_options)
    with spark_session(master, settings=dict(settings or {})) as spark, sent_model(spark, path) as file:
        if output is not None and table is None:
            ParquetFolder.of(str(output), CONTENT).require_replaceable()
        task = _Scorer(file, kind, ks, exclude, min_rating)  # type: ignore[arg-type]
        n_tasks = number_of_tasks(spark, len(recommender.users), partitions)
        values = _grouped(read_source(spark, source), n_tasks).mapInArrow(task.run, task.columns)
        sums = values.groupBy("part", "id").agg(*(_sum(name) for name in task.names)).toArrow()
        fields = _fields(_sorted_parts(sums, task.names), recommender, ks, seed)
        if output is not None:
            columns_by_user = {"user": recommender.users.ids(fields["users"]), "rows": fields["counts"]}
            frame = pl.DataFrame(columns_by_user | fields["per_user"])
            write_frame(spark, frame, str(output), CONTENT, table=table, properties=properties)
    name = label or (recommender.estimator.name if recommender.estimator else "model")
    return Score(name, fit_seconds=0.0, score_seconds=clock.perf_counter() - start, **fields)


def _grouped(rows: DataFrame, n_tasks: int) -> DataFrame:
    """Return one row for each user, with a list of their rows."""
    from pyspark.sql import functions

    row = functions.struct("item", "value", "time", "weight", "order")
    return rows.repartition(n_tasks, "user").groupBy("user").agg(functions.collect_list(row).alias("rows"))


def _sum(name: str) -> Any:
    from pyspark.sql import functions

    return functions.sum(name).alias(name)


@dataclass(frozen=True)
class _Scorer:
    """Task that computes the values of users and the exposure of items."""

    file: ModelFile
    kind: Kind
    ks: tuple[int, ...]
    exclude: Exclude
    min_rating: float | None

    @property
    def names(self) -> list[str]:
        """Names of the columns with values."""
        n_metrics = len(self.ks) * sum(isinstance(metric, RankingMetric) for metric in METRICS.values())
        return [f"value_{number}" for number in range(max(2 * n_metrics, 1 + len(RATING_METRICS)))]

    @property
    def columns(self) -> str:
        """Columns of the result of a task."""
        return ", ".join(["part int", "id bigint", *(f"{name} double" for name in self.names)])

    def run(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the values of the users in each batch, and at the end the exposure of items in their lists."""
        recommender = self.file.load()
        if self.exclude == "positives":
            recommender = replace(recommender, seen=None)
        exposure = np.zeros((2 * len(self.ks), len(recommender.items)))
        for batch in batches:
            if (test := self._table(recommender, batch)) is None:
                continue
            rows = _known_rows(recommender.users, test.users, "user")
            require_no_history_pairs(recommender.histories.take(rows), test)
            if recommender.kind == "ratings":
                errors = prediction_errors(recommender, test, rows)
                sums = [values.sums for values in rating_values(errors).values()]
                yield self._batch(ERRORS, rows, [errors.count, *sums])
            if recommender.kind == "events" or isinstance(recommender.model, PairedModel):
                lists, users = relevant_lists(recommender, test, rows, self.ks, self.exclude)
                values = ListValues.of(lists, self.ks)
                yield self._batch(LISTS, rows[users], [*values.per_user.values(), *values.served.values()])
                with np.errstate(divide="ignore"):
                    for number, k in enumerate(self.ks):
                        exposure[2 * number] += values.list_counts[k]
                        exposure[2 * number + 1] += np.log1p(-values.show_probability[k])
        shown = np.flatnonzero(exposure.any(axis=0))
        yield self._batch(ITEMS, shown, exposure[:, shown])

    def _table(self, recommender: Recommender, batch: pa.RecordBatch) -> Interactions | None:
        """Return the rows of the users in a batch, with the items of the recommender; None if none is an event."""
        frame: Any = pl.from_arrow(batch)
        frame = frame.explode("rows").unnest("rows").sort("user", "order")
        times, weights = frame["time"], frame["weight"]
        table = Interactions.from_columns(
            frame["user"], frame["item"], frame["value"], kind=self.kind,
            times=None if times.has_nulls() else times.floor().cast(pl.Int64),
            weights=None if weights.has_nulls() else weights,
        )  # fmt: skip
        items = _known_rows(recommender.items, table.items, "item")
        table = replace(table, items=recommender.items, i=read_only(items[table.i]))
        if self.min_rating is None:
            return table
        is_event = table.values >= self.min_rating
        return table.to_events(min_rating=self.min_rating) if is_event.any() else None

    def _batch(self, part: int, ids: Any, values: Any) -> pa.RecordBatch:
        import pyarrow as pa

        n, names = len(ids), self.names
        columns = [np.asarray(column, np.float64) for column in values]
        columns += [np.zeros(n)] * (len(names) - len(columns))
        arrays = [pa.array(np.full(n, part, np.int32)), pa.array(np.asarray(ids, np.int64)), *map(pa.array, columns)]
        return pa.RecordBatch.from_arrays(arrays, ["part", "id", *names])


def _known_rows(ids: IdMap, test_ids: IdMap, role: str) -> Int32:
    """Return the row numbers of the IDs of a test set; raise UnknownIdError if one is not in the model."""
    rows = ids.rows(test_ids.all)
    if (rows < 0).any():
        first = test_ids.id_at(int((rows < 0).argmax()))
        raise UnknownIdError(f"{role} {first!r} of the held-out rows is not in the model; leave out its rows")
    return rows


def _sorted_parts(sums: pa.Table, names: list[str]) -> dict[int, tuple[Int32, Float64]]:
    """Return the IDs of each part in ascending order, and their values, (n_values, n_ids)."""
    frame: Any = pl.from_arrow(sums)
    parts = {}
    for part in (ERRORS, LISTS, ITEMS):
        rows: pl.DataFrame = frame.filter(pl.col("part") == part).sort("id")
        parts[part] = rows["id"].to_numpy().astype(np.int32), rows.select(names).to_numpy().T
    return parts


def _fields(
    parts: dict[int, tuple[Int32, Float64]], recommender: Recommender, ks: Sequence[int], seed: int
) -> dict[str, Any]:
    """Compute the fields of a `Score` from the values of all users and items."""
    lists: dict[str, Any] = {}
    if recommender.kind == "events" or isinstance(recommender.model, PairedModel):
        users, values = parts[LISTS]
        support, n_users = recommender.support, int(np.count_nonzero(recommender.histories.counts))
        lists = list_fields(
            _list_values(values, *parts[ITEMS], ks, len(recommender.items)), users, ks,
            seed=seed, support=support, n_users=n_users,
        )  # fmt: skip
        if recommender.kind == "events":
            return lists
    users, values = parts[ERRORS]
    counts = values[0].astype(np.int64)
    errors = {
        metric: UserValues(values[number], counts, metric.aggregation)
        for number, metric in enumerate(RATING_METRICS, start=1)
    }
    fields = rating_fields(errors, users, seed=seed)
    if lists:
        fields |= {"metrics": fields["metrics"] | lists["metrics"], "served": lists["served"]}
    return fields


def _list_values(values: Float64, items: Int32, exposure: Float64, ks: Sequence[int], n_items: int) -> ListValues:
    """Return the values of lists from those that the tasks returned."""
    names = [f"{metric.name}@{k}" for k in ks for metric in METRICS.values() if isinstance(metric, RankingMetric)]
    per_user = dict(zip(names, values, strict=False))
    served = dict(zip(names, values[len(names) :], strict=False))
    is_same = all(np.array_equal(per_user[name], served[name]) for name in names)
    totals = np.zeros((2 * len(ks), n_items))
    totals[:, items] = exposure[: 2 * len(ks)]
    return ListValues(
        per_user,
        per_user if is_same else served,
        {k: totals[2 * number] for number, k in enumerate(ks)},
        {k: -np.expm1(totals[2 * number + 1]) for number, k in enumerate(ks)},
    )
