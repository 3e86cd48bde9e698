"""How long implicit takes to answer one user: factors from files, one call of recommend at a time.

BLAS gets the threads too, against implicit's advice for fitting: on two idle cores that takes a fifth off a catalog
of 27,000 items and nearly halves one of a million. Where another process holds a core, it is many times slower.
"""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from implicit.als import AlternatingLeastSquares
from measuring import mark, options, peak_mb, report, user_items
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

WARM_UP = 50
"""Calls before the clock runs."""


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("implicit: the latency of one user's top n")
    parser.add_argument("--factors-from", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--no-history", action="store_true", help="empty histories; the data folder is not read")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="draws the users")
    return parser.parse_args()


def load_model(folder: Path, *, threads: int) -> AlternatingLeastSquares:
    """A model with the saved factors that was never fitted."""
    users, items = np.load(folder / "user_factors.npy"), np.load(folder / "item_factors.npy")
    model = AlternatingLeastSquares(factors=items.shape[1], num_threads=threads)
    model.user_factors, model.item_factors = users, items
    return model


def histories(model: AlternatingLeastSquares, args: Namespace) -> csr_matrix:
    """The users' rows, or as many empty ones."""
    if args.no_history:
        return csr_matrix((len(model.user_factors), len(model.item_factors)), dtype=np.float32)
    return user_items(args.data)


def latencies(
    model: AlternatingLeastSquares, matrix: csr_matrix, users: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Wall and CPU milliseconds of each user's call; taking the history's row out of the matrix counts."""
    spans = []
    for user in users:
        start = mark()
        model.recommend(user, matrix[user], N=n)
        spans.append(mark().since(start))
    wall, cpu = (np.array(column) * 1000 for column in zip(*spans, strict=True))
    return wall, cpu


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    model = load_model(args.factors_from, threads=args.threads)
    matrix = histories(model, args)
    n_users = min(matrix.shape[0], len(model.user_factors))
    users = np.random.default_rng(args.seed).integers(n_users, size=WARM_UP + args.calls)
    with threadpool_limits(args.threads, user_api="blas"):
        latencies(model, matrix, users[:WARM_UP], args.n)
        wall, cpu = latencies(model, matrix, users[WARM_UP:], args.n)
    report(
        "implicit",
        version("implicit"),
        args,
        items=len(model.item_factors),
        factors=model.factors,
        p50_ms=float(np.percentile(wall, 50)),
        p99_ms=float(np.percentile(wall, 99)),
        cpu_ms=float(cpu.mean()),
        imports_mb=imports_mb,
        peak_mb=peak_mb(),
    )


if __name__ == "__main__":
    main()
