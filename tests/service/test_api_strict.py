"""Undeclared parameters, members, estimators and settings are rejected, and the errors list the valid ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.estimators import REGISTRY
from cofactor.service.api.app import create_app, roles
from cofactor.service.bootstrap import import_table
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Store
from docs._extensions.service_pages import EXAMPLES, example_path

Route = tuple[str, str]

BODIES: dict[Route, Any] = {
    route: example.body for route, example in EXAMPLES.items() if isinstance(example.body, dict)
}
"""The bodies of the documented examples, without that of /v1/events/bulk, which has a JSON object on each line."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = ServiceSettings.of({"data": str(tmp_path_factory.mktemp("declared")), "key_cache_seconds": 60.0})
    ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    with Store.open(settings.url) as store:
        import_table(store, ratings)
        Trainer(store, ArtifactRegistry(settings.artifacts), spec=TrainingSpec(cofactor.ExplicitALS(factors=2))).train()
        key = store.keys.create("admin", "a test")
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            yield client


def store_of(api: TestClient) -> Store:
    store: Store = api.app.state.service.store  # type: ignore[attr-defined]
    return store


@cache
def document() -> dict[str, Any]:
    paths: dict[str, Any] = create_app(ServiceSettings.of({})).openapi()["paths"]
    return paths


def routes() -> list[Route]:
    """Every route: those of the document, and those that are not documented."""
    paths = document()
    documented = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    return sorted({*roles(), *documented})


def parameters(route: Route) -> list[str]:
    operation = document().get(route[1], {}).get(route[0].lower(), {})
    return [entry["name"] for entry in operation.get("parameters", []) if entry["in"] == "query"]


