"""A small client of a running service (extra `client`): typed, and safe to retry."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from cofactor import checks
from cofactor.errors import CofactorError, MissingExtraError, ParameterError
from cofactor.validation import validated

if TYPE_CHECKING:
    import httpx

__all__ = ["Client", "Recommendation", "Recommendations", "ServiceError"]

By: TypeAlias = Literal["mean", "cautious", "optimistic"]
"""What a list is ordered by: the last two need a model that predicts distributions."""

AGAIN = (408, 429, 502, 503, 504)
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0
LINES = 1_000
MOST_VALUES = 1_000_000
"""The most values of a list in one call."""
"""Events that `send` puts into one request."""


class ServiceError(CofactorError):
    """What the service refused, or that it could not be reached.

    Attributes:

        status: HTTP's, 0 where there was no answer.
        request: the request's id, by which the service's log tells more.

    >>> ServiceError("there is no item 'jaws'", 404, "a1").status
    404
    """

    def __init__(self, message: str, status: int, request: str = ""):
        self.status = status
        self.request = request
        super().__init__(message)

    def __reduce__(self) -> tuple[type[ServiceError], tuple[str, int, str]]:
        return type(self), (str(self), self.status, self.request)


@dataclass(frozen=True)
class Recommendation:
    """One place of a list.

    score: None where it was explored. answered_by: "model", "popularity" where the model has no evidence, or
    "exploration".
    """

    item: str
    rank: int
    score: float | None
    answered_by: str
    title: str | None
    explored: bool
    propensity: float


@dataclass(frozen=True)
class Recommendations:
    """A list, best first; the model's version, what answered, and whether the newest events may be missing."""

    model: int
    answered_by: str
    stale: bool
    items: tuple[Recommendation, ...]


