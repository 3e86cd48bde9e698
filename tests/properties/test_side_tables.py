"""Tables of items and users are joined by their id column; an error is raised if no id matches."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from cofactor import Bias, Interactions, Recommender
from cofactor.data.load_report import LoadReport
from cofactor.errors import DataError

ITEMS = [3, 5, 7, 11, 13, 17, 19, 23]
TITLES = [f"Film {item}" for item in ITEMS]


@pytest.fixture
def ratings() -> Interactions:
    return Interactions.from_columns(["ana", "bo"] * 4, ITEMS, [5, 4, 3, 2, 1, 2, 3, 4])


def titles_of(table: Interactions) -> list[Any]:
    assert table.item_table is not None
    assert table.item_table["item"].to_list() == ITEMS
    return table.item_table["title"].to_list()


FRAMES: dict[str, Any] = {
    "first": {"item": ITEMS, "title": TITLES},
    "not first": {"title": TITLES, "item": ITEMS},
    "movieId": {"title": TITLES, "year": [1990] * 8, "movieId": ITEMS},
    "item_id": {"rank": ITEMS[::-1], "title": TITLES, "item_id": ITEMS},
    "ASIN as text": {"title": TITLES, "asin": [str(item) for item in ITEMS]},
    "id": {"title": TITLES, "ID": ITEMS},
    "an unusual name, first": {"code": ITEMS, "title": TITLES},
    "two usual names": {"movie": TITLES, "movie_id": ITEMS, "title": TITLES},
    "our own name for something else": {"item": TITLES, "movieId": ITEMS, "title": TITLES},
    "other rows": {"item": [1, *ITEMS, 99], "title": ["no", *TITLES, "no"]},
    "reversed": {"item": ITEMS[::-1], "title": TITLES[::-1]},
    "floats": {"item": [float(item) for item in ITEMS], "title": TITLES},
    "a column called row": {"item": ITEMS, "title": TITLES, "row": [1] * 8},
    "categories": pl.DataFrame({"title": TITLES, "item": pl.Series([str(i) for i in ITEMS], dtype=pl.Categorical)}),
    "lazy": pl.LazyFrame({"title": TITLES, "item": ITEMS}),
    "pyarrow": pa.table({"title": TITLES, "item": ITEMS}),
    "pandas": pd.DataFrame({"title": TITLES, "item": ITEMS}),
    "pandas index": pd.DataFrame({"title": TITLES}, index=ITEMS),
    "pandas index of texts": pd.DataFrame({"title": TITLES}, index=[str(item) for item in ITEMS]),
    "pandas named index": pd.DataFrame({"title": TITLES, "movieId": ITEMS}).set_index("movieId"),
    "pandas index, unusual name": pd.DataFrame({"title": TITLES}, index=pd.Index(ITEMS, name="code")),
    "pandas index kept as a column": pd.DataFrame({"title": TITLES, "item": ITEMS}).set_index("item", drop=False),
    "pandas two levels": pd.DataFrame({"title": TITLES, "lang": ["en"] * 8, "item": ITEMS}).set_index(["lang", "item"]),
    "pandas selection": pd.DataFrame({"title": ["", *TITLES], "item": [1, *ITEMS]})[1:],
    "pandas integer column names": pd.DataFrame({0: ITEMS, "title": TITLES}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_the_id_column_is_found_at_any_position(ratings: Interactions, name: str) -> None:
    assert titles_of(ratings.with_item_table(FRAMES[name])) == TITLES


def test_an_index_is_not_used_if_a_column_may_be_meant(ratings: Interactions) -> None:
    frame = pd.DataFrame({"title": TITLES, "code": ITEMS}, index=ITEMS[::-1])
    with pytest.raises(DataError, match="column 'code' matches: id_column='code'"):
        ratings.with_item_table(frame)
    assert titles_of(ratings.with_item_table(frame, id_column="code")) == TITLES
    counted = pd.DataFrame({"title": [f"Film {n}" for n in range(30)]})  # its index only numbers the rows
    with pytest.raises(DataError, match="0 of 8 items matched"):
        ratings.with_item_table(counted)


NO_MATCH: dict[str, tuple[Any, str]] = {
    "no id in common": (
        {"item": [100, 101], "title": ["A", "B"]},
        "0 of 8 items matched: column 'item' of the item table contains 100, 101, and the items are 3, 5, 7, ...;",
    ),
    "another spelling": (
        {"item": [f"00{item}" for item in ITEMS], "title": TITLES},
        "column 'item' of .* contains '003', '005', '007', ..., and the items are 3, 5, 7, ...; use the same",
    ),
    "the first column is none": (
        {"title": TITLES, "code": ITEMS},
        "column 'title' of the item table contains 'Film 3', .*; column 'code' matches: id_column='code'",
    ),
    "by name another": (
        {"movieId": [f"tt{item}" for item in ITEMS], "rank": ITEMS},
        "column 'movieId' of the item table contains 'tt3', .*column 'rank' matches",
    ),
    "pandas index": (pd.DataFrame({"title": TITLES}, index=range(100, 108)), "0 of 8 items matched"),
    "no rows": (pl.DataFrame({"item": [], "title": []}), "0 of 8 items matched: the item table has no rows"),
    "dates": ({"item": pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 8), eager=True)}, "IDs are integers or str"),
    "a missing id": ({"item": [*ITEMS, None], "title": [*TITLES, ""]}, "row 9 of column 'item': the item is missing"),
    "twice": ({"item": [*ITEMS, 3], "title": [*TITLES, ""]}, "the item table has item 3 more than once"),
    "twice as text": ({"item": [*map(str, ITEMS), "3"], "title": [*TITLES, ""]}, "has item 3 more than once"),
}


@pytest.mark.parametrize("name", NO_MATCH)
def test_a_table_that_cannot_be_joined_is_rejected_with_the_reason(ratings: Interactions, name: str) -> None:
    frame, message = NO_MATCH[name]
    with pytest.raises(DataError, match=message):
        ratings.with_item_table(frame)


def test_users_are_joined_the_same_way(ratings: Interactions) -> None:
    frame = pd.DataFrame({"age": [20, 30], "gender": ["f", "m"]}, index=["bo", "ana"])
    joined = ratings.with_user_table(frame)
    assert joined.user_table is not None
    assert joined.user_table.rows() == [("ana", 30, "m"), ("bo", 20, "f")]
    swapped = ratings.with_user_table({"age": [20, 30], "customer_id": ["bo", "ana"]}).user_table
    assert swapped is not None
    assert swapped.rows() == [("ana", 30), ("bo", 20)]
    with pytest.raises(
        DataError, match="0 of 2 users matched: column 'user' of the user table contains 'ANA', 'BO', and"
    ):
        ratings.with_user_table({"user": ["ANA", "BO"], "age": [20, 30]})


def test_how_many_matched_is_reported(ratings: Interactions, caplog: pytest.LogCaptureFixture) -> None:
    table = Interactions.from_columns(["ana"] * 8, ITEMS, [1] * 8, report=LoadReport("a list", rows=8))
    with caplog.at_level(logging.WARNING, logger="cofactor"):
        joined = table.with_item_table({"title": TITLES, "item": ITEMS})
    assert not caplog.records
    assert joined.report is not None
    assert joined.report.notes[-1] == "8 of 8 items matched the item table on its column 'item'"
    with caplog.at_level(logging.WARNING, logger="cofactor"):
        part = table.with_item_table({"title": TITLES[:3], "item": ITEMS[:3]})
    message = "3 of 8 items matched the item table on its column 'item'; no row for 11, 13, 17, ..."
    assert [record.getMessage() for record in caplog.records] == [message]
    assert part.report is not None
    assert part.report.notes[-1] == message


def test_other_columns_are_kept(ratings: Interactions) -> None:
    joined = ratings.with_item_table({"item": TITLES, "movieId": ITEMS, "genres": [["a"], ["b", "c"]] * 4})
    assert joined.item_table is not None
    assert joined.item_table.columns == ["item", "item_2", "genres"]
    assert joined.item_table.row(1) == (5, "Film 5", ["b", "c"])
    rec = Recommender.fit(Bias(), ratings.with_item_table(pd.DataFrame({"title": TITLES}, index=ITEMS)))
    assert rec.recommend("ana", n=1)["title"].to_list() == [f"Film {rec.recommend('ana', n=1)['item'][0]}"]
