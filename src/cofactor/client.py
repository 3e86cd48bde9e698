"""HTTP client for a running service (extra `client`): typed results, and retries that never store an event twice."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.util import find_spec
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cofactor import checks
from cofactor.errors import CofactorError, MissingExtraError, ParameterError
from cofactor.results import (
    ExplainedScore,
    ExplanationMethod,
    Prediction,
    RankBy,
    Recommendation,
    RecommendedItem,
    RemovalEffect,
    ScorePart,
    SimilarItem,
    SimilarItems,
)
from cofactor.validation import validated

if TYPE_CHECKING:
    import httpx

__all__ = ["Client", "ServiceError"]

R = TypeVar("R")

RETRY_STATUSES = (408, 429, 502, 503, 504)
INITIAL_WAIT, MAX_WAIT = 0.2, 10.0
"""Bounds of the wait between two attempts, in seconds."""
EVENTS_PER_REQUEST = 1_000
"""Maximum number of events per request of `send`."""
MAX_VALUES = 1_000_000
"""Maximum length of a list argument."""


class ServiceError(CofactorError):
    """Error for a request that the service rejected or that could not reach the service.

    Parameters
    ----------
    message : str
        Error message.
    status : int
        HTTP status code; 0 if there was no response.
    request_id : str, default ""
        ID of the request, for finding it in the service log.

    Attributes
    ----------
    status : int
        HTTP status code; 0 if there was no response.
    request_id : str
        ID of the request.

    Examples
    --------
    >>> ServiceError("there is no item 'jaws'", 404, "a1").status
    404
    """

    def __init__(self, message: str, status: int, request_id: str = ""):
        self.status = status
        self.request_id = request_id
        super().__init__(message)

    def __reduce__(self) -> tuple[type[ServiceError], tuple[str, int, str]]:
        return type(self), (str(self), self.status, self.request_id)


class Client:
    """HTTP client for a cofactor service.

    Can be used as a context manager. Every method that sends a request raises ServiceError if the service rejects it
    or cannot be reached.

    Parameters
    ----------
    url : str
        Base URL of the service, such as "http://127.0.0.1:8000".
    key : str
        API key, `id.secret`.
    timeout : float, default 10.0
        Timeout for each attempt, in seconds.
    retries : int, default 5
        Maximum number of retries for a request that gets no response or one of the statuses 408, 429, 502, 503 and
        504.
    transport : httpx.BaseTransport or None, default None
        httpx transport, for tests.

    Raises
    ------
    MissingExtraError
        If httpx is not installed.
    ParameterError
        If an argument is invalid.

    Notes
    -----
    The waits between attempts grow exponentially, with jitter, and honor `Retry-After` up to 10 seconds. Retries are
    safe: each event has an idempotency key, so it is stored only once.

    Examples
    --------
    Typical use::

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
            raise ParameterError(f"url must begin with http:// or https://, not {checks.describe(url)}")
        if not (key.isascii() and key.isprintable() and key):
            # The message does not show the key: it is a secret.
            raise ParameterError("key must have the form id.secret, with only letters, digits, - and _ in each part")
        self._retries = retries
        headers = {"Authorization": f"Bearer {key}"}
        timeout = checks.finite_number("timeout", timeout, above=0)
        if transport is not None and not isinstance(transport, httpx.BaseTransport):
            raise ParameterError(f"transport must be an httpx.BaseTransport or None, not {checks.describe(transport)}")
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)
        except (httpx.InvalidURL, ValueError) as error:
            raise ParameterError(f"url is not a valid URL: {checks.describe(url)}: {error}") from error

    # Queries

    @validated
    def recommend(
        self,
        user: str | int,
        n: int = 10,
        *,
        exclude: Iterable[str | int] = (),
        min_support: int = 0,
        where: str | None = None,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
        explore: float = 0.0,
        log: bool = True,
    ) -> Recommendation:
        """Return the top n items for a user.

        Parameters
        ----------
        user : str or int
            ID of the user.
        n : int, default 10
            Number of items.
        exclude : iterable of str or int, default ()
            IDs of items to exclude, in addition to those that the user has seen.
        min_support : int, default 0
            Minimum number of ratings or events of an item.
        where : str or None, default None
            Filter expression over the metadata of the items, such as `year >= 1990 and genre contains "war"`.
        rank_by : {'mean', 'lower', 'upper'}, default "mean"
            Ranking criterion; the last two require a model that predicts distributions.
        diversity : float, default 0.0
            Strength of diversification, from 0 (rank by score alone) to 1.
        explore : float, default 0.0
            Probability that a position goes to an item with few ratings.
        log : bool, default True
            Whether the service logs the list as an impression, for later evaluation.

        Returns
        -------
        Recommendation
            The items, best first.
        """
        query = _query(n, exclude, min_support, where, rank_by, diversity, explore)
        return _recommendation(self._json("POST", "/v1/recommendations", {"user": user, "log": log, **query}))

    @validated
    def recommend_for(
        self,
        history: Mapping[Any, float],
        n: int = 10,
        *,
        exclude: Iterable[str | int] = (),
        min_support: int = 0,
        where: str | None = None,
        rank_by: RankBy = "mean",
        diversity: float = 0.0,
        explore: float = 0.0,
    ) -> Recommendation:
        """Return the top n items for a user who is not in the store, based only on their history.

        Parameters
        ----------
        history : mapping
            Ratings by item ID.
        n : int, default 10
            Number of items.
        exclude : iterable of str or int, default ()
            IDs of items to exclude, in addition to those in the history.
        min_support : int, default 0
            Minimum number of ratings or events of an item.
        where : str or None, default None
            Filter expression over the metadata of the items, such as `year >= 1990 and genre contains "war"`.
        rank_by : {'mean', 'lower', 'upper'}, default "mean"
            Ranking criterion; the last two require a model that predicts distributions.
        diversity : float, default 0.0
            Strength of diversification, from 0 (rank by score alone) to 1.
        explore : float, default 0.0
            Probability that a position goes to an item with few ratings.

        Returns
        -------
        Recommendation
            The items, best first.
        """
        if not isinstance(history, Mapping):
            raise ParameterError(f"history must be a dict that maps items to ratings, not {checks.describe(history)}")
        rated_items = [{"item": item, "value": value} for item, value in history.items()]
        query = _query(n, exclude, min_support, where, rank_by, diversity, explore)
        return _recommendation(self._json("POST", "/v1/recommendations", {"history": rated_items, **query}))

    @validated
    def predict(self, user: str | int, item: str | int) -> Prediction:
        """Return the predicted rating for a user-item pair.

        Parameters
        ----------
        user : str or int
            ID of the user.
        item : str or int
            ID of the item.

        Returns
        -------
        Prediction
            The predicted rating, with an interval if the model has one.
        """
        return _result(Prediction, self._json("GET", "/v1/predictions", query={"user": user, "item": item}))

    @validated
    def explain(self, user: str | int, item: str | int, *, method: ExplanationMethod = "removal") -> ExplainedScore:
        """Explain the score of a user-item pair by the items in the user's history.

        Parameters
        ----------
        user : str or int
            ID of the user.
        item : str or int
            ID of the item.
        method : {"removal", "contribution"}, default "removal"
            Effects of removing each item in the history on the score, or contributions that add up to the score.

        Returns
        -------
        ExplainedScore
            The score with the effects or the contributions.
        """
        body = self._json("GET", "/v1/explanations", query={"user": user, "item": item, "method": method})
        return _result(ExplainedScore, body, effects=RemovalEffect, parts=ScorePart)

    @validated
    def similar(self, item: str | int, n: int = 10) -> SimilarItems:
        """Return the items that are most similar to an item.

        Parameters
        ----------
        item : str or int
            ID of the item.
        n : int, default 10
            Number of similar items.

        Returns
        -------
        SimilarItems
            The most similar items first.
        """
        body = self._json("GET", "/v1/items/similar", query={"item": item, "n": n})
        return _result(SimilarItems, body, items=SimilarItem)

    # Events, items and users

    @validated
    def rate(self, user: str | int, item: str | int, value: float, *, key: str | None = None) -> int:
        """Store a rating.

        Parameters
        ----------
        user : str or int
            ID of the user.
        item : str or int
            ID of the item.
        value : float
            The rating.
        key : str or None, default None
            Idempotency key, which makes it safe to send the rating again after the caller crashes; None generates one.

        Returns
        -------
        int
            Sequence number of the rating.
        """
        return self._event({"user": user, "item": item, "value": value, "key": key})

    @validated
    def event(self, user: str | int, item: str | int, value: float = 1.0, *, key: str | None = None) -> int:
        """Store an event, such as a click, a play or a purchase.

        Parameters
        ----------
        user : str or int
            ID of the user.
        item : str or int
            ID of the item.
        value : float, default 1.0
            Count or amount.
        key : str or None, default None
            Idempotency key; None generates one.

        Returns
        -------
        int
            Sequence number of the event.
        """
        return self._event({"user": user, "item": item, "value": value, "kind": "event", "key": key})

    @validated
    def remove(self, user: str | int, item: str | int, *, key: str | None = None) -> int:
        """Remove all earlier ratings and events for a user-item pair.

        Parameters
        ----------
        user : str or int
            ID of the user.
        item : str or int
            ID of the item.
        key : str or None, default None
            Idempotency key; None generates one.

        Returns
        -------
        int
            Sequence number of the removal.
        """
        return self._event({"user": user, "item": item, "kind": "removal", "key": key})

    def _event(self, event: dict[str, Any]) -> int:
        return int(self._json("POST", "/v1/events", {**event, "key": event["key"] or uuid.uuid4().hex})["seq"])

    @validated
    def send(self, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Store many events, 1,000 per request.

        Parameters
        ----------
        events : iterable of mapping
            Events with user, item, value, kind, time and key. A key is generated for an event that has none, so that a
            retry does not store it twice.

        Returns
        -------
        list of dict
            The result for each event, in the same order; [] if there are no events.
        """
        keyed_events = [{**event, "key": event.get("key") or uuid.uuid4().hex} for event in _records("events", events)]
        results: list[dict[str, Any]] = []
        for start in range(0, len(keyed_events), EVENTS_PER_REQUEST):
            body = b"\n".join(_as_json("events", event) for event in keyed_events[start : start + EVENTS_PER_REQUEST])
            options = {"content": body, "headers": {"Content-Type": "application/x-ndjson"}}
            answer = _json_object(self._send("POST", "/v1/events/bulk", options))
            results += [{**line, "line": start + line["line"]} for line in answer["results"]]
        return results

    def put_items(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Store items, replacing any existing versions of the same items.

        Parameters
        ----------
        items : iterable of mapping
            Items with item, title, available and metadata.
        """
        self._json("PUT", "/v1/items", {"items": _records("items", items)})

    @validated
    def set_available(self, items: Iterable[str | int], *, available: bool) -> None:
        """Mark items as available or unavailable; unavailable items are not recommended.

        Parameters
        ----------
        items : iterable of str or int
            IDs of the items.
        available : bool
            Whether they are available.
        """
        self._json("POST", "/v1/items/availability", {"items": _ids("items", items), "available": available})

    @validated
    def erase(self, user: str | int) -> None:
        """Erase a user and all their data, immediately and permanently.

        Parameters
        ----------
        user : str or int
            ID of the user.
        """
        self._json("DELETE", "/v1/users", query={"user": user})

    # Models

    def models(self) -> list[dict[str, Any]]:
        """Return all models, ordered by version.

        Returns
        -------
        list of dict
            One dict per model; [] if there is none.
        """
        models: list[dict[str, Any]] = self._json("GET", "/v1/models")["models"]
        return models

    def train(self, **spec: Any) -> int:
        """Enqueue a job that trains a new model.

        Parameters
        ----------
        **spec
            Training specification, as in the body of `POST /v1/models/train`; if empty, the service's default is used.

        Returns
        -------
        int
            ID of the job.
        """
        return int(self._json("POST", "/v1/models/train", spec or {})["id"])

    @validated
    def job(self, job: int) -> dict[str, Any]:
        """Return the state and progress of a job.

        Parameters
        ----------
        job : int
            ID of the job.

        Returns
        -------
        dict
            The job.
        """
        return self._json("GET", f"/v1/jobs/{job}")

    @validated
    def promote(self, version: int) -> None:
        """Promote a model version, which makes it the active one.

        Parameters
        ----------
        version : int
            Version of the model.
        """
        self._json("POST", f"/v1/models/{version}/promote")

    # HTTP

    def _json(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str | int] | None = None
    ) -> dict[str, Any]:
        """Send a request with a JSON body and return the JSON object in the response."""
        options: dict[str, Any] = {"params": query}
        for name, value in (query or {}).items():
            _as_json(name, value)
        if body is not None:
            parts = (f"{json.dumps(name)}: ".encode() + _as_json(name, value) for name, value in body.items())
            options["content"] = b"{" + b", ".join(parts) + b"}"
            options["headers"] = {"Content-Type": "application/json"}
        return _json_object(self._send(method, path, options))

    def _send(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        """Send a request, with retries, and return the successful response."""
        import httpx

        wait_seconds, retries_left = INITIAL_WAIT, self._retries
        while True:
            retry_after = 0.0
            try:
                response = self._http.request(method, path, **options)
            except httpx.RequestError as problem:
                error = ServiceError(
                    f"{self._http.base_url} cannot be reached: {str(problem) or type(problem).__name__}", 0
                )
            except httpx.InvalidURL as problem:
                raise ParameterError(
                    f"{' or '.join(options['params'] or ['url'])} does not fit into a URL: {problem}"
                ) from None
            else:
                if response.is_success:
                    return response
                error = _service_error(response)
                if response.status_code not in RETRY_STATUSES:
                    raise error
                retry_after = _seconds(response.headers.get("Retry-After", ""))
            if retries_left == 0:
                raise error
            time.sleep(max(retry_after, wait_seconds * random.uniform(0.5, 1.0)))
            wait_seconds, retries_left = min(2 * wait_seconds, MAX_WAIT), retries_left - 1

    def close(self) -> None:
        """Close the HTTP connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _query(
    n: int,
    exclude: Iterable[str | int],
    min_support: int,
    where: str | None,
    rank_by: RankBy,
    diversity: float,
    explore: float,
) -> dict[str, Any]:
    """Return the request fields that all recommendation queries share."""
    filters = {"n": n, "exclude": _ids("exclude", exclude), "min_support": min_support, "where": where}
    return {**filters, "rank_by": rank_by, "diversity": diversity, "explore": explore}


def _ids(name: str, ids: Iterable[str | int]) -> list[str | int]:
    """Return the IDs as a list; raise ParameterError for a single ID or any other type."""
    elements = (
        _as_list(name, ids) if isinstance(ids, Iterable) and not isinstance(ids, str | bytes | Mapping) else [None]
    )
    if any(isinstance(id_, bool) or not isinstance(id_, str | int) for id_ in elements):
        raise ParameterError(f"{name} must be a list of IDs (strings or integers), not {checks.describe(ids)}")
    return elements  # type: ignore[return-value]


def _as_list(name: str, values: Iterable[Any]) -> list[Any]:
    """Return the values as a list; raise ParameterError if there are too many for one request."""
    try:
        elements = list(islice(values, MAX_VALUES + 1))
    except TypeError:  # a zero-dimensional array
        elements = [None]
    if len(elements) > MAX_VALUES:
        raise ParameterError(f"{name} must contain at most {MAX_VALUES:,} values in one request")
    return elements


def _records(name: str, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the records as a list of dicts; raise ParameterError for a single dict or any other type."""
    is_list = isinstance(records, Iterable) and not isinstance(records, str | bytes | Mapping)
    elements = _as_list(name, records) if is_list else [0]
    if not all(isinstance(record, Mapping) for record in elements):
        raise ParameterError(f"{name} must be a list of dicts, not {checks.describe(records)}")
    return [dict(record) for record in elements]  # type: ignore[arg-type]


def _as_json(name: str, value: Any) -> bytes:
    """Encode a value as JSON; raise ParameterError if JSON cannot represent it."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(f"{name} cannot be sent as JSON: {checks.describe(value)}: {error}") from error


def _json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in a response; raise ServiceError if the body is anything else."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ServiceError(f"the server at {response.url.host} is not a cofactor service", response.status_code)
    return body


def _recommendation(body: Mapping[str, Any]) -> Recommendation:
    return _result(Recommendation, body, items=RecommendedItem)


def _result(cls: type[R], body: Mapping[str, Any], **item_types: type) -> R:
    """Return a result with the members of a JSON object, and tuples of results for its lists; ignore other members."""
    try:
        values = {field.name: body[field.name] for field in fields(cls)}  # type: ignore[arg-type]
    except KeyError as missing:
        raise ServiceError(
            f"the response has no member {missing}; use a client of the same version as the service", 200
        ) from None
    lists: dict[str, Any] = {
        name: tuple(_result(item_type, item) for item in values[name]) for name, item_type in item_types.items()
    }
    return cls(**values | lists)


def _service_error(response: httpx.Response) -> ServiceError:
    """Return the error for an unsuccessful response."""
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    request_id = response.headers.get("X-Request-ID", "")
    return ServiceError(f"{response.status_code}: {detail}", response.status_code, request_id)


def _seconds(text: str) -> float:
    """Return the seconds in a Retry-After header, at most MAX_WAIT; 0 for a date or a missing header."""
    return min(float(text), MAX_WAIT) if text.isdigit() else 0.0
