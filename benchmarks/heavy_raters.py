"""Feedback loops with a few heavy raters of one genre: excess exposure, its growth, and mitigations with their price.

    python -m benchmarks.heavy_raters                    at most 30 minutes on two cores
    python -m benchmarks.heavy_raters --sets 2 --seeds 2  a quick check, which writes nothing

It writes benchmarks/heavy_raters.md and the same rows to benchmarks/heavy_raters.json, which docs/audit.md reads.

Data: 12 synthetic sets drawn by seed (`draw_config`): 300 to 800 users and items, 20 to 60 ratings per user, 3-20 %
heavy raters with 2 to 10 times as many ratings as others, 50-80 % of them for items of genre 0, which they rate 0 to
1.5 stars higher. Activity is equal in one half of the sets and log-normal in the other half. Heavy raters view more
positions in proportion. Which users are heavy raters is unknown to the models and mitigations.

Loops: eight rounds of `simulate` for three models, with five seeds for each set. Excess is the share of genre 0 in the
lists of the other users minus its share in their lists by true preferences. It is split by `growth_parts`: round 1,
growth in the control without feedback, and growth due to feedback; the last rounds are 6 to 8.

Mitigations use ratings and item genres only, and have three seeds. Two of them are also run with inferred categories
in place of genres. The lower bound requires a predictive distribution and is compared with the plain lists of
BayesianMF (one seed, as for the other behaviors of users). Price: the decrease in NDCG by true preferences, relative to
the plain lists of the same loop, mean of all rounds.

Intervals are 95 % t intervals over the sets, whose values are means over seeds; those of single sets are over seeds.
The interval of the excess that is left, a ratio of means, is by Fieller's theorem (1954).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from cofactor.arrays import random_stream
from cofactor.audit import (
    CAUTIOUS,
    PLAIN,
    Mitigation,
    Simulation,
    Tastes,
    UserBehavior,
    all_mitigations,
    growth_parts,
    simulate,
)
from cofactor.datasets.synthetic import Synthetic, generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.metrics.intervals import Interval, t_interval
from cofactor.metrics.student_t import t_quantile

PAGE = Path(__file__).parent / "heavy_raters.md"
ROWS = PAGE.with_suffix(".json")
N_SETS, N_SEEDS, ROUNDS, LAST_ROUNDS = 12, 5, 8, 3
MITIGATION_SEEDS = 3
"""Maximum number of seeds for mitigations; plain lists and the control without feedback have all seeds."""
MODELS: dict[str, Any] = {
    "ExplicitALS": cofactor.ExplicitALS(factors=16),
    "BiasedMF": cofactor.BiasedMF(factors=16),
    "ImplicitALS": cofactor.ImplicitALS(factors=16),
}
BAYESIAN = cofactor.BayesianMF(iterations=40, burn_in=15, kept_samples=8)
DEFAULT = "position bias"
BEHAVIORS = {
    DEFAULT: UserBehavior(),
    "strong position bias": UserBehavior(position_bias=3.0),
    "following popularity": UserBehavior(conformity=1.0),
    "leaving when bored": UserBehavior(boredom=0.2),
}
WITH_BEHAVIORS = ("capped weight per user", "calibrated lists")
"""Mitigations that are also run with the other behaviors."""


def draw_config(seed: int) -> SyntheticConfig:
    """Draw a synthetic configuration from wide ranges; odd seeds have skewed activity."""
    stream = random_stream(seed, "configuration")
    n_users = int(stream.integers(300, 801))
    return SyntheticConfig(
        n_users=n_users,
        n_items=int(stream.integers(300, 801)),
        n_ratings=int(n_users * stream.uniform(20, 60)),
        popularity=stream.uniform(0.5, 1.3),
        genres=int(stream.integers(6, 13)),
        taste_std=stream.uniform(0.3, 0.7),
        heavy_share=float(np.exp(stream.uniform(np.log(0.03), np.log(0.2)))),
        heavy_multiplier=float(np.exp(stream.uniform(np.log(2), np.log(10)))),
        heavy_focus=stream.uniform(0.5, 0.8),
        heavy_bonus=stream.uniform(0, 1.5),
        activity_std=stream.uniform(0.5, 1.0) if seed % 2 else 0.0,
    )


def mitigations() -> tuple[Mitigation, ...]:
    """Return the mitigations with genres as categories, and those that use categories with inferred ones."""
    inferred = [m for m in all_mitigations() if "categories" in m.name or "calibrated" in m.name]
    return (
        *all_mitigations("genres"),
        *(replace(mitigation, name=f"{mitigation.name}, genres unknown") for mitigation in inferred),
    )


def run_set(number: int, n_seeds: int) -> tuple[list[dict[str, Any]], float]:
    """Return one row for each simulation on a synthetic set, and the seconds of CPU time."""
    begin = time.process_time()
    data, rows = generate(draw_config(number), seed=number), []
    plans = [(PLAIN, DEFAULT, True), (PLAIN, DEFAULT, False), *((m, DEFAULT, True) for m in mitigations())]
    chosen = [m for m in all_mitigations("genres") if m.name in WITH_BEHAVIORS]
    for name in list(BEHAVIORS)[1:]:
        plans += [(PLAIN, name, True), (PLAIN, name, False), *((m, name, True) for m in chosen)]
    for model, estimator in MODELS.items():
        for mitigation, behavior, feedback in plans:
            seeds = 1 if behavior != DEFAULT else n_seeds if mitigation is PLAIN else min(n_seeds, MITIGATION_SEEDS)
            for seed in range(seeds):
                run = simulation(data, estimator, mitigation, behavior, feedback, seed)
                rows.append(measured(data, run, number, seed, model, behavior, feedback))
    for mitigation in (PLAIN, CAUTIOUS):
        run = simulation(data, BAYESIAN, mitigation, DEFAULT, True, 0)
        rows.append(measured(data, run, number, 0, "BayesianMF", DEFAULT, True))
    return rows, time.process_time() - begin


def simulation(
    data: Synthetic, estimator: Any, mitigation: Mitigation, behavior: str, feedback: bool, seed: int
) -> Simulation:
    config = data.config
    expected = data.expected(*np.indices((config.n_users, config.n_items)))
    tastes = Tastes(expected, config.noise_std, config.rating_levels)
    views = np.where(data.heavy, max(1, round(config.heavy_multiplier)), 1)
    return simulate(
        estimator, data.interactions, tastes, mitigation=mitigation, behavior=BEHAVIORS[behavior], feedback=feedback,
        rounds=ROUNDS, views=views, seed=seed,
    )  # fmt: skip


def measured(
    data: Synthetic, run: Simulation, number: int, seed: int, model: str, behavior: str, feedback: bool
) -> dict[str, Any]:
    return {
        "set": number, "seed": seed, "model": model, "behavior": behavior, "mitigation": run.mitigation,
        "feedback": feedback, "excess": run.excess(data.genre == 0, ~data.heavy).tolist(),
        "accuracy": float(run.accuracy[:, ~data.heavy].mean()),
        "heavy_accuracy": float(run.accuracy[:, data.heavy].mean()),
    }  # fmt: skip


def ratio_interval(numerator: Any, denominator: Any) -> Interval:
    """Return the ratio of two means with its 95 % interval by Fieller's theorem; nan if the interval is unbounded."""
    a, b = np.asarray(numerator), np.asarray(denominator)
    (var_a, cov), (_, var_b) = np.cov(a, b) * t_quantile(0.975, len(a) - 1) ** 2 / len(a)
    ratio = float(a.mean() / b.mean())
    square, half_linear, constant = b.mean() ** 2 - var_b, a.mean() * b.mean() - cov, a.mean() ** 2 - var_a
    if square <= 0:
        return Interval(ratio, np.nan, np.nan)
    root = sqrt(max(half_linear**2 - square * constant, 0))
    return Interval(ratio, (half_linear - root) / square, (half_linear + root) / square)


