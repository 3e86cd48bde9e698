"""Run a service until it is told to stop: its workers, and the process that trains beside them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import struct
import threading
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from socket import SO_LINGER, SOL_SOCKET
from tempfile import mkdtemp
from typing import Any, ClassVar, NamedTuple

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.supervisors import Multiprocess

from cofactor.errors import ParameterError
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.worker import run_worker

__all__ = ["Patient", "listening", "make_room", "serve"]


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


GRACE = 15
"""Seconds that requests have to end when the service is told to stop."""


REST = 5.0
"""Seconds before a trainer that died is started again."""


def listening(settings: ServiceSettings) -> socket.socket:
    """The socket, bound: the address is known before anything starts. Raises ParameterError where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as problem:
        bound.close()
        raise ParameterError(f"{settings.host}:{settings.port} cannot be listened on: {problem.strerror}") from problem
    bound.set_inheritable(True)
    return bound


def serve(settings: ServiceSettings, bound: socket.socket) -> None:
    """Answer until SIGTERM or SIGINT; requests that began are answered. Workers are spawned, never forked."""
    settings.hand_over()
    make_room(settings.connections)
    numbers = mkdtemp(prefix="cofactor-metrics-") if settings.workers > 1 else None
    if numbers is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = numbers
    config = uvicorn.Config(
        "cofactor.service.api.app:worker_app",
        factory=True,
        http=Patient,
        workers=settings.workers,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    trainer = _Beside(settings) if settings.train else None
    try:
        if settings.workers > 1:
            _Workers(config, [bound]).run()
        else:
            for told in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has ended in good order
                signal.signal(told, lambda *_: None)
            uvicorn.Server(config).run([bound])
    finally:
        if trainer is not None:
            trainer.close()
        bound.close()
        if numbers is not None:
            shutil.rmtree(numbers, ignore_errors=True)


class _Workers(Multiprocess):
    """The processes that answer. One that died is replaced, and no longer counts in metrics of what is now."""

    def keep_subprocess_alive(self) -> None:
        """Start anew what died."""
        from prometheus_client.multiprocess import mark_process_dead

        before = {one.pid for one in self.processes}
        super().keep_subprocess_alive()
        for dead in before - {one.pid for one in self.processes}:
            mark_process_dead(dead)  # type: ignore[no-untyped-call]


class _Beside:
    """The trainer's process, started again where it dies, ended with the service, even where that is killed."""

    def __init__(self, settings: ServiceSettings):
        self._settings = settings
        self._ending = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="cofactor-trainer-watch", daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        while not self._ending.is_set():
            ours, theirs = spawn.Pipe()
            child = spawn.Process(target=_train, args=(self._settings.model_dump_json(), theirs), daemon=True)
            child.start()
            theirs.close()
            while child.is_alive() and not self._ending.wait(0.2):
                pass
            _end(child.is_alive, child.terminate, child.join, child.kill)
            ours.close()
            self._ending.wait(REST)

    def close(self) -> None:
        """End it: in good order, or else at once."""
        self._ending.set()
        self._watching.join()


def _end(
    is_alive: Callable[[], bool], ask: Callable[[], None], wait: Callable[[float], None], force: Callable[[], None]
) -> None:
    if is_alive():
        ask()
        wait(GRACE)
    if is_alive():
        force()
        wait(GRACE)


def _train(written: str, parent: Connection) -> None:
    """In the trainer's process. The pipe ends when the parent does, whatever ended it."""
    settings = ServiceSettings.model_validate_json(written)

    def watch() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    run_worker(settings)
