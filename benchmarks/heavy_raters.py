"""The anime case: a few heavy raters of one genre in a film service: detection, feedback loop and mitigations.

    python -m benchmarks.heavy_raters               20 seeds (about half an hour), writes benchmarks/heavy_raters.md
    python -m benchmarks.heavy_raters --seeds 3     fewer

The data are `HEAVY_SHAPE`: 2,000 users x 2,000 items in 10 genres, 100,000 ratings; 8 % of users rate five times as
much as others, 70 % of it in genre 0, one star higher. Which users are heavy raters is hidden from the audit.

Audit: groups of histories (`cluster_users`), their influence against 50 permutations; found means that exactly one
group is flagged and 80 % of it are heavy raters; quiet, without heavy raters at the same seed, that none is. Loop: ten
rounds of `simulate`; growth is genre 0's share of the others' lists, mean of rounds 8 to 10 minus round 1, minus the
same without heavy raters. Excess is its share in rounds 8 to 10 minus that in lists by true tastes; loss is the
decrease of the others' NDCG by true tastes against the plain lists, mean of all rounds. A mitigation helps if it at
least halves the size of the mean excess for less than 8 % of loss. Mitigations use ratings and item genres only, and
those that need genres are also run where these are unknown. Cautious ranking needs a model with a distribution, so it
is compared in a separate loop with a Bayesian model. The lists of round 10 are described by `Simulation.summary` for
the minority: others whose favorite genre is not genre 0.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from cofactor.audit import (
    CAUTIOUS,
    PLAIN,
    Mitigation,
    Simulation,
    Tastes,
    all_mitigations,
    cluster_users,
    influence,
    item_categories,
    simulate,
)
from cofactor.datasets.synthetic import Synthetic, generate
from cofactor.datasets.synthetic_config import HEAVY_SHAPE
from cofactor.metrics.intervals import bootstrap_interval

PAGE = Path(__file__).parent / "heavy_raters.md"
ESTIMATOR = cofactor.BiasedMF(factors=16)
BAYESIAN = cofactor.BayesianMF(iterations=40, burn_in=15, kept_samples=8)
CALM = replace(HEAVY_SHAPE, heavy_share=0.0)
LATE = slice(7, 10)
HALF, MOST_LOSS = 0.5, 0.08
SUMMARY_COLUMNS = ("coverage", "gini", "diversity", "most_shown", "favorite", "drift")


def flagged(data: Synthetic, seed: int) -> list[float]:
    """Return the share of heavy raters in each flagged group."""
    rec = cofactor.Recommender.fit(ESTIMATOR, data.interactions, seed=seed)
    groups = cluster_users(data.interactions.by_user, data.interactions.n_items, seed=seed)
    groups_frame = influence(rec, groups, seed=seed).groups
    return [float(data.heavy[groups == g].mean()) for g in groups_frame.filter(groups_frame["flagged"])["group"]]


def run(data: Synthetic, seed: int, mitigation: Mitigation, estimator: Any = ESTIMATOR) -> Simulation:
    config = data.config
    expected = data.expected(*np.indices((config.n_users, config.n_items)))
    views = np.where(data.heavy, 5, 1)
    tastes = Tastes(expected, config.noise_std, config.rating_levels)
    return simulate(estimator, data.interactions, tastes, mitigation=mitigation, views=views, seed=seed)


def true_share(data: Synthetic) -> float:
    """Return genre 0's share of the others' lists by true tastes."""
    expected = data.expected(*np.indices((data.config.n_users, data.config.n_items)))
    expected[data.interactions.u, data.interactions.i] = -np.inf
    best = np.argsort(-expected, axis=1, kind="stable")[:, :10]
    return float((data.genre[best] == 0)[~data.heavy].mean())


def summary_of(data: Synthetic, simulation: Simulation) -> dict[str, float]:
    """Return the last round of the summary of the minority."""
    kinds = item_categories(data.interactions.item_table, "genres")
    minority = ~data.heavy & (simulation.tastes.favorites(kinds) != 0)
    return simulation.summary(kinds, users=minority).select(SUMMARY_COLUMNS).row(-1, named=True)


def mitigations_to_compare() -> tuple[Mitigation, ...]:
    """Return `all_mitigations` with genres as kinds, and those that need kinds with inferred kinds."""
    blind = [
        mitigation for mitigation in all_mitigations() if "kinds" in mitigation.name or "calibrated" in mitigation.name
    ]
    return (
        *all_mitigations("genres"),
        *(replace(mitigation, name=f"{mitigation.name}, genres unknown") for mitigation in blind),
    )


def compared(
    data: Synthetic, seed: int, plain: Simulation, others: tuple[Mitigation, ...], estimator: Any
) -> list[Any]:
    """Return a row for the plain lists, then one for each mitigation, all with the same estimator."""
    of_genre, ordinary, truth = data.genre == 0, ~data.heavy, true_share(data)
    before, rows = plain.accuracy[:, ordinary].mean(), []
    for mitigation in (PLAIN, *others):
        simulation = plain if mitigation is PLAIN else run(data, seed, mitigation, estimator)
        excess = float(simulation.share(of_genre, ordinary)[LATE].mean() - truth)
        loss = float(1 - simulation.accuracy[:, ordinary].mean() / before)
        rows.append(
            {"seed": seed, "loop": estimator.name, "mitigation": mitigation.name, "excess": excess, "loss": loss}
        )
        rows[-1] |= summary_of(data, simulation)
    return rows


def one_seed(seed: int) -> dict[str, Any]:
    heavy, calm = generate(HEAVY_SHAPE, seed=seed), generate(CALM, seed=seed)
    result: dict[str, Any] = {"flagged": flagged(heavy, seed), "calm": flagged(calm, seed)}
    plain, quiet = run(heavy, seed, PLAIN), run(calm, seed, PLAIN)
    shares = plain.share(heavy.genre == 0, ~heavy.heavy)
    quiet_shares = quiet.share(calm.genre == 0, np.ones(CALM.n_users, bool))
    result |= {
        "growth": float((shares[LATE].mean() - shares[0]) - (quiet_shares[LATE].mean() - quiet_shares[0])),
        "first": float(shares[0]), "late": float(shares[LATE].mean()), "truth": true_share(heavy),
    }  # fmt: skip
    result["rows"] = compared(heavy, seed, plain, mitigations_to_compare(), ESTIMATOR)
    result["rows"] += compared(heavy, seed, run(heavy, seed, PLAIN, BAYESIAN), (CAUTIOUS,), BAYESIAN)
    return result


def comparison(rows: pl.DataFrame) -> list[str]:
    """Return one line for each mitigation, means of all seeds; the plain lists first."""
    lines = [
        "| loop | mitigation | excess | of the plain one's size | loss | seeds halved | helps | "
        + " | ".join(SUMMARY_COLUMNS).replace("_", " ") + " |",
        "|-" * (7 + len(SUMMARY_COLUMNS)) + "|",
    ]  # fmt: skip
    for (how,), of in rows.group_by("loop", maintain_order=True):
        plain = of.filter(mitigation=PLAIN.name)["excess"]
        for (name,), own in of.group_by("mitigation", maintain_order=True):
            excess, loss = own["excess"].mean(), own["loss"].mean()
            size = abs(excess) / max(abs(plain.mean()), 1e-9)
            halved = int((own["excess"].abs() <= HALF * plain.abs()).sum())
            helps = "" if name == PLAIN.name else "yes" if size <= HALF and loss < MOST_LOSS else "no"
            cells = [how, name, f"{excess:+.3f}", f"{size:.2f}", f"{loss:.1%}", f"{halved} of {len(own)}", helps]
            lines.append(f"| {' | '.join([*cells, *(f'{own[column].mean():.3f}' for column in SUMMARY_COLUMNS)])} |")
    return lines


def by_seed(rows: pl.DataFrame) -> list[str]:
    """Return excess and loss of each mitigation in each seed."""
    names = [
        name if how == ESTIMATOR.name else f"{name}, {how}"
        for how, name in rows.select("loop", "mitigation").unique(maintain_order=True).rows()
    ]
    lines = [f"| seed | {' | '.join(names)} |", "|-" * (1 + len(names)) + "|"]
    for (seed,), own in rows.group_by("seed", maintain_order=True):
        cells = (f"{excess:+.3f}, {loss:.1%}" for excess, loss in own.select("excess", "loss").rows())
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    return lines


def page(seeds: list[dict[str, Any]]) -> str:
    caught = [len(s["flagged"]) == 1 and s["flagged"][0] >= 0.8 for s in seeds]
    quiet = [not s["calm"] for s in seeds]
    growth = bootstrap_interval([s["growth"] for s in seeds])
    rows = pl.DataFrame([row for s in seeds for row in s["rows"]])
    lines = [
        "# The eager fans of one genre",
        "",
        f"Made by `python -m benchmarks.heavy_raters`, {len(seeds)} seeds, {ESTIMATOR!r}.",
        "",
        f"- found: {sum(caught)} of {len(seeds)}; nobody flagged where nobody is eager: {sum(quiet)} of {len(seeds)}",
        f"- the loop: genre 0's share grows by {growth.mean:+.3f} ({growth.low:+.3f} to {growth.high:+.3f}) more",
        "",
        "## What helps",
        "",
        "Excess: genre 0's share of what the others are shown in rounds 8 to 10, above that by true tastes. Loss: of",
        "the others' true NDCG@10, against the plain lists of the same loop; below 0 is a gain. Helps: the mean excess",
        f"is at least halved for less than {MOST_LOSS:.0%} of loss. Seeds halved: each by itself. The rest tells what",
        "the minority, others whose favorite genre is not genre 0, is shown in round 10 (see `Simulation.summary`).",
        "",
        *comparison(rows),
        "",
        f"The second loop is round {BAYESIAN!r}.",
        "",
        "## Excess and loss by seed",
        "",
        *by_seed(rows),
        "",
        "## Found, and the loop, by seed",
        "",
        "| seed | eager share of the flagged | flagged, calm | share, round 1 | rounds 8-10 | true tastes | growth |",
        "|-|-|-|-|-|-|-|",
    ]
    for number, s in enumerate(seeds):
        groups = ", ".join(f"{share:.2f}" for share in s["flagged"]) or "none"
        cells = (groups, len(s["calm"]), *(f"{s[k]:.3f}" for k in ("first", "late", "truth")), f"{s['growth']:+.3f}")
        lines.append(f"| {number} | {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    seeds = []
    for seed in range(args.seeds):
        seeds.append(one_seed(seed))
        print(seed, seeds[-1], flush=True)
    PAGE.write_text(page(seeds))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
