"""The parts of the service page that are generated from the service: routes and settings."""

from __future__ import annotations

import pytest

from cofactor.service.api.app import roles
from cofactor.service.settings import ServiceSettings
from docs._extensions import service_pages


def test_the_page_lists_every_route_and_setting() -> None:
    routes, settings = service_pages.routes_part(), service_pages.settings_part()
    for method, path in roles():
        assert routes.count(f"| `{method} {path}` |") == 1
    assert routes.index("`GET /health/live`") < routes.index("*read*") < routes.index("`GET /v1/items`")
    assert routes.index("*admin*") < routes.index("`POST /v1/keys`")
    for name in ServiceSettings.model_fields:
        assert settings.count(f"| `{name}` |") == 1
    assert "| `workers` | Number of server processes | `1` | from 1 to 64 |" in settings


def test_a_route_without_an_example_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(service_pages.EXAMPLES, ("GET", "/v1/keys"))
    with pytest.raises(ValueError, match="/v1/keys"):
        service_pages.routes_part()
