"""myFM's Bayesian factorization machine by Gibbs sampling, with SVD++ both ways or (`--plain`) as MF alone.

SVD++ both ways: a row has its user and item, all items of that user and all users of that item, each
weighted 1 / sqrt(their number), as relation blocks: myFM's own example for MovieLens-100k, without its dates.
Sampling uses one thread.
"""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version

import numpy as np
from measuring import interactions, mark, options, peak_mb, report, rmse, seconds, test_rows, user_items
from myfm import MyFMRegressor, RelationBlock
from scipy.sparse import csr_matrix, diags, hstack, identity


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("myFM: Bayesian factorization machines for ratings")
    parser.add_argument("--rank", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--plain", action="store_true", help="users and items only")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def partners(matrix: csr_matrix) -> csr_matrix:
    """1 / sqrt(n) at each of the n columns that a row has: same shape, float64."""
    present = csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    counts = np.maximum(np.diff(matrix.indptr), 1)
    return csr_matrix(diags(1 / np.sqrt(counts)) @ present)


def features(matrix: csr_matrix, *, plain: bool) -> tuple[list[csr_matrix], list[int]]:
    """The users' and the items' feature rows, and the size of each group of features."""
    n_users, n_items = matrix.shape
    users, items = (identity(size, format="csr") for size in (n_users, n_items))
    if plain:
        return [users, items], [n_users, n_items]
    users = hstack([users, partners(matrix)], format="csr")
    items = hstack([items, partners(matrix.T.tocsr())], format="csr")
    return [users, items], [n_users, n_items, n_items, n_users]


def blocks(u: np.ndarray, i: np.ndarray, rows: list[csr_matrix]) -> list[RelationBlock]:
    """The rows of data (u, i) by reference to the users' and items' feature rows."""
    return [RelationBlock(u, rows[0]), RelationBlock(i, rows[1])]


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    u, i, values = interactions(args.data)
    matrix = user_items(args.data)
    start = mark()
    rows, groups = features(matrix, plain=args.plain)
    model = MyFMRegressor(rank=args.rank, random_seed=args.seed)
    model.fit(None, values, X_rel=blocks(u, i, rows), group_shapes=groups, n_iter=args.iterations)
    fitted = mark()
    fit_peak_mb = peak_mb()
    quality = {}
    held_out = test_rows(args.data)
    if held_out is not None:
        test_u, test_i, test_values = held_out
        predicted = model.predict(None, blocks(test_u, test_i, rows), n_workers=args.threads)
        quality = {"rmse": rmse(test_values, np.clip(predicted, values.min(), values.max()))}
        quality |= seconds("predict", mark().since(fitted))
    report(
        "myfm",
        version("myfm"),
        args,
        **seconds("fit", fitted.since(start)),
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **quality,
    )


if __name__ == "__main__":
    main()
