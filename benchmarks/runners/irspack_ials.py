"""irspack's iALS, by conjugate gradients (its default), iALS++ or Cholesky.

With x_ui the values, S the pairs that have one, N_u and N_i their counts, U users and I items, it minimizes

    1/2 sum_S x_ui (p_u . q_i - 1)^2  +  alpha0/2 sum_ui (p_u . q_i)^2
    + reg/2 [ sum_u (alpha0 I + N_u)^nu |p_u|^2  +  sum_i (alpha0 U + N_i)^nu |q_i|^2 ]

(its default `loss_type`, "IALSPP"). So a blank weighs alpha0 and aims at 0, a pair in S weighs alpha0 + x_ui and aims
at x_ui / (alpha0 + x_ui), up to a constant. Factors start as normal(0, 0.1 / sqrt(factors)). An epoch solves the
users, then the items.
"""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from irspack.recommenders import IALSRecommender
from measuring import (
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


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("irspack: iALS for events")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=two_or_more, default=5)
    parser.add_argument("--solver", choices=["CG", "IALSPP", "CHOLESKY"], default="CG")
    parser.add_argument("--subspace", type=int, default=64, help="dimensions IALSPP solves at once; irspack's default")
    parser.add_argument("--alpha0", type=float, default=0.1)
    parser.add_argument("--reg", type=float, default=1e-3)
    parser.add_argument("--nu", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="FOLDER", type=Path, help="write the factors there")
    return parser.parse_args()


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    matrix = user_items(args.data)
    start = mark()
    model = IALSRecommender(
        matrix,
        n_components=args.factors,
        alpha0=args.alpha0,
        reg=args.reg,
        nu=args.nu,
        solver_type=args.solver,
        max_cg_steps=3,  # its default, and as many as implicit's
        ialspp_subspace_dimension=args.subspace,
        random_seed=args.seed,
        n_threads=args.threads,
    )
    model.start_learning()
    marks = [mark()]
    for _ in range(args.iterations):
        model.run_epoch()
        marks.append(mark())
    fit_peak_mb = peak_mb()
    users, items = model.get_user_embedding(), model.get_item_embedding()
    if not (np.isfinite(users).all() and np.isfinite(items).all()):
        raise SystemExit("irspack: factors that are not finite, so the times mean nothing")
    if args.save:
        save_factors(args.save, users=users, items=items)
    report(
        "irspack",
        version("irspack"),
        args,
        **per_iteration(marks),
        **seconds("fit", marks[-1].since(start)),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **ndcg(args.data, matrix, lambda rows: users[rows] @ items.T),
    )


if __name__ == "__main__":
    main()
