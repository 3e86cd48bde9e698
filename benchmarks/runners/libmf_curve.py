"""LIBMF's error on the test rows by time: one fit after another, each with more iterations."""

from __future__ import annotations

import statistics
from argparse import ArgumentTypeError, Namespace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from libmf_sgd import fit, held_out, triples
from measuring import options, peak_mb, report

REPEATS = 3
"""Fits of each length, of which the medians count."""


def counts(text: str) -> list[int]:
    """An option's type: "1,2,5" as [1, 2, 5]."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ArgumentTypeError(f"must be numbers with commas between them, not {text!r}") from None


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("LIBMF: error by time for ratings")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--counts", type=counts, default=counts("1,2,3,5,8,10,15,20,30"), help="of iterations")
    return parser.parse_args()


def point(rows: np.ndarray, args: Namespace, folder: Path, *, iterations: int) -> list[float]:
    """One point of the curve: [iterations, wall seconds, CPU seconds, RMSE]."""
    fits = []
    for _ in range(REPEATS):
        model, took = fit(rows, args, iterations=iterations)
        fits.append((took.wall, took.cpu, held_out(model, rows, folder)["rmse"]))
    return [iterations, *(statistics.median(column) for column in zip(*fits, strict=True))]


def main() -> None:
    args = command_line()
    if not (args.data / "test_u.npy").exists():
        raise SystemExit(f"{args.data} has no test_u.npy: a curve needs rows to test on")
    imports_mb = peak_mb()
    rows = triples(args.data)
    fit(rows, args, iterations=1)  # starts the threads
    fit_peak_mb = peak_mb()
    report(
        "libmf",
        version("libmf"),
        args,
        curve=[point(rows, args, args.data, iterations=count) for count in args.counts],
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
    )


if __name__ == "__main__":
    main()
