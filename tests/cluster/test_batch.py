"""Batch jobs on Spark against the same calls in this process: lists of all users, scores and exposure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor import Interactions, Recommender, cluster
from cofactor.cluster.output import ParquetFolder
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.errors import (
    ArtifactError,
    ClusterError,
    CofactorError,
    DataError,
    KindError,
    LeakageError,
    ParameterError,
    UnknownIdError,
)
from cofactor.estimators import PairedModels
from tests.support.command_line import json_of, rejected

N_SAMPLED = 1000


@cache
def ratings() -> Interactions:
    """As many ratings as in MovieLens-100k, of more users, with genres, titles and text IDs of users."""
    config = SyntheticConfig(n_users=2000, n_items=1600, n_ratings=100_000, genres=6, item_bias_std=0.5)
    table = generate(config, seed=3).interactions
    users = [f"user {'äz'[user % 2]}{user}" for user in table.users.ids(table.u)]
    named = Interactions.from_columns(users, table.items.ids(table.i), table.values)
    items = table.item_table
    assert items is not None
    titles = pl.Series("title", [None if row % 7 == 0 else f"Title, {row}" for row in range(len(items))])
    return named.with_item_table(items.with_columns(titles))


ESTIMATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ratings": (cofactor.ExplicitALS(factors=12, epochs=3), {"exclude": [3, 5, 10**9], "min_support": 20}),
    "filters": (cofactor.Bias(), {"where": "genres contains '2' or genres contains '4'", "exclude_seen": False}),
    "events": (cofactor.ImplicitALS(factors=12, epochs=3), {"diversity": 0.4}),
    "candidates": (cofactor.EASE(), {"candidates": range(300, 320)}),
    "ties": (cofactor.Popularity(), {"n": 2000}),
    "neighbors": (cofactor.ItemKNN(k=2), {"n": 40}),
    "intervals": (cofactor.BayesianMF(factors=3, iterations=8, burn_in=4, kept_samples=4), {"rank_by": "lower"}),
    "paired": (PairedModels(ranker=cofactor.ImplicitALS(factors=8, epochs=2), rating_model=cofactor.Bias()), {}),
}


@cache
def fitted(name: str) -> Recommender:
    estimator = ESTIMATORS[name][0]
    table = ratings().to_events(min_rating=4) if estimator.kind == "events" else ratings()
    return Recommender.fit(estimator, table)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.cofactor"
    fitted("ratings").save(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.usefixtures("spark")
def test_lists_of_sampled_users_equal_local_lists(name: str, tmp_path: Path) -> None:
    recommender, options = fitted(name), dict(ESTIMATORS[name][1])
    recommender.save(tmp_path / "model.cofactor")
    result = cluster.recommend_all(tmp_path / "model.cofactor", tmp_path / "lists", partitions=5, **options)
    lists = pl.read_parquet(tmp_path / "lists")
    rows = np.sort(np.random.default_rng(7).choice(len(recommender.users), N_SAMPLED, replace=False))
    users = recommender.users.ids(rows)
    local = recommender.recommend(users, options.pop("n", 10), **options)
    assert len(local) > N_SAMPLED
    assert lists.filter(pl.col("user").is_in(users.implode())).equals(local)
    assert (result.users, result.rows) == (len(recommender.users), len(lists))
    assert lists["user"].n_unique() == lists["user"].rle().len()  # each user is in one place


@pytest.mark.usefixtures("spark")
def test_given_users_and_one_part(model: Path, tmp_path: Path) -> None:
    users = fitted("ratings").users.all.sample(50, seed=1)
    cluster.recommend_all(model, tmp_path / "lists", n=3, users=users, partitions=1)
    assert names_in(tmp_path / "lists") == ["part-00000.parquet"]
    assert pl.read_parquet(tmp_path / "lists").equals(fitted("ratings").recommend(users, 3))


@pytest.mark.usefixtures("spark")
def test_written_twice_is_the_same_and_leaves_nothing_else(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "lists"
    cluster.recommend_all(model, output, partitions=4)
    first = contents(output)
    cluster.recommend_all(model, output, partitions=4)
    assert contents(output) == first
    assert names_in(output.parent) == ["lists"]
    cluster.recommend_all(model, output, partitions=2, n=2)  # fewer files
    assert pl.read_parquet(output).equals(fitted("ratings").recommend_all(2))
    empty = cluster.recommend_all(model, output, candidates=[], partitions=2)
    assert empty.rows == len(pl.read_parquet(output)) == 0


@pytest.fixture
def failing_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the last user of a job be invalid, so that its last task fails after the others have written their rows."""
    monkeypatch.setattr(Recommender, "user_rows", lambda *_: np.append(np.arange(200), 10**6).astype(np.int32))
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("spark", "failing_task")
def test_failed_task_leaves_the_folder_untouched(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "lists"
    with pytest.raises(ParameterError, match="1000000"):
        cluster.recommend_all(model, output, users=["any"], partitions=8)
    assert names_in(tmp_path) == [model.name]
    cluster.recommend_all(model, output, partitions=2)
    first = contents(output)
    with pytest.raises(ParameterError, match="1000000"):
        cluster.recommend_all(model, output, users=["any"], partitions=8, n=3)
    assert contents(output) == first
    assert names_in(tmp_path) == ["lists", model.name]


@pytest.mark.usefixtures("spark")
def test_lost_file_is_noticed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cluster whose machines do not share the folder."""
    output = tmp_path / "lists"
    cluster.recommend_all(model, output, n=1)
    publish = ParquetFolder.publish

    def lose(folder: Any, rows: list[int]) -> None:
        next(tmp_path.glob(".lists.*.new/part-00001.parquet")).unlink()
        publish(folder, rows)

    monkeypatch.setattr(ParquetFolder, "publish", lose)
    with pytest.raises(ClusterError, match="all machines share"):
        cluster.recommend_all(model, output, n=2)
    assert pl.read_parquet(output).equals(fitted("ratings").recommend_all(1))
    assert names_in(tmp_path) == ["lists", model.name]


@pytest.mark.usefixtures("spark")
def test_other_folders_are_not_replaced(model: Path, tmp_path: Path) -> None:
    notes, tables, file = tmp_path / "notes", tmp_path / "tables", tmp_path / "file"
    for folder in (notes, tables):
        folder.mkdir()
    (notes / "todo.txt").write_text("to do")
    pl.DataFrame({"user": [1]}).write_parquet(tables / "part-00000.parquet")
    file.write_text("to do")
    for output in (notes, tables, file):
        with pytest.raises(ClusterError, match="exists and contains no recommendations"):
            cluster.recommend_all(model, output)
    assert names_in(notes) == ["todo.txt"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    cluster.recommend_all(model, tmp_path / "link", n=1)
    assert (tmp_path / "link").is_symlink()
    assert len(pl.read_parquet(tmp_path / "empty")) == len(fitted("ratings").users)
    with pytest.raises(ClusterError, match="lists cannot be written: Not a directory"):
        cluster.recommend_all(model, file / "lists")


# databases


@pytest.fixture(scope="module")
def derby(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a Derby database, whose driver PySpark ships."""
    folder = tmp_path_factory.mktemp("derby")
    spark.sparkContext._jvm.java.lang.System.setProperty("derby.stream.error.file", str(folder / "log"))
    return f"jdbc:derby:{folder / 'database'};create=true"


def table_of(spark: Any, url: str, table: str) -> pl.DataFrame:
    frame: Any = pl.from_arrow(spark.read.jdbc(url, table).toArrow())
    lists: pl.DataFrame = frame.sort("user", "rank")
    return lists


def tables_in(spark: Any, url: str) -> list[str]:
    query = "(SELECT tablename FROM sys.systables WHERE tabletype = 'T') names"
    return sorted(row[0] for row in spark.read.jdbc(url, query).collect())


def test_database_table_is_replaced_in_one_transaction(
    spark: Any, derby: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = fitted("ratings").users.ids(range(300))
    local = fitted("ratings").recommend(users, 5)
    for _ in range(2):
        result = cluster.recommend_all(model, derby, table="lists", n=5, users=users, partitions=3)
        assert (result.users, result.rows) == (300, 1500)
        assert table_of(spark, derby, "lists").equals(local.sort("user", "rank"))
    assert tables_in(spark, derby) == ["LISTS"]
    with monkeypatch.context() as patch:
        patch.setattr(Recommender, "user_rows", lambda *_: np.append(np.arange(200), 10**6).astype(np.int32))
        for table in ("lists", "others"):
            with pytest.raises(ParameterError, match="1000000"):
                cluster.recommend_all(model, derby, table=table, n=2, users=["any"], partitions=8)
    assert table_of(spark, derby, "lists").equals(local.sort("user", "rank"))
    assert tables_in(spark, derby) == ["LISTS"]


def test_table_with_a_constraint_keeps_its_rows(spark: Any, derby: str, model: Path) -> None:
    """The new rows do not fit into the table, so the transaction is rolled back."""
    users = fitted("ratings").users.ids(range(10))
    cluster.recommend_all(model, derby, table="short_lists", n=2, users=users)
    connection = spark.sparkContext._jvm.java.sql.DriverManager.getConnection(derby)
    connection.createStatement().executeUpdate('ALTER TABLE short_lists ADD CONSTRAINT few CHECK ("rank" < 3)')
    connection.close()
    before = table_of(spark, derby, "short_lists")
    with pytest.raises(ClusterError, match="constraint 'FEW' was violated"):
        cluster.recommend_all(model, derby, table="short_lists", n=3, users=users)
    assert table_of(spark, derby, "short_lists").equals(before)
    assert [name for name in tables_in(spark, derby) if name.startswith("SHORT")] == ["SHORT_LISTS"]


def test_other_tables_are_not_replaced(spark: Any, derby: str, model: Path) -> None:
    spark.range(3).write.jdbc(derby, "numbers", mode="overwrite")
    with pytest.raises(ClusterError, match="numbers has other columns"):
        cluster.recommend_all(model, derby, table="numbers")
    assert spark.read.jdbc(derby, "numbers").count() == 3
    with pytest.raises(ParameterError, match="table must be the name of a table"):
        cluster.recommend_all(model, derby, table="lists; DROP TABLE numbers")
    with pytest.raises(ClusterError, match="no JDBC driver"):
        cluster.recommend_all(model, "jdbc:nothing://host", table="lists")


# arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "nowhere.cofactor"}, ArtifactError, "nowhere.cofactor cannot be read: No such file or directory"),
        ({"output": "jdbc:derby:x"}, ParameterError, "pass table together with a JDBC URL"),
        ({"output": "s3://bucket/lists"}, ParameterError, "is in an object store"),
        ({"table": "lists"}, ParameterError, "pass table together with a JDBC URL"),
        ({"n": 0}, ParameterError, "n must be an integer >= 1"),
        ({"partitions": 0}, ParameterError, "partitions must be an integer >= 1"),
        ({"users": ["nobody"]}, UnknownIdError, "nobody"),
        ({"candidates": [-4]}, UnknownIdError, "candidates: item -4"),
        ({"where": "color = 3"}, ParameterError, "color"),
        ({"rank_by": "lower"}, KindError, "does not predict a distribution"),
        ({"diversity": 2.0}, ParameterError, "diversity"),
    ],
)
@pytest.mark.usefixtures("spark")
def test_wrong_arguments(
    arguments: dict[str, Any], error: type[CofactorError], message: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        cluster.recommend_all(**{"model": model, "output": tmp_path / "lists"} | arguments)
    assert names_in(tmp_path) == [model.name]


@pytest.mark.usefixtures("spark")
def test_damaged_model(model: Path, tmp_path: Path) -> None:
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    model.write_bytes(content)
    calls = (
        lambda: cluster.recommend_all(model, tmp_path / "lists"),
        lambda: cluster.exposure(model),
        lambda: cluster.score(model, tmp_path / "test.csv"),
    )
    for call in calls:
        with pytest.raises(ArtifactError, match="damaged"):
            call()


@pytest.mark.usefixtures("spark")
def test_command(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "lists"
    options = ("--all", "--engine", "spark", "-n", 3, "-o", output)
    facts = json_of("recommend", model, *options, "--exclude", 7, "--where", "genres contains '2'", "--include-seen")
    local = fitted("ratings").recommend_all(3, exclude=[7], where="genres contains '2'", exclude_seen=False)
    assert pl.read_parquet(output).equals(local)
    assert facts == {"users": 2000, "rows": len(local), "output": str(output)}
    assert "--engine spark requires --all and -o" in rejected("recommend", model, "--all", "--engine", "spark")
    assert "--table requires --engine spark" in rejected("recommend", model, "--all", "--table", "lists")


# exposure and scores


@pytest.mark.parametrize("name", ["ratings", "events"])
@pytest.mark.usefixtures("spark")
def test_exposure_equals_the_local_audit(name: str, tmp_path: Path) -> None:
    recommender = fitted(name)
    recommender.save(tmp_path / "model.cofactor")
    local = cofactor.audit.exposure(recommender, n=7, column="genres")
    result = cluster.exposure(tmp_path / "model.cofactor", n=7, column="genres", partitions=3)
    assert result.intervals.equals(local.intervals)
    assert result.positions_per_item.lorenz.equals(local.positions_per_item.lorenz)
    assert result.genres is not None
    assert local.genres is not None
    assert result.genres.table.equals(local.genres.table)
    output = tmp_path / "exposure"
    for n in (1, 7):
        cluster.exposure(tmp_path / "model.cofactor", n=n, output=output)
    items = pl.read_parquet(output)
    assert np.array_equal(items["item"], recommender.items.all)
    assert cofactor.audit.Concentration.of(items["lists"]).gini == local.positions_per_item.gini
    assert np.array_equal(items["support"], recommender.support)
    with pytest.raises(ClusterError, match="contains no recommendations"):
        cluster.recommend_all(tmp_path / "model.cofactor", output)
    with pytest.raises(ClusterError, match="contains no exposure of items"):
        cluster.exposure(tmp_path / "model.cofactor", output=tmp_path)
    with pytest.raises(DataError, match="color"):
        cluster.exposure(tmp_path / "model.cofactor", column="color")


def same_scores(first: Any, second: Any) -> None:
    """Check that two scores agree up to the rounding of sums."""
    for name in ("metrics", "served"):
        values, others = getattr(first, name), getattr(second, name)
        assert values.keys() == others.keys()
        np.testing.assert_allclose([*values.values()], [*others.values()], rtol=1e-12)
    np.testing.assert_array_equal(first.users, second.users)
    np.testing.assert_array_equal(first.counts, second.counts)
    assert first.per_user.keys() == second.per_user.keys()
    for name, values in first.per_user.items():
        np.testing.assert_allclose(values, second.per_user[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("name", "exclude"),
    [
        ("ratings", "seen"), ("events", "seen"), ("events", "positives"), ("neighbors", "seen"), ("ties", "seen"),
        ("paired", "positives"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("spark")
def test_score_equals_the_local_score(name: str, exclude: Any, tmp_path: Path) -> None:
    estimator = ESTIMATORS[name][0]
    table = ratings().to_events(min_rating=4) if estimator.kind == "events" else ratings()
    split = cofactor.split_per_user(table, test=0.25, seed=2)
    recommender = Recommender.fit(estimator, split.train)
    recommender.save(tmp_path / "model.cofactor")
    split.test.frame().sample(fraction=1.0, shuffle=True, seed=0).write_csv(tmp_path / "test.csv")
    local = cofactor.evaluate.score(recommender, split, label=estimator.name, ks=[3, 10], exclude=exclude, seed=4)
    assert len(local.users) > 1000
    arguments = {"ks": [3, 10], "exclude": exclude, "seed": 4}
    result = cluster.score(tmp_path / "model.cofactor", tmp_path / "test.csv", partitions=3, **arguments)
    assert result.label == local.label
    same_scores(result, local)


def test_score_of_held_out_ratings_as_events(spark: Any, derby: str, tmp_path: Path) -> None:
    """Repeated ratings, of which the latest counts, and ratings that are no events."""
    split = cofactor.split_per_user(ratings().to_events(min_rating=4), test=0.25)
    recommender = Recommender.fit(cofactor.ImplicitALS(factors=4, epochs=2), split.train)
    recommender.save(tmp_path / "model.cofactor")
    held_out = split.test.frame().select("user", "item", rating=pl.lit(5.0), time=pl.lit(2_000_000_000))
    disliked = held_out.with_columns(item=pl.col("item").shuffle(1), rating=pl.lit(1.0), time=pl.lit(1_000_000_000))
    repeated = held_out.with_columns(rating=pl.lit(2.0), time=pl.lit(1_500_000_000))
    lows = disliked.join(split.train.frame().select("user", "item"), on=["user", "item"], how="anti")
    pl.concat([held_out, repeated, lows]).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(
        tmp_path / "test.parquet"
    )
    result = cluster.score(
        tmp_path / "model.cofactor", tmp_path / "test.parquet", min_rating=4, output=derby, table="scores"
    )
    written: Any = pl.from_arrow(spark.read.jdbc(derby, "scores").toArrow())
    assert written.columns == ["user", "rows", *result.per_user]
    assert written.sort("user")["ndcg@10"].equals(pl.Series("ndcg@10", result.per_user["ndcg@10"]))
    same_scores(result, cofactor.evaluate.score(recommender, split, label="implicit-als"))


@pytest.mark.usefixtures("spark")
def test_held_out_rows_must_suit_the_model(model: Path, tmp_path: Path) -> None:
    rows = {
        "known.csv": ("user,item,rating\n", LeakageError, "are in both the test set and the model's histories"),
        "user.csv": ("user,item,rating\nnobody,3,4\n", UnknownIdError, "user 'nobody' of the held-out rows"),
        "item.csv": ("user,item,rating\nuser ä2,nothing,4\n", UnknownIdError, "item 'nothing' of the held-out rows"),
        "column.csv": ("user,movie_genre,rating\nuser ä2,3,4\n", DataError, "item"),
        "empty.csv": ("", DataError, "no rows"),
    }
    first = ratings().frame().row(0, named=True)
    for name, (text, error, message) in rows.items():
        path = tmp_path / name
        path.write_text(text + (f"{first['user']},{first['item']},3\n" if name == "known.csv" else ""))
        with pytest.raises(error, match=message):
            cluster.score(model, path)
    with pytest.raises(ClusterError, match="does not exist"):
        cluster.score(model, tmp_path / "nowhere.csv")
    with pytest.raises(KindError, match="min_rating applies only to models of events"):
        cluster.score(model, tmp_path / "known.csv", min_rating=4)
    for arguments in ({"ks": [0]}, {"exclude": "none"}, {"partitions": 0}, {"seed": -1}):
        with pytest.raises(ParameterError, match=next(iter(arguments))):
            cluster.score(model, tmp_path / "known.csv", **arguments)
