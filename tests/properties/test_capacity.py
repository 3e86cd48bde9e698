"""Capacity plans: sizes against written files, memory against fits, and plans of described machines."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor import BPR, BiasedMF, CapacityPlan, ExplicitALS, ImplicitALS, Interactions, Recommender
from cofactor.capacity import planning, speed
from cofactor.capacity.memory import TracedMemory, measure_memory
from cofactor.capacity.planning import plan
from cofactor.capacity.shape import TableShape, sample_rows, sample_table
from cofactor.capacity.sizes import import_bytes, model_file_bytes, table_file_bytes
from cofactor.capacity.speed import FitCost, fit_cost
from cofactor.data import table_file
from cofactor.data.ids import IdMap
from cofactor.data.readers import importing
from cofactor.data.scale import Scale
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator
from cofactor.kernels.parallel import threads
from cofactor.models import losses

ESTIMATORS: list[Any] = [ImplicitALS(factors=24), ExplicitALS(factors=24), BiasedMF(factors=24), BPR(factors=24)]


def random_table(users: int, items: int, events: int, kind: Any, *, times: bool = False) -> Interactions:
    """Return a table of random pairs; its number of rows is a little lower than `events`."""
    rng = np.random.default_rng(events)
    pairs = np.unique(rng.integers(0, users * items, events))
    u, i = (rows.astype(np.int32) for rows in np.divmod(pairs, items))
    values = rng.integers(1, 6, len(pairs)).astype(np.float32)
    clock = rng.integers(0, 10**9, len(pairs)) if times else None
    scale = Scale.from_levels([1, 2, 3, 4, 5]) if kind == "ratings" else None
    ids = [IdMap(np.arange(n, dtype=np.int64)) for n in (users, items)]
    return Interactions(ids[0], ids[1], u, i, values, times=clock, kind=kind, scale=scale)


def shape_of(table: Interactions) -> TableShape:
    return TableShape(table.n_users, table.n_items, len(table))


@pytest.mark.parametrize(("users", "items", "events"), [(900, 4_000, 20_000), (5_000, 300, 60_000)])
@pytest.mark.parametrize("times", [False, True])
def test_files_have_the_planned_sizes(users: int, items: int, events: int, times: bool, tmp_path: Path) -> None:
    table = random_table(users, items, events, "ratings", times=times)
    table.save(tmp_path / "table.cofactor")
    assert table_file_bytes(shape_of(table), times=times) == pytest.approx(
        (tmp_path / "table.cofactor").stat().st_size, abs=2_000
    )
    for factors in (5, 32):
        estimator: Estimator = BiasedMF(factors=factors, epochs=1)
        Recommender.fit(estimator, table).save(tmp_path / "model.cofactor")
        size = (tmp_path / "model.cofactor").stat().st_size
        assert model_file_bytes(shape_of(table), factors) == pytest.approx(
            size, abs=2_000 + items
        )  # and a mask of items


@pytest.mark.parametrize("times", [False, True])
def test_an_import_needs_the_planned_disk(times: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, sizes = random_table(300, 200, 40_000, "ratings", times=times), [0]

    def measured(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            result = function(*arguments)
            sizes.append(sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()))
            return result

        return call

    monkeypatch.setattr(importing, "BUCKET_ROWS", 5_000)
    monkeypatch.setattr(importing.ColumnFiles, "append", measured(importing.ColumnFiles.append))
    monkeypatch.setattr(table_file, "save", measured(table_file.save))
    (tmp_path / "out").mkdir()
    table.frame().sample(fraction=1.0, shuffle=True, seed=1).write_csv(tmp_path / "ratings.csv")
    cofactor.read_ratings(tmp_path / "ratings.csv", into=tmp_path / "out" / "table.cofactor")
    assert import_bytes(shape_of(table), times=times) == pytest.approx(max(sizes), rel=0.02)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
@pytest.mark.parametrize(
    ("users", "items", "events"),
    [
        (4_000, 3_000, 1_200_000),
        pytest.param(300_000, 20_000, 3_000_000, marks=pytest.mark.long),
        pytest.param(2_000, 50_000, 400_000, marks=pytest.mark.long),
    ],
)
def test_the_memory_of_a_fit_is_as_planned(estimator: Any, users: int, items: int, events: int) -> None:
    kind = "events" if estimator.kind == "events" else "ratings"
    table = random_table(users, items, events, kind)
    assert table.by_item is not None
    traced = measure_memory(estimator, shape_of(table))
    planned = max(traced.first, traced.epoch, traced.last)
    with threads(1):
        tracemalloc.start()
        try:
            Recommender.fit(estimator.set_params(epochs=2), table)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert planned == pytest.approx(peak, rel=0.15)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
def test_the_arrays_of_a_fit_are_freed_without_the_garbage_collector(estimator: Any) -> None:
    table, _ = sample_table(TableShape(60, 40, 900), 900, "events" if estimator.kind == "events" else "ratings")
    estimator = estimator.set_params(epochs=2)
    estimator.fit(table)
    gc.collect()
    gc.disable()
    try:
        estimator.fit(table)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("estimator", [BiasedMF(factors=4, epochs=3), BPR(factors=4, epochs=3)], ids=lambda e: e.name)
def test_the_fold_in_penalty_does_not_depend_on_the_size_of_blocks(
    estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = random_table(50, 40, 900, estimator.kind)
    whole = estimator.fit(table).loss.fold_in_l2
    monkeypatch.setattr(losses, "PENALTY_ENTRIES", 7)
    monkeypatch.setattr(losses, "MAX_PENALTY_PAIRS", 50)
    assert whole > 0
    assert estimator.fit(table).loss.fold_in_l2 == pytest.approx(whole, rel=1e-9)


def test_more_events_need_larger_files() -> None:
    shapes = [TableShape(20_000, 5_000, events) for events in (1, 1_000, 1_001, 50_000_000)]
    for size in (table_file_bytes, import_bytes, lambda shape: model_file_bytes(shape, 24)):
        sizes = [size(shape) for shape in shapes]
        assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    "estimator",
    [ESTIMATORS[0], *(pytest.param(estimator, marks=pytest.mark.long) for estimator in ESTIMATORS[1:])],
    ids=lambda estimator: estimator.name,
)
def test_more_events_need_more_memory_and_time(estimator: Any) -> None:
    few, many = (TableShape(20_000, 5_000, events) for events in (200_000, 3_200_000))
    small, large = measure_memory(estimator, few), measure_memory(estimator, many)
    assert max(small.first, small.last) < max(large.first, large.last)
    assert fit_cost(estimator, few).epoch < fit_cost(estimator, many).epoch


@pytest.mark.parametrize(
    ("users", "items", "events"), [(1, 1, 1), (3, 2_000_000, 5), (2_000_000, 1, 7), (50, 40, 2_000)]
)
def test_degenerate_tables_have_plans(users: int, items: int, events: int) -> None:
    planned = plan(BPR(factors=2, epochs=2), users=users, items=items, events=events)
    assert planned.seconds_per_pass >= 0
    assert planned.fit_memory > 0
    assert planned.requests_per_second > 0


def test_samples_have_the_shape_of_the_table() -> None:
    shape = TableShape(users=400_000, items=20_000, events=40_000_000)
    rows = sample_rows(10_000, shape.user_skew, 20_000, shape.item_skew, 1_000_000)
    assert len(rows.columns) == 1_000_000
    for counts, skew in ((rows.counts, shape.user_skew), (rows.column_counts(20_000), shape.item_skew)):
        assert len(counts) * np.square(counts, dtype=float).sum() / counts.sum() ** 2 == pytest.approx(skew, rel=0.2)
    table, scale = sample_table(shape, 100_000, "events")
    assert scale == pytest.approx(1 / 400, rel=0.01)
    assert len(table) == pytest.approx(100_000, rel=0.01)
    assert sample_table(TableShape(80, 10, 800), 10**9, "ratings")[1] == 1.0


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurements by constants."""
    monkeypatch.setattr(planning, "measure_memory", lambda *_: TracedMemory(10**8, 10**9, 2 * 10**9, 10**9, 10**6))
    monkeypatch.setattr(planning, "fit_cost", lambda *_: FitCost(40.0, 20.0))
    monkeypatch.setattr(planning, "list_seconds", lambda *_: 0.0088)


