"""Access control: every route with every role, and secrecy of keys."""

from __future__ import annotations

import ast
import hashlib
import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends
from fastapi.testclient import TestClient

from cofactor.service.api import app
from cofactor.service.api.app import create_app, roles
from cofactor.service.api.auth import PUBLIC, WRITE, permits
from cofactor.service.api.dependencies import Service
from cofactor.service.api.errors import responses
from cofactor.service.api.routing import StrictRoute
from cofactor.service.settings import ServiceSettings
from cofactor.store import Role, Store, keys
from docs._extensions.service_pages import example_path

ROLES: dict[str, Role | None] = {"nobody": None, "read": "read", "write": "write", "admin": "admin"}


def test_every_route_has_a_role() -> None:
    """Every documented operation is in the derived table, and its role is the one that OpenAPI states."""
    paths: dict[str, Any] = create_app(ServiceSettings.of({})).openapi()["paths"]
    documented = {
        (method.upper(), path): operation.get("security", [{"key": ["public"]}])[0]["key"]
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    documented["GET", "/openapi.json"] = ["public"]
    assert documented == {route: [role] for route, role in roles().items()}
    public = {path for (_, path), role in roles().items() if role == "public"}
    assert public == {"/health/live", "/health/ready", "/openapi.json"}


def test_a_route_without_a_role_cannot_be_defined() -> None:
    router = APIRouter(route_class=StrictRoute)

    async def answer() -> None:
        """Answer."""

    for dependencies in (None, [], [Depends(answer)]):
        with pytest.raises(TypeError, match="declare the role"):
            router.get("/", dependencies=dependencies)(answer)
    router.get("/", dependencies=[Depends(answer), WRITE])(answer)
    (route,) = router.routes
    assert isinstance(route, StrictRoute)
    assert route.role == "write"


def test_a_new_route_needs_no_other_file(
    settings: ServiceSettings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its role, parameters and OpenAPI description come from the route alone."""
    router = APIRouter(route_class=StrictRoute, prefix="/v1/new", responses=responses())

    @router.get("", dependencies=[WRITE])
    async def new(n: int = 1) -> dict[str, int]:
        """Return n."""
        return {"n": n}

    @router.get("/open", dependencies=[PUBLIC])
    async def new_open() -> str:
        """Return a text."""
        return "open"

    monkeypatch.setattr(app, "ROUTERS", (*app.ROUTERS, router))
    keys = {role: {"Authorization": f"Bearer {store.keys.create(role, 'a test')}"} for role in ("read", "write")}
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/new/open").json() == "open"
        assert client.get("/v1/new").status_code == 401
        assert client.get("/v1/new", headers=keys["read"]).status_code == 403
        assert client.get("/v1/new", params={"n": 3}, headers=keys["write"]).json() == {"n": 3}
        assert client.get("/v1/new", params={"m": 3}, headers=keys["write"]).status_code == 422
        response = client.post("/v1/new", headers=keys["write"])
        assert (response.status_code, response.headers["allow"]) == (405, "GET")
        operation = client.get("/openapi.json").json()["paths"]["/v1/new"]["get"]
        assert operation["security"] == [{"key": ["write"]}]
        assert operation["operationId"] == "new"


@pytest.mark.parametrize("role", ROLES)
def test_every_route_requires_its_role(client: TestClient, key: Callable[[Role], dict[str, str]], role: str) -> None:
    asks = ROLES[role]
    headers = {} if asks is None else key(asks)
    for (method, path), needs in roles().items():
        target = example_path(method, path)
        status = client.request(method, target, headers=headers).status_code
        if permits(asks or "public", needs):
            assert status not in (401, 403, 404 if "{" not in path else 401, 405, 500), (method, path)
        else:
            assert status == (401 if asks is None else 403), (method, path)


def wrong_keys(store: Store) -> dict[str, str]:
    """Return headers without a valid key, by kind."""
    good, other, revoked = (store.keys.create("admin", label) for label in ("good", "other", "revoked"))
    store.keys.revoke(revoked.partition(".")[0])
    name, _, secret = good.partition(".")
    return {
        "nothing": "",
        "no scheme": good,
        "another scheme": f"Basic {good}",
        "no key": "Bearer",
        "garbled": "Bearer x",
        "an unknown id": f"Bearer {'0' * 16}.{secret}",
        "another's secret": f"Bearer {name}.{other.partition('.')[2]}",
        "no secret": f"Bearer {name}.",
        "a secret cut short": f"Bearer {good[:-1]}",
        "a secret and more": f"Bearer {good}A",
        "upper case": f"Bearer {good.upper()}",
        "the hash": f"Bearer {name}.{hashlib.sha256(secret.encode()).hexdigest()}",
        "revoked": f"Bearer {revoked}",
        "too long": "Bearer " + "x" * 5_000,
        "no text": "Bearer \xff.\xfe",
    }


def test_invalid_keys_are_rejected_by_every_route(client: TestClient, store: Store) -> None:
    wrong = wrong_keys(store)
    for (method, path), needs in roles().items():
        target = example_path(method, path)
        statuses = {
            kind: client.request(method, target, headers={"Authorization": header.encode("latin-1")}).status_code
            for kind, header in wrong.items()
        }
        assert set(statuses.values()) == ({200} if needs == "public" else {401}), (method, path, statuses)


def test_a_revoked_key_is_rejected(admin: TestClient) -> None:
    created = admin.post("/v1/keys", json={"role": "read", "label": "the site"})
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    text = created.json()["key"]
    headers = {"Authorization": f"Bearer {text}"}
    assert admin.get("/v1/models", headers=headers).status_code == 200
    assert admin.delete(f"/v1/keys/{text.partition('.')[0]}").status_code == 204
    assert admin.get("/v1/models", headers=headers).status_code == 401
    assert admin.delete(f"/v1/keys/{'0' * 16}").status_code == 404


def test_keys_do_not_appear_in_answers_or_logs(
    client: TestClient, store: Store, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    text = store.keys.create("read", "the site")
    secret = text.partition(".")[2]
    outputs = []
    with caplog.at_level(logging.DEBUG):
        for candidate in (text, f"{text[:-1]}x", f"x{text}"):
            headers = {"Authorization": f"Bearer {candidate}"}
            for path in ("/v1/models", "/v1/keys", "/metrics", "/nowhere", f"/v1/recommendations?user={'x' * 300}"):
                response = client.get(path, headers=headers)
                outputs += [response.text, str(response.headers)]
    assert secret[:20] not in caplog.text + "".join(outputs)
    assert secret[:20] not in repr(vars(service.keys)) + repr(vars(service.keys._checked))


def test_secrets_are_compared_in_constant_time() -> None:
    tree = ast.parse(inspect.getsource(keys))
    check = next(entry for entry in ast.walk(tree) if isinstance(entry, ast.FunctionDef) and entry.name == "check")
    called = {
        entry.func.attr
        for entry in ast.walk(check)
        if isinstance(entry, ast.Call) and isinstance(entry.func, ast.Attribute)
    }
    assert "compare_digest" in called
    assert not [entry for entry in ast.walk(check) if isinstance(entry, ast.Compare) and "secret" in ast.unparse(entry)]


def test_other_origins_are_not_allowed(admin: TestClient) -> None:
    response = admin.get("/v1/models", headers={"Origin": "https://other.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]
