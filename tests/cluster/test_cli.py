"""`cofactor fit --engine spark`: what it prints, and one sentence for each mistake."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import cofactor
from tests.support.command_line import process


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "ratings.csv"
    frame = pl.DataFrame({"user": rng.integers(60, size=900), "item": rng.integers(30, size=900)})
    frame.with_columns(rating=pl.Series(rng.integers(1, 6, 900))).unique(["user", "item"]).write_csv(path)
    return path


def test_fit_prints_what_it_did(ratings: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.cofactor"
    result = process(
        "fit", str(ratings), "--engine", "spark", "--master", "local[2]", "--model", "implicit-als",
        "--min-rating", "4",
        "--set", "epochs=2", "--set", "factors=4", "-o", str(model),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "fitted implicit-als to" in result.stdout
    assert "Spark method: half-steps (the vectors of one side take" in result.stdout
    assert result.stderr == ""
    recommender = cofactor.Recommender.load(model)
    assert recommender.estimator == cofactor.ImplicitALS(epochs=2, factors=4)
    as_json = process(
        "fit", str(ratings), "--engine", "spark", "--master", "local[1]", "--model", "explicit-als", "--json",
        "--set", "epochs=1", "-o", str(tmp_path / "other.cofactor"),
    )  # fmt: skip
    assert json.loads(as_json.stdout)["method"] == "half-steps", as_json.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "spark", "--model", "bpr", "--events"], "only explicit-als and implicit-als"),
        (["--engine", "spark"], "requires --model"),
        (["--engine", "spark", "--model", "explicit-als", "--trials", "3"], "--trials cannot be combined"),
        (["--master", "local[2]", "--model", "explicit-als"], "--master requires --engine spark"),
        (["--engine", "spark", "--model", "explicit-als", "--master", "cluster"], "master must be"),
        (["--engine", "spark", "--model", "explicit-als", "--master", "spark://127.0.0.1:9"], "cannot be reached"),
        (["--engine", "spark", "--model", "explicit-als", "--spark", "memory=2"], "--spark must have the form"),
    ],
)
def test_mistakes(arguments: list[str], message: str, ratings: Path, tmp_path: Path) -> None:
    result = process("fit", str(ratings), "-o", str(tmp_path / "m.cofactor"), *arguments)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert "at org.apache" not in result.stderr


def test_missing_java(ratings: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    environment.pop("JAVA_HOME", None)
    arguments = (
        "fit",
        str(ratings),
        "--engine",
        "spark",
        "--model",
        "explicit-als",
        "-o",
        str(tmp_path / "m.cofactor"),
    )
    result = process(*arguments, env=environment)
    assert result.returncode == 2
    assert "Spark needs Java 17 or later" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
