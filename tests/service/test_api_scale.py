"""Ratings over HTTP are checked against the scale of the table, as in Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.recommender.recommender import Recommender
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import prepare
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer

ESTIMATOR = cofactor.ExplicitALS(factors=2)
SCALES = {
    "whole stars": Scale.from_levels([1, 2, 3, 4, 5]),
    "half stars": Scale.from_levels([n / 2 for n in range(1, 11)]),
    "a range": Scale(1.0, 5.0),
    "not even": Scale.from_levels([1, 2, 5]),
}
VALUES = [1, 5, 5.0, 2, 3, 4.5, 2.5, 4.25, 0, 0.5, 6, 99, -7, 1e14, 4.99]


def rows(scale: Scale) -> Interactions:
    values = [(1, 2, 5)[n % 3] for n in range(40)]
    return Interactions.from_columns([n % 8 for n in range(40)], [n % 5 for n in range(40)], values, scale=scale)


@pytest.fixture(scope="module", params=SCALES)
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = ServiceSettings.of({"data": str(tmp_path_factory.mktemp("scale"))})
    key = prepare(settings, rows(SCALES[request.param]), TrainingSpec(ESTIMATOR)).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def scale_of(api: TestClient) -> Scale:
    response = api.app.state.service.engine.model.recommender.scale  # type: ignore[attr-defined]
    assert isinstance(response, Scale)
    return response


def test_every_route_accepts_the_values_that_the_library_accepts(api: TestClient) -> None:
    scale = scale_of(api)
    rec = Recommender.fit(ESTIMATOR, rows(scale))
    taken = []
    for value in VALUES:
        try:
            rec.for_history([(1, value)]).recommend()
        except DataError as problem:
            answer = str(problem).partition(" is ")[2]
            assert f"not on the rating scale of {scale.description}" in answer
        else:
            taken, answer = [*taken, value], ""
        rated = {"item": 1, "value": value}
        line = api.post("/v1/events/bulk", content=json.dumps({"user": 3, **rated})).json()["results"][0]
        assert answer in line["error"] if answer else "seq" in line, value
        requests_sent: list[tuple[str, Any]] = [
            ("/v1/events", {"user": 3, **rated}),
            ("/v1/recommendations", {"history": [{"item": 0, "value": 5}, rated]}),
            ("/v1/onboarding", {"answers": [{"item": 0, "value": None}, rated]}),
        ]
        for path, body in requests_sent:
            response = api.post(path, json=body)
            assert response.is_success != bool(answer), (path, value, response.text)
            if answer:
                assert response.status_code == 422
                assert answer in response.json()["detail"]
                assert response.json()["detail"].startswith({"/v1/recommendations": "body.history.1.value",
                    "/v1/onboarding": "body.answers.1.value", "/v1/events": "the value"}[path])  # fmt: skip
    assert taken == [value for value in VALUES if scale.contains([value])[0]]
    assert 0 < len(taken) < len(VALUES)


def test_openapi_lists_the_rating_levels(api: TestClient) -> None:
    rating = api.get("/openapi.json").json()["components"]["schemas"]["Rating"]
    assert rating.get("enum", []) == list(scale_of(api).levels)
    assert (rating["minimum"], rating["maximum"]) == (scale_of(api).low, scale_of(api).high)


def test_training_keeps_the_scale(tmp_path: Path) -> None:
    """Although only 1, 2 and 5 occur."""
    settings = ServiceSettings.of({"data": str(tmp_path)})
    key = prepare(settings, rows(SCALES["whole stars"]), TrainingSpec(ESTIMATOR)).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        service = client.app.state.service  # type: ignore[attr-defined]
        assert Trainer(service.store, ArtifactRegistry(settings.artifacts)).train().status == "active"
        assert service.engine.refresh()
        statuses = [
            client.post("/v1/events", json={"user": 1, "item": 1, "value": value}).status_code
            for value in (3, 4, 4.5, 99)
        ]
    assert statuses == [201, 201, 422, 422]


def test_events_have_no_scale(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    plays = Interactions.from_columns([1, 1, 2], [1, 2, 1], [99, 4.5, 1], kind="events")
    key = prepare(settings, plays, TrainingSpec(cofactor.Popularity(), "events")).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        event = {"user": 1, "item": 1, "value": 4.5, "kind": "event"}
        assert client.post("/v1/events", json=event).status_code == 201
