"""Every public call names the wrong argument in an error of cofactor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import cofactor
from cofactor import audit, cold_start, evaluate, interpret, plots, report
from cofactor.data.scale import Scale
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.errors import CofactorError, ParameterError
from cofactor.estimators import REGISTRY
from cofactor.evaluate.evaluation import primary_value
from cofactor.evaluate.reliability import interval_coverage, reliability
from cofactor.evaluate.search_space import search_space
from cofactor.evaluate.validation_split import split_for_validation
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.intervals import bootstrap_interval
from cofactor.metrics.significance import sign_flip
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.exploration import Impressions
from cofactor.recommender.questions import Questions

FRAME = {"user": [1, 2], "item": [3, 4], "rating": [5.0, 4.0], "time": [1, 2]}
TABLES = [None, 1, "ratings.csv", [], FRAME, pl.DataFrame(FRAME), pd.DataFrame(FRAME), pa.table(FRAME)]
BAD_INTEGERS = [0, -1, True, np.True_, 1.5, 3.0, "3", None, [3], float("nan")]
BAD: dict[str, list[Any]] = {
    "interactions": TABLES,
    "split": [*TABLES, object()],
    "recommender": [*TABLES, object()],
    "estimator": [None, 1, "bias", cofactor.Bias, pl.DataFrame(FRAME), object()],
    "count": BAD_INTEGERS,
    "count from 0": BAD_INTEGERS[1:],
    "count from 2": [*BAD_INTEGERS, 1],
    "row": [*BAD_INTEGERS[1:], 2**40, 10**6],
    "seed": [True, np.True_, 1.5, -1, 2**32, 2**70, "1", [0]],
    "share": [0, 1, -0.1, 1.5, float("nan"), True, "0.2", None, [0.2]],
    "unit": [-0.1, 1.1, float("nan"), True, "0.2", None, [0.2]],
    "from 0": [-0.1, float("nan"), float("inf"), True, "0.2", None, [0.2]],
    "number": [float("nan"), float("inf"), True, "0.2", None, [0.2]],
    "ks": [5, None, "5", [], [True], [0], [-1], [1.5], [[1]], [None], 2.5],
    "flag": [1, 0, None, "yes", np.int8(1)],
    "function": [1, "print", [print]],
    "choice": ["xyz", 1, True, ["mean"], {}],
    "rows": [None, 1, "1", True, [True], [1.5], ["1"], [[0]], [-1], [10**6], {0}],
    "histories": [None, 1, [], np.zeros((2, 2)), pl.DataFrame(FRAME)],
    "mask": [None, True, [1, 0], [True], "x", np.ones((2, 2), bool)],
    "names": [1, None, [1], [None], 2.5],
    "text": [1, None, [], True, 2.5],
    "frame": [None, 1, "x", [], object(), FRAME],
    "groups": [None, 1, "x", [0], [True], [0.5], [[0]]],
    "probabilities": [None, 1, 0.8, "x", [], [0], [1], [1.5], [float("nan")], ["x"], [True], [[0.5]]],
    "path": [None, 1, [], 2.5, True],
}


@cache
def valid_objects() -> SimpleNamespace:
    """Return valid arguments; they are created once."""
    data = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900, rating_levels=(1, 2, 3, 4, 5), genres=3))
    ratings = data.interactions
    rng = np.random.default_rng(0)
    ratings = replace(ratings, times=rng.integers(0, 10**6, len(ratings)))
    ratings = ratings.with_item_table({"item": ratings.items.all, "genre": ["a", "b"] * 20})
    events = ratings.to_events(min_rating=4)
    split, ranking = cofactor.split_random(ratings), cofactor.split_per_user(events)
    als = cofactor.ExplicitALS(factors=4, epochs=2)
    small = cofactor.BayesianMF(factors=2, iterations=20, burn_in=5, kept_samples=4)
    rec, bayes = (cofactor.Recommender.fit(e, split.train) for e in (als, small))
    full = cofactor.Recommender.fit(als, ratings)
    return SimpleNamespace(
        ratings=ratings,
        events=events,
        split=split,
        ranking=ranking,
        als=als,
        rec=rec,
        bayes=bayes,
        full=full,
        column="genre",
        many={"interactions": ratings},
        lists=rec.for_rows(np.arange(5, dtype=np.int32)).rank(20),
        kinds=np.full((40, 3), 1 / 3),
        target_shares=np.full((5, 3), 1 / 3),
        tastes=audit.Tastes.of(full),
        scored=evaluate.score(rec, split, label="x"),
        predicted=bayes.model.distribution(
            UserBatch.trained(np.zeros(3, np.int32), bayes.histories), np.zeros(3, np.int32)
        ),
    )


Case = tuple[Callable[..., Any], dict[str, Any], dict[str, str]]


seeds = {"seed": "seed"}
table = {"interactions": "interactions"}

# name -> function, valid arguments, and the kind of each argument
CASES: dict[str, Callable[[SimpleNamespace], Case]] = {
    "split_random": lambda m: (cofactor.split_random, m.many, {**table, "test": "share", **seeds}),
    "split_per_user": lambda m: (cofactor.split_per_user, m.many, {**table, "test": "share", **seeds}),
    "split_last": lambda m: (cofactor.split_last, m.many, {**table, "n": "count", **seeds}),
    "split_by_time": lambda m: (cofactor.split_by_time, m.many, {**table, "test": "share"}),
    "split_users": lambda m: (
        cofactor.split_users,
        m.many,
        {**table, "test": "share", "fold_in_share": "share", **seeds},
    ),
    "split_predefined": lambda m: (
        evaluate.split_predefined,
        {"train": m.split.train, "test": m.split.test},
        {"train": "interactions", "test": "interactions", "description": "text"},
    ),
    "Split": lambda m: (
        cofactor.Split,
        {"train": m.split.train, "test": m.split.test},
        {"train": "interactions", "test": "interactions", "description": "text", "order": "choice"},
    ),
    "crosstab": lambda m: (
        cofactor.crosstab,
        m.many,
        {**table, "users": "count", "items": "count", "fill": "function"},
    ),
    "Recommender.fit": lambda m: (
        cofactor.Recommender.fit,
        {"estimator": m.als, "interactions": m.ratings},
        {"estimator": "estimator", "interactions": "no frame", **seeds, "callback": "function"},
    ),
    "Recommender.fit start": lambda m: (
        lambda init_model, validation: cofactor.Recommender.fit(
            m.als, m.ratings, init_model=init_model, validation=validation
        ),
        {"init_model": None, "validation": None},
        {"init_model": "recommender but None", "validation": "interactions but None"},
    ),
    "Estimator.fit": lambda m: (
        m.als.fit,
        m.many,
        {**table, **seeds, "callback": "function", "validation": "interactions but None"},
    ),
    "for_rows": lambda m: (m.rec.for_rows, {"rows": [0]}, {"rows": "rows"}),
    "rank": lambda m: (
        m.rec.for_rows([0]).rank,
        {"n": 2},
        {"n": "count", "exclude_seen": "flag", "allowed": "mask", "rank_by": "choice", "diversity": "unit"},
    ),
    "recommend": lambda m: (
        m.rec.recommend,
        {"users": 3, "n": 2},
        {"n": "count", "exclude_seen": "flag", "rank_by": "choice", "diversity": "unit"},
    ),
    "recommend_all": lambda m: (
        m.rec.recommend_all,
        {"n": 2},
        {"n": "count", "exclude_seen": "flag", "rank_by": "choice"},
    ),
    "for_history": lambda m: (
        m.rec.for_history([(3, 4)]).recommend,
        {"n": 2},
        {"n": "count", "rank_by": "choice", "diversity": "unit"},
    ),
    "similar_items": lambda m: (m.rec.similar_items, {"item": 3}, {"n": "count"}),
    "similar_users": lambda m: (m.rec.similar_users, {"user": 3}, {"n": "count"}),
    "explanation": lambda m: (m.rec.for_rows([0]).explanation, {"item": 0}, {"item": "row"}),
    "folded_in": lambda m: (
        m.rec.folded_in,
        {"histories": m.rec.histories},
        {"histories": "histories", "table": "frame but None"},
    ),
    "updated": lambda m: (
        m.rec.updated,
        {"new": m.split.train.select(np.arange(len(m.split.train)) < 3)},
        {"new": "interactions"},
    ),
    "with_items": lambda m: (
        m.rec.with_priors().with_items,
        {"table": pl.DataFrame({"item": [1000]})},
        {"table": "frame but FRAME"},
    ),
    "save": lambda m: (m.rec.save, {"path": "/nowhere/x.cofactor"}, {"path": "path"}),
    "load": lambda m: (cofactor.Recommender.load, {"path": "/nowhere/x.cofactor"}, {"path": "path", "verify": "flag"}),
    "select": lambda m: (m.ratings.select, {"keep": np.ones(len(m.ratings), bool)}, {"keep": "mask"}),
    "to_events": lambda m: (m.ratings.to_events, {"min_rating": 4}, {"min_rating": "number", "gain": "from 0"}),
    "evaluate": lambda m: (
        evaluate.evaluate,
        {"estimators": m.als, "split": m.split},
        {"estimators": "estimator", "split": "split", "ks": "ks", **seeds, "exclude": "choice", "on_fit": "function"},
    ),
    "score": lambda m: (
        evaluate.score,
        {"recommender": m.rec, "split": m.split, "label": "x"},
        {
            "recommender": "recommender",
            "split": "split",
            "label": "text",
            "ks": "ks",
            **seeds,
            "fit_seconds": "from 0",
            "exclude": "choice",
        },
    ),
    "primary_value": lambda m: (
        primary_value,
        {"recommender": m.rec, "split": m.split},
        {"recommender": "recommender", "split": "split", "k": "count"},
    ),
    "compare": lambda m: (
        evaluate.compare,
        {"estimators": [], "split": m.split},
        {
            "estimators": "estimator",
            "split": "split",
            "task": "choice",
            "ks": "ks",
            **seeds,
            "exclude": "choice",
            "on_fit": "function",
        },
    ),
    "calibration": lambda m: (
        evaluate.calibration,
        {"recommender": m.bayes, "split": m.split},
        {"recommender": "recommender", "split": "split", "probabilities": "probabilities"},
    ),
    "tune": lambda m: (
        evaluate.tune,
        {"estimator": cofactor.Bias(), "split": m.split, "trials": 1},
        {
            "estimator": "estimator",
            "split": "split",
            "trials": "count",
            "fixed": "names",
            "storage": "path but None",
            "validation": "share",
            "k": "count",
            **seeds,
            "exclude": "choice",
            "on_trial": "function",
        },
    ),
    "split_for_validation": lambda m: (
        split_for_validation,
        {"split": m.split},
        {"split": "split", "share": "share", **seeds},
    ),
    "search_space": lambda m: (
        search_space,
        {"estimator": m.als},
        {"estimator": "estimator", "fixed": "names", "kind": "choice"},
    ),
    "reliability": lambda m: (reliability, {"predicted": m.predicted, "y": [3, 3, 3]}, {"bins": "count"}),
    "interval_coverage": lambda m: (
        interval_coverage,
        {"predicted": m.predicted, "y": [3, 3, 3]},
        {"probabilities": "probabilities"},
    ),
    "bootstrap_interval": lambda m: (
        bootstrap_interval,
        {"per_user": [0.1, 0.2, 0.3]},
        {"confidence": "share", "resamples": "count", **seeds},
    ),
    "sign_flip": lambda m: (sign_flip, {"differences": [0.1, 0.2, -0.3]}, {"flips": "count", **seeds}),
    "cold_start": lambda m: (
        audit.cold_start,
        {"estimator": m.als, "interactions": m.ratings, "history_lengths": [0, 2]},
        {
            "estimator": "estimator",
            "interactions": "interactions",
            "history_lengths": "history_lengths",
            "users": "share",
            **seeds,
        },
    ),
    "exposure": lambda m: (
        audit.exposure,
        {"recommender": m.rec},
        {"recommender": "recommender", "n": "count", "column": "text but None"},
    ),
    "accuracy_by_group": lambda m: (
        audit.accuracy_by_group,
        {"score": m.scored, "groups": pl.Series(["a"] * 60), "metric": "squared_error"},
        {"score": "recommender", "groups": "groups", "metric": "choice"},
    ),
    "influence": lambda m: (
        audit.influence,
        {"recommender": m.full, "groups": np.zeros(60, int), "permutations": 2},
        {
            "recommender": "recommender",
            "groups": "groups",
            "n": "count",
            "permutations": "count from 2",
            "repeats": "count but None",
            "max_users": "count",
            **seeds,
        },
    ),
    "capped_weights": lambda m: (audit.capped_weights, m.many, {**table, "cap": "positive but None"}),
    "propensity_weights": lambda m: (audit.propensity_weights, m.many, {**table, "power": "unit"}),
    "group_weights": lambda m: (
        audit.group_weights,
        {**m.many, "groups": np.zeros(60, int)},
        {**table, "groups": "groups"},
    ),
    "cluster_users": lambda m: (
        audit.cluster_users,
        {"histories": m.ratings.by_user, "n_items": 40},
        {"histories": "histories", "n_items": "count", "n_groups": "count", **seeds},
    ),
    "categories_by_raters": lambda m: (
        audit.categories_by_raters,
        {"histories": m.ratings.by_user, "n_items": 40},
        {"histories": "histories", "n_items": "count", "n_categories": "count", **seeds},
    ),
    "liked_categories": lambda m: (
        audit.liked_categories,
        {"histories": m.ratings.by_user, "categories": m.kinds},
        {"histories": "histories", "categories": "matrix"},
    ),
    "item_categories": lambda m: (
        audit.item_categories,
        {"table": m.ratings.item_table, "column": m.column},
        {"table": "frame but None", "column": "text"},
    ),
    "all_mitigations": lambda m: (audit.all_mitigations, {}, {"column": "text but None"}),
    "calibrate_lists": lambda m: (
        audit.calibrate_lists,
        {"lists": m.lists[0], "scores": m.lists[1], "n": 3, "categories": m.kinds, "target_shares": m.target_shares},
        {
            "lists": "matrix",
            "scores": "matrix",
            "n": "count",
            "categories": "matrix",
            "target_shares": "matrix",
            "strength": "unit",
        },
    ),
    "spread_exposure": lambda m: (
        audit.spread_exposure,
        {"lists": m.lists[0], "scores": m.lists[1], "n": 3, "n_items": 40, "strength": 0.5},
        {"lists": "matrix", "scores": "matrix", "n": "count", "n_items": "count", "strength": "from 0"},
    ),
    "Tastes.of": lambda m: (audit.Tastes.of, {"recommender": m.full}, {"recommender": "recommender"}),
    "simulate": lambda m: (
        audit.simulate,
        {"estimator": m.als, "table": m.ratings, "tastes": m.tastes, "rounds": 1},
        {
            "estimator": "estimator",
            "table": "interactions",
            "tastes": "recommender",
            "mitigation": "recommender",
            "behavior": "recommender",
            "feedback": "flag",
            "rounds": "count",
            "n": "count",
            "views": "views",
            **seeds,
        },
    ),
    "growth_parts": lambda m: (
        audit.growth_parts,
        {"loop": [[0.1, 0.2]], "control": [[0.1, 0.1]]},
        {"loop": "matrix", "control": "matrix", "last_rounds": "count", "confidence": "share"},
    ),
    "surprising_items": lambda m: (
        interpret.surprising_items,
        {"recommender": m.rec},
        {"recommender": "recommender", "n": "count", "min_support": "count from 0"},
    ),
    "filled_crosstab": lambda m: (
        interpret.filled_crosstab,
        {"recommender": m.rec},
        {"recommender": "recommender", "users": "count", "items": "count", "confidence": "share"},
    ),
    "levels": lambda m: (
        interpret.bias_ranking,
        {"recommender": m.rec},
        {"recommender": "recommender", "entity": "choice", "min_support": "count from 0"},
    ),
    "FactorMap.of": lambda m: (
        interpret.FactorMap.of,
        {"recommender": m.rec},
        {"recommender": "recommender", "axes": "count", "min_support": "count from 0"},
    ),
    "learn_priors": lambda m: (
        cold_start.learn_priors,
        {"model": m.rec.model, "histories": m.rec.histories},
        {
            "model": "recommender",
            "histories": "histories",
            "user_table": "frame but None",
            "item_table": "frame but None",
            "user_features": "names",
            "item_features": "names",
            **seeds,
        },
    ),
    "with_priors": lambda m: (
        m.rec.with_priors,
        {},
        {"user_features": "names", "item_features": "names", **seeds},
    ),
    "ensure_priors": lambda m: (m.rec.ensure_priors, {}, seeds),
    "questions": lambda m: (m.rec.for_rows([0]).questions, {}, seeds),
    "explore": lambda m: (
        m.rec.for_rows([0, 1]).explore,
        {},
        {
            "n": "count",
            "share": "unit",
            "cap": "count from 0",
            "min_ratings": "count from 0",
            "impressions": "recommender but None",
            **seeds,
        },
    ),
    "Population.of": lambda m: (
        cold_start.Population.of,
        {"model": m.rec.model, "histories": m.rec.histories},
        {
            "model": "recommender",
            "histories": "histories",
            "scale": "recommender but None",
            "n_clusters": "count",
            **seeds,
        },
    ),
    "Scale": lambda m: (Scale, {"low": 1, "high": 5}, {"low": "number", "high": "number"}),
    "SparseRows.of": lambda m: (
        SparseRows.of,
        {"rows": [0], "columns": [0], "values": [1], "n_rows": 1},
        {"rows": "rows", "n_rows": "count from 0"},
    ),
    "Study": lambda m: (
        report.Study,
        {"table": m.ratings, "estimator": m.als},
        {
            "table": "interactions",
            "estimator": "estimator",
            **seeds,
            "rounds": "count",
            "max_rows": "count",
            "max_users_and_items": "count",
            "genres": "text but None",
        },
    ),
    "make_report": lambda m: (
        report.make_report,
        {"study": report.Study(m.ratings, m.als)},
        {"study": "recommender", "title": "text", "on_section": "function"},
    ),
    "Client": lambda m: (
        cofactor.Client,
        {"url": "http://127.0.0.1:1", "key": "k"},
        {"url": "text", "key": "text", "timeout": "timeout", "retries": "count from 0"},
    ),
    "fetch": lambda m: (
        cofactor.datasets.fetch,
        {"name": "movielens-100k"},
        {"name": "text", "folder": "path but None", "on_progress": "function"},
    ),
    "load data": lambda m: (
        cofactor.datasets.load_movielens,
        {"version": "100k"},
        {"version": "text", "folder": "path but None", "on_progress": "function"},
    ),
    **{
        name: (lambda m, name=name, more=more: (getattr(plots, name), {"frame": None, **more}, {"frame": "frame"}))
        for name, more in [
            ("cold_start_plot", {}),
            ("comparison_plot", {}),
            ("crosstab_plot", {}),
            ("genres_plot", {}),
            ("influence_plot", {}),
            ("bias_ranking_plot", {}),
            ("lorenz_plot", {}),
            ("reliability_plot", {}),
            ("factor_map_plot", {}),
            ("simulation_plot", {"measures": {"a": "b"}}),
            ("factor_map_png", {"path": "x.png"}),
        ]
    },
}


BAD |= {
    "recommender but None": BAD["recommender"][1:],
    "no frame": [None, 1, "ratings.csv", [], FRAME, object()],
    "interactions but None": BAD["interactions"][1:],
    "frame but None": BAD["frame"][1:],
    "frame but FRAME": BAD["frame"][:-1],
    "count but None": [value for value in BAD_INTEGERS if value is not None],
    "text but None": [1, [], True, 2.5],
    "path but None": [1, [], 2.5, True],
    "positive but None": [0, -1, float("nan"), float("inf"), True, "1", [1]],
    "history_lengths": [None, 5, "5", [], [0], [-1, 2], [1.5], [True], ["1"]],
    "matrix": [None, 1, "x", [], [1.0], [["a"]], np.full((5, 3), np.nan)],
    "views": [None, -1, 1.5, True, "x", [1], [0.5]],
    "timeout": [0, -1, float("nan"), float("inf"), True, "1", None, [1]],
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_wrong_argument_is_named_in_an_error_of_cofactor(name: str) -> None:
    call, valid, kinds = CASES[name](valid_objects())
    wrong = {}
    for argument, kind in kinds.items():
        for value in BAD[kind]:
            label = f"{argument}={value!r}"[:90]
            try:
                call(**{**valid, argument: value})
            except CofactorError as problem:
                if argument not in str(problem):
                    wrong[label] = f"does not name it: {problem}"
            except Exception as problem:  # noqa: BLE001 - any foreign error is the failure
                wrong[label] = f"{type(problem).__name__}: {problem}"
            else:
                wrong[label] = "accepted"
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_settings_of_a_wrong_type_or_out_of_range_are_named(name: str) -> None:
    wrong = {}
    for spec in fields(REGISTRY[name]):
        is_integer = type(spec.default) is int or spec.name == "iterations"
        values = [None, "x", [], {}, float("nan"), float("inf"), 2**70 if is_integer else 1e300, -(2**70), object()]
        values += [True, 1.5] if is_integer else []
        for value in values:
            if value is None and spec.name in ("rating_range", "min_rating", "weights", "iterations"):
                continue  # None is a valid value
            try:
                REGISTRY[name](**{spec.name: value})
            except ParameterError as problem:
                if spec.name not in str(problem):
                    wrong[f"{spec.name}={value!r}"] = str(problem)
            except Exception as problem:  # noqa: BLE001 - any foreign error is the failure
                wrong[f"{spec.name}={value!r}"] = f"{type(problem).__name__}: {problem}"
            else:
                if not (spec.name in ("user_features", "item_features") and value == []):
                    wrong[f"{spec.name}={value!r}"] = "accepted"
    assert wrong == {}


def questionnaire(m: SimpleNamespace) -> cold_start.Questionnaire:
    return cold_start.Questionnaire(m.rec.catalog.population())


def questions(m: SimpleNamespace) -> Questions:
    return m.rec.for_history([]).questions()


OTHER_CALLS: list[Callable[[SimpleNamespace], Any]] = [
    lambda m: m.rec.explain(1, None),
    lambda m: m.rec.explain(None, 1),
    lambda m: m.rec.explain(1.5, 1),
    lambda m: m.rec.explain([1], 1),
    lambda m: m.rec.predict(1, 1, times="2020"),
    lambda m: m.rec.predict(1, 1, times=1.5),
    lambda m: m.rec.predict(1, None),
    lambda m: m.rec.predict({1: 2}, [None]),
    lambda m: m.rec.recommend(None),
    lambda m: m.rec.recommend(1.5),
    lambda m: m.rec.recommend(object()),
    lambda m: m.rec.recommend(1, candidates=1.5),
    lambda m: m.rec.recommend(1, rank_by=None),
    lambda m: m.rec.recommend(1, exclude=1.5),
    lambda m: m.rec.recommend(1, min_support="x"),
    lambda m: m.rec.recommend(1, min_support=-1),
    lambda m: m.rec.recommend(1, where={"year": 1990}),
    lambda m: m.rec.recommend(1, where="year >= 1990"),
    lambda m: m.rec.for_history(5).recommend(),
    lambda m: m.rec.for_history("ana").recommend(),
    lambda m: m.rec.for_history([(3, None)]).recommend(),
    lambda m: m.rec.for_history([(3, 4)], user_features=5).recommend(),
    lambda m: m.rec.for_history(pl.DataFrame(FRAME)).recommend(),
    lambda m: m.rec.similar_items(None),
    lambda m: m.rec.similar_items([3]),
    lambda m: m.rec.similar_items(3.5),
    lambda m: m.rec.user_rows(None),
    lambda m: m.rec.unknown(None, 3),
    lambda m: m.rec.catalog.answered_by(m.rec.model, [0, 1], [0.5]),
    lambda m: m.rec.catalog.answered_by(m.rec.model, ["a"], [0.5]),
    lambda m: m.ratings.with_weights("x"),
    lambda m: m.ratings.with_weights(None),
    lambda m: m.ratings.with_item_table(5),
    lambda m: m.ratings.with_item_table({"item": [1]}, id_column=5),
    lambda m: m.ratings.users.ids("x"),
    lambda m: m.ratings.users.rows(5),
    lambda m: m.ratings.users.row(None),
    lambda m: m.split.excluding("xyz"),
    lambda m: m.als.set_params(factors="x"),
    lambda m: m.als.set_params(xyz=1),
    lambda m: evaluate.tune(cofactor.Bias(), m.ratings),
    lambda m: evaluate.evaluate([cofactor.Bias(), "bias"], m.split),
    lambda m: evaluate.evaluate([], m.split)["xyz"],
    lambda m: interpret.FactorMap.of(m.rec).ends(0),
    lambda m: interpret.FactorMap.of(m.rec).ends("x"),
    lambda m: interpret.FactorMap.of(m.rec).ends(1, n=-1),
    lambda m: audit.Concentration.of("x"),
    lambda m: audit.Concentration.of([[1.0]]),
    lambda m: audit.Tastes(np.zeros(3), noise_std=1.0, levels=(1.0,)),
    lambda m: audit.Tastes(np.zeros((3, 3)), noise_std=-1.0, levels=(1.0,)),
    lambda m: audit.Tastes(np.zeros((3, 3)), noise_std=1.0, levels=()),
    lambda m: audit.Tastes.of(m.rec, noise_std=float("inf")),
    lambda m: Impressions("x", [1]),
    lambda m: Impressions([1], [1, 0]),
    lambda m: Impressions([1.5], [1]),
    lambda m: m.rec.for_users(1.5),
    lambda m: questionnaire(m).with_answer("x", 3),
    lambda m: questionnaire(m).with_answer(0, "x"),
    lambda m: questionnaire(m).with_answer(-1, 3),
    lambda m: questionnaire(m).with_answer(0.5, 3),
    lambda m: questionnaire(m).with_answer(True, 3),
    lambda m: questionnaire(m).top_items(-1),
    lambda m: questionnaire(m).top_items("x"),
    lambda m: questions(m).with_answer(None, 3),
    lambda m: questions(m).with_answer([3], 3),
    lambda m: questions(m).with_answer(10**6, 3),
    lambda m: questions(m).with_answer(m.rec.items.all[0], "x"),
    lambda m: questions(m).with_answer(m.rec.items.all[0], True),
    lambda m: questions(m).recommend(-1),
    lambda m: m.rec.for_rows([0, 1]).questions(),
    lambda m: Scale(5, 1),
    lambda m: Scale(1, 5, (1, 7)),
    lambda m: Scale(1, 5, (5, 1)),
    lambda m: Scale.from_levels(None),
    lambda m: Scale.infer("x"),
    lambda m: Scale.infer([None]),
    lambda m: cofactor.read_ratings(pd.DataFrame([[1, 2, 3.0]])),
    lambda m: cofactor.read_ratings(None),
    lambda m: cofactor.read_ratings(5),
]


@pytest.mark.parametrize("place", range(len(OTHER_CALLS)))
def test_other_calls_raise_an_error_of_cofactor(place: int) -> None:
    with pytest.raises(CofactorError) as caught:
        OTHER_CALLS[place](valid_objects())
    assert len(str(caught.value)) > 15


TWELVE = 1_676_043_693  # 2023-02-10 15:41:33 UTC


@pytest.mark.parametrize(
    "at",
    [
        TWELVE,
        np.int32(TWELVE),
        datetime(2023, 2, 10, 15, 41, 33, 900_000, tzinfo=UTC),
        datetime(2023, 2, 10, 15, 41, 33),  # noqa: DTZ001 - a time without a zone is UTC
        datetime(2023, 2, 10, 17, 41, 33, tzinfo=timezone(timedelta(hours=2))),
        np.datetime64("2023-02-10T15:41:33"),
        np.datetime64("2023-02-10T15:41:33.900"),
        pd.Timestamp("2023-02-10 15:41:33"),
        pd.Timestamp("2023-02-10 17:41:33+02:00"),
        "2023-02-10 15:41:33",
        "2023-02-10T15:41:33Z",
        "2023-02-10 15:41:33+00",
        "20230210T154133Z",
        str(TWELVE),
    ],
    ids=repr,
)
def test_split_by_time_accepts_a_time_in_any_usual_form(at: Any) -> None:
    times = [TWELVE - 1, TWELVE, TWELVE + 1]
    table = cofactor.Interactions.from_columns([1, 1, 2], [7, 8, 7], [5, 4, 4], times=times)
    split = cofactor.split_by_time(table, at=at)
    assert sorted(split.test.times.tolist()) == times[1:]
    assert split.description == "from 2023-02-10T15:41:33 UTC on"


def test_split_by_time_accepts_a_date() -> None:
    table = cofactor.Interactions.from_columns([1, 1, 2], [7, 8, 7], [5, 4, 4], times=[86_399, 86_400, 86_401])
    for at in (date(1970, 1, 2), "1970-01-02", np.datetime64("1970-01-02")):
        assert sorted(cofactor.split_by_time(table, at=at).test.times.tolist()) == [86_400, 86_401]


@pytest.mark.parametrize(
    "at",
    [1.5, True, "soon", "", [], pd.NaT, np.datetime64("NaT"), float("nan"), np.datetime64("2020", "Y"), b"2020", {}],
    ids=repr,
)
def test_invalid_times_are_reported(at: Any) -> None:
    table = cofactor.Interactions.from_columns([1, 1, 2], [7, 8, 7], [5, 4, 4], times=[1, 2, 3])
    with pytest.raises(CofactorError, match=r"^at"):
        cofactor.split_by_time(table, at=at)
