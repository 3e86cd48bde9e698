"""The service's page of the documentation: what is made of the service itself, and its examples, which all work."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cofactor.service.api.app import roles
from cofactor.service.settings import ServiceSettings
from cofactor.store import Store

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages() -> Any:
    spec = importlib.util.spec_from_file_location("service_pages", DOCS / "_extensions" / "service_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_lists_every_route_and_setting(pages: Any) -> None:
    routes, settings = pages.routes_part(), pages.settings_part()
    for method, path in roles():
        assert routes.count(f"| `{method} {path}` |") == 1
    assert routes.index("`GET /health/live`") < routes.index("*read*") < routes.index("`GET /v1/items`")
    assert routes.index("*admin*") < routes.index("`POST /v1/keys`")
    for name in ServiceSettings.model_fields:
        assert settings.count(f"| `{name}` |") == 1
    assert "| `workers` | Number of server processes | `1` | from 1 to 64 |" in settings


def test_a_route_without_an_example_stops_the_build(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(pages.EXAMPLES, ("GET", "/v1/keys"))
    with pytest.raises(ValueError, match="/v1/keys"):
        pages.routes_part()


def test_every_example_works(pages: Any, admin: TestClient, store: Store) -> None:
    revocable = store.keys.create("read", "to be revoked").partition(".")[0]
    store.jobs.enqueue("train")
    for (method, path), (query, body) in pages.EXAMPLES.items():
        target = path.replace("{job}", "1").replace("{version}", "1").replace("{key}", revocable)
        sent: dict[str, Any] = {"content": body} if isinstance(body, str) else {} if body is None else {"json": body}
        if isinstance(body, str):
            sent["headers"] = {"Content-Type": "application/x-ndjson"}
        answer = admin.request(method, target + query, **sent)
        alone = path == "/v1/models/roll-back"  # there is only one model here
        assert answer.status_code in ({409} if alone else {200, 201, 202, 204}), (method, path, answer.text)
        if path == "/v1/events/bulk":
            assert answer.json()["rejected"] == 0
