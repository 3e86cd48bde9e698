"""Fit estimators on Apache Spark, for tables that are larger than one machine."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from cofactor import checks
from cofactor.cluster.assembly import assemble
from cofactor.cluster.blocks import (
    BLOCKS_PER_CORE,
    MAX_ROWS_PER_BLOCK,
    MIN_ROWS_PER_BLOCK,
    Layout,
    Totals,
    number_ids,
    pack,
)
from cofactor.cluster.half_steps import HalfSteps
from cofactor.cluster.mllib import check_settings, fit_with_mllib
from cofactor.cluster.session import LOCAL_MASTER, spark_session
from cofactor.cluster.source import Source, read_source
from cofactor.cluster.storage import WorkFolder
from cofactor.data.artifact import check_overwrite
from cofactor.data.interactions import Kind
from cofactor.data.scale import Scale
from cofactor.errors import ClusterError, DataError, DivergedError, KindError, ParameterError
from cofactor.estimators import Epoch, Estimator, ExplicitALS, ImplicitALS
from cofactor.estimators.als import initial_item_factors
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import MIN_STD, Standardization
from cofactor.models.losses import EventsLoss, RatingsLoss
from cofactor.recommender.recommender import Recommender
from cofactor.validation import validated

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["ClusterFit", "Method", "fit"]

Method = Literal["half-steps", "mllib"]
"""Ways to fit on Spark: the half-steps of the local estimators on blocks, or the ALS of Spark's MLlib."""

WORKER_SHARE = 0.5
"""Share of the memory of an executor that the fixed vectors may take, in all of its workers together."""


@dataclass(frozen=True)
class ClusterFit:
    """Result of a fit on Spark.

    Attributes
    ----------
    recommender : Recommender
        Fitted recommender; its arrays are mapped from `output`, if it was given.
    method : {"half-steps", "mllib"}
        Way in which the model was fitted.
    reason : str
        Why this way was chosen, as a sentence.
    rows : int
        Number of rows that were trained on.
    duplicates : int
        Number of rows of the source that were merged with another row of the same user and item.
    epochs : tuple of Epoch
        Loss of each epoch; empty for MLlib, which does not report it.
    """

    recommender: Recommender
    method: Method
    reason: str
    rows: int
    duplicates: int
    epochs: tuple[Epoch, ...]


@validated
def fit(
    estimator: Estimator,
    source: str | Path,
    *,
    output: str | Path | None = None,
    master: str = LOCAL_MASTER,
    settings: Mapping[str, str] | None = None,
    method: str = "auto",
    work: str | Path | None = None,
    min_rating: float | None = None,
    rating_levels: Any = None,
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
    callback: EpochCallback | None = None,
) -> ClusterFit:
    """Fit ExplicitALS or ImplicitALS on Apache Spark.

    The rows are read and stored by Spark's executors, never by this process. The result is that of a local fit to the
    same table, up to the rounding of float32.

    Parameters
    ----------
    estimator : ExplicitALS or ImplicitALS
        Estimator to fit.
    source : str or Path
        Parquet or text files (a file, a folder, a pattern or a URI), or a JDBC URL together with `query`.
    output : str or Path, optional
        File to save the recommender in. By default, its arrays are in memory.
    master : str, optional
        Master URL, such as `spark://HOST:7077`; by default, all cores of this machine. Not used if this process has an
        active Spark session.
    settings : mapping of str to str, optional
        Settings of Spark, such as `{"spark.executor.memory": "8g"}`.
    method : {"auto", "half-steps", "mllib"}, default "auto"
        "half-steps" runs the updates of the local estimators on blocks of users and items; it needs the vectors of all
        users, or all items, in the memory of each worker. "mllib" uses the ALS of Spark's MLlib, which has no such
        limit and can express fewer settings. "auto" chooses half-steps if the vectors fit into memory.
    work : str or Path, optional
        Folder for intermediate files that all machines can read and write: a shared folder, or a URI such as
        `s3://bucket/folder`. A fit that was stopped continues after its last complete epoch if it is repeated with the
        same folder. By default a temporary folder, which only suits a master on this machine.
    min_rating : float, optional
        Ratings of this value and up become events, as with `Interactions.to_events`.
    rating_levels : sequence of float, optional
        All values that a rating can take; by default, they are inferred.
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
        Seed of the initial factors.
    callback : callable, optional
        Called with an `Epoch` after each epoch.

    Returns
    -------
    ClusterFit
        Recommender, and how it was fitted.

    Raises
    ------
    MissingExtraError
        If PySpark is not installed.
    ClusterError
        If Spark fails; the message has one sentence.
    DataError
        If the source is missing, has invalid rows or no rows.
    KindError
        If the estimator cannot be fitted to this kind of table.
    ParameterError
        If an argument is invalid, or if a setting cannot be expressed by MLlib.
    DivergedError
        If the loss is not finite.
    """
    als = _checked(estimator, method, min_rating)
    source_kind: Kind = als.kind if min_rating is None else "ratings"
    address = str(source)
    columns = {"user": user, "item": item, "value": value, "time": time, "weight": weight}
    table = Source(address, source_kind, columns, format, query, ids, reader_options)
    declared = None if rating_levels is None else Scale.from_levels(rating_levels)
    if output is not None:
        check_overwrite(output)
    with (
        TemporaryDirectory() if work is None else nullcontext(str(work)) as folder,
        spark_session(master, settings=dict(settings or {})) as spark,
    ):
        job = _Job(spark, als, table, WorkFolder(folder), min_rating, declared, checks.seed(seed), callback)
        return job.run(method, None if output is None else Path(output))