@pytest.mark.parametrize("route", routes(), ids=" ".join)
def test_every_route_rejects_undeclared_parameters_and_bodies(api: TestClient, route: Route) -> None:
    method, path = route
    expected_names, body = parameters(route), BODIES.get(route)
    before = store_of(api).events.watermark()
    unknown = [
        "dry_run",
        "offset",
        "",
        *(name.upper() for name in expected_names),
        *(f" {name}" for name in expected_names),
    ]
    for name in unknown:
        if name in expected_names:
            continue
        response = api.request(method, example_path(method, path), params={name: "1"}, json=body)
        assert response.status_code == 422, (name, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        answer = response.json()
        assert repr(name) in answer["detail"]
        assert all(entry in answer["detail"] for entry in expected_names)
        assert answer["errors"][0]["where"] == ["query", name]
    for name in expected_names:
        for values in (["1", "1"], ["1", "2"]):
            response = api.request(method, example_path(method, path), params={name: values}, json=body)
            assert response.status_code == 422
            assert f"{name!r} must be given only once" in response.json()["detail"]
    if body is None and path != "/v1/events/bulk":
        response = api.request(method, example_path(method, path), json={"dry_run": True})
        assert response.status_code == 422
        assert "does not accept a body" in response.json()["detail"]
    assert store_of(api).events.watermark() == before


@pytest.mark.parametrize("route", sorted(BODIES), ids=" ".join)
def test_every_body_rejects_undeclared_members(api: TestClient, route: Route) -> None:
    method, path = route
    body = BODIES[route]
    before, jobs = store_of(api).events.watermark(), store_of(api).jobs.newest()
    for name in ("dry_run", next(iter(body)).upper()):
        response = api.request(method, path, json={**body, name: 1})
        assert response.status_code == 422
        assert name in response.json()["detail"]
        assert all(entry in response.json()["detail"] for entry in body)
    twice = json.dumps(body)[:-1] + f', "{next(iter(body))}": null}}'
    response = api.request(method, path, content=twice, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert f"duplicate key {next(iter(body))!r}" in response.json()["detail"]
    assert store_of(api).events.watermark() == before
    assert store_of(api).jobs.newest() == jobs


def test_bodies_of_this_file_cover_all_routes(api: TestClient) -> None:
    documented = {
        (method.upper(), path)
        for path, operations in api.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    assert documented == {*BODIES, ("POST", "/v1/events/bulk")}
    for (method, path), body in BODIES.items():
        assert api.request(method, path, json=body).is_success, path


@pytest.mark.parametrize(
    ("method", "path", "body", "members"),
    [
        ("POST", "/v1/recommendations", {"history": [{"item": "1", "rating": 5}]}, "item, value"),
        ("POST", "/v1/onboarding", {"answers": [{"item": "1", "value": 5, "time": 3}]}, "item, value"),
        ("PUT", "/v1/items", {"items": [{"item": "1", "genres": ["War"]}]}, "item, title, available, metadata"),
    ],
)
def test_undeclared_nested_members_are_rejected(
    api: TestClient, method: str, path: str, body: Any, members: str
) -> None:
    response = api.request(method, path, json=body)
    assert response.status_code == 422
    assert f"the members are {members}" in response.json()["detail"]


def test_bulk_lines_report_undeclared_members(api: TestClient) -> None:
    lines = [
        b'{"user": "7", "item": "1", "value": 3, "stars": 3}',
        b'{"user": "7", "item": "1", "value": 3, "value": 5}',
        b'{"user": "7", "item": "1"',
        b'{"user": "7", "item": "1", "value": 3}',
    ]
    response = api.post("/v1/events/bulk", content=b"\n".join(lines)).json()
    assert (response["stored"], response["rejected"]) == (1, 3)
    errors = [line.get("error", "") for line in response["results"]]
    assert "'stars'" in errors[0]
    assert "user, item, time, key, value, kind" in errors[0]
    assert "duplicate key 'value'" in errors[1]
    assert errors[2] == "the line is not valid JSON"


def test_a_rejected_request_has_no_effect(api: TestClient) -> None:
    store = store_of(api)
    store.events.append([Event("007", "1", 5)])
    response = api.delete("/v1/users", params={"user": "007", "dry_run": "true"})
    assert response.status_code == 422
    assert "DELETE /v1/users has no parameter 'dry_run'; its query parameters are user" in response.json()["detail"]
    assert len(store.events.of_user("007")) == 1
    for query in ("user=ana", "offset=100", "after=0&Limit=5"):
        response = api.get(f"/v1/events?{query}")
        assert response.status_code == 422
        assert "its query parameters are after, limit" in response.json()["detail"]


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"estimator": {"estimator": "no-such"}}, "available models: bayesian-mf, bias, biased-mf"),
    ({"estimator": {"factors": 5}}, "spec must be the name of an estimator or an object such as"),
    ({"estimator": {"estimator": ["bias"]}}, "spec must be the name of an estimator or an object such as"),
    ({"estimator": {"estimator": "Bias"}}, "(did you mean bias?)"),
    ({"estimator": {"estimator": "bias", "factors": 5}}, "it has damping"),
    ({"estimator": {"estimator": "biased-mf", "factor": 5}}, "(did you mean factors?); it has biases, epochs, factors"),
    ({"estimator": {"estimator": "biased-mf", "factors": 0}}, "factors must be from 1 to 1024"),
    ({"estimator": {"estimator": "biased-mf", "factors": 5.5}}, "factors must be an integer"),
    ({"estimator": {"estimator": "biased-mf", "factors": "5"}}, "factors must be an integer"),
    ({"estimator": {"estimator": "biased-mf", "factors": True}}, "factors must be an integer"),
    ({"estimator": {"estimator": "biased-mf", "factors": None}}, "factors must be an integer"),
    ({"estimator": {"estimator": "biased-mf", "biases": 1}}, "biases must be true or false"),
    ({"estimator": {"estimator": "biased-mf", "rating_range": [5, 1]}}, "rating_range"),
    ({"estimator": {"estimator": "biased-mf", "rating_range": {"low": 1}}}, "rating_range"),
    ({"estimator": {"estimator": "bias", "damping": 10**400}}, "damping must be a finite number"),
    ({"estimator": {"estimator": "item-knn", "similarity": "pearson"}}, "cosine or jaccard"),
    ({"estimator": {"estimator": "neural-mf", "head": "x"}}, "regression or classification"),
    ({"estimator": {"estimator": "bayesian-mf", "user_features": "age"}}, "user_features"),
    ({"kind": "events", "estimator": {"estimator": "biased-mf"}}, "cannot be trained on 'events'"),
    ({"kind": "ratings", "estimator": {"estimator": "implicit-als"}}, "cannot be trained on 'ratings'"),
    ({"kind": "clicks"}, "kind"),
    ({"seed": 2**40}, "seed"),
    ({"seed": 2**32}, "seed"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": "1"}, "seed"),
    ({"seed": True}, "seed"),
]


@pytest.mark.parametrize(("spec", "message"), IMPOSSIBLE)
def test_an_invalid_training_is_rejected(api: TestClient, spec: dict[str, Any], message: str) -> None:
    before = store_of(api).jobs.newest()
    response = api.post("/v1/models/train", json=spec)
    assert response.status_code == 422, response.text
    assert message in response.json()["detail"]
    assert store_of(api).jobs.newest() == before


@pytest.mark.parametrize("name", REGISTRY)
def test_every_estimator_setting_is_checked_before_a_job_is_created(api: TestClient, name: str) -> None:
    estimator = REGISTRY[name]
    count = len(store_of(api).jobs.newest())
    for spec in fields(estimator):
        for end, step in (("low", -1), ("high", 1)):
            if (limit := spec.metadata[end]) is not None:
                value = limit + step if type(spec.default) is int else float(limit + step)
                response = api.post("/v1/models/train", json={"estimator": {"estimator": name, spec.name: value}})
                assert response.status_code == 422
                assert spec.name in response.json()["detail"]
    assert len(store_of(api).jobs.newest()) == count
    if estimator.kind != "events":
        defaults = estimator().to_dict()
        assert api.post("/v1/models/train", json={"estimator": defaults}).status_code == 202


def test_training_on_missing_user_features_is_rejected(api: TestClient) -> None:
    store = store_of(api)
    before = store.jobs.newest()
    features = {"estimator": {"estimator": "bayesian-mf", "user_features": ["age"]}}
    store.users.put("7", {"job": "nurse"})
    for spec, answer in ((features, "no user has metadata named 'age'; available names: job"),):
        response = api.post("/v1/models/train", json=spec)
        assert response.status_code == 409
        assert answer in response.json()["detail"]
    assert store.jobs.newest() == before
    store.users.put("7", {"age": 30})
    assert api.post("/v1/models/train", json=features).status_code == 202


def test_training_on_a_kind_without_data_is_rejected(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    with Store.open(settings.url) as store:
        key = store.keys.create("admin", "a test")
        with TestClient(create_app(settings)) as api:
            api.headers["Authorization"] = f"Bearer {key}"
            assert "the store contains no ratings to train on" in api.post("/v1/models/train").json()["detail"]
            store.events.append([Event("ana", "alien", 5)])
            assert api.post("/v1/models/train").status_code == 202
            response = api.post("/v1/models/train", json={"kind": "events"})
            assert response.status_code == 409
            assert "the store contains no events to train on" in response.json()["detail"]
            store.events.append([Event("ana", "alien", kind="event")])
            assert api.post("/v1/models/train", json={"kind": "events"}).status_code == 202
            by_name = api.post("/v1/models/train", json={"estimator": {"estimator": "implicit-als"}})
            assert by_name.status_code == 202


def test_different_trainings_are_different_jobs(api: TestClient) -> None:
    entry, other = ({"estimator": {"estimator": "bias", "damping": damping}} for damping in (1, 2))
    first = api.post("/v1/models/train", json=entry).json()["id"]
    second = api.post("/v1/models/train", json=other).json()["id"]
    assert first != second
    assert api.post("/v1/models/train", json=entry).json()["id"] == first
    assert api.post("/v1/models/train", json=other).json()["id"] == second
    assert store_of(api).jobs.get(second).spec == other
    assert api.post("/v1/models/train").json()["id"] <= first


def test_a_history_needs_a_rating_for_each_item(api: TestClient) -> None:
    """Without one it would count as a rating of 1."""
    response = api.post("/v1/recommendations", json={"history": [{"item": "1", "value": 5}, {"item": "2"}]})
    assert response.status_code == 422
    assert "body.history.1.value: the rating is missing" in response.json()["detail"]
    assert api.get("/openapi.json").json()["components"]["schemas"]["RatedItem"]["required"] == ["item", "value"]
