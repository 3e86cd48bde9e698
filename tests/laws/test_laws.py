"""Laws that hold for every estimator, and are tested for a new one as soon as it is registered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cofactor.data.interactions import Interactions
from cofactor.errors import KindError
from cofactor.estimators import REGISTRY, Estimator
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender

# A board of 40 x 40 has few ratings and a sharp truth: little penalty and time enough to reach it.
CHECKERBOARD: dict[str, dict[str, Any]] = {
    "bpr": {"factors": 4, "l2": 0.01},
    "biased-mf": {"factors": 4, "l2": 0.001, "epochs": 200, "init_std": 0.1, "learning_rate": 0.05},
    "explicit-als": {"factors": 4, "l2": 0.001, "epochs": 30},
    "bayesian-mf": {"factors": 4, "init_std": 0.5},
    "neural-mf": {"weight_decay": 10.0, "bias_decay": 20.0, "dropout": 0, "epochs": 60, "batch_size": 64, "hidden": 32},
    "implicit-als": {"factors": 4, "l2_ratio": 0.001, "blank_ratio": 0.2, "epochs": 30},
}


# an estimator that learns from both kinds of table keeps every law on both
CASES = [
    (name, kind)
    for name, estimator in REGISTRY.items()
    for kind in (("ratings", "events") if estimator.kind == "any" else (estimator.kind,))
]


PERSONAL = [(name, kind) for name, kind in CASES if REGISTRY[name].personalized]
EXACT_FOLD_IN = [(name, kind) for name, kind in CASES if REGISTRY[name].exact_fold_in]


@pytest.fixture(params=CASES, ids="-from-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param


@pytest.fixture
def estimator(case: tuple[str, Any]) -> Any:
    return REGISTRY[case[0]]()


@pytest.fixture
def kind(case: tuple[str, Any]) -> Any:
    return case[1]


@pytest.fixture
def table(kind: str, small_ratings: Interactions, small_events: Interactions) -> Interactions:
    return small_ratings if kind == "ratings" else small_events


def same_bits(a: Recommender, b: Recommender) -> bool:
    mine, theirs = a.model.arrays(), b.model.arrays()
    return mine.keys() == theirs.keys() and all(mine[k].tobytes() == theirs[k].tobytes() for k in mine)


def checkerboard(kind: str, n: int = 40) -> Interactions:
    """User and item of the same color belong together; the diagonal (always a match) is withheld."""
    u, i = np.nonzero(~np.eye(n, dtype=bool))
    match = u % 2 == i % 2
    if kind == "ratings":
        return Interactions.from_columns(u, i, np.where(match, 5, 1))
    return Interactions.from_columns(u[match], i[match], kind="events")


@pytest.mark.parametrize(("name", "kind"), PERSONAL)
def test_the_withheld_diagonal_of_a_checkerboard_is_recovered(name: str, kind: str) -> None:
    estimator = REGISTRY[name](**CHECKERBOARD.get(name, {}))
    rec = Recommender.fit(estimator, checkerboard(kind), seed=1)
    diagonal = np.arange(40)
    ranked, _ = rec.for_rows(diagonal.astype(np.int32)).rank(1)
    assert (ranked[:, 0] == diagonal).mean() >= 0.95
    if kind == "ratings":
        assert (rec.predict(diagonal, diagonal)["prediction"] > 4).all()


def test_the_order_of_rows_changes_no_bit(estimator: Any, table: Interactions) -> None:
    frame = table.frame()
    shuffled = frame[np.random.default_rng(0).permutation(len(frame))]
    again = Interactions.from_columns(
        shuffled["user"], shuffled["item"], shuffled["value"], times=shuffled["time"], kind=table.kind
    )
    straight = Interactions.from_columns(
        frame["user"], frame["item"], frame["value"], times=frame["time"], kind=table.kind
    )
    assert same_bits(Recommender.fit(estimator, straight, seed=3), Recommender.fit(estimator, again, seed=3))


def test_any_number_of_threads_gives_the_same_bits(estimator: Any, table: Interactions) -> None:
    fits, lists = [], []
    for n in (1, 2, 4):
        with threads(n):
            fits.append(Recommender.fit(estimator, table, seed=3))
            lists.append(fits[-1].recommend_all(7))
    assert same_bits(fits[0], fits[1])
    assert same_bits(fits[0], fits[2])
    assert lists[0].equals(lists[1])
    assert lists[0].equals(lists[2])


def test_the_seed_decides(estimator: Any, table: Interactions) -> None:
    once, again = (Recommender.fit(estimator, table, seed=11) for _ in range(2))
    assert same_bits(once, again)


def test_one_user_alone_gets_the_list_of_a_batch(estimator: Any, table: Interactions) -> None:
    rec = Recommender.fit(estimator, table, seed=3)
    all_users = np.arange(len(rec.users), dtype=np.int32)
    rows, scores = rec.for_rows(all_users).rank(10)
    for u in all_users[::7]:
        alone_rows, alone_scores = rec.for_rows(np.array([u], np.int32)).rank(10)
        assert alone_rows.tobytes() == rows[u : u + 1].tobytes()
        assert alone_scores.tobytes() == scores[u : u + 1].tobytes()


def test_the_best_n_are_the_best_n_of_all_scores(estimator: Any, table: Interactions) -> None:
    rec = Recommender.fit(estimator, table, seed=3)
    users = np.arange(0, len(rec.users), 5, dtype=np.int32)
    histories = rec.histories.take(users)
    scores = rec.model.scores(UserBatch.of(users, histories)).astype(np.float64)
    excluded = rec.excluded.take(users)
    scores[np.repeat(np.arange(len(users)), excluded.counts), excluded.columns] = -np.inf
    ranked, ranked_scores = rec.for_rows(users).rank(10)
    np.testing.assert_allclose(ranked_scores, -np.sort(-scores, axis=1)[:, :10], rtol=2e-5, atol=2e-5)
    assert not any(np.isin(r, histories.row(k).columns).any() for k, r in enumerate(ranked))


def test_save_and_load_is_exact(estimator: Any, table: Interactions, tmp_path: Path) -> None:
    rec = Recommender.fit(estimator, table, seed=3)
    rec.save(tmp_path / "model.cofactor")
    loaded = Recommender.load(tmp_path / "model.cofactor")
    assert same_bits(rec, loaded)
    assert loaded.estimator == estimator
    assert loaded.recommend_all(5).equals(rec.recommend_all(5))
    users, items = table.users.ids(table.u), table.items.ids(table.i)
    assert loaded.predict(users, items).equals(rec.predict(users, items))


@pytest.mark.parametrize(("name", "kind"), EXACT_FOLD_IN)
def test_a_training_user_folds_in_to_its_own_row(
    name: str, kind: str, small_ratings: Interactions, small_events: Interactions
) -> None:
    estimator = REGISTRY[name]()
    table = small_ratings if kind == "ratings" else small_events
    rec = Recommender.fit(estimator, table, seed=3)
    folded = rec.model.fold_in(rec.histories)
    all_users = np.arange(len(rec.users), dtype=np.int32)
    np.testing.assert_allclose(
        folded.scores(UserBatch.of(all_users, rec.histories)),
        rec.model.scores(UserBatch.of(all_users, rec.histories)),
        atol=1e-5,
    )


def test_a_new_user_gets_finite_scores_for_any_history(estimator: Any, table: Interactions) -> None:
    rec = Recommender.fit(estimator, table, seed=3)
    histories = SparseRows.of([0, 2, 2], [3, 1, 4], [5.0, 1.0, 4.0], 3)  # the second one has no history
    folded = rec.model.fold_in(histories)
    rows = np.arange(3, dtype=np.int32)
    ranked, scores = folded.top(UserBatch.of(rows, histories), 5, exclude=histories, allowed=np.zeros(0, bool))
    assert np.isfinite(scores).all()
    assert (ranked >= 0).all()


def test_predictions_are_finite_and_on_the_scale_for_known_and_unknown_ids(estimator: Any, table: Interactions) -> None:
    rec = Recommender.fit(estimator, table, seed=3)
    some = table.users.ids(table.u[:5]).to_list()
    users = [*some, "nobody", "nobody"]
    items = [*table.items.ids(table.i[:5]).to_list(), "item 1", "nothing"]
    predicted = rec.predict(users, items)["prediction"].to_numpy()
    assert np.isfinite(predicted).all()
    if table.kind == "ratings":
        assert ((predicted >= 1) & (predicted <= 5)).all()
    assert rec.unknown(users, items) == (2, 1)


@pytest.mark.parametrize("shape", ["one user", "one item", "one row", "all equal"])
def test_the_smallest_tables(estimator: Any, kind: Any, shape: str) -> None:
    users, items = {
        "one user": (["a"] * 4, ["w", "x", "y", "z"]),
        "one item": (["a", "b", "c", "d"], ["x"] * 4),
        "one row": (["a"], ["x"]),
        "all equal": (["a", "a", "b", "c"], ["x", "y", "x", "z"]),
    }[shape]
    values = [3.0] * len(users) if shape in ("all equal", "one row") else [1.0, 2.0, 4.0, 5.0]
    table = Interactions.from_columns(users, items, values, kind=kind)
    rec = Recommender.fit(estimator, table)
    assert np.isfinite(rec.predict(users, items)["prediction"].to_numpy()).all()
    ranked = rec.recommend("a", n=1000)  # more than the catalog
    assert len(ranked) == len(set(items)) - len(set(np.array(items)[np.array(users) == "a"]))
    assert ranked["item"].n_unique() == len(ranked)


def test_ids_without_rows_do_no_harm(estimator: Any, table: Interactions) -> None:
    """A split keeps all ids, so some users and items have nothing to learn from."""
    part = table.select((table.u % 3 != 0) & (table.i % 5 != 0))
    rec = Recommender.fit(estimator, part)
    assert all(np.isfinite(array).all() for array in rec.model.arrays().values())
    assert len(rec.recommend(table.users.ids([0])[0], n=3)) == 3


def test_weights_of_one_change_nothing(estimator: Any, table: Interactions) -> None:
    plain = Recommender.fit(estimator, table, seed=3)
    weighted = Recommender.fit(estimator, table.with_weights(np.ones(len(table))), seed=3)
    for name, array in plain.model.arrays().items():
        np.testing.assert_allclose(weighted.model.arrays()[name], array, atol=1e-4)


def test_ratings_and_events_are_never_mixed_up(
    estimator: Any, small_ratings: Interactions, small_events: Interactions
) -> None:
    if estimator.kind == "any":
        assert {Recommender.fit(estimator, table).kind for table in (small_ratings, small_events)} == {
            "ratings",
            "events",
        }
        return
    wrong = small_events if estimator.kind == "ratings" else small_ratings
    with pytest.raises(KindError, match=r"min_rating|implicit-als"):
        Recommender.fit(estimator, wrong)


def test_an_estimator_round_trips_through_json(estimator: Any) -> None:
    assert Estimator.from_dict(json.loads(estimator.to_json())) == estimator
    assert replace(estimator) == estimator
    assert hash(estimator) == hash(replace(estimator))
