"""Spark sessions and standalone clusters for the tests of `cofactor.cluster`; they need Java."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cofactor.cluster.session import spark_session
from tests.support.spark_cluster import StandaloneCluster, standalone_cluster


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


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[StandaloneCluster]:
    """Standalone cluster with a master and two workers of one core each."""
    with standalone_cluster(tmp_path / "cluster") as cluster:
        yield cluster
