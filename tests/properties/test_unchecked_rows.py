"""No public call reaches a kernel with rows, masks or histories that do not fit. Child processes run the calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

import cofactor
from cofactor.estimators import REGISTRY

PRELUDE = """
import json, sys
from dataclasses import replace
import numpy as np, polars as pl
import cofactor
from cofactor.kernels.sparse import SparseRows
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.user_batch import UserBatch
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.errors import CofactorError
from cofactor.estimators import REGISTRY
from tests.support.estimators import small

draw = np.random.default_rng(3)
pairs = np.unique(draw.integers(0, [12, 9], (60, 2)), axis=0)
values = draw.integers(1, 6, len(pairs))
ratings = Interactions.from_columns(pairs[:, 0], pairs[:, 1], values, times=np.arange(len(pairs)))
events = Interactions.from_columns(pairs[:, 0], pairs[:, 1], kind="events")
every = np.zeros(0, bool)

def fitted(name):
    estimator = small(name)
    return cofactor.Recommender.fit(estimator, events if estimator.kind == "events" else ratings)

outcomes = {}

def rejected(label, call):
    try:
        call()
    except CofactorError as problem:
        outcomes[label] = str(problem)
    except BaseException as problem:
        outcomes[label] = f"FOREIGN {type(problem).__name__}: {problem}"
    else:
        outcomes[label] = "ACCEPTED"
"""


def messages(script: str) -> dict[str, str]:
    """Return the messages of a child process about each call; a crash of the child is a failure."""
    paths = [str(Path(cofactor.__file__).parents[1]), str(Path(__file__).parents[2])]
    child = subprocess.run(
        [sys.executable, "-c", PRELUDE + script + "\nprint(json.dumps(outcomes))"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert child.returncode == 0, f"the child ended with {child.returncode}: {child.stderr[-2000:]}"
    results: dict[str, str] = json.loads(child.stdout.splitlines()[-1])
    return results


def test_calls_that_crashed_the_process_name_the_argument() -> None:
    results = messages("""
rec = fitted("item-knn")
als = fitted("explicit-als")
n, m = len(rec.users), len(rec.items)
beyond = SparseRows.of([0], [m], [5.0], n_rows=1)
rejected("no rows", lambda: rec.for_rows(((),)).rank(3))
rejected("rows beyond", lambda: rec.for_rows([n]).rank(3))
rejected("rows below", lambda: rec.for_rows([-1]).rank(3))
rejected("allowed short", lambda: rec.for_rows([0]).rank(3, allowed=np.ones(m - 1, bool)))
rejected("allowed long", lambda: als.for_rows([0]).rank(3, allowed=np.ones(m + 1, bool)))
rejected("allowed numbers", lambda: als.for_rows([0]).rank(3, allowed=np.ones(m)))
for name, fitted_model in (("knn", rec), ("als", als)):
    rejected(f"{name} folded_in at n_items", lambda: fitted_model.folded_in(beyond))
    rejected(f"{name} explanation below", lambda: fitted_model.for_rows([-1]).explanation(0))
    rejected(f"{name} explanation beyond", lambda: fitted_model.for_rows([0]).explanation(m))
rejected("u beyond", lambda: REGISTRY["bias"]().fit(replace(ratings, u=ratings.u + np.int32(10**6))))
rejected("i beyond", lambda: REGISTRY["item-knn"]().fit(replace(ratings, i=ratings.i + np.int32(10**6))))
rejected("i below", lambda: replace(ratings, i=ratings.i - np.int32(1)))
rejected("folded_in below", lambda: als.folded_in(SparseRows(np.int64([0, 1]), np.int32([-1]), np.float32([5]))))
""")
    assert results == {
        "no rows": "rows must be a list or array of row numbers (integers), not ((),)",
        "rows beyond": "rows must contain row numbers from 0 to 11, not 12",
        "rows below": "rows must contain row numbers from 0 to 11, not -1",
        "allowed short": "allowed must be True or False for each of 9 rows, "
        "not a numpy.ndarray of shape (8,) and dtype bool",
        "allowed long": "allowed must be True or False for each of 9 rows, "
        "not a numpy.ndarray of shape (10,) and dtype bool",
        "allowed numbers": "allowed must be True or False for each of 9 rows, "
        "not a numpy.ndarray of shape (9,) and dtype float64",
        "knn folded_in at n_items": "histories must have column indices between 0 and 8; got 9",
        "als folded_in at n_items": "histories must have column indices between 0 and 8; got 9",
        "knn explanation below": "rows must contain row numbers from 0 to 11, not -1",
        "als explanation below": "rows must contain row numbers from 0 to 11, not -1",
        "knn explanation beyond": "item must be an integer from 0 to 8, not 9",
        "als explanation beyond": "item must be an integer from 0 to 8, not 9",
        "u beyond": "u must contain row numbers from 0 to 11, one per ID of the table",
        "i beyond": "i must contain row numbers from 0 to 8, one per ID of the table",
        "i below": "i must contain row numbers from 0 to 8, one per ID of the table",
        "folded_in below": "SparseRows.columns must not contain negative indices; got -1",
    }


def test_no_rows_give_no_lists() -> None:
    assert messages("""
