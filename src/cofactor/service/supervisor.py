"""Supervisor: run the worker processes and the training process of a service until it is stopped."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import threading
from multiprocessing.connection import Connection
from tempfile import mkdtemp

import uvicorn
from uvicorn.supervisors import Multiprocess

from cofactor.errors import ParameterError
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.worker import run_worker

__all__ = ["bind_socket", "raise_file_limit", "serve"]

RESERVED_FILES = 256
"""Number of files reserved per process in addition to its connections: store, models, logs."""

GRACE_SECONDS = 15
"""Time for running requests to finish when the service is stopped, in seconds."""

RESTART_DELAY = 5.0
"""Seconds to wait before restarting a training process that died."""


def raise_file_limit(connections: int) -> int:
    """Raise the open-file limit of this process and its children, if the operating system permits it.

    Parameters
    ----------
    connections : int
        Desired number of connections.

    Returns
    -------
    int
        Number of connections that the limit allows; at most `connections`.
    """
    if os.name == "nt":
        return connections
    import resource

    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed_files = connections + RESERVED_FILES
    if soft_limit != resource.RLIM_INFINITY and soft_limit < needed_files:
        soft_limit = needed_files if hard_limit == resource.RLIM_INFINITY else min(needed_files, hard_limit)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, hard_limit))
    return (
        connections if soft_limit == resource.RLIM_INFINITY else min(connections, max(soft_limit - RESERVED_FILES, 16))
    )


def bind_socket(settings: ServiceSettings) -> socket.socket:
    """Return a socket bound to the address of the service, so that the port is known before the service starts.

    Parameters
    ----------
    settings : ServiceSettings
        `host` and `port` are used.

    Returns
    -------
    socket.socket
        The socket.

    Raises
    ------
    ParameterError
        If the address cannot be bound, for example because it is in use.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    server_socket = socket.socket(family)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server_socket.bind((settings.host, settings.port))
    except OSError as error:
        server_socket.close()
        raise ParameterError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    server_socket.set_inheritable(True)
    return server_socket


def serve(settings: ServiceSettings, server_socket: socket.socket) -> None:
    """Run the service until SIGTERM or SIGINT, then finish running requests; workers are spawned, not forked.

    Parameters
    ----------
    settings : ServiceSettings
        Settings of the service.
    server_socket : socket.socket
        Socket from `bind_socket`; closed at the end.
    """
    settings.export_to_workers()
    metrics_folder = mkdtemp(prefix="cofactor-metrics-") if settings.workers > 1 else None
    if metrics_folder is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder
    config = uvicorn.Config(
        "cofactor.service.api.app:worker_app",
        factory=True,
        workers=settings.workers,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=raise_file_limit(settings.connections) + 1,  # uvicorn rejects from this number on
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    trainer = _TrainerProcess(settings) if settings.train else None
    try:
        if settings.workers > 1:
            _Workers(config, [server_socket]).run()
        else:
            for stop in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again after a graceful shutdown
                signal.signal(stop, lambda *_: None)
            uvicorn.Server(config).run([server_socket])
    finally:
        if trainer is not None:
            trainer.close()
        server_socket.close()
        if metrics_folder is not None:
            shutil.rmtree(metrics_folder, ignore_errors=True)


class _Workers(Multiprocess):
    """Supervisor of worker processes that removes dead workers from the live metrics."""

    def keep_subprocess_alive(self) -> None:
        """Restart the worker processes that have died."""
        from prometheus_client.multiprocess import mark_process_dead

        old_pids = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in old_pids - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _TrainerProcess:
    """Training process that is restarted if it dies and stopped with the service, even if the service is killed."""

    def __init__(self, settings: ServiceSettings):
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="cofactor-trainer-watch", daemon=True)
        self._thread.start()

    def _supervise(self) -> None:
        spawn_context = multiprocessing.get_context("spawn")
        while not self._stop.is_set():
            parent_end, child_end = spawn_context.Pipe()
            child_process = spawn_context.Process(
                target=_train, args=(self._settings.model_dump_json(), child_end), daemon=True
            )
            child_process.start()
            child_end.close()
            while child_process.is_alive() and not self._stop.wait(0.2):
                pass
            for stop_process in (child_process.terminate, child_process.kill):
                if child_process.is_alive():
                    stop_process()
                    child_process.join(GRACE_SECONDS)
            parent_end.close()
            self._stop.wait(RESTART_DELAY)

    def close(self) -> None:
        """Terminate the child process, and kill it if it does not exit in time."""
        self._stop.set()
        self._thread.join()


def _train(settings_json: str, parent: Connection) -> None:
    """Run a training worker that stops when the parent process exits and thereby closes the pipe."""
    settings = ServiceSettings.model_validate_json(settings_json)

    def stop_with_parent() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_with_parent, daemon=True).start()
    run_worker(settings)
