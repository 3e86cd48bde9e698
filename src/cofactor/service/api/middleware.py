"""What surrounds every request: its id, its key, its size, its time, and the line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import secrets
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cofactor.errors import CofactorError
from cofactor.service.api.auth import unauthorized
from cofactor.service.api.dependencies import Service
from cofactor.service.api.errors import Problem, of_error, response_of
from cofactor.service.api.metrics import count_request
from cofactor.service.settings import ServiceSettings

__all__ = ["Body", "Outer", "too_large"]


DROPPED = 65_536
"""Bytes of a body that nobody wants which are taken off the wire nevertheless, so that the connection can go on."""


def too_large(most: int) -> Problem:
    """A body that is not read to its end."""
    return Problem(413, f"a request has at most {most:,} bytes", {"Connection": "close"})


class Body:
    """The messages of a request, until they are too many or come too slowly."""

    def __init__(self, receive: Receive, settings: ServiceSettings, headers: dict[bytes, bytes]):
        self._receive = receive
        self._most = settings.max_body
        self._end = asyncio.get_running_loop().time() + settings.body_seconds
        self._size, self._done = 0, False
        length = headers.get(b"content-length", b"0")
        self._is_small = b"transfer-encoding" not in headers and length.isdigit() and int(length) <= DROPPED

    @property
    def goes_on(self) -> bool:
        """Whether much of it may still be to come."""
        return not (self._done or self._is_small)

    async def read(self) -> Message:
        """The next part. Raises a Problem, 408 or 413."""
        if self._done:  # what comes behind the body is only that the client went
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "the request's body did not come in time", {"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise too_large(self._most)
        self._done = not message.get("more_body", False)
        return message


OPEN = ("/health/", "/openapi.json")
"""Paths that need no key."""


SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


SECRET = 16
"""Characters from which on a part of a key is one."""


_log = logging.getLogger("cofactor.requests")


class Outer:
    """ASGI middleware around the application.

    Before anything is read: the key (401), how much it asks for (429), the announced size (413). While the body is
    read: its true size (413) and how long it takes (408). Afterwards: the request's id in the answer, a line in the
    log, a count in the metrics. Neither of these ever holds a key, a query or a body. Where much of a body was not
    read, the connection ends with the answer.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        began, status = time.perf_counter(), 500
        service: Service = scope["app"].state.service
        body = Body(receive, service.settings, headers)

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
                if body.goes_on and (b"connection", b"close") not in told:
                    told.append((b"connection", b"close"))
                message["headers"] = told
            await send(message)

        try:
            try:
                await self._admit(service, scope, headers)
            except Problem as problem:
                await response_of(problem)(scope, receive, tell)
            else:
                await self.app(scope, body.read, tell)
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


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's own, unless it is odd, or holds a piece of the key: it will stand in the log."""
    given = headers.get(b"x-request-id", b"")
    is_secret = len(given) >= SECRET and given in headers.get(b"authorization", b"")
    return given.decode() if SANE_ID.fullmatch(given) and not is_secret else secrets.token_hex(8)


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
            "process": os.getpid(),
        }
        _log.info(json.dumps(line))