class Client:
    """Speaks with a service.

    url: where it listens. key: `id.secret`. timeout: seconds for one try. retries: how often a request that got no
    answer, or was told to come back, is sent again; waits grow, and are at least what the service asks for. Whatever is
    sent again is safe to: events carry a key, so that none is stored twice. Methods raise ServiceError.

        client = cofactor.Client("http://127.0.0.1:8000", key)
        client.rate("ana", "alien", 5)
        client.recommend("ana").items[0].item

    >>> import httpx
    >>> def service(request):
    ...     return httpx.Response(201, json={"seq": 1, "duplicate": False})
    >>> with Client("http://127.0.0.1:8000", "id.secret", transport=httpx.MockTransport(service)) as client:
    ...     client.rate("ana", "alien", 5)
    1
    """

    def __init__(self, url: str, key: str, *, timeout: float = 10.0, retries: int = 5, transport: Any = None):
        if find_spec("httpx") is None:
            raise MissingExtraError('the client needs httpx, which is not installed: pip install "cofactor[client]"')
        import httpx

        checks.text("url", url)
        checks.text("key", key)
        retries = checks.whole_number("retries", retries, low=0)
        if not url.startswith(("http://", "https://")):
            raise ParameterError(f"url must begin with http:// or https://, not {checks.shown(url)}")
        if not (key.isascii() and key.isprintable() and key):
            raise ParameterError("key must be id.secret, of letters, digits, - and _")  # the key itself is not shown
        self._retries = retries
        headers = {"Authorization": f"Bearer {key}"}
        timeout = checks.finite_number("timeout", timeout, above=0)
        if transport is not None and not isinstance(transport, httpx.BaseTransport):
            raise ParameterError(f"transport must be a transport of httpx or None, not {checks.shown(transport)}")
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)
        except (httpx.InvalidURL, ValueError) as problem:
            raise ParameterError(f"url is no address of a service: {checks.shown(url)}: {problem}") from problem

    # asking

    @validated
    def recommend(
        self,
        user: str | int,
        n: int = 10,
        *,
        exclude: Iterable[str | int] = (),
        where: Mapping[str, Any] | None = None,
        by: By = "mean",
        diversity: float = 0.0,
        explore: float = 0.0,
        log: bool = True,
    ) -> Recommendations:
        """The n best items of a user.

        exclude: items to leave out, beside what the user rated. where: metadata that items must have. diversity: from
        0, the plain order, to 1. explore: the chance of each place to go to an item that few rated. log: whether what
        is shown is kept for later evaluation.
        """
        wish = _wish(n, exclude, where, by, diversity, explore)
        return _recommendations(self._json("POST", "/v1/recommendations", {"user": user, "log": log, **wish}))

    @validated
    def recommend_for(
        self,
        history: Mapping[Any, float],
        n: int = 10,
        *,
        exclude: Iterable[str | int] = (),
        where: Mapping[str, Any] | None = None,
        by: By = "mean",
        diversity: float = 0.0,
        explore: float = 0.0,
    ) -> Recommendations:
        """The n best items of somebody known by this history alone, item and rating; otherwise as `recommend`."""
        if not isinstance(history, Mapping):
            raise ParameterError(f"history must be a dict of items and ratings, not {checks.shown(history)}")
        rated = [{"item": item, "value": value} for item, value in history.items()]
        wish = _wish(n, exclude, where, by, diversity, explore)
        return _recommendations(self._json("POST", "/v1/recommendations", {"history": rated, **wish}))

    @validated
    def predict(self, user: str | int, item: str | int) -> float:
        """The rating that a user would give an item."""
        return float(self._json("GET", "/v1/predictions", query={"user": user, "item": item})["prediction"])

    @validated
    def explain(self, user: str | int, item: str | int) -> list[dict[str, Any]]:
        """The parts of a score: part, item, value, term, title."""
        parts: list[dict[str, Any]] = self._json("GET", "/v1/explanations", query={"user": user, "item": item})["parts"]
        return parts

    @validated
    def similar(self, item: str | int, n: int = 10) -> list[dict[str, Any]]:
        """Items liked by the same people: item, rank, score, title."""
        items: list[dict[str, Any]] = self._json("GET", "/v1/items/similar", query={"item": item, "n": n})["items"]
        return items

    # telling

    @validated
    def rate(self, user: str | int, item: str | int, value: float, *, key: str | None = None) -> int:
        """Keep a rating; its number. key: of your own, to send the same again after your process was killed."""
        return self._event({"user": user, "item": item, "value": value, "key": key})

    @validated
    def event(self, user: str | int, item: str | int, value: float = 1.0, *, key: str | None = None) -> int:
        """Keep a click, a play, a purchase; its number."""
        return self._event({"user": user, "item": item, "value": value, "kind": "event", "key": key})

    @validated
    def remove(self, user: str | int, item: str | int, *, key: str | None = None) -> int:
        """What was told of this pair until now is gone; the removal's number."""
        return self._event({"user": user, "item": item, "kind": "removal", "key": key})

    def _event(self, event: dict[str, Any]) -> int:
        return int(self._json("POST", "/v1/events", {**event, "key": event["key"] or uuid.uuid4().hex})["seq"])

    @validated
    def send(self, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Keep many events, as dicts of user, item, value, kind, time, key; how each fared, in their order.

        Each without a key gets one, so that what is sent again is stored once.
        """
        told = _records("events", events)
        keyed = [{**event, "key": event.get("key") or uuid.uuid4().hex} for event in told]
        fared: list[dict[str, Any]] = []
        for start in range(0, len(keyed), LINES):
            body = b"\n".join(_as_json("events", event) for event in keyed[start : start + LINES])
            sent = {"content": body, "headers": {"Content-Type": "application/x-ndjson"}}
            answer = _read(self._sent("POST", "/v1/events/bulk", sent))
            fared += [{**line, "line": start + line["line"]} for line in answer["results"]]
        return fared

    def put_items(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Keep items, as dicts of item, title, available, metadata, each in place of what was known."""
        self._json("PUT", "/v1/items", {"items": _records("items", items)})

    @validated
    def set_available(self, items: Iterable[str | int], *, available: bool) -> None:
        """Say of these items whether they can be had."""
        self._json("POST", "/v1/items/availability", {"items": _ids("items", items), "available": available})

    @validated
    def forget(self, user: str | int) -> None:
        """Forget a user, at once and for good."""
        self._json("DELETE", "/v1/users", query={"user": user})

    # models

    def models(self) -> list[dict[str, Any]]:
        """Every model, by version."""
        models: list[dict[str, Any]] = self._json("GET", "/v1/models")["models"]
        return models

    def train(self, **spec: Any) -> int:
        """Ask for a new model; the number of the job."""
        return int(self._json("POST", "/v1/models/train", spec or {})["id"])

    @validated
    def job(self, job: int) -> dict[str, Any]:
        """How far a job is."""
        return self._json("GET", f"/v1/jobs/{job}")

    @validated
    def promote(self, version: int) -> None:
        """Let this model answer."""
        self._json("POST", f"/v1/models/{version}/promote")

    # the wire

    def _json(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str | int] | None = None
    ) -> dict[str, Any]:
        sent: dict[str, Any] = {"params": query}
        for name, value in (query or {}).items():
            _as_json(name, value)
        if body is not None:
            parts = (f"{json.dumps(name)}: ".encode() + _as_json(name, value) for name, value in body.items())
            sent["content"] = b"{" + b", ".join(parts) + b"}"
            sent["headers"] = {"Content-Type": "application/json"}
        return _read(self._sent(method, path, sent))

    def _sent(self, method: str, path: str, sent: Mapping[str, Any]) -> httpx.Response:
        import httpx

        wait, left = FIRST_WAIT, self._retries
        while True:
            asked = 0.0
            try:
                answer = self._http.request(method, path, **sent)
            except httpx.RequestError as problem:
                error = ServiceError(
                    f"{self._http.base_url} cannot be reached: {str(problem) or type(problem).__name__}", 0
                )
            except httpx.InvalidURL as problem:
                raise ParameterError(
                    f"{' or '.join(sent['params'] or ['url'])} does not fit into an address: {problem}"
                ) from None
            else:
                if answer.is_success:
                    return answer
                error = _refused(answer)
                if answer.status_code not in AGAIN:
                    raise error
                asked = _seconds(answer.headers.get("Retry-After", ""))
            if left == 0:
                raise error
            time.sleep(max(asked, wait * random.uniform(0.5, 1.0)))
            wait, left = min(2 * wait, LONGEST_WAIT), left - 1

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wish(
    n: int,
    exclude: Iterable[str | int],
    where: Mapping[str, Any] | None,
    by: By,
    diversity: float,
    explore: float,
) -> dict[str, Any]:
    told = {"n": n, "exclude": _ids("exclude", exclude), "where": dict(where or {})}
    return {**told, "by": by, "diversity": diversity, "explore": explore}


