"""The command line: most commands run in this process, some as a real process."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer.main

from cofactor import Recommender, read_ratings
from cofactor.arrays import plain
from cofactor.cli import app
from cofactor.cli.estimator_options import estimator_of, estimators_of
from cofactor.cli.terminal import bar, epoch_progress, fetch_progress, printable
from cofactor.datasets.download import Progress
from cofactor.errors import ParameterError
from cofactor.estimators import REGISTRY, BiasedMF, Epoch, ExplicitALS
from tests.support.command_line import json_of, ok, process, rejected, run, stdout_of

COMMANDS = (
    "demo",
    "fetch",
    "import",
    "describe",
    "plan",
    "models",
    "fit",
    "evaluate",
    "compare",
    "tune",
    "recommend",
    "predict",
    "explain",
    "show",
    "similar",
    "onboard",
    "report",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ratings.csv (two groups: even users like even films), films.csv and clicks.csv."""
    home = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    rows = ["userId,movieId,rating,timestamp"]
    clicks = ["visitor,sku"]
    for user in range(40):
        for film in rng.choice(np.arange(1, 30), 18, replace=False):
            same = (user + film) % 2 == 0
            rows.append(f"{user},f{film:02},{5 if same else 1},{1_000_000 + 60 * len(rows)}")
            clicks += [f"u{user},f{film:02}"] if same else []
    (home / "ratings.csv").write_text("\n".join(rows) + "\n")
    (home / "clicks.csv").write_text("\n".join(clicks) + "\n")
    films = [f"f{film:02},Film {film} [bold]" for film in range(1, 30)]
    (home / "films.csv").write_text("\n".join(["movieId,title", *films]) + "\n")
    return home


