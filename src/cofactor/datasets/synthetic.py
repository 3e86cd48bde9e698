"""Synthetic ratings with known ground truth: factors, biases, popularity, genre preferences and heavy raters.

Item i has a popularity proportional to `(rank_i + popularity_offset)^-popularity`. The number of ratings per user is
log-normal; their items are sampled by popularity without replacement. The rating is::

    value = nearest level of [ mean + b_u + b_i + p_u . q_i + taste[u, genre_i] + bonus_ui + noise ]

where `bonus_ui` is `heavy_bonus` for a heavy rater and an item of genre 0, else 0. Users are generated
in fixed blocks, each with its own random stream, so that results do not depend on the chunk size.
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
from cofactor.checks import Seed
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.datasets.synthetic_config import HEAVY_SHAPE, MOVIELENS_1M_SHAPE, MOVIELENS_20M_SHAPE, SyntheticConfig
from cofactor.errors import ParameterError
from cofactor.files import write_atomically
from cofactor.validation import validated

__all__ = [
    "HEAVY_SHAPE",
    "MOVIELENS_1M_SHAPE",
    "MOVIELENS_20M_SHAPE",
    "Chunk",
    "GroundTruth",
    "Synthetic",
    "SyntheticConfig",
    "generate",
    "generate_chunks",
    "generate_ground_truth",
    "write_csv",
]

USERS_PER_BLOCK = 256
"""Number of users per random stream."""
MAX_ROUNDS = 12
"""Maximum number of rounds that resample duplicates; the remaining items are sampled with the Gumbel top-k trick."""
START_TIME, DURATION = 1_577_836_800, 365 * 86_400
"""Range of the times, the year 2020: each user joins at a random time and rates until the end of the year."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth of synthetic ratings; the module docstring defines how ratings are generated from it.

    Attributes
    ----------
    config : SyntheticConfig
        Configuration.
    seed : int
        Seed.
    user_factors : ndarray of shape (n_users, factors), float32
        User factors.
    item_factors : ndarray of shape (n_items, factors), float32
        Item factors.
    user_bias : ndarray of shape (n_users,), float32
        User biases.
    item_bias : ndarray of shape (n_items,), float32
        Item biases.
    taste : ndarray of shape (n_users, genres), float32
        Preference of each user for each genre.
    genre : ndarray of shape (n_items,), int32
        Genre of each item.
    heavy : ndarray of shape (n_users,), bool
        Mask of the heavy raters.
    popularity : ndarray of shape (n_items,), float64
        Sampling probability of each item; sums to 1.

    Examples
    --------
    >>> ground_truth = generate_ground_truth(SyntheticConfig(n_users=20, n_items=30, n_ratings=200, heavy_share=0.1))
    >>> ground_truth.user_factors.shape, int(ground_truth.heavy.sum())
    ((20, 8), 2)
    """

    config: SyntheticConfig
    seed: int
    user_factors: Float32 = field(repr=False)
    item_factors: Float32 = field(repr=False)
    user_bias: Float32 = field(repr=False)
    item_bias: Float32 = field(repr=False)
    taste: Float32 = field(repr=False)
    genre: Int32 = field(repr=False)
    heavy: Bool = field(repr=False)
    popularity: Float64 = field(repr=False)

    @validated
    def expected(self, u: Any, i: Any) -> Float64:
        """Return the expected ratings before noise and rounding, which can be outside the range of the rating levels.

        Parameters
        ----------
        u, i : array-like of int
            Row numbers of users and items, with shapes that broadcast.

        Returns
        -------
        ndarray, float64
            Expected ratings, with the broadcast shape.

        Raises
        ------
        ParameterError
            If a row number is out of range or the shapes do not broadcast.

        Notes
        -----
        The expected rating::

            mean + b_u + b_i + p_u . q_i + taste[u, genre_i] + bonus_ui

        Examples
        --------
        >>> ground_truth = generate_ground_truth(SyntheticConfig(n_users=20, n_items=30, n_ratings=200))
        >>> ground_truth.expected([[0], [1], [2]], [3, 4]).shape
        (3, 2)
        """
        u, i = checks.broadcast_rows(("u", "i"), (u, i), (self.config.n_users, self.config.n_items))
        products = np.einsum("...f,...f->...", self.user_factors[u], self.item_factors[i], dtype=np.float64)
        genre = self.genre[i]
        linear = self.config.mean + self.user_bias[u].astype(np.float64) + self.item_bias[i] + products
        expected: Float64 = linear + self.taste[u, genre] + self.config.heavy_bonus * (self.heavy[u] & (genre == 0))
        return expected


@dataclass(frozen=True, eq=False)
class Synthetic(GroundTruth):
    """Synthetic ratings with their ground truth.

    Attributes
    ----------
    interactions : Interactions
        Ratings; IDs are equal to row numbers.

    Notes
    -----
    The other attributes are those of `GroundTruth`.

    Examples
    --------
    >>> synthetic = generate(SyntheticConfig(n_users=20, n_items=30, n_ratings=200, noise_std=0.0))
    >>> rows = synthetic.interactions
    >>> bool((abs(rows.values - synthetic.expected(rows.u, rows.i).clip(0.5, 5)) < 0.26).all())
    True
    """

    interactions: Interactions = field(kw_only=True)


class Chunk(NamedTuple):
    """Chunk of consecutive synthetic ratings, sorted by user and item.

    Attributes
    ----------
    u, i : ndarray of shape (n,), int32
        Row numbers of users and items.
    values : ndarray of shape (n,), float32
        Ratings.
    times : ndarray of shape (n,), int64
        Times in seconds since the Unix epoch.
    """

    u: Int32
    i: Int32
    values: Float32
    times: Int64

    @validated
    def slice(self, start: int, stop: int | None = None) -> Chunk:
        """Return a range of consecutive ratings of this chunk as a new chunk.

        Parameters
        ----------
        start : int
            First row.
        stop : int, optional
            End of the rows, excluded; None for all rows from `start`.

        Returns
        -------
        Chunk
            Rows `start` to `stop` - 1.
        """
        rows = slice(start, stop)
        return Chunk(self.u[rows], self.i[rows], self.values[rows], self.times[rows])

    @classmethod
    @validated
    def concatenate(cls, chunks: list[Chunk]) -> Chunk:
        """Concatenate chunks of ratings into one chunk.

        Parameters
        ----------
        chunks : list of Chunk
            At least one chunk.

        Returns
        -------
        Chunk
            All rows in order.

        Raises
        ------
        ParameterError
            If `chunks` is empty or not a list of chunks.
        """
        if not isinstance(chunks, list | tuple) or not chunks or not all(isinstance(part, Chunk) for part in chunks):
            raise ParameterError(f"chunks must be a list of one or more chunks, not {checks.describe(chunks)}")
        u, i, values, times = (np.concatenate(columns) for columns in zip(*chunks, strict=True))
        return cls(u, i, values, times)


@validated
def generate_ground_truth(config: SyntheticConfig, *, seed: Seed = 0) -> GroundTruth:
    """Generate the ground truth of synthetic ratings without generating the ratings.

    Parameters
    ----------
    config : SyntheticConfig
        Configuration.
    seed : int, Generator or None, default 0
        Seed; the same seed gives identical results.

    Returns
    -------
    GroundTruth
        Factors, biases, genre preferences, heavy raters and popularities.

    Examples
    --------
    >>> ground_truth = generate_ground_truth(SyntheticConfig(n_users=20, n_items=30, n_ratings=200, popularity=1.0))
    >>> round(float(ground_truth.popularity.sum()), 6)
    1.0
    """
    seed = checks.seed(seed)
    factor_std = np.sqrt(config.factor_std / np.sqrt(max(config.factors, 1)))  # p . q then has the deviation factor_std

    def normals(name: str, std: float, *shape: int) -> Float32:
        return (random_stream(seed, name).standard_normal(shape) * std).astype(np.float32)

    heavy = np.zeros(config.n_users, bool)
    order = random_stream(seed, "eager").permutation(config.n_users)
    heavy[order[: round(config.heavy_share * config.n_users)]] = True
    rank = random_stream(seed, "popularity").permutation(config.n_items) + 1
    popularity = (rank + config.popularity_offset) ** -float(config.popularity)
    return GroundTruth(
        config,
        seed,
        read_only(normals("user factors", factor_std, config.n_users, config.factors)),
        read_only(normals("item factors", factor_std, config.n_items, config.factors)),
        read_only(normals("user bias", config.user_bias_std, config.n_users)),
        read_only(normals("item bias", config.item_bias_std, config.n_items)),
        read_only(normals("taste", config.taste_std, config.n_users, config.genres)),
        read_only((np.arange(config.n_items) * config.genres // config.n_items).astype(np.int32)),
        read_only(heavy),
        read_only(popularity / popularity.sum()),
    )


@validated
def generate(config: SyntheticConfig, *, seed: Seed = 0) -> Synthetic:
    """Generate synthetic ratings and their ground truth in memory (20 bytes per rating).

    Parameters
    ----------
    config : SyntheticConfig
        Configuration.
    seed : int, Generator or None, default 0
        Seed; the same seed gives identical results.

    Returns
    -------
    Synthetic
        Ratings with an item table (item, genres); IDs are the row numbers. Items without ratings are included.

    Examples
    --------
    >>> synthetic = generate(SyntheticConfig(n_users=20, n_items=30, n_ratings=200), seed=1)
    >>> synthetic.interactions, synthetic.expected(0, [3, 4]).shape
    (Interactions(200 ratings, 20 users x 30 items), (2,))
    """
    seed = checks.seed(seed)
    ground_truth, n = generate_ground_truth(config, seed=seed), config.n_ratings
    u, i = np.empty(n, np.int32), np.empty(n, np.int32)
    values, times = np.empty(n, np.float32), np.empty(n, np.int64)
    position = 0
    for block in _blocks(ground_truth):
        rows = slice(position, position + len(block.u))
        u[rows], i[rows], values[rows], times[rows] = block
        position = rows.stop
    interactions = Interactions(
        IdMap.from_sorted(pl.Series(np.arange(config.n_users))),
        IdMap.from_sorted(pl.Series(np.arange(config.n_items))),
        read_only(u),
        read_only(i),
        read_only(values),
        times=read_only(times),
        scale=Scale.from_levels(config.rating_levels),
        report=LoadReport(source=f"synthetic, seed {seed}", rows=n),
    )
    genres = pl.DataFrame({"item": np.arange(config.n_items), "genre": ground_truth.genre})
    item_table = genres.select("item", genres=pl.format("genre {}", "genre"))
    return Synthetic(**vars(ground_truth), interactions=interactions.with_item_table(item_table))


@validated
def generate_chunks(config: SyntheticConfig, *, seed: Seed = 0, chunk_size: int = 1_000_000) -> Iterator[Chunk]:
    """Generate the same ratings as `generate`, in chunks, with bounded memory.

    Parameters
    ----------
    config : SyntheticConfig
        Configuration.
    seed : int, Generator or None, default 0
        Seed; the same seed gives the same rows as `generate`.
    chunk_size : int, default 1000000
        Number of rows per chunk; the last chunk may be shorter.

    Yields
    ------
    Chunk
        Consecutive rows.

    Raises
    ------
    ParameterError
        If `chunk_size` is less than 1.

    Examples
    --------
    >>> [len(rows.u) for rows in generate_chunks(SyntheticConfig(n_users=20, n_items=30, n_ratings=200), chunk_size=80)]
    [80, 80, 40]
    """
    if chunk_size < 1:
        raise ParameterError(f"chunk_size must be at least 1, not {chunk_size}")
    pending: list[Chunk] = []
    n_pending = 0
    for block in _blocks(generate_ground_truth(config, seed=seed)):
        pending.append(block)
        n_pending += len(block.u)
        if n_pending >= chunk_size:
            joined = Chunk.concatenate(pending)
            n_complete = n_pending - n_pending % chunk_size
            for start in range(0, n_complete, chunk_size):
                yield joined.slice(start, start + chunk_size)
            pending = [joined.slice(n_complete)]
            n_pending -= n_complete
    if n_pending:
        yield Chunk.concatenate(pending)


@validated
def write_csv(path: str | Path, config: SyntheticConfig, *, seed: Seed = 0) -> Path:
    """Write synthetic ratings to a CSV file with the columns user, item, value and time.

    Parameters
    ----------
    path : str or Path
        Path of the file; an existing file is replaced only after all rows are written.
    config : SyntheticConfig
        Configuration.
    seed : int, Generator or None, default 0
        Seed; the same seed gives the same rows as `generate`.

    Returns
    -------
    Path
        Path of the file.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = write_csv(f"{folder}/ratings.csv", SyntheticConfig(n_users=20, n_items=30, n_ratings=200))
    ...     pl.read_csv(path).shape
    (200, 4)
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(b"user,item,value,time\n")
            for rows in generate_chunks(config, seed=seed):
                frame = pl.DataFrame({"user": rows.u, "item": rows.i, "value": rows.values, "time": rows.times})
                frame.write_csv(file, include_header=False)

    write_atomically(path, write)
    return Path(path)


