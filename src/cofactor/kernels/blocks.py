"""Blocks of user-item pairs that threads can update in parallel during one pass over the data.

Users and items are each assigned at random to `grid` groups. Two blocks that share neither a user group nor an item
group can be processed in parallel without locks or races. Because all random numbers are derived from the seed, results
are bitwise identical for any number of threads.

References: Gemulla et al. 2011, "Large-scale matrix factorization with distributed stochastic gradient descent"; Zhuang
et al. 2013, "A fast parallel SGD for matrix factorization in shared memory systems".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, row_starts
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.sparse import SparseRows

__all__ = ["PairBlocks", "disjoint_rounds", "grid_size", "pair_blocks", "random_groups"]


def grid_size(n: int, *, max_size: int = 16) -> int:
    """Return the number of groups into which the users (and the items) of a table with n rows are divided.

    Parameters
    ----------
    n : int
        The number of rows in the table.
    max_size : int, default 16
        The maximum number of groups.

    Returns
    -------
    int
        The number of groups, from 4 to `max_size`; it does not depend on the number of threads.

    Examples
    --------
    >>> grid_size(0), grid_size(100_000), grid_size(25_000_000)
    (4, 4, 16)
    """
    return int(np.clip(2 ** round(math.log2(max(n, 1) / 5_000) / 2), 4, max_size))


def random_groups(counts: Int64, groups: int, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """Assign users or items at random to groups with about the same number of ratings or events.

    Parameters
    ----------
    counts : ndarray of shape (n,), int64
        The number of entries in each row.
    groups : int
        The number of groups.
    rng : numpy.random.Generator
        The random number generator.

    Returns
    -------
    order : ndarray of shape (n,), int64
        The rows in random order.
    start : ndarray of shape (groups + 1,), int64
        Group g is order[start[g]:start[g + 1]]. All groups are empty if there are no rows.

    Examples
    --------
    >>> order, start = random_groups(np.array([1, 1, 1, 1]), 2, np.random.default_rng(0))
    >>> sorted(order.tolist()), start.tolist()
    ([0, 1, 2, 3], [0, 2, 4])
    """
    order = rng.permutation(len(counts))
    cumulative = np.cumsum(counts[order])
    total = int(cumulative[-1]) if len(cumulative) else 0
    group = np.minimum(cumulative * groups // (total + 1), groups - 1)
    return order, np.searchsorted(group, np.arange(groups + 1)).astype(np.int64)


def disjoint_rounds(grid: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Iterate over rounds of blocks; blocks in the same round can be processed in parallel.

    Parameters
    ----------
    grid : int
        The number of user groups and of item groups.
    rng : numpy.random.Generator
        The random number generator for the pairing of groups and the order of rounds.

    Yields
    ------
    list of int
        `grid` block numbers (user group * grid + item group), no two of which share a group. Each block occurs in
        exactly one of the `grid` rounds.

    Examples
    --------
    >>> rounds = list(disjoint_rounds(2, np.random.default_rng(0)))
    >>> sorted(sorted(blocks) for blocks in rounds)
    [[0, 3], [1, 2]]
    """
    shift, rounds = rng.permutation(grid), rng.permutation(grid)
    for r in rounds:
        yield [a * grid + int(shift[(a + r) % grid]) for a in range(grid)]


@kernel(
    writes="i4[::1] i4[::1] f4[::1] i8[::1]",
    reads="i8[::1] i4[::1] f4[::1] i4[::1] i4[::1]",
    scalars="i8 i8 i8 i8 i8",
)
def _arrange_pairs():
    """Arrange the events of one user group by item group; within a block, events are sorted by position in `order`.

    Writes `u`, `i` and `weights`, starting at `position`, and the end of each block to `start` (grid^2 + 1,). Reads the
    rows of the users (`row_start`, `columns`, and `row_weights`, which may be empty), `order` (the user group is
    order[first:last]), and the group of each item.
    """

    def _arrange_pairs(
        u, i, weights, start,
        row_start, columns, row_weights, order, item_group,
        group, grid, first, last, position,
    ):  # fmt: skip
        next_free = np.zeros(grid, np.int64)
        for t in range(first, last):
            for entry in range(row_start[order[t]], row_start[order[t] + 1]):
                next_free[item_group[columns[entry]]] += 1
        for g in range(grid):
            size = next_free[g]
            next_free[g] = position
            position += size
            start[group * grid + g + 1] = position
        for t in range(first, last):
            a = order[t]
            for entry in range(row_start[a], row_start[a + 1]):
                c = columns[entry]
                target = next_free[item_group[c]]
                next_free[item_group[c]] += 1
                u[target] = a
                i[target] = c
                if row_weights.shape[0] > 0:
                    weights[target] = row_weights[entry]

    return _arrange_pairs


@dataclass(frozen=True)
class PairBlocks:
    """Events partitioned into `grid` x `grid` blocks, by user group and item group.

    Attributes
    ----------
    grid : int
        The number of user groups and of item groups.
    start : ndarray of shape (grid^2 + 1,), int64
        Block (a, b) holds the events from start[a * grid + b] to start[a * grid + b + 1] - 1.
    u, i : ndarray of shape (n,), int32
        The user row and the item row of each event.
    weights : ndarray of shape (n,), float32
        The weight of each event; of shape (0,) if all are 1.
    items : ndarray of shape (n_items,), int32
        The item row numbers, sorted by group.
    item_start : ndarray of shape (grid + 1,), int64
        The items in group b are items[item_start[b]:item_start[b + 1]].
    """

    grid: int
    start: Int64
    u: Int32
    i: Int32
    weights: Float32
    items: Int32
    item_start: Int64


def pair_blocks(
    rows: SparseRows, weights: Float32, support: Int64, *, grid: int, rng: np.random.Generator
) -> PairBlocks:
    """Partition events into blocks, by dividing users and items into random groups with about equally many events.

    Parameters
    ----------
    rows : SparseRows
        The events, one row for each user.
    weights : ndarray of shape (n,), float32
        The weight of each event; of shape (0,) if all are 1.
    support : ndarray of shape (n_items,), int64
        The number of events of each item.
    grid : int
        The number of user groups and of item groups.
    rng : numpy.random.Generator
        The random number generator for the groups.

    Returns
    -------
    PairBlocks
        All blocks are empty if there are no events.
    """
    users, user_group_start = random_groups(rows.counts, grid, rng)
    items, item_group_start = random_groups(support, grid, rng)
    order, item_group = users.astype(np.int32), np.empty(len(support), np.int32)
    item_group[items] = np.repeat(np.arange(grid, dtype=np.int32), np.diff(item_group_start))
    first_event = row_starts(rows.counts[users])[user_group_start]
    n = len(rows.columns)
    blocks = PairBlocks(
        grid, np.zeros(grid**2 + 1, np.int64), np.empty(n, np.int32), np.empty(n, np.int32),
        np.empty_like(weights), items.astype(np.int32), item_group_start,
    )  # fmt: skip
    run = _arrange_pairs()

    def arrange(group: int) -> None:
        run(
            blocks.u, blocks.i, blocks.weights, blocks.start,
            rows.start, rows.columns, weights, order, item_group,
            group, grid, user_group_start[group], user_group_start[group + 1], first_event[group],
        )  # fmt: skip

    parallel_for(arrange, range(grid))
    return blocks
