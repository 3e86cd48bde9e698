"""Estimators with small settings, for tests that fit every estimator and do not depend on its accuracy."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from cofactor.estimators import REGISTRY, BiasedMF, Estimator, ImplicitALS

SMALL: dict[str, Any] = {
    "factors": 3,
    "epochs": 3,
    "iterations": 14,
    "burn_in": 4,
    "kept_samples": 4,
    "hidden": 8,
    "ranker": ImplicitALS(factors=3, epochs=3),
    "rating_model": BiasedMF(factors=3, epochs=3),
}
"""Values by the name of the hyperparameter; a new hyperparameter that determines the cost of a fit is added here."""


def small_settings(name: str, **more: Any) -> dict[str, Any]:
    """The values of SMALL and of `more` for the hyperparameters that an estimator has."""
    values = SMALL | more
    return {spec.name: values[spec.name] for spec in fields(REGISTRY[name]) if spec.name in values}


def small(name: str, **more: Any) -> Estimator:
    """The estimator with small settings, and with those of `more` that it has."""
    return REGISTRY[name](**small_settings(name, **more))


def is_random(name: str) -> bool:
    """Whether a fit depends on its seed, which draws the initial parameters or the held-out rows of a blend."""
    names = {spec.name for spec in fields(REGISTRY[name])}
    return name == "blend" or "init_std" in names or "ranker" in names
