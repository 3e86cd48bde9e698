"""LIBMF's matrix factorization by SGD: real values, squared error, no biases, no range."""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

import numpy as np
from measuring import Mark, interactions, mark, options, peak_mb, report, rmse, seconds, test_rows, two_or_more

with redirect_stdout(sys.stderr):  # it prints the path of its library
    from libmf import mf

PAIRS = 3
"""How many times the two fits of different length are compared."""


def triples(folder: Path) -> np.ndarray:
    """The interactions as LIBMF's Python binding wants them: (n, 3) float32 of u, i, value."""
    columns = interactions(folder)
    rows = np.empty((len(columns[0]), 3), dtype=np.float32)
    for place, column in enumerate(columns):
        rows[:, place] = column
    if max(int(rows[:, 0].max()), int(rows[:, 1].max())) >= 2**24:
        raise SystemExit("libmf: row numbers of 2**24 and above are not exact in the float32 that its binding takes")
    return rows


def fit(rows: np.ndarray, args: Namespace, *, iterations: int) -> tuple[mf.MF, Mark]:
    """A fitted model and the wall and CPU seconds it took."""
    model = mf.MF(
        fun=mf.P_L2_MFR,
        k=args.factors,
        nr_threads=args.threads,
        nr_iters=iterations,
        lambda_p1=0.0,
        lambda_q1=0.0,
        lambda_p2=0.1,
        lambda_q2=0.1,
        eta=0.1,
        quiet=True,
    )
    start = mark()
    model.fit(rows)
    return model, mark().since(start)


def per_iteration(rows: np.ndarray, args: Namespace) -> dict[str, float]:
    """Median seconds of an iteration: what twice as many take longer, since LIBMF has no callback.

    Each fit leaks its copy of the rows, so memory must be read before this is called.
    """
    longer = []
    for _ in range(PAIRS):
        _, once = fit(rows, args, iterations=args.iterations)
        _, twice = fit(rows, args, iterations=2 * args.iterations)
        longer.append(twice.since(once))
    return {
        "seconds_per_iteration": statistics.median(span.wall for span in longer) / args.iterations,
        "cpu_seconds_per_iteration": statistics.median(span.cpu for span in longer) / args.iterations,
    }


def predictions(model: mf.MF, u: np.ndarray, i: np.ndarray) -> np.ndarray:
    """p_u . q_i; the mean where u or i had no training row (LIBMF makes such factors NaN). (n,) float32

    From the factors, because the binding's own predict() reads its pairs in the wrong order.
    """
    P, Q = model.p_factors(), model.q_factors()
    is_known = (u < len(P)) & (i < len(Q))
    predicted = np.full(len(u), np.nan, dtype=np.float32)
    predicted[is_known] = np.einsum("nk,nk->n", P[u[is_known]], Q[i[is_known]])
    return np.where(np.isnan(predicted), np.float32(model.model.b), predicted)


def held_out(model: mf.MF, rows: np.ndarray, folder: Path) -> dict[str, float]:
    """RMSE on the test arrays, predictions clipped to the training values' range; {} without such arrays."""
    test = test_rows(folder)
    if test is None:
        return {}
    u, i, values = test
    predicted = predictions(model, u, i)
    return {"rmse": rmse(values, np.clip(predicted, rows[:, 2].min(), rows[:, 2].max()))}


def command_line() -> Namespace:
    """Return the options of the runner. There is no seed: LIBMF always uses the same one."""
    parser = options("LIBMF: matrix factorization for ratings")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=two_or_more, default=5)
    return parser.parse_args()


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    rows = triples(args.data)
    model, took = fit(rows, args, iterations=args.iterations)
    fit_peak_mb = peak_mb()
    report(
        "libmf",
        version("libmf"),
        args,
        **per_iteration(rows, args),
        **seconds("fit", took),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **held_out(model, rows, args.data),
    )


if __name__ == "__main__":
    main()
