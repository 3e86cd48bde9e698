"""Spark sessions and standalone clusters for the tests of `cofactor.cluster`; they need Java."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cofactor.cluster.session import spark_session


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are long, because a session takes seconds to start, and need Java."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.xdist_group("spark"))
            if shutil.which("java") is None:
                item.add_marker(pytest.mark.skip(reason="Java is not installed"))


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Session with two threads of this machine."""
    with spark_session("local[2]", settings={"spark.sql.shuffle.partitions": "4"}) as session:
        yield session


@dataclass
class StandaloneCluster:
    """Master and workers as processes on the loopback interface."""

    folder: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def master(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    def start(self, name: str, *arguments: str) -> None:
        import pyspark

        home = Path(pyspark.__file__).parent
        environment = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable}
        environment |= {"SPARK_WORKER_DIR": str(self.folder / name), "SPARK_LOCAL_IP": "127.0.0.1"}
        log = (self.folder / f"{name}.log").open("wb")
        command = [str(home / "bin" / "spark-class"), *arguments]
        self.processes[name] = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )

    def start_worker(self, name: str) -> None:
        worker = "org.apache.spark.deploy.worker.Worker"
        self.start(
            name, worker, "--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", "0", self.master
        )

    def kill(self, name: str) -> None:
        """Kill a process and its children at once, as a machine that fails."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_for(self, text: str, name: str) -> None:
        for _ in range(600):
            if text in (self.folder / f"{name}.log").read_text(errors="replace"):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / f"{name}.log").read_text(errors="replace")[-2000:])


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[StandaloneCluster]:
    """Standalone cluster with a master and two workers of one core each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = StandaloneCluster(tmp_path / "cluster", port)
    cluster.folder.mkdir()
    try:
        master = "org.apache.spark.deploy.master.Master"
        cluster.start("master", master, "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
        cluster.wait_for("New state: ALIVE", "master")
        for name in ("worker-1", "worker-2"):
            cluster.start_worker(name)
        for name in ("worker-1", "worker-2"):
            cluster.wait_for("Successfully registered with master", name)
        yield cluster
    finally:
        for name in list(cluster.processes):
            cluster.kill(name)
