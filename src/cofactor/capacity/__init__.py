"""Capacity planning: memory, disk and time of a fit, and size and rate of its service, before there is a table."""

from __future__ import annotations

from cofactor.capacity.planning import CapacityPlan, plan

__all__ = ["CapacityPlan", "plan"]
