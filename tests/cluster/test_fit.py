"""Fits on Spark against local fits of the same table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor import Interactions, Recommender
from cofactor.cluster import fit
from cofactor.errors import ClusterError, CofactorError, DataError, KindError, ParameterError


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Ratings with text IDs, repeated pairs, times and weights."""
    rng = np.random.default_rng(0)
    n = 6000
    u, i = rng.integers(150, size=n), (90 * rng.random(n) ** 2).astype(int)
    taste = np.where((u + i) % 2, 1.0, -1.0)
    return pl.DataFrame({
        "user": [f"user {'äz'[k % 2]}{k}" for k in u],
        "item": [f"i{k}" for k in i],
        "rating": np.clip(np.round(3 + taste + rng.normal(0, 0.8, n)), 1, 5),
        "time": rng.integers(1_500_000_000, 1_500_001_000, n),
        "weight": rng.integers(1, 4, n).astype(float),
    })  # fmt: skip


def same_recommender(first: Recommender, second: Recommender, *, tolerance: float = 1e-4) -> None:
    """Check that two recommenders have the same IDs, histories and vectors."""
    assert first.users.equals(second.users)
    assert first.items.equals(second.items)
    for name in ("start", "columns", "values", "weights"):
        a, b = (getattr(rec.excluded, name) for rec in (first, second))
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
    assert first.scale == second.scale
    for name, array in first.model.arrays().items():
        np.testing.assert_allclose(second.model.arrays()[name], array, atol=tolerance)
    assert first.kind == second.kind
    assert first.estimator == second.estimator


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_ratings_of_files(format_: str, rows: pl.DataFrame, spark: Any, tmp_path: Path) -> None:
    path = tmp_path / f"ratings.{format_}"
    rows.write_csv(path) if format_ == "csv" else rows.write_parquet(path)
    local, estimator = cofactor.read_ratings(path), cofactor.ExplicitALS(factors=5, epochs=3)
    fitted = fit(estimator, path, output=tmp_path / "model.cofactor")
    assert (fitted.method, fitted.rows) == ("half-steps", len(local))
    assert local.report is not None
    assert fitted.duplicates == local.report.duplicates > 1000
    same_recommender(Recommender.fit(estimator, local), fitted.recommender)
    same_recommender(Recommender.fit(estimator, local), Recommender.load(tmp_path / "model.cofactor"))
    assert fitted.epochs[-1].loss < fitted.epochs[0].loss
    user = local.users.id_at(3)
    a, b = (rec.recommend(user, n=10) for rec in (Recommender.fit(estimator, local), fitted.recommender))
    assert a["item"].to_list() == b["item"].to_list()


def test_liked_ratings_as_events(rows: pl.DataFrame, spark: Any, tmp_path: Path) -> None:
    rows.drop("weight").write_csv(tmp_path / "ratings.csv")
    local = cofactor.read_ratings(tmp_path / "ratings.csv").to_events(min_rating=4)
    estimator = cofactor.ImplicitALS(factors=5, epochs=3)
    fitted = fit(estimator, tmp_path / "ratings.csv", min_rating=4)
    same_recommender(Recommender.fit(estimator, local), fitted.recommender)


