"""cofactor: a library, command-line tool and service for collaborative filtering.

    ratings = cofactor.read_ratings("ratings.csv")
    rec = cofactor.Recommender.fit(cofactor.BiasedMF(factors=50), ratings, seed=0)
    rec.recommend("ana", n=10)

Names are imported when they are first used, so that `import cofactor` is fast. A table can also be created from lists:

>>> import cofactor
>>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
>>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
>>> rec.recommend("bo")["item"].to_list()
['brazil']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cofactor import audit, cold_start, datasets, errors, evaluate, interpret, metrics, plots
    from cofactor.capacity import CapacityPlan, plan
    from cofactor.client import Client
    from cofactor.data.crosstab import crosstab
    from cofactor.data.event_types import combine_events
    from cofactor.data.interactions import Interactions
    from cofactor.data.readers.read import read_event_types, read_events, read_ratings, read_table
    from cofactor.errors import CofactorError
    from cofactor.estimators import (
        BPR,
        EASE,
        BayesianMF,
        Bias,
        BiasedMF,
        Blend,
        ExplicitALS,
        GraphFilter,
        ImplicitALS,
        ItemKNN,
        NeuralMF,
        PairedModels,
        Popularity,
        RP3beta,
        SequentialItemKNN,
        SparseEASE,
        UserKNN,
    )
    from cofactor.evaluate import (
        Split,
        fit,
        split_by_time,
        split_last,
        split_per_user,
        split_random,
        split_users,
    )
    from cofactor.kernels.parallel import threads
    from cofactor.recommender.recommender import Recommender

__version__ = "0.1.0"

_MODULES = {
    "CapacityPlan": "cofactor.capacity",
    "Client": "cofactor.client",
    "CofactorError": "cofactor.errors",
    "Interactions": "cofactor.data.interactions",
    "Recommender": "cofactor.recommender.recommender",
    "Split": "cofactor.evaluate",
    "combine_events": "cofactor.data.event_types",
    "crosstab": "cofactor.data.crosstab",
    "fit": "cofactor.evaluate",
    "plan": "cofactor.capacity",
    "read_event_types": "cofactor.data.readers.read",
    "read_events": "cofactor.data.readers.read",
    "read_ratings": "cofactor.data.readers.read",
    "read_table": "cofactor.data.readers.read",
    "split_by_time": "cofactor.evaluate",
    "split_last": "cofactor.evaluate",
    "split_per_user": "cofactor.evaluate",
    "split_random": "cofactor.evaluate",
    "split_users": "cofactor.evaluate",
    "threads": "cofactor.kernels.parallel",
}
"""Modules of the public names; an estimator is in `cofactor.estimators`."""

_PACKAGES = ("audit", "cold_start", "datasets", "errors", "evaluate", "interpret", "metrics", "plots")

__all__ = [
    "BPR",
    "EASE",
    "BayesianMF",
    "Bias",
    "BiasedMF",
    "Blend",
    "CapacityPlan",
    "Client",
    "CofactorError",
    "ExplicitALS",
    "GraphFilter",
    "ImplicitALS",
    "Interactions",
    "ItemKNN",
    "NeuralMF",
    "PairedModels",
    "Popularity",
    "RP3beta",
    "Recommender",
    "SequentialItemKNN",
    "SparseEASE",
    "Split",
    "UserKNN",
    "audit",
    "cold_start",
    "combine_events",
    "crosstab",
    "datasets",
    "errors",
    "evaluate",
    "fit",
    "interpret",
    "metrics",
    "plan",
    "plots",
    "read_event_types",
    "read_events",
    "read_ratings",
    "read_table",
    "split_by_time",
    "split_last",
    "split_per_user",
    "split_random",
    "split_users",
    "threads",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _PACKAGES:
        return import_module(f"cofactor.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'cofactor' has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "cofactor.estimators")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
