"""Estimators and the registry that maps names to estimator classes.

Estimators in `REGISTRY` are available on the command line and in the service, and are covered by the common test suite.
"""

from __future__ import annotations

from cofactor.estimators.als import ExplicitALS, ImplicitALS
from cofactor.estimators.base import Estimator
from cofactor.estimators.bayes import BayesianMF
from cofactor.estimators.bias import Bias, Popularity
from cofactor.estimators.blend import Blend
from cofactor.estimators.bpr import BPR
from cofactor.estimators.ease import EASE, SparseEASE
from cofactor.estimators.graph_filter import GraphFilter
from cofactor.estimators.mf import BiasedMF
from cofactor.estimators.neighbors import ItemKNN, UserKNN
from cofactor.estimators.neural import NeuralMF
from cofactor.estimators.paired import PairedModels
from cofactor.estimators.rp3beta import RP3beta
from cofactor.estimators.sequential import SequentialItemKNN
from cofactor.estimators.training import Epoch

__all__ = [
    "BPR",
    "EASE",
    "REGISTRY",
    "BayesianMF",
    "Bias",
    "BiasedMF",
    "Blend",
    "Epoch",
    "Estimator",
    "ExplicitALS",
    "GraphFilter",
    "ImplicitALS",
    "ItemKNN",
    "NeuralMF",
    "PairedModels",
    "Popularity",
    "RP3beta",
    "SequentialItemKNN",
    "SparseEASE",
    "UserKNN",
]

REGISTRY: dict[str, type[Estimator]] = {
    cls.name: cls for cls in sorted(Estimator.__subclasses__(), key=lambda cls: cls.name)
}
"""Mapping from names to the estimator classes in this package, the direct subclasses of `Estimator`."""
