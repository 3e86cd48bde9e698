"""A standalone Spark cluster: a master and workers as processes on the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class StandaloneCluster:
    """Master and workers as processes on the loopback interface."""

    folder: Path
    port: int
    memory: str = "1g"
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
            name,
            worker,
            "--host",
            "127.0.0.1",
            "--cores",
            "1",
            "--memory",
            self.memory,
            "--webui-port",
            "0",
            self.master,
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


@contextmanager
def standalone_cluster(folder: Path, *, memory: str = "1g") -> Iterator[StandaloneCluster]:
    """Start a master and two workers of one core each, and kill them at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = StandaloneCluster(folder, port, memory)
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
