"""Fit with the ALS of Spark's MLlib, which distributes the vectors of both sides, for settings that it can express.

    MLlib, ratings:  sum over ratings of (r - p.q)^2 + regParam (sum_u n_u |p_u|^2 + sum_i n_i |q_i|^2)
    MLlib, events:   sum over all pairs of (1 + alpha r) (x - [r > 0])^2 + the same penalty

It has no biases: they are computed by aggregation between two runs, given the factors of the run before. The users are
solved exactly at the end, by the half-step of the local estimators, so that fold-in reproduces them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cofactor.cluster.blocks import SIDES, unpacked_rows
from cofactor.cluster.half_steps import HalfSteps
from cofactor.errors import ParameterError
from cofactor.estimators import ExplicitALS, ImplicitALS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["check_settings", "fit_with_mllib"]

MAX_BLANK_RATIO = 0.02
"""Largest `blank_ratio` whose part of the penalty, alpha0 times the number of items, is small against the support."""

BIAS_ROUNDS, BIAS_SWEEPS = 2, 3
"""Number of alternations between factors and biases, and of passes over users and items for the biases."""


def check_settings(estimator: ExplicitALS | ImplicitALS) -> None:
    """Check that MLlib can express the settings of an estimator.

    Parameters
    ----------
    estimator : ExplicitALS or ImplicitALS
        The estimator.

    Raises
    ------
    ParameterError
        If a setting cannot be expressed; the message names it.
    """
    if isinstance(estimator, ExplicitALS):
        if estimator.pseudo_ratings != 0:
            raise ParameterError(
                f"MLlib cannot express pseudo_ratings={estimator.pseudo_ratings:g}: its penalty is l2 times the number "
                "of ratings; use pseudo_ratings=0, or the method half-steps"
            )
        return
    if estimator.nu != 1:
        raise ParameterError(
            f"MLlib cannot express nu={estimator.nu:g}: its penalty is proportional to the number of events; use nu=1, "
            "or the method half-steps"
        )
    if estimator.blank_ratio > MAX_BLANK_RATIO:
        raise ParameterError(
            f"MLlib cannot express blank_ratio={estimator.blank_ratio:g}: its penalty does not include unobserved "
            f"pairs, which hardly matters only up to {MAX_BLANK_RATIO}; use the method half-steps"
        )


def fit_with_mllib(spark: SparkSession, estimator: ExplicitALS | ImplicitALS, problem: HalfSteps, *, seed: int) -> None:
    """Fit with MLlib, and write the final vectors of the fit.

    Parameters
    ----------
    spark : SparkSession
        The session.
    estimator : ExplicitALS or ImplicitALS
        Estimator whose settings MLlib can express.
    problem : HalfSteps
        Table and objective.
    seed : int
        Seed of MLlib.

    Raises
    ------
    ParameterError
        If the table has weights of ratings.
    """
    check_settings(estimator)
    rows = unpacked_rows(spark, problem.layout, problem.folder).drop("block")
    spark.sparkContext.setCheckpointDir(problem.folder.path("checkpoints"))
    if isinstance(estimator, ImplicitALS):
        _fit_events(rows, estimator, problem, seed)
    else:
        _fit_ratings(rows, estimator, problem, seed)
    problem.finish_users(spark)
    problem.folder.remove("checkpoints")


def _als(rows: DataFrame, estimator: ExplicitALS | ImplicitALS, seed: int, **settings: Any) -> Any:
    """Return the fitted model of MLlib."""
    from pyspark.ml.recommendation import ALS

    als = ALS(
        rank=estimator.factors, maxIter=estimator.epochs, seed=seed, userCol="user_row", itemCol="item_row",
        ratingCol="value", coldStartStrategy="nan", intermediateStorageLevel="MEMORY_AND_DISK",
        finalStorageLevel="MEMORY_AND_DISK", **settings,
    )  # fmt: skip
    return als.fit(rows)


def _fit_events(rows: DataFrame, estimator: ImplicitALS, problem: HalfSteps, seed: int) -> None:
    """Fit events: the objective divided by alpha0 has the weight 1 for unobserved pairs."""
    loss = problem.loss
    confidences = rows.mapInArrow(_confidences(estimator), "user_row int, item_row int, value float").persist()
    unit = 1 / loss.blank_weight
    model = _als(confidences, estimator, seed, implicitPrefs=True, alpha=unit, regParam=loss.l2 * unit)
    _write(model.itemFactors, None, problem)
    confidences.unpersist()


def _fit_ratings(rows: DataFrame, estimator: ExplicitALS, problem: HalfSteps, seed: int) -> None:
    """Fit factors to the ratings minus the biases, and biases to the ratings minus the products of factors, in turn."""
    from pyspark.sql import functions as sf

    loss, standardization = problem.loss, problem.standardization
    assert standardization is not None
    if rows.where(sf.col("weight").isNotNull()).limit(1).count():
        raise ParameterError("MLlib cannot use weights of ratings; use the method half-steps")
    target = (sf.col("value") - sf.lit(standardization.mean)) / sf.lit(standardization.std)
    ratings = rows.select("user_row", "item_row", target.alias("target")).persist()
    dots = ratings.withColumn("dot", sf.lit(0.0))
    model, biases = None, {}
    for _ in range(BIAS_ROUNDS):
        biases = _biases(dots, float(loss.l2_bias or 0))
        residuals = _with_biases(ratings, biases)
        residuals = residuals.select(
            "user_row", "item_row", (sf.col("target") - sf.col("user") - sf.col("item")).alias("value")
        )
        model = _als(residuals, estimator, seed, regParam=loss.l2)
        dots = model.transform(residuals).select("user_row", "item_row", sf.col("prediction").alias("dot"))
        dots = ratings.join(dots, ["user_row", "item_row"]).persist()
    assert model is not None
    _write(model.itemFactors, biases["item"], problem)


def _biases(dots: DataFrame, l2_bias: float) -> dict[str, DataFrame]:
    """Return the biases that minimize the objective with fixed factors: row and bias of users and of items."""
    from pyspark.sql import functions as sf

    residuals = dots.withColumn("residual", sf.col("target") - sf.col("dot"))
    biases: dict[str, DataFrame] = {}
    for sweep in range(BIAS_SWEEPS):
        for side, other in (("item", "user"), ("user", "item")):
            rest = residuals
            if sweep or side == "user":
                rest = rest.join(biases[other].withColumnRenamed("bias", "other"), f"{other}_row")
                rest = rest.withColumn("residual", sf.col("residual") - sf.col("other"))
            mean = sf.sum("residual") / (sf.count("*") * (1 + l2_bias))
            biases[side] = rest.groupBy(f"{side}_row").agg(mean.alias("bias")).localCheckpoint()
    return biases


def _with_biases(ratings: DataFrame, biases: dict[str, DataFrame]) -> DataFrame:
    """Return the ratings with the columns user and item of their biases."""
    for side in SIDES:
        ratings = ratings.join(biases[side].withColumnRenamed("bias", side), f"{side}_row")
    return ratings


def _confidences(estimator: ImplicitALS) -> Any:
    """Return the function of a task that computes confidences."""
    counts = estimator.counts

    def run(batches: Any) -> Any:
        import pyarrow as pa

        from cofactor.arrays import signed_confidence

        for batch in batches:
            weight = batch.column("weight")
            weights = None if weight.null_count else weight.to_numpy(zero_copy_only=False)
            values = signed_confidence(batch.column("value").to_numpy(zero_copy_only=False), weights, counts)
            ids = {name: batch.column(name) for name in ("user_row", "item_row")}
            yield pa.RecordBatch.from_pydict({**ids, "value": pa.array(values, pa.float32())})

    return run


def _write(factors: DataFrame, biases: DataFrame | None, problem: HalfSteps) -> None:
    """Write the item vectors of a model as the final ones."""
    from pyspark.sql import functions as sf

    n_blocks = problem.layout.n_blocks
    if biases is not None:
        factors = factors.join(biases, factors["id"] == biases["item_row"], "left").drop("item_row")
    else:
        factors = factors.withColumn("bias", sf.lit(0.0))
    blocks = factors.withColumn("block", sf.col("id") % n_blocks).repartitionById(n_blocks, "block")

    def write(batches: Any) -> Any:
        import pyarrow as pa

        parts = [part for part in batches if part.num_rows]
        if not parts:
            return
        table = pa.Table.from_batches(parts)
        rows, block_of_row = (table[name].to_numpy() for name in ("id", "block"))
        vectors = np.asarray(table["features"].combine_chunks().flatten().to_numpy(), np.float32).reshape(len(rows), -1)
        bias = table["bias"].fill_null(0.0).to_numpy()
        for block in np.unique(block_of_row).tolist():
            chosen = block_of_row == block
            problem.write_final_items(block, rows[chosen], vectors[chosen], bias[chosen])
        yield pa.RecordBatch.from_pydict({"rows": [len(rows)]})

    blocks.mapInArrow(write, "rows bigint").collect()
