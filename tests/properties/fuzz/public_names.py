"""The public callables of cofactor by name: functions, classes, and the public methods of classes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

DATA = ("readers.read", "load_report", "interactions", "scale", "ids", "features", "crosstab")
DATASETS = ("loading", "synthetic")
MODELS = (
    "base", "factor", "posterior", "neighborhood", "network", "distribution", "explanation", "prior",
)  # fmt: skip
METRICS = ("rating", "ranking", "catalog", "model_lists", "registry")
MODULES = (
    "cofactor",
    "cofactor.estimators",
    "cofactor.recommender.recommender",
    "cofactor.recommender.exploration",
    "cofactor.recommender.questions",
    *(f"cofactor.data.{name}" for name in DATA),
    *(f"cofactor.datasets.{name}" for name in DATASETS),
    "cofactor.models",
    *(f"cofactor.models.{name}" for name in MODELS),
    "cofactor.evaluate",
    *(f"cofactor.metrics.{name}" for name in METRICS),
    "cofactor.cold_start",
    "cofactor.interpret",
    "cofactor.audit",
    "cofactor.plots",
    "cofactor.report",
    "cofactor.client",
    "cofactor.errors",
)
"""Modules whose exported names are public, as the reference pages list them."""

PROTOCOLS = "a protocol, for isinstance; classes that implement it are fuzzed"
PROTOCOL_NAMES = (
    "Explains", "FoldsIn", "FoldsInWithout", "HasUncertainty", "Model", "PredictsRatings", "ScoresItems",
    "ScoresSomeItems",
)  # fmt: skip
ERROR = "an error, made of the text of its message"
RECORD = "a record that the library returns; nothing reads its fields back"
PARTS = "reads arrays of a model file; Recommender.load checks them, and tests of damaged files run it"
CHECK = "a check for other modules; their functions are fuzzed"
METRIC = "a definition in the registry; evaluate runs all metrics"
EQUATIONS = "an equation on arrays that model.explain computes; explain is fuzzed"
EXCEPTIONS = {
    **{f"cofactor.models.base.{name}": PROTOCOLS for name in PROTOCOL_NAMES},
    "cofactor.estimators.base.Estimator": "the base class; its subclasses are fuzzed",
    "cofactor.data.interactions.require_interactions": CHECK,
    "cofactor.recommender.recommender.require_recommender": CHECK,
    "cofactor.metrics.catalog.require_counts": CHECK,
    "cofactor.kernels.sparse.SparseRows.checked": CHECK,
    "cofactor.kernels.sparse.SparseRows.of_lists": "takes lists that kernels compute; fits of neighbors run it",
    "cofactor.data.scale.centered": "an equation on the values of a table; all fits to ratings run it",
    "cofactor.data.features.Encoder.from_settings": PARTS,
    "cofactor.models.posterior.BayesianModel.from_parts": PARTS,
    "cofactor.models.factor.FactorModel.from_parts": PARTS,
    "cofactor.models.neighborhood.ItemItemModel.from_parts": PARTS,
    "cofactor.models.neighborhood.UserUserModel.from_parts": PARTS,
    "cofactor.models.network.NetworkModel.from_parts": PARTS,
    "cofactor.models.network.LevelsNetworkModel.from_parts": PARTS,
    "cofactor.models.blend.BlendModel.from_parts": PARTS,
    "cofactor.models.paired.PairedModel.from_parts": PARTS,
    "cofactor.models.paired.UncertainPairedModel.from_parts": PARTS,
    "cofactor.models.prior.Priors.from_parts": PARTS,
    "cofactor.models.posterior_samples.Posterior": "the arrays of a BayesianModel, made by its fit",
    "cofactor.models.explanation.negative_probabilities": EQUATIONS,
    "cofactor.models.explanation.pairwise_terms": EQUATIONS,
    "cofactor.models.explanation.ridge_terms": EQUATIONS,
    "cofactor.models.explanation.unattributed_rest": EQUATIONS,
    **{f"cofactor.metrics.{name}": METRIC for name in ("rating.RatingMetric", "ranking.RankingMetric")},
    "cofactor.metrics.catalog.CatalogMetric": METRIC,
    "cofactor.metrics.ranking.Hits.of_groups": "takes arrays that ModelLists.of computes; it is fuzzed",
    "cofactor.metrics.ranking.Hits.of_positions": "takes arrays that Hits.of computes; it is fuzzed",
    "cofactor.audit.mitigations.Mitigation.rank": "a field, a function of the caller",
    "cofactor.audit.mitigations.Mitigation.weigh": "a field, a function of the caller",
    "cofactor.datasets.synthetic.Chunk.count": "a method of tuple",
    "cofactor.datasets.synthetic.Chunk.index": "a method of tuple",
    "cofactor.recommender.exploration.Position": "a record that the library returns",
    **{
        f"cofactor.recommender.exploration.{name}": "takes arrays that UserView computes; UserView.explore is fuzzed"
        for name in ("draw_positions", "sampler", "spread_new_items")
    },
    "cofactor.metrics.intervals.Interval.count": "a method of tuple",
    "cofactor.metrics.intervals.Interval.index": "a method of tuple",
}
"""Public names that are not fuzzed, with the reason; that of a class holds for its methods too."""

RECORDS = (
    "Calibration", "CapacityPlan", "Chunk", "ColdStartCurve", "ComparedModel", "Comparison", "Concentration",
    "CrossTab", "Distribution", "Encoder", "Epoch", "Evaluation", "Explanation", "Exposure",
    "FactorMap", "Features", "Genres", "GroundTruth", "Histogram", "Hits", "Influence", "Interval", "ListExposure",
    "LoadReport", "ModelLists", "NormalMixture", "Questions", "RejectedRow",
    "Score", "Simulation", "Synthetic", "Trial", "TuningResult", "TypeWeights", "UserErrors",
)  # fmt: skip
"""Classes whose constructors are not fuzzed: records that the library returns."""

SINGLE = (
    "cofactor.kernels.sparse.SparseRows",
    "cofactor.audit.concentration.Genres",
    "cofactor.evaluate.comparison.ComparedModel",
    "cofactor.metrics.intervals.Interval",
    "cofactor.evaluate.evaluation.Score",
    "cofactor.evaluate.tuning.Trial",
    "cofactor.cold_start.bernoulli_mixture.BernoulliMixture",
    "cofactor.kernels.parallel.threads",
)
"""Individual public names of other modules."""


@dataclass(frozen=True)
class PublicCallable:
    """A function, a class (its constructor), a class method, or a method.

    Attributes
    ----------
    name : str
        "module.function", "module.Class", or "module.Class.method".
    call : callable
        What is called; a method takes the object first.
    owner : type or None
        The class of a method that takes an object; None for everything else.
    """

    name: str
    call: Callable[..., Any]
    owner: type | None = None

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Parameters by name, without the object of a method."""
        parameters = dict(inspect.signature(self.call).parameters)
        if self.owner is not None:
            parameters.pop(next(iter(parameters)))
        return parameters


