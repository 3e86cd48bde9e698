"""OpenAPI document: what FastAPI derives from the routes, the limits of the settings and the scale of the model."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from cofactor.service.api.dependencies import Service
from cofactor.service.api.errors import ProblemAnswer
from cofactor.service.api.fields import ID_SCHEMA
from cofactor.service.settings import ServiceSettings

__all__ = ["install_openapi"]


def install_openapi(app: FastAPI, settings: ServiceSettings) -> None:
    """Add to the OpenAPI document of an application what only the running service can tell.

    Parameters
    ----------
    app : FastAPI
        The application, with all routers.
    settings : ServiceSettings
        `max_n` and `max_batch` are used.
    """
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _add_limits(derive(), settings)
        assert app.openapi_schema is not None
        components = app.openapi_schema["components"]
        service: Service | None = getattr(app.state, "service", None)
        schemas = components["schemas"] if service is None else _with_scale(components["schemas"], service)
        return {**app.openapi_schema, "components": {**components, "schemas": schemas}}

    app.openapi = openapi  # type: ignore[method-assign]


def _add_limits(document: dict[str, Any], settings: ServiceSettings) -> None:
    """Set the largest batch and list of the settings, and the schema of errors, which no route names as its model."""
    schemas = document["components"]["schemas"]
    schemas |= {"Problem": ProblemAnswer.model_json_schema(), "Id": ID_SCHEMA}
    schemas["BatchBody"]["properties"]["users"]["maxItems"] = min(10_000, settings.max_batch)
    sizes = [schemas[name]["properties"]["n"] for name in ("UserQueryBody", "HistoryQueryBody", "BatchBody")]
    parameters = document["paths"]["/v1/recommendations"]["get"]["parameters"]
    for size in [*sizes, *(parameter["schema"] for parameter in parameters if parameter["name"] == "n")]:
        size["maximum"] = min(1_000, settings.max_n)


def _with_scale(schemas: dict[str, Any], service: Service) -> dict[str, Any]:
    """Limit ratings to the scale of the current model; a model of ratings requires them in a history."""
    if service.engine.version is None:
        return schemas
    model = service.engine.model
    rating, rated = dict(schemas["Rating"]), schemas["Rated"]
    if model.recommender.scale is not None:
        rating |= {"minimum": float(model.recommender.scale.low), "maximum": float(model.recommender.scale.high)}
        rating |= {"enum": list(model.recommender.scale.levels)} if model.recommender.scale.levels else {}
    if model.recommender.kind == "ratings":
        value = {name: part for name, part in rated["properties"]["value"].items() if name != "default"}
        rated = {**rated, "properties": {**rated["properties"], "value": value}, "required": ["item", "value"]}
    return {**schemas, "Rating": rating, "Rated": rated}
