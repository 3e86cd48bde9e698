"""The tables that benchmarks run on, made once below a folder: arrays that any library can load.

A table is a folder with `u.npy`, `i.npy` (int32 row numbers), `values.npy` (float32), sorted by (u, i), and where
something is held out `test_u.npy`, `test_i.npy`, `test_values.npy`.

    20000263/events     MovieLens-20M's shape (`datasets/synthetic.py`), every row is an event of value 1
    20000263/ratings    80 % of the same rows as ratings; the rest is held out
    20000263/*.csv      the same rows as files: `ratings.csv` with integer ids, `strings.csv` with ids like u17
    1000209/events      MovieLens-1M's shape; a fifth of every user's events is held out
    s0, i0              MovieLens-100k, ratings and events, on the splits of `evaluate/movielens_splits.py`
    million-skewed      factors of 1,000 users and of a million items, these with log-normal norms
    million-normal      the same, plain
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.accuracy import split_i0, split_s0
from cofactor.arrays import random_stream
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.datasets.synthetic import MOVIELENS_1M_SHAPE, MOVIELENS_20M_SHAPE, generate, write_csv

__all__ = ["FULL", "interactions", "table"]

FULL = 20_000_263
"""Ratings of the large table."""


def table(folder: Path, name: str) -> Path:
    """The folder (or file) of this name below `folder`, made first where it is missing."""
    size, _, part = name.partition("/")
    maker: Callable[[Path], None]
    if size == str(MOVIELENS_1M_SHAPE.n_ratings):
        maker = _one_million
    elif size.isdigit():
        maker = _large
    else:
        maker = {"s0": _s0, "i0": _i0, "million-skewed": _million, "million-normal": _million}[size]
    home = folder / size
    if not (home / "done").exists():
        home.mkdir(parents=True, exist_ok=True)
        maker(home)
        (home / "done").touch()
    return home / part


def interactions(folder: Path, kind: Kind) -> Interactions:
    """A table as Interactions whose ids are the row numbers; half stars for ratings."""
    u, i, values = (np.load(folder / f"{name}.npy") for name in ("u", "i", "values"))
    users, items = (IdMap(np.arange(int(rows.max()) + 1, dtype=np.int64)) for rows in (u, i))
    scale = Scale.from_levels(np.arange(0.5, 5.1, 0.5).tolist()) if kind == "ratings" else None
    return Interactions(users, items, u, i, values, kind=kind, scale=scale)


def _save(home: Path, rows: Interactions, *, prefix: str = "", keep: Any = slice(None)) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for name, column in (("u", rows.u), ("i", rows.i), ("values", rows.values)):
        np.save(home / f"{prefix}{name}.npy", column[keep])


def _large(home: Path) -> None:
    """Save MovieLens-20M's shape with the number of ratings in the folder's name, users in proportion."""
    n_ratings, config = int(home.name), MOVIELENS_20M_SHAPE
    n_users = round(config.n_users * n_ratings / config.n_ratings)
    config = replace(config, n_users=n_users, n_ratings=n_ratings)
    rows = generate(config).interactions
    _save(home / "events", replace(rows, values=np.ones(len(rows), np.float32)))
    if n_ratings != FULL:
        return
    held_out = random_stream(0, "held out").random(len(rows)) < 0.2
    _save(home / "ratings", rows, keep=~held_out)
    _save(home / "ratings", rows, prefix="test_", keep=held_out)
    write_csv(home / "ratings.csv", config)
    with_strings = pl.read_csv(home / "ratings.csv").with_columns(
        user=pl.format("u{}", "user"), item=pl.format("item-{}", "item")
    )
    with_strings.write_csv(home / "strings.csv")


def _one_million(home: Path) -> None:
    rows = generate(MOVIELENS_1M_SHAPE).interactions
    rows = replace(rows, values=np.ones(len(rows), np.float32))
    held_out = random_stream(0, "held out").random(len(rows)) < 0.2
    _save(home / "events", rows, keep=~held_out)
    _save(home / "events", rows, prefix="test_", keep=held_out)


def _s0(home: Path) -> None:
    split = split_s0()
    _save(home, split.train)
    _save(home, split.test, prefix="test_")


def _i0(home: Path) -> None:
    split = split_i0(0)
    _save(home, split.train)
    _save(home, split.test, prefix="test_")


def _million(home: Path) -> None:
    rng = random_stream(0, home.name)
    users, items = (rng.standard_normal((n, 64), dtype=np.float32) for n in (1_000, 1_000_000))
    if home.name == "million-skewed":
        items *= rng.lognormal(0, 0.8, (len(items), 1)).astype(np.float32)
    np.save(home / "user_factors.npy", users)
    np.save(home / "item_factors.npy", items)
