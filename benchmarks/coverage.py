"""Coverage of the confidence intervals, and false alarms of the comparison of models, on simulated metrics.

    python -m benchmarks.coverage        about five minutes; writes coverage.md

The parameters of each population are drawn by seed (tests/support/coverage.py). Each row has 1,000 simulated sets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cofactor.arrays import Float64, random_stream
from cofactor.metrics.intervals import MIN_USERS
from cofactor.metrics.significance import holm, model_confidence_set
from tests.support.coverage import POPULATIONS, coverage

PAGE = Path(__file__).with_suffix(".md")
SIZES, RUNS, N_POPULATIONS = (20, 50, 200, 1000), 1000, 12
N_MODELS, FLIPS = 21, 499


def coverage_table() -> list[str]:
    """Measure the coverage for each population and number of users."""
    lines = ["| metric | population | users | covered | too high | too low |", "|-|-|-|-|-|-|"]
    for metric, population_of in POPULATIONS.items():
        for number in range(N_POPULATIONS):
            population = population_of(number)
            for n in SIZES:
                above, below, share = coverage(metric, population, n, runs=RUNS, seed=number)
                assert share == (n >= MIN_USERS)
                if share:
                    covered = f"{1 - above - below:.3f} | {above:.3f} | {below:.3f}"
                    lines.append(f"| {metric} | {population.description} | {n:,} | {covered} |")
                    print(lines[-1], flush=True)
    return lines


def identical_models(n: int, kind: str, stream: np.random.Generator) -> Float64:
    """Return the values of models with the same expectation for each of n users, higher is better."""
    shared, own = stream.standard_normal((n, 1)), stream.standard_normal((n, N_MODELS))
    if kind == "normal":
        return shared + 0.3 * own
    if kind == "squared errors":
        return -np.exp(shared) * (1 + 0.2 * own) ** 2
    return np.where(stream.random((n, N_MODELS)) < 0.7, 0.0, stream.beta(1, 3, (n, N_MODELS)))


def pairwise(values: Float64, seed: int) -> Float64:
    """Return the Holm-corrected p-values of paired sign-flip tests against the model with the highest mean."""
    best = int(values.mean(axis=0).argmax())
    differences = np.delete(values, best, axis=1) - values[:, [best]]
    signs = 2.0 * random_stream(seed, "pairwise").integers(0, 2, (FLIPS, len(values))) - 1
    is_extreme = np.abs(signs @ differences) >= np.abs(differences.sum(axis=0)) - 1e-9
    return holm((1 + is_extreme.sum(axis=0)) / (1 + FLIPS))


def false_alarm_table() -> list[str]:
    """Measure how often any of several equally good models is called worse than the apparent best."""
    lines = ["| values | users | paired tests against the best, Holm | model confidence set |", "|-|-|-|-|"]
    for kind in ("normal", "squared errors", "70% zeros"):
        for n in (50, 200, 1000):
            alarms = np.zeros((RUNS, 2), bool)
            for run in range(RUNS):
                values = identical_models(n, kind, random_stream(run, "identical models", n))
                p_set = model_confidence_set(values, flips=FLIPS, seed=run)
                alarms[run] = pairwise(values, run).min() < 0.05, p_set.min() < 0.05
            lines.append(f"| {kind} | {n:,} | {alarms[:, 0].mean():.3f} | {alarms[:, 1].mean():.3f} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    intro = (
        "# Coverage of intervals\n\n"
        "Coverage of nominal 95% intervals over users: the share of 1,000 simulated sets whose interval has the\n"
        'true value. "Too high" is the share of intervals above it. No set of 20 or 50 users has an interval, and\n'
        "each set of 200 or 1,000 users has one. Made by `python -m benchmarks.coverage`.\n"
    )
    alarms = (
        f"\nShare of 1,000 simulated sets of {N_MODELS} equally good models in which any model is called worse than\n"
        "the apparent best at p < 0.05.\n"
    )
    parts = [intro, *coverage_table(), alarms, *false_alarm_table()]
    PAGE.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
