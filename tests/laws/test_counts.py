"""The value of an event becomes a confidence by `counts`: in training and in every later history alike."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from cofactor.arrays import Counts, read_only, transform_counts
from cofactor.data.interactions import Interactions
from cofactor.data.value_counts import value_counts
from cofactor.errors import ParameterError
from cofactor.estimators import REGISTRY, ImplicitALS
from cofactor.kernels.sparse import SparseRows
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import import_table
from cofactor.service.registry import ArtifactRegistry, add_candidate, promote
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store
from tests.support.command_line import run
from tests.support.estimators import small

OF_EVENTS = [name for name, estimator in REGISTRY.items() if estimator.kind != "ratings"]
WITH_COUNTS = [name for name in OF_EVENTS if "counts" in {spec.name for spec in fields(REGISTRY[name])}]
CASES = [(name, counts) for name in WITH_COUNTS for counts in get_args(Counts)]
BY_HAND: dict[str, Any] = {
    "log": lambda v: np.sign(v) * np.where(np.abs(v) < 1, np.abs(v), 1 + np.log(np.maximum(np.abs(v), 1))),
    "binary": np.sign,
    "raw": lambda v: v,
}


def plays(*, weights: bool = False) -> Interactions:
    """Play counts from a half to thousands, of which every seventh is a dislike if there are weights."""
    rng = np.random.default_rng(5)
    u, i = np.nonzero(rng.random((30, 20)) < 0.35)
    values = np.where(rng.random(len(u)) < 0.2, 0.5, np.ceil(rng.lognormal(1, 2, len(u))))
    table = Interactions.from_columns([f"u{k:02}" for k in u], [f"i{k:02}" for k in i], values, kind="events")
    return table.with_weights(np.where(np.arange(len(u)) % 7 == 0, -0.5, 2.0)) if weights else table


@pytest.fixture(params=CASES, ids="-".join)
def estimator(request: pytest.FixtureRequest) -> Any:
    name, counts = request.param
    return small(name, counts=counts)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), max_size=20), st.sampled_from(get_args(Counts)))
def test_a_transformation_keeps_the_sign_the_order_and_a_single_event(values: list[float], counts: Any) -> None:
    v = np.array(sorted([*values, 0, 1, -1]), np.float32)
    transformed = transform_counts(v, counts)
    assert transformed.dtype == np.float32
    np.testing.assert_allclose(transformed, BY_HAND[counts](v.astype(np.float64)), rtol=1e-6)
    assert (np.diff(transformed) >= 0).all()
    assert (np.sign(transformed) == np.sign(v)).all()
    assert (transformed[np.abs(v) == 1] == v[np.abs(v) == 1]).all()


@pytest.mark.parametrize("name", OF_EVENTS)
def test_every_estimator_transforms_counts_or_does_not_depend_on_them(name: str) -> None:
    if name in WITH_COUNTS:
        assert REGISTRY[name]().get_params()["counts"] == "log"
        with pytest.raises(ParameterError, match=f"{name}: counts must be"):
            REGISTRY[name](counts="sqrt")
        return
    if name == "blend":
        assert all(part.get_params()["counts"] == "log" for part in REGISTRY[name]().get_params()["parts"])
        return
    table = plays()
    ones = replace(table, values=read_only(np.ones(len(table), np.float32)))
    arrays = [small(name).fit(part).arrays() for part in (table, ones)]
    assert all(arrays[0][key].tobytes() == arrays[1][key].tobytes() for key in arrays[0])


@pytest.mark.parametrize("weights", [False, True])
def test_weights_multiply_transformed_values(estimator: Any, weights: bool) -> None:
    table = plays(weights=weights)
    transformed = replace(table, values=read_only(transform_counts(table.values, estimator.counts)))
    ours, theirs = estimator.fit(table), estimator.set_params(counts="raw").fit(transformed)
    assert all(ours.arrays()[key].tobytes() == theirs.arrays()[key].tobytes() for key in ours.arrays())
    users = np.arange(table.n_users, dtype=np.int32)
    scores = [
        model.scores(UserBatch.trained(users, rows.by_user)) for model, rows in ((ours, table), (theirs, transformed))
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("weights", [False, True])
def test_the_history_of_a_training_user_folds_in_to_the_trained_row(estimator: Any, weights: bool) -> None:
    rec = Recommender.fit(estimator, plays(weights=weights))
    users = UserBatch.folded(rec.histories)
    scores = rec.model.fold_in(rec.histories).scores(users)
    if estimator.exact_fold_in:
        np.testing.assert_allclose(scores, rec.model.scores(users), atol=1e-5)


def test_one_more_event_is_summed_before_it_is_transformed(estimator: Any) -> None:
    table = plays()
    more = Interactions.from_columns(["u03", "u03", "new"], ["i02", "i02", "i02"], [3, 4, 9], kind="events")
    frames = [part.frame().select("user", "item", "value") for part in (table, more)]
    together = Interactions.from_columns(*pl.concat(frames).to_dict().values(), kind="events")
    rec = Recommender.fit(estimator, table)
    after = rec.updated(more)
    assert after.users.all.equals(together.users.all)
    np.testing.assert_array_equal(after.histories.values, together.by_user.values)
    rows = after.users.rows(["u03", "new"])
    view = rec.for_histories(together.by_user.take(rows))
    np.testing.assert_array_equal(after.for_rows(rows).rank(20)[1], view.rank(20)[1])


def test_a_saved_model_keeps_counts(estimator: Any, tmp_path: Path) -> None:
    rec = Recommender.fit(estimator, plays())
    rec.save(tmp_path / "plays.cofactor")
    loaded, history = Recommender.load(tmp_path / "plays.cofactor"), {"i01": 300.0, "i02": -40.0, "i03": 0.5}
    assert loaded.estimator == estimator
    assert loaded.for_history(history).recommend().equals(rec.for_history(history).recommend())
    for user in rec.users.all[:3]:
        assert loaded.explain(user, "i01").equals(rec.explain(user, "i01"))


def test_the_values_of_an_explanation_are_the_counts_of_the_user() -> None:
    table = Interactions.from_columns(["ana", "ana", "bo", "bo"], [1, 2, 1, 3], [700, 3, 5, 9], kind="events")
    terms = Recommender.fit(ImplicitALS(factors=2), table).explain("ana", 3)
    assert sorted(terms["value"].to_list()) == [3, 700]


@pytest.mark.parametrize("counts", get_args(Counts))
def test_python_the_command_line_and_http_give_the_same_lists(counts: Any, tmp_path: Path) -> None:
    table, model = plays(), tmp_path / "plays.cofactor"
    table.frame().rename({"value": "plays"}).write_csv(tmp_path / "plays.csv")
    estimator = small("implicit-als", counts=counts)
    expected = Recommender.fit(estimator, table).recommend("u03", n=5)
    fit = ("fit", tmp_path / "plays.csv", "-o", model, "--events", "--model", "implicit-als", "--counts", counts)
    done = run(*fit, "--set", f"factors={estimator.factors}", "--set", f"epochs={estimator.epochs}", "--no-priors")
    assert "plays is used as the count of each event, from 0.5 to " in done.stderr
    loaded = Recommender.load(model)
    assert loaded.estimator == estimator
    assert loaded.recommend("u03", n=5).equals(expected)
    assert TrainingSpec.of({"estimator": estimator.to_dict()}).estimator == estimator
    settings = ServiceSettings.of({"data": str(tmp_path)})
    with Store.open(settings.url) as store:
        import_table(store, table)
        artifacts, watermark = ArtifactRegistry(settings.artifacts), store.events.watermark()
        promote(store, artifacts, add_candidate(store, artifacts, loaded, watermark=watermark).version)
        key = store.keys.create("write", "a test")
        with TestClient(create_app(settings), headers={"Authorization": f"Bearer {key}"}) as client:
            assert listed(client, "u03") == pytest.approx(rows_of(expected))
            event = {"kind": "event", "user": "u03", "item": expected["item"][0], "value": 250.0}
            assert client.post("/v1/events", json=event).status_code == 201
            more = Interactions.from_columns(["u03"], [event["item"]], [250.0], kind="events")
            assert listed(client, "u03") == pytest.approx(rows_of(loaded.updated(more).recommend("u03", n=5)))


def rows_of(lists: pl.DataFrame) -> dict[str, float]:
    """The score of each item of a list."""
    return dict(lists.select("item", "score").rows())


def listed(client: TestClient, user: str) -> dict[str, float]:
    answer = client.get("/v1/recommendations", params={"user": user, "n": 5}).json()
    return {item["item"]: item["score"] for item in answer["items"]}


def test_a_positive_weight_column_without_a_value_is_a_count() -> None:
    from cofactor import read_events

    frame = pl.DataFrame({"user": ["a", "b"], "item": [1, 1], "weight": [13883.0, 2.0]})
    counts = read_events(frame)
    assert (counts.values.tolist(), counts.weights) == ([13883, 2], None)
    assert counts.report is not None
    assert "weight is used as the count of each event, from 2 to 13,883" in counts.report.notes[-1]
    for table in (
        read_events(frame, weight="weight"),
        read_events(frame, value=""),
        read_events(frame.with_columns(plays=1)),
        read_events(frame.with_columns(-pl.col("weight"))),
    ):
        assert table.weights is not None
        assert table.values.tolist() == [1, 1]


def test_counts_have_bins_of_equal_ratio() -> None:
    table = plays()
    bins = value_counts(table)
    assert bins["count"].sum() == len(table)
    assert (bins["low"][0], bins["high"][-1]) == (table.values.min(), table.values.max())
    ratios = (bins["high"] / bins["low"]).to_numpy()
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)


def test_a_history_without_entries_has_no_confidences() -> None:
    from cofactor.models.block_scoring import confidences

    for counts in get_args(Counts):
        assert len(confidences(SparseRows.empty(2), counts)) == 2
