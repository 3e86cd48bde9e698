"""Parts of the service's page generated from the service: routes with their roles, settings with their defaults.

An example that is missing, or of a route that does not exist, stops the build; the tests send every one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ["EXAMPLES", "Example", "example_path", "routes_part", "settings_part"]


class Example(NamedTuple):
    """A request to a route: the query, the body and the path parameters; a string is sent unchanged, line by line."""

    query: str = ""
    body: Any = None
    parameters: Mapping[str, str] = MappingProxyType({})


EXAMPLES: dict[tuple[str, str], Example] = {
    ("GET", "/health/live"): Example(),
    ("GET", "/health/ready"): Example(),
    ("GET", "/openapi.json"): Example(),
    ("GET", "/metrics"): Example(),
    ("GET", "/v1/recommendations"): Example("?user=7&n=10"),
    ("POST", "/v1/recommendations"): Example(
        body={"history": [{"item": 7, "value": 5}], "n": 5, "where": 'genres in ("War", "Drama")', "diversity": 0.3}
    ),
    ("POST", "/v1/recommendations/batch"): Example(body={"users": [7, 8], "n": 3}),
    ("GET", "/v1/predictions"): Example("?user=7&item=7"),
    ("GET", "/v1/explanations"): Example("?user=7&item=7"),
    ("GET", "/v1/items"): Example("?item=7"),
    ("GET", "/v1/items/similar"): Example("?item=7&n=5"),
    ("POST", "/v1/onboarding"): Example(body={"answers": [{"item": 7, "value": 4}, {"item": 8, "value": None}]}),
    ("GET", "/v1/models"): Example(),
    ("GET", "/v1/models/audit"): Example(),
    ("GET", "/v1/jobs"): Example("?state=done&limit=10"),
    ("GET", "/v1/jobs/{job}"): Example(parameters={"job": "1"}),
    ("POST", "/v1/events"): Example(body={"user": 7, "item": 7, "value": 4, "key": "7-7-1"}),
    ("POST", "/v1/events/bulk"): Example(body='{"user": 7, "item": 8, "value": 3, "key": "a1"}\n{"user": 8, "item": 9, '
                                         '"kind": "removal", "key": "a2"}\n'),
    ("PUT", "/v1/items"): Example(body={"items": [{"item": 7, "title": "Alien", "metadata": {"genres": ["Horror"]}}]}),
    ("POST", "/v1/items/availability"): Example(body={"items": [7], "available": False}),
    ("GET", "/v1/users"): Example("?user=7"),
    ("PUT", "/v1/users"): Example(body={"user": 7, "metadata": {"age": 31}}),
    ("DELETE", "/v1/users"): Example("?user=9"),
    ("GET", "/v1/events"): Example("?after=0&limit=100"),
    ("POST", "/v1/models/train"): Example(body={"estimator": {"estimator": "bias"}}),
    ("POST", "/v1/models/{version}/promote"): Example(parameters={"version": "1"}),
    ("POST", "/v1/models/roll-back"): Example(),
    ("GET", "/v1/keys"): Example(),
    ("POST", "/v1/keys"): Example(body={"role": "read", "label": "the site"}),
    ("DELETE", "/v1/keys/{key}"): Example(parameters={"key": "0" * 16}),
}  # fmt: skip


def example_path(method: str, path: str, **parameters: str) -> str:
    """Return the path of a route with the parameters of its example, or with these."""
    return path.format(**{**EXAMPLES[method, path].parameters, **parameters})


def routes_part() -> str:
    """Return every route as Markdown, by role: its description and an example request."""
    from cofactor.service.api.app import create_app, roles
    from cofactor.service.settings import ServiceSettings

    if missing := set(roles()) ^ set(EXAMPLES):
        raise ValueError(f"an example in docs/_extensions/service_pages.py is missing, or of no route: {missing}")
    paths = create_app(ServiceSettings.of({})).openapi()["paths"]
    lines = []
    for role, heading in (
        ("public", "No key is required"),
        ("read", "Role *read*"),
        ("write", "Role *write*, which may read as well"),
        ("admin", "Role *admin*, which may do everything"),
    ):
        lines += [f"**{heading}**", "", "| route | what it does | for example |", "|---|---|---|"]
        for (method, path), needs in roles().items():
            if needs == role:
                operation = paths.get(path, {}).get(method.lower(), {})
                lines.append(f"| `{method} {path}` | {_what(operation)} | {_example(EXAMPLES[method, path])} |")
        lines.append("")
    return "\n".join(lines)


def _what(operation: dict[str, Any]) -> str:
    text: str = operation.get("description", "The description of all of it, for machines.")
    return " ".join(text.partition("\n\n")[0].split()).replace("|", r"\|")


def _example(example: Example) -> str:
    if example.body is None:
        return f"`{example.query}`" if example.query else ""
    written = example.body if isinstance(example.body, str) else json.dumps(example.body)
    return " ".join(f"`{line}`" for line in written.splitlines())


def settings_part() -> str:
    """Return every setting as a Markdown table: its meaning, default and range."""
    from cofactor.service.settings import PREFIX, ServiceSettings

    lines = ["| setting | what it is | default | range |", "|---|---|---|---|"]
    for name, field in ServiceSettings.model_fields.items():
        default = "none" if field.default is None else json.dumps(field.default)
        lines.append(f"| `{name}` | {field.description} | `{default}` | {_range(field.metadata)} |")
    return "\n".join(lines) + f"\n\nAs a variable: `{PREFIX}{next(iter(ServiceSettings.model_fields)).upper()}`, ...\n"


def _range(limits: list[Any]) -> str:
    signs = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    signed_limits = [(signs[name], getattr(limit, name)) for limit in limits for name in signs if hasattr(limit, name)]
    return re.sub(r"(\d)(?=(\d{3})+$)", r"\1,", " ".join(f"{sign} {limit:g}" for sign, limit in signed_limits))
