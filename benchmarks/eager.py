"""The anime case: a few eager fans of one genre in a film site. Are they found, does the loop run, what helps?

    python benchmarks/eager.py               20 seeds (about a quarter of an hour), writes benchmarks/eager.md
    python benchmarks/eager.py --seeds 3     fewer

The world is `EAGER_SHAPE`: 2,000 users x 2,000 items in 10 genres, 100,000 ratings; 8 % of users rate five times as
much as others, 70 % of it in genre 0, one star higher. Which users are eager is hidden from the audit.

Audit: groups of histories (`taste_groups`), their influence against 50 permutations; found means that exactly one group
is flagged and 80 % of it is eager; quiet, in the same seed's world with nobody eager, that none is.
Loop: ten rounds of `simulate`; growth is genre 0's share of what the others are shown, mean of rounds 8 to 10 minus
round 1, minus the same with nobody eager. Excess is its share in rounds 8 to 10 minus that in lists by true tastes;
loss is what the others' NDCG by true tastes falls by, against the plain lists, mean of all rounds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from cofactor.audit import PLAIN, Remedy, Simulation, Tastes, influence, remedies, simulate, taste_groups
from cofactor.data.synthetic import Synthetic, generate
from cofactor.data.world import EAGER_SHAPE
from cofactor.evaluate.intervals import bootstrap_interval

PAGE = Path(__file__).parent / "eager.md"
ESTIMATOR = cofactor.BiasedMF(factors=16)
CALM = replace(EAGER_SHAPE, eager_share=0.0)


def flagged(made: Synthetic, seed: int) -> list[float]:
    """The share of eager users in each flagged group."""
    rec = cofactor.Recommender.fit(ESTIMATOR, made.interactions, seed=seed)
    groups = taste_groups(made.interactions.by_user, made.interactions.n_items, seed=seed)
    found = influence(rec, groups, seed=seed).groups
    return [float(made.eager[groups == g].mean()) for g in found.filter(found["flagged"])["group"]]


def run(made: Synthetic, seed: int, remedy: Remedy) -> Simulation:
    world = made.world
    expected = made.expected(*np.indices((world.n_users, world.n_items)))
    looks = np.where(made.eager, 5, 1)
    tastes = Tastes(expected, world.noise_sd, world.levels)
    return simulate(ESTIMATOR, made.interactions, tastes, remedy=remedy, looks=looks, seed=seed)


def true_share(made: Synthetic) -> float:
    """Genre 0's share of the others' lists where they are made by true tastes."""
    expected = made.expected(*np.indices((made.world.n_users, made.world.n_items)))
    expected[made.interactions.u, made.interactions.i] = -np.inf
    best = np.argsort(-expected, axis=1, kind="stable")[:, :10]
    return float((made.genre[best] == 0)[~made.eager].mean())


def one_seed(seed: int, others: tuple[Remedy, ...]) -> dict[str, Any]:
    eager, calm = generate(EAGER_SHAPE, seed=seed), generate(CALM, seed=seed)
    found = {"flagged": flagged(eager, seed), "calm": flagged(calm, seed)}
    of_genre, ordinary, late = eager.genre == 0, ~eager.eager, slice(7, 10)
    plain, quiet = run(eager, seed, PLAIN), run(calm, seed, PLAIN)
    shares = plain.share(of_genre, ordinary)
    quiet_shares = quiet.share(calm.genre == 0, np.ones(CALM.n_users, bool))
    truth = true_share(eager)
    found |= {
        "growth": float((shares[late].mean() - shares[0]) - (quiet_shares[late].mean() - quiet_shares[0])),
        "first": float(shares[0]), "late": float(shares[late].mean()), "truth": truth,
        "excess": float(shares[late].mean() - truth), "remedies": {},
    }  # fmt: skip
    before = plain.accuracy[:, ordinary].mean()
    for remedy in others:
        one = run(eager, seed, remedy)
        excess = float(one.share(of_genre, ordinary)[late].mean() - truth)
        found["remedies"][remedy.name] = (excess, float(1 - one.accuracy[:, ordinary].mean() / before))
    return found


def page(seeds: list[dict[str, Any]]) -> str:
    caught = [len(s["flagged"]) == 1 and s["flagged"][0] >= 0.8 for s in seeds]
    quiet = [not s["calm"] for s in seeds]
    growth = bootstrap_interval([s["growth"] for s in seeds])
    plain = np.mean([s["excess"] for s in seeds])
    lines = [
        "# The eager fans of one genre",
        "",
        f"Made by `python benchmarks/eager.py`, {len(seeds)} seeds, {ESTIMATOR!r}.",
        "",
        f"- found: {sum(caught)} of {len(seeds)}; nobody flagged where nobody is eager: {sum(quiet)} of {len(seeds)}",
        f"- the loop: genre 0's share grows by {growth.mean:+.3f} ({growth.low:+.3f} to {growth.high:+.3f}) more",
        f"- excess over true tastes in rounds 8 to 10, plain: {plain:+.3f}",
        "",
        "| remedy | excess | of the plain one's size | loss of the others' true NDCG |",
        "|-|-|-|-|",
    ]
    for name in seeds[0]["remedies"]:
        excess, loss = np.mean([s["remedies"][name] for s in seeds], axis=0)
        lines.append(f"| {name} | {excess:+.3f} | {abs(excess) / max(abs(plain), 1e-9):.2f} | {loss:.1%} |")
    lines += [
        "",
        "| seed | eager share of the flagged | flagged, calm | share, round 1 | rounds 8-10 | true tastes | growth |",
    ]
    lines.append("|-|-|-|-|-|-|-|")
    for number, s in enumerate(seeds):
        groups = ", ".join(f"{share:.2f}" for share in s["flagged"]) or "none"
        cells = (groups, len(s["calm"]), *(f"{s[k]:.3f}" for k in ("first", "late", "truth")), f"{s['growth']:+.3f}")
        lines.append(f"| {number} | {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    seeds = []
    for seed in range(given.seeds):
        seeds.append(one_seed(seed, remedies()))
        print(seed, seeds[-1], flush=True)
    PAGE.write_text(page(seeds))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