def test_events_with_counts_and_integer_ids(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({
        "user": rng.integers(-50, 60, 3000), "item": rng.integers(40, size=3000), "plays": rng.integers(1, 99, 3000)
    })  # fmt: skip
    frame.write_csv(tmp_path / "plays.tsv", separator="\t", include_header=False)
    local, estimator = cofactor.read_events(tmp_path / "plays.tsv"), cofactor.ImplicitALS(factors=4, nu=0.5, epochs=3)
    fitted = fit(estimator, tmp_path / "plays.tsv")
    same_recommender(Recommender.fit(estimator, local), fitted.recommender, tolerance=1e-3)


def test_a_database(rows: pl.DataFrame, spark: Any, tmp_path: Path) -> None:
    url = f"jdbc:derby:{tmp_path}/database;create=true"
    unique = rows.select("user", "item", "rating").unique(["user", "item"])
    table = spark.createDataFrame(unique.to_dicts())
    table.write.format("jdbc").option("url", url).option("dbtable", "ratings").save()
    local, estimator = cofactor.read_ratings(unique), cofactor.ExplicitALS(factors=3, epochs=2)
    fitted = fit(estimator, url, query='select "user", "item", "rating" from ratings')
    same_recommender(Recommender.fit(estimator, local), fitted.recommender)


@pytest.mark.parametrize(
    ("estimator", "min_rating"),
    [
        (cofactor.ExplicitALS(pseudo_ratings=0), None),
        (cofactor.ImplicitALS(blank_ratio=0.01, l2_ratio=0.1), 4.0),
    ],
)
def test_mllib_has_the_same_objective(
    estimator: Any, min_rating: float | None, movielens: Interactions, spark: Any, tmp_path: Path
) -> None:
    movielens.frame().select("user", "item", "value").write_csv(tmp_path / "ratings.csv")
    table = movielens if min_rating is None else movielens.to_events(min_rating=min_rating)
    fitted = fit(estimator, tmp_path / "ratings.csv", method="mllib", min_rating=min_rating)
    assert (fitted.method, fitted.epochs) == ("mllib", ())
    trained: Any = fitted.recommender.model
    local: Any = Recommender.fit(estimator, table).model
    assert trained.objective(table) == pytest.approx(local.objective(table), rel=0.01)
    folded = trained.fold_in(fitted.recommender.histories.take(np.arange(20)))
    np.testing.assert_allclose(folded.user_factors, trained.user_factors[:20], atol=1e-3)
    np.testing.assert_allclose(folded.user_bias, trained.user_bias[:20], atol=1e-3)


def test_a_stopped_fit_continues(rows: pl.DataFrame, spark: Any, tmp_path: Path) -> None:
    rows.write_parquet(tmp_path / "ratings.parquet")
    estimator, work = cofactor.ExplicitALS(factors=3, epochs=5), tmp_path / "work"

    class StoppedError(Exception):
        pass

    def stop(epoch: cofactor.estimators.Epoch) -> None:
        if epoch.number == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(estimator, tmp_path / "ratings.parquet", work=work, callback=stop)
    seen: list[int] = []
    fitted = fit(estimator, tmp_path / "ratings.parquet", work=work, callback=lambda epoch: seen.append(epoch.number))
    assert seen == [4, 5]
    assert [epoch.number for epoch in fitted.epochs] == [1, 2, 3, 4, 5]
    same_recommender(
        Recommender.fit(estimator, cofactor.read_ratings(tmp_path / "ratings.parquet")), fitted.recommender
    )
    with pytest.raises(ClusterError, match="contains another fit"):
        fit(cofactor.ExplicitALS(factors=4), tmp_path / "ratings.parquet", work=work)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item,rating\nana,alien,5\nbo,,3\n", "1 of 2 rows are invalid; the first of them is 'bo, None, 3'"),
        ("user,item,rating\nana,alien,five\nbo,clue,3\n", "the first of them is 'ana, alien, five'"),
        ("user,item,rating\nana,alien,nan\n", "1 of 1 rows are invalid"),
        ("user,item,rating\nana,alien,5,7\n", "the first of them is 'ana,alien,5,7'"),
        ("user,item,rating\n", "has no rows"),
        ("", "has no rows"),
        ("user,film,stars\nana,alien,5\n", None),
        ("user,title,rating\nana,alien,5\n", "no column for the item was recognized"),
    ],
)
def test_invalid_files(content: str, message: str | None, spark: Any, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(content)
    if message is None:
        assert fit(cofactor.ExplicitALS(factors=1, epochs=1), path).rows == 1
        return
    with pytest.raises(DataError) as error:
        fit(cofactor.ExplicitALS(factors=1, epochs=1), path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_ids_of_mixed_types_in_parquet(spark: Any, tmp_path: Path) -> None:
    folder = tmp_path / "ratings"
    folder.mkdir()
    pl.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [3.0, 4.0]}).write_parquet(folder / "a.parquet")
    pl.DataFrame({"user": ["x", "y"], "item": [1, 2], "rating": [3.0, 4.0]}).write_parquet(folder / "b.parquet")
    with pytest.raises(CofactorError, match="different types") as error:
        fit(cofactor.ExplicitALS(factors=1), f"{folder}/*.parquet")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "class_", "message"),
    [
        ({"estimator": cofactor.BPR()}, ParameterError, "only explicit-als and implicit-als"),
        ({"method": "quick"}, ParameterError, "method"),
        ({"method": "mllib"}, ParameterError, "pseudo_ratings=20"),
        ({"method": "mllib", "estimator": cofactor.ImplicitALS(nu=0.5)}, ParameterError, "nu=0.5"),
        ({"method": "mllib", "estimator": cofactor.ImplicitALS()}, ParameterError, "blank_ratio=6"),
        ({"min_rating": 4}, KindError, "min_rating"),
        ({"source": "no such file.parquet"}, ClusterError, "does not exist"),
        ({"source": "postgresql://host/db", "query": "select 1"}, ParameterError, "JDBC"),
    ],
)
def test_invalid_arguments(arguments: dict[str, Any], class_: type[Exception], message: str, spark: Any) -> None:
    keywords: dict[str, Any] = {"estimator": cofactor.ExplicitALS(), "source": "ratings.csv", **arguments}
    with pytest.raises(class_) as error:
        fit(**keywords)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
