"""The cross-tab: the correct corner, visible blanks, marked predictions, 80 columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.arrays import Int32
from cofactor.data.crosstab import crosstab
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError

RATINGS = Interactions.from_columns(
    ["ana", "ana", "ana", "tom", "tom", "eva"],
    ["alien", "brazil", "clue", "brazil", "alien", "brazil"],
    [5, 4, 1, 2, 3, 4.5],
)


@st.composite
def tables(draw: st.DrawFn) -> Interactions:
    pairs = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=120, unique=True))
    values = draw(st.lists(st.sampled_from([0.5, 1, 2.5, 4, 5]), min_size=len(pairs), max_size=len(pairs)))
    return Interactions.from_columns([u for u, _ in pairs], [i for _, i in pairs], values)


def test_the_most_active_are_first_and_blanks_are_visible() -> None:
    corner = crosstab(RATINGS)
    assert corner.users == ["ana", "tom", "eva"]
    assert corner.items == ["brazil", "alien", "clue"]
    assert str(corner).splitlines() == [
        "user       brazil        alien         clue",
        "ana             4            5            1",
        "tom             2            3            ·",
        "eva           4.5            ·            ·",
        "",
        "the 3 most active of 3 users, the 3 most rated of 3 items:",
        "6 of 9 cells known, 3 empty (·)",
    ]


def test_frame_has_nulls_for_blanks() -> None:
    frame = crosstab(RATINGS).frame()
    assert frame.columns == ["user", "brazil", "alien", "clue"]
    assert frame["user"].to_list() == ["ana", "tom", "eva"]
    assert frame["clue"].to_list() == [1.0, None, None]
    assert frame.schema["brazil"] == pl.Float64


@settings(max_examples=50)
@given(tables(), st.integers(1, 45), st.integers(1, 45))
def test_every_cell_agrees_with_the_table(ratings: Interactions, users: int, items: int) -> None:
    corner = crosstab(ratings, users=users, items=items)
    value_of = {(user, item): value for user, item, value in ratings.frame().iter_rows()}
    assert corner.values.shape == (min(users, ratings.n_users), min(items, ratings.n_items))
    for user, row in zip(corner.users, corner.values, strict=True):
        for item, value in zip(corner.items, row, strict=True):
            expected = value_of.get((user, item))
            assert np.isnan(value) if expected is None else value == expected


@settings(max_examples=50)
@given(tables(), st.integers(1, 45))
def test_the_most_active_are_sorted_by_count_then_by_row(ratings: Interactions, n: int) -> None:
    corner = crosstab(ratings, users=n, items=n)
    for rows, matrix in ((corner.u, ratings.by_user), (corner.i, ratings.by_item)):
        order = sorted(range(len(matrix)), key=lambda r, counts=matrix.counts: (-counts[r], r))
        assert rows.tolist() == order[:n]


@settings(max_examples=50)
@given(tables(), st.integers(1, 45), st.text(max_size=60), st.text(max_size=60))
def test_the_text_fits_80_columns(ratings: Interactions, n: int, title: str, other_title: str) -> None:
    ids = ratings.items.all
    titles = pl.DataFrame({"item": ids, "title": [title if i % 2 else other_title for i in range(len(ids))]})
    ratings = ratings.with_item_table(titles)
    corner = crosstab(ratings, users=n, items=n, fill=lambda u, _: np.full(len(u), -1234.5))
    text = str(corner)
    assert max(map(len, text.splitlines())) <= 80
    assert all(line.isprintable() for line in text.split("\n"))
    frame = corner.frame()
    assert len(set(frame.columns)) == frame.width == len(corner.items) + 1


def test_fill_is_called_once_for_all_blanks_and_its_values_are_marked() -> None:
    calls: list[tuple[list[int], list[int]]] = []

    def fill(u: Int32, i: Int32) -> list[float]:
        calls.append((u.tolist(), i.tolist()))
        return [3.94, 2.0, 1.26]

    corner = crosstab(RATINGS, fill=fill)
    tom, eva = RATINGS.users.row("tom"), RATINGS.users.row("eva")
    alien, clue = RATINGS.items.row("alien"), RATINGS.items.row("clue")
    assert calls == [([tom, eva, eva], [clue, alien, clue])]
    lines = str(corner).splitlines()
    assert lines[2].split() == ["tom", "2", "3", "~3.9"]
    assert lines[3].split() == ["eva", "4.5", "~2.0", "~1.3"]
    assert "3 filled in (~)" in str(corner)
    assert "·" not in str(corner)
    assert corner.observed.sum() == 6
    assert corner.frame()["clue"].to_list() == [1.0, 3.94, 1.26]


def test_fill_is_not_called_without_blanks() -> None:
    corner = crosstab(RATINGS, users=1, items=3, fill=lambda *_: pytest.fail("no blank, no question"))
    assert corner.observed.all()


@pytest.mark.parametrize(
    ("filled", "message"),
    [
        ([1.0, 2.0], "one value for each of 3 empty cells"),
        ([1.0, float("nan"), 2.0], "fill must return finite values, not nan for user 'eva' and item 'alien'"),
        ([float("inf"), 1.0, 2.0], "fill must return finite values, not inf for user 'tom' and item 'clue'"),
    ],
)
def test_invalid_results_of_fill_are_rejected(filled: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        crosstab(RATINGS, fill=lambda *_: filled)


def test_titles_name_the_columns_and_duplicates_get_their_id() -> None:
    ratings = Interactions.from_columns([1] * 5, [10, 11, 12, 13, 14], [1, 2, 3, 4, 5])
    titles = ["Chasing Amy (1997)", "Chasing Amy (1997)", "user", None, "Chasing Amy (1997) [10]"]
    ratings = ratings.with_item_table(pl.DataFrame({"item": [10, 11, 12, 13, 14], "title": titles}))
    frame = crosstab(ratings).frame()
    assert frame.columns[0] == "user"
    assert frame["user"].to_list() == [1]
    assert frame.columns[2:5] == ["Chasing Amy (1997) [11]", "user [12]", "13"]
    assert len(set(frame.columns)) == 6
    assert frame.row(0)[1:] == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_long_titles_are_truncated() -> None:
    ratings = Interactions.from_columns([1] * 10, list(range(10)), [3] * 10)
    titles = pl.DataFrame({"item": list(range(10)), "title": ["Englishman Who Went Up a Hill (1995)"] * 10})
    header = str(crosstab(ratings.with_item_table(titles))).splitlines()
    assert header[0].split() == ["Engli…"] * 10
    assert header[2].count("…") == 10


def test_terminal_codes_in_ids_and_titles_are_not_printed() -> None:
    ratings = Interactions.from_columns(["eve"], ["a"], [3])
    ratings = ratings.with_item_table(pl.DataFrame({"item": ["a"], "title": ["\x1b]0;owned\x07film"]}))
    text = str(crosstab(ratings))
    assert "\x1b" not in text
    assert "?]0;" in text


def test_one_cell() -> None:
    corner = crosstab(Interactions.from_columns(["ana"], ["alien"], [4]))
    assert corner.frame().to_dicts() == [{"user": "ana", "alien": 4.0}]
    assert "1 of 1 cells known" in str(corner)


def test_all_blank() -> None:
    blank = RATINGS.select(np.zeros(len(RATINGS), bool))
    corner = crosstab(blank, users=2, items=2)
    assert corner.u.tolist() == [0, 1]
    assert "0 of 4 cells known, 4 empty (·)" in str(corner)
    assert corner.frame().null_count().row(0) == (0, 2, 2)
    filled = crosstab(blank, users=2, items=2, fill=lambda u, i: u + 10.0 * i)
    assert filled.values.tolist() == [[0, 10], [1, 11]]


def test_no_users_and_no_items() -> None:
    empty = replace(RATINGS.select(np.zeros(len(RATINGS), bool)), users=type(RATINGS.users).of([]))
    corner = crosstab(empty)
    assert str(corner) == "an empty cross-tab: 0 users x 3 items"
    assert corner.frame().height == 0


def test_events_show_counts() -> None:
    events = Interactions.from_columns(["a", "a"], ["x", "x"], [1200, 34], kind="events")
    assert str(crosstab(events)).splitlines()[1].split() == ["a", "1234"]


@pytest.mark.parametrize(("users", "items"), [(0, 3), (3, 0), (-1, 3)])
def test_at_least_one_user_and_item(users: int, items: int) -> None:
    with pytest.raises(ParameterError, match=r"(users|items) must be an integer >= 1"):
        crosstab(RATINGS, users=users, items=items)
