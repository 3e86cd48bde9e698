"""Live traffic replayed for a few simulated hours; `benchmarks/replay_day.py` replays a day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cofactor.data.interactions import Interactions
from tests.support.replay_day import replay


@pytest.mark.long
def test_live_predictions_are_better_than_those_of_the_frozen_model(movielens: Interactions, tmp_path: Path) -> None:
    table = movielens.frame().sort("time", "user", "item")[:81_500]
    day = replay(table, tmp_path, first=80_000, hour=500)
    assert len(day.truth) == 1_500
    assert len(day.trainings) == 2
    assert all(np.isfinite(day.predicted[method]).all() for method in day.predicted)
    assert day.rmse("live") < day.rmse("frozen") - 0.02
    assert day.gain("live", "frozen").mean == pytest.approx(day.rmse("live") - day.rmse("frozen"))
