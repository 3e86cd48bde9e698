"""Events of several types: reading, combining and learning their weights; and decay with age in evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor import Interactions
from cofactor.errors import DataError, KindError, LeakageError, ParameterError
from cofactor.evaluate import learn_type_weights
from tests.support.command_line import json_of, ok, run

LOG = pl.DataFrame(
    {
        "user": ["ana", "ana", "bo", "bo", "cy", "cy"],
        "item": ["x", "x", "x", "y", "y", "z"],
        "event": ["view", "purchase", "view", "view", "view", "hide"],
        "count": [3, 1, 1, 2, 1, 1],
        "time": [100, 200, 300, 400, 500, 600],
    }
)


def test_files_frames_and_databases_give_the_same_tables(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log.csv")
    LOG.write_parquet(tmp_path / "log.parquet")
    LOG.write_ndjson(tmp_path / "log.jsonl")
    LOG.with_columns(pl.col("event").cast(pl.Categorical)).write_parquet(tmp_path / "categories.parquet")
    expected = cofactor.read_event_types(LOG, event_type="event", value="count")
    assert list(expected) == ["view", "hide", "purchase"]  # the most frequent first, then by name
    assert expected["view"].frame().rows() == [
        ("ana", "x", 3.0, 100), ("bo", "x", 1.0, 300), ("bo", "y", 2.0, 400), ("cy", "y", 1.0, 500),
    ]  # fmt: skip
    sources = [*tmp_path.iterdir(), LOG.to_pandas(), LOG.to_arrow()]
    for source in sources:
        tables = cofactor.read_event_types(source, event_type="event", value="count")
        assert {name: table.frame().rows() for name, table in tables.items()} == {
            name: table.frame().rows() for name, table in expected.items()
        }, source


def test_the_types_of_all_rows_are_all_rows() -> None:
    every = cofactor.read_events(LOG, value="count")
    combined = cofactor.combine_events(
        tables := cofactor.read_event_types(LOG, event_type="event", value="count"), dict.fromkeys(tables, 1.0)
    )
    assert combined.frame().equals(every.frame())
    assert combined.weights is None


def test_values_are_weighted_and_dislikes_are_negative() -> None:
    tables = cofactor.read_event_types(LOG, event_type="event", value="count")
    events = cofactor.combine_events(tables, {"view": 0.5, "purchase": 2, "hide": -1})
    assert events.frame()["value"].to_list() == [3.5, 0.5, 1.0, 0.5, 1.0]
    assert events.weights is not None
    assert events.weights.tolist() == [1, 1, 1, 1, -1]
    assert events.times is not None
    assert events.times.tolist() == [200, 300, 400, 500, 600]
    without = cofactor.combine_events(tables, {"view": 0, "purchase": 1, "hide": 0})
    assert without.frame()["item"].to_list() == ["x"]
    assert without.items.all.to_list() == ["x", "y", "z"]  # IDs of types that are left out remain


@pytest.mark.parametrize(
    ("cell", "reason"), [("", "the type is missing"), ("  ", "the type is missing")], ids=["empty", "blank"]
)
def test_a_missing_type_is_a_bad_row(tmp_path: Path, cell: str, reason: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,event\nana,x,view\nbo,y,{cell}\n")
    with pytest.raises(DataError, match=f"line 3: {reason}"):
        cofactor.read_event_types(path, event_type="event")
    tables = cofactor.read_event_types(path, event_type="event", on_error="quarantine")
    assert list(tables) == ["view"]


def test_wrong_arguments_are_named(small_ratings: Interactions) -> None:
    tables = cofactor.read_event_types(LOG, event_type="event")
    with pytest.raises(DataError, match="no column 'kind' for the type"):
        cofactor.read_event_types(LOG, event_type="kind")
    with pytest.raises(ParameterError, match="event_type"):
        cofactor.read_event_types(LOG, event_type="")
    with pytest.raises(ParameterError, match="no entry for the event type 'hide'"):
        cofactor.combine_events(tables, {"view": 1, "purchase": 1})
    with pytest.raises(ParameterError, match="'see', which is not an event type"):
        cofactor.combine_events(tables, {**dict.fromkeys(tables, 1), "see": 1})
    with pytest.raises(DataError, match="weights of all event types are 0"):
        cofactor.combine_events(tables, dict.fromkeys(tables, 0))
    with pytest.raises(KindError, match="contains ratings"):
        cofactor.combine_events({"rating": small_ratings}, {"rating": 1})
    with pytest.raises(ParameterError, match="target must be"):
        learn_type_weights(tables, target="buy")
    with pytest.raises(ParameterError, match="at least two event types; got only"):
        learn_type_weights({"view": tables["view"]}, target="view")
    with pytest.raises(DataError, match="too few events"):
        learn_type_weights(tables, target="purchase")


def behavior(seed: int, *, times: bool, noise: bool = False) -> dict[str, Interactions]:
    """Views that follow the tastes of 200 users in two groups, few purchases, and impressions at random."""
    draw = np.random.default_rng(seed)
    n = 6000
    u = draw.integers(0, 200, n)
    item = np.where(draw.random(n) < 0.9, 2 * draw.integers(0, 40, n) + u % 2, draw.integers(0, 80, n))
    if noise:
        item = draw.integers(0, 80, n)
    is_purchase = draw.random(n) < 0.1
    if noise:
        item[is_purchase] = 2 * draw.integers(0, 40, is_purchase.sum()) + u[is_purchase] % 2
    when = np.arange(n) * 3600
    return {
        name: Interactions.from_columns(u[keep], item[keep], times=when[keep] if times else None, kind="events")
        for name, keep in {"view": ~is_purchase, "purchase": is_purchase}.items()
    }


@pytest.mark.parametrize("times", [False, True])
def test_related_types_gain_weight(times: bool) -> None:
    learned = learn_type_weights(behavior(1, times=times), target="purchase", estimator=cofactor.ItemKNN(), trials=8)
    assert learned.weights["purchase"] == 1
    assert learned.weights["view"] > 0
    assert learned.value > learned.target_only + 0.02
    assert learned.trials.columns == ["view", "purchase", "ndcg@10"]
    assert learned.value == learned.trials["ndcg@10"].max()
    again = learn_type_weights(behavior(1, times=times), target="purchase", estimator=cofactor.ItemKNN(), trials=8)
    assert again.trials.equals(learned.trials)


def test_random_types_have_a_small_weight() -> None:
    tables = [behavior(seed, times=False, noise=True) for seed in range(3)]
    learned = [learn_type_weights(views, target="purchase", estimator=cofactor.EASE()) for views in tables]
    assert sorted(result.weights["view"] for result in learned)[1] <= 0.01  # the median
    assert max(result.weights["view"] for result in learned) <= 0.1


def test_a_split_decays_its_training_part_only() -> None:
    events = Interactions.from_columns([1, 1, 1, 2], [7, 8, 9, 7], times=[0, 86_400, 172_800, 0], kind="events")
    split = cofactor.split_by_time(events, test=0.25)
    decayed = split.decayed(half_life=1)
    assert decayed.train.weights is not None
    assert decayed.train.weights.tolist() == [0.5, 1.0, 0.5]
    assert decayed.test.weights is None
    assert decayed.description == split.description
    with pytest.raises(DataError, match="half_life requires a time"):
        cofactor.split_random(Interactions.from_columns([1, 1], [7, 8], kind="events"), test=0.5).decayed(half_life=1)
    with pytest.raises(LeakageError):
        cofactor.Split(events, events).decayed(half_life=1)


def test_commands_take_types_and_half_lives(tmp_path: Path) -> None:
    tables = behavior(3, times=True)
    log = pl.concat([table.frame().with_columns(event=pl.lit(name)) for name, table in tables.items()])
    path = tmp_path / "log.csv"
    log.write_csv(path)
    base = [path, "--events", "--event-type", "event"]
    done = ok("fit", *base, "-m", "item-knn", "--target-type", "purchase", "-o", tmp_path / "m.cofactor")
    assert "weights of the event types: view=" in done.stderr
    values = {}
    for half_life in ([], ["--half-life", "5"]):
        options = ["-m", "popularity", "--type-weights", "view=0.1", "--split", "by-time", *half_life]
        values[bool(half_life)] = json_of("evaluate", *base, *options)["models"][0]["metrics"]["ndcg@10"]["mean"]
    assert values[True] != values[False]
    for wrong, text in {
        ("--type-weights", "view"): "pairs such as",
        ("--type-weights", "view=1,view=2"): "pairs such as",
        ("--type-weights", "see=1"): "'see', which is not an event type",
    }.items():
        assert text in run("evaluate", *base, "-m", "popularity", *wrong).stderr