def _checked(estimator: Estimator, method: str, min_rating: float | None) -> ExplicitALS | ImplicitALS:
    """Check the arguments, and return the estimator."""
    if not isinstance(estimator, ExplicitALS | ImplicitALS):
        name = getattr(estimator, "name", type(estimator).__name__)
        raise ParameterError(f"only explicit-als and implicit-als can be fitted on Spark, not {name}")
    checks.choice("method", method, ("auto", "half-steps", "mllib"))
    if min_rating is not None and estimator.kind != "events":
        raise KindError(f"min_rating requires a model of events, such as implicit-als; {estimator.name} is for ratings")
    if method == "mllib":
        check_settings(estimator)
    return estimator


@dataclass(frozen=True)
class _Job:
    """One fit in a Spark session."""

    spark: SparkSession
    estimator: ExplicitALS | ImplicitALS
    source: Source
    folder: WorkFolder
    min_rating: float | None
    scale: Scale | None
    seed: int
    callback: EpochCallback | None

    def run(self, method: str, output: Path | None) -> ClusterFit:
        """Read the source, fit, and assemble the recommender."""
        self._require_shared_folder()
        state = self._state()
        if state is None:
            layout, totals = self._pack()
            state = {"fit": self._fingerprint(), "layout": asdict(layout), "totals": asdict(totals), "epochs": []}
            self._save(state)
        layout, totals = Layout(**state["layout"]), Totals(**state["totals"])
        problem = self._problem(layout, totals)
        method, reason = self._method(method, problem)
        epochs: list[Epoch] = []
        if method == "mllib":
            fit_with_mllib(self.spark, self.estimator, problem, seed=self.seed)
        else:
            epochs = self._run_epochs(problem, state)
        with TemporaryDirectory(dir=None if output is None else output.absolute().parent) as arrays:
            recommender = assemble(problem, self.estimator, Path(arrays), seed=self.seed, weighted=totals.weighted)
            if output is not None:
                recommender.save(output)
        if output is not None:
            recommender = Recommender.load(output)
        return ClusterFit(recommender, method, reason, totals.rows, totals.duplicates, tuple(epochs))

    def _require_shared_folder(self) -> None:
        """Raise ClusterError if an executor does not see the work folder."""
        self.folder.write_bytes("shared", b"1")
        folder = self.folder

        def is_visible(batches: Any) -> Any:
            import pyarrow as pa

            for _ in batches:
                pass
            yield pa.RecordBatch.from_pydict({"visible": [folder.read_bytes("shared") is not None]})

        cores = self.spark.sparkContext.defaultParallelism
        rows = self.spark.range(0, cores, 1, cores).mapInArrow(is_visible, "visible boolean").collect()
        if not all(row[0] for row in rows):
            raise ClusterError(
                f"the executors cannot read the work folder {self.folder.uri}; pass a folder that all machines share"
            )

    def _fingerprint(self) -> str:
        """Return a text that is equal for repetitions of the same fit."""
        description = [self.estimator.to_dict(), asdict(self.source), self.min_rating, repr(self.scale), self.seed]
        return sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()

    def _state(self) -> dict[str, Any] | None:
        """Return the state of an earlier run of this fit in the work folder, or None."""
        content = self.folder.read_bytes("state.json")
        if content is None:
            return None
        state: dict[str, Any] = json.loads(content)
        if state["fit"] != self._fingerprint():
            raise ClusterError(f"the work folder {self.folder.uri} contains another fit; choose an empty folder")
        return state

    def _save(self, state: dict[str, Any]) -> None:
        self.folder.write_bytes("state.json", json.dumps(state).encode())

    def _pack(self) -> tuple[Layout, Totals]:
        """Read the source, and store its rows in blocks."""
        rows = read_source(self.spark, self.source).persist()
        n, cores = rows.count(), self.spark.sparkContext.defaultParallelism
        n_blocks = max(cores, min(BLOCKS_PER_CORE * cores, n // MIN_ROWS_PER_BLOCK), -(-n // MAX_ROWS_PER_BLOCK))
        self.spark.conf.set("spark.sql.shuffle.partitions", str(n_blocks))
        users, n_users = number_ids(rows, "user", self.folder)
        items, n_items = number_ids(rows, "item", self.folder)
        layout = Layout(self.estimator.kind, n_users, n_items, n_blocks, self.min_rating)
        numbered = rows.join(users, "user").join(items, "item").drop("user", "item")
        counts = self.estimator.counts if isinstance(self.estimator, ImplicitALS) else "raw"
        totals = pack(numbered, layout, self.folder, counts)
        for frame in (rows, users, items):
            frame.unpersist()
        if totals.with_weight == 0:
            raise DataError("all weights are 0, so that there is nothing to learn from")
        return layout, totals

    def _problem(self, layout: Layout, totals: Totals) -> HalfSteps:
        estimator = self.estimator
        if isinstance(estimator, ImplicitALS):
            loss: RatingsLoss | EventsLoss = EventsLoss.for_totals(
                n=totals.with_weight, n_users=totals.users, n_items=totals.items, confidence=totals.confidence,
                item_squares=totals.item_squares, blank_ratio=estimator.blank_ratio, l2_ratio=estimator.l2_ratio,
                nu=estimator.nu, counts=estimator.counts,
            )  # fmt: skip
            return HalfSteps(self.folder, layout, loss, estimator.factors, estimator.cg_steps, None, None)
        std = math.sqrt(totals.squares / totals.weight)
        standardization = Standardization(totals.mean, std if std > MIN_STD else 1.0)
        scale = Scale.infer(totals.values) if self.scale is None else self.scale
        loss = RatingsLoss(l2=estimator.l2, l2_bias=estimator.l2_bias, pseudo_ratings=estimator.pseudo_ratings)
        return HalfSteps(self.folder, layout, loss, estimator.factors, estimator.cg_steps, standardization, scale)

    def _method(self, method: str, problem: HalfSteps) -> tuple[Method, str]:
        """Return how to fit, and why."""
        needed = 4 * problem.loss.width(problem.factors) * max(problem.layout.n_users, problem.layout.n_items)
        context = self.spark.sparkContext
        cores = int(context.getConf().get("spark.executor.cores", "1"))
        available = _bytes(context.getConf().get("spark.executor.memory", "1g")) * WORKER_SHARE / cores
        sizes = f"the vectors of one side take {needed / 1e9:.2f} GB"
        if method == "half-steps" or (method == "auto" and (self._is_local or needed <= available)):
            return "half-steps", f"{sizes}, which each worker can hold"
        check_settings(self.estimator)
        if method == "mllib":
            return "mllib", "MLlib was requested"
        return "mllib", f"{sizes}, more than a worker can hold ({available / 1e9:.2f} GB)"

    @property
    def _is_local(self) -> bool:
        return str(self.spark.sparkContext.master).startswith("local")

    def _run_epochs(self, problem: HalfSteps, state: dict[str, Any]) -> list[Epoch]:
        """Run the epochs that are left, and the final step."""
        estimator, start = self.estimator, time.perf_counter()
        epochs = [Epoch(*values) for values in state["epochs"]]
        if not epochs:
            std = (
                estimator.init_std
                if isinstance(estimator, ExplicitALS)
                else estimator.init_std / estimator.factors**0.5
            )
            draw = partial(initial_item_factors, problem.layout.n_items, problem.factors, std, self.seed)
            problem.write_items(self.spark, draw, "0")
        unit = 1.0 if problem.standardization is None else problem.standardization.std**2
        n = state["totals"]["rows"]
        for number in range(len(epochs) + 1, estimator.epochs + 1):
            problem.update(self.spark, "user", number)
            loss = problem.update(self.spark, "item", number) / n * unit
            if not math.isfinite(loss):
                raise DivergedError(number, loss, estimator.diverged_advice)
            epochs.append(Epoch(number, estimator.epochs, loss, None, time.perf_counter() - start))
            state["epochs"] = [list(asdict(epoch).values()) for epoch in epochs]
            self._save(state)
            problem.remove(number - 1)
            if self.callback is not None:
                self.callback(epochs[-1])
        problem.finish(self.spark, len(epochs))
        return epochs


def _bytes(text: str) -> float:
    """Return a memory size of Spark, such as 8g or 512m, in bytes."""
    units = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    digits = text.strip().lower().removesuffix("b")
    return float(digits[:-1]) * units[digits[-1]] if digits[-1:] in units else float(digits)
