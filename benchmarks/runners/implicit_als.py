"""implicit's AlternatingLeastSquares by conjugate gradients, and its top n for all users."""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from implicit.als import AlternatingLeastSquares
from measuring import (
    Mark,
    mark,
    ndcg,
    options,
    peak_mb,
    per_iteration,
    report,
    save_factors,
    seconds,
    two_or_more,
    user_items,
)
from scipy.sparse import csr_matrix

BATCH = 5000
"""Users in one call of recommend: as fast as one call for all, and up to a sixth faster than 1,000."""


def recommend_all(model: AlternatingLeastSquares, matrix: csr_matrix, n: int) -> np.ndarray:
    """The n best unseen items of every user: (n_users, n) int32."""
    best = np.empty((matrix.shape[0], n), dtype=np.int32)
    for start in range(0, matrix.shape[0], BATCH):
        users = np.arange(start, min(start + BATCH, matrix.shape[0]))
        histories = matrix[start : start + BATCH]
        best[users], _ = model.recommend(users, histories, N=n, filter_already_liked_items=True)
    return best


def timed_recommend_all(model: AlternatingLeastSquares, matrix: csr_matrix, n: int) -> dict[str, float]:
    """Wall and CPU seconds of `recommend_all`, and the process' peak after it."""
    start = mark()
    recommend_all(model, matrix, n)
    took = mark().since(start)
    return {
        "recommend_seconds": took.wall,
        "recommend_cpu_seconds": took.cpu,
        "recommend_peak_mb": peak_mb(),
    }


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("implicit: ALS for events")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=two_or_more, default=5)
    # a value v weighs alpha * v - 1 more than a blank: at alpha 1 a value of 1 would be no work at all
    parser.add_argument("--alpha", type=float, default=10.0)
    parser.add_argument("--reg", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=10, help="how many items to recommend to each user")
    parser.add_argument("--no-recommend", action="store_true", help="fit only")
    parser.add_argument("--save", metavar="FOLDER", type=Path, help="write the factors there")
    return parser.parse_args()


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    matrix = user_items(args.data)
    model = AlternatingLeastSquares(
        factors=args.factors,
        regularization=args.reg,
        alpha=args.alpha,
        use_cg=True,
        iterations=args.iterations,
        num_threads=args.threads,
        random_state=args.seed,
    )
    marks: list[Mark] = []
    start = mark()
    model.fit(matrix, show_progress=False, callback=lambda *_: marks.append(mark()))
    took = mark().since(start)
    fit_peak_mb = peak_mb()
    if args.save:
        save_factors(args.save, users=model.user_factors, items=model.item_factors)
    ranked = {} if args.no_recommend else timed_recommend_all(model, matrix, args.n)
    report(
        "implicit",
        version("implicit"),
        args,
        # the marks end an iteration each, so the transposition before the first is in no interval
        **per_iteration(marks),
        **seconds("fit", took),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **ranked,
        **ndcg(args.data, matrix, lambda users: model.user_factors[users] @ model.item_factors.T),
    )


if __name__ == "__main__":
    main()
