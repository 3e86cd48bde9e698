"""`cofactor onboard`: questions, accepted answers, and how it ends for any input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cofactor import BayesianMF, BiasedMF, Interactions, Popularity, Recommender
from tests.support.command_line import run, stdout_of


def ok(model: Path, answers: str, *options: object) -> str:
    text = stdout_of("onboard", model, *options, text=answers)
    lines = text.splitlines()  # a command is not broken into lines
    assert max(len(line) for line in lines if "cofactor recommend" not in line) <= 80
    return text


@pytest.fixture(scope="module", params=[BiasedMF(factors=4), BayesianMF(factors=3, iterations=12, burn_in=4)], ids=str)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_ratings: Interactions
) -> Path:
    ids = small_ratings.items.ids(np.arange(small_ratings.n_items)).to_list()
    titles = [f"The Film {n}" + " and Some More" * (n % 9) + "\x1b[31m" * (n % 2) for n in range(len(ids))]
    table = small_ratings.with_item_table(pl.DataFrame({"item": ids, "title": titles}))
    path = tmp_path_factory.mktemp("onboard") / "model.cofactor"
    Recommender.fit(request.param, table).save(path)
    return path


def test_questions_have_titles_and_lists_change(model: Path) -> None:
    output = ok(model, "5\n?\n\n1\n4\nq\n", "-n", 3)
    assert output.startswith("Rate from 1 to 5 in steps of 1;")
    for number in range(1, 7):
        assert f"\n{number}. The Film " in output
    assert output.count("recommended") == 3
    assert "\x1b" not in output
    assert "You rated 3 of 5 items." in output
    assert "cofactor recommend /" in output
    assert output.count("--rated") == 3


def test_answers_change_the_list(model: Path) -> None:
    loves, hates = ok(model, "5\n5\n5\n", "--questions", 3), ok(model, "1\n1\n1\n", "--questions", 3)
    assert loves.split("recommended")[-1] != hates.split("recommended")[-1]
    assert ok(model, "5\n5\n5\n", "--questions", 3) == loves


@pytest.mark.parametrize("answers", ["six", "6", "0", "-1", "nan", "inf", "1e99", "4.5", "99", "\x1b[A", "4 stars"])
def test_invalid_ratings_are_asked_again(model: Path, answers: str) -> None:
    output = ok(model, f"{answers}\n4,0\n", "--questions", 1)
    assert output.count("Rate from 1 to 5 in steps of 1") == 2
    assert "You rated 1 of 1 items." in output


@pytest.mark.parametrize(("answers", "rated"), [("", "0 of 0"), ("q\n", "0 of 0"), ("4\n", "1 of 1"), ("4", "1 of 1")])
def test_the_end_of_the_input_ends_the_questions(model: Path, answers: str, rated: str) -> None:
    assert f"You rated {rated} items." in ok(model, answers)


def test_without_ratings_a_list_is_printed_too(model: Path) -> None:
    output = ok(model, "?\n?\n", "--questions", 2)
    assert "You rated 0 of 2 items." in output
    assert output.count("recommended") == 1
    assert "--rated" not in output


def test_onboarding_ends_without_further_questions(tmp_path: Path) -> None:
    table = Interactions.from_columns(["a", "b"], ["it's 1", "it's 1"], [2, 4])
    Recommender.fit(BiasedMF(factors=2), table).save(tmp_path / "one.cofactor")
    output = ok(tmp_path / "one.cofactor", "4\n4\n4\n")
    assert "1. it's 1:" in output
    assert "No further questions would change the recommendations." in output


def test_a_model_without_factors_of_ratings_is_rejected(tmp_path: Path, small_events: Interactions) -> None:
    Recommender.fit(Popularity(), small_events).save(tmp_path / "popular.cofactor")
    result = run("onboard", tmp_path / "popular.cofactor", text="4\n")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: a questionnaire requires rating factors")
    assert "Traceback" not in result.stderr


def test_zero_questions_are_rejected(model: Path) -> None:
    assert run("onboard", model, "--questions", 0).exit_code == 2