def _ids(name: str, ids: Iterable[str | int]) -> list[str | int]:
    """The ids as a list. Raises ParameterError for a single one and for anything else."""
    listed = _listed(name, ids) if isinstance(ids, Iterable) and not isinstance(ids, str | bytes | Mapping) else [None]
    if any(isinstance(one, bool) or not isinstance(one, str | int) for one in listed):
        raise ParameterError(f"{name} must be a list of ids, which are texts or integers, not {checks.shown(ids)}")
    return listed  # type: ignore[return-value]


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    """The values as a list. Raises ParameterError for more than a request can hold."""
    try:
        listed = list(islice(values, MOST_VALUES + 1))
    except TypeError:  # an array without axes
        listed = [None]
    if len(listed) > MOST_VALUES:
        raise ParameterError(f"{name} must hold at most {MOST_VALUES:,} values in one request")
    return listed


def _records(name: str, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Dicts as a list. Raises ParameterError for a single one and for anything else."""
    is_list = isinstance(records, Iterable) and not isinstance(records, str | bytes | Mapping)
    listed = _listed(name, records) if is_list else [0]
    if not all(isinstance(one, Mapping) for one in listed):
        raise ParameterError(f"{name} must be a list of dicts, not {checks.shown(records)}")
    return [dict(one) for one in listed]  # type: ignore[arg-type]


def _as_json(name: str, value: Any) -> bytes:
    """The value as JSON. Raises ParameterError where JSON has no such value."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise ParameterError(f"{name} cannot be sent as JSON: {checks.shown(value)}: {problem}") from problem


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServiceError(f"what answers at {answer.url.host} is no service of cofactor", answer.status_code)
    return found


def _recommendations(found: Mapping[str, Any]) -> Recommendations:
    names = [known.name for known in fields(Recommendation)]  # a newer service may tell more
    items = tuple(Recommendation(**{name: one[name] for name in names}) for one in found["items"])
    return Recommendations(found["model"], found["answered_by"], found["stale"], items)


def _refused(answer: httpx.Response) -> ServiceError:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase
    return ServiceError(f"{answer.status_code}: {detail}", answer.status_code, answer.headers.get("X-Request-ID", ""))


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_WAIT) if text.isdigit() else 0.0
