"""Batch jobs on a standalone cluster, and of a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

import cofactor
from cofactor import Recommender, cluster
from cofactor.cluster.session import spark_session
from cofactor.datasets.synthetic import SyntheticConfig, generate


def saved_model(folder: Path, *, n_users: int, n_items: int) -> tuple[Recommender, Path]:
    config = SyntheticConfig(n_users=n_users, n_items=n_items, n_ratings=20 * n_users)
    recommender = Recommender.fit(cofactor.ItemKNN(k=20), generate(config).interactions.to_events(min_rating=4))
    recommender.save(folder / "model.cofactor")
    return recommender, folder / "model.cofactor"


def test_workers_of_a_cluster_get_the_model(standalone: Any, tmp_path: Path) -> None:
    """The second model has the name of the first one, and the session goes on."""
    settings = {"spark.executor.memory": "512m", "spark.driver.memory": "512m"}
    with spark_session(standalone.master, settings=settings):
        for n_users in (600, 500):
            recommender, model = saved_model(tmp_path, n_users=n_users, n_items=300)
            result = cluster.recommend_all(model, tmp_path / "lists", partitions=6)
            model.unlink()
            assert pl.read_parquet(tmp_path / "lists").equals(recommender.recommend_all(10))
            assert result.users == n_users
    sent = list(standalone.folder.rglob("model-*.cofactor"))
    assert len(sent) == 4  # each worker has received both models


def test_killed_process_leaves_the_earlier_result(tmp_path: Path) -> None:
    """The process is killed while it replaces its first result; another one replaces it then."""
    recommender, model = saved_model(tmp_path, n_users=3000, n_items=1500)
    output = tmp_path / "lists"
    output.mkdir()

    def start(*jobs: str) -> subprocess.Popen[bytes]:
        calls = [f"cluster.recommend_all({str(model)!r}, {str(output)!r}, {job})" for job in jobs]
        program = f"""
from cofactor import cluster
from cofactor.cluster.session import spark_session
with spark_session("local[1]"):
    {"; ".join(calls)}
"""
        return subprocess.Popen([sys.executable, "-c", program], start_new_session=True)

    process = start("n=2, partitions=1", "n=1000, partitions=1000")
    while process.poll() is None and len(list(tmp_path.glob(".lists.*.new/part*"))) < 5:
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert pl.read_parquet(output).equals(recommender.recommend_all(2))
    assert start("n=3, partitions=2").wait(timeout=300) == 0
    assert pl.read_parquet(output).equals(recommender.recommend_all(3))