def exported() -> Iterator[tuple[str, Any]]:
    """Yield each public function and class of cofactor with its full name, once."""
    seen: set[int] = set()
    names = [f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__]
    for name in [*names, *SINGLE]:
        module, _, short = name.rpartition(".")
        thing = getattr(importlib.import_module(module), short)
        ours = (inspect.isclass(thing) or inspect.isroutine(thing)) and thing.__module__.startswith("cofactor")
        if ours and id(thing) not in seen:
            seen.add(id(thing))
            yield f"{thing.__module__}.{thing.__qualname__}", thing


def public_callables() -> dict[str, PublicCallable]:
    """Return every public callable by its full name."""
    calls = {}
    for name, thing in exported():
        calls[name] = PublicCallable(name, thing)
        if not inspect.isclass(thing) or issubclass(thing, BaseException):
            continue
        for method in dir(thing):
            member = inspect.getattr_static(thing, method)
            if method.startswith("_") or isinstance(member, property) or not callable(getattr(thing, method)):
                continue
            of_class = isinstance(member, classmethod | staticmethod)
            full = f"{name}.{method}"
            calls[full] = PublicCallable(full, getattr(thing, method), None if of_class else thing)
    return calls


def reason_not_fuzzed(call: PublicCallable) -> str | None:
    """Return why this callable is not fuzzed, or None."""
    if inspect.isclass(call.call) and issubclass(call.call, BaseException):
        return ERROR
    if inspect.isclass(call.call) and call.call.__name__ in RECORDS:
        return RECORD
    for name, reason in EXCEPTIONS.items():
        if call.name == name or call.name.startswith(name + "."):
            return reason
    return None
