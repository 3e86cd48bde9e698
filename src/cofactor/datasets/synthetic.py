"""Ratings whose truth is known: factors, biases, popularity, tastes and eager raters, at any size.

Every item i has the popularity `(rank_i + popularity_offset)^-popularity`; every user u draws her number of
items from a log-normal, then that many distinct items one by one by popularity; and

    value = nearest level of [ mean + b_u + b_i + p_u . q_i + taste[u, genre_i] + bonus_ui + noise ]

where `bonus_ui` is `eager_bonus` for an eager user and an item of genre 0, else 0. Users are made in fixed
blocks with random streams of their own: the same bits in one piece or in a stream, whatever the chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream, read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.datasets.synthetic_config import EAGER_SHAPE, MOVIELENS_1M_SHAPE, MOVIELENS_20M_SHAPE, World
from cofactor.errors import ParameterError
from cofactor.files import write_whole
from cofactor.validation import validated

__all__ = [
    "EAGER_SHAPE",
    "MOVIELENS_1M_SHAPE",
    "MOVIELENS_20M_SHAPE",
    "Chunk",
    "Synthetic",
    "Truth",
    "World",
    "generate",
    "stream",
    "truth",
    "write_csv",
]

BLOCK = 256
"""Users made from one random stream."""
ROUNDS = 12
"""Rounds of drawing again what was drawn before, until the rest is drawn by exponential races."""
FIRST_SECOND, SECONDS = 1_577_836_800, 365 * 86_400
"""Times lie in the year 2020: a user joins somewhere in it and rates until its end."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What a world's ratings are made from; see the head of this module for how.

        user_factors (n_users, factors) float32    user_bias (n_users,) float32
        item_factors (n_items, factors) float32    item_bias (n_items,) float32
        taste (n_users, genres) float32            genre (n_items,) int32
        eager (n_users,) bool                      popularity (n_items,) float64, sums to 1

    >>> known = truth(World(n_users=20, n_items=30, n_ratings=200, eager_share=0.1))
    >>> known.user_factors.shape, int(known.eager.sum())
    ((20, 8), 2)
    """

    world: World
    seed: int
    user_factors: Float32 = field(repr=False)
    item_factors: Float32 = field(repr=False)
    user_bias: Float32 = field(repr=False)
    item_bias: Float32 = field(repr=False)
    taste: Float32 = field(repr=False)
    genre: Int32 = field(repr=False)
    eager: Bool = field(repr=False)
    popularity: Float64 = field(repr=False)

    @validated
    def expected(self, u: Any, i: Any) -> Float64:
        """The mean of u's ratings of i before they are rounded to a level: row numbers, broadcast; float64.

            mean + b_u + b_i + p_u . q_i + taste[u, genre_i] + bonus_ui

        What eager users add on genre 0 is part of theirs. It may lie outside the levels.

        >>> known = truth(World(n_users=20, n_items=30, n_ratings=200))
        >>> known.expected([[0], [1], [2]], [3, 4]).shape
        (3, 2)
        """
        u, i = checks.broadcast_rows(("u", "i"), (u, i), (self.world.n_users, self.world.n_items))
        liking = np.einsum("...f,...f->...", self.user_factors[u], self.item_factors[i], dtype=np.float64)
        genre = self.genre[i]
        linear = self.world.mean + self.user_bias[u].astype(np.float64) + self.item_bias[i] + liking
        expected: Float64 = linear + self.taste[u, genre] + self.world.eager_bonus * (self.eager[u] & (genre == 0))
        return expected


@dataclass(frozen=True, eq=False)
class Synthetic(Truth):
    """A made-up table with its truth: `interactions`. Ids are row numbers, so `expected` takes either.

    >>> made = generate(World(n_users=20, n_items=30, n_ratings=200, noise_sd=0.0))
    >>> rows = made.interactions
    >>> bool((abs(rows.values - made.expected(rows.u, rows.i).clip(0.5, 5)) < 0.26).all())
    True
    """

    interactions: Interactions = field(kw_only=True)


class Chunk(NamedTuple):
    """Rows in order of (u, i): (n,) int32 row numbers, float32 values, int64 seconds since 1970."""

    u: Int32
    i: Int32
    values: Float32
    times: Int64

    @validated
    def part(self, first: int, last: int | None = None) -> Chunk:
        """Rows first..last-1."""
        rows = slice(first, last)
        return Chunk(self.u[rows], self.i[rows], self.values[rows], self.times[rows])

    @classmethod
    @validated
    def joined(cls, chunks: list[Chunk]) -> Chunk:
        """The rows of several chunks in order. Raises ParameterError for none."""
        if not isinstance(chunks, list | tuple) or not chunks or not all(isinstance(part, Chunk) for part in chunks):
            raise ParameterError(f"chunks must be a list of one or more chunks, not {checks.shown(chunks)}")
        u, i, values, times = (np.concatenate(columns) for columns in zip(*chunks, strict=True))
        return cls(u, i, values, times)


@validated
def truth(world: World, *, seed: int = 0) -> Truth:
    """The factors, biases, tastes and groups of a world, without its ratings; the same seed gives the same.

    >>> known = truth(World(n_users=20, n_items=30, n_ratings=200, popularity=1.0))
    >>> round(float(known.popularity.sum()), 6)
    1.0
    """
    wide = np.sqrt(world.factor_sd / np.sqrt(max(world.factors, 1)))  # so that p . q has factor_sd

    def normals(name: str, sd: float, *shape: int) -> Float32:
        return (random_stream(seed, name).standard_normal(shape) * sd).astype(np.float32)

    eager = np.zeros(world.n_users, bool)
    order = random_stream(seed, "eager").permutation(world.n_users)
    eager[order[: round(world.eager_share * world.n_users)]] = True
    rank = random_stream(seed, "popularity").permutation(world.n_items) + 1
    popularity = (rank + world.popularity_offset) ** -float(world.popularity)
    return Truth(
        world,
        seed,
        read_only(normals("user factors", wide, world.n_users, world.factors)),
        read_only(normals("item factors", wide, world.n_items, world.factors)),
        read_only(normals("user bias", world.user_bias_sd, world.n_users)),
        read_only(normals("item bias", world.item_bias_sd, world.n_items)),
        read_only(normals("taste", world.taste_sd, world.n_users, world.genres)),
        read_only((np.arange(world.n_items) * world.genres // world.n_items).astype(np.int32)),
        read_only(eager),
        read_only(popularity / popularity.sum()),
    )


@validated
def generate(world: World, *, seed: int = 0) -> Synthetic:
    """The whole table in memory (20 bytes a rating), with its truth; ids are the row numbers from 0.

    Items that nobody rated stay in the catalog; the item table (item, genres) tells each one's genre. The same seed
    gives the same bits. What cannot be made is refused when the World is.

    >>> made = generate(World(n_users=20, n_items=30, n_ratings=200), seed=1)
    >>> made.interactions, made.expected(0, [3, 4]).shape
    (Interactions(200 ratings, 20 users x 30 items), (2,))
    """
    known, n = truth(world, seed=seed), world.n_ratings
    u, i = np.empty(n, np.int32), np.empty(n, np.int32)
    values, times = np.empty(n, np.float32), np.empty(n, np.int64)
    at = 0
    for block in _blocks(known):
        rows = slice(at, at + len(block.u))
        u[rows], i[rows], values[rows], times[rows] = block
        at = rows.stop
    interactions = Interactions(
        IdMap.from_sorted(pl.Series(np.arange(world.n_users))),
        IdMap.from_sorted(pl.Series(np.arange(world.n_items))),
        read_only(u),
        read_only(i),
        read_only(values),
        times=read_only(times),
        scale=Scale.declared(world.levels),
        report=LoadReport(source=f"synthetic, seed {seed}", rows=n),
    )
    genres = pl.DataFrame({"item": np.arange(world.n_items), "genre": known.genre})
    named = genres.select("item", genres=pl.format("genre {}", "genre"))
    return Synthetic(**vars(known), interactions=interactions.with_item_table(named))


@validated
def stream(world: World, *, seed: int = 0, chunk: int = 1_000_000) -> Iterator[Chunk]:
    """The same rows as `generate`, `chunk` at a time (the last may be shorter), in bounded memory.

    Raises ParameterError for a chunk below 1.

    >>> [len(rows.u) for rows in stream(World(n_users=20, n_items=30, n_ratings=200), chunk=80)]
    [80, 80, 40]
    """
    if chunk < 1:
        raise ParameterError(f"chunk must be at least 1, not {chunk}")
    waiting: list[Chunk] = []
    n_waiting = 0
    for block in _blocks(truth(world, seed=seed)):
        waiting.append(block)
        n_waiting += len(block.u)
        if n_waiting >= chunk:
            whole = Chunk.joined(waiting)
            cut = n_waiting - n_waiting % chunk
            for start in range(0, cut, chunk):
                yield whole.part(start, start + chunk)
            waiting = [whole.part(cut)]
            n_waiting -= cut
    if n_waiting:
        yield Chunk.joined(waiting)


@validated
def write_csv(path: str | Path, world: World, *, seed: int = 0) -> Path:
    """The rows of `stream` as a CSV file with the columns user, item, value, time; renamed when whole.

    Returns its path. Raises OSError where it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = write_csv(f"{folder}/made.csv", World(n_users=20, n_items=30, n_ratings=200))
    ...     pl.read_csv(path).shape
    (200, 4)
    """

    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            file.write(b"user,item,value,time\n")
            for rows in stream(world, seed=seed):
                frame = pl.DataFrame({"user": rows.u, "item": rows.i, "value": rows.values, "time": rows.times})
                frame.write_csv(file, include_header=False)

    write_whole(path, write)
    return Path(path)


class _Pool(NamedTuple):
    """Items to draw from, with the logarithm and the running sum of their chances."""

    items: Int64
    log_chance: Float64
    cumulative: Float64


def _pool(known: Truth, items: Any) -> _Pool:
    chance = np.maximum(known.popularity[items], 1e-300)
    cumulative = np.cumsum(chance)
    cumulative /= cumulative[-1] if len(items) else 1.0
    return _Pool(np.asarray(items, dtype=np.int64), np.log(chance), cumulative)


def _blocks(known: Truth) -> Iterator[Chunk]:
    """The rows of every block of users in turn."""
    world = known.world
    counts = _ratings_per_user(known)
    focus = known.genre == 0
    everything, fans, others = (_pool(known, np.flatnonzero(m)) for m in (focus | True, focus, ~focus))
    wanted = np.rint(world.eager_focus * counts).astype(np.int64)
    least = counts - len(others.items)  # more than the other genres hold
    in_focus = np.clip(np.maximum(wanted, least), 0, np.minimum(counts, len(fans.items)))
    focused = known.eager & (world.eager_focus > 0)
    for first in range(0, world.n_users, BLOCK):
        users = np.arange(first, min(first + BLOCK, world.n_users))
        rng = random_stream(known.seed, "ratings", first // BLOCK)
        of = focused[users]
        needs = (
            (everything, np.where(of, 0, counts[users])),
            (fans, np.where(of, in_focus[users], 0)),
            (others, np.where(of, counts[users] - in_focus[users], 0)),
        )
        keys = [_distinct(rng, pool, users, need, world.n_items) for pool, need in needs]
        yield _rated(known, np.sort(np.concatenate(keys)), users, rng)


def _rated(known: Truth, keys: Int64, users: Int64, rng: np.random.Generator) -> Chunk:
    """Values and times for the pairs `u * n_items + i` of one block."""
    world = known.world
    u, i = np.divmod(keys, world.n_items)
    levels = np.asarray(world.levels)
    exact = known.expected(u, i) + world.noise_sd * rng.standard_normal(len(u))
    values = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, exact, side="right")]
    joined = rng.random(len(users))[u - users[0]]
    times = FIRST_SECOND + SECONDS * (joined + (1 - joined) * rng.random(len(u)))
    return Chunk(u.astype(np.int32), i.astype(np.int32), values.astype(np.float32), times.astype(np.int64))


def _distinct(rng: np.random.Generator, pool: _Pool, users: Int64, need: Int64, n_items: int) -> Int64:
    """`need[r]` distinct items for each user, each drawn by popularity among those not drawn before.

    Drawing with replacement and dropping what came before is the same as drawing without; no round draws
    more than is missing, so none has to be thrown away. Where a user has nearly all popular items already,
    the rest falls out of exponential races: the largest log chance + Gumbel noise win.
    Returns the sorted keys `u * n_items + i`.
    """
    keys = np.zeros(0, np.int64)
    bounds = np.append(users, users[-1] + 1) * n_items
    missing = need
    for _ in range(ROUNDS):
        if not missing.any():
            return keys
        drawn = np.searchsorted(pool.cumulative, rng.random(int(missing.sum())), side="right")
        keys = np.sort(np.concatenate([keys, np.repeat(users, missing) * n_items + pool.items[drawn]]))
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
        missing = need - np.diff(np.searchsorted(keys, bounds))
    for r in np.flatnonzero(missing):
        own = keys[slice(*np.searchsorted(keys, bounds[r : r + 2]))] - bounds[r]
        race = pool.log_chance + rng.gumbel(size=len(pool.items))
        race[np.searchsorted(pool.items, own)] = -np.inf
        won = np.argpartition(-race, missing[r] - 1)[: missing[r]]
        keys = np.sort(np.append(keys, bounds[r] + pool.items[won]))
    return keys


def _ratings_per_user(known: Truth) -> Int64:
    """Each user's number of ratings: proportional to her activity within [fewest, most], n_ratings in all."""
    world = known.world
    least, most = world.fewest, world.n_items if world.most is None else world.most
    activity = np.exp(world.activity_sd * random_stream(known.seed, "activity").standard_normal(world.n_users))
    activity = np.where(known.eager, activity * world.eager_times, activity)
    low, high = 0.0, most / max(float(activity.min()), 1e-300)
    for _ in range(200):  # bisection: the clipped sum grows with the factor
        middle = (low + high) / 2
        if np.clip(middle * activity, least, most).sum() < world.n_ratings:
            low = middle
        else:
            high = middle
    exact = np.clip(high * activity, least, most)
    counts = np.floor(exact).astype(np.int64)
    rest = world.n_ratings - int(counts.sum())
    open_ = np.flatnonzero(counts < most)
    counts[open_[np.argsort(counts[open_] - exact[open_], kind="stable")][:rest]] += 1
    return counts
