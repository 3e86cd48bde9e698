"""Surprise's SVD, that is biased matrix factorization by SGD. It always has one thread.

It walks through the rows in their order, user by user: sorted rows (MovieLens-20M's file is sorted) lie side by side
in memory, shuffled ones (MovieLens-100k's file is not) take longer and teach it more in an epoch.
"""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import interactions, mark, options, peak_mb, report, rmse, seconds, test_rows
from surprise import SVD, Dataset, Reader, Trainset

PAIRS_AT_ONCE = 100_000
"""Test pairs whose vectors are gathered at one time."""


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("Surprise: SVD for ratings")
    parser.add_argument("--factors", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=2, help="Surprise's own default is 20")
    parser.add_argument("--shuffle", action="store_true", help="bring the rows into a random order first")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def table(args: Namespace) -> pd.DataFrame:
    """Return the interactions in the requested order."""
    frame = pd.DataFrame(dict(zip(("u", "i", "values"), interactions(args.data), strict=True)))
    return frame.sample(frac=1, random_state=args.seed) if args.shuffle else frame


def build(frame: pd.DataFrame) -> Trainset:
    """The interactions as Surprise's own tables, the usual way: from a frame."""
    reader = Reader(rating_scale=(float(frame["values"].min()), float(frame["values"].max())))
    return Dataset.load_from_df(frame, reader).build_full_trainset()


def places(inner: dict[int, int], rows: np.ndarray) -> np.ndarray:
    """Surprise's number of each row, -1 where it has none. (n,) int64"""
    table = np.full(max(*inner, int(rows.max())) + 1, -1)
    table[list(inner)] = list(inner.values())
    return table[rows]


def predictions(model: SVD, u: np.ndarray, i: np.ndarray) -> np.ndarray:
    """mean + b_u + b_i + p_u . q_i as `SVD.estimate` adds them up: an unknown user or item adds nothing. (n,) float64

    u, i: Surprise's numbers, -1 for the unknown.
    """
    predicted = np.full(len(u), model.trainset.global_mean)
    predicted += np.where(u >= 0, model.bu[u], 0)
    predicted += np.where(i >= 0, model.bi[i], 0)
    both = np.flatnonzero((u >= 0) & (i >= 0))
    for start in range(0, len(both), PAIRS_AT_ONCE):
        part = both[start : start + PAIRS_AT_ONCE]
        predicted[part] += np.einsum("nk,nk->n", model.pu[u[part]], model.qi[i[part]])
    return np.clip(predicted, *model.trainset.rating_scale)


def held_out(model: SVD, folder: Path) -> dict[str, float]:
    """RMSE on the test rows; {} without them."""
    test = test_rows(folder)
    if test is None:
        return {}
    u, i, values = test
    users, items = places(model.trainset._raw2inner_id_users, u), places(model.trainset._raw2inner_id_items, i)
    return {"rmse": rmse(values, predictions(model, users, items))}


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    frame = table(args)
    start = mark()
    trainset = build(frame)
    built = mark()
    model = SVD(n_factors=args.factors, n_epochs=args.iterations, random_state=args.seed)
    model.fit(trainset)
    took = mark().since(built)
    fit_peak_mb = peak_mb()
    report(
        "surprise",
        version("scikit-surprise"),
        args,
        threads=1,
        **seconds("build", built.since(start)),
        **seconds("fit", took),
        seconds_per_iteration=took.wall / args.iterations,
        cpu_seconds_per_iteration=took.cpu / args.iterations,
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        **held_out(model, args.data),
    )


if __name__ == "__main__":
    main()
