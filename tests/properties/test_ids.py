"""IDs round-trip through rows, and invalid IDs are rejected."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.data.id_columns import CodedIds, id_column, integer_id, invalid_id_reason
from cofactor.data.ids import IdMap
from cofactor.errors import DataError, ParameterError, UnknownIdError

INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=100)
LEGAL = st.text(max_size=6).filter(lambda text: invalid_id_reason(text) is None)
STRINGS = st.lists(LEGAL, max_size=100)


@given(INTEGERS | STRINGS)
def test_ids_round_trip_through_rows(ids: list[int] | list[str]) -> None:
    mapped = IdMap.of(ids)
    rows = mapped.rows(ids)
    assert mapped.ids(rows).to_list() == ids
    assert [mapped.row(id_) for id_ in ids] == rows.tolist()
    assert mapped.all.to_list() == sorted(set(ids), key=lambda i: i.encode() if isinstance(i, str) else i)
    assert len(mapped) == len(set(ids))
    assert all(id_ in mapped for id_ in ids)


@given(INTEGERS | STRINGS, st.randoms(use_true_random=True))
def test_the_order_and_repetition_of_ids_have_no_effect(ids: list[int] | list[str], random: object) -> None:
    again = [*ids, *ids]
    random.shuffle(again)  # type: ignore[attr-defined]
    assert IdMap.of(ids).equals(IdMap.of(again))


@given(
    st.sets(LEGAL, min_size=1),
    st.lists(st.text(min_size=1, max_size=3)),
)
def test_single_and_batch_lookups_give_the_same_rows(known_ids: set[str], ids: list[str]) -> None:
    mapped = IdMap.of(known_ids)
    many = mapped.rows(ids * 70)  # more than are looked up individually
    assert many.tolist() == mapped.rows(ids).tolist() * 70
    assert [row >= 0 for row in many[: len(ids)]] == [id_ in known_ids for id_ in ids]
    present = [id_ for id_ in ids if id_ in known_ids] * 70
    assert mapped.ids(mapped.rows(present)).to_list() == present


@given(INTEGERS, INTEGERS)
def test_the_union_holds_the_ids_of_both(a: list[int], b: list[int]) -> None:
    assert IdMap.of(a).union(IdMap.of(b)).all.to_list() == sorted({*a, *b})


def test_a_union_of_two_types_names_both() -> None:
    with pytest.raises(DataError, match="integer IDs such as 1 and string IDs such as 'a'"):
        IdMap.of([1]).union(IdMap.of(["a"]))


@given(st.text(alphabet="0123456789+-. a٣", max_size=21))
def test_canonical_decimals_are_those_python_would_write(text: str) -> None:
    try:
        number = int(text)
    except ValueError:
        assert integer_id(text) is None
        return
    assert (integer_id(text) == number) == (str(number) == text and -(2**63) <= number < 2**63)


def test_unknown_ids_are_minus_one_in_a_batch_and_an_error_alone() -> None:
    mapped = IdMap.of([10, 20])
    assert mapped.rows([20, 15, 10, 2**62]).tolist() == [1, -1, 0, -1]
    with pytest.raises(UnknownIdError, match="15 is not a known ID"):
        mapped.row(15)
    with pytest.raises(UnknownIdError, match="'010' is not a known ID: known IDs are integers; did you mean 10"):
        mapped.row("010")
    with pytest.raises(UnknownIdError, match=r"'ana' is not a known ID: known IDs are integers$"):
        mapped.row("ana")
    for none in (None, 1.5, True, [10], b"10"):
        with pytest.raises(DataError, match="is not an ID"):
            mapped.row(none)  # type: ignore[arg-type]


TEXTS = st.integers(-(2**63) - 9, 2**63 + 9).map(str) | st.text("0123456789+-٣a", min_size=1, max_size=4)


@given(st.sets(st.integers(-12, 120) | st.sampled_from([2**63 - 1, -(2**63)]), max_size=60), st.lists(TEXTS))
def test_a_text_matches_the_integer_that_it_is_the_decimal_form_of(known_ids: set[int], texts: list[str]) -> None:
    mapped, many = IdMap.of(known_ids), texts * 70
    expected = [mapped.rows([int(text)])[0] if integer_id(text) is not None else -1 for text in texts]
    assert mapped.rows(many).tolist() == expected * 70
    assert [text in mapped for text in texts] == [row >= 0 for row in expected]
    assert [mapped.row(text) for text in texts if text in mapped] == [row for row in expected if row >= 0]


@given(st.sets(TEXTS, max_size=60), st.lists(st.integers(-12, 120) | st.sampled_from([2**63 - 1, -(2**63)])))
def test_an_integer_matches_the_text_that_is_its_decimal_form(known_ids: set[str], ids: list[int]) -> None:
    mapped = IdMap.of(known_ids)
    assert mapped.rows(ids * 70).tolist() == mapped.rows([str(id_) for id_ in ids]).tolist() * 70
    assert [id_ in mapped for id_ in ids] == [str(id_) in known_ids for id_ in ids]
    assert mapped.rows(np.array([id_ for id_ in ids if id_ in mapped], np.int64)).min(initial=0) >= 0


def test_a_union_has_the_type_of_the_first_map() -> None:
    assert IdMap.of([10, 2]).union(IdMap.of(["2", "-3"])).all.to_list() == [-3, 2, 10]
    assert IdMap.of(["10", "ana"]).union(IdMap.of([2, 10])).all.to_list() == ["10", "2", "ana"]
    with pytest.raises(DataError, match="integer IDs such as 2 and string IDs such as '02'"):
        IdMap.of([10, 2]).union(IdMap.of(["2", "02"]))


def test_parse_returns_an_id_of_the_type_of_the_map() -> None:
    assert IdMap.of([7]).parse("7") == 7
    assert IdMap.of([7]).parse("007") == "007"
    assert IdMap.of(["7"]).parse("7") == "7"


def test_an_empty_map_has_no_ids() -> None:
    empty = IdMap.of([])
    assert len(empty) == 0
    assert empty.rows([1, 2]).tolist() == [-1, -1]
    assert empty.rows(["a"]).tolist() == [-1]
    assert empty.all.to_list() == []
    assert empty.union(IdMap.of(["a"])).all.to_list() == ["a"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, "1"], "IDs must be all integers or all strings, not both: 1 and '1'"),
        ([1, None], "row 2: the ID is missing"),
        ([1, 2.5], "row 2: 2.5 is not an ID"),
        ([1, True], "row 2: True is not an ID"),
        ([2**63], "does not fit into 64 bits"),
        (["a", ""], "row 2: the ID is empty"),
        (pl.Series([1, None]), "row 2: the ID is missing"),
        (pl.Series([1.0, 2.5]), "row 2: 2.5 is not an ID"),
        (pl.Series([1.0, None]), "row 2: the ID is missing"),
        (np.array([1.0, np.nan]), "row 2: the ID is missing"),
        (pl.Series([2.0**53]), "is too large to be exact"),
        (pl.Series([True]), "IDs must be integers or strings, not Boolean"),
        (pl.Series([2**63], dtype=pl.UInt64), "does not fit into 64 bits"),
    ],
)
def test_invalid_ids(ids: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        IdMap.of(ids)


def test_every_integer_type_and_category_is_an_id() -> None:
    assert id_column(np.array([3, 1], np.uint8)).to_list() == [3, 1]
    assert id_column([np.int16(3), 1]).to_list() == [3, 1]
    for categories in (pl.Categorical, pl.Categorical(pl.Categories.random()), pl.Enum(["a", "b"])):
        assert id_column(pl.Series(["b", "a"], dtype=categories)).to_list() == ["b", "a"]


@pytest.mark.parametrize("ids", [["a", "b"], [1, 2], []])
@pytest.mark.parametrize("row", [-1, 2, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("many", [1, 70])
def test_a_row_outside_the_map_is_an_error(ids: list[Any], row: int, many: int) -> None:
    with pytest.raises(ParameterError, match=f"^rows must .*, not {row}$"):
        IdMap.of(ids).ids([*([0] if ids else []), *[row] * many])


@pytest.mark.parametrize("rows", [[0.5], ["a"], [True], 1, [[0]]])
def test_invalid_row_numbers(rows: Any) -> None:
    for ids in (IdMap.of(["a", "b"]), IdMap.of([1, 2])):
        with pytest.raises(ParameterError, match="rows must be a list or array of row numbers"):
            ids.ids(rows)
        assert ids.ids([]).to_list() == []
        assert ids.ids(np.array([1], np.uint64)).to_list() == ids.all.to_list()[1:]


@given(STRINGS | st.lists(st.integers(-9, 9), max_size=60))
def test_of_with_rows_returns_the_map_and_its_rows(ids: list[Any]) -> None:
    column = pl.Series("id", ids, dtype=pl.String if ids and isinstance(ids[0], str) else pl.Int64)
    mapped, rows = IdMap.of_with_rows(column)
    assert mapped.equals(IdMap.of(column))
    assert rows.tolist() == mapped.rows(column).tolist()
    assert rows.dtype == np.int32


@given(st.lists(st.sampled_from(["", " ", "a", "b", "é", "aa"]) | st.none() | st.text(max_size=2)), st.data())
def test_coded_ids_equal_their_texts(texts: list[str | None], data: st.DataObject) -> None:
    ids = CodedIds.of(pl.Series("user", texts, dtype=pl.String))
    assert len(ids) == len(texts)
    assert ids.gather(ids.distinct).to_list() == texts
    assert sorted(ids.distinct) == sorted({text for text in texts if text is not None})
    keep = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    filtered = ids.filter(pl.Series(keep, dtype=pl.Boolean))
    wanted = [text for text, stays in zip(texts, keep, strict=True) if stays]
    assert filtered.gather(filtered.distinct).to_list() == wanted
    assert sorted(filtered.distinct) == sorted({text for text in wanted if text is not None})