def of(**machine: Any) -> CapacityPlan:
    size = {"users": 100_000, "items": 10_000, "events": 10_000_000}
    return plan(ImplicitALS(epochs=10), **size, **machine)


@pytest.mark.usefixtures("instant")
def test_a_described_machine_changes_its_times_and_its_buffers() -> None:
    single, four = of(cores=1), of(cores=4, relative_speed=2)
    assert (single.seconds_per_pass, single.fit_seconds) == (40, 420)
    assert single.requests_per_second == pytest.approx(100)
    assert four.seconds_per_pass == single.seconds_per_pass / 8
    assert four.requests_per_second == 8 * single.requests_per_second
    buffer = single.fit_memory - 21 * 10**8
    assert 0 < buffer <= 4 * speed.padded_width(64) * 100_000
    assert four.fit_memory == 21 * 10**8 + 4 * buffer
    assert single.model == "implicit-als"
    assert single.as_dict()["use_spark"] is False


@pytest.mark.usefixtures("instant")
def test_stochastic_gradient_descent_uses_a_limited_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "fit_cost", lambda *_: FitCost(40.0, 20.0, max_threads=8))
    assert of(cores=64).seconds_per_pass == 5
    shape = TableShape(400, 300, 9_000)
    assert [fit_cost(estimator, shape).max_threads for estimator in ESTIMATORS] == [1024, 1024, 4, 4]


