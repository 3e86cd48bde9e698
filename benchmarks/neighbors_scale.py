"""UserKNN on a million users: time, memory, and recall of the true neighbors.

    python -m benchmarks.neighbors_scale                   1,000,000 users, 50 M ratings
    python -m benchmarks.neighbors_scale --users 50000     a twentieth of it

Data: `datasets/synthetic.py` with the popularity and the activity of MovieLens-20M's shape over 26,744 items, 50
ratings a user, made once below `--folder`. Lists of 50. Memory is the peak of the fit beyond the process with its
imports, compiled kernels and the table of rows. The true neighbors of a sample of users come from complete item lists:
every user who shares an item is compared. Recall counts a neighbor as found where its similarity is that of the true 50
or more, so ties do not matter. Writes benchmarks/neighbors_scale.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import cofactor
from benchmarks.ours import forget_peak, memory
from benchmarks.tables import interactions
from cofactor.arrays import Float32, random_stream
from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import MOVIELENS_20M_SHAPE, generate
from cofactor.kernels.neighbors import nearest
from cofactor.kernels.parallel import thread_count
from cofactor.models.neighborhood import UserUserModel

LISTS, RATINGS_PER_USER, SAMPLE = 50, 50, 500


def make_data(folder: Path, n_users: int) -> None:
    if (folder / "values.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = generate(replace(MOVIELENS_20M_SHAPE, n_users=n_users, n_ratings=RATINGS_PER_USER * n_users)).interactions
    for name, array in (("u", rows.u), ("i", rows.i), ("values", rows.values)):
        np.save(folder / f"{name}.npy", array)


def compile_kernels(estimator: cofactor.UserKNN) -> None:
    rng = np.random.default_rng(0)
    small = Interactions.from_columns(rng.integers(0, 50, 500), rng.integers(0, 40, 500), rng.integers(1, 6, 500))
    replace(estimator, max_item_support=5).fit(small)


def true_similarities(model: UserUserModel, users: np.ndarray) -> Float32:
    """Return the 50 largest similarities of each of these users, from complete item lists."""
    exact = replace(model.measure, max_support=np.iinfo(np.int32).max)
    training = exact.weighed(model.training)
    lists = exact.listed(training, model.n_items)
    some = training.take(users)
    return nearest(some, lists, training, measure=exact.measure, n=LISTS, shrink=exact.shrink)[1]


def recall(similarities: Float32, true: Float32) -> float:
    """Return the mean share of each user's true neighbors that were found, by the similarity of the last of them."""
    last = np.where(true > 0, true, np.inf).min(axis=1, keepdims=True)
    wanted = (true > 0).sum(axis=1)
    enough = np.minimum((similarities >= last * (1 - 1e-5)).sum(axis=1), wanted)
    return float(np.mean(enough[wanted > 0] / wanted[wanted > 0]))


def report(folder: Path, estimator: cofactor.UserKNN) -> str:
    compile_kernels(estimator)
    rows = interactions(folder, "ratings")
    forget_peak()
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    model = estimator.fit(rows)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = (memory("VmHWM") - before) / 1e9
    users = np.sort(random_stream(0, "sample").choice(rows.n_users, min(SAMPLE, rows.n_users), replace=False))
    share = recall(model.similarity[users], true_similarities(model, users))
    return "\n".join(
        [
            f"# UserKNN: {rows.n_users:,} users x {rows.n_items:,} items, {len(rows):,} ratings, lists of {LISTS}",
            "",
            f"Made by `python -m benchmarks.neighbors_scale`. {estimator!r}, {thread_count()} threads.",
            "",
            "| fit, wall minutes | CPU minutes | peak GB beyond the data | recall of the true 50 | users sampled |",
            "|-|-|-|-|-|",
            f"| {wall / 60:.1f} | {cpu / 60:.1f} | {peak:.2f} | {share:.3f} | {len(users):,} |",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cofactor-neighbors")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--max-item-support", type=int, default=cofactor.UserKNN().max_item_support)
    args = parser.parse_args()
    folder = args.folder / str(args.users)
    make_data(folder, args.users)
    text = report(folder, cofactor.UserKNN(neighbors=LISTS, max_item_support=args.max_item_support))
    print(text)
    (Path(__file__).parent / "neighbors_scale.md").write_text(text)


if __name__ == "__main__":
    main()
