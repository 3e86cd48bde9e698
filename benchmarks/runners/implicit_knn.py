"""implicit's CosineRecommender: each item's nearest items."""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version

from implicit.nearest_neighbours import CosineRecommender
from measuring import mark, ndcg, options, peak_mb, report, seconds, user_items


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("implicit: cosine neighbors for events")
    parser.add_argument("--neighbors", type=int, default=20, help="implicit's own default; the item itself is one")
    parser.add_argument("--no-ndcg", action="store_true", help="fit only")
    return parser.parse_args()


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    matrix = user_items(args.data)
    model = CosineRecommender(K=args.neighbors, num_threads=args.threads)
    start = mark()
    model.fit(matrix, show_progress=False)
    took = mark().since(start)
    fit_peak_mb = peak_mb()
    quality = {}
    if not args.no_ndcg:
        quality = ndcg(args.data, matrix, lambda users: (matrix[users] @ model.similarity).toarray())
    report(
        "implicit",
        version("implicit"),
        args,
        **seconds("fit", took),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **quality,
    )


if __name__ == "__main__":
    main()
