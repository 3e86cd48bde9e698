"""What surrounds every request: its id, its key, its size, its time, and the line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import secrets
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cofactor.errors import CofactorError
from cofactor.service.api.access import unauthorized
from cofactor.service.api.metrics import count_request
from cofactor.service.api.problems import Problem, of_error, response_of
from cofactor.service.api.state import Service

__all__ = ["Outer"]

OPEN = ("/health/", "/openapi.json")
"""Paths that need no key."""

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("cofactor.requests")


class Outer:
    """ASGI middleware around the application.

    Before anything is read: the key (401), how much it asks for (429), the announced size (413). While the body is
    read: its true size (413) and how long it takes (408). Afterwards: the request's id in the answer, a line in the
    log, a count in the metrics. Neither of these ever holds a key, a query or a body.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if SANE_ID.fullmatch(given) else secrets.token_hex(8)
        began, status = time.perf_counter(), 500

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        service: Service = scope["app"].state.service
        try:
            try:
                await self._admit(service, scope, headers)
            except Problem as problem:
                await response_of(problem)(scope, receive, tell)
            else:
                await self.app(scope, _measured(receive, service), tell)
        finally:
            _note(scope, request_id, status, time.perf_counter() - began)

    async def _admit(self, service: Service, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if scope["path"].startswith(OPEN):
            return
        kind, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not text or len(text) > 200:
            raise unauthorized()
        key = service.keys.known(text)
        if key is None:
            try:
                key = await service.run(service.keys.look_up, text)
            except CofactorError as error:
                raise of_error(error) from None
        if key is None:
            raise unauthorized()
        scope["cofactor.key"] = key
        if wait := service.buckets.take(key.id, time.monotonic()):
            raise Problem(429, "this key asks for too much", {"Retry-After": str(math.ceil(wait))})
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > service.settings.max_body:
            raise too_large(service.settings.max_body)


def too_large(most: int) -> Problem:
    """A body that is not read to its end."""
    return Problem(413, f"a request has at most {most:,} bytes", {"Connection": "close"})


def _measured(receive: Receive, service: Service) -> Receive:
    """The same messages, until they are too many or come too slowly."""
    size, most = 0, service.settings.max_body
    end = asyncio.get_running_loop().time() + service.settings.body_seconds
    done = False

    async def read() -> Message:
        nonlocal size, done
        if done:  # what comes behind the body is only that the client went
            return await receive()
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise Problem(408, "the request's body did not come in time", {"Connection": "close"}) from None
        size += len(message.get("body", b""))
        done = not message.get("more_body", False)
        if size > most:
            raise too_large(most)
        return message

    return read


def _note(scope: Scope, request_id: str, status: int, seconds: float) -> None:
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
        }
        _log.info(json.dumps(line))
