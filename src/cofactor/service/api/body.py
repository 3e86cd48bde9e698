"""A request's body on its way in: how large it may be, how long it may take, and what becomes of one nobody wants."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from cofactor.service.api.problems import Problem
from cofactor.service.settings import ServiceSettings

__all__ = ["Body", "too_large"]

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
