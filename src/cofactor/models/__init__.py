"""What fit returns: frozen arrays that speak row numbers. Ranking, saving and serving are written once per kind."""

from __future__ import annotations

from typing import Any

from cofactor.models.factor import FactorModel

__all__ = ["KINDS", "FactorModel"]

KINDS: dict[str, Any] = {"factor": FactorModel}
"""Every kind of model by the name it has in a file."""
