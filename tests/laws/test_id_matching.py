"""Ids of integers and of texts match by the same rule in every interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from cofactor import ExplicitALS, Interactions, Recommender
from cofactor.errors import CofactorError, UnknownIdError
from cofactor.evaluate import split_predefined

USERS, ITEMS = range(5, 35), range(1_234_567_890, 1_234_567_910)  # as texts they have another order than as integers
ALS = ExplicitALS(factors=3, epochs=3)


def table(as_text: bool) -> Interactions:
    rng = np.random.default_rng(3)
    u, i = np.nonzero(rng.random((len(USERS), len(ITEMS))) < 0.5)
    users, items = u + USERS[0], i + ITEMS[0]
    values = rng.integers(1, 6, len(u))
    if as_text:
        made = Interactions.from_columns([str(a) for a in users], [str(b) for b in items], values)
    else:
        made = Interactions.from_columns(users, items, values)
    ids = [str(b) for b in ITEMS] if as_text else list(ITEMS)
    return made.with_item_table({"item": ids, "title": [f"The {b}" for b in ITEMS]})


@pytest.fixture(scope="module", params=[False, True], ids=["integers", "texts"])
def rec(request: pytest.FixtureRequest) -> Recommender:
    return Recommender.fit(ALS, table(request.param)).with_priors()


def other(rec: Recommender, id_: Any) -> Any:
    """The id in the type that the recommender does not have."""
    return str(id_) if rec.users.id_type == "integer" else int(id_)


def own(rec: Recommender, id_: Any) -> Any:
    return int(id_) if rec.users.id_type == "integer" else str(id_)


FIRST, SECOND = ITEMS[0], ITEMS[1]

QUESTIONS: dict[str, Callable[[Recommender, Callable[[Any], Any]], Any]] = {
    "recommend": lambda rec, of: rec.recommend(of(7), n=4),
    "recommend to many": lambda rec, of: rec.recommend([of(7), of(11)], n=4),
    "recommend to a column": lambda rec, of: rec.recommend(pl.Series([of(user) for user in USERS] * 3), n=2),
    "recommend among": lambda rec, of: rec.recommend(
        own(rec, 7), candidates=[of(FIRST), of(SECOND)], exclude_seen=False
    ),
    "recommend all among": lambda rec, of: rec.recommend_all(3, candidates=[of(item) for item in ITEMS[:6]]),
    "recommend to a new user": lambda rec, of: rec.for_history([(of(FIRST), 5), (of(SECOND), 1)]).recommend(n=4),
    "predict": lambda rec, of: rec.predict(of(7), of(FIRST)),
    "predict many": lambda rec, of: rec.predict(of(7), [of(item) for item in ITEMS])["prediction"],
    "predict an array": lambda rec, of: rec.predict(pd.Series([of(7), of(8)]), of(FIRST))["prediction"],
    "unknown": lambda rec, of: rec.unknown([of(7), of(99)], [of(FIRST), of(1)]),
    "explain": lambda rec, of: rec.explain(of(7), of(FIRST)),
    "similar items": lambda rec, of: rec.similar_items(of(FIRST), n=3),
    "similar users": lambda rec, of: rec.similar_users(of(7), n=3),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_ids_of_the_other_type_get_the_same_answer(rec: Recommender, question: str) -> None:
    ask = QUESTIONS[question]
    mine, theirs = ask(rec, lambda id_: own(rec, id_)), ask(rec, lambda id_: other(rec, id_))
    same = mine.equals(theirs) if isinstance(mine, pl.DataFrame | pl.Series) else mine == theirs
    assert same


@pytest.mark.parametrize("text", ["07", "+7", " 7", "7.0", "-7", "\N{ARABIC-INDIC DIGIT SEVEN}"])
def test_a_text_that_is_not_the_decimal_form_is_another_id(rec: Recommender, text: str) -> None:
    with pytest.raises(UnknownIdError, match="is not a known ID"):
        rec.recommend(text)
    with pytest.raises(UnknownIdError, match="is not a known ID"):
        rec.explain(text, own(rec, FIRST))
    assert rec.unknown([text], [f"0{FIRST}"]) == (1, 1)
    with pytest.raises(UnknownIdError, match=f"'0{FIRST}' is not known"):
        rec.for_history([(f"0{FIRST}", 5)]).recommend()


def test_updates_match_ids_of_the_other_type(rec: Recommender) -> None:
    rows = [(7, FIRST, 1.0), (7, SECOND, 5.0), (100, ITEMS[-1], 5.0), (9, ITEMS[9], 4.0)]

    def later(of: Callable[[Any], Any]) -> Recommender:
        users, items, values = zip(*((of(user), of(item), value) for user, item, value in rows), strict=True)
        new = Interactions.from_columns(users, items, values)
        return rec.updated(new.with_user_table({"user": sorted(set(users)), "age": [20, 30, 40]}))

    mine, theirs = later(lambda id_: own(rec, id_)), later(lambda id_: other(rec, id_))
    assert len(theirs.users) == len(rec.users) + 1
    assert theirs.users.equals(mine.users)
    assert theirs.histories.columns.tolist() == mine.histories.columns.tolist()
    assert theirs.recommend_all(5).equals(mine.recommend_all(5))
    ages = theirs.user_table
    assert ages is not None
    assert {str(user): age for user, age in ages.rows() if age is not None}.keys() == {"7", "9", "100"}
    assert theirs.recommend(own(rec, 100))["item"].dtype == rec.items.all.dtype


def test_new_items_match_ids_of_the_other_type(rec: Recommender) -> None:
    new = {"title": ["Newer", "New"], "item": [other(rec, 900), other(rec, 12)]}
    rated = Interactions.from_columns([other(rec, 7), other(rec, 200)], [other(rec, 900), other(rec, 12)], [5, 3])
    wider = rec.with_items(new, rated)
    assert wider.items.all.dtype == rec.items.all.dtype
    assert wider.titles is not None
    titles = dict(zip(wider.items.all.to_list(), wider.titles.to_list(), strict=True))
    assert titles[own(rec, 900)] == "Newer"
    assert titles[own(rec, FIRST)] == f"The {FIRST}"
    assert wider.recommend(other(rec, 200), n=3)["user"].to_list() == [own(rec, 200)] * 3
    with pytest.raises(CofactorError, match="ids of new items must be unique and unknown"):
        rec.with_items({"item": [other(rec, FIRST)]})


@pytest.mark.parametrize("as_text", [False, True])
def test_the_parts_of_a_given_split_match(as_text: bool) -> None:
    train, test = table(as_text), table(not as_text)
    keep = np.random.default_rng(0).random(len(train)) < 0.7
    known = set(train.select(keep).frame().select(pl.col("user", "item").cast(pl.String)).rows())
    held = np.array([row not in known for row in test.frame().select(pl.col("user", "item").cast(pl.String)).rows()])
    split = split_predefined(train.select(keep), test.select(held))
    assert split.train.users.equals(train.users)
    assert split.test.users.equals(train.users)
    same = split_predefined(train.select(keep), train.select(~keep))
    assert split.test.frame().equals(same.test.frame())
    assert split.train.frame().equals(same.train.frame())
    assert split.test.titles is not None
    assert split.test.titles.to_list() == [f"The {item}" for item in ITEMS]
    pairs = split.test.frame().select("user", "item")
    mine, theirs = (Recommender.fit(ALS, one.train).predict(*pairs)["prediction"] for one in (split, same))
    assert mine.equals(theirs)


@pytest.mark.parametrize("as_text", [False, True])
def test_tables_of_items_and_users_match(as_text: bool) -> None:
    ratings = table(as_text)
    of: Any = int if as_text else str
    titled = ratings.with_item_table({"item": [of(item) for item in ITEMS], "title": [f"Film {n}" for n in ITEMS]})
    assert titled.titles is not None
    assert titled.titles.to_list() == [f"Film {item}" for item in ITEMS]
    aged = ratings.with_user_table(pd.DataFrame({"user": [of(user) for user in USERS], "age": range(30)}))
    assert aged.user_table is not None
    assert {int(user): age for user, age in aged.user_table.rows()} == {user: user - 5 for user in USERS}


def test_a_saved_recommender_matches_too(rec: Recommender, tmp_path: Path) -> None:
    rec.save(tmp_path / "m")
    again = Recommender.load(tmp_path / "m")
    assert again.recommend(other(rec, 7)).equals(rec.recommend(own(rec, 7)))
