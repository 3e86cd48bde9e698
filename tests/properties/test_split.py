"""Splits partition the table and detect leaks; impossible splits give advice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError, LeakageError, ParameterError
from cofactor.evaluate import evaluate, split_predefined
from cofactor.evaluate.leakage import require_no_future, require_no_future_per_user
from cofactor.evaluate.split import (
    Split,
    split_by_time,
    split_last,
    split_per_user,
    split_random,
    split_users,
)
from cofactor.evaluate.validation_split import split_for_validation


def table_of(n_rows: int, n_users: int, n_items: int, seed: int, n_times: int = 10_000) -> Interactions:
    draw = np.random.default_rng(seed)
    return Interactions.from_columns(
        draw.integers(0, n_users, n_rows),
        [f"item {i}" for i in draw.integers(0, n_items, n_rows)],
        draw.integers(1, 6, n_rows),
        times=draw.integers(0, n_times, n_rows),
    )


@pytest.fixture(scope="module")
def table() -> Interactions:
    return table_of(2000, 40, 120, seed=1)


def rows_of(*parts: Interactions | None) -> list[tuple]:
    return sorted(row for part in parts if part is not None for row in part.frame().iter_rows())


tables = st.builds(
    table_of, st.integers(1, 60), st.integers(1, 8), st.integers(1, 12), st.integers(0, 99), st.integers(1, 9)
)
split_functions = st.sampled_from([split_random, split_per_user, split_last, split_by_time, split_users])


def possible(table: Interactions, split_function, test: float) -> bool:
    counts = np.bincount(table.u)
    if split_function is split_random:
        return test * len(table) > 1 - 1e-6
    if split_function is split_per_user:
        return test * counts.max() > 1 - 1e-6
    if split_function is split_last:
        return counts.max() > 1
    if split_function is split_by_time:
        return len(set(table.times.tolist())) > 1
    return test * (counts > 0).sum() > 1 - 1e-6 and counts.max() > 1


@given(tables, split_functions, st.data())
@settings(max_examples=150, deadline=None)
def test_every_split_partitions_the_table_or_raises_an_error(table, split_function, data):
    options = {}
    if split_function is not split_last:
        options["test"] = data.draw(st.sampled_from([0.1, 0.2, 0.5, 0.9]))
    if split_function in (split_random, split_per_user, split_users):
        options["seed"] = data.draw(st.integers(0, 3))
    if not possible(table, split_function, options.get("test")):
        with pytest.raises(DataError):
            split_function(table, **options)
        return
    split = split_function(table, **options)
    assert rows_of(split.train, split.test, split.fold_in) == rows_of(table)
    assert split.train.users is table.users
    assert split.test.items is table.items
    again = split_function(table, **options)
    assert rows_of(again.test) == rows_of(split.test)


def test_random_takes_the_share_and_depends_only_on_the_seed(table):
    first, second = split_random(table, test=0.25, seed=0), split_random(table, test=0.25, seed=1)
    assert len(first.test) == int(0.25 * len(table))
    assert rows_of(first.test) != rows_of(second.test)
    frame = table.frame().sample(fraction=1.0, shuffle=True, seed=3)
    shuffled = Interactions.from_columns(frame["user"], frame["item"], frame["value"], times=frame["time"])
    assert rows_of(split_random(shuffled, test=0.25, seed=0).test) == rows_of(first.test)


def test_a_share_is_rounded_despite_floating_point_error():
    hundred = Interactions.from_columns(np.arange(100) // 10, np.arange(100) % 10, np.ones(100))
    assert 0.29 * 100 < 29
    assert len(split_random(hundred, test=0.29).test) == 29


def test_per_user_holds_out_the_floor_of_each_history(table):
    split = split_per_user(table, test=0.2, seed=5)
    history_lengths, n_test = table.by_user.counts, split.test.by_user.counts
    assert n_test.tolist() == [int(0.2 * n + 1e-9) for n in history_lengths.tolist()]


def test_per_user_draws_every_position_of_a_history_equally_often():
    history = Interactions.from_columns([1] * 5, [1, 2, 3, 4, 5], [3] * 5)
    chosen = [int(split_per_user(history, test=0.2, seed=seed).test.i[0]) for seed in range(200)]
    assert min(np.bincount(chosen, minlength=5)) > 20


def test_last_takes_the_most_recent_rows_of_each_user(table):
    split = split_last(table, n=2)
    assert split.order == "by time per user"
    for user in range(table.n_users):
        mine, train, test = (np.sort(t.times[t.u == user]) for t in (table, split.train, split.test))
        expected = mine[-2:] if len(mine) > 2 else mine[:0]
        assert test.tolist() == expected.tolist()
        assert len(train) + len(test) == len(mine)


def test_last_keeps_short_histories_in_train():
    table = Interactions.from_columns([1, 1, 1, 2], ["a", "b", "c", "a"], [1, 2, 3, 4], times=[7, 9, 8, 7])
    split = split_last(table)
    assert rows_of(split.test) == [(1, "b", 2.0, 9)]
    assert rows_of(split.train) == [(1, "a", 1.0, 7), (1, "c", 3.0, 8), (2, "a", 4.0, 7)]
    assert split.description == "last row of each user"


def test_last_breaks_ties_by_the_seed():
    ids = ["a", "b", "c", "d"]
    table = Interactions.from_columns([1] * 4 + [2] * 2, [*ids, "a", "b"], [3] * 6, times=[5, 9, 9, 9, 1, 2])
    drawn = [split_last(table, seed=seed).test.frame()["item"].to_list() for seed in range(300)]
    assert {items[1] for items in drawn} == {"b"}  # user 2 has no tie
    counts = {item: [items[0] for items in drawn].count(item) for item in ids}
    assert counts["a"] == 0
    assert min(counts["b"], counts["c"], counts["d"]) > 70  # 100 each on average
    assert split_last(table, seed=3).test.frame().rows() == split_last(table, seed=3).test.frame().rows()
    assert split_last(table, seed=3).description == "last row of each user, ties in time of 1 user broken with seed 3"
    both = split_last(table, n=2).description
    assert both == "last 2 rows of each user, ties in time of 1 user broken with seed 0"
    assert split_last(table, n=3).description == "last 3 rows of each user"  # all three of one time


def test_last_does_not_depend_on_the_ids(table):
    tied = Interactions.from_columns([1] * 6, [1, 2, 3, 4, 5, 6], [3] * 6, times=[7] * 6)
    named = Interactions.from_columns([1] * 6, [6, 5, 4, 3, 2, 1], [3] * 6, times=[7] * 6)
    held_out = np.array([split_last(tied, seed=s).test.frame()["item"][0] for s in range(200)])
    renamed = 7 - np.array([split_last(named, seed=s).test.frame()["item"][0] for s in range(200)])
    assert abs(held_out.mean() - 3.5) < 0.4
    assert abs(renamed.mean() - 3.5) < 0.4


def test_last_splits_movielens_with_ties_of_415_users(movielens):
    split = split_last(movielens.to_events(min_rating=1), seed=1)
    assert "ties in time of 415 users broken with seed 1" in split.description


def test_an_inner_split_and_the_result_of_evaluate_report_ties():
    table = table_of(400, 20, 40, seed=4, n_times=5)
    split = split_last(table, seed=2)
    assert "users broken with seed 2" in split.description
    assert "users broken with seed 7" in split_for_validation(split, seed=7).description
    assert "users broken with seed 2" in evaluate([], split).description


@pytest.mark.parametrize("n", [0, -1, True, 1.0, None, "1"])
def test_last_takes_a_whole_number_of_rows(table, n):
    with pytest.raises(ParameterError, match="n must be an integer >= 1"):
        split_last(table, n=n)


@pytest.mark.parametrize("cut", [split_random, split_per_user, split_last, split_users])
@pytest.mark.parametrize("seed", [True, 1.5, -1, 2**32, 2**70, "1"])
def test_a_seed_of_a_split_is_a_seed(table, cut, seed):
    with pytest.raises(ParameterError, match="seed must be an integer from 0 to 4294967295"):
        cut(table, seed=seed)


def test_by_time_tests_on_all_rows_from_the_cut_on(table):
    split = split_by_time(table, test=0.3)
    assert split.train.times.max() < split.test.times.min()
    assert abs(len(split.test) / len(table) - 0.3) < 0.01
    at = split_by_time(table, at=5000)
    assert at.test.times.min() >= 5000 > at.train.times.max()
    assert "1970-01-01T01:23:20 UTC" in at.description


def test_by_time_keeps_rows_of_the_same_time_together_and_uses_the_nearest_cut():
    lumpy = Interactions.from_columns([1] * 10, range(10), [3] * 10, times=[0] * 6 + [5] * 3 + [9])
    assert len(split_by_time(lumpy, test=0.2).test) == 1  # 1 or 4 rows: 1 is nearer to 2
    assert len(split_by_time(lumpy, test=0.3).test) == 4
    assert len(split_by_time(lumpy, test=0.99).test) == 4


def test_held_out_users_have_rows_to_fold_in_and_rows_to_score(table):
    split = split_users(table, test=0.2, fold_in_share=0.6, seed=2)
    held_out = split.held_out_users
    assert len(held_out) == int(0.2 * table.n_users)
    assert not np.isin(split.train.u, held_out).any()
    folded_in, test = split.fold_in.by_user.counts[held_out], split.test.by_user.counts[held_out]
    history_lengths = table.by_user.counts[held_out]
    assert (folded_in + test == history_lengths).all()
    assert folded_in.tolist() == [min(max(int(0.6 * n + 1e-9), 1), n - 1) for n in history_lengths.tolist()]
    assert split.history is split.fold_in


def test_held_out_users_always_have_two_rows():
    singles = Interactions.from_columns([1, 2, 3, 4, 4], [1, 1, 1, 1, 2], [3] * 5)
    split = split_users(singles, test=0.99)
    assert split.held_out_users.tolist() == [3]
    assert (len(split.fold_in), len(split.test)) == (1, 1)


def test_without_held_out_users_the_history_is_train(table):
    split = split_random(table)
    assert split.held_out_users is None
    assert split.history is split.train


def test_a_split_made_by_hand_is_checked(table):
    half = np.arange(len(table)) % 2 == 0
    split = Split(table.select(half), table.select(~half), "even rows")
    assert repr(split) == f"Split(even rows: {half.sum():,} train, {(~half).sum():,} test)"
    overlap = half.copy()
    overlap[[1, 3, 5]] = True
    user, item = table.users.ids(table.u[1:2])[0], table.items.ids(table.i[1:2])[0]
    message = f"user {user} and item '{item}' are in both train and test \\(and 2 more pairs\\)"
    with pytest.raises(LeakageError, match=message):
        Split(table.select(overlap), table.select(~half))


def test_an_unsorted_table_in_which_a_leak_could_hide_cannot_be_made(table):
    with pytest.raises(DataError, match=r"rows must be distinct user-item pairs in ascending order"):
        replace(table, u=table.u[::-1].copy(), i=table.i[::-1].copy())


def test_future_in_train_is_a_leak(table):
    late = table.times >= 5000
    with pytest.raises(LeakageError, match="but the test set starts at"):
        Split(table.select(late), table.select(~late), order="by time")
    one_late = ~late.copy()
    one_late[np.flatnonzero(late)[0]] = True
    with pytest.raises(
        LeakageError, match=r"^the training set contains user .+ at time \d+, but the test set starts at \d+$"
    ):
        Split(table.select(one_late), table.select(~one_late), order="by time")


def test_empty_tables_do_not_leak(table):
    no_rows = table.select(np.zeros(len(table), bool))
    for train, test in ((table, no_rows), (no_rows, table), (no_rows, no_rows)):
        require_no_future(train, test)
        require_no_future_per_user(train, test)


def test_a_users_own_future_in_train_is_a_leak():
    two = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [3] * 4, times=[10, 20, 1, 2])
    right = Split(two.select([True, False, True, True]), two.select([False, True, False, False]))
    assert replace(right, order="by time per user").order == "by time per user"
    message = "the training set contains user 1 and item 2 at time 20, after a test row of this user at time 10"
    with pytest.raises(LeakageError, match=message):
        Split(
            two.select([False, True, True, True]),
            two.select([True, False, False, False]),
            order="by time per user",
        )


def test_without_times_leaks_are_unknown(table):
    timeless = replace(table, times=None)
    half = np.arange(len(table)) % 2 == 0
    with pytest.raises(LeakageError, match="test has no times"):
        Split(timeless.select(half), timeless.select(~half), order="by time")


def test_a_held_out_user_with_rows_in_train_or_a_pair_given_and_tested_is_a_leak():
    four = Interactions.from_columns([1, 1, 1, 2], [1, 2, 3, 1], [3] * 4)
    parts = [four.select(np.array(keep, bool)) for keep in ([1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0])]
    with pytest.raises(LeakageError, match="user 1 is held out in fold_in but also has rows in the training set"):
        Split(parts[0], parts[1], fold_in=parts[2])
    no_rows = four.select(np.zeros(4, bool))
    with pytest.raises(LeakageError, match="user 1 is held out in test but also has rows in the training set"):
        Split(parts[0], parts[1], fold_in=no_rows)
    with pytest.raises(KindError, match="`fold_in` contains events"):
        Split(parts[0], parts[1], fold_in=parts[2].to_events(min_rating=1))
    alone = [four.select(np.array(keep, bool)) for keep in ([0, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0])]
    with pytest.raises(LeakageError, match="user 1 and item 2 are in both fold_in and test"):
        Split(alone[0], alone[1], fold_in=alone[2])


def test_tables_of_other_ids_or_kinds_are_rejected(table):
    other = table_of(100, 30, 50, seed=9)
    with pytest.raises(LeakageError, match=r"number their users differently .* cofactor\.evaluate\.split_predefined"):
        Split(table, other)
    half = np.arange(len(table)) % 2 == 0
    events = table.select(~half).to_events(min_rating=1)
    with pytest.raises(KindError, match="`train` contains ratings, but `test` contains events"):
        Split(table.select(half), events)
    with pytest.raises(ParameterError, match="order must be any or by time or by time per user"):
        Split(table.select(half), table.select(~half), order="time")


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_part_is_rejected(table, part):
    mask = np.full(len(table), part == "test")
    with pytest.raises(DataError, match=f"leaves {part} empty"):
        Split(table.select(mask), table.select(~mask))


@pytest.mark.parametrize("test", [0, 1, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("split_function", [split_random, split_per_user, split_by_time, split_users])
def test_a_share_must_lie_between_0_and_1(table, split_function, test):
    with pytest.raises(ParameterError, match=r"test must be a (fraction strictly between 0 and 1|finite number)"):
        split_function(table, test=test)


def test_other_arguments_out_of_range(table):
    with pytest.raises(ParameterError, match="fold_in_share must be a fraction strictly"):
        split_users(table, fold_in_share=1.0)
    with pytest.raises(ParameterError, match="n must be an integer >= 1"):
        split_last(table, n=0)


@pytest.mark.parametrize("split_function", [split_last, split_by_time])
def test_times_are_required(table, split_function):
    with pytest.raises(DataError, match="no times; specify its time column"):
        split_function(replace(table, times=None))


def test_impossible_splits_give_advice():
    tiny = Interactions.from_columns([1, 2, 3], [1, 1, 1], [3, 4, 5], times=[8, 8, 8])
    with pytest.raises(DataError, match=r"test=0\.2 of 3 rows is less than one row; increase test"):
        split_random(tiny)
    with pytest.raises(DataError, match=r"no user has 5 rows.*longest history has 1"):
        split_per_user(tiny)
    with pytest.raises(DataError, match="no user has more than n=1 rows"):
        split_last(tiny)
    with pytest.raises(DataError, match="all 3 rows have the same time"):
        split_by_time(tiny)
    with pytest.raises(DataError, match="at=9 leaves test empty; the times range from 8 to 8"):
        split_by_time(tiny, at=9)
    with pytest.raises(DataError, match="at=8 leaves train empty"):
        split_by_time(tiny, at=8)
    with pytest.raises(DataError, match="0 of 3 users have at least two rows"):
        split_users(tiny, test=0.9)
    no_rows = tiny.select(np.zeros(3, bool))
    for split_function in (split_random, split_per_user, split_last, split_by_time, split_users):
        with pytest.raises(DataError):
            split_function(no_rows)


def test_weights_and_kind_are_kept(table):
    weighted = table.with_weights(np.arange(len(table)) / 10).to_events(min_rating=3)
    split = split_random(weighted)
    assert split.test.kind == "events"
    assert rows_of(split.train, split.test) == rows_of(weighted)


def test_two_files_are_renumbered_to_the_ids_of_both():
    train = Interactions.from_columns(["tom", "eve"], ["heat", "alien"], [3, 5])
    test = Interactions.from_columns(["ana", "tom"], ["heat", "brazil"], [1, 2])
    films = pl.DataFrame({"film": ["alien", "brazil", "heat"], "title": ["Alien", "Brazil", "Heat"]})
    split = split_predefined(train.with_item_table(films), test.with_item_table(films), description="two files")
    assert split.train.users.all.to_list() == ["ana", "eve", "tom"]
    assert split.train.titles.to_list() == split.test.titles.to_list() == ["Alien", "Brazil", "Heat"]
    assert rows_of(split.train) == rows_of(train)
    assert rows_of(split.test) == rows_of(test)
    assert split.description == "two files"


def test_a_user_table_of_one_part_is_used_and_none_stays_none():
    train = Interactions.from_columns([1, 2], [1, 1], [3, 5]).with_user_table({"user": [1, 2], "age": [30, 40]})
    test = Interactions.from_columns([2, 3], [2, 1], [1, 2])
    split = split_predefined(train, test)
    assert split.test.user_table["age"].to_list() == [30, 40, None]
    assert split.test.item_table is None


def test_two_files_that_share_a_pair_or_mix_id_types_are_rejected():
    first = Interactions.from_columns(["tom", "ana"], [1, 2], [3, 5])
    with pytest.raises(LeakageError, match="user 'ana' and item 2 are in both train and test; a user-item pair"):
        split_predefined(first, Interactions.from_columns(["ana"], [2], [4]))
    with pytest.raises(
        DataError,
        match="the other table has IDs of another type: integer IDs such as 7 and string IDs such",
    ):
        split_predefined(Interactions.from_columns([7], [3], [4]), first)


WARNED = {
    "users": (
        ["00007", "00008"],
        ["7", "8"],
        ["a", "b"],
        ["c", "a"],
        "no users in common: train has '00007', '00008', test",
    ),
    "items": (
        ["ana", "bo"],
        ["bo", "ana"],
        ["01", "02"],
        ["1", "2"],
        "no items in common: train has '01', '02', test has '1'",
    ),
    "other types": (
        ["007", "008"],
        [7, 8],
        ["a", "b"],
        ["c", "a"],
        "no users in common: train has '007', '008', test has '7'",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_parts_without_common_ids_give_a_warning(case, caplog):
    users, test_users, items, test_items, message = WARNED[case]
    train = Interactions.from_columns(users, items, [3, 5])
    split_predefined(train, Interactions.from_columns(test_users, test_items, [4, 2]))
    assert [message in record.getMessage() for record in caplog.records] == [True]
    assert "check that the ID formats match" in caplog.text


def test_parts_with_a_common_id_give_no_warning(caplog):
    train = Interactions.from_columns([7, 8], ["a", "b"], [3, 5], times=[10**9, 10**9 + 9])
    split_predefined(train, Interactions.from_columns(["7", "9"], ["b", "c"], [4, 2], times=[10**9 + 10, 2 * 10**9]))
    assert not caplog.records


def test_times_of_another_unit_give_a_warning(caplog):
    train = Interactions.from_columns([7, 8], ["a", "b"], [3, 5], times=[10**9, 10**9 + 9])
    test = Interactions.from_columns([7, 8], ["b", "a"], [4, 2], times=[10**9 + 50, 10**9 + 60])
    late = replace(test, times=test.times * 1000)
    split = split_predefined(train, late)
    assert "the times in test seem to use a different unit: around 1000000004 in train" in caplog.text
    caplog.clear()
    Split(split.train, split.test, "by hand", order="by time")
    assert "the times in test seem to use a different unit" in caplog.text
    caplog.clear()
    split_predefined(replace(train, times=train.times * 1000), test)
    assert "the times in train seem to use a different unit" in caplog.text
    caplog.clear()
    Split(split.train, replace(split.test, times=test.times), "by hand", order="by time")
    assert not caplog.records
