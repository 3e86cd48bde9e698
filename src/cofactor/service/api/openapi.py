"""The OpenAPI document: what the routes say of themselves, and what only the running service knows."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response

from cofactor.service.api.dependencies import Service
from cofactor.service.api.fields import ID, ProblemAnswer, reply
from cofactor.service.settings import ServiceSettings

__all__ = ["document"]

RATING: dict[str, Any] = {"title": "Rating", "type": "number"}


def document(app: FastAPI, settings: ServiceSettings) -> None:
    """Let the application tell its OpenAPI document, with errors, keys, this service's limits, the model's scale."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _completed(plain(), settings)
        assert app.openapi_schema is not None
        parts = app.openapi_schema["components"]
        service = getattr(app.state, "service", None)
        schemas = {**parts["schemas"], "Rating": _rating(service), "Rated": _rated(parts["schemas"]["Rated"], service)}
        return {**app.openapi_schema, "components": {**parts, "schemas": schemas}}

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/openapi.json", include_in_schema=False)
    async def whole() -> Response:
        return reply(app.openapi())


def _completed(told: dict[str, Any], settings: ServiceSettings) -> None:
    parts = told.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas["Problem"] = ProblemAnswer.model_json_schema()
    schemas["Id"] = ID
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "ID.SECRET"}}
    told["security"] = [{"key": []}]
    for path, operations in told["paths"].items():
        if path.startswith("/health/"):
            for operation in operations.values():
                operation["security"] = []
    schemas["BatchBody"]["properties"]["users"]["maxItems"] = min(10_000, settings.max_batch)
    for n in _places(told, schemas):
        n["maximum"] = min(1_000, settings.max_n)


def _places(told: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the document tells how many items a list may have."""
    bodies = [*schemas["RecommendBody"]["anyOf"], schemas["BatchBody"]]
    asked = told["paths"]["/v1/recommendations"]["get"]["parameters"]
    return [*(body["properties"]["n"] for body in bodies), *(one["schema"] for one in asked if one["name"] == "n")]


def _rating(service: Service | None) -> dict[str, Any]:
    """A number on the scale of the model that answers; any that is kept, where there is none."""
    scale = None if service is None or service.engine.version is None else service.engine.serving.scale
    low, high = (-1e15, 1e15) if scale is None else (scale.low, scale.high)
    levels = {"enum": list(scale.levels)} if scale is not None and scale.levels else {}
    return {**RATING, "minimum": float(low), "maximum": float(high), **levels}


def _rated(schema: dict[str, Any], service: Service | None) -> dict[str, Any]:
    """Describe an item of a history; its value is required where the model that answers learned from ratings."""
    if service is None or service.engine.version is None or service.engine.serving.recommender.kind == "events":
        return schema
    value = {name: told for name, told in schema["properties"]["value"].items() if name != "default"}
    return {**schema, "properties": {**schema["properties"], "value": value}, "required": ["item", "value"]}
