"""What fit returns: frozen arrays that speak row numbers. Ranking, saving and serving are written once per kind."""

from __future__ import annotations

from typing import Any

from cofactor.models.factor import FactorModel
from cofactor.models.posterior import BayesianModel

__all__ = ["KINDS", "BayesianModel", "FactorModel"]

KINDS: dict[str, Any] = {"factor": FactorModel, "bayesian": BayesianModel}
"""Every kind of model by the name it has in a file."""
