"""What fit returns: frozen arrays that speak row numbers. Ranking, saving and serving are written once per kind."""

from __future__ import annotations

from typing import Any

from cofactor.models.factor import FactorModel
from cofactor.models.neighborhood import ItemItemModel, UserUserModel
from cofactor.models.network import LevelsNetworkModel, NetworkModel
from cofactor.models.posterior import BayesianModel

__all__ = [
    "KINDS",
    "BayesianModel",
    "FactorModel",
    "ItemItemModel",
    "LevelsNetworkModel",
    "NetworkModel",
    "UserUserModel",
]

KINDS: dict[str, Any] = {
    "factor": FactorModel,
    "bayesian": BayesianModel,
    "item-item": ItemItemModel,
    "user-user": UserUserModel,
    "network": NetworkModel,
    "network-levels": LevelsNetworkModel,
}
"""Every kind of model by the name it has in a file."""
