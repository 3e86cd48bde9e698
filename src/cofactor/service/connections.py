"""Connections that must get on: who never ends a request's head, or never reads an answer, is left after a while.

uvicorn itself waits for ever for a head, and for an answer to be taken. The body of a request is timed by `api.outer`.
"""

from __future__ import annotations

import os
import struct
from asyncio import TimerHandle, Transport
from functools import cache
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, ClassVar, NamedTuple

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cofactor.service.settings import ServiceSettings

__all__ = ["Patient", "make_room"]

OTHERS = 256
"""Files that a process has open beside its connections: the store's, models, logs."""

AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
"""For SO_LINGER: wait no second for the rest to be taken."""

_Plain: Any = AutoHTTPProtocol


class _Limits(NamedTuple):
    seconds: float
    most: int


@cache
def _limits() -> _Limits:
    settings = ServiceSettings.handed_over()
    return _Limits(settings.head_seconds, min(settings.connections, make_room(settings.connections)))


def make_room(connections: int) -> int:
    """Let this process, and those it starts, have so many connections; how many the system really allows."""
    if os.name == "nt":
        return connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(soft - OTHERS, 16)


class Patient(_Plain):  # type: ignore[misc]
    """uvicorn's protocol of one connection, which is cut where the other side owes something for `head_seconds`.

    The other side owes a request from the moment it connects, and from the first byte behind an answer, until the
    request's head is whole; dribbling buys no time. It also owes to take an answer that fills its buffer, or is its
    last. Where a process has more than `connections`, the one that has owed the longest is cut for each new one.
    """

    owing: ClassVar[dict[Patient, TimerHandle]] = {}
    """Who owes something in this process, the longest first, and when each is cut."""

    def connection_made(self, transport: Transport) -> None:
        """It owes a request; where there are too many, another makes room."""
        super().connection_made(transport)
        self._look()
        if len(self.connections) > _limits().most:
            next(iter(self.owing)).cut()

    def connection_lost(self, error: Exception | None) -> None:
        """It owes nothing any more."""
        self._settle()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Perhaps the head is whole now."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """The last answer of this connection has to be taken; behind another one it may rest, as uvicorn has it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._look()

    def timeout_keep_alive_handler(self) -> None:
        """It rested too long: closed once what was answered is taken."""
        super().timeout_keep_alive_handler()
        self._look()

    def pause_writing(self) -> None:
        """The answer is larger than what is taken at once."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """Most of it was taken."""
        super().resume_writing()
        self._look()

    def cut(self) -> None:
        """End the connection at once; what was not taken is thrown away, by the kernel as well."""
        self._settle()
        if self.transport.get_write_buffer_size():
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, AT_ONCE)
        self.transport.abort()

    def _look(self) -> None:
        asks = self.cycle is not None and not self.cycle.response_complete
        if asks and not self.flow.write_paused and not self.transport.is_closing():
            self._settle()
        elif self not in self.owing:
            self.owing[self] = self.loop.call_later(_limits().seconds, self.cut)

    def _settle(self) -> None:
        if (timer := self.owing.pop(self, None)) is not None:
            timer.cancel()
