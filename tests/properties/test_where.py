"""Filter expressions: conditions round-trip through text and select what plain Python selects; no text runs."""

from __future__ import annotations

import operator
import re
import string
from contextlib import suppress
from datetime import date
from math import isfinite
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.data.metadata import Metadata
from cofactor.data.where import MAX_DEPTH, MAX_LENGTH, BooleanOperation, Condition, Negation, Predicate, parse
from cofactor.errors import ParameterError

NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.one_of(
    st.sampled_from(["", "a", "ab", "b", "Ä", "'", '"', "a|b", "1", " -2.5 ", "1e1", "1e999", "nan"]),
    st.text(max_size=4),
)
VALUES = st.one_of(NUMBERS, TEXTS, st.booleans())
SYMBOLS = st.sampled_from(["<", "<=", ">", ">="])
NAMES = st.one_of(
    st.sampled_from(["year", "_x", "Not", "in", "größe", "release date", "a`b", "x-1"]), st.text(min_size=1, max_size=5)
)


def predicates(names: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Predicate]:
    """Conditions on one column."""
    lists = st.lists(values, min_size=1, max_size=3).map(tuple)
    ordered = values.filter(lambda value: not isinstance(value, bool))
    ranges = st.tuples(ordered, ordered).filter(lambda pair: type(pair[0]) is type(pair[1]))
    return st.one_of(
        st.builds(Predicate, names, st.just(("missing",)), st.just(()), st.booleans()),
        st.builds(Predicate, names, st.just(("in",)), lists, st.booleans()),
        st.builds(Predicate, names, st.just(("contains",)), st.tuples(values), st.booleans()),
        st.builds(Predicate, names, st.tuples(SYMBOLS), st.tuples(ordered)),
        st.builds(Predicate, names, st.tuples(SYMBOLS, SYMBOLS), ranges),
    )


def conditions(names: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
    """Conditions of a few levels."""
    return st.recursive(
        predicates(names, values),
        lambda inner: st.one_of(
            st.builds(Negation, inner),
            st.builds(
                BooleanOperation, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)
            ),
        ),
        max_leaves=8,
    )


@given(conditions(NAMES, VALUES))
def test_a_condition_round_trips_through_text(condition: Condition) -> None:
    text = str(condition)
    if len(text) <= MAX_LENGTH:
        assert parse(text) == condition
        assert str(parse(text)) == text


ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def expected(condition: Condition, record: dict[str, Any]) -> bool:
    """Whether a record matches, one value at a time."""
    if isinstance(condition, Negation):
        return not expected(condition.operand, record)
    if isinstance(condition, BooleanOperation):
        combine = all if condition.operator == "and" else any
        return combine(expected(operand, record) for operand in condition.operands)
    cell = record.get(condition.column)
    values = [value for value in (cell if isinstance(cell, list) else [cell]) if value is not None]
    if condition.operators == ("missing",):
        return (not values) != condition.negated
    is_met = any(meets(condition, value, in_list=isinstance(cell, list)) for value in values)
    return bool(values) and is_met != condition.negated


def meets(predicate: Predicate, value: Any, *, in_list: bool) -> bool:
    if is_numeric(value) and meets(predicate, float(value), in_list=True):
        return True
    same = [other for other in predicate.values if is_number(other) == is_number(value)]
    same = [other for other in same if type(other) in (type(value), float)]
    if predicate.operators == ("in",):
        return value in same
    if predicate.operators == ("contains",) and isinstance(value, str) and not in_list:
        return any(other in value for other in same)
    if predicate.operators == ("contains",):
        return value in same
    tests = zip(predicate.operators, predicate.values, strict=True)
    return bool(same) and all(ORDERS[symbol](value, other) for symbol, other in tests)


NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


def is_numeric(value: Any) -> bool:
    return isinstance(value, str) and NUMBER.fullmatch(value) is not None and isfinite(float(value))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


CELL = st.one_of(st.none(), VALUES.filter(lambda value: value != "a|b" and "|" not in str(value)))
RECORDS = st.lists(
    st.fixed_dictionaries({"mixed": CELL, "title": st.one_of(st.none(), TEXTS), "tags": st.lists(CELL, max_size=3)}),
    max_size=5,
)
FIRST = {"mixed": [1, "a", True], "title": "a", "tags": [1.5, "b", False]}
"""A record with values of each type, so that each comparison is possible."""


@given(conditions(st.sampled_from(["mixed", "tags"]), VALUES), RECORDS)
def test_the_mask_is_what_plain_python_selects(condition: Condition, records: list[dict[str, Any]]) -> None:
    records = [FIRST, *records]
    if len(str(condition)) <= MAX_LENGTH:
        matches = Metadata.of_records(records).matches(str(condition)).tolist()
        assert matches == [expected(condition, record) for record in records]


@given(conditions(st.just("title"), TEXTS), RECORDS)
def test_titles_are_not_split(condition: Condition, records: list[dict[str, Any]]) -> None:
    table = pl.DataFrame({"item": range(len(records) + 1), "title": ["a", *(record["title"] for record in records)]})
    if len(str(condition)) <= MAX_LENGTH:
        matches = Metadata.of_table(table).matches(str(condition)).tolist()
        assert matches == [
            expected(condition, record) for record in table.rows_by_key("item", named=True, unique=True).values()
        ]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from([
    "year", "genre", "and", "or", "not", "in", "between", "contains", "is", "missing", "true", "(", ")", ",", "=",
    "<", "<=", "1", "-.5", "1e400", "'War'", '"', "`", "__import__", ".", "lambda", ":", "\\", "\0", "\ud800",
]), max_size=12).map(" ".join), st.text(string.punctuation, max_size=30)))  # fmt: skip
def test_any_text_is_a_filter_or_is_rejected(text: str) -> None:
    metadata = Metadata.of_table(pl.DataFrame({"item": [1, 2], "year": [1979, None], "genre": ["War|Drama", "War"]}))
    with suppress(ParameterError):
        assert metadata.matches(text).shape == (2,)


