"""Rows of the same user, item and time: the one that arrived last counts, in tables, updates and the store."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

import cofactor
from cofactor.data.ids import IdMap
from cofactor.data.scale import Scale
from cofactor.service.training.point_in_time import as_of
from cofactor.store import Event, Store

ORDERS = list(permutations([1.0, 3.0, 5.0]))


@pytest.mark.parametrize("values", ORDERS)
@pytest.mark.parametrize("times", [None, [60, 60, 60], [60, 60, 59], [59, 60, 60]])
def test_a_table_takes_the_last_row_of_the_latest_time(values: tuple[float, ...], times: Any) -> None:
    last = values[1] if times == [60, 60, 59] else values[2]
    table = cofactor.Interactions.from_columns([1, 1, 1], [7, 7, 7], values, times=times)
    assert table.values.tolist() == [last]


@pytest.mark.parametrize("values", ORDERS)
def test_a_file_takes_its_last_row(tmp_path: Path, values: tuple[float, ...]) -> None:
    rows = "".join(f"ana,alien,{value},60\nbo,clue,2,60\n" for value in values)
    (tmp_path / "r.csv").write_text("user,item,rating,time\n" + rows)
    assert cofactor.read_ratings(tmp_path / "r.csv").values.tolist() == [values[2], 2.0]


@pytest.mark.parametrize("values", ORDERS)
def test_an_update_takes_the_last_row(values: tuple[float, ...]) -> None:
    before, first, last = values
    table = cofactor.Interactions.from_columns(
        ["ana", "bo"], ["alien", "alien"], [before, 4], times=[60, 60], scale=Scale(1, 5)
    )
    rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), table)
    new = cofactor.Interactions.from_columns(["ana", "ana"], ["alien", "alien"], [first, last], times=[60, 60])
    assert rec.updated(new).histories.row(0).values.tolist() == [last]
    assert rec.updated(new.select([True])).updated(table).histories.row(0).values.tolist() == [before]


@pytest.mark.parametrize("values", ORDERS)
@pytest.mark.parametrize("at_once", [True, False])
def test_the_store_takes_the_event_of_the_highest_number(
    tmp_path: Path, values: tuple[float, ...], at_once: bool
) -> None:
    events = [Event("ana", "alien", value, time=60) for value in values]
    with Store.open(f"sqlite:///{tmp_path}/shop.db") as store:
        for part in [events] if at_once else [[event] for event in events]:
            store.events.append(part)
        state = store.events.snapshot("ratings")
        assert state["value"].to_list() == [values[2]]
        earlier = store.events.snapshot("ratings", until=2)
        assert earlier["value"].to_list() == [values[1]]
    table = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "clue"], [2, 4])
    rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), table)
    assert as_of(rec, IdMap.of(["ana"]), state).histories.values.tolist() == [values[2]]
