"""Fitted models: immutable arrays, indexed by row number, that estimators return.

Each model type has a single implementation of ranking, saving and serving.
"""

from __future__ import annotations

from cofactor.models.base import Model
from cofactor.models.blend import BlendModel
from cofactor.models.factor import FactorModel
from cofactor.models.neighborhood import ItemItemModel, UserUserModel
from cofactor.models.network import LevelsNetworkModel, NetworkModel
from cofactor.models.paired import PART_TYPES, PairedModel, UncertainPairedModel
from cofactor.models.posterior import BayesianModel

__all__ = [
    "MODEL_TYPES",
    "BayesianModel",
    "BlendModel",
    "FactorModel",
    "ItemItemModel",
    "LevelsNetworkModel",
    "NetworkModel",
    "PairedModel",
    "UncertainPairedModel",
    "UserUserModel",
]

MODEL_TYPES: dict[str, type[Model]] = PART_TYPES | {cls.model_type: cls for cls in (PairedModel, UncertainPairedModel)}
"""Model classes by model type, as stored in model files."""
