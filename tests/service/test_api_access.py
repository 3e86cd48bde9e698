"""Every route with every role, and where keys must not be seen."""

from __future__ import annotations

import ast
import hashlib
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cofactor.service.api.app import create_app
from cofactor.service.api.auth import ROLES, may
from cofactor.service.api.dependencies import Service
from cofactor.service.settings import ServiceSettings
from cofactor.store import Role, Store, keys

ASKED: dict[str, Role | None] = {"nobody": None, "read": "read", "write": "write", "admin": "admin"}


def routes(given: Sequence[Any] | None = None) -> set[tuple[str, str]]:
    """Every route that the application's router has, documented or not."""
    found: set[tuple[str, str]] = set()
    for one in create_app(ServiceSettings.of({})).routes if given is None else given:
        inner = getattr(one, "original_router", None)
        found |= routes(inner.routes) if inner else {(method, one.path) for method in one.methods - {"HEAD"}}
    return found


def test_the_table_has_every_route_and_no_other() -> None:
    assert routes() == set(ROLES)
    paths: dict[str, Any] = create_app(ServiceSettings.of({})).openapi()["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert documented == set(ROLES) - {("GET", "/openapi.json")}


@pytest.mark.parametrize("role", ASKED)
def test_every_route_asks_for_the_role_of_the_table(
    client: TestClient, key: Callable[[Role], dict[str, str]], role: str
) -> None:
    asks = ASKED[role]
    headers = {} if asks is None else key(asks)
    for (method, path), needs in ROLES.items():
        there = path.replace("{job}", "1").replace("{version}", "1").replace("{key}", "0" * 16)
        status = client.request(method, there, headers=headers).status_code
        if may(asks or "nobody", needs):
            assert status not in (401, 403, 404 if "{" not in path else 401, 405, 500), (method, path)
        else:
            assert status == (401 if asks is None else 403), (method, path)


def wrong_keys(store: Store) -> dict[str, str]:
    """What stands in the header where no key is, or none that opens anything: by its kind."""
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


def test_what_is_no_key_opens_no_route(client: TestClient, store: Store) -> None:
    wrong = wrong_keys(store)
    for (method, path), needs in ROLES.items():
        there = path.replace("{job}", "1").replace("{version}", "1").replace("{key}", "0" * 16)
        statuses = {
            kind: client.request(method, there, headers={"Authorization": given.encode("latin-1")}).status_code
            for kind, given in wrong.items()
        }
        assert set(statuses.values()) == ({200} if needs == "nobody" else {401}), (method, path, statuses)


def test_a_revoked_key_opens_nothing(admin: TestClient) -> None:
    made = admin.post("/v1/keys", json={"role": "read", "label": "the site"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    text = made.json()["key"]
    headers = {"Authorization": f"Bearer {text}"}
    assert admin.get("/v1/models", headers=headers).status_code == 200
    assert admin.delete(f"/v1/keys/{text.partition('.')[0]}").status_code == 204
    assert admin.get("/v1/models", headers=headers).status_code == 401
    assert admin.delete(f"/v1/keys/{'0' * 16}").status_code == 404


def test_keys_are_told_nowhere(
    client: TestClient, store: Store, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    text = store.keys.create("read", "the site")
    secret = text.partition(".")[2]
    said = []
    with caplog.at_level(logging.DEBUG):
        for given in (text, f"{text[:-1]}x", f"x{text}"):
            headers = {"Authorization": f"Bearer {given}"}
            for path in ("/v1/models", "/v1/keys", "/metrics", "/nowhere", f"/v1/recommendations?user={'x' * 300}"):
                found = client.get(path, headers=headers)
                said += [found.text, str(found.headers)]
    assert secret[:20] not in caplog.text + "".join(said)
    assert secret[:20] not in repr(vars(service.keys)) + repr(vars(service.keys._checked))


def test_secrets_are_compared_in_constant_time() -> None:
    tree = ast.parse(inspect.getsource(keys))
    check = next(one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name == "check")
    called = {
        one.func.attr for one in ast.walk(check) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)
    }
    assert "compare_digest" in called
    assert not [one for one in ast.walk(check) if isinstance(one, ast.Compare) and "secret" in ast.unparse(one)]


def test_other_sites_may_not_ask(admin: TestClient) -> None:
    found = admin.get("/v1/models", headers={"Origin": "https://other.example"})
    assert not [name for name in found.headers if name.startswith("access-control")]
