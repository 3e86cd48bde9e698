"""How a pass over all pairs is cut into blocks of users x items that threads may work on at once.

Users and items are dealt at random into `grid` groups. Two blocks that share neither a user group nor an item group
can run at the same time without a lock and without a race: that, with every draw taken from the seed, is why any
number of threads gives the same bits. Sources: Gemulla et al. 2011; Zhuang et al. 2013.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each
from cofactor.kernels.sparse import SparseRows

__all__ = ["PairBlocks", "dealt", "disjoint_rounds", "grid_for", "pair_blocks"]


def grid_for(n: int, *, most: int = 16) -> int:
    """How many groups users and items are dealt into, by the number of rows of the table alone: from 4 on.

    >>> grid_for(0), grid_for(100_000), grid_for(25_000_000)
    (4, 4, 16)
    """
    return int(np.clip(2 ** round(math.log2(max(n, 1) / 5_000) / 2), 4, most))


def dealt(counts: Int64, groups: int, stream: np.random.Generator) -> tuple[Int64, Int64]:
    """A random order of the rows, cut into groups of about equal counts: where the running count passes each share.

    counts (n,): how many entries each row has. Returns order (n,) int64 and cuts (groups + 1,) int64: group g is
    order[cuts[g]:cuts[g + 1]]. No rows at all give empty groups.

    >>> order, cuts = dealt(np.array([1, 1, 1, 1]), 2, np.random.default_rng(0))
    >>> sorted(order.tolist()), cuts.tolist()
    ([0, 1, 2, 3], [0, 2, 4])
    """
    order = stream.permutation(len(counts))
    running = np.cumsum(counts[order])
    total = int(running[-1]) if len(running) else 0
    group = np.minimum(running * groups // (total + 1), groups - 1)
    return order, np.searchsorted(group, np.arange(groups + 1)).astype(np.int64)


def disjoint_rounds(grid: int, stream: np.random.Generator) -> Iterator[list[int]]:
    """`grid` rounds of `grid` blocks (user group * grid + item group); no two blocks of a round share a group.

    Together the rounds hold every block once. Each round pairs every user group with one item group; which ones, and
    the order of rounds, is drawn from `stream`.

    >>> rounds = list(disjoint_rounds(2, np.random.default_rng(0)))
    >>> sorted(sorted(blocks) for blocks in rounds)
    [[0, 3], [1, 2]]
    """
    shift, rounds = stream.permutation(grid), stream.permutation(grid)
    for r in rounds:
        yield [a * grid + int(shift[(a + r) % grid]) for a in range(grid)]


@kernel(
    writes="i4[::1] i4[::1] f4[::1] i8[::1]",
    reads="i8[::1] i4[::1] f4[::1] i4[::1] i4[::1]",
    numbers="i8 i8 i8 i8 i8",
)
def _deal_pairs():
    """One user group's events, arranged by item group; within a block they stand in the order of `order`.

    Writes `u`, `i`, `weights` from place `at` on and `start` (grid^2 + 1,), where each block ends. Reads the users'
    rows (`row_start`, `columns`, `row_weights` or empty), `order` (users order[first:last] are the group's) and each
    item's group.
    """

    def _deal_pairs(
        u, i, weights, start,
        row_start, columns, row_weights, order, item_group,
        group, grid, first, last, at,
    ):  # fmt: skip
        place = np.zeros(grid, np.int64)
        for t in range(first, last):
            for source in range(row_start[order[t]], row_start[order[t] + 1]):
                place[item_group[columns[source]]] += 1
        for g in range(grid):
            size = place[g]
            place[g] = at
            at += size
            start[group * grid + g + 1] = at
        for t in range(first, last):
            a = order[t]
            for source in range(row_start[a], row_start[a + 1]):
                c = columns[source]
                target = place[item_group[c]]
                place[item_group[c]] += 1
                u[target] = a
                i[target] = c
                if row_weights.shape[0] > 0:
                    weights[target] = row_weights[source]

    return _deal_pairs


@dataclass(frozen=True)
class PairBlocks:
    """Events arranged as a grid x grid of blocks: block (a, b) is entries start[a * grid + b] .. start[... + 1].

        u, i (n,) int32
        weights (n,) float32, or (0,) where all are 1
        start (grid^2 + 1,) int64
        items (n_items,) int32, cuts (grid + 1,) int64: the items of group b are items[cuts[b]:cuts[b + 1]]

    A block may be empty.
    """

    grid: int
    start: Int64
    u: Int32
    i: Int32
    weights: Float32
    items: Int32
    cuts: Int64


def pair_blocks(
    rows: SparseRows, weights: Float32, support: Int64, *, grid: int, stream: np.random.Generator
) -> PairBlocks:
    """The events of `rows` (users x items) dealt anew into `grid` groups of users and of items of about equal events.

    weights (n,) float32, or empty where all are 1. support (n_items,): how many events each item has.
    """
    users, user_cuts = dealt(rows.counts, grid, stream)
    items, item_cuts = dealt(support, grid, stream)
    order, item_group = users.astype(np.int32), np.empty(len(support), np.int32)
    item_group[items] = np.repeat(np.arange(grid, dtype=np.int32), np.diff(item_cuts))
    at = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows.counts[users])])[user_cuts]
    n = len(rows.columns)
    blocks = PairBlocks(
        grid, np.zeros(grid**2 + 1, np.int64), np.empty(n, np.int32), np.empty(n, np.int32),
        np.empty_like(weights), items.astype(np.int32), item_cuts,
    )  # fmt: skip
    run = _deal_pairs()

    def deal(group: int) -> None:
        run(
            blocks.u, blocks.i, blocks.weights, blocks.start,
            rows.start, rows.columns, weights, order, item_group,
            group, grid, user_cuts[group], user_cuts[group + 1], at[group],
        )  # fmt: skip

    for_each(deal, range(grid))
    return blocks
