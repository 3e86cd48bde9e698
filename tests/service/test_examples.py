"""The example requests of the documentation work."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from cofactor.store import Store
from docs._extensions import service_pages


def test_every_example_works(admin: TestClient, store: Store) -> None:
    revocable = store.keys.create("read", "to be revoked").partition(".")[0]
    store.jobs.enqueue("train")
    for (method, path), (query, body, _) in service_pages.EXAMPLES.items():
        target = service_pages.example_path(method, path, key=revocable)
        sent: dict[str, Any] = {"content": body} if isinstance(body, str) else {} if body is None else {"json": body}
        if isinstance(body, str):
            sent["headers"] = {"Content-Type": "application/x-ndjson"}
        answer = admin.request(method, target + query, **sent)
        alone = path == "/v1/models/roll-back"  # there is only one model here
        assert answer.status_code in ({409} if alone else {200, 201, 202, 204}), (method, path, answer.text)
        if path == "/v1/events/bulk":
            assert answer.json()["rejected"] == 0
