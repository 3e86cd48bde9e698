"""Synthetic tables: exact sizes, the requested parameters, the same bits at once or in a stream."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.arrays import Int64
from cofactor.datasets.synthetic import (
    HEAVY_SHAPE,
    MOVIELENS_1M_SHAPE,
    MOVIELENS_20M_SHAPE,
    Chunk,
    Synthetic,
    SyntheticConfig,
    generate,
    generate_chunks,
    generate_ground_truth,
    write_csv,
)
from cofactor.errors import ParameterError

SMALL = SyntheticConfig(n_users=700, n_items=90, n_ratings=9_000)


@st.composite
def configs(draw: st.DrawFn) -> SyntheticConfig:
    n_users, n_items = draw(st.integers(1, 600)), draw(st.integers(1, 50))
    fewest = draw(st.integers(1, n_items))
    most = draw(st.integers(fewest, n_items))
    return SyntheticConfig(
        n_users=n_users,
        n_items=n_items,
        n_ratings=draw(st.integers(n_users * fewest, n_users * most)),
        rating_levels=draw(st.sampled_from([(1.0, 2.0, 3.0), (0.5, 1.0, 5.0), (3.0,)])),
        factors=draw(st.integers(0, 3)),
        popularity=draw(st.sampled_from([0.0, 1.0, 3.0, 60.0])),
        activity_std=draw(st.sampled_from([0.0, 1.0, 3.0])),
        min_ratings_per_user=fewest,
        max_ratings_per_user=most,
        genres=draw(st.integers(1, n_items)),
        heavy_share=draw(st.sampled_from([0.0, 0.1, 1.0])),
        heavy_focus=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


def counts_of(rows: object, n: int) -> Int64:
    return np.bincount(np.asarray(rows), minlength=n)


@settings(max_examples=40, deadline=None)
@given(configs(), st.integers(0, 3))
def test_sizes_are_exact_and_pairs_distinct(config: SyntheticConfig, seed: int) -> None:
    table = generate(config, seed=seed).interactions
    assert (table.n_users, table.n_items, len(table)) == (config.n_users, config.n_items, config.n_ratings)
    key = table.u.astype(np.int64) * config.n_items + table.i
    assert (np.diff(key) > 0).all()  # sorted, and no pair twice
    per_user = counts_of(table.u, config.n_users)
    assert (
        config.min_ratings_per_user
        <= per_user.min()
        <= per_user.max()
        <= (config.max_ratings_per_user or config.n_items)
    )
    assert set(np.unique(table.values)) <= set(config.rating_levels)
    assert table.i.max() < config.n_items


@settings(max_examples=20, deadline=None)
@given(configs(), st.integers(1, 3_000))
def test_results_do_not_depend_on_the_chunk_size(config: SyntheticConfig, chunk: int) -> None:
    chunks = list(generate_chunks(config, seed=5, chunk_size=chunk))
    assert [len(c.u) for c in chunks[:-1]] == [chunk] * (len(chunks) - 1)
    assert 0 < len(chunks[-1].u) <= chunk
    streamed_columns, table = Chunk.concatenate(chunks), generate(config, seed=5).interactions
    assert table.times is not None
    for streamed, expected in zip(streamed_columns, (table.u, table.i, table.values, table.times), strict=True):
        assert streamed.dtype == expected.dtype
        assert (streamed == expected).all()


def test_results_are_reproducible_by_seed() -> None:
    first, same, other = (generate(SMALL, seed=seed).interactions for seed in (3, 3, 4))
    assert first.frame().equals(same.frame())
    assert not first.frame().equals(other.frame())


def test_more_users_do_not_change_the_parameters_of_items() -> None:
    few, many = generate_ground_truth(SMALL), generate_ground_truth(replace(SMALL, n_users=900, n_ratings=20_000))
    assert (few.item_factors == many.item_factors).all()
    assert (few.item_bias == many.item_bias).all()


def test_values_are_the_expected_ones_plus_noise() -> None:
    synthetic = generate(replace(SMALL, noise_std=0.0, rating_levels=tuple(np.arange(-5, 12.0, 0.01).tolist())))
    table = synthetic.interactions
    assert np.abs(synthetic.expected(table.u, table.i) - table.values).max() < 0.006
    noisy = generate(
        replace(SMALL, n_ratings=40_000, noise_std=0.7, rating_levels=tuple(np.arange(-8, 15.0, 0.01).tolist()))
    )
    table = noisy.interactions
    noise = table.values - noisy.expected(table.u, table.i)
    assert abs(noise.mean()) < 4 * 0.7 / math.sqrt(len(noise))
    assert noise.std() == pytest.approx(0.7, rel=0.03)


def test_expected_is_the_formula_and_broadcasts() -> None:
    synthetic = generate(replace(SMALL, genres=3, taste_std=0.5, heavy_share=0.2, heavy_bonus=1.0))
    u, i = int(np.flatnonzero(synthetic.heavy)[0]), 4
    parts = [
        synthetic.config.mean,
        synthetic.user_bias[u],
        synthetic.item_bias[i],
        synthetic.user_factors[u] @ synthetic.item_factors[i],
    ]
    by_hand = math.fsum(map(float, [*parts, synthetic.taste[u, synthetic.genre[i]], 1.0]))  # item 4 is of genre 0
    assert synthetic.genre[i] == 0
    assert float(synthetic.expected(u, i)) == pytest.approx(by_hand, abs=1e-5)
    grid = synthetic.expected(np.arange(5)[:, None], np.arange(7)[None, :])
    assert grid.shape == (5, 7)
    assert grid[2, 3] == synthetic.expected(2, 3)


def test_standard_deviations_are_those_of_the_config() -> None:
    config = SyntheticConfig(
        n_users=4_000, n_items=4_000, n_ratings=4_000, factors=8, factor_std=0.6, genres=4, taste_std=0.5
    )
    truth = generate_ground_truth(config)
    dots = np.einsum("rf,rf->r", truth.user_factors, truth.item_factors)
    assert dots.std() == pytest.approx(0.6, rel=0.1)
    assert truth.user_bias.std() == pytest.approx(config.user_bias_std, rel=0.1)
    assert truth.taste.std() == pytest.approx(0.5, rel=0.05)
    assert np.abs(np.corrcoef(truth.taste.T) - np.eye(4)).max() < 0.1
    assert counts_of(truth.genre, 4).tolist() == [1_000] * 4


def test_items_are_drawn_by_their_popularity() -> None:
    """One rating per user: the counts must be multinomial with the popularities (chi-square, 4 sd)."""
    config = SyntheticConfig(
        n_users=60_000, n_items=40, n_ratings=60_000, activity_std=0.0, popularity=1.2, popularity_offset=3
    )
    synthetic = generate(config)
    expected = synthetic.popularity * config.n_ratings
    chi = float(((counts_of(synthetic.interactions.i, 40) - expected) ** 2 / expected).sum())
    assert abs(chi - 39) < 4 * math.sqrt(2 * 39)


@pytest.mark.parametrize("per_user", [3, 11])
def test_draws_without_replacement_are_successive(per_user: int) -> None:
    """The probability that an item is in n successive draws, compared with a slow simulation by definition.

    With 11 of 12 items the exponential races complete draws that rejection cannot.
    """
    config = SyntheticConfig(
        n_users=4_000,
        n_items=12,
        n_ratings=4_000 * per_user,
        activity_std=0.0,
        popularity=4.0,
        popularity_offset=0.0,
    )
    synthetic = generate(config, seed=1)
    generator = np.random.default_rng(0)
    simulated = np.zeros(12)
    for _ in range(4_000):
        simulated[generator.choice(12, per_user, replace=False, p=synthetic.popularity)] += 1
    share = counts_of(synthetic.interactions.i, 12) / 4_000
    spread = np.sqrt(2 * np.maximum(share * (1 - share), 1e-3) / 4_000)
    assert (np.abs(share - simulated / 4_000) < 4.5 * spread).all()


def heavy_data() -> Synthetic:
    return generate(HEAVY_SHAPE, seed=2)


def test_heavy_users_rate_more_and_mostly_one_genre() -> None:
    synthetic = heavy_data()
    table = synthetic.interactions
    per_user = counts_of(table.u, 2_000)
    assert synthetic.heavy.sum() == 160
    assert per_user[synthetic.heavy].mean() / per_user[~synthetic.heavy].mean() == pytest.approx(5, rel=0.01)
    on_genre_0 = counts_of(table.u[synthetic.genre[table.i] == 0], 2_000)
    assert np.abs(on_genre_0[synthetic.heavy] - 0.7 * per_user[synthetic.heavy]).max() <= 0.5
    assert on_genre_0[~synthetic.heavy].sum() / per_user[~synthetic.heavy].sum() < 0.25


def test_only_heavy_users_add_a_star_and_only_on_their_genre() -> None:
    synthetic, plain = heavy_data(), generate(replace(HEAVY_SHAPE, heavy_bonus=0.0), seed=2)
    grid = np.arange(2_000)
    added = synthetic.expected(grid[:, None], grid[None, :500]) - plain.expected(grid[:, None], grid[None, :500])
    theirs = synthetic.heavy[:, None] & (synthetic.genre[None, :500] == 0)
    assert np.allclose(added, np.where(theirs, 1.0, 0.0))


def test_without_heavy_users_the_parameters_are_the_same() -> None:
    synthetic = generate(replace(HEAVY_SHAPE, heavy_share=0.0), seed=2)
    assert not synthetic.heavy.any()
    assert (synthetic.taste == heavy_data().taste).all()
    assert counts_of(synthetic.interactions.u, 2_000).tolist() == [50] * 2_000


def test_focus_on_a_genre_with_too_few_items_spills_over() -> None:
    config = SyntheticConfig(
        n_users=10, n_items=20, n_ratings=150, genres=10, activity_std=0, heavy_share=1, heavy_focus=1
    )
    synthetic = generate(config)
    on_genre_0 = counts_of(synthetic.interactions.u[synthetic.genre[synthetic.interactions.i] == 0], 10)
    assert on_genre_0.tolist() == [2] * 10


def gini(counts: Int64) -> float:
    ascending = np.sort(counts)
    n = len(ascending)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * ascending.sum()))


def test_the_movielens_1m_shape_is_as_skewed_as_movielens() -> None:
    synthetic = generate(MOVIELENS_1M_SHAPE).interactions
    assert (len(synthetic), synthetic.n_users, synthetic.n_items) == (1_000_209, 6_040, 3_706)
    per_user, per_item = counts_of(synthetic.u, synthetic.n_users), counts_of(synthetic.i, synthetic.n_items)
    assert 20 <= per_user.min() <= per_user.max() <= 2_314
    assert 0.58 < gini(per_item) < 0.70
    assert 70 < np.median(per_user) < 120


def test_the_movielens_20m_shape_is_as_skewed_as_movielens() -> None:
    """A tenth of its users, with the same number of ratings each; the full size is a benchmark."""
    shape = MOVIELENS_20M_SHAPE
    assert (shape.n_users, shape.n_items, shape.n_ratings) == (138_493, 26_744, 20_000_263)
    synthetic = generate(replace(shape, n_users=shape.n_users // 10, n_ratings=shape.n_ratings // 10)).interactions
    per_user, per_item = counts_of(synthetic.u, synthetic.n_users), np.sort(counts_of(synthetic.i, synthetic.n_items))
    assert per_user.min() == 20
    assert 2_000 < per_user.max() <= 9_254
    assert 0.27 < per_item[-267:].sum() / len(synthetic) < 0.34
    assert 0.87 < gini(per_item) < 0.93


def test_the_csv_file_holds_the_same_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "made.csv", SMALL, seed=7)
    synthetic = generate(SMALL, seed=7).interactions
    read = pl.read_csv(path, schema={"user": pl.Int64, "item": pl.Int64, "value": pl.Float32, "time": pl.Int64})
    assert read.equals(synthetic.frame())
    assert [file.name for file in tmp_path.iterdir()] == ["made.csv"]


def test_an_interrupted_file_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", cut_off)
    with pytest.raises(OSError, match="No space left"):
        write_csv(tmp_path / "made.csv", SMALL)
    assert not list(tmp_path.iterdir())


def test_the_table_is_ready_to_use() -> None:
    synthetic = generate(replace(SMALL, genres=3))
    table = synthetic.interactions
    assert table.kind == "ratings"
    assert table.scale is not None
    assert table.scale.levels == SMALL.rating_levels
    assert table.item_table is not None
    assert table.item_table["genres"].to_list()[::30] == ["genre 0", "genre 1", "genre 2"]
    assert table.times is not None
    assert 1_577_836_800 <= table.times.min() <= table.times.max() < 1_609_459_200
    assert not table.values.flags.writeable
    assert not synthetic.user_factors.flags.writeable


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"n_users": 0}, "n_users, n_items and genres must be at least 1"),
        ({"n_items": 0}, "n_users, n_items and genres must be at least 1"),
        ({"genres": 501}, "genres must be at most n_items, 500"),
        ({"n_ratings": 999}, "n_ratings must lie between 1,000 and 500,000"),
        ({"n_ratings": 500_001}, "n_ratings must lie between"),
        ({"min_ratings_per_user": 0}, "must satisfy 1 <= min <= max <= n_items, 500"),
        ({"max_ratings_per_user": 501}, "must satisfy 1 <= min <= max <= n_items, 500"),
        ({"rating_levels": (2.0, 1.0)}, "rating_levels must be non-empty and in ascending order"),
        ({"rating_levels": ()}, "rating_levels must be non-empty and in ascending order"),
        ({"noise_std": -1.0}, "must not be negative"),
        ({"popularity_offset": -1.0}, "above -1"),
        ({"heavy_share": 1.1}, "heavy_share and heavy_focus must be from 0 to 1"),
        ({"heavy_focus": -0.1}, "heavy_share and heavy_focus must be from 0 to 1"),
    ],
)
def test_an_invalid_config_is_rejected_with_the_reason(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SyntheticConfig(**settings_)  # type: ignore[arg-type]


def test_empty_chunks() -> None:
    with pytest.raises(ParameterError, match="chunk_size must be at least 1"):
        next(generate_chunks(SMALL, chunk_size=0))
    with pytest.raises(ParameterError, match="chunks must be a list of one or more chunks"):
        Chunk.concatenate([])


def test_one_user_one_item_one_level() -> None:
    synthetic = generate(SyntheticConfig(n_users=1, n_items=1, n_ratings=1, rating_levels=(4.0,), factors=0))
    assert synthetic.interactions.frame().select("user", "item", "value").rows() == [(0, 0, 4.0)]
    assert synthetic.user_factors.shape == (1, 0)
