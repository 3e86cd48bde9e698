"""S0 and I0 equal the published splits, and are splits of the full table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.evaluate.movielens_splits import i0_rows, s0_rows, split_rows


def test_s0_is_the_published_permutation():
    train, test = s0_rows()
    expected = np.random.RandomState(0).permutation(100_000)
    assert (train == expected[:80_000]).all()
    assert (test == expected[80_000:]).all()
    assert train[:3].tolist() == [3582, 60498, 53227]  # numpy froze this generator in 2011


def i0_by_hand(users, values, seed):
    rows = [row for row, value in enumerate(values) if value >= 4]
    permuted = [rows[j] for j in np.random.RandomState(seed).permutation(len(rows))]
    train, test = [], []
    for user in sorted(set(users)):
        mine = [row for row in permuted if users[row] == user]
        cut = int(np.floor(0.2 * len(mine)))
        test += mine[:cut]
        train += mine[cut:]
    return train, test


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=80),
    st.integers(0, 9),
    st.booleans(),
)
def test_i0_equals_its_definition(rows, seed, as_text):
    users = [f"user {u}" if as_text else u for u, _ in rows]
    values = [value for _, value in rows]
    train, test = i0_rows(users, values, seed=seed)
    assert (train.tolist(), test.tolist()) == i0_by_hand(users, values, seed)


def test_i0_rejects_columns_of_different_lengths():
    with pytest.raises(DataError, match="values must have one rating per user ID; got shape"):
        i0_rows([1, 2, 3], [5.0])


@pytest.fixture
def file():
    draw = np.random.default_rng(4)
    pairs = draw.permutation(30 * 40)[:600]
    return [f"u{p // 40}" for p in pairs], [f"i{p % 40}" for p in pairs], draw.integers(1, 6, 600)


def test_row_numbers_of_the_file_become_a_split_of_the_table(file):
    users, items, values = file
    table = Interactions.from_columns(users, items, values)
    train, test = s0_rows(600)
    split = split_rows(table, test, users=users, items=items, description="S0")
    for part, rows in ((split.train, train), (split.test, test)):
        mine = part.frame().sort("user", "item").rows()
        assert mine == sorted((users[row], items[row], float(values[row])) for row in rows)
    assert split.train.users is table.users
    assert split.description == "S0"


def test_i0_splits_the_positives_and_keeps_the_catalog(file):
    users, items, values = file
    events = Interactions.from_columns(users, items, values).to_events(min_rating=4)
    train, test = i0_rows(users, values, seed=1)
    split = split_rows(events, test, users=users, items=items)
    assert (len(split.train), len(split.test)) == (len(train), len(test))
    assert set(zip(split.test.frame()["user"], split.test.frame()["item"], strict=True)) == {
        (users[row], items[row]) for row in test
    }
    assert split.test.n_items == 40


def test_a_pair_twice_in_the_file_is_in_one_part():
    table = Interactions.from_columns([1, 1, 1], [1, 1, 2], [3, 4, 5])
    split = split_rows(table, [0], users=[1, 1, 1], items=[1, 1, 2])
    assert split.test.values.tolist() == [4.0]
    assert len(split.train) == 1


def test_missing_rows_are_named(file):
    users, items, values = file
    table = Interactions.from_columns(users, items, values)
    for row in (600, -1):
        with pytest.raises(
            ParameterError, match=f"test_rows must be row numbers in the file, which has 600 rows; got {row}"
        ):
            split_rows(table, [0, row], users=users, items=items)
    with pytest.raises(DataError, match="row 1 of the file, user 'nobody' and item 'i1', is in the test"):
        split_rows(table, [0], users=["nobody"], items=["i1"])
    dislikes = np.flatnonzero(values < 4)[:1]
    with pytest.raises(DataError, match=f"row {dislikes[0] + 1} of the file, user '{users[dislikes[0]]}'"):
        split_rows(table.to_events(min_rating=4), dislikes, users=users, items=items)
    with pytest.raises(DataError, match="must have the same length; got 600 and 1 IDs"):
        split_rows(table, [0], users=users, items=["i1"])
    with pytest.raises(DataError, match="interactions must have at least one row"):
        split_rows(table.select(values < 0), [0], users=users, items=items)
    with pytest.raises(DataError, match="leaves test empty"):
        split_rows(table, [], users=users, items=items)
