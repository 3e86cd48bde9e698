"""At most one model is active, and it can be rolled back."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import cofactor
from cofactor.errors import DataError, StoreError
from cofactor.store import Store

PROMOTER = """
import sys
from cofactor.store import Store
with Store.open(sys.argv[1]) as store:
    for _ in range(20):
        for version in sys.argv[2:]:
            store.models.promote(int(version))
"""


def add(store: Store, n: int = 1) -> list[int]:
    models = [
        store.models.add_candidate({"estimator": "bias"}, f"{k}.cofactor", "0" * 64, watermark=k) for k in range(n)
    ]
    return [model.version for model in models]


def statuses(store: Store) -> dict[int, str]:
    return {model.version: model.status for model in store.models.all()}


def test_a_candidate_round_trips(store: Store) -> None:
    estimator = cofactor.BiasedMF(factors=8)
    model = store.models.add_candidate(
        estimator.to_json(), "m.cofactor", "ab" * 32, watermark=17, metrics={"rmse": 0.91, "by": [1, None]}
    )
    assert (model.version, model.status, model.file, model.sha256) == (1, "candidate", "m.cofactor", "ab" * 32)
    assert model.estimator["factors"] == 8
    assert model.metrics == {"rmse": 0.91, "by": [1, None]}
    assert (model.watermark, model.reasons) == (17, [])
    assert store.models.get(1) == model
    assert store.models.active() is None
    assert store.models.previous() is None
    with pytest.raises(StoreError, match="there is no model 2"):
        store.models.get(2)
    with pytest.raises(StoreError, match="the estimator is not valid JSON"):
        store.models.add_candidate("{", "m", "0", watermark=0)
    with pytest.raises(DataError, match="the artifact's file name must be a string"):
        store.models.add_candidate("{}", 7, "0", watermark=0)  # type: ignore[arg-type]


def test_promotion_and_roll_back(store: Store) -> None:
    add(store, 4)
    with pytest.raises(StoreError, match="there is no previous model to roll back to"):
        store.models.roll_back()
    assert store.models.promote(1).status == "active"
    with pytest.raises(StoreError, match="there is no previous model to roll back to"):
        store.models.roll_back()
    store.models.promote(2)
    assert statuses(store) == {1: "previous", 2: "active", 3: "candidate", 4: "candidate"}
    store.models.promote(3)
    assert statuses(store) == {1: "retired", 2: "previous", 3: "active", 4: "candidate"}
    assert store.models.promote(3).status == "active"  # again: nothing changes
    assert statuses(store)[2] == "previous"
    assert store.models.roll_back().version == 2
    assert statuses(store) == {1: "retired", 2: "active", 3: "previous", 4: "candidate"}
    assert store.models.roll_back().version == 3  # and back again
    store.models.promote(1)  # a retired one may come back
    assert statuses(store) == {1: "active", 2: "retired", 3: "previous", 4: "candidate"}
    with pytest.raises(StoreError, match="there is no model 9"):
        store.models.promote(9)


def test_a_held_model(store: Store) -> None:
    add(store, 2)
    held = store.models.hold(1, ["ndcg fell by 0.02", "3 users have half of all recommendations"])
    assert (held.status, held.reasons) == ("held", ["ndcg fell by 0.02", "3 users have half of all recommendations"])
    store.models.promote(1)  # an admin promotes it
    assert store.models.get(1).reasons == []
    with pytest.raises(
        StoreError, match="model 1 is active and cannot be put on hold; roll back or promote another model first"
    ):
        store.models.hold(1, [])
    store.models.promote(2)
    assert store.models.hold(1, ["rolled back"]).status == "held"
    with pytest.raises(StoreError, match="there is no previous model"):
        store.models.roll_back()


def test_a_candidate_replaces_only_what_it_was_compared_with(store: Store) -> None:
    add(store, 3)
    with pytest.raises(StoreError, match="model 2 was compared with model 1, but no model is active now"):
        store.models.promote(2, expected_active=1)
    store.models.promote(1)
    store.models.promote(2, expected_active=1)
    with pytest.raises(StoreError, match="model 3 was compared with model 1, but model 2 is active now"):
        store.models.promote(3, expected_active=1)
    assert store.models.active().version == 2  # type: ignore[union-attr]


def test_the_active_and_the_previous_model_are_never_prunable(store: Store) -> None:
    add(store, 6)
    for version in (1, 2, 4, 5):
        store.models.promote(version)
    assert statuses(store) == {1: "retired", 2: "retired", 3: "candidate", 4: "previous", 5: "active", 6: "candidate"}
    assert [model.version for model in store.models.prunable()] == [1, 2, 3]
    assert [model.version for model in store.models.prunable(keep=2)] == [1]
    assert store.models.prunable(keep=9) == []
    store.models.mark_pruned(1)
    assert store.models.get(1).file is None
    assert [model.version for model in store.models.prunable()] == [2, 3]
    with pytest.raises(StoreError, match="model 1 cannot be promoted: its artifact was deleted"):
        store.models.promote(1)
    for version, status in ((4, "previous"), (5, "active")):
        with pytest.raises(
            StoreError, match=f"artifact of model {version} must not be deleted, because it is the {status} model"
        ):
            store.models.mark_pruned(version)


def test_versions_are_not_reused(store: Store) -> None:
    assert add(store, 2) == [1, 2]
    store._writer.run(lambda c: c.exec_driver_sql("DELETE FROM models WHERE version = 2").close())
    assert add(store) == [3]


def test_concurrent_promotions_leave_one_active_and_one_previous_model(store: Store, url: str) -> None:
    versions = add(store, 6)
    others = [Store.open(url) for _ in range(3)]

    def act(n: int) -> None:
        models = others[n % 3].models
        try:
            models.roll_back() if n % 5 == 0 else models.promote(random.Random(n).choice(versions))
        except StoreError as error:
            if "no previous model" not in str(error):
                raise

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(act, range(60)))
    for other in others:
        other.close()
    counts = list(statuses(store).values())
    assert counts.count("active") == 1
    assert counts.count("previous") == 1


def test_promotions_by_several_processes_leave_one_active_model(store: Store, url: str) -> None:
    add(store, 4)
    running = [subprocess.Popen([sys.executable, "-c", PROMOTER, url, *versions]) for versions in ("12", "34")]
    assert [process.wait(60) for process in running] == [0, 0]
    counts = list(statuses(store).values())
    assert sorted(counts) == ["active", "previous", "retired", "retired"]


def test_the_database_itself_allows_one_active_model(store: Store) -> None:
    add(store, 2)
    store.models.promote(1)
    with pytest.raises(StoreError, match=r"(?i)unique"):
        store._writer.run(lambda c: c.exec_driver_sql("UPDATE models SET status = 'active'").close())
