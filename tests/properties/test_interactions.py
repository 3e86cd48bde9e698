"""The interactions table: sorted, merged, viewed by user and by item, joined with item and user tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.sparse import SparseRows, merge_latest

ROW = st.tuples(
    st.integers(0, 6), st.sampled_from("abcdefg"), st.integers(1, 10).map(lambda n: n / 2), st.integers(0, 10**9)
)
ROWS = st.lists(ROW, min_size=1, max_size=40)


def table(rows: list[tuple[Any, ...]], **more: Any) -> Interactions:
    users, items, values, times = zip(*rows, strict=True)
    return Interactions.from_columns(users, items, values, times=times, **more)


def dense(matrix: SparseRows, n_columns: int) -> np.ndarray[Any, Any]:
    full = np.zeros((len(matrix), n_columns), np.float32)
    for r in range(len(matrix)):
        part = slice(matrix.start[r], matrix.start[r + 1])
        full[r, matrix.columns[part]] = matrix.values[part]
    return full


def assert_same_bits(a: Interactions, b: Interactions) -> None:
    assert a.users.equals(b.users)
    assert a.items.equals(b.items)
    for name in ("u", "i", "values", "times", "weights"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert left.tobytes() == right.tobytes()


@given(st.lists(ROW, min_size=1, unique_by=(lambda row: row[3],)), st.data(), st.sampled_from(["ratings", "events"]))
def test_the_order_of_the_rows_has_no_effect(rows: list[tuple[Any, ...]], data: st.DataObject, kind: Any) -> None:
    shuffled = data.draw(st.permutations(rows))
    weights = {row: 1 + row[3] % 4 for row in rows}
    first = table(rows, kind=kind, weights=[weights[row] for row in rows])
    assert_same_bits(first, table(shuffled, kind=kind, weights=[weights[row] for row in shuffled]))


@given(ROWS)
def test_duplicates_keep_the_last_row_by_time_then_by_position(rows: list[tuple[Any, ...]]) -> None:
    latest: dict[Any, Any] = {}
    for user, item, value, time in sorted(rows, key=lambda row: row[3]):  # stable
        latest[user, item] = (value, time)
    loaded = table(rows)
    assert {(u, i): (v, t) for u, i, v, t in loaded.frame().rows()} == latest
    assert loaded.report is not None
    assert (loaded.report.rows, loaded.report.duplicates) == (len(rows), len(rows) - len(latest))
    assert loaded.report.duplicate_rule == ("last kept" if len(latest) < len(rows) else "")


@given(ROWS)
def test_events_of_equal_pairs_are_summed_and_so_is_their_confidence(rows: list[tuple[Any, ...]]) -> None:
    weights = [(-1.0) ** n * (1 + n % 3) for n in range(len(rows))]
    loaded = table(rows, kind="events", weights=weights)
    values: dict[Any, float] = {}
    confidences: dict[Any, float] = {}
    times: dict[Any, int] = {}
    for (user, item, value, time), weight in zip(rows, weights, strict=True):
        values[user, item] = values.get((user, item), 0) + value
        confidences[user, item] = confidences.get((user, item), 0) + value * weight
        times[user, item] = max(times.get((user, item), 0), time)
    pairs = [(u, i) for u, i, *_ in loaded.frame().rows()]
    assert loaded.values.tolist() == [values[pair] for pair in pairs]
    confidence = loaded.values * loaded.weights
    assert confidence.tolist() == pytest.approx([confidences[pair] for pair in pairs], abs=1e-4)
    assert loaded.times is not None
    assert loaded.times.tolist() == [times[pair] for pair in pairs]
    assert loaded.scale is None


@given(ROWS)
def test_rows_are_sorted_and_both_views_hold_the_same_matrix(rows: list[tuple[Any, ...]]) -> None:
    loaded = table(rows)
    pairs = list(zip(loaded.u.tolist(), loaded.i.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    full = np.zeros((loaded.n_users, loaded.n_items), np.float32)
    full[loaded.u, loaded.i] = loaded.values
    np.testing.assert_array_equal(dense(loaded.by_user, loaded.n_items), full)
    np.testing.assert_array_equal(dense(loaded.by_item, loaded.n_users), full.T)
    for r in range(loaded.n_items):
        assert (np.diff(loaded.by_item.row(r).columns) > 0).all()
    assert loaded.by_user.counts.sum() == loaded.by_item.counts.sum() == len(loaded)
    assert loaded.density == len(loaded) / full.size


@given(ROWS, st.data())
def test_selected_rows_keep_all_ids(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    loaded = table(rows).with_weights(np.arange(len(table(rows))))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(loaded), max_size=len(loaded))))
    part = loaded.select(keep)
    assert part.users is loaded.users
    assert part.items is loaded.items
    assert part.frame().equals(loaded.frame().filter(pl.Series(keep, dtype=pl.Boolean)))
    assert (part.by_user.counts + loaded.select(~keep).by_user.counts == loaded.by_user.counts).all()


def test_an_empty_selection_keeps_all_ids() -> None:
    empty = table([(1, "a", 3, 0)]).select(np.zeros(1, bool))
    assert len(empty) == 0
    assert empty.by_user.counts.tolist() == empty.by_item.counts.tolist() == [0]
    assert empty.frame().height == 0


@pytest.mark.parametrize("keep", [[True], [True] * 3, [0, 1], [], True, [None, True], ["a", "b"]])
def test_rows_are_selected_by_true_or_false_for_each(keep: Any) -> None:
    loaded = table([(1, "a", 3, 0), (2, "a", 3, 0)])
    with pytest.raises(ParameterError, match="keep must be True or False for each of 2 rows, not"):
        loaded.select(keep)
    assert loaded.select([False, True]).frame()["user"].to_list() == [2]
    assert len(loaded.select([False, False]).select([])) == 0


def test_arrays_cannot_be_written() -> None:
    loaded = table([(1, "a", 3, 0), (2, "a", 3, 0)])
    for array in (loaded.u, loaded.i, loaded.values, loaded.times, loaded.by_item.values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_ratings_become_events_at_a_threshold_and_the_catalog_stays() -> None:
    ratings = table([(1, "a", 5, 0), (1, "b", 3, 0), (2, "b", 4, 9)])
    events = ratings.to_events(min_rating=4)
    assert events.frame().rows() == [(1, "a", 1.0, 0), (2, "b", 1.0, 9)]
    assert events.kind == "events"
    assert events.scale is None
    assert events.items is ratings.items
    with pytest.raises(KindError, match="already contains events"):
        events.to_events(min_rating=4)
    with pytest.raises(DataError, match="no rating is at or above min_rating=6"):
        ratings.to_events(min_rating=6)


def test_weights_replace_weights() -> None:
    loaded = table([(1, "a", 5, 0), (1, "b", 3, 0)])
    assert loaded.with_weights([1, 2]).frame()["weight"].to_list() == [1, 2]
    for weights, message in (
        ([1], "weights must have 2 entries, one for each row, not 1"),
        (["a", "b"], "weights must be numbers, not text"),
        ([None, 1], "weights must be numbers, not object"),
        ([1, 1e300], r"row 2 of weights: 1e\+300 is not a valid number"),
    ):
        with pytest.raises(DataError, match=message):
            loaded.with_weights(weights)
    with pytest.raises(
        ParameterError, match="weights must be a list, an array or a Series of numbers, one for each row"
    ):
        loaded.with_weights(None)
    with pytest.raises(DataError, match=r"row 2: weight -1\.0 is not valid for ratings"):
        loaded.with_weights([1, -1])
    assert loaded.to_events(min_rating=1).with_weights([1, -1]).frame()["weight"].to_list() == [1, -1]
    with pytest.raises(DataError, match="row 1 of weights: nan is not a valid number"):
        loaded.to_events(min_rating=1).with_weights([np.nan, 1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], ["a"], [1, 2]), "users and items must have the same length, not 2 and 1"),
        (([1, 2], ["a", "b"], [1]), "values must have 2 entries, one for each row, not 1"),
        (([1, 2], ["a", "b"], [1, np.nan]), "row 2 of values: nan is not a valid number"),
        (([1, 2], ["a", "b"], [1, 1e39]), "row 2 of values: 1e\\+39 is not a valid number"),
        (([1, 2], ["a", "b"], ["1", "2"]), "values must be numbers, not text"),
        (([1, 2], ["a", "b"], [True, False]), "values must be numbers, not booleans"),
        (([1, 2], ["a", "b"]), "`values` is required for ratings"),
        (([1, "x"], ["a", "b"], [1, 2]), "IDs must be all integers or all strings"),
        (([], [], []), "the table is empty"),
    ],
)
def test_invalid_columns(columns: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Interactions.from_columns(*columns)


def test_more_invalid_columns() -> None:
    with pytest.raises(DataError, match=r"row 1 of times: 1\.5 is not a valid number"):
        Interactions.from_columns([1], [1], [1], times=[1.5])
    with pytest.raises(DataError, match=r"row 1: weight -1\.0 is not valid for ratings"):
        Interactions.from_columns([1], [1], [1], weights=[-1])
    with pytest.raises(DataError, match="row 2 of values: the value of an event must be above 0"):
        Interactions.from_columns([1, 2], [1, 1], [1, 0], kind="events")


def test_tables_join_on_ids_in_row_order() -> None:
    ratings = table([(3, "c", 5, 0), (1, "a", 4, 0)])
    items = pl.DataFrame({"movie": ["x", "c"], "title": ["Unrated", "Casablanca"]})
    joined = ratings.with_item_table(items)
    assert joined.item_table is not None
    assert joined.item_table.rows() == [("a", None), ("c", "Casablanca")]
    assert joined.titles is not None
    assert joined.titles.to_list() == [None, "Casablanca"]
    assert joined.select(np.array([True, False])).item_table is joined.item_table
    users = ratings.with_user_table({"age": [20, 30], "user": [1, 3]}, id_column="user").user_table
    assert users is not None
    assert users.rows() == [(1, 20), (3, 30)]
    assert ratings.titles is None


def test_tables_that_do_not_join() -> None:
    ratings = table([(3, "c", 5, 0)])
    with pytest.raises(DataError, match="item 'c' more than once"):
        ratings.with_item_table({"item": ["c", "c"], "title": ["A", "B"]})
    with pytest.raises(DataError, match="no column 'id'; it has item, title"):
        ratings.with_item_table({"item": ["c"], "title": ["A"]}, id_column="id")
    for empty in (pl.DataFrame(), {}, None):
        with pytest.raises(DataError, match="the item table has no columns; one must contain the item IDs"):
            ratings.with_item_table(empty)
        with pytest.raises(DataError, match="the user table has no columns"):
            ratings.with_user_table(empty)
    for thing in (3, "films.csv", {"item": ["c", "d"], "title": ["A"]}):
        with pytest.raises(DataError, match=f"the item table must be a frame .* not {type(thing).__name__}"):
            ratings.with_item_table(thing)


@given(ROWS, st.data())
def test_taken_rows_are_those_rows_and_minus_one_is_empty(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    loaded = table(rows)
    matrix, full = loaded.by_user, dense(loaded.by_user, loaded.n_items)
    wanted = data.draw(st.lists(st.integers(-1, loaded.n_users - 1)))
    taken = matrix.take(wanted)
    blank = np.zeros((1, loaded.n_items), np.float32)
    expected = np.concatenate([full, blank])[wanted] if wanted else full[:0]
    np.testing.assert_array_equal(dense(taken, loaded.n_items), expected)
    for r in range(len(matrix)):
        np.testing.assert_array_equal(dense(matrix.row(r), loaded.n_items), full[r : r + 1])


def test_rows_of_a_matrix_without_entries() -> None:
    for n_rows in (0, 3):
        empty = SparseRows.empty(n_rows)
        assert empty.counts.tolist() == [0] * n_rows
        assert empty.take([-1, -1]).counts.tolist() == [0, 0]
        assert empty.take([]).counts.tolist() == []
    assert SparseRows.empty(3).take([2, -1, 0]).counts.tolist() == [0, 0, 0]


def test_taken_rows_have_their_weights_and_sorted_entries() -> None:
    matrix = SparseRows.of([1, 0, 1], [5, 2, 3], [1.0, 2.0, 3.0], 2, weights=[0.1, 0.2, 0.3])
    assert matrix.columns.tolist() == [2, 3, 5]
    taken = matrix.take([1, -1])
    assert taken.weights is not None
    assert taken.weights.tolist() == pytest.approx([0.3, 0.1])
    assert matrix.slice(0, 1).values.tolist() == [2.0]


@given(ROWS, st.booleans())
def test_transposed_histories_are_those_of_items_and_transposing_is_an_involution(
    rows: list[tuple[Any, ...]], weighted: bool
) -> None:
    loaded = table(rows)
    if weighted:
        loaded = loaded.with_weights(np.arange(len(loaded)))
    turned = loaded.by_user.transpose(loaded.n_items)
    for actual, expected in ((turned, loaded.by_item), (turned.transpose(loaded.n_users), loaded.by_user)):
        for name in ("start", "columns", "values", "weights"):
            a, b = getattr(actual, name), getattr(expected, name)
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and a.tobytes() == b.tobytes())


def test_transposing_no_histories_and_too_many_columns() -> None:
    assert SparseRows.empty(0).transpose(3).counts.tolist() == [0, 0, 0]
    assert len(SparseRows.empty(2).transpose(0)) == 0
    with pytest.raises(ParameterError, match=r"n_columns must be greater than the largest column index \(3\); got 3"):
        SparseRows.of([0], [3], [1], 1).transpose(3)


def test_only_histories_of_the_same_users_are_merged() -> None:
    with pytest.raises(AssertionError):
        merge_latest(SparseRows.empty(2), SparseRows.of([0], [1], [1], 1))