class _Pool(NamedTuple):
    """Candidate items with the logarithms and the cumulative sum of their sampling probabilities."""

    items: Int64
    log_probability: Float64
    cumulative: Float64


def _pool(ground_truth: GroundTruth, items: Any) -> _Pool:
    """Return the pool of the items with these row numbers."""
    probability = np.maximum(ground_truth.popularity[items], 1e-300)
    cumulative = np.cumsum(probability)
    cumulative /= cumulative[-1] if len(items) else 1.0
    return _Pool(np.asarray(items, dtype=np.int64), np.log(probability), cumulative)


def _blocks(ground_truth: GroundTruth) -> Iterator[Chunk]:
    """Generate the ratings of one block of users after another."""
    config = ground_truth.config
    counts = _ratings_per_user(ground_truth)
    in_genre = ground_truth.genre == 0
    all_items, genre_items, other_items = (
        _pool(ground_truth, np.flatnonzero(mask)) for mask in (in_genre | True, in_genre, ~in_genre)
    )
    target_counts = np.rint(config.heavy_focus * counts).astype(np.int64)
    min_genre_counts = counts - len(other_items.items)  # the ratings that exceed the number of items of other genres
    genre_counts = np.clip(np.maximum(target_counts, min_genre_counts), 0, np.minimum(counts, len(genre_items.items)))
    is_focused = ground_truth.heavy & (config.heavy_focus > 0)
    for first in range(0, config.n_users, USERS_PER_BLOCK):
        users = np.arange(first, min(first + USERS_PER_BLOCK, config.n_users))
        rng = random_stream(ground_truth.seed, "ratings", first // USERS_PER_BLOCK)
        mask = is_focused[users]
        pools = (
            (all_items, np.where(mask, 0, counts[users])),
            (genre_items, np.where(mask, genre_counts[users], 0)),
            (other_items, np.where(mask, counts[users] - genre_counts[users], 0)),
        )
        keys = [_sample_distinct(rng, pool, users, n, config.n_items) for pool, n in pools]
        yield _rate(ground_truth, np.sort(np.concatenate(keys)), users, rng)


def _rate(ground_truth: GroundTruth, keys: Int64, users: Int64, rng: np.random.Generator) -> Chunk:
    """Generate the ratings and times for the user-item keys `u * n_items + i` of a block."""
    config = ground_truth.config
    u, i = np.divmod(keys, config.n_items)
    levels = np.asarray(config.rating_levels)
    unrounded = ground_truth.expected(u, i) + config.noise_std * rng.standard_normal(len(u))
    values = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, unrounded, side="right")]
    join_times = rng.random(len(users))[u - users[0]]
    times = START_TIME + DURATION * (join_times + (1 - join_times) * rng.random(len(u)))
    return Chunk(u.astype(np.int32), i.astype(np.int32), values.astype(np.float32), times.astype(np.int64))