@pytest.mark.parametrize(
    ("expression", "years"),
    [
        ("year >= 1990 and genre contains 'War'", [1990, 2001]),
        ("1979 <= year < 1990", [1979]), ("1985 > year", [1979]), ("1979 = year or year == 2001", [1979, 2001]),
        ("year between 1979 and 1990", [1979, 1990]), ("year not in (1979, 1990)", [2001]),
        ("NOT (year = 1979 OR year = 1990)", [2001, None]), ("not year = 1979 and year != 1990", [2001]),
        ("not not year is missing", [None]), ("year is not missing", [1979, 1990, 2001]),
        ("genre = 'War'", [1990, 2001]), ("genre contains 'Wa'", []), ("genre != 'War'", [1979]),
        ("genre is missing", [None]),
        ("title contains 'A|'", [1979]), ('title = "it\'s ""so"""', [1990]), ("title contains 'it''s'", [1990]),
        ("title < 'b'", [1979, 2001]), ("title not contains 'i'", [1979]), ("title contains ''", [1979, 1990, 2001]),
        ("seen >= '1990' and seen < '1990-06'", [1990]), ("ok = true", [1979]), ("ok != true", [1990]),
        ("`or` > 2", [2001]), ("price > 0", [1990]), ("price is missing", [1979, 2001, None]),
        ("tags contains 3", [1990]), ("1 < tags < 3", [1979]), ("tags > 1 and tags < 3", [1979, 1990]),
        ("nothing = 1", []), ("text = 1990", [1990]), ("1e3 < text < 2e3", [1979, 1990]), ("text = '1990'", []),
        ("text >= 1980 or text = 'n/a'", [1990, 2001]), ("text != 1979", [1990, 2001]),
    ],
)  # fmt: skip
def test_expressions(expression: str, years: list[int | None]) -> None:
    table = pl.DataFrame({
        "item": ["a", "b", "c", "d"], "year": [1979, 1990, 2001, None], "genre": ["Drama", "War | Drama", "War", None],
        "title": ["A|b", 'it\'s "so"', "a title", None], "seen": [date(1980, 1, 1), date(1990, 2, 3), None, None],
        "ok": [True, False, None, None], "or": [1, 2, 3, None], "price": [float("nan"), 1.5, float("inf"), None],
        "text": ["1979", " 1990.0", "n/a", None], "tags": [[2], [1, 3], [], None],
        "nothing": pl.Series([None] * 4, dtype=pl.Int64),
    })  # fmt: skip
    assert table.filter(pl.Series(Metadata.of_table(table).matches(expression)))["year"].to_list() == years


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "character 1: a column, a value"), ("year", "character 5: a comparison"),
        ("year = ", "character 7: a number"),
        ("(year = 1", r"character 10: `\)` is required, not the end"), ("year = 1 year", "character 10: `and`"),
        ("year = 'a", "character 8: this quote is not closed"), ("year = 1; drop", r"character 9: ';'"),
        ("year in ()", "character 10: a number"), ("1 < 2", "character 5: a column"),
        ("year is null", "character 9: `missing`"),
        ("year between 1 and 'a'", "character 1: column 'year' must be compared with numbers or with strings"),
        ("true < year", "character 8: column 'year' must be"), ("year = 1e999", "character 8: the number is too large"),
        ("genre = 'War' and yeaar > 1", r"character 19: unknown column 'yeaar' \(did you mean 'year'\?\); the columns"),
        ("item = 1", "unknown column 'item'"),
        ("not year = 'x'", "character 5: column 'year' contains numbers and cannot"),
        ("genre in ('War', 3)", "character 1: column 'genre' contains strings and cannot be compared with a number"),
        ("not " * (MAX_DEPTH + 1) + "year = 1", "nested at most 50"),
        ("(" * 1_999, "character 51: .*nested at most 50"),
        ("year = 1" + " " * MAX_LENGTH, "at most 2,000 characters"), ("year = '\ud800'", "surrogate"),
    ],
)  # fmt: skip
def test_errors_name_the_position(expression: str, message: str) -> None:
    metadata = Metadata.of_table(pl.DataFrame({"item": [1], "year": [1979], "genre": ["War"]}))
    with pytest.raises(ParameterError, match=message):
        metadata.matches(expression)


def test_the_limits_are_inclusive() -> None:
    metadata = Metadata.of_records([{"year": 1}])
    assert metadata.matches("(" * MAX_DEPTH + "year = 1" + ")" * MAX_DEPTH).tolist() == [True]
    assert metadata.matches("year = 1".ljust(MAX_LENGTH)).tolist() == [True]
    with pytest.raises(ParameterError, match="the where expression must be a string"):
        metadata.matches({"year": 1})  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="the items have no metadata"):
        Metadata.of_records([{}, {}]).matches("year = 1")
    with pytest.raises(ParameterError, match="contains objects and cannot"):
        Metadata.of_records([{"year": {"ad": 1}}]).matches("year = 1")
    assert Metadata.of_records([{"year": 10**400}, {"year": [[1]]}]).matches("year is missing").tolist() == [
        True,
        False,
    ]
