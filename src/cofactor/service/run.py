"""Run a service until it is told to stop: its workers, and the process that trains beside them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp

import uvicorn
from uvicorn.supervisors import Multiprocess

from cofactor.errors import ParameterError
from cofactor.service.connections import Patient, make_room
from cofactor.service.settings import ServiceSettings
from cofactor.service.trainer_process import train_forever

__all__ = ["listening", "serve"]

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
    train_forever(Path(settings.data), settings.db, due=settings.due, guard=settings.guard)
