"""The client with a real service that is killed, disconnected and rate-limited: no event is lost or duplicated."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from cofactor.client import Client, ServiceError
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.results import ExplainedScore, RemovalEffect, ScorePart, SimilarItem, SimilarItems
from cofactor.store import Store
from tests.support.served import Served, create_service

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, ratings: Interactions) -> tuple[Path, str]:
    """A service's folder, and a key."""
    return tmp_path / "data", create_service(tmp_path / "data", ratings)


class Cutter:
    """Proxy between a client and a service that resets some connections once the service has answered."""

    def __init__(self, port: int, every: int = 3):
        self._to, self._every = port, every
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.cut = self._seen = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far, contextlib.suppress(OSError):
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(1_000_000)
                    self._seen += source is far
                    if source is far and self._seen % self._every == 0:
                        self.cut += 1
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                        return
                    if not data:
                        return
                    (far if source is near else near).sendall(data)

    def close(self) -> None:
        self._listening.close()


def stored(url: str, watermark: int) -> list[tuple[str, str, float]]:
    with Store.open(url) as store:
        return [(event.user, event.item, event.value) for event in store.events.after(watermark, 100_000)]


@pytest.mark.long
def test_lost_answers_duplicate_no_event(folder: tuple[Path, str]) -> None:
    running = Served(*folder)
    cutter = Cutter(running.port)
    try:
        with Store.open(running.settings.url) as store:
            before, items = store.events.watermark(), [event.item for event in store.events.after(0, 30)]
        with Client(f"http://127.0.0.1:{cutter.port}", folder[1], retries=8) as client:
            wanted = [(f"user {n}", items[n % len(items)], float(1 + n % 5)) for n in range(40)]
            numbers = [client.rate(*rating) for rating in wanted]
            many = [(f"many {n}", items[n % len(items)], float(1 + n % 5)) for n in range(2_500)]
            fared = client.send({"user": user, "item": item, "value": value, "key": None} for user, item, value in many)
            assert client.recommend("user 0").answered_by == "fold-in"
    finally:
        cutter.close()
        assert running.stop() == 0
    assert cutter.cut > 10
    assert len(set(numbers)) == 40
    assert [line["line"] for line in fared] == list(range(1, 2_501))
    assert len({line["seq"] for line in fared}) == 2_500
    assert Counter(stored(running.settings.url, before)) == Counter(wanted + many)


@pytest.mark.long
def test_a_restarted_service_loses_and_duplicates_no_event(folder: tuple[Path, str]) -> None:
    running = Served(*folder)
    url, port = running.settings.url, running.port
    with Store.open(url) as store:
        before, item = store.events.watermark(), store.events.after(0, 1)[0].item
    wanted = [(f"user {n}", item, float(1 + n % 5)) for n in range(800)]

    def tell(part: int) -> list[int]:
        with Client(f"http://127.0.0.1:{port}", folder[1], retries=30, timeout=20) as client:
            return [client.rate(*rating) for rating in wanted[part::4]]

    with ThreadPoolExecutor(4) as threads:
        telling = [threads.submit(tell, part) for part in range(4)]
        time.sleep(0.5)
        running.kill()
        assert not any(future.done() for future in telling)
        running = Served(*folder, "--port", str(port))
        numbers = [seq for future in telling for seq in future.result()]
    assert running.stop() == 0
    assert len(set(numbers)) == len(wanted)
    assert Counter(stored(url, before)) == Counter(wanted)


@pytest.mark.long
def test_a_client_above_the_rate_limit_waits(folder: tuple[Path, str]) -> None:
    running = Served(*folder, COFACTOR_SERVE_RATE="20")
    try:
        with Client(running.url, folder[1], retries=0) as hasty, pytest.raises(ServiceError) as caught:
            [hasty.models() for _ in range(80)]
        assert caught.value.status == 429
        assert "429: too many requests with this key" in str(caught.value)
        with Client(running.url, folder[1]) as patient:
            assert len([patient.models() for _ in range(60)]) == 60
    finally:
        running.stop()


