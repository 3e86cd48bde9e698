"""Estimators, and the registry of their names.

An estimator in `REGISTRY` is available on the command line and in the service, and is covered by the common test suite.
"""

from __future__ import annotations

from typing import Any

from cofactor.estimators.als import ExplicitALS, ImplicitALS
from cofactor.estimators.base import Epoch, Estimator
from cofactor.estimators.bayes import BayesianMF
from cofactor.estimators.bias import Bias, Popularity
from cofactor.estimators.bpr import BPR
from cofactor.estimators.ease import EASE
from cofactor.estimators.mf import BiasedMF
from cofactor.estimators.neighbors import ItemKNN, UserKNN
from cofactor.estimators.neural import NeuralMF

__all__ = [
    "BPR",
    "EASE",
    "REGISTRY",
    "BayesianMF",
    "Bias",
    "BiasedMF",
    "Epoch",
    "Estimator",
    "ExplicitALS",
    "ImplicitALS",
    "ItemKNN",
    "NeuralMF",
    "Popularity",
    "UserKNN",
]

REGISTRY: dict[str, Any] = {
    "bias": Bias,
    "popularity": Popularity,
    "biased-mf": BiasedMF,
    "explicit-als": ExplicitALS,
    "implicit-als": ImplicitALS,
    "bpr": BPR,
    "ease": EASE,
    "item-knn": ItemKNN,
    "user-knn": UserKNN,
    "bayesian-mf": BayesianMF,
    "neural-mf": NeuralMF,
}
"""Estimator classes by their names on the command line."""