for name in ("item-knn", "explicit-als"):
    lists, scores = fitted(name).for_rows(()).rank(3)
    outcomes[name] = str((lists.shape, scores.shape))
""") == {"item-knn": "((0, 3), (0, 3))", "explicit-als": "((0, 3), (0, 3))"}


MODEL_CALLS = """
prior = GaussianPrior(np.zeros((1, 1)), np.eye(1))
model, rows = rec.model, rec.histories
n, m = model.n_users, model.n_items
own = rows.take([0])
wide = SparseRows.of([0], [m], [5.0], n_rows=1)
far = SparseRows.of([0], [2**31 - 2], [5.0], n_rows=1)
nan = SparseRows(np.int64([0, 1]), np.int32([0]), np.float32([np.nan]))
twice = SparseRows(np.int64([0, 2]), np.int32([1, 1]), np.float32([5, 5]))
down = SparseRows(np.int64([0, 2]), np.int32([1, 0]), np.float32([5, 5]))
BAD_USERS = {"at n": [n], "below": [-2], "far": [2**31 - 1], "huge": [2**40], "floats": [0.5], "flags": [True],
             "texts": ["a"], "table": [[0]], "none": None, "one": 0}
for how, users in BAD_USERS.items():
    rejected(f"predict users {how}", lambda: model.predict(UserBatch.trained(users, rows), [0]))
    rejected(f"scores users {how}", lambda: model.scores(UserBatch.of(users, own)))
    rejected(f"top users {how}", lambda: model.top(UserBatch.of(users, own), 2, exclude=own, allowed=every))
    if hasattr(model, "distribution"):
        rejected(f"distribution users {how}", lambda: model.distribution(UserBatch.trained(users, rows), [0]))
    rejected(f"times users {how}", lambda: model.predict(UserBatch.trained(users, rows, np.int64([0])), [0]))
    if hasattr(model, "similar_users"):
        rejected(f"similar_users {how}", lambda: model.similar_users(users, 2))
    if hasattr(model, "explain"):
        rejected(f"explain user {how}", lambda: model.explain(UserBatch.trained(users, rows), 0))
for how, items in {**BAD_USERS, "at n": [m]}.items():
    rejected(f"predict items {how}", lambda: model.predict(UserBatch.trained([0], rows), items))
    if hasattr(model, "similar_items"):
        rejected(f"similar_items {how}", lambda: model.similar_items(items, 2))
    if hasattr(model, "item_similarity") and how != "table":
        rejected(f"item_similarity {how}", lambda: model.item_similarity([items]))
rejected("predict lengths", lambda: model.predict(UserBatch.trained([0, 1], rows), [0]))
rejected("scores lengths", lambda: model.top(UserBatch.of([0, 1], own), 2, exclude=own, allowed=every))
rejected("n below", lambda: model.top(UserBatch.of([0], own), -1, exclude=own, allowed=every))
rejected("n flag", lambda: model.top(UserBatch.of([0], own), True, exclude=own, allowed=every))
rejected("n huge", lambda: model.top(UserBatch.of([0], own), 2**62, exclude=own, allowed=every))
BAD_MASKS = {"short": np.ones(m - 1, bool), "long": np.ones(m + 1, bool), "numbers": np.ones(m), "one": True}
for how, mask in BAD_MASKS.items():
    rejected(f"allowed {how}", lambda: model.top(UserBatch.of([0], own), 2, exclude=own, allowed=mask))