@pytest.fixture(scope="module")
def many_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of ratings by 240 users, enough for intervals, with the two groups of `folder`."""
    path, rng = tmp_path_factory.mktemp("many") / "ratings.csv", np.random.default_rng(1)
    rows = ["userId,movieId,rating"]
    for user in range(240):
        films = rng.choice(np.arange(1, 30), 12, replace=False)
        ratings = np.where((user + films) % 2 == 0, rng.integers(4, 6, 12), rng.integers(1, 3, 12))
        rows += [f"{user},f{film:02},{rating}" for film, rating in zip(films, ratings, strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    path = folder / "films.cofactor"
    films = folder / "films.csv"
    ok(
        "fit",
        folder / "ratings.csv",
        "-o",
        path,
        "-m",
        "biased-mf",
        "--items",
        films,
        "--set",
        "factors=4",
        "--set",
        "l2=0.01",
    )
    return path


@pytest.fixture(scope="module")
def events_model(folder: Path) -> Path:
    path = folder / "clicks.cofactor"
    ok("fit", folder / "clicks.csv", "-o", path, "--model", "implicit-als", "--events", "--set", "factors=4")
    return path


# the entry point


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_no_heavy_modules(arguments: list[str]) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['cofactor', *{arguments}]\n"
        "try:\n    runpy.run_module('cofactor', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'numpy', 'polars', 'numba', 'llvmlite', 'safetensors', 'pydantic', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Usage: cofactor" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_is_fast(arguments: list[str]) -> None:
    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    seconds = []
    for _ in range(3):
        before = used()
        assert process(*arguments).returncode == 0
        seconds.append(used() - before)
    assert min(seconds) < 0.6  # CPU time, which other processes on the machine hardly change


def test_help_fits_80_columns_and_names_every_command() -> None:
    listing = process("--help", env={**os.environ, "COLUMNS": "80"}).stdout
    assert max(map(len, listing.splitlines())) <= 80
    for command in COMMANDS:
        assert re.search(rf"^│ {command} ", listing, re.MULTILINE), command


def test_help_shows_brackets_as_they_are_written() -> None:
    assert 'pip install "cofactor[tune]"' in " ".join(ok("tune", "--help").stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_description(command: str) -> None:
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    assert [parameter.name for parameter in parameters if not getattr(parameter, "help", None)] == []


def test_version() -> None:
    assert re.fullmatch(r"cofactor \d+\.\d+\.\d+\n", process("--version").stdout)


def test_no_command_shows_the_help() -> None:
    result = run()
    assert "Start here" in result.stdout + result.stderr


def test_a_closed_pipe_is_not_an_error(folder: Path) -> None:
    """As in `cofactor describe ratings.csv | head -1`, where head has already ended."""
    arguments = [sys.executable, "-m", "cofactor", "describe", str(folder / "ratings.csv"), "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "error" not in done.stderr


def test_an_interrupt_prints_one_line(tmp_path: Path) -> None:
    fit = ["fit", "movielens-100k", "-o", str(tmp_path / "never"), "--model", "explicit-als"]
    ok(*fit[:3], tmp_path / "once", *fit[4:], "--set", "epochs=1")  # kernels are compiled now
    arguments = [sys.executable, "-m", "cofactor", *fit, "--set", "epochs=1000", "--set", "cg_steps=100"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("note: ")  # the table has been read
        time.sleep(0.7)
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert stderr.splitlines()[-1] == "stopped"
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["once"]


@pytest.mark.long
def test_an_ascii_terminal_gets_the_complete_demo_of_a_table(folder: Path) -> None:
    done = process("describe", str(folder / "ratings.csv"), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "cells known" in done.stdout


# describe


def test_describe_reports_what_was_read(folder: Path) -> None:
    out = ok("describe", folder / "ratings.csv", "--items", folder / "films.csv").stdout
    assert re.search(r"rows read +720\n", re.sub(r" +\n", "\n", out))
    assert "40, with 18 to 18 ratings each (median 18)" in out
    assert "1970-01-12" in out
    assert "Film" in out
    assert "cells known" in out
    assert max(map(len, out.splitlines())) <= 80


def test_describe_as_json(folder: Path) -> None:
    described = json_of("describe", folder / "ratings.csv", "--top-users", 3, "--top-items", 2)
    assert (described["rows"], described["users"], described["items"], described["kind"]) == (720, 40, 29, "ratings")
    assert described["load"]["rejected"] == {}
    assert sum(value["count"] for value in described["values"]) == 720
    assert np.shape(described["crosstab"]["values"]) == (3, 2)


def test_describe_events_and_converted_ratings(folder: Path) -> None:
    assert json_of("describe", folder / "clicks.csv", "--events")["kind"] == "events"
    described = json_of("describe", folder / "ratings.csv", "--min-rating", 4)
    assert (described["kind"], described["scale"], described["items"]) == ("events", None, 29)


def test_a_declared_scale_is_kept(folder: Path) -> None:
    described = json_of("describe", folder / "ratings.csv", "--rating-levels", "1,2,3,4,5")
    assert described["scale"]["levels"] == [1, 2, 3, 4, 5]
    assert [value["count"] for value in described["values"]][1:4] == [0, 0, 0]


def test_bad_rows_are_set_aside_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "r.csv"
    source.write_text("user,item,rating\na,x,5\nb,y,many\n,x,3\nb,x,4\na,x,2\n")
    result = ok("describe", source, "--on-error", "quarantine", "--json")
    described = json.loads(result.stdout)
    assert (described["rows"], described["load"]["rows"], described["load"]["duplicates"]) == (2, 5, 1)
    assert sum(described["load"]["rejected"].values()) == 2
    assert "2 of 5 rows rejected" in result.stderr
    assert "r.csv.rejected.csv" in result.stderr
    assert len((tmp_path / "r.csv.rejected.csv").read_text().splitlines()) == 3
    mine = tmp_path / "mine.csv"
    ok("describe", source, "--on-error", "quarantine", "--quarantine", mine)
    assert mine.exists()
    assert "2 (" in ok("describe", source, "--on-error", "quarantine").stdout


def test_column_names_format_and_sql(tmp_path: Path) -> None:
    odd = tmp_path / "odd.txt"
    odd.write_text("who|what|how\na|x|5\nb|y|1\n")
    assert json_of("describe", odd, "--user", "who", "--item", "what", "--value", "how")["rows"] == 2
    base = tmp_path / "shop.db"
    with sqlite3.connect(base) as connection:
        connection.execute("create table r (user_id text, item_id text, rating real)")
        connection.execute("insert into r values ('a', 'x', 5), ('b', 'y', 2)")
    assert json_of("describe", f"sqlite:///{base}", "--query", "select * from r")["rows"] == 2


# from a file to recommendations and back


def test_fit_prints_the_path_of_the_model_and_the_next_command(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.cofactor"
    result = ok("fit", folder / "ratings.csv", "-o", path, "-m", "biased-mf", "--set", "factors=3", "--set", "epochs=5")
    assert "fitted biased-mf to 720 ratings (40 users x 29 items)" in result.stdout
    assert "5 epochs" in result.stdout
    assert f"cofactor recommend {path} --user 0" in result.stdout
    assert "columns by name" in result.stderr
    assert Recommender.load(path).estimator == BiasedMF(factors=3, epochs=5)
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


def test_fit_as_json_reports_every_epoch(folder: Path, tmp_path: Path) -> None:
    fitted = json_of(
        "fit", folder / "ratings.csv", "-o", tmp_path / "m", "--model", "explicit-als", "--set", "epochs=4"
    )
    assert [epoch["number"] for epoch in fitted["epochs"]] == [1, 2, 3, 4]
    assert fitted["epochs"][0]["validation"] is None
    assert fitted["estimator"]["model"] == "explicit-als"
    assert fitted["estimator"]["epochs"] == 4


def test_fit_learns_a_prior_of_new_users(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.cofactor"
    result = ok("fit", folder / "ratings.csv", "-o", path, "-m", "biased-mf", "--set", "epochs=2")
    assert "new users and items start from the average taste" in result.stdout
    assert Recommender.load(path).priors is not None
    result = ok("fit", folder / "ratings.csv", "-o", path, "-m", "biased-mf", "--set", "epochs=2", "--no-priors")
    assert "new users and items start" not in result.stdout
    without = Recommender.load(path).priors
    assert without is not None
    assert without.is_empty
    ok("fit", folder / "ratings.csv", "-o", path, "--model", "item-knn")
    assert Recommender.load(path).priors is None


def test_new_users_are_distinguished_by_their_features(tmp_path: Path) -> None:
    path = tmp_path / "m.cofactor"
    ok("fit", "movielens-100k", "-o", path, "-m", "biased-mf", "--set", "epochs=5", "--user-features", "age,gender")
    lists = [
        json_of("recommend", path, *who) for who in (("--user-features", "age=20"), ("--user-features", "gender=F"))
    ]
    assert [row["score"] for row in lists[0]] != [row["score"] for row in lists[1]]
    for wrong, message in (
        ("age=old", "number"),
        ("city=Rome", "which is not a feature of the prior"),
        ("age", "COLUMN=VALUE"),
    ):
        result = run("recommend", path, "--user-features", wrong)
        assert result.exit_code != 0
        assert message in " ".join(result.stderr.split())


def test_items_without_events_are_placed_by_their_features(tmp_path: Path) -> None:
    path = tmp_path / "m.cofactor"
    options = ["movielens-100k", "-o", path, "-m", "rp3beta", "--min-rating", 4]
    ok("fit", *options)
    before = Recommender.load(path)
    assert "new items start from genres, year" in ok("fit", *options, "--item-features", "genres,year").stdout
    after = Recommender.load(path)
    assert before.evidence is not None
    assert (~before.evidence).sum() > 200
    assert after.evidence is None or after.evidence.sum() > before.evidence.sum() + 200
    film = after.items.all[int(np.flatnonzero(~before.evidence)[0])]
    listed = after.recommend(1, n=1682, exclude_seen=False).filter(pl.col("item") == film)
    assert listed["answered_by"].to_list() == ["model"]


def test_fit_names_missing_columns(folder: Path, tmp_path: Path) -> None:
    result = run("fit", folder / "ratings.csv", "-o", tmp_path / "m", "-m", "biased-mf", "--user-features", "age")
    assert result.exit_code != 0
    assert "age" in result.stderr
    result = run("fit", folder / "ratings.csv", "-o", tmp_path / "m", "-m", "item-knn", "--item-features", "genres")
    assert result.exit_code != 0
    assert "bayesian-mf and neural-mf have built-in priors" in " ".join(result.stderr.split())


def test_the_same_seed_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        ok("fit", folder / "ratings.csv", "-o", tmp_path / name, "-m", "biased-mf", "--seed", seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_command_line_and_python_give_the_same_model(folder: Path, model: Path) -> None:
    loaded = Recommender.load(model)
    mine = Recommender.fit(BiasedMF(factors=4, l2=0.01), read_ratings(folder / "ratings.csv"), seed=0)
    np.testing.assert_array_equal(loaded.model.user_factors, mine.model.user_factors)


@pytest.mark.parametrize(
    ("name", "options"),
    [("biased-mf", []), ("explicit-als", []), ("implicit-als", ["--min-rating", "4"])],
)
def test_a_validation_part_stays_in_the_histories(folder: Path, tmp_path: Path, name: str, options: list[str]) -> None:
    path = tmp_path / "m"
    fitted = json_of("fit", folder / "ratings.csv", "-o", path, "--model", name, "--validation", 0.2, *options)
    assert all(epoch["validation"] is not None for epoch in fitted["epochs"])
    history = read_ratings(folder / "ratings.csv")
    history = history.to_events(min_rating=4) if options else history
    np.testing.assert_array_equal(Recommender.load(path).histories.columns, history.by_user.columns)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_recommendations_for_all_users(model: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"all.{ending}"
    ok("recommend", model, "--all", "-n", 5, "-o", path)
    read = (
        pl.read_parquet(path) if ending == "parquet" else pl.read_csv(path, separator="\t" if ending == "tsv" else ",")
    )
    assert read.columns == ["user", "item", "rank", "score", "prediction", "support", "answered_by", "title"]
    assert read["user"].n_unique() == 40
    assert read["rank"].max() == 5
    expected = Recommender.load(model).recommend_all(5)
    assert read["item"].to_list() == expected["item"].to_list()
    assert read["user"].to_list() == expected["user"].to_list()


def test_recommended_films_are_of_the_users_group_and_unseen(folder: Path, model: Path) -> None:
    rows = json_of("recommend", model, "--user", 6, "-n", 3)
    seen = set(read_ratings(folder / "ratings.csv").frame().filter(pl.col("user") == 6)["item"])
    assert [row["rank"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert int(row["item"][1:]) % 2 == 0
        assert row["item"] not in seen
        assert row["title"] == f"Film {int(row['item'][1:])} [bold]"
    assert {row["item"] for row in json_of("recommend", model, "--user", 6, "-n", 29, "--include-seen")} > seen


def test_the_output_shows_title_rating_and_support(folder: Path, model: Path) -> None:
    result = ok("recommend", model, "--user", 6, "--user", 7, "-n", 2)
    assert "For user 6" in result.stdout
    assert "For user 7" in result.stdout
    first = json_of("recommend", model, "--user", 6, "-n", 1)[0]
    line = next(line for line in result.stdout.splitlines() if first["item"] in line)
    table = read_ratings(folder / "ratings.csv").frame()
    support = table.filter(pl.col("item") == first["item"]).height
    expected = Recommender.load(model).predict(6, first["item"])
    assert line.split() == ["1", *first["title"].split(), first["item"], f"{expected:.2f}", str(support), "model"]


def test_a_repeated_user_is_answered_once(model: Path) -> None:
    assert len(json_of("recommend", model, "--user", 6, "--user", 6, "-n", 2)) == 2


def test_a_new_user_with_ratings(model: Path) -> None:
    rows = json_of("recommend", model, "--rated", "f02=5", "--rated", "f04=5", "--rated", "f01=1", "-n", 5)
    items = [row["item"] for row in rows]
    assert all(int(item[1:]) % 2 == 0 for item in items)
    assert not {"f02", "f04"} & set(items)
    assert "user" not in rows[0]
    assert "predicted" in ok("recommend", model, "--rated", "f02=5").stdout


def test_fit_does_not_overwrite_other_files(folder: Path, tmp_path: Path) -> None:
    notes, link = tmp_path / "notes.txt", tmp_path / "link"
    notes.write_text("to do: call ana")
    link.symlink_to(notes)
    for output in (notes, link):
        result = run("fit", folder / "ratings.csv", "-o", output, "--model", "bias")
        assert result.exit_code == 2
        assert "is not a cofactor file and will not be overwritten; delete it" in " ".join(result.stderr.split())
        assert "columns by name" not in result.stderr  # no file was read before
    assert notes.read_text() == "to do: call ana"
    notes.unlink()
    ok("fit", folder / "ratings.csv", "-o", link, "--model", "bias")  # through a link to a file that does not exist yet
    notes.chmod(0o600)
    ok("fit", folder / "ratings.csv", "-o", link, "--model", "bias", "--set", "damping=1")
    assert link.is_symlink()
    assert notes.stat().st_mode & 0o777 == 0o600
    assert Recommender.load(notes).estimator.damping == 1


def test_outputs_keep_modes_and_links(folder: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("user,item\n6,f02\n")
    commands: dict[str, list[object]] = {
        "list.csv": ["recommend", model, "--all", "-o"],
        "list.parquet": ["recommend", model, "--user", 6, "-o"],
        "predicted.tsv": ["predict", model, "--pairs", tmp_path / "pairs.csv", "-o"],
        "bad.csv": ["describe", tmp_path / "bad_ratings.csv", "--on-error", "quarantine", "--quarantine"],
        "best.json": ["tune", folder / "ratings.csv", "--model", "bias", "--trials", 1, "-o"],
    }
    (tmp_path / "bad_ratings.csv").write_text("user,item,rating\n1,a,5\n1,b,x\n")
    for name, command in commands.items():
        target, link = tmp_path / f"real {name}", tmp_path / name
        target.write_text("of another program")
        target.chmod(0o640)
        link.symlink_to(target)
        ok(*command, link)
        assert link.is_symlink()
        assert target.stat().st_mode & 0o777 == 0o640
        assert target.read_bytes() != b"of another program"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["item-knn", "bayesian-mf", "bias", "user-knn"])
def test_a_rating_off_the_scale_is_rejected_for_every_model(folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.cofactor"
    settings = ["--set", "iterations=4", "--set", "burn_in=2"] if name == "bayesian-mf" else []
    ok("fit", folder / "ratings.csv", "-o", path, "--model", name, *settings)
    scale = json_of("describe", folder / "ratings.csv")["scale"]
    for rating in (99, -7, "1e30", "nan", 4.5, scale["low"] - 1, scale["high"] + 1):
        result = run("recommend", path, "--rated", "f02=5", "--rated", f"f04={rating}")
        assert result.exit_code == 2
        assert f"--rated f04={rating}: the rating is" in " ".join(result.stderr.split())
        assert "with levels" in " ".join(result.stderr.split())
    assert json_of("recommend", path, "--rated", "f02=5", "--rated", "f04=5", "-n", 1)


def test_a_new_user_with_events(events_model: Path) -> None:
    rows = json_of("recommend", events_model, "--item", "f02", "--item", "f04", "-n", 4)
    assert all(int(row["item"][1:]) % 2 == 0 for row in rows)
    assert "events" in ok("recommend", events_model, "--item", "f02").stdout


def test_more_than_the_catalog_gives_all_items(model: Path) -> None:
    result = ok("recommend", model, "--user", 6, "-n", 1000, "--json")
    assert len(json.loads(result.stdout)) == 29 - 18
    assert "29 items, fewer than the requested 1,000" in result.stderr


def test_predictions_keep_order_ids_and_count(model: Path, tmp_path: Path) -> None:
    pairs, out = tmp_path / "pairs.csv", tmp_path / "out.csv"
    pairs.write_text("item,note,user\nf02,a,6\nf01,b,6\nnobody,c,6\nf02,d,99\nf02,e,x\nf02,f,6\n")
    result = ok("predict", model, "--pairs", pairs, "-o", out)
    read = pl.read_csv(out)
    assert read.columns == ["user", "item", "prediction"]
    assert read["user"].to_list() == ["6", "6", "6", "99", "x", "6"]
    assert read["item"].to_list() == ["f02", "f01", "nobody", "f02", "f02", "f02"]
    recommender = Recommender.load(model)
    assert read["prediction"][0] == pytest.approx(recommender.predict(6, "f02"), abs=1e-4)
    assert read["prediction"][0] == read["prediction"][5]
    assert read["prediction"][0] > 4 > 2 > read["prediction"][1]
    assert read["prediction"][3] == pytest.approx(recommender.predict(99, "f02"), abs=1e-4)
    assert read["prediction"].is_finite().all()
    assert "2 of 6 pairs have an unknown user (99" in result.stderr.replace("'", "")
    assert "1 of 6 pairs have an unknown item" in result.stderr


def test_predictions_from_and_to_parquet(model: Path, tmp_path: Path) -> None:
    pl.DataFrame({"u": [6.0, 7.0], "film": ["f02", "f01"]}).write_parquet(tmp_path / "pairs.parquet")
    columns = ["--user-column", "u", "--item-column", "film"]
    ok("predict", model, "--pairs", tmp_path / "pairs.parquet", "-o", tmp_path / "out.parquet", *columns)
    read = pl.read_parquet(tmp_path / "out.parquet")
    assert read["user"].to_list() == [6, 7]
    assert (read["prediction"] > 4).all()


def test_one_prediction(model: Path) -> None:
    value = float(ok("predict", model, "--user", 6, "--item", "f02").stdout)
    assert value == pytest.approx(Recommender.load(model).predict(6, "f02"), abs=1e-3)
    assert json_of("predict", model, "--user", 6, "--item", "f02")[0]["prediction"] == pytest.approx(value, abs=1e-3)
    result = ok("predict", model, "--user", "x", "--item", "f02")
    assert "user 'x' is not known" in result.stderr
    assert 1 <= float(result.stdout) <= 5


def test_many_printed_predictions_end_in_a_hint(model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item\n" + "6,f02\n" * 50)
    assert "30 more" in ok("predict", model, "--pairs", tmp_path / "p.csv").stdout


def test_similar_items_are_of_the_same_group(model: Path, tmp_path: Path) -> None:
    rows = json_of("similar", model, "--item", "f02", "-n", 5)
    assert all(int(row["item"][1:]) % 2 == 0 for row in rows)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert "Film" in ok("similar", model, "--item", "f02").stdout
    ok("similar", model, "--item", "f02", "-o", tmp_path / "s.csv")
    assert pl.read_csv(tmp_path / "s.csv").columns == ["item", "rank", "score", "title"]


@pytest.mark.parametrize("method", ["removal", "contribution"])
def test_an_explanation_shows_the_history(model: Path, method: str) -> None:
    explanation = json_of("explain", model, 6, "f02", "--method", method)
    if method == "removal":
        effects = [abs(effect["effect"]) for effect in explanation["effects"]]
        assert effects == sorted(effects, reverse=True)
        assert effects[0] > 0
        assert {"item", "value", "effect", "title"} == set(explanation["effects"][0])
        assert explanation == json_of("explain", model, 6, "f02")
    else:
        assert sum(part["term"] for part in explanation["parts"]) == pytest.approx(explanation["score"], rel=1e-4)
        assert {part["part"] for part in explanation["parts"]} == {"mean", "user", "item", "history", "not attributed"}
    output = ok("explain", model, 6, "f02", "-n", 3, "--method", method).stdout
    assert "Film" in output
    assert "more" in output
    assert "Predicted rating" in output
    assert f"{explanation['score']:.3f}" in output
    assert max(map(len, output.splitlines())) <= 80


def test_similar_users_are_of_the_same_group(model: Path) -> None:
    assert all(int(row["user"]) % 2 == 0 for row in json_of("similar", model, "--user", 6, "-n", 5))


def test_ids_with_leading_zeros_are_distinct(tmp_path: Path) -> None:
    """ "007" makes the ids of a file strings: typed ids and those in a file of integers must still be found."""
    (tmp_path / "r.csv").write_text("user,item,rating\n007,10,5\n7,10,1\n7,11,5\n8,11,4\n")
    (tmp_path / "p.csv").write_text("user,item\n7,10\n8,11\n")
    (tmp_path / "items.csv").write_text("item,title\n10,Ten\n11,Eleven\n12,Twelve\n")
    path = tmp_path / "m"
    ok("fit", tmp_path / "r.csv", "-o", path, "--model", "bias", "--items", tmp_path / "items.csv")
    assert json_of("recommend", path, "--user", "007")[0]["title"] == "Eleven"
    result = ok("predict", path, "--pairs", tmp_path / "p.csv", "--json")
    assert "unknown" not in result.stderr
    rec = Recommender.load(path)
    assert json.loads(result.stdout)[0]["prediction"] == pytest.approx(rec.predict("7", 10))


def test_titles_by_another_name_and_id_column(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("name,key\nFilm Two,f02\nNever Rated,zzz\n")
    path = tmp_path / "m"
    ok(
        "fit",
        folder / "ratings.csv",
        "-o",
        path,
        "-m",
        "biased-mf",
        "--items",
        tmp_path / "films.csv",
        "--item-id",
        "key",
    )
    table = Recommender.load(path).item_table
    assert table is not None
    assert table.filter(pl.col("item") == "f02")["title"].to_list() == ["Film Two"]
    ok("recommend", path, "--user", 6)  # most titles are missing


# evaluate and models


def test_evaluate_ratings(many_users: Path) -> None:
    out = ok("evaluate", many_users, "--model", "biased-mf", "--model", "explicit-als", "--refits", 1).stdout
    assert max(map(len, out.splitlines())) <= 80
    assert "2,304 training and 576 test rows" in out
    out, _, overlap = out.partition("Share of items in common between lists of fits with different seeds")
    assert re.search(r"^ bias +1\.000", overlap, re.MULTILINE)
    assert re.search(r"^ biased-mf +0\.\d{3}", overlap, re.MULTILINE)
    names = [line.split()[0] for line in out.splitlines() if re.match(r" (biased-mf|explicit-als|bias) ", line)]
    assert sorted(names) == ["bias", "biased-mf", "explicit-als"]
    assert names[-1] == "bias"  # it does not model the groups, and the best comes first
    assert re.search(r"\d\.\d{4}-\d\.\d{4}", out)
    assert "*" in out.splitlines()[4]


def test_evaluate_as_json_has_intervals(many_users: Path) -> None:
    evaluation = json_of("evaluate", many_users, "--model", "biased-mf", "--seed", 2, "--refits", 1)
    assert [entry["model"] for entry in evaluation["models"]] == ["biased-mf", "bias"]
    rmse = evaluation["models"][0]["metrics"]["rmse"]
    assert rmse["low"] <= rmse["mean"] <= rmse["high"]
    assert evaluation["models"][1]["metrics"]["rmse"]["mean"] > rmse["mean"]
    assert 0 < evaluation["models"][0]["metrics"]["seed_overlap@10"]["mean"] <= 1


def test_few_users_have_no_interval_in_any_table(tmp_path: Path) -> None:
    rows = "".join(f"u{user},i{item},{1 + (user * item) % 5}\n" for user in range(5) for item in range(30))
    (tmp_path / "few.csv").write_text("user,item,rating\n" + rows, encoding="utf-8")
    for command in ("evaluate", "compare"):
        output = " ".join(ok(command, tmp_path / "few.csv", "--model", "explicit-als").stdout.split())
        assert "no interval" in output
        assert "An interval needs at least 200 users" in output
        assert "nan" not in output
    rmse = json_of("evaluate", tmp_path / "few.csv", "--model", "bias")["models"][0]["metrics"]["rmse"]
    assert rmse["mean"] > 0
    assert (rmse["low"], rmse["high"]) == (None, None)


def test_the_legend_of_evaluate_points_to_the_paired_tests(many_users: Path) -> None:
    output = " ".join(ok("evaluate", many_users, "--model", "bias").stdout.split())
    assert "`cofactor compare` tests the differences user by user" in output
    assert "luck" not in output
    assert "no interval" not in output.lower()


def test_evaluate_events_at_two_lengths(folder: Path) -> None:
    arguments = ["evaluate", folder / "ratings.csv", "--min-rating", 4, "--k", 3, "--k", 5, "--split", "per-user"]
    out = ok(*arguments).stdout
    assert "Lists of 3" in out
    assert "Lists of 5" in out
    assert max(map(len, out.splitlines())) <= 80
    metrics = json_of(*arguments)["models"][0]["metrics"]
    assert {"ndcg@3", "ndcg@5", "recall@5", "gini@3"} <= set(metrics)
    assert metrics["gini@3"]["low"] is None  # no interval, not NaN


@pytest.mark.parametrize(
    ("split", "test", "described"),
    [
        ("random", None, "random"), ("per-user", "0.3", "per user, 30%"), ("last", None, "last row"),
        ("last", "2", "last 2 rows"), ("by-time", None, "UTC on"), ("users", "0.25", "10 users held out"),
    ],
)  # fmt: skip
def test_every_split(folder: Path, split: str, test: str | None, described: str) -> None:
    share = [] if test is None else ["--test", test]
    evaluation = json_of("evaluate", folder / "ratings.csv", "--model", "bias", "--split", split, *share)
    assert described in evaluation["split"]


def test_a_setting_for_one_of_several_models() -> None:
    models = ["biased-mf", "explicit-als"]
    both = estimators_of(models, ["factors=7", "explicit-als.l2=0.3", "learning_rate=0.5"])
    assert both == [BiasedMF(factors=7, learning_rate=0.5), ExplicitALS(factors=7, l2=0.3)]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("factors=12", "factors", 12), ("l2=1e-3", "l2", 0.001), ("l2=1", "l2", 1.0), ("biases=false", "biases", False),
        ("biases=Yes", "biases", True), ("rating_range=0.5,5.5", "rating_range", (0.5, 5.5)),
        ("rating_range=(0, 6)", "rating_range", (0.0, 6.0)), ("rating_range=none", "rating_range", None),
        ("rating_range=scale", "rating_range", "scale"), (" epochs = 3 ", "epochs", 3),
    ],
)  # fmt: skip
def test_settings_have_the_type_of_their_field(text: str, name: str, value: object) -> None:
    parsed = getattr(estimator_of("biased-mf", [text]), name)
    assert parsed == value
    assert type(parsed) is type(value)


def test_models_lists_every_setting_of_every_estimator() -> None:
    listed = {entry["model"]: entry for entry in json_of("models")}
    assert set(listed) == set(REGISTRY)
    by_name = {setting["name"]: setting for setting in listed["biased-mf"]["settings"]}
    assert by_name["factors"]["default"] == BiasedMF().factors
    assert (by_name["factors"]["low"], by_name["factors"]["high"]) == (1, 1024)
    assert all(setting["meaning"] for entry in listed.values() for setting in entry["settings"])
    out = ok("models", "biased-mf").stdout
    assert "patience" in out
    assert "popularity" not in out
    assert max(len(line) for line in ok("models").stdout.splitlines() if "cofactor fit" not in line) <= 80


# data sets and the demo


def test_fetch_and_its_list() -> None:
    listed = json_of("fetch", "--list")
    assert {"movielens-100k", "movielens-32m"} <= {entry["name"] for entry in listed}
    assert "movielens-1m" in ok("fetch", "--list").stdout
    fetched = json_of("fetch", "movielens-100k")
    assert (fetched["ratings"], fetched["users"], fetched["items"]) == (100_000, 943, 1682)
    assert Path(fetched["folder"]).is_dir()
    out = ok("fetch", "movielens-100k").stdout
    assert "GroupLens" in out
    assert "Harper" in out
    assert "100,000 ratings" in out


def test_a_data_set_by_its_name() -> None:
    assert json_of("describe", "movielens-100k", "--min-rating", 4)["rows"] == 55_375


@pytest.mark.long
def test_the_demo_prints_all_steps_and_writes_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    first, second = (process("demo", cwd=tmp_path, env=environment) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert list(tmp_path.iterdir()) == []
    out = first.stdout
    assert max(map(len, out.splitlines())) <= 80
    assert "Star Wars" in out
    assert "epoch 20" in out
    films = re.findall(r"^ {1,2}(\d+)   (.+?) {2,}(\d\.\d\d) +(\d+)(?: \?)?\s*$", out, re.MULTILINE)
    assert [int(rank) for rank, *_ in films] == list(range(1, 11))
    assert all(1 <= float(rating) <= 5 for *_, rating, _ in films)
    rmse = {
        name: float(value) for name, value in re.findall(r"^ (\S+)(?: \(baseline\))? +(0\.\d+) +0", out, re.MULTILINE)
    }
    assert set(rmse) == {"biased-mf", "explicit-als", "bias"}
    assert rmse["biased-mf"] < 0.925 < rmse["bias"] < 0.96
    assert "cofactor fit ratings.csv" in out


def test_the_demo_keeps_its_model_on_request(tmp_path: Path) -> None:
    ok("demo", "-o", tmp_path / "films.cofactor", "--user", 7)
    assert len(json_of("recommend", tmp_path / "films.cofactor", "--user", 7)) == 10


def test_the_demo_for_an_unknown_user() -> None:
    result = run("demo", "--user", "ana")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(
        "error: user 'ana' is not known to the model; known IDs are 1, 2, 3"
    )


# progress


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_goes_to_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with fetch_progress() as tell:
        for done in (0, 5, 10):
            tell(Progress("asking the maker", done, 10))
    with epoch_progress("biased-mf") as callback:
        callback(Epoch(1, 2, 0.9, None, 0.1))
        callback(Epoch(2, 2, 0.8123, 0.7, 0.2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "asking the maker" in captured.err
    assert ("epoch 2/2, loss 0.8123, validation 0.7000" in captured.err) == terminal
    if not terminal:
        assert captured.err == "asking the maker\n"


# small things


def test_plain_values_are_json() -> None:
    value = plain({1: (np.float32("nan"), np.int64(3), math.inf), "a": np.array([[1.5, np.nan]])})
    assert value == {"1": [None, 3, None], "a": [[1.5, None]]}


def test_titles_cannot_contain_terminal_codes() -> None:
    assert printable("a\x1b[2Jb\nc") == "a?[2Jb?c"
    assert printable("Café · ★") == "Café · ★"


def test_the_length_of_a_bar_is_its_share() -> None:
    assert [len(bar(share, 10)) for share in (0, 0.5, 1, 2, -1)] == [0, 5, 10, 10, 0]


# side information


def test_features_and_times_on_the_command_line(folder: Path, model: Path, tmp_path: Path) -> None:
    user_lines = ["userId,camp", *(f"{user},{'even' if user % 2 == 0 else 'odd'}" for user in range(40))]
    (tmp_path / "people.csv").write_text("\n".join(user_lines) + "\n")
    options = ("--set", "factors=4", "--set", "iterations=30", "--set", "user_features=camp", "--set", "time_bin=600")
    path = tmp_path / "b.cofactor"
    ok(
        "fit",
        folder / "ratings.csv",
        "-o",
        path,
        "--model",
        "bayesian-mf",
        "--users",
        tmp_path / "people.csv",
        *options,
    )
    assert Recommender.load(path).estimator == REGISTRY["bayesian-mf"](
        factors=4, iterations=30, user_features=("camp",), time_bin=600
    )
    pairs = folder / "ratings.csv"
    at, plain = (
        [row["prediction"] for row in json_of("predict", path, "--pairs", pairs, *more)]
        for more in (("--time-column", "timestamp"), ())
    )
    assert at != plain
    assert estimator_of("bayesian-mf", ["user_features=none"]) == REGISTRY["bayesian-mf"]()
    blind = ok("predict", model, "--pairs", pairs, "--time-column", "timestamp").stderr
    assert "the model does not use times" in " ".join(blind.split())
    assert "no column 'when'" in run("predict", path, "--pairs", pairs, "--time-column", "when").stderr
    (tmp_path / "late.csv").write_text("userId,movieId,timestamp\n1,f01,soon\n")
    late = run("predict", path, "--pairs", tmp_path / "late.csv", "--time-column", "timestamp").stderr
    assert "pair 1: the time is neither a number of seconds nor an ISO date: 'soon'" in " ".join(late.split())


# two models


def test_two_models_rank_and_predict(folder: Path, tmp_path: Path) -> None:
    path, ranker, ratings = (tmp_path / f"{name}.cofactor" for name in ("both", "ranker", "ratings"))
    table, settings = folder / "ratings.csv", ("--set", "factors=4", "--items", folder / "films.csv")
    said = stdout_of("fit", table, "-o", path, "--rating-model", "explicit-als", "--min-rating", 3, *settings)
    assert "fitted implicit-als and explicit-als to" in said
    assert said.count("epochs, loss") == 2
    ok("fit", table, "-o", ranker, "--model", "implicit-als", "--min-rating", 3, *settings)
    ok("fit", table, "-o", ratings, "--model", "explicit-als", *settings)
    lists = [json_of("recommend", file, "--user", "1", "-n", 5) for file in (path, ranker)]
    assert [(row["item"], row["score"]) for row in lists[0]] == [(row["item"], row["score"]) for row in lists[1]]
    assert all(row["prediction"] is None for row in lists[1])
    for row in lists[0]:
        alone = json_of("predict", ratings, "--user", "1", "--item", row["item"])[0]["prediction"]
        assert row["prediction"] == alone
    assert "predicted" in stdout_of("recommend", path, "--user", "1")
    rating = f"Predicted rating: {lists[0][0]['prediction']:.2f}"
    assert rating in stdout_of("explain", path, "1", lists[0][0]["item"])
    facts = json_of("fit", table, "-o", path, "--rating-model", "bias", "--model", "ease")
    assert facts["estimator"]["model"] == "paired-models"
    assert facts["estimator"]["ranker"]["estimator"] == "ease"
    assert facts["estimator"]["rating_model"] == {"estimator": "bias", "damping": 5.0}


def test_two_models_are_evaluated_by_both_kinds_of_metrics(folder: Path) -> None:
    options = ("evaluate", folder / "ratings.csv", "--model", "ease", "--model", "item-knn", "--rating-model", "bias")
    said = stdout_of(*options, "--min-rating", 3)
    assert all(title in said for title in ("RMSE", "Lists of 10", "NDCG", "paired-models #2", "baseline"))
    models = {model["model"]: model["metrics"] for model in json_of(*options, "--min-rating", 3)["models"]}
    assert models["paired-models #1"]["rmse"] == models["bias"]["rmse"]
    assert "ndcg@10" in models["paired-models #1"]
    assert "ndcg@10" not in models["bias"]
    popular = ("evaluate", folder / "ratings.csv", "--model", "popularity", "--rating-model", "bias", "--min-rating", 3)
    seen, positives = (
        {model["model"]: model["metrics"] for model in json_of(*popular, "--exclude", exclude)["models"]}[
            "paired-models"
        ]
        for exclude in ("seen", "positives")
    )
    assert positives["ndcg@10"]["mean"] < seen["ndcg@10"]["mean"]  # disliked items take places in the lists
    assert positives["rmse"] == seen["rmse"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--events"], "--rating-model requires ratings"),
        (["--min-rating", "3", "--gain", "1"], "--gain cannot be combined with --rating-model"),
        (["--model", "biased-mf"], "ranker must be an estimator for events"),
        (["--min-rating", "60"], "no rating is at or above min_rating=60"),
    ],
)
def test_two_models_of_the_wrong_kinds_are_rejected(
    options: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    said = rejected("fit", folder / "ratings.csv", "-o", tmp_path / "m", "--rating-model", "bias", *options)
    assert message in " ".join(said.split())
    assert not (tmp_path / "m").exists()


def test_the_parts_of_a_pair_can_be_set_by_name() -> None:
    pair = estimator_of("paired-models", ["ranker=ease", "rating_model=bias", "min_rating=3"])
    assert pair.to_dict()["ranker"]["estimator"] == "ease"
    with pytest.raises(ParameterError, match="ranker must be blend or bpr or ease or"):
        estimator_of("paired-models", ["ranker=biased-mf"])