def _sample_distinct(rng: np.random.Generator, pool: _Pool, users: Int64, counts: Int64, n_items: int) -> Int64:
    """Sample `counts[r]` items by popularity without replacement for each user; return sorted keys `u * n_items + i`.

    Sampling with replacement and discarding duplicates is equivalent to sampling without replacement. Each round
    samples as many items as are missing, so that no item has to be removed. If a user already has nearly all popular
    items, the rest is sampled with the Gumbel top-k trick: those with the largest log probability plus Gumbel noise.
    """
    keys = np.zeros(0, np.int64)
    bounds = np.append(users, users[-1] + 1) * n_items
    n_missing = counts
    for _ in range(MAX_ROUNDS):
        if not n_missing.any():
            return keys
        positions = np.searchsorted(pool.cumulative, rng.random(int(n_missing.sum())), side="right")
        keys = np.sort(np.concatenate([keys, np.repeat(users, n_missing) * n_items + pool.items[positions]]))
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
        n_missing = counts - np.diff(np.searchsorted(keys, bounds))
    for r in np.flatnonzero(n_missing):
        sampled_items = keys[slice(*np.searchsorted(keys, bounds[r : r + 2]))] - bounds[r]
        noisy_log_probability = pool.log_probability + rng.gumbel(size=len(pool.items))
        noisy_log_probability[np.searchsorted(pool.items, sampled_items)] = -np.inf
        top_items = np.argpartition(-noisy_log_probability, n_missing[r] - 1)[: n_missing[r]]
        keys = np.sort(np.append(keys, bounds[r] + pool.items[top_items]))
    return keys


def _ratings_per_user(ground_truth: GroundTruth) -> Int64:
    """Return the number of ratings per user: proportional to activity, clipped to the limits, n_ratings in total."""
    config = ground_truth.config
    min_count, max_count = (
        config.min_ratings_per_user,
        config.n_items if config.max_ratings_per_user is None else config.max_ratings_per_user,
    )
    activity = random_stream(ground_truth.seed, "activity").standard_normal(config.n_users)
    activity = np.exp(config.activity_std * activity)
    activity = np.where(ground_truth.heavy, activity * config.heavy_multiplier, activity)
    low, high = 0.0, max_count / max(float(activity.min()), 1e-300)
    for _ in range(200):  # bisection: the clipped sum increases with the factor
        factor = (low + high) / 2
        if np.clip(factor * activity, min_count, max_count).sum() < config.n_ratings:
            low = factor
        else:
            high = factor
    exact_counts = np.clip(high * activity, min_count, max_count)
    counts = np.floor(exact_counts).astype(np.int64)
    remainder = config.n_ratings - int(counts.sum())
    below_max = np.flatnonzero(counts < max_count)
    counts[below_max[np.argsort(counts[below_max] - exact_counts[below_max], kind="stable")][:remainder]] += 1
    return counts