def test_an_unreachable_service_is_reported_after_all_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with socket.create_server(("127.0.0.1", 0)) as closed_server:
        port = closed_server.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "id.secret", retries=3) as client, pytest.raises(ServiceError) as caught:
        client.rate("ana", "alien", 5)
    assert len(waits) == 3
    assert caught.value.status == 0
    assert str(caught.value).startswith(f"http://127.0.0.1:{port} cannot be reached: ")


PREDICTION = {
    "model": 1, "answered_by": "model", "stale": False,
    "user": "ana", "item": "alien", "prediction": 4.5, "interval": None,
}  # fmt: skip


def test_a_response_without_a_member_is_an_error_of_the_service() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"model": 1}))
    with (
        Client("http://shop", "id.secret", transport=transport) as client,
        pytest.raises(ServiceError, match="the response has no member 'answered_by'"),
    ):
        client.predict("ana", "alien")


def test_a_timeout_may_be_shorter_than_a_second() -> None:
    waits: list[Any] = []

    def service(request: httpx.Request) -> httpx.Response:
        waits.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, json=PREDICTION)

    with Client("http://shop", "id.secret", timeout=0.5, transport=httpx.MockTransport(service)) as client:
        assert client.predict("ana", "alien").prediction == 4.5
    assert waits == [0.5]


def test_explanations_and_similar_items_are_the_types_of_the_engine() -> None:
    part = {"part": "history", "item": "alien", "value": 5.0, "term": 0.5, "title": "Alien"}
    answer = {"model": 1, "answered_by": "model", "stale": False, "user": "ana", "item": "heat"}
    effect = {"item": "alien", "value": 5.0, "effect": 0.25, "title": "Alien"}
    similar = {"item": "heat", "rank": 1, "score": 0.5, "title": None}
    bodies = {
        "/v1/explanations": {
            **answer,
            "score": 0.5,
            "method": "removal",
            "effects": [effect],
            "parts": [part],
            "a field of a newer service": 1,
        },
        "/v1/items/similar": {"item": "alien", "model": 1, "items": [similar]},
    }

    def service(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=bodies[request.url.path])

    with Client("http://shop", "id.secret", transport=httpx.MockTransport(service)) as client:
        assert client.explain("ana", "heat") == ExplainedScore(
            **answer, score=0.5, method="removal", effects=(RemovalEffect(**effect),), parts=(ScorePart(**part),)
        )
        assert client.similar("alien") == SimilarItems("alien", 1, (SimilarItem(**similar),))


def test_a_plain_list_is_requested_by_default() -> None:
    bodies: list[Any] = []

    def service(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(
            200,
            json={"model": 1, "answered_by": "model", "stale": False, "user": None, "items": [], "item_index": None},
        )

    filters = {"n": 10, "exclude": [], "min_support": 0, "where": None}
    plain = {**filters, "rank_by": "mean", "diversity": 0.0, "explore": 0.0}
    with Client("http://shop", "id.secret", transport=httpx.MockTransport(service)) as client:
        client.recommend("ana")
        client.recommend_for({"alien": 5})
    assert bodies == [
        {"user": "ana", "log": True, **plain},
        {"history": [{"item": "alien", "value": 5}], **plain},
    ]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda client: client.recommend(1.5), "user"),
        (lambda client: client.recommend_for({}, "x"), "n"),
        (lambda client: client.predict("ana", 1.5), "item"),
        (lambda client: client.predict(None, "alien"), "user"),
        (lambda client: client.explain("ana", ["alien"]), "item"),
        (lambda client: client.similar(1.5), "item"),
        (lambda client: client.similar("alien", "x"), "n"),
        (lambda client: client.rate("ana", None, 5), "item"),
        (lambda client: client.event(True, "alien"), "user"),
        (lambda client: client.remove("ana", 1.5), "item"),
    ],
)
def test_a_call_with_a_wrong_argument_is_not_sent(call: Any, name: str) -> None:
    sent: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(422, json={"detail": "rejected"})

    with (
        Client("http://shop", "id.secret", transport=httpx.MockTransport(service)) as client,
        pytest.raises(ParameterError, match=f"^{name} must be"),
    ):
        call(client)
    assert sent == []


