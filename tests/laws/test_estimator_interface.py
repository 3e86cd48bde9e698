"""Estimators as scikit-learn, pickle, joblib, JSON, matrices and data frames meet them."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from jsonschema import Draft202012Validator
from sklearn.base import clone

import cofactor
from cofactor import checks
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, DivergedError, KindError, ParameterError
from cofactor.estimators import REGISTRY, Bias, BiasedMF, Estimator, base
from cofactor.estimators.base import parameter
from cofactor.estimators.training import FitMonitor, one_cycle
from cofactor.estimators.training_table import TableLike, as_interactions
from cofactor.models import FactorModel
from tests.support.estimators import is_random, small_settings

CONVERTED: dict[str, dict[str, Any]] = {
    "bayesian-mf": {"user_features": ("age", "job"), "item_features": ["genre", "genre"]},
    "bias": {"damping": 2},
    "biased-mf": {"factors": np.int64(3), "rating_range": [0, 6]},
    "blend": {"parts": [REGISTRY["user-knn"](k=3), REGISTRY["item-knn"]()], "weights": [np.float64(2), 1]},
    "implicit-als": {"nu": 0},
}
"""Hyperparameters in forms that are converted, such as lists and NumPy integers."""


def other_choices(name: str) -> dict[str, Any]:
    """A value that is not the default for each hyperparameter with a few values."""
    hints, others = get_type_hints(REGISTRY[name]), {}
    for spec in fields(REGISTRY[name]):
        choices = [True, False] if hints[spec.name] is bool else get_args(hints[spec.name])
        if hints[spec.name] is bool or get_origin(hints[spec.name]) is Literal:
            others[spec.name] = next(choice for choice in choices if choice != spec.default)
    return others


def halved(name: str) -> dict[str, float]:
    """Half the default of each real-valued hyperparameter, or its lowest value."""
    return {
        spec.name: max(spec.default / 2, spec.metadata["low"])
        for spec in fields(REGISTRY[name])
        if isinstance(spec.default, float) and spec.metadata["low"] is not None
    }


SMALL: dict[str, Any] = {name: REGISTRY[name](**small_settings(name), **other_choices(name)) for name in REGISTRY}
CHANGED: dict[str, Any] = {
    name: small.set_params(**(halved(name) | CONVERTED.get(name, {}))) for name, small in SMALL.items()
}
"""Estimators with other hyperparameters than the defaults."""

SOURCES = sorted(Path(inspect.getfile(base)).parent.glob("*.py"))


def test_the_registry_is_sorted_and_its_hyperparameters_are_changed() -> None:
    assert list(REGISTRY) == sorted(REGISTRY)
    for name, estimator in CHANGED.items():
        assert estimator != type(estimator)() or not fields(estimator), (
            f"{name}: add a hyperparameter that is not the default to CONVERTED"
        )


@pytest.fixture(params=sorted(CHANGED))
def estimator(request: pytest.FixtureRequest) -> Any:
    return CHANGED[request.param]


@pytest.fixture(scope="module")
def tables() -> dict[str, Interactions]:
    """Ratings and events of the users 0..19 and the items 0..14, all of which have rows."""
    rng = np.random.default_rng(2)
    u, i = (part.ravel() for part in np.meshgrid(np.arange(20), np.arange(15), indexing="ij"))
    present = (rng.random(len(u)) < 0.4) | (u == i)
    u, i = u[present], i[present]
    values = rng.integers(1, 6, len(u)).astype(float)
    ratings = Interactions.from_columns(u, i, values)
    return {"ratings": ratings, "events": Interactions.from_columns(u, i, values, kind="events")}


def table_for(estimator: Any, tables: dict[str, Interactions]) -> Interactions:
    return tables["events" if estimator.kind == "events" else "ratings"]


def matrix_of(table: Interactions) -> Any:
    return scipy.sparse.csr_array((table.values, (table.u, table.i)), shape=(table.n_users, table.n_items))


def pairs_of(table: Interactions) -> list[tuple[int, int]]:
    return list(zip(table.u.tolist(), table.i.tolist(), strict=True))


def assert_same_model(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    assert a.settings() == b.settings()
    assert a.arrays().keys() == b.arrays().keys()
    for name, array in a.arrays().items():
        assert array.tobytes() == b.arrays()[name].tobytes(), name


# values


def test_scikit_learn_clones_it(estimator: Any) -> None:
    for original in (estimator, type(estimator)()):
        other = clone(original)
        assert other == original
        assert other is not original
        assert repr(other) == repr(original)


def test_it_is_copied_pickled_and_dumped(estimator: Any, tmp_path: Path) -> None:
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    copies = [
        copy.copy(estimator),
        copy.deepcopy(estimator),
        *(pickle.loads(pickle.dumps(estimator, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)),
        joblib.load(tmp_path / "estimator.joblib"),
    ]
    for other in copies:
        assert type(other) is type(estimator)
        assert other == estimator
        assert hash(other) == hash(estimator)
        assert joblib.hash(other) == joblib.hash(estimator)


def test_parameters_are_the_fields(estimator: Any) -> None:
    params = estimator.get_params()
    assert params == {spec.name: getattr(estimator, spec.name) for spec in fields(estimator)}
    assert estimator.get_params(deep=False) == params
    assert type(estimator)(**params) == estimator


def test_set_params_returns_a_new_estimator(estimator: Any) -> None:
    default = type(estimator)()
    assert default.set_params(**estimator.get_params()) == estimator
    assert default == type(estimator)()
    assert estimator.set_params() == estimator
    with pytest.raises(ParameterError, match=f"{estimator.name} has no hyperparameter 'nonsense'; it has "):
        estimator.set_params(nonsense=1)


def test_a_grid_is_fitted_in_processes_of_joblib(tables: dict[str, Interactions]) -> None:
    grid = [BiasedMF(factors=2, epochs=1), Bias()]
    models = joblib.Parallel(n_jobs=2)(joblib.delayed(spec.fit)(tables["ratings"], seed=1) for spec in grid)
    for spec, model in zip(grid, models, strict=True):
        assert_same_model(model, spec.fit(tables["ratings"], seed=1))


# JSON


def test_a_dictionary_leads_to_the_same_estimator(estimator: Any) -> None:
    plain = estimator.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert json.loads(estimator.to_json()) == plain
    assert plain["estimator"] == estimator.name
    assert Estimator.from_dict(plain) == estimator
    assert plain == estimator.to_dict()  # from_dict left it alone
    assert (
        Estimator.from_dict(estimator.name) == Estimator.from_dict({"estimator": estimator.name}) == type(estimator)()
    )


def test_numbers_of_json_take_the_type_of_the_parameter() -> None:
    spec = Estimator.from_dict({"estimator": "biased-mf", "factors": 8.0, "l2": 1, "rating_range": [0, 5]})
    assert spec == BiasedMF(factors=8, l2=1.0, rating_range=(0.0, 5.0))
    assert [type(value) for value in (spec.factors, spec.l2)] == [int, float]  # type: ignore[attr-defined]
    for name, value in (("factors", 8.5), ("factors", "8"), ("factors", True), ("l2", 10**400), ("l2", None)):
        with pytest.raises(ParameterError, match=f"biased-mf: {name} must be"):
            Estimator.from_dict({"estimator": "biased-mf", name: value})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("biasd-mf", r"^unknown model 'biasd-mf' \(did you mean biased-mf\?\); available models: bayesian-mf, bias, "),
        ("Biased_MF", r"\(did you mean biased-mf\?\)"),
        ({"estimator": "svd"}, "^unknown model 'svd'; available models: "),
        (
            {"estimator": "bias", "dampin": 2},
            r"bias has no hyperparameter 'dampin' \(did you mean damping\?\); it has damping$",
        ),
        ({"estimator": "popularity", "a": 2}, "popularity has no hyperparameter 'a'; it has none$"),
        ({"estimator": "bias", "estimator ": "bias"}, "bias has no hyperparameter 'estimator '"),
        ({"estimator": "bias", "damping": -1}, "bias: damping must be from 0 to 1000, not -1"),
        ({"estimator": "item-knn", "similarity": "pearson"}, "similarity must be cosine or jaccard, not 'pearson'"),
        ({"estimator": "neural-mf", "head": 1}, "head must be regression or classification, not 1"),
        ({"damping": 2}, "spec must be the name of an estimator or an object such as"),
        ({"estimator": 1}, "spec must be the name of an estimator or an object such as"),
        ({}, "spec must be the name of an estimator or an object such as"),
        (None, "spec must be the name of an estimator or an object such as"),
        (["bias"], "spec must be the name of an estimator or an object such as"),
    ],
)
def test_a_wrong_dictionary_is_rejected_with_a_suggestion(spec: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Estimator.from_dict(spec)


def fits_type(value: Any, declared: Any) -> bool:
    """Whether a JSON value is one of a declared type."""
    if get_origin(declared) is Literal:
        return value in get_args(declared)
    if get_origin(declared) is tuple:
        first, *rest = get_args(declared)
        if not isinstance(value, list) or (rest != [...] and len(value) != 1 + len(rest)):
            return False
        return all(fits_type(part, first) for part in value)
    if get_args(declared):
        return any(fits_type(value, part) for part in get_args(declared))
    if declared is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is (NoneType if declared is None else declared)


def test_the_schema_describes_the_declared_fields(estimator: Any) -> None:
    cls = type(estimator)
    schema, hints = cls.json_schema(), get_type_hints(cls)
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == cls.name
    assert schema["properties"].keys() == {"estimator", *(spec.name for spec in fields(cls))}
    for spec in fields(cls):
        described = schema["properties"][spec.name]
        assert described["description"] == spec.metadata["meaning"]
        assert (described.get("minimum"), described.get("maximum")) == (spec.metadata["low"], spec.metadata["high"])
        assert described["default"] == cls().to_dict()[spec.name]
        validator = Draft202012Validator(
            {key: described[key] for key in described if key not in ("minimum", "maximum")}
        )
        for value in (0, 2, 2.5, True, None, "scale", "cosine", "regression", "other", [], [1.5, 2.5], [1.0], ["age"]):
            assert validator.is_valid(value) == fits_type(value, hints[spec.name]), (spec.name, value)


def test_the_schema_accepts_what_from_dict_accepts(estimator: Any) -> None:
    validator = Draft202012Validator(type(estimator).json_schema())
    plain, hints = estimator.to_dict(), get_type_hints(type(estimator))
    for valid in (plain, type(estimator)().to_dict(), {"estimator": estimator.name}):
        validator.validate(valid)
    for spec in fields(estimator):
        for end, step in (("low", -1), ("high", 1)):
            if (limit := spec.metadata[end]) is not None:
                number = next(
                    type_ for type_ in (get_args(hints[spec.name]) or (hints[spec.name],)) if type_ is not NoneType
                )
                outside = {**plain, spec.name: number(limit + step)}
                assert not validator.is_valid(outside), (spec.name, end)
                with pytest.raises(ParameterError, match=spec.name):
                    Estimator.from_dict(outside)
    for wrong in ({**plain, "nonsense": 1}, {**plain, "estimator": "other"}, {}):
        assert not validator.is_valid(wrong)


# registration


@pytest.fixture
def registered() -> Iterator[dict[str, type[Estimator]]]:
    """The registered classes, which are restored afterwards."""
    before = dict(base._CLASSES)
    yield base._CLASSES
    base._CLASSES.clear()
    base._CLASSES.update(before)


@dataclass(frozen=True)
class Constant(Estimator):
    """A test estimator: each item has the same predicted rating."""

    name: ClassVar[str] = "constant"
    kind: ClassVar[Literal["ratings"]] = "ratings"
    personalized: ClassVar[bool] = False

    value: float = parameter(3.0, "the predicted rating", low=0)

    def fit(self, interactions: TableLike, **_: Any) -> FactorModel:
        table = self.check_table(interactions)
        none = [np.zeros((n, 0), np.float32) for n in (table.n_users, table.n_items)]
        biases = [np.zeros(n, np.float32) for n in (table.n_users, table.n_items)]
        return FactorModel(none[0], none[1], biases[0], biases[1], mean=self.value, scale=table.scale)


def test_a_subclass_is_registered_saved_and_loaded(tables: dict[str, Interactions], tmp_path: Path) -> None:
    assert Estimator.from_dict({"estimator": "constant", "value": 4}) == Constant(value=4.0)
    assert Constant.json_schema()["properties"]["value"]["type"] == "number"
    assert "constant" not in REGISTRY  # the registry lists the estimators of the package
    cofactor.Recommender.fit(Constant(value=4.0), tables["ratings"]).save(tmp_path / "constant.cofactor")
    loaded = cofactor.Recommender.load(tmp_path / "constant.cofactor")
    assert loaded.estimator == Constant(value=4.0)
    assert loaded.predict(0, 0) == 4
    assert clone(Constant(value=4.0)) == Constant(value=4.0)


def test_the_name_of_another_estimator_cannot_be_taken(registered: dict[str, type[Estimator]]) -> None:
    with pytest.raises(ParameterError, match=r"the name 'bias' is already used by cofactor.estimators.bias.Bias"):
        type("Bias", (Estimator,), {"name": "bias", "kind": "ratings", "__module__": __name__})
    assert registered["bias"] is Bias
    again = type("Constant", (Estimator,), {"name": "constant", "kind": "ratings", "__module__": __name__})
    assert registered["constant"] is again  # a notebook cell may be run again


def test_an_estimator_must_have_a_fit() -> None:
    with pytest.raises(TypeError, match="fit"):
        Estimator()  # type: ignore[abstract]


# seeds


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_generator_draws_the_seed_of_a_fit(name: str, tables: dict[str, Interactions]) -> None:
    estimator, table = SMALL[name], table_for(SMALL[name], tables)
    number = checks.seed(np.random.default_rng(5))
    assert_same_model(estimator.fit(table, seed=np.random.default_rng(5)), estimator.fit(table, seed=number))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_another_draw_and_fresh_entropy_give_other_models_if_the_fit_is_random(
    name: str, tables: dict[str, Interactions]
) -> None:
    estimator, table, generator = SMALL[name], table_for(SMALL[name], tables), np.random.default_rng(5)
    if name == "blend":  # on noise, the learned weights can be 1 and 0, so each part must be random
        estimator = estimator.set_params(parts=(BiasedMF(factors=2, epochs=1), BiasedMF(factors=3, epochs=1)))
    models = [estimator.fit(table, seed=seed) for seed in (generator, generator, None, None)]
    contents = {
        b"".join([*(array.tobytes() for array in model.arrays().values()), json.dumps(model.settings()).encode()])
        for model in models
    }
    assert len(contents) == (4 if is_random(name) else 1), "tests.support.estimators.is_random is wrong about it"


def test_seeds_of_other_functions(tables: dict[str, Interactions]) -> None:
    ratings = tables["ratings"]
    number, make = checks.seed(np.random.default_rng(5)), lambda: np.random.default_rng(5)
    timed = replace(ratings, times=np.zeros(len(ratings), np.int64))
    for split in (cofactor.split_random, cofactor.split_per_user, cofactor.split_last, cofactor.split_users):
        parts = [split(timed, seed=seed).test for seed in (make(), number, number + 1)]
        assert pairs_of(parts[0]) == pairs_of(parts[1]) != pairs_of(parts[2])
    losses = np.random.default_rng(1).random(200)
    intervals = [cofactor.metrics.intervals.bootstrap_interval(losses, seed=seed) for seed in (make(), number)]
    assert intervals[0] == intervals[1]
    recs = [cofactor.Recommender.fit(BiasedMF(factors=2, epochs=1), ratings, seed=seed) for seed in (make(), number)]
    assert_same_model(recs[0].model, recs[1].model)


def test_a_seed_of_another_type_is_rejected(tables: dict[str, Interactions]) -> None:
    for seed in (1.5, "1", True, -1, 2**32, np.random.RandomState(0), np.random.PCG64(0)):
        with pytest.raises(ParameterError, match="seed must be an integer from 0 to 4294967295, not"):
            Bias().fit(tables["ratings"], seed=seed)  # type: ignore[arg-type]


def test_the_check_of_a_seed_draws_nothing() -> None:
    generator = np.random.default_rng(3)
    before = generator.bit_generator.state
    checks.require_seed(generator)
    assert generator.bit_generator.state == before


# matrices and frames


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_matrix_is_the_table_of_its_entries(name: str, tables: dict[str, Interactions]) -> None:
    estimator, table = SMALL[name], table_for(SMALL[name], tables)
    assert_same_model(estimator.fit(matrix_of(table), seed=1), estimator.fit(table, seed=1))


def test_rows_and_columns_without_entries_count() -> None:
    matrix = scipy.sparse.csr_matrix(([5.0, 1.0, 3.0], ([1, 1, 3], [2, 4, 2])), shape=(6, 7))
    table = as_interactions("interactions", matrix, "ratings")
    assert (table.n_users, table.n_items, table.u.tolist(), table.i.tolist()) == (6, 7, [1, 1, 3], [2, 4, 2])
    assert table.users.all.to_list() == list(range(6))
    model = Bias().fit(matrix)
    assert (model.n_users, model.n_items) == (6, 7)
    rec = cofactor.Recommender.fit(Bias(), matrix)
    assert rec.predict(5, 6) == pytest.approx(3.0)


def test_repeated_and_unsorted_entries() -> None:
    matrix = scipy.sparse.csr_array((np.array([2.0, 1.0, 4.0]), np.array([3, 1, 3]), np.array([0, 3])), shape=(1, 4))
    ratings = as_interactions("interactions", matrix, "ratings")
    assert (ratings.i.tolist(), ratings.values.tolist()) == ([1, 3], [1.0, 4.0])
    assert as_interactions("interactions", matrix, "events").values.tolist() == [1.0, 6.0]


def test_validation_rows_may_be_a_matrix(tables: dict[str, Interactions]) -> None:
    split = cofactor.split_random(tables["ratings"], test=0.3, seed=0)
    seen: list[list[float | None]] = []
    for train, test in ((split.train, split.test), (matrix_of(split.train), matrix_of(split.test))):
        scores: list[float | None] = []
        BiasedMF(factors=2, epochs=3).fit(
            train, validation=test, callback=lambda epoch, scores=scores: scores.append(epoch.validation)
        )
        seen.append(scores)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"indptr": [0, 1]},
        {"indptr": [1, 1, 2]},
        {"indptr": [0, 3, 2]},
        {"indptr": [0, 1, 1]},
        {"indptr": [0.0, 1.0, 2.0]},
        {"indices": [0]},
        {"indices": [0, 3]},
        {"indices": [0, -1]},
        {"indices": [[0, 1]]},
        {"data": [1.0]},
        {"data": [[1.0, 2.0]]},
        {"shape": (2,)},
        {"shape": (3, 3)},
        {"indptr": None},
    ],
    ids=str,
)
def test_an_inconsistent_matrix_is_rejected(change: dict[str, Any]) -> None:
    parts = {"indptr": [0, 1, 2], "indices": [0, 2], "data": [4.0, 5.0], "shape": (2, 3)}
    assert len(as_interactions("interactions", SimpleNamespace(**parts), "ratings")) == 2  # type: ignore[arg-type]
    with pytest.raises(DataError, match="interactions must be a valid CSR matrix"):
        Bias().fit(SimpleNamespace(**{**parts, **change}))  # type: ignore[arg-type]


def test_other_matrices_are_rejected(tables: dict[str, Interactions]) -> None:
    matrix = matrix_of(tables["ratings"])
    with pytest.raises(DataError, match=r"interactions must be a CSR matrix, not 'csc'.*tocsr"):
        Bias().fit(matrix.tocsc())
    with pytest.raises(DataError, match="interactions must be of type Interactions"):
        Bias().fit(matrix.tocoo())
    with pytest.raises(DataError, match="the table is empty"):
        Bias().fit(scipy.sparse.csr_array((3, 3)))
    with pytest.raises(DataError, match="nan"):
        Bias().fit(scipy.sparse.csr_array(np.array([[np.nan, 1.0]])))
    with pytest.raises(KindError, match="popularity learns from events"):
        cofactor.Popularity().fit(tables["ratings"])


@pytest.mark.parametrize("convert", [pl.DataFrame, pd.DataFrame, pa.table], ids=["polars", "pandas", "pyarrow"])
def test_a_recommender_is_fitted_on_any_frame(convert: Any) -> None:
    columns = {"user": ["ana", "ana", "bo"], "item": [7, 9, 7], "rating": [5.0, 3.0, 4.0]}
    rec = cofactor.Recommender.fit(Bias(), convert(columns))
    expected = cofactor.Recommender.fit(Bias(), cofactor.read_ratings(pl.DataFrame(columns)))
    assert_same_model(rec.model, expected.model)
    assert rec.users.all.to_list() == ["ana", "bo"]
    assert rec.predict("bo", 9) == expected.predict("bo", 9)
    likes = cofactor.Recommender.fit(cofactor.Popularity(), convert({"user": ["ana", "bo"], "item": [7, 7]}))
    assert likes.kind == "events"
    assert likes.items.all.to_list() == [7]


def test_a_bad_frame_is_rejected_by_the_reader() -> None:
    with pytest.raises(DataError, match="row 2"):
        cofactor.Recommender.fit(Bias(), pl.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [1.0, None]}))


# training


def test_the_schedule_rises_and_falls() -> None:
    for warm_up in ("cosine", "linear"):
        rates = [one_cycle(2.0, k / 100, first=0.1, rise=0.3, last=0.05, warm_up=warm_up) for k in range(101)]
        assert rates[0] == pytest.approx(0.2)
        assert max(rates) == rates[30] == pytest.approx(2.0)
        assert rates[-1] == pytest.approx(0.1)
        assert rates[:31] == sorted(rates[:31])
        assert rates[30:] == sorted(rates[30:], reverse=True)
    assert one_cycle(1.0, 0.125, first=0.0) == pytest.approx(0.5)
    assert one_cycle(1.0, 0.0625, first=0.0) < one_cycle(1.0, 0.0625, first=0.0, warm_up="linear")


def test_a_model_with_a_number_that_is_not_finite_is_not_returned(tables: dict[str, Interactions]) -> None:
    ratings = tables["ratings"]
    model = Bias().fit(ratings)
    broken = FactorModel(model.user_factors, model.item_factors, model.user_bias, model.item_bias * np.float32(np.nan))
    monitor = FitMonitor(ratings, None, None, epochs=3, patience=1, advice="raise l2")
    with pytest.raises(DivergedError, match=r"the fit diverged in epoch 3 \(loss nan\): raise l2"):
        monitor.run(lambda _: 0.5, lambda: broken)
    with pytest.raises(DivergedError, match=r"the fit diverged in epoch 2 \(loss inf\): raise l2"):
        monitor.run(lambda number: [0.5, np.inf][number - 1], lambda: model)


def test_the_loop_and_its_checks_are_written_once() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        raised = {
            node.exc.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
        }
        called = {
            node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        }
        loops = any(isinstance(node, ast.While) for node in ast.walk(tree))
        if path.name == "training.py":
            assert "DivergedError" in raised
            assert "callback" in called
            assert loops
        else:
            assert "DivergedError" not in raised, path
            assert "callback" not in called, path
            assert not loops, path


def test_no_public_signature_has_a_bare_any() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.kwarg)
                annotations = [a.annotation for a in arguments if a is not None and a.annotation is not None]
                for annotation in (*annotations, node.returns):
                    assert annotation is None or ast.unparse(annotation) != "Any", f"{path.name}: {node.name}"