@pytest.mark.usefixtures("instant")
def test_the_advice_names_the_limit() -> None:
    enough = of(cores=2, memory=8 * 10**9, disk=10**12)
    assert enough.advice == (
        f"This machine is enough, up to about {enough.max_events:,} events of this shape; the limit is its memory."
    )
    assert enough.max_events == pytest.approx(10_000_000 * 8e9 / enough.fit_memory)
    short = replace(enough, machine_memory=10**9)
    assert short.use_spark
    assert short.advice == (
        f"Use Spark: the fit needs {enough.fit_memory / 1e9:.1f} GB of 1.0 GB memory; "
        "that is the work of at least 3 such machines."
    )
    assert "the import needs 0.4 GB of 0.2 GB free disk" in replace(enough, machine_disk=2 * 10**8).advice
    slow = replace(enough, fit_seconds=1e6)
    assert slow.advice.startswith("Use Spark: the fit takes 277.8 hours, longer than 24;")
    other = replace(slow, model="bpr")
    assert not other.use_spark
    assert other.advice.endswith("Spark fits explicit-als and implicit-als only.")
    assert not enough.reads_disk
    assert replace(enough, machine_memory=enough.fit_memory).reads_disk


@pytest.mark.usefixtures("instant")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "users must be an integer >= 1, not 0"),
        ({"events": 10**10}, "events must be at most users * items = 1,000,000,000; got 10,000,000,000"),
        ({"cores": 0}, "cores must be"),
        ({"memory": -1}, "memory must be"),
        ({"disk": 0}, "disk must be"),
        ({"relative_speed": 0.0}, "relative_speed must be"),
        ({"item_skew": 0.5}, "item_skew must be"),
        ({"max_hours": 0.0}, "max_hours must be"),
        ({"estimator": "bpr"}, "estimator must be"),
        ({"estimator": cofactor.EASE()}, "estimator must be implicit-als, explicit-als, biased-mf, bpr; got ease"),
    ],
)
def test_invalid_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"estimator": BPR(), "users": 100_000, "items": 10_000, "events": 10_000_000}
    with pytest.raises(ParameterError, match=f"^{message}".replace("*", r"\*")) as error:
        plan(**{**valid, **arguments})
    assert "\n" not in str(error.value)