def series(frame: pl.DataFrame, column: str) -> pl.Series:
    """Return the means over seeds and models of each set, in the order of the sets."""
    return frame.group_by("set").agg(pl.col(column).mean()).sort("set")[column]


def excess_rows(raw: pl.DataFrame, **wanted: Any) -> np.ndarray[Any, Any]:
    """Return the excess in each round, (n, n_rounds): means over seeds for each set."""
    rows = raw.filter(**wanted).sort("set", "seed")
    return np.stack([np.mean(part["excess"].to_list(), axis=0) for part in rows.partition_by("set")])


def split_row(loop: Any, control: Any) -> dict[str, Any]:
    parts = growth_parts(loop, control, last_rounds=LAST_ROUNDS)
    names = ("round_1", "growth_without", "growth_due", "last")
    return {name: list(part[1:]) for name, part in zip(names, parts.rows(), strict=True)}


def split_rows(raw: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the split of the excess for each model and behavior, over the sets (S) and within each set (D)."""
    rows: dict[str, dict[str, Any]] = {}
    for behavior in BEHAVIORS:
        for model in MODELS:
            plain = raw.filter(model=model, behavior=behavior, mitigation=PLAIN.name)
            values = [excess_rows(plain, feedback=feedback) for feedback in (True, False)]
            last = [value[:, -LAST_ROUNDS:].mean(axis=1) - value[:, 0] for value in values]
            counts = {"grew": int((last[0] > 0).sum()), "sets": len(last[0])}
            rows[f"S{len(rows) + 1}"] = {"behavior": behavior, "model": model} | split_row(*values) | counts
    number = 0
    for data_set in raw["set"].unique().sort():
        for model in MODELS:
            number += 1
            own = raw.filter(set=data_set, model=model, behavior=DEFAULT, mitigation=PLAIN.name).sort("seed")
            values = [own.filter(feedback=feedback)["excess"].to_list() for feedback in (True, False)]
            rows[f"D{number}"] = {"set": data_set, "model": model} | split_row(*values)
    return rows


def mitigation_rows(raw: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return excess and price of each mitigation, for each model and all three (M), and for other behaviors (B)."""
    loops = raw.filter(pl.col("seed") < MITIGATION_SEEDS, feedback=True).with_columns(
        last=pl.col("excess").list.tail(LAST_ROUNDS).list.mean(),
    )
    rows: dict[str, dict[str, Any]] = {}
    models: dict[str, list[str]] = {model: [model] for model in MODELS} | {"all three": list(MODELS)}

    def add(letter: str, model: str, members: list[str], behavior: str, names: list[str]) -> None:
        own = loops.filter(pl.col("model").is_in(members), behavior=behavior)
        keys = ["set", "seed", "model"]
        plain = own.filter(mitigation=PLAIN.name).select(
            *keys, plain_last="last", plain_accuracy="accuracy", plain_heavy="heavy_accuracy"
        )
        for name in names:
            paired = (
                own.filter(mitigation=name)
                .join(plain, on=keys)
                .with_columns(
                    loss=100 * (1 - pl.col("accuracy") / pl.col("plain_accuracy")),
                    heavy_loss=100 * (1 - pl.col("heavy_accuracy") / pl.col("plain_heavy")),
                    change=pl.col("last") - pl.col("plain_last"),
                )
            )
            last, plain_last = series(paired, "last"), series(paired, "plain_last")
            number = sum(label.startswith(letter) for label in rows) + 1
            rows[f"{letter}{number}"] = {
                "model": model, "behavior": behavior, "mitigation": name, "excess": list(t_interval(last)),
                "change": list(t_interval(series(paired, "change"))), "left": list(ratio_interval(last, plain_last)),
                "loss": list(t_interval(series(paired, "loss"))),
                "heavy_loss": list(t_interval(series(paired, "heavy_loss"))),
                "halved": int((last.abs() <= plain_last.abs() / 2).sum()), "sets": len(last),
            }  # fmt: skip

    names = [PLAIN.name, *(mitigation.name for mitigation in mitigations())]
    for model, members in models.items():
        add("M", model, members, DEFAULT, names)
    add("M", "BayesianMF", ["BayesianMF"], DEFAULT, [CAUTIOUS.name])
    for behavior in list(BEHAVIORS)[1:]:
        for model, members in models.items():
            add("B", model, members, behavior, list(WITH_BEHAVIORS))
    return rows


def rows_of(raw: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return all rows of the tables by their labels."""
    return split_rows(raw) | mitigation_rows(raw)


def cell(interval: list[float], digits: int) -> str:
    mean, low, high = interval
    bounds = "no interval" if np.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"
    return f"{mean:.{digits}f} ({bounds})"


def table(
    rows: dict[str, dict[str, Any]], letter: str, columns: dict[str, str | Callable[[dict[str, Any]], str]]
) -> list[str]:
    """Return the rows with this letter as a Markdown table."""
    lines = [f"| row | {' | '.join(columns)} |", "|-" * (1 + len(columns)) + "|"]
    for label, row in rows.items():
        if label.startswith(letter):
            cells = [str(row[key]) if isinstance(key, str) else key(row) for key in columns.values()]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def interval_of(key: str, digits: int = 3) -> Callable[[dict[str, Any]], str]:
    return lambda row: cell(row[key], digits)


def page(rows: dict[str, dict[str, Any]], configs: dict[int, SyntheticConfig], n_seeds: int, minutes: float) -> str:
    parts: dict[str, Any] = {
        "excess, round 1": interval_of("round_1"),
        "growth without feedback": interval_of("growth_without"),
        "growth due to feedback": interval_of("growth_due"),
        "excess, last rounds": interval_of("last"),
    }
    price: dict[str, Any] = {
        "excess, last rounds": interval_of("excess"),
        "change against plain lists": interval_of("change"),
        "excess left, ratio": interval_of("left", 2),
        "sets halved": lambda row: f"{row['halved']} of {row['sets']}",
        "loss of accuracy, %": interval_of("loss", 1),
        "loss of heavy raters, %": interval_of("heavy_loss", 1),
    }
    fields = ("n_users", "n_items", "n_ratings", "genres", "heavy_share", "heavy_multiplier", "heavy_focus",
              "heavy_bonus", "activity_std", "popularity", "taste_std")  # fmt: skip
    sets = [f"| set | {' | '.join(fields)} |", "|-" * (1 + len(fields)) + "|"]
    for number, config in configs.items():
        values = (getattr(config, field) for field in fields)
        cells = (f"{value:.2f}" if isinstance(value, float) else f"{value:,}" for value in values)
        sets.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join([
        "# Feedback loops with heavy raters, and mitigations", "",
        f"Made by `python -m benchmarks.heavy_raters` (about {minutes:.0f} minutes of CPU time):",
        f"{len(configs)} synthetic sets, {n_seeds} seeds, {ROUNDS} rounds. The first lines of the program define the",
        "data and measures. Values are means with 95 % intervals over the sets; \"all three\" are the means of",
        f"{', '.join(MODELS)}.", "",
        "## Mitigations and their price", "",
        "Excess is the share of genre 0 in the lists of users who are not heavy raters, minus its share by true",
        f"preferences, in rounds {ROUNDS - LAST_ROUNDS + 1} to {ROUNDS}; below 0, genre 0 is shown less than by true",
        "preferences. The loss is that of the same users (below 0, a gain); heavy raters have their own column.",
        "",
        *table(rows, "M", {"model": "model", "mitigation": "mitigation"} | price), "",
        "## Split of the excess", "",
        "Plain lists, for each behavior of the users and each model. The excess in the last rounds is the sum of the",
        "first three values. \"Grew\" counts the sets whose excess is larger in the last rounds than in round 1.", "",
        *table(rows, "S", {"behavior": "behavior", "model": "model"} | parts
               | {"grew": lambda row: f"{row['grew']} of {row['sets']}"}), "",
        "## Mitigations with other behaviors", "",
        *table(rows, "B", {"behavior": "behavior", "model": "model", "mitigation": "mitigation"} | price), "",
        "## Sets", "",
        *sets, "",
        "## Split of the excess in each set", "",
        f"Plain lists with position bias; intervals over {n_seeds} seeds.", "",
        *table(rows, "D", {"set": "set", "model": "model"} | parts), "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=N_SETS, help="number of sets, at least 2")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.environ["COFACTOR_THREADS"] = "1"
    begin, raw, cpu_seconds = time.perf_counter(), [], 0.0
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        for number, (rows, seconds) in enumerate(pool.map(run_set, range(args.sets), [args.seeds] * args.sets)):
            raw, cpu_seconds = raw + rows, cpu_seconds + seconds
            print(f"set {number}: {len(rows)} simulations, {time.perf_counter() - begin:.0f} s", flush=True)
    rows = rows_of(pl.DataFrame(raw, infer_schema_length=None))
    text = page(rows, {number: draw_config(number) for number in range(args.sets)}, args.seeds, cpu_seconds / 60)
    print(text)
    if (args.sets, args.seeds) == (N_SETS, N_SEEDS):
        PAGE.write_text(text, encoding="utf-8")
        ROWS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
