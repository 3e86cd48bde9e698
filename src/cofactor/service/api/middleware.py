"""Request middleware: request IDs, API keys, rate and size limits, logging and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import secrets
import time
from collections.abc import Set
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cofactor.errors import CofactorError
from cofactor.service.api.auth import unauthorized
from cofactor.service.api.dependencies import Service
from cofactor.service.api.errors import Problem, describe_problem, problem_response
from cofactor.service.api.metrics import count_request
from cofactor.service.settings import ServiceSettings

__all__ = ["LimitedBody", "RequestMiddleware", "body_too_large"]

SMALL_BODY = 65_536
"""Maximum size in bytes of a rejected body that is still read, so that the connection can be reused."""

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

MIN_SECRET_LENGTH = 16
"""Minimum length of a substring of a key that is treated as secret."""

_log = logging.getLogger("cofactor.requests")


def body_too_large(limit: int) -> Problem:
    """Return the error with status 413 for a request body larger than `limit` bytes, without reading the whole body."""
    return Problem(413, f"the request body must be at most {limit:,} bytes", {"Connection": "close"})


class LimitedBody:
    """Reader of a request's ASGI messages that enforces the size and time limits from the settings.

    Parameters
    ----------
    receive : callable
        ASGI receive function.
    settings : ServiceSettings
        `max_body` and `body_seconds` are used.
    headers : dict of bytes to bytes
        Headers of the request.
    """

    def __init__(self, receive: Receive, settings: ServiceSettings, headers: dict[bytes, bytes]):
        self._receive = receive
        self._limit = settings.max_body
        self._deadline = asyncio.get_running_loop().time() + settings.body_seconds
        self._size, self._is_complete = 0, False
        length = headers.get(b"content-length", b"0")
        self._is_small = b"transfer-encoding" not in headers and length.isdigit() and int(length) <= SMALL_BODY

    @property
    def has_more(self) -> bool:
        """Whether a large part of the request body may still be unread."""
        return not (self._is_complete or self._is_small)

    async def read(self) -> Message:
        """Return the next message of the request.

        Raises
        ------
        Problem
            408 if the body takes too long, 413 if it is too large.
        """
        if self._is_complete:  # only the disconnect of the client can follow
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "the request body did not arrive in time", {"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise body_too_large(self._limit)
        self._is_complete = not message.get("more_body", False)
        return message


class RequestMiddleware:
    """ASGI middleware that checks API keys, enforces rate limits, and logs and counts requests.

    Before the body is read, the key (401), its rate limit (429) and the declared size (413) are checked; while it is
    read, its size (413) and time (408). Afterwards, the request ID is added to the response, and the request is logged
    and counted, without keys, queries or bodies. If a large part of a body was not read, the connection is closed after
    the response.

    Parameters
    ----------
    app : callable
        ASGI application.
    public_paths : set of str
        Paths that require no key.
    """

    def __init__(self, app: ASGIApp, public_paths: Set[str]):
        self.app = app
        self.public_paths = public_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        start, status = time.perf_counter(), 500
        service: Service = scope["app"].state.service
        body = LimitedBody(receive, service.settings, headers)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response_headers = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
                if body.has_more and (b"connection", b"close") not in response_headers:
                    response_headers.append((b"connection", b"close"))
                message["headers"] = response_headers
            await send(message)

        try:
            try:
                if scope["path"] not in self.public_paths:
                    await _admit(service, scope, headers)
            except Problem as problem:
                await problem_response(problem)(scope, receive, send_with_id)
            else:
                await self.app(scope, body.read, send_with_id)
        finally:
            _record_request(scope, request_id, status, time.perf_counter() - start)


async def _admit(service: Service, scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Check the key, its rate limit and the declared size of the body."""
    scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not text or len(text) > 200:
        raise unauthorized()
    key = service.keys.cached(text)
    if key is None:
        try:
            key = await service.run(service.keys.look_up, text)
        except CofactorError as error:
            raise describe_problem(error) from None
    if key is None:
        raise unauthorized()
    scope["cofactor.key"] = key
    if wait_seconds := service.buckets.take(key.id, time.monotonic()):
        raise Problem(429, "too many requests with this key", {"Retry-After": str(math.ceil(wait_seconds))})
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > service.settings.max_body:
        raise body_too_large(service.settings.max_body)


def _request_id(headers: dict[bytes, bytes]) -> str:
    """Return the request ID sent by the client, or a new one if it is malformed or contains part of the key."""
    client_id = headers.get(b"x-request-id", b"")
    contains_key = len(client_id) >= MIN_SECRET_LENGTH and client_id in headers.get(b"authorization", b"")
    return client_id.decode() if REQUEST_ID.fullmatch(client_id) and not contains_key else secrets.token_hex(8)


def _record_request(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    """Count and log a request."""
    route = getattr(scope.get("route"), "path", "none")
    count_request(scope["method"], route, status, seconds)
    if _log.isEnabledFor(logging.INFO):
        key = scope.get("cofactor.key")
        line: dict[str, Any] = {
            "request": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "key": None if key is None else key.id,
            "process": os.getpid(),
        }
        _log.info(json.dumps(line))