BAD_ROWS = {"wide": wide, "far": far, "nan": nan, "twice": twice, "down": down, "list": [[0, 1]], "none": None}
for how, histories in BAD_ROWS.items():
    rejected(f"exclude {how}", lambda: model.top(UserBatch.of([0], own), 2, exclude=histories, allowed=every))
    rejected(f"histories {how}", lambda: model.top(UserBatch.of([0], histories), 2, exclude=own, allowed=every))
    if hasattr(model, "fold_in"):
        rejected(f"fold_in {how}", lambda: model.fold_in(histories))
        rejected(f"fold_in with a prior {how}", lambda: model.fold_in(histories, prior=prior))
    rejected(f"folded_in {how}", lambda: rec.folded_in(histories))
    if hasattr(model, "fold_in_items"):
        raters = far if how == "wide" else histories
        rejected(f"fold_in_items {how}", lambda: model.fold_in_items(raters, prior))
    rejected(f"recommender {how}", lambda: replace(rec, histories=histories))
if hasattr(model, "fold_in"):
    for how, take in {"at n": [n], "below": [-2], "floats": [0.5], "one": 0, "none": None}.items():
        rejected(f"with_users {how}", lambda: model.with_users(model.fold_in(own), take))
if hasattr(model, "with_items"):
    vectors, bias = np.zeros((1, model.factors), np.float32), np.zeros(1, np.float32)
    for how, take in {"at n": [m], "below": [-2], "floats": [0.5]}.items():
        rejected(f"with_items {how}", lambda: model.with_items(vectors, bias, take))
    if model.factors:
        rejected("with_items width", lambda: model.with_items(vectors[:, :-1], bias, [0]))
for array in ("user_factors", "item_factors", "user_vectors", "item_vectors", "neighbors", "similarity", "owner"):
    if isinstance(getattr(model, array, None), np.ndarray) and array in getattr(model, "__dataclass_fields__", {}):
        part = getattr(model, array)
        rejected(f"{array} shorter", lambda: replace(model, **{array: part[:-1].copy()}))
        rejected(f"{array} of another type", lambda: replace(model, **{array: part.astype(np.float64)}))
        if part.ndim == 2 and part.shape[1]:
            rejected(f"{array} narrower", lambda: replace(model, **{array: part[:, :-1].copy()}))
if hasattr(model, "neighbors"):
    rejected("neighbors beyond", lambda: replace(model, neighbors=model.neighbors + np.int32(n)))
    rejected("owner beyond", lambda: replace(model, owner=model.owner + np.int32(n)))
"""


def test_every_model_checks_its_rows() -> None:
    """One child makes the calls of all models; if it crashes, the last line of its stderr names the model."""
    names = [name for name in sorted(REGISTRY) if name != "neural-mf" or find_spec("torch")]
    results = messages(f"""
labels = outcomes
for name in {names}:
    print(name, file=sys.stderr)
    rec, outcomes = fitted(name), {{}}
{indent(MODEL_CALLS, "    ")}
    labels |= {{f"{{name}}: {{label}}": text for label, text in outcomes.items()}}
outcomes = labels
""")
    assert {label: text for label, text in results.items() if text.startswith(("ACCEPTED", "FOREIGN"))} == {}
    counts = Counter(label.partition(":")[0] for label in results)
    assert counts.keys() == set(names)
    assert min(counts.values()) > 50


def test_tables_put_together_by_hand_are_checked() -> None:
    results = messages("""
n = len(ratings)
for name in ("u", "i", "values", "times"):
    column = getattr(ratings, name)
    rejected(f"{name} short", lambda: replace(ratings, **{name: column[:-1]}))
    rejected(f"{name} of another type", lambda: replace(ratings, **{name: column.astype(np.float16)}))
    rejected(f"{name} a list", lambda: replace(ratings, **{name: column.tolist()}))
    rejected(f"{name} with gaps", lambda: replace(ratings, **{name: np.repeat(column, 2)[::2]}))
    rejected(f"{name} a matrix", lambda: replace(ratings, **{name: column[:, None]}))
