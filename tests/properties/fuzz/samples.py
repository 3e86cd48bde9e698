"""Valid arguments for every public callable: tables, fitted recommenders, and values by the name of the argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from public_names import PublicCallable

import cofactor
from cofactor import audit, cold_start, evaluate, interpret
from cofactor.arrays import ROW_ORDER
from cofactor.data.features import Encoder, indicators
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.datasets.synthetic import generate, generate_chunks, generate_ground_truth
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.estimators import REGISTRY
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.model_lists import ModelLists
from cofactor.models.distribution import Distribution
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.network import NetworkModel
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.exploration import Impressions
from cofactor.recommender.users import UserView
from cofactor.report import Picture, Report, Section, Study, Table
from cofactor.results import ExplainedScore, Prediction, Recommendation, SimilarItems
from tests.support.estimators import small

RESULTS = {
    "/v1/recommendations": Recommendation(1, "model", False, "u1", (), None),
    "/v1/predictions": Prediction(1, "model", False, "u1", "i1", 3.5, None),
    "/v1/explanations": ExplainedScore(1, "model", False, "u1", "i1", 3.5, "removal", (), ()),
    "/v1/items/similar": SimilarItems("i1", 1, ()),
}
ANSWERS: dict[str, Any] = {path: asdict(result) for path, result in RESULTS.items()} | {
    "/v1/events": {"seq": 1},
    "/v1/events/bulk": {"results": []},
    "/v1/models": {"models": []},
    "/v1/models/train": {"id": 1},
}
"""Answers of the service in the fuzz."""


def width(model: Any) -> int:
    """Return the number of values that the prior of a model has for each user."""
    loss = getattr(model, "loss", None)
    return int(model.factors + (True if loss is None else loss.has_bias))


class Samples:
    """Tables, recommenders and other objects, each created at its first use."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def frame(self) -> pl.DataFrame:
        draw = np.random.default_rng(3)
        pairs = np.unique(draw.integers(0, [24, 10], (130, 2)), axis=0)
        return pl.DataFrame(
            {
                "user": [f"u{u:02}" for u in pairs[:, 0]],
                "item": [f"i{i}" for i in pairs[:, 1]],
                "rating": draw.integers(1, 6, len(pairs)).astype(float),
                "time": 880_000_000 + 3600 * draw.permutation(len(pairs)),
            }
        )

    @cached_property
    def item_table(self) -> pl.DataFrame:
        n = range(10)
        return pl.DataFrame(
            {
                "item": [f"i{k}" for k in n],
                "title": [f"title {k}" for k in n],
                "genres": ["war", "war|love"] * 5,
                "year": n,
            }
        )

    @cached_property
    def user_table(self) -> pl.DataFrame:
        return pl.DataFrame({"user": [f"u{k:02}" for k in range(24)], "job": ["cook", "poet", "poet"] * 8})

    @cached_property
    def ratings(self) -> Interactions:
        table = cofactor.read_ratings(self.frame)
        return table.with_item_table(self.item_table).with_user_table(self.user_table)

    @cached_property
    def events(self) -> Interactions:
        return self.ratings.to_events(min_rating=2)

    @cached_property
    def other(self) -> Interactions:
        """A table of other users and items."""
        return Interactions.from_columns([1, 1, 2, 3], [7, 8, 8, 9], [5, 4, 3, 1], times=[1, 2, 3, 4])

    @cached_property
    def other_recommender(self) -> cofactor.Recommender:
        return cofactor.Recommender.fit(cofactor.Bias(), self.other)

    @cached_property
    def split(self) -> evaluate.Split:
        return evaluate.split_random(self.ratings)

    @cache  # noqa: B019 - a single object lives as long as the process
    def recommender(self, name: str = "explicit-als") -> cofactor.Recommender:
        estimator = small(name)
        return cofactor.Recommender.fit(estimator, self.events if estimator.kind == "events" else self.ratings)

    @cached_property
    def with_priors(self) -> cofactor.Recommender:
        rec = self.recommender("explicit-als")
        return rec.with_priors(user_features=["job"], item_features=["genres"])

    @cached_property
    def with_weight_prior(self) -> cofactor.Recommender:
        return self.recommender("ease").with_priors(item_features=["genres"])

    @cached_property
    def in_time(self) -> cofactor.Recommender:
        """A recommender whose predictions depend on the time."""
        estimator = small("bayesian-mf", time_bin=86400)
        return cofactor.Recommender.fit(estimator, self.ratings)

    @cached_property
    def recommenders(self) -> list[Callable[[], cofactor.Recommender]]:
        def recommender_of(name: str) -> Callable[[], cofactor.Recommender]:
            return lambda: self.recommender(name)

        return [lambda: self.with_priors, *(recommender_of(name) for name in REGISTRY), lambda: self.in_time]

    @cached_property
    def config(self) -> SyntheticConfig:
        return SyntheticConfig(n_users=20, n_items=12, n_ratings=100, genres=2)

    def client(self) -> cofactor.Client:
        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=ANSWERS.get(request.url.path, {"id": 1}))

        return cofactor.Client("http://127.0.0.1:9", "a.b", retries=0, transport=httpx.MockTransport(answer))

    @cached_property
    def model_lists(self) -> ModelLists:
        rec = self.recommender("item-knn")
        return rec.ranked_lists(np.arange(24, dtype=np.int32), [3], self.ratings.by_user)

    @cached_property
    def simulation(self) -> audit.Simulation:
        tastes = audit.Tastes.of(self.recommender())
        return audit.simulate(cofactor.Bias(), self.ratings, tastes, rounds=1, n=2)

    @cached_property
    def figure(self) -> Any:
        return cofactor.plots.lorenz_plot(self.lorenz)  # type: ignore[attr-defined]

    @cached_property
    def lorenz(self) -> pl.DataFrame:
        return audit.exposure(self.recommender(), n=2).positions_per_item.lorenz.with_columns(what=pl.lit("shown"))

    def files(self) -> None:
        """Write the files that calls read."""
        self.frame.write_csv(self.folder / "ratings.csv")
        self.frame.write_parquet(self.folder / "ratings.parquet")
        self.recommender().save(self.folder / "model.cofactor")
        self.ratings.save(self.folder / "table.cofactor")
        (self.folder / "junk").write_bytes(bytes(range(256)) * 20)
        (self.folder / "folder").mkdir(exist_ok=True)

    # objects whose methods are called

    @cached_property
    def objects(self) -> dict[str, list[Callable[[], Any]]]:
        """Objects by the name of their class; a model is one of an estimator whose `fit` returns its class."""
        registry: dict[str, list[Callable[[], Any]]] = {
            cls.__name__: [lambda name=name: small(name)] for name, cls in REGISTRY.items()
        }

        def model(name: str) -> Callable[[], Any]:
            return lambda: self.recommender(name).model

        for name in ("explicit-als", *REGISTRY):
            registry.setdefault(inspect.signature(REGISTRY[name].fit).return_annotation, []).append(model(name))
        registry["BayesianModel"].append(lambda: self.in_time.model)
        return registry | {
            "Estimator": [cofactor.Bias],
            "Recommender": self.recommenders,
            "LevelsNetworkModel": [lambda: self.levels_network],
            "UncertainPairedModel": [lambda: self.uncertain_pair],
            "CapacityPlan": [lambda: self.capacity_plan],
            "Interactions": [lambda: self.ratings, lambda: self.events, lambda: self.other],
            "IdMap": [lambda: self.ratings.items, lambda: self.other.items],
            "Scale": [lambda: self.ratings.scale, lambda: Scale(0.0, 10.0)],
            "LoadReport": [lambda: self.ratings.report],
            "SparseRows": [lambda: self.ratings.by_user],
            "Split": [lambda: self.split],
            "Client": [self.client],
            "SyntheticConfig": [lambda: self.config],
            "Encoder": [lambda: Encoder.of(self.item_table, ["genres"], "item")],
            "Features": [lambda: indicators(self.item_table, ["genres"], "item")],
            "GroundTruth": [lambda: generate_ground_truth(self.config)],
            "Synthetic": [lambda: generate(self.config)],
            "Chunk": [lambda: next(iter(generate_chunks(self.config)))],
            "Questionnaire": [
                lambda: cold_start.Questionnaire(self.population),
                lambda: cold_start.Questionnaire(self.population).with_answer(2, 4.0),
            ],
            "Questions": [lambda: self.recommender().for_history([(self.ratings.items.all[1], 4.0)]).questions()],
            "Population": [lambda: self.population],
            "BernoulliMixture": [lambda: self.population.mixture],
            "Distribution": [self.normals, lambda: replace(self.normals(), curve=self.histogram())],
            "NormalMixture": [lambda: self.normals().curve],
            "Histogram": [self.histogram],
            "Explanation": [
                lambda: self.recommender().for_rows([1]).explanation(2),
                lambda: self.recommender("bpr").for_rows([1]).explanation(2)
            ],
            "Prior": [lambda: self.with_priors.priors.users],
            "Priors": [lambda: self.with_priors.priors, lambda: self.with_weight_prior.priors],
            "WeightPrior": [lambda: self.with_weight_prior.priors.items],
            "ModelLists": [lambda: self.model_lists],
            "Hits": [lambda: self.model_lists.hits],
            "Simulation": [lambda: self.simulation],
            "Tastes": [lambda: self.simulation.tastes],
            "Mitigation": [lambda: audit.PLAIN],
            "UserBehavior": [audit.UserBehavior, lambda: audit.UserBehavior(conformity=1.0, boredom=0.5)],
            "Impressions": [lambda: Impressions(np.zeros(10, np.int64), np.zeros(10, np.int64))],
            "FactorMap": [lambda: interpret.FactorMap.of(self.recommender())],
            "Calibration": [lambda: evaluate.calibration(self.recommender("bayesian-mf"), self.unseen)],
            "Comparison": [lambda: self.comparison],
            "Evaluation": [lambda: self.evaluation],
            "Score": [lambda: self.evaluation.scores[0]],
            "TuningResult": [lambda: self.tuned],
            "CrossTab": [lambda: cofactor.crosstab(self.ratings)],
            "Study": [lambda: Study(self.ratings, cofactor.Bias(), max_users_and_items=50)],
            "Report": [lambda: Report("title", self.report_settings, (self.section,))],
            "Section": [lambda: self.section],
            "Picture": [lambda: self.section.pictures[0]],
            "Table": [lambda: self.section.tables[0]],
        }  # fmt: skip

    def object_of(self, owner: type, pick: Callable[[int], int]) -> Any:
        """An object of the class."""
        makes = self.objects.get(owner.__name__)
        if makes is None:
            raise KeyError(f"Samples.objects needs an object of {owner.__name__}, so that its methods can be called")
        return makes[pick(len(makes))]()

    @cached_property
    def section(self) -> Section:
        return Section("name", "title", ["text"], [Picture(self.figure, "text")], [Table("a", "b", self.frame)])

    @cached_property
    def report_settings(self) -> dict[str, Any]:
        return {"estimator": {"estimator": "bias"}, "seed": 0, "source": None}

    def normals(self) -> Distribution:
        return Distribution.of([[3.0, 4.0]] * 24, [[1.0, 0.5]] * 24, self.ratings.scale)

    @cached_property
    def unseen(self) -> evaluate.Split:
        """A split whose test part the recommenders do not know."""
        histories = self.ratings.by_user
        pairs = [(u, i) for u in range(24) for i in range(10) if i not in histories.row(u).columns][:60]
        u, i = np.array(pairs, np.int32).T
        test = replace(
            self.ratings, u=u.copy(), i=i.copy(), values=np.full(len(u), 3, np.float32),
            times=np.full(len(u), 900_000_000), report=None,
        )  # fmt: skip
        return evaluate.Split(self.ratings, test)

    @cached_property
    def evaluation(self) -> evaluate.Evaluation:
        return evaluate.evaluate(self.estimator, self.split)

    @cached_property
    def comparison(self) -> evaluate.Comparison:
        return evaluate.compare(self.estimator, self.split)

    @cached_property
    def tuned(self) -> evaluate.TuningResult:
        return evaluate.tune(self.estimator, self.split, trials=2)

    @cached_property
    def population(self) -> cold_start.Population:
        return cold_start.Population.of(self.recommender().model, self.ratings.by_user, n_clusters=2)

    @cached_property
    def capacity_plan(self) -> cofactor.CapacityPlan:
        return cofactor.plan(small("biased-mf"), users=300, items=200, events=4_000)

    @cached_property
    def estimator(self) -> Any:
        return cofactor.Bias()

    @cached_property
    def uncertain_pair(self) -> Any:
        return cofactor.PairedModels(small("ease"), small("bayesian-mf")).fit(self.ratings)

    @cached_property
    def levels_network(self) -> NetworkModel:
        return cofactor.NeuralMF(epochs=1, head="classification").fit(self.ratings)

    @cached_property
    def kinds(self) -> Any:
        return audit.item_categories(self.item_table, "genres")

    # arguments

    @cached_property
    def by_name(self) -> dict[str, Callable[[], Any]]:
        """A valid value for each argument of this name, unless `by_call` has another."""
        users, items = np.arange(24, dtype=np.int32), (np.arange(24) % 10).astype(np.int32)
        return {
            "interactions": lambda: self.ratings,
            "table": lambda: self.item_table,
            "recommender": lambda: self.recommender(),
            "estimator": lambda: self.estimator,
            "estimators": lambda: [self.estimator],
            "split": lambda: self.split,
            "seed": lambda: 0,
            "n": lambda: 3,
            "k": lambda: 2,
            "ks": lambda: [1, 3],
            "rows": lambda: users,
            "users": lambda: users,
            "items": lambda: items,
            "user": lambda: "u01",
            "item": lambda: "i1",
            "times": lambda: np.full(24, 880_000_000),
            "histories": lambda: self.ratings.by_user,
            "exclude": lambda: self.ratings.by_user,
            "relevant": lambda: self.ratings.by_user,
            "known": lambda: self.ratings.by_user,
            "candidates": lambda: ["i1", "i2", "i3"],
            "history": lambda: {"i1": 5.0, "i2": 3.0},
            "frame": lambda: self.frame,
            "path": lambda: "made",
            "u": lambda: users,
            "i": lambda: items,
            "y": lambda: np.full(24, 3.0),
            "p": lambda: np.full(24, 3.5),
            "n_users": lambda: 24,
            "n_items": lambda: 10,
            "n_rows": lambda: 24,
            "values": lambda: np.full(24, 3.0, np.float32),
            "hits": lambda: self.model_lists.hits,
            "config": lambda: self.config,
            "figure": lambda: self.figure,
            "study": lambda: Study(self.ratings, self.estimator, max_users_and_items=50),
            "categories": lambda: self.kinds,
            "title": lambda: "title",
            "name": lambda: "name",
            "ids": lambda: ["i1", "i2"],
            "columns": lambda: ["genres"],
            "column": lambda: "genres",
            "entity": lambda: "item",
            "groups": lambda: users % 2,
            "ranked": lambda: np.array([[0, 1], [2, -1]] * 12, np.int32),
            "lists": lambda: np.tile(np.arange(4, dtype=np.int32), (24, 1)),
            "scores": lambda: np.tile(np.arange(4, 0, -1).astype(np.float32), (24, 1)),
            "model": lambda: self.recommender().model,
            "validation": lambda: None,
            "test": lambda: self.split.test,
            "train": lambda: self.split.train,
            "tastes": lambda: self.simulation.tastes,
            "share": lambda: 0.5,
            "probability": lambda: 0.5,
            "take": lambda: np.arange(24, dtype=np.int32),
            "text": lambda: "i1",
            "trials": lambda: 2,
            "permutations": lambda: 2,
            "repeats": lambda: 2,
            "max_users": lambda: 10,
            "rounds": lambda: 1,
            "history_lengths": lambda: [0, 2],
            "weights": lambda: np.ones(len(self.ratings), np.float32),
            "precision": lambda: np.eye(3),
        }

    def histogram(self) -> Any:
        return Distribution.of_mass([[0.1, 0.1, 0.2, 0.3, 0.3]] * 24, self.ratings.scale).curve

    @cached_property
    def by_call(self) -> dict[str, dict[str, Callable[[], Any]]]:
        """Valid values for arguments of individual callables, by the end of the callable's name."""
        rec = self.recommender
        ids = {
            "users": lambda: ["u01", "u02"],
            "items": lambda: ["i1", "i2"],
            "times": lambda: None,
        }
        table = {"table": lambda: self.ratings}
        pair = {"user": lambda: 1, "item": lambda: 2}
        client = {"items": lambda: ["i1"], "users": lambda: ["u1"], "value": lambda: 4.0}
        plots = {
            "cold_start_plot": lambda: pl.DataFrame(
                {
                    "history_length": [0, 2],
                    **{f"{w}{e}": [1.0, 0.9] for w in ("personal", "baseline") for e in ("", "_low", "_high")},
                }
            ),
            "comparison_plot": lambda: self.comparison.frame(),
            "crosstab_plot": lambda: interpret.filled_crosstab(rec()),
            "genres_plot": lambda: pl.DataFrame({"genre": ["Drama", "War"], "had": [0.6, 0.4], "shown": [0.9, 0.1]}),
            "influence_plot": lambda: audit.influence(rec(), np.arange(24) % 2, n=2, permutations=2).groups,
            "bias_ranking_plot": lambda: interpret.bias_ranking(rec()),
            "lorenz_plot": lambda: self.lorenz,
            "reliability_plot": lambda: self.objects["Calibration"][0]().reliability,
            "simulation_plot": lambda: self.simulation.summary(self.kinds),
            "factor_map_plot": lambda: interpret.FactorMap.of(rec()).items,
            "factor_map_png": lambda: interpret.FactorMap.of(rec()).items,
        }
        mine: dict[str, dict[str, Callable[[], Any]]] = {
            **{name: {"frame": make} for name, make in plots.items()},
            **{f"Model.{name}": {"users": lambda: UserBatch.trained(np.arange(24), self.ratings.by_user)}
               for name in ("predict", "scores", "top", "distribution", "liked_batch", "item_scores")},
            ".fold_in_without": {"histories": lambda: self.ratings.by_user.row(0)},
            "PairedModel.of": {
                "ranker": lambda: self.uncertain_pair.ranker,
                "rating_model": lambda: self.uncertain_pair.rating_model,
                "min_rating": lambda: 4.0,
            },
            "Model.explain": {"users": lambda: UserBatch.trained([1], self.ratings.by_user), "item": lambda: 1},
            ".set_params": {"params": dict},
            ".Recommender.fit": {"init_model": lambda: None},
            ".Recommender.load": {"path": lambda: "model.cofactor"},
            ".Interactions.load": {"path": lambda: "table.cofactor"},
            ".Interactions.save": {"path": lambda: "made-table"},
            ".Recommender.predict": ids,
            ".Recommender.unknown": ids,
            ".Recommender.user_rows": {"users": lambda: ["u01", "u02"]},
            ".Recommender.for_users": {"users": lambda: ["u01", "u02"]},
            ".Recommender.recommend": ids,
            ".Recommender.similar_users": {"user": lambda: "u01"},
            ".Recommender.updated": {"new": lambda: self.ratings},
            ".Recommender.with_users": {"users": lambda: self.ratings.users},
            ".Recommender.for_known_and_new": {
                "rows": lambda: np.int32([0, -1]), "histories": lambda: SparseRows.of([0], [3], [4.0], 1),
            },
            ".from_dict": {"spec": lambda: {"estimator": "bias"}},
            ".SparseRows.filter": {"keep": lambda obj: np.ones(len(obj.columns), bool)},
            ".SparseRows.from_counts": {
                "counts": lambda: [1, 2], "columns": lambda: np.int32([0, 1, 2]),
                "values": lambda: np.float32([1, 2, 3]),
            },
            ".SparseRows.transpose": {"n_columns": lambda: 20},
            ".Recommender.with_items": {
                "table": lambda: pl.DataFrame({"item": ["new"], "title": ["t"], "genres": ["war"]}),
                "ratings": lambda: None,
            },
            ".Recommender.folded_in": {"table": lambda: None},
            ".Recommender.for_history": {"user_features": lambda: None},
            ".explain": pair,
            **{f".Client.{name}": client | {"user": lambda: "u1", "item": lambda: "i1"}
               for name in ("explain", "set_available", "rate", "event")},
            ".Client.put_items": {"items": lambda: [{"item": "i1", "title": "t"}]},
            ".Client.send": {"events": lambda: [{"user": "u1", "item": "i1", "value": 1}]},
            ".Client.set_available": {"items": lambda: ["i1"], "available": lambda: True},
            ".Client.job": {"job": lambda: 1},
            ".Client.promote": {"version": lambda: 1},
            ".client.Client": {"url": lambda: "http://127.0.0.1:9", "key": lambda: "a.b"},
            ".require_interactions": {"value": lambda: self.ratings},
            ".Interactions.from_columns": {
                "users": lambda: ["a", "b"], "items": lambda: ["x", "y"], "values": lambda: [1.0, 2.0],
                "times": lambda: [1, 2], "weights": lambda: [1.0, 1.0],
            },
            ".Interactions.select": {"keep": lambda obj: np.arange(len(obj)) % 2 == 0},
            ".Interactions.to_events": {"min_rating": lambda: 4},
            ".decayed": {"half_life": lambda: 30},
            ".Interactions.with_ids": {"users": lambda obj: obj.users, "items": lambda obj: obj.items},
            ".combine_events": {
                "tables": lambda: {"view": self.events, "buy": self.events}, "weights": lambda: {"view": 0.5, "buy": 1},
            },
            ".learn_type_weights": {
                "tables": lambda: {"view": self.events, "buy": self.events}, "target": lambda: "buy",
                "estimator": lambda: cofactor.Popularity(),
            },
            ".read_event_types": {"event_type": lambda: "rating"},
            ".ImplicitALS.from_absolute": {
                "interactions": lambda: self.events, "alpha0": lambda: 0.2, "l2": lambda: 0.1,
            },
            ".Interactions.with_weights": {"weights": lambda obj: np.ones(len(obj))},
            ".Interactions.with_item_table": {"table": lambda obj: pl.DataFrame({"id": obj.items.all, "title": "t"})},
            ".Interactions.with_user_table": {"table": lambda obj: pl.DataFrame({"id": obj.users.all, "job": "t"})},
            **{f".read.{name}": {
                "source": lambda: "ratings.csv",
            } for name in ("read_event_types", "read_events", "read_ratings", "read_table")},
            ".LoadReport.with_note": {"note": lambda: "text"},
            ".SparseRows.checked": {"n_columns": lambda: 10},
            ".SparseRows.column_counts": {"n_columns": lambda: 10},
            ".SparseRows.with_values": {"values": lambda obj: np.ones(len(obj.columns), np.float32)},
            ".SparseRows.row": {"r": lambda: 1},
            ".SparseRows.slice": {"first": lambda: 1, "last": lambda: 3},
            ".SparseRows.of": {
                "rows": lambda: [0, 1], "columns": lambda: [2, 0], "values": lambda: [1.0, 2.0],
                "weights": lambda: [1.0, 2.0],
            },
            ".Chunk.slice": {"start": lambda: 1, "stop": lambda: 3},
            ".Chunk.concatenate": {"chunks": lambda: list(generate_chunks(self.config))},
            ".Scale.from_levels": {"levels": lambda: [1, 2, 3]},
            ".Scale.infer": {"values": lambda: [1.0, 2.0]},
            ".Scale.check": {"values": lambda: [1.0, 2.0], "name": lambda: "the rating"},
            ".IdMap.of": {"ids": lambda: ["a", "b"]},
            ".IdMap.from_sorted": {"ids": lambda: pl.Series(["a", "b"])},
            ".IdMap.of_with_rows": {"ids": lambda: pl.Series(["a", "b"])},
            ".IdMap.ids": {"rows": lambda: [0, 1]},
            ".IdMap.checked_rows": {"rows": lambda: [0, 1]},
            ".IdMap.row": {"id_": lambda obj: obj.all[0]},
            ".IdMap.id_at": {"row": lambda: 0},
            ".IdMap.rows": {"ids": lambda obj: obj.all[:2]},
            ".IdMap.as_id_type": {"ids": lambda obj: obj.all[:2]},
            ".IdMap.parse": {"text": lambda obj: str(obj.all[0])},
            ".IdMap.union": {"other": lambda obj: obj},
            ".IdMap.equals": {"other": lambda obj: obj},
            ".with_users": {"other": lambda obj: obj},
            ".fold_in": {"prior": lambda: None},
            ".fold_in_items": {
                "raters": lambda: SparseRows.of([0], [3], [4.0], 1),
                "prior": lambda obj: GaussianPrior(np.zeros((1, width(obj))), np.eye(width(obj))),
            },
            ".FactorModel.with_items": {
                "factors": lambda obj: np.zeros((1, obj.item_factors.shape[1]), np.float32),
                "bias": lambda: np.zeros(1, np.float32), "take": lambda: np.arange(-1, 10, dtype=np.int32),
            },
            ".FactorModel.with_user_arrays": {
                "factors": lambda obj: obj.user_factors, "bias": lambda obj: obj.user_bias,
            },
            **{f".{name}.link": {"x": lambda: np.float32([0, 1])}
               for name in ("FactorModel", "NetworkModel", "LevelsNetworkModel")},
            ".top": {"allowed": lambda: np.zeros(0, bool), "order": lambda: ROW_ORDER},
            ".similar_items": {"items": lambda: [0, 1]},
            ".similar_users": {"users": lambda: [0, 1]},
            ".item_similarity": {"items": lambda: [[0, 1], [2, 3]]},
            ".Recommender.similar_items": {"item": lambda: "i1"},
            ".Distribution.of": {
                "means": lambda: [[3.0]], "sds": lambda: [[1.0]], "scale": lambda: Scale.from_levels([1, 2, 3, 4, 5]),
            },
            ".Distribution.of_mass": {"mass": lambda: [[0.5, 0.5]], "scale": lambda: Scale.from_levels([1, 2])},
            ".Distribution.at_least": {"value": lambda: 3.0},
            ".NormalMixture.cdf": {"points": lambda: np.array([1.0, 2.0])},
            ".NormalMixture.cdf_at": {"points": lambda: np.full(24, 2.0)},
            ".Explanation.rounded": {"digits": lambda: 2},
            ".FactorModel.objective": {"interactions": lambda: self.ratings},
            ".evaluate.evaluation.score": {"split": lambda: self.unseen, "label": lambda: "a label"},
            ".evaluate.reliability.calibration": {
                "split": lambda: self.unseen, "recommender": lambda: rec("bayesian-mf"),
                "probabilities": lambda: [0.5, 0.9],
            },
            ".evaluate.evaluation.evaluate": {"exclude": lambda: "seen"},
            ".evaluate.comparison.compare": {"exclude": lambda: "seen"},
            ".split_users": {"users": lambda: 0.3, "fold_in_share": lambda: 0.5},
            ".Split.excluding": {"exclude": lambda: "seen"},
            **{f".split_{name}": {"test": lambda: 0.2} for name in ("by_time", "per_user", "random")},
            ".evaluate.tuning.tune": {"validation": lambda: 0.2},
            ".metrics.catalog.coverage": {"list_counts": lambda: [1, 0]},
            ".metrics.catalog.novelty": {"list_counts": lambda: [1, 0], "support": lambda: [3, 2]},
            ".metrics.catalog.gini": {"counts": lambda: [1, 0]},
            ".Concentration.of": {"counts": lambda: [1, 0]},
            ".ModelLists.of": {
                "users": lambda: UserBatch.trained(np.arange(24), self.ratings.by_user),
                "evidence": lambda: np.ones(10, bool),
            },
            ".Hits.sum_by_user": {"gain": lambda obj: None},
            ".Population.of": {"n_clusters": lambda: 2},
            ".BernoulliMixture.of": {"n_clusters": lambda: 2},
            ".BernoulliMixture.memberships": {"items": lambda: [1, 2], "rated": lambda: [True, False]},
            ".Questionnaire.with_answer": {"item": lambda: 4, "rating": lambda: 3.0},
            ".Questions.with_answer": {"item": lambda: self.ratings.items.all[2], "rating": lambda: 3.0},
            ".rescaled": {"unit": lambda: 2.0, "scale": lambda: Scale.from_levels([2, 4, 6, 8, 10])},
            ".FactorMap.ends": {"axis": lambda: 1},
            ".FactorMap.of": {"min_support": lambda: 1},
            ".interpret.biases.surprising_items": {"min_support": lambda: 1},
            ".crosstab": {"users": lambda: 3, "items": lambda: 3},
            ".planning.plan": {
                "users": lambda: 300, "items": lambda: 200, "events": lambda: 4_000,
                "estimator": lambda: small("biased-mf"),
            },
            ".filled_crosstab": {"users": lambda: 3, "items": lambda: 3},
            ".cold_start": {"users": lambda: 0.9, "history_lengths": lambda: [0, 1]},
            ".simulate": table,
            ".Study": table,
            **{f".Simulation.{name}": {"items": lambda: np.arange(10) < 3, "users": lambda: np.arange(24) < 12}
               for name in ("excess", "share")},
            ".UserBehavior": {"boredom": lambda: 0.5},
            ".UserBehavior.viewed_positions": {
                "views": lambda: np.ones(24, np.int64), "stream": lambda: np.random.default_rng(0),
            },
            ".UserBehavior.acceptance_probability": {
                "preference": lambda: np.full((24, 10), 0.5), "support": lambda: np.arange(10),
            },
            ".UserBehavior.leaves": {
                "n_rejected": lambda: np.ones(24, np.int64), "stream": lambda: np.random.default_rng(0),
            },
            ".growth_parts": {
                "loop": lambda: np.ones((2, 3)), "control": lambda: np.ones((2, 3)), "last_rounds": lambda: 2,
            },
            ".average_summaries": {"summaries": lambda: [self.simulation.summary(self.kinds)]},
            ".Simulation.summary": {"users": lambda: np.arange(24) < 12},
            ".Tastes.ratings": {"stream": lambda: np.random.default_rng(0)},
            ".calibrate_lists": {"target_shares": lambda: np.full((24, self.kinds.shape[1]), 0.5), "n": lambda: 2},
            ".spread_exposure": {"strength": lambda: 0.5, "n": lambda: 2},
            ".categories_by_raters": {"n_categories": lambda: 2},
            ".simulation_plot": {"measures": lambda: {"accuracy": "accuracy"}},
            ".indicators": table | {"table": lambda: self.item_table},
            ".group_weights": {"groups": lambda: np.arange(24) % 2},
            ".Impressions": {"n_shown": lambda: np.zeros(10, np.int64), "n_clicked": lambda: np.zeros(10, np.int64)},
            ".Prior.means": {"table": lambda: self.user_table, "n": lambda: 24},
            ".Prior.at": {"length": lambda: 1, "means": lambda obj: obj.mean[None]},
            ".Prior.fold_in": {
                "model": lambda: self.with_priors.model, "histories": lambda: self.ratings.by_user,
                "table": lambda: self.user_table,
            },
            ".Priors.with_items": {"take": lambda: np.arange(-1, 10, dtype=np.int32)},
            ".FactorModel.with_shift": {
                "item_shift": lambda: np.ones(10, np.float32), "weight": lambda: 0.5,
            },
            ".WeightPrior": {"encoder": lambda: Encoder.of(self.item_table, ["genres"], "item"), "ridge": lambda: 1.0},
            ".add_item_weights": {
                "model": lambda: self.with_weight_prior.model, "prior": lambda: self.with_weight_prior.priors.items,
                "item_table": lambda: self.item_table, "new_table": lambda: self.item_table,
                "support": lambda: np.ones(10, np.int64), "take": lambda: np.arange(-2, 8, dtype=np.int32),
            },
            ".expected": {"u": lambda: [0, 1], "i": lambda: [2, 3]},
            ".Recommender.explain": {"user": lambda: "u01", "item": lambda: "i1"},
            **{f".{name}": {"y": self.outputs} for name in ("loss", "rating", "score")},
            ".Hits.normalize": {"sums": lambda obj: np.ones(24), "normalizer": lambda: 2.0},
            ".registry.metric_named": {"key": lambda: "ndcg@5"},
            ".registry.primary_metric": {"kind": lambda: "events"},
            ".registry.validation_metric": {"kind": lambda: "events"},
            ".ranking_metrics": {"ks": lambda: [1, 2]},
            ".accuracy_by_group": {
                "score": lambda: self.evaluation.scores[0], "metric": lambda: "squared_error",
                "groups": lambda: pl.Series(["a", "b"] * 12),
            },
            ".fetch": {"name": lambda: "movielens-2k"},
            ".datasets.loading.load_movielens": {"version": lambda: "2k"},
        }  # fmt: skip
        return mine

    def outputs(self, network: NetworkModel) -> Any:
        """The outputs of a network for each of 24 pairs."""
        return network.outputs(self.by_name["users"](), self.by_name["items"]())

    def parameters(self, call: PublicCallable) -> dict[str, inspect.Parameter]:
        """The arguments of a call; where it takes settings by name, those of the estimator or the service."""
        parameters = dict(call.parameters)
        if call.name.endswith(".recommend_all"):
            return dict(list(inspect.signature(UserView.recommend).parameters.items())[1:])  # without self
        for name, parameter in call.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                owner = call.owner if call.owner in REGISTRY.values() else cofactor.Bias
                parameters.pop(name)
                parameters |= inspect.signature(owner).parameters
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                parameters.pop(name)
        return parameters

    def valid(self, call: PublicCallable, obj: Any) -> dict[str, Any]:
        """A valid value for each argument of a call that needs one; `obj` is what a method is called on."""
        if inspect.isclass(call.call) and call.call.__name__ in self.objects:
            model = self.object_of(call.call, lambda n: 0)
            if is_dataclass(model):
                return {spec.name: getattr(model, spec.name) for spec in fields(model) if spec.init}
        makers: dict[str, Callable[..., Any]] = {}
        parameters = self.parameters(call)
        for end, values in self.by_call.items():
            if call.name.endswith(end):
                makers |= {name: value for name, value in values.items() if name in parameters}
        for name, parameter in parameters.items():
            if name not in makers and name in self.by_name and parameter.default is inspect.Parameter.empty:
                makers[name] = self.by_name[name]
        if "interactions" in makers and getattr(obj, "kind", None) == "events" and is_dataclass(obj):
            makers["interactions"] = lambda: self.events
        return {name: value(obj) if inspect.signature(value).parameters else value() for name, value in makers.items()}
