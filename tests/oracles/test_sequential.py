"""The sequential estimator against plain loops, and the use of times in updates, new users and saved models."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor.arrays import signed_confidence
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.estimators import SequentialItemKNN
from cofactor.kernels import reference
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.transitions import transitions
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from tests.support.command_line import rejected, stdout_of

N_USERS, N_ITEMS, N_ROWS = 60, 25, 700


def random_events(seed: int = 0, **changes: Any) -> Interactions:
    """Events with weights, dislikes, counts and simultaneous events; `changes` replace columns."""
    rng = np.random.default_rng(seed)
    columns = {
        "times": rng.integers(0, 40, N_ROWS),
        "weights": rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0], N_ROWS, p=[0.05, 0.05, 0.2, 0.5, 0.2]),
    } | changes
    users, items = rng.integers(0, N_USERS, N_ROWS), rng.integers(0, N_ITEMS, N_ROWS)
    return Interactions.from_columns(users, items, rng.integers(1, 4, N_ROWS), kind="events", **columns)


def scores_by_loops(table: Interactions, estimator: SequentialItemKNN) -> np.ndarray:
    """The equations in the docstring of SequentialItemKNN, for all users."""
    x = signed_confidence(table.values, table.weights, estimator.counts).astype(np.float64)
    times = np.zeros(len(table), np.int64) if table.times is None else table.times
    keep = x != 0
    u, i, x, times = table.u[keep], table.i[keep], x[keep], times[keep]
    rows = SparseRows.of(u, i, x, table.n_users, times=times)
    counts = reference.transition_counts(
        rows, table.n_items, gap_power=estimator.gap_power, backward=estimator.backward
    )
    p = np.maximum(np.bincount(i, np.abs(x), minlength=table.n_items), 1e-300)
    weights = np.maximum(counts, 0) / np.outer(p**estimator.source_power, p**estimator.target_power)
    scores = np.zeros((table.n_users, table.n_items))
    for user in range(table.n_users):
        mine = times[u == user]
        for j, value, time in zip(i[u == user], x[u == user], mine, strict=True):
            later, tied = (mine > time).sum(), (mine == time).sum()
            recency = np.mean([estimator.recency ** (later + place) for place in range(tied)])
            scores[user] += recency * value * weights[j]
    return scores


def all_scores(rec: Recommender) -> np.ndarray:
    return np.asarray(rec.model.scores(rec.batch(np.arange(len(rec.users), dtype=np.int32))))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "settings",
    [{}, {"gap_power": 10, "backward": 1}, {"gap_power": 0, "backward": 0}, {"recency": 0}, {"recency": 1},
     {"source_power": 1, "target_power": 0.5, "counts": "raw"}],
)  # fmt: skip
@pytest.mark.parametrize("times", [True, False])
def test_scores_are_those_of_plain_loops(settings: dict[str, Any], times: bool) -> None:
    table = random_events() if times else random_events(times=None)
    estimator = SequentialItemKNN(**settings)
    scores, expected = all_scores(Recommender.fit(estimator, table)), scores_by_loops(table, estimator)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_the_transitions_with_the_largest_weights_are_stored() -> None:
    rows = random_events(weights=None).sequences
    settings = {"gap_power": 0.8, "backward": 0.3, "source_power": 0.3, "target_power": 0.1}
    full = transitions(rows, N_ITEMS, n=N_ITEMS, **settings)  # type: ignore[arg-type]
    part = transitions(rows, N_ITEMS, n=5, **settings)  # type: ignore[arg-type]
    for j in range(N_ITEMS):
        best = np.sort(full.row(j).values)[::-1][:5]
        np.testing.assert_array_equal(np.sort(part.row(j).values)[::-1], best)


@pytest.mark.parametrize("rows", [SparseRows.empty(0), SparseRows.empty(3), SparseRows.of([0], [1], [1], 1, times=[3])])
def test_without_pairs_there_are_no_transitions(rows: SparseRows) -> None:
    weights = transitions(rows, 2, gap_power=0.5, backward=0.5, source_power=1, target_power=1, n=2)
    assert len(weights) == 2
    assert len(weights.columns) == 0


def test_direction_and_distance_count() -> None:
    events = Interactions.from_columns([1] * 3, ["a", "b", "c"], times=[10, 20, 30], kind="events")
    rec = Recommender.fit(SequentialItemKNN(gap_power=1, backward=0.25, source_power=0, target_power=0), events)
    scores = {row["item"]: row["score"] for row in rec.for_history(["b"]).recommend().to_dicts()}
    assert scores == {"c": 1.0, "a": 0.25}
    scores = {row["item"]: row["score"] for row in rec.for_history(["a"]).recommend().to_dicts()}
    assert scores == {"b": 1.0, "c": 0.5}


@pytest.fixture
def rec() -> Recommender:
    return Recommender.fit(SequentialItemKNN(), random_events(weights=None))


def history_in_order(rec: Recommender, user: int) -> list[Any]:
    """The (item, value) pairs of a user in chronological order."""
    row = rec.histories.row(user)
    assert row.times is not None
    order = np.argsort(row.times)
    return list(zip(rec.items.ids(row.columns[order]).to_list(), row.values[order].tolist(), strict=True))


def test_one_event_updates_the_list(rec: Recommender) -> None:
    times = [rec.histories.row(u).times for u in range(N_USERS)]
    row = next(u for u, row in enumerate(times) if row is not None and len(np.unique(row)) == len(row) < N_ITEMS)
    pairs, user = history_in_order(rec, row), rec.users.ids(np.int32([row]))[0]
    new = rec.recommend(user, n=1)["item"][0]
    for times in ([1_000], None):  # rows without times count as later than all others
        later = rec.updated(Interactions.from_columns([user], [new], times=times, kind="events"))
        expected = rec.for_history([*pairs, (new, 1.0)]).recommend()
        assert later.recommend(user)["item"].to_list() == expected["item"].to_list()
        np.testing.assert_allclose(later.recommend(user)["score"], expected["score"], rtol=1e-6)
    earlier = rec.updated(Interactions.from_columns([user], [new], times=[-1], kind="events"))
    expected = rec.for_history([(new, 1.0), *pairs]).recommend()
    np.testing.assert_allclose(earlier.recommend(user)["score"], expected["score"], rtol=1e-6)


def test_a_repeated_event_makes_its_item_the_latest(rec: Recommender) -> None:
    row = rec.histories.row(3)
    item, user = rec.items.ids(row.columns)[0], rec.users.ids(np.int32([3]))[0]
    repeated = rec.updated(Interactions.from_columns([user], [item], times=[99], kind="events")).histories.row(3)
    assert repeated.times is not None
    assert (repeated.times[0], repeated.values[0]) == (99, row.values[0] + 1)
    older = rec.updated(Interactions.from_columns([user], [item], times=[-9], kind="events")).histories.row(3)
    np.testing.assert_array_equal(older.times, row.times)  # type: ignore[arg-type]


def test_times_are_saved(rec: Recommender, tmp_path: Path) -> None:
    rec.save(tmp_path / "m.cofactor")
    copy = Recommender.load(tmp_path / "m.cofactor")
    np.testing.assert_array_equal(copy.histories.times, rec.histories.times)  # type: ignore[arg-type]
    np.testing.assert_array_equal(all_scores(copy), all_scores(rec))
    plain = Recommender.fit(cofactor.ItemKNN(), random_events(weights=None))
    assert plain.histories.times is None


def test_only_the_order_of_times_counts(rec: Recommender) -> None:
    table = random_events(weights=None)
    assert table.times is not None
    stretched = Interactions.from_columns(table.u, table.i, table.values, times=table.times**3 * 1_000, kind="events")
    np.testing.assert_array_equal(all_scores(Recommender.fit(SequentialItemKNN(), stretched)), all_scores(rec))


def test_the_next_item_of_a_cycle_is_first() -> None:
    """Users take three to eight successive items of a cycle; without the order, the previous item is as likely."""
    rng = np.random.default_rng(0)
    steps = [(user, start + step, step) for user in range(400) for start, n in [(user, rng.integers(3, 9))]
             for step in range(n)]  # fmt: skip
    users, items, times = np.array(steps).T
    table = Interactions.from_columns(users, items % N_ITEMS, times=times, kind="events")
    last = np.array([items[users == user].max() for user in range(400)])
    ranked = {
        estimator: Recommender.fit(estimator, table).recommend(range(400), n=1)["item"].to_numpy()
        for estimator in (SequentialItemKNN(), cofactor.ItemKNN())
    }
    shares = [np.mean(first == (last + 1) % N_ITEMS) for first in ranked.values()]
    assert shares[0] == 1
    assert shares[1] < 0.7


def test_the_order_of_rows_changes_no_bit(rec: Recommender) -> None:
    """Also of simultaneous rows."""
    table = random_events(weights=None)
    assert table.times is not None
    order = np.random.default_rng(1).permutation(len(table))
    columns = (column[order] for column in (table.u, table.i, table.values))
    shuffled = Interactions.from_columns(*columns, times=table.times[order], kind="events")
    np.testing.assert_array_equal(all_scores(Recommender.fit(SequentialItemKNN(), shuffled)), all_scores(rec))


def test_an_explanation_adds_up(rec: Recommender) -> None:
    user = rec.users.ids(np.int32([5]))[0]
    best = rec.recommend(user, n=1)
    terms = rec.explain(user, best["item"][0], method="contribution")
    assert terms["term"].sum() == pytest.approx(best["score"][0], rel=1e-6)


def test_without_times_a_warning_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="cofactor"):
        model = SequentialItemKNN(source_power=0, target_power=0).fit(random_events(times=None, weights=None))
    assert "no times" in caplog.text
    users = UserBatch.of(
        np.arange(N_ITEMS), SparseRows.of(np.arange(N_ITEMS), np.arange(N_ITEMS), np.ones(N_ITEMS), N_ITEMS)
    )
    weights = model.fold_in(users.histories).scores(users)
    np.testing.assert_array_equal(weights, weights.T)


def test_weights_decay_with_age() -> None:
    day = 86_400
    events = Interactions.from_columns([1, 1, 2], [7, 8, 7], times=[0, 2 * day, day], weights=[1, -1, 4], kind="events")
    assert events.decayed(half_life=2).weights is not None
    np.testing.assert_allclose(events.decayed(half_life=2).weights, [0.5, -1, 4 / np.sqrt(2)])  # type: ignore[arg-type]
    assert len(events.select([False] * 3).decayed(half_life=2)) == 0


def test_decay_requires_times_and_a_half_life() -> None:
    with pytest.raises(DataError, match="no times"):
        Interactions.from_columns([1, 1], [7, 8], kind="events").decayed(half_life=2)
    with pytest.raises(ParameterError, match="half_life"):
        Interactions.from_columns([1, 1], [7, 8], [4, 5], times=[0, 1]).decayed(half_life=0)


def test_the_command_line_fits_decayed_events(tmp_path: Path) -> None:
    random_events().frame().write_csv(tmp_path / "clicks.csv")
    arguments = ("fit", tmp_path / "clicks.csv", "--events", "-m", "popularity", "-o", tmp_path / "m.cofactor")
    assert "fitted popularity" in stdout_of(*arguments, "--half-life", 0.0001)
    expected = Recommender.fit(cofactor.Popularity(), random_events().decayed(half_life=0.0001))
    np.testing.assert_allclose(
        all_scores(Recommender.load(tmp_path / "m.cofactor"))[0], all_scores(expected)[0], rtol=1e-6
    )
    assert "half_life" in rejected(*arguments, "--half-life", 0)