rejected("u backwards", lambda: replace(ratings, u=ratings.u[::-1].copy()))
rejected("i backwards", lambda: replace(ratings, i=ratings.i[::-1].copy()))
rejected("pairs twice", lambda: replace(ratings, u=np.zeros(n, np.int32), i=np.zeros(n, np.int32)))
rejected("nan", lambda: replace(ratings, values=np.full(n, np.nan, np.float32)))
rejected("events of 0", lambda: replace(events, values=np.zeros(n, np.float32)))
rejected("weights below 0", lambda: replace(ratings, weights=np.full(n, -1, np.float32)))
rejected("weights infinite", lambda: replace(events, weights=np.full(n, np.inf, np.float32)))
rejected("users fewer", lambda: replace(ratings, users=IdMap.of([1, 2])))
rejected("items none", lambda: replace(ratings, items=None))
rejected("kind", lambda: replace(ratings, kind="xyz"))
rejected("scale", lambda: replace(ratings, scale=(1, 5)))
rejected("item table", lambda: replace(ratings, item_table=pl.DataFrame({"item": [1]})))
rejected("seen of other ids", lambda: replace(events, seen=Interactions.from_columns([1], [2], [3])))
rejected("seen a frame", lambda: replace(events, seen=ratings.frame()))
rejected("select ids", lambda: ratings.select(np.arange(n)))
rejected("weights short", lambda: ratings.with_weights([1.0]))
start, columns, numbers = np.int64([0, 1, 2]), np.int32([0, 1]), np.float32([5, 4])
rejected("start falls", lambda: SparseRows(np.int64([0, 2, 1, 2]), columns, numbers))
rejected("start from 1", lambda: SparseRows(start + 1, columns, numbers))
rejected("start too far", lambda: SparseRows(np.int64([0, 1, 9]), columns, numbers))
rejected("start empty", lambda: SparseRows(np.zeros(0, np.int64), columns, numbers))
rejected("start int32", lambda: SparseRows(start.astype(np.int32), columns, numbers))
rejected("values fewer", lambda: SparseRows(start, columns, numbers[:1]))
rejected("weights fewer", lambda: SparseRows(start, columns, numbers, numbers[:1]))
rows = SparseRows(start, columns, numbers)
rejected("row beyond", lambda: rows.row(2))
rejected("row below", lambda: rows.row(-1))
rejected("take beyond", lambda: rows.take([2]))
rejected("take below", lambda: rows.take([-2]))
rejected("of beyond", lambda: SparseRows.of([2], [0], [1], 2))
rejected("of below", lambda: SparseRows.of([0], [-1], [1], 2))
rejected("of lengths", lambda: SparseRows.of([0, 1], [0], [1], 2))
rejected("of nan", lambda: SparseRows.of([0], [0], [np.nan], 2))
rejected("of huge", lambda: SparseRows.of([0], [0], [1], 2**60))
rejected("of huge columns", lambda: SparseRows.of([0], [2**40], [1], 2))
""")
    assert {label: text for label, text in results.items() if text.startswith(("ACCEPTED", "FOREIGN"))} == {}


def test_values_that_no_array_can_hold_are_rejected() -> None:
    results = messages(
        """
rec, als = fitted("item-knn"), fitted("explicit-als")
other = Interactions.from_columns([1], [2], [3])
split = cofactor.split_random(ratings)
rejected("list of 2**31", lambda: cofactor.audit.influence(als, np.zeros(len(als.users), int), n=2**31))
rejected("ks of 2**70", lambda: cofactor.evaluate.score(rec, split, ks=[2**70]))
rejected("moment of 5,000 digits", lambda: cofactor.split_by_time(ratings, at=10**5000))
rejected("moment with a surrogate", lambda: cofactor.split_by_time(ratings, at="\\ud800"))
rejected("times of 5,000 digits", lambda: als.predict(als.users.ids([0])[0], als.items.ids([0])[0], times=10**5000))
rejected("an endless history", lambda: als.for_history(range(2**60)).recommend())
rejected("gain beyond float32", lambda: ratings.to_events(min_rating=3, gain=1e300))
rejected("errors that cannot be squared", lambda: cofactor.metrics.rating.rmse([1e200], [1.0]))
rejected("columns beyond", lambda: ratings.by_user.column_counts(1))
rejected("users of another width", lambda: als.model.with_users(cofactor.Bias().fit(other), np.int32([0])))
rejected("nan levels", lambda: cofactor.data.scale.Scale.infer(np.array([np.nan])))
""".replace("cofactor.metrics.rating", "__import__('cofactor.metrics.rating').metrics.rating")
    )
    wrong = {label: text for label, text in results.items() if text == "ACCEPTED" or text.startswith("FOREIGN")}
    assert not wrong
    assert "ks must be" in results["ks of 2**70"]
    assert results["columns beyond"].startswith("n_columns must be")
    assert len(results) == 11