def test_invalid_arguments_are_reported_at_once() -> None:
    with pytest.raises(ParameterError, match=r"url must begin with http:// or https://, not '127\.0\.0\.1:8000'"):
        Client("127.0.0.1:8000", "id.secret")
    for wrong in ("", "id.secret\n", "id.sécret"):
        with pytest.raises(ParameterError, match=r"key must have the form id\.secret") as caught:
            Client("http://127.0.0.1:8000", wrong)
        assert "cret" not in str(caught.value).replace("id.secret, with only letters", "")
    for page in ({"text": "<html>log in</html>"}, {"json": ["a list"]}):
        answering = httpx.MockTransport(lambda _, page=page: httpx.Response(200, **page))
        client = Client("http://shop", "id.secret", transport=answering)
        with client, pytest.raises(ServiceError, match="the server at shop is not a cofactor service"):
            client.models()
    refusing = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    client = Client("http://shop", "id.secret", retries=0, transport=refusing)
    with client, pytest.raises(ServiceError, match="502: Bad Gateway"):
        client.models()


def test_a_context_closes_its_connections() -> None:
    with Client("http://shop", "id.secret") as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.models()


def test_answers_of_a_newer_service_may_have_more_members() -> None:
    item = {
        "item": "1",
        "rank": 1,
        "score": None,
        "prediction": 3.5,
        "answered_by": "exploration",
        "title": None,
        "explored": True,
    }
    item |= {"support": 3, "propensity": 0.5, "mood": "good"}
    body = {
        "model": 1,
        "answered_by": "model",
        "stale": False,
        "user": "ana",
        "items": [item],
        "item_index": None,
        "weather": "fine",
    }
    bodies: list[Any] = []

    def service(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=body)

    with Client("http://shop", "id.secret", transport=httpx.MockTransport(service)) as client:
        assert client.recommend("ana", exclude=[7], where='genre = "war"', explore=0.5).items[0].propensity == 0.5
    assert bodies == [
        {"user": "ana", "log": True, "n": 10, "exclude": [7], "min_support": 0, "where": 'genre = "war"',
         "rank_by": "mean", "diversity": 0.0, "explore": 0.5}
    ]  # fmt: skip


PROGRAM = """
from cofactor import Client, Recommendation, ServiceError

def titles(client: Client) -> list[str]:
    answer: Recommendation = client.recommend("ana", n=3, where='genres = "War"', rank_by="lower")
    seq: int = client.rate("ana", answer.items[0].item, 5, key="a1")
    stars: float = client.predict(7, answer.items[0].item).prediction
    for line in client.send([{"user": "ana", "item": 7, "value": 3}]):
        print(line["seq"], seq, stars)
    return [entry.title or entry.item for entry in answer.items]

def main() -> None:
    with Client("http://127.0.0.1:8000", "id.secret", timeout=2.0, retries=3) as client:
        try:
            print(titles(client))
        except ServiceError as problem:
            print(problem.status + 1, problem.request_id.upper())
"""
WRONG = {
    'client.recommend("ana", where=3)\n': "arg-type",
    'client.recommend("ana", wheer={})\n': "call-arg",
    'client.recommend("ana", by="worst")\n': "arg-type",
    'client.rate("ana", "alien")\n': "call-arg",
    'client.recommend("ana").items[0].caption\n': "attr-defined",
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the output of mypy for a program without errors and one with errors."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "good.py").write_text(PROGRAM)
    (folder / "wrong.py").write_text(
        "from cofactor import Client\nclient = Client('http://x', 'id.secret')\n" + "".join(WRONG)
    )
    cache = ROOT / ".mypy_cache" / "users"  # the first run takes half a minute
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(cache)]
    return subprocess.run(
        [*command, "good.py", "wrong.py"], capture_output=True, text=True, check=False, cwd=folder
    ).stdout


@pytest.mark.long
def test_a_users_program_passes_mypy_strict_and_wrong_calls_do_not(checked: str) -> None:
    assert "good.py" not in checked
    assert "Found 5 errors in 1 file" in checked
    for line, code in enumerate(WRONG.values(), start=3):
        assert f"wrong.py:{line}:" in checked
        assert f"[{code}]" in checked
