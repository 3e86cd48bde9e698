"""Ranking ten million items for one user at a time: milliseconds, memory and the time to cluster the items.

    python -m benchmarks.ten_million_items                 all catalogs, about half an hour and 8 GB
    python -m benchmarks.ten_million_items --items 2000000 --catalogs ials-0.05 normal

The catalogs are made from item vectors with 64 factors, fitted to synthetic rows with the shape of MovieLens-20M: each
item of a catalog is a random item of the fit with noise added. The standard deviation of the noise is the same for each
factor, and its norm is 1, 5 or 20 % of the norm of the item's vector. The users are those of the fit. Besides the
default settings of ImplicitALS, where few items are the best for most users, there are vectors from weaker penalties
("ials-weak"), and from BiasedMF with item biases ("mf"). "copies" has no noise, so that there are many ties. "normal"
has independent normal vectors of items and users, for which clusters do not help.

A line compares the clusters with the scan in descending order of norms, which ranks smaller catalogs. Both are exact;
"equal" is the number of users whose lists agree bit for bit. "recall" is the share of the listed items that are among
the best by scores in float64, where differences below 1e-5 of the largest score count as ties.

All times are CPU time on one thread. The second table measures requests in a catalog: `UserView.recommended_items`, as
in the service, for known and for new users, and with filters. Results are written to benchmarks/ten_million_items.md.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from benchmarks.ours import forget_peak, memory
from benchmarks.results import machine
from cofactor.arrays import ALL_ROWS, Bool, Int32, random_stream
from cofactor.data.ids import IdMap
from cofactor.datasets.synthetic import MOVIELENS_20M_SHAPE, generate
from cofactor.estimators.base import Estimator
from cofactor.kernels.item_clusters import ItemClusters
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import ItemIndex, top_items
from cofactor.kernels.topk_clusters import top_items_of_clusters
from cofactor.models.factor import FactorModel
from cofactor.models.user_batch import UserBatch

PAGE = Path(__file__).parent / "ten_million_items.md"
ESTIMATORS: dict[str, Estimator] = {
    "ials": cofactor.ImplicitALS(factors=64),
    "ials-weak": cofactor.ImplicitALS(factors=64, l2_ratio=0.001, blank_ratio=1.0),
    "mf": cofactor.BiasedMF(factors=64),
}
CATALOGS = (
    "ials-0.01", "ials-0.05", "ials-0.2", "ials-weak-0.01", "ials-weak-0.05", "ials-weak-0.2", "mf-0.05", "ials-copies",
    "normal",
)  # fmt: skip
COLUMNS = (
    "catalog", "p50 ms", "p99 ms", "screened", "clustering s", "clusters GB", "peak GB", "scan p50 ms", "scan p99 ms",
    "scan index s", "equal", "recall",
)  # fmt: skip
REQUESTS_FROM = "ials-weak-0.05"
N_USERS, N_SCANS, N_RECALLS, N, BLOCK = 300, 100, 5, 10, 1 << 18
NO_ITEMS: dict[str, Any] = {
    "seen_start": np.zeros(2, np.int64), "seen": np.zeros(0, np.int32), "allowed": ALL_ROWS,
}  # fmt: skip


@cache
def fitted(name: str, n_events: int) -> FactorModel:
    """Return the model of an estimator, fitted to synthetic rows."""
    shape = MOVIELENS_20M_SHAPE
    config = replace(shape, n_users=max(shape.n_users * n_events // shape.n_ratings, N_USERS), n_ratings=n_events)
    estimator, rows = ESTIMATORS[name], generate(config).interactions
    model = estimator.fit(rows if estimator.kind == "ratings" else rows.to_events(min_rating=0.5), seed=0)
    assert isinstance(model, FactorModel)
    return model


def catalog(name: str, n_items: int, n_events: int) -> FactorModel:
    """Return a model with a large catalog, and with users for measuring."""
    rng = random_stream(0, "catalog")
    if name == "normal":
        users, items = (rng.standard_normal((n, 64), dtype=np.float32) for n in (N_USERS, n_items))
        return FactorModel(users, items, np.zeros(N_USERS, np.float32), np.zeros(n_items, np.float32))
    source, _, noise = name.rpartition("-")
    model = fitted(source, n_events)
    origin = rng.integers(model.n_items, size=n_items)
    items = np.empty((n_items, 64), np.float32)
    for first in range(0, n_items, BLOCK):
        vectors = model.item_factors[origin[first : first + BLOCK]]
        if noise != "copies":
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors + rng.standard_normal(vectors.shape, dtype=np.float32) * (float(noise) / 8 * norms)
        items[first : first + BLOCK] = vectors
    drawn = rng.choice(model.n_users, N_USERS, replace=False)
    return FactorModel(
        model.user_factors[drawn], items, model.user_bias[drawn], model.item_bias[origin], model.mean, loss=model.loss
    )


def milliseconds(calls: Iterable[Callable[[], Any]]) -> tuple[float, float]:
    """Return the median and the 99th percentile of the CPU time of calls; the first two are not counted."""
    spans = []
    for call in calls:
        start = time.process_time()
        call()
        spans.append(1000 * (time.process_time() - start))
    median, high = np.percentile(spans[2:], [50, 99])
    return float(median), float(high)


def recall(model: FactorModel, user: int, rows: Int32) -> float:
    """Return the share of the rows whose scores in float64 are among the best N, up to rounding errors of float32."""
    p, scores = model.user_factors[user].astype(np.float64), np.empty(model.n_items)
    for first in range(0, model.n_items, BLOCK):
        block = slice(first, first + BLOCK)
        scores[block] = model.item_factors[block] @ p + model.item_bias[block]
    worst = np.partition(scores, -N)[-N]
    return float((scores[rows] >= worst - 1e-5 * np.abs(scores).max()).mean())


def compared(name: str, model: FactorModel) -> str:
    """Return the line of a catalog: clusters and the scan."""
    P, Q, bias = model.user_factors, model.item_factors, model.item_bias
    forget_peak()
    before, start = memory("VmRSS"), time.process_time()
    clusters = ItemClusters.of(Q, bias)
    seconds, peak = time.process_time() - start, (memory("VmHWM") - before) / 1e9
    parts = ("rows", "start", "centers", "radius", "codes", "scale", "error")
    size = sum(getattr(clusters, part).nbytes for part in parts) / 1e9
    lists: list[Any] = []

    def search(user: int) -> None:
        lists.append(top_items_of_clusters(P[user : user + 1], clusters, N, **NO_ITEMS))

    median, high = milliseconds(partial(search, user) for user in range(len(P)))
    screened = float(np.median([n_screened[0] for _, _, n_screened in lists])) / len(Q)
    recalls = [recall(model, user, lists[user][0][0]) for user in range(N_RECALLS)]
    start = time.process_time()
    index = ItemIndex.of(Q, bias)
    _ = index.compressed_factors
    scan_seconds = time.process_time() - start
    scanned: list[Any] = []

    def scan(user: int) -> None:
        scanned.append(top_items(P[user : user + 1], index, N, **NO_ITEMS))

    scan_median, scan_high = milliseconds(partial(scan, user) for user in range(N_SCANS))
    equal = sum(
        all(a.tobytes() == b.tobytes() for a, b in zip(clustered[:2], expected, strict=True))
        for clustered, expected in zip(lists, scanned, strict=False)
    )
    cells = [
        name, f"{median:.2f}", f"{high:.2f}", f"{screened:.2%}", f"{seconds:.0f}", f"{size:.2f}", f"{peak:.2f}",
        f"{scan_median:.2f}", f"{scan_high:.2f}", f"{scan_seconds:.0f}", f"{equal} of {N_SCANS}",
        f"{np.mean(recalls):.4f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def recommender(model: FactorModel) -> cofactor.Recommender:
    """Return a recommender of the catalog, with 20 random items in each history."""
    rng, n_users, n_items = random_stream(0, "histories"), model.n_users, model.n_items
    pairs = np.unique(rng.integers(0, n_users * n_items, 20 * n_users))
    histories = SparseRows.of(pairs // n_items, pairs % n_items, np.ones(len(pairs)), n_users)
    users, items = (IdMap(np.arange(n, dtype=np.int64)) for n in (n_users, n_items))
    return cofactor.Recommender(model, users, items, histories, "events")


def requests(rec: cofactor.Recommender, model: FactorModel) -> Iterator[str]:
    """Yield the lines of the requests."""
    rng, n_items = random_stream(0, "requests"), model.n_items
    users = np.arange(model.n_users, dtype=np.int32)

    def rank_known(first: int, last: int, allowed: Bool = ALL_ROWS) -> None:
        rec.for_rows(users[first:last]).recommended_items(N, allowed=allowed)

    def rank_new(history: list[tuple[int, float]]) -> None:
        rec.for_history(history).recommended_items(N)

    def line(label: str, calls: Iterable[Callable[[], None]]) -> str:
        median, high = milliseconds(calls)
        return f"| {label} | {median:.2f} | {high:.2f} |"

    histories = [[(int(item), 1.0) for item in rng.integers(0, n_items, 20)] for _ in users]
    yield line("known user", (partial(rank_known, u, u + 1) for u in range(len(users))))
    yield line("new user with 20 events, folded in", (partial(rank_new, history) for history in histories))
    yield line("new user without events", [partial(rank_new, [])] * 50)
    for share in (0.5, 0.1, 0.01, 0.001):
        allowed = rng.random(n_items) < share
        label = f"known user, {share:.1%} of the items allowed"
        yield line(label, (partial(rank_known, u, u + 1, allowed) for u in range(len(users))))
    first_factor = model.item_factors[:, 0]
    allowed = first_factor > np.quantile(first_factor[::1000], 0.99)
    label = "known user, the 1 % of the items with the largest first factor allowed"
    yield line(label, (partial(rank_known, u, u + 1, allowed) for u in range(len(users))))
    yield line("100 known users at a time", [partial(rank_known, 0, 100)] * 5)


def added(model: FactorModel, n_new: int = 1000) -> str:
    """Return a sentence about the time to add items to a catalog whose items are clustered."""
    rng, none = random_stream(0, "new items"), SparseRows.empty(model.n_users)
    user = UserBatch.trained(np.zeros(1, np.int32), none)
    vectors = model.item_factors[rng.integers(model.n_items, size=n_new)]
    take = np.append(np.arange(model.n_items), -1 - np.arange(n_new)).astype(np.int32)
    start = time.process_time()
    larger = model.with_items(np.ascontiguousarray(vectors), np.zeros(n_new, np.float32), take)
    larger.top(user, N, exclude=SparseRows.empty(1), allowed=ALL_ROWS)
    seconds = time.process_time() - start
    return f"Adding {n_new:,} items to the catalog and to its clusters took {seconds:.1f} s."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--events", type=int, default=MOVIELENS_20M_SHAPE.n_ratings)
    parser.add_argument("--catalogs", nargs="+", default=CATALOGS, choices=CATALOGS)
    args = parser.parse_args()
    lines = [
        "# Ten million items",
        "",
        f"Made by `python -m benchmarks.ten_million_items` on {machine()}; the script describes the method.",
        f"{args.items:,} items, 64 factors, lists of {N}, one thread. Times are CPU time.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|-" * len(COLUMNS) + "|",
    ]
    later: list[str] = []
    with threads(1):
        for name in args.catalogs:
            model = catalog(name, args.items, args.events)
            if name == REQUESTS_FROM:
                later = ["", f"## Requests in the catalog {name}", ""]
                later += ["| request | p50 ms | p99 ms |", "|-|-|-|"]
                later += [*requests(recommender(model), model), "", added(model)]
            lines.append(compared(name, model))
            print(lines[-1], flush=True)
            PAGE.write_text("\n".join([*lines, *later, ""]))
            del model
            gc.collect()
    print("\n".join(later))


if __name__ == "__main__":
    main()
