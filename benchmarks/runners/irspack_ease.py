"""irspack's DenseSLIMRecommender, that is EASE."""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version

from irspack.recommenders import DenseSLIMRecommender
from measuring import mark, ndcg, options, peak_mb, report, seconds, user_items


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("irspack: EASE for events")
    parser.add_argument("--reg", type=float, default=300.0, help="irspack's own default is 1")
    parser.add_argument("--no-ndcg", action="store_true", help="fit only")
    return parser.parse_args()


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    matrix = user_items(args.data)
    start = mark()
    model = DenseSLIMRecommender(matrix, reg=args.reg)
    model.learn()
    took = mark().since(start)
    fit_peak_mb = peak_mb()
    quality = {} if args.no_ndcg else ndcg(args.data, matrix, lambda users: matrix[users] @ model.W)
    report(
        "irspack",
        version("irspack"),
        args,
        **seconds("fit", took),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **quality,
    )


if __name__ == "__main__":
    main()
