"""Fitted models: immutable arrays, indexed by row number, that estimators return.

Each model type has a single implementation of ranking, saving and serving.
"""

from __future__ import annotations

from cofactor.models.base import Model
from cofactor.models.blend import PART_TYPES, BlendModel
from cofactor.models.factor import FactorModel
from cofactor.models.neighborhood import ItemItemModel, UserUserModel
from cofactor.models.network import LevelsNetworkModel, NetworkModel
from cofactor.models.posterior import BayesianModel

__all__ = [
    "MODEL_TYPES",
    "BayesianModel",
    "BlendModel",
    "FactorModel",
    "ItemItemModel",
    "LevelsNetworkModel",
    "NetworkModel",
    "UserUserModel",
]

MODEL_TYPES: dict[str, type[Model]] = PART_TYPES | {BlendModel.model_type: BlendModel}
"""Model classes by the name of their type in model files."""
