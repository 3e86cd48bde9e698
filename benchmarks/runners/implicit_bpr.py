"""implicit's BayesianPersonalizedRanking with its own defaults, except the number of factors and epochs."""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version

from implicit.bpr import BayesianPersonalizedRanking
from measuring import Mark, mark, ndcg, options, peak_mb, per_iteration, report, seconds, two_or_more, user_items


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("implicit: BPR for events")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=two_or_more, default=5, help="implicit's own default is 100")
    parser.add_argument("--lr", type=float, default=0.01, help="implicit's own default")
    parser.add_argument("--reg", type=float, default=0.01, help="implicit's own default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-ndcg", action="store_true", help="fit only")
    return parser.parse_args()


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    matrix = user_items(args.data)
    model = BayesianPersonalizedRanking(
        factors=args.factors,
        learning_rate=args.lr,
        regularization=args.reg,
        iterations=args.iterations,
        use_gpu=False,
        num_threads=args.threads,
        random_state=args.seed,
    )
    marks: list[Mark] = []
    start = mark()
    model.fit(matrix, show_progress=False, callback=lambda *_: marks.append(mark()))
    took = mark().since(start)
    fit_peak_mb = peak_mb()
    quality = {}
    if not args.no_ndcg:
        # the biases are a column of the factors
        quality = ndcg(args.data, matrix, lambda users: model.user_factors[users] @ model.item_factors.T)
    report(
        "implicit",
        version("implicit"),
        args,
        **per_iteration(marks),
        **seconds("fit", took),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **quality,
    )


if __name__ == "__main__":
    main()
