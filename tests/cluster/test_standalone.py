"""A standalone cluster: a master and two workers as processes on the loopback interface, one of which is killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cofactor
from cofactor import Recommender, Split
from cofactor.cluster import fit
from cofactor.datasets.synthetic import MOVIELENS_1M_SHAPE, generate
from cofactor.estimators import Epoch
from tests.support.spark_cluster import StandaloneCluster

MEGABYTES = {"spark.driver.memory": "600m", "spark.executor.memory": "700m", "spark.executor.cores": "1"}


@pytest.fixture(scope="module")
def split() -> Split:
    """A million ratings, of which a tenth are held out."""
    return cofactor.split_random(generate(MOVIELENS_1M_SHAPE, seed=0).interactions, test=0.1, seed=0)


def rmse(recommender: Recommender, split: Split) -> cofactor.Interval:
    return cofactor.evaluate.score(recommender, split, label="model").metrics["rmse"]  # type: ignore[no-any-return]


def test_a_killed_worker_does_not_change_the_result(
    standalone: StandaloneCluster, split: Split, tmp_path: Path
) -> None:
    path, work = tmp_path / "ratings.parquet", tmp_path / "work"
    split.train.frame().select("user", "item", "value").write_parquet(path, row_group_size=100_000)
    estimator = cofactor.ExplicitALS(factors=16, epochs=6)
    killed: list[int] = []

    def kill_a_worker(epoch: Epoch) -> None:
        if epoch.number == 2:
            standalone.kill("worker-1")
            killed.append(epoch.number)

    fitted = fit(estimator, path, master=standalone.master, settings=MEGABYTES, work=work, callback=kill_a_worker)
    assert killed == [2]
    assert fitted.rows == len(split.train)
    local = Recommender.fit(estimator, split.train)
    interval, other = rmse(local, split), rmse(fitted.recommender, split)
    assert interval.low <= other.mean <= interval.high
    np.testing.assert_allclose(
        fitted.recommender.model.item_factors,
        local.model.item_factors,
        atol=1e-3,  # type: ignore[attr-defined]
    )


def test_a_job_without_workers_ends_with_a_sentence(standalone: StandaloneCluster, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating\nana,alien,5\n")
    standalone.kill("master")
    with pytest.raises(cofactor.errors.ClusterError, match="cannot be reached"):
        fit(cofactor.ExplicitALS(factors=2), path, master=standalone.master)
