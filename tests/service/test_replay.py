"""A few simulated hours of what `benchmarks/replay_day.py` replays as a day."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cofactor.data.interactions import Interactions

REPLAY = Path(__file__).parents[2] / "benchmarks" / "replay_day.py"


@pytest.fixture(scope="module")
def replay_day() -> Any:
    spec = importlib.util.spec_from_file_location("replay_day", REPLAY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay_day"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_predicting_before_it_is_told_beats_the_frozen_model(
    replay_day: Any, movielens: Interactions, tmp_path: Path
) -> None:
    table = movielens.frame().sort("time", "user", "item")[:81_500]
    day = replay_day.replayed(table, tmp_path, first=80_000, hour=500)
    assert len(day.truth) == 1_500
    assert len(day.trainings) == 2
    assert all(np.isfinite(day.told[way]).all() for way in day.told)
    assert day.rmse("live") < day.rmse("frozen") - 0.02
    assert day.gain("live", "frozen").mean == pytest.approx(day.rmse("live") - day.rmse("frozen"))
    assert "simulated hour" in replay_day.page(day, 500, 80_000)
