"""Stochastic gradient descent (SGD) for biased matrix factorization, in parallel over disjoint blocks of ratings.

For a rating r of user u and item i with weight w, where y(x) is the prediction from the linear predictor x (y(x) = x if
there is no rating range):

    x    = mean + b_u + b_i + p_u . q_i
    y(x) = low + span * sigmoid(x)
    loss = w (r - y)^2 + l2 (|p_u|^2 + |q_i|^2) + l2_bias (b_u^2 + b_i^2)

    delta = 2 w (r - y) y'(x)
    p_u += learning_rate (delta q_i - 2 l2 p_u)           b_u += bias_rate (delta - 2 l2_bias b_u)
    q_i += learning_rate (delta p_u - 2 l2 q_i)           b_i += bias_rate (delta - 2 l2_bias b_i)

If a weight is so large that the step could overshoot the rating, delta is divided by the overshoot factor, so that
large weights do not make training diverge. This factor is 2 learning_rate w s^2 N with N = |p_u|^2 + |q_i|^2 + 2, where
s is the largest slope of y (span / 4, or 1 without a range); it is applied only if it exceeds 1.

Blocks that share no user and no item are processed in parallel; see `kernels.blocks`.

References: Koren, Bell & Volinsky 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, random_stream, row_starts
from cofactor.kernels.blocks import disjoint_rounds, random_groups
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for

__all__ = ["Blocks", "group_ratings", "rating_blocks", "sgd_epoch", "sgd_ratings"]

GROUP_SIZE = 8
"""The maximum number of ratings in a group."""

LOOKAHEAD = 32
"""The number of subsequent ratings to search for one that shares no user or item with the group."""

TILE_SIZE = 128
"""The approximate number of users in a tile: 32 kB of vectors with 64 factors."""


@kernel(
    writes="f4[:, ::1] f4[:, ::1] f4[::1] f4[::1] f8[::1]",
    reads="i4[::1] i4[::1] f4[::1] f4[::1] i8[::1]",
    scalars="i8 i8 i8 f4 f4 f4 f4 f4 f4 f4",
)
def sgd_ratings(width: int):
    """Apply one SGD update for each rating in groups first..last-1, in order, and add the losses to loss[block].

    The loss of a rating is w (r - y)^2 before its update. Writes `P` (n_users, width), `Q` (n_items, width),
    `user_bias`, `item_bias` and `loss`. Reads `u`, `i`, `values` and `weights` (empty if all are 1). Group j contains
    the ratings group[j] to group[j + 1] - 1, at most GROUP_SIZE, which share no user and no item. Therefore, all deltas
    in a group can be computed before its updates with the same result as one by one, so that the processor can compute
    independent sums in parallel. A `span` of 0 means no rating range: y(x) = x. A `bias_rate` of 0 leaves the biases
    unchanged.
    """

    def sgd_ratings(
        P, Q, user_bias, item_bias, loss,
        u, i, values, weights, group,
        block, first, last, mean, low, span, learning_rate, bias_rate, l2, l2_bias,
    ):  # fmt: skip
        weighted = weights.shape[0] > 0
        f1, f2 = np.float32(1), np.float32(2)  # Python numbers would promote to float64
        decay = f1 - learning_rate * f2 * l2
        decay_bias = f1 - bias_rate * f2 * l2_bias
        total = np.float64(0)
        x = np.empty(GROUP_SIZE, np.float32)
        delta = np.empty(GROUP_SIZE, np.float32)
        squares = np.empty(GROUP_SIZE, np.float32)
        max_slope = span / np.float32(4) if span > 0 else f1
        for j in range(first, last):
            begin, end = group[j], group[j + 1]
            for g in range(GROUP_SIZE):  # a fixed count allows unrolling; padded with the last rating
                t = min(begin + g, end - 1)
                a, b = np.uint64(u[t]), np.uint64(i[t])  # unsigned: numba then omits the code for negative indices
                dot = np.float32(0)
                for d in range(width):
                    dot += P[a, d] * Q[b, d]
                x[g] = dot + mean + user_bias[a] + item_bias[b]
            for g in range(GROUP_SIZE):
                t = min(begin + g, end - 1)
                y, slope = x[g], f1
                if span > 0:
                    s = f1 / (f1 + np.float32(math.exp(-x[g])))
                    y = low + span * s
                    slope = span * s * (f1 - s)
                w = weights[t] if weighted else f1
                error = values[t] - y
                squares[g] = w * error * error
                delta[g] = f2 * w * error * slope
            for g in range(GROUP_SIZE):
                t = begin + g
                if t < end:
                    a, b = np.uint64(u[t]), np.uint64(i[t])
                    total += squares[g]
                    if weighted:
                        norm = f2
                        for d in range(width):
                            norm += P[a, d] * P[a, d] + Q[b, d] * Q[b, d]
                        overshoot = learning_rate * f2 * weights[t] * max_slope * max_slope * norm
                        if overshoot > f1:
                            delta[g] /= overshoot
                    user_bias[a] = decay_bias * user_bias[a] + bias_rate * delta[g]
                    item_bias[b] = decay_bias * item_bias[b] + bias_rate * delta[g]
                    step = learning_rate * delta[g]
                    for d in range(width):
                        p = P[a, d]
                        q = Q[b, d]
                        P[a, d] = decay * p + step * q
                        Q[b, d] = decay * q + step * p
        loss[block] += total

    return sgd_ratings


@dataclass(frozen=True)
class Blocks:
    """Ratings partitioned into `grid` x `grid` blocks, by user group and item group.

    Users and items are renumbered, so that those in the same block are adjacent in memory.

    Attributes
    ----------
    grid : int
        The number of user groups and of item groups.
    start : ndarray of shape (grid^2 + 1,), int64
        Block (a, b) contains the ratings from start[a * grid + b] to start[a * grid + b + 1] - 1.
    first_group : ndarray of shape (grid^2 + 1,), int64
        Block (a, b) contains the groups from first_group[a * grid + b] to first_group[a * grid + b + 1] - 1.
    group : ndarray of shape (n_groups + 1,), int64
        Group j contains the ratings from group[j] to group[j + 1] - 1: at most GROUP_SIZE, which share no user and no
        item.
    new_user_row : ndarray of shape (n_users,), int32
        The new row number of each user: user r is row new_user_row[r] of P and of the user biases.
    new_item_row : ndarray of shape (n_items,), int32
        The new row number of each item.
    u, i : ndarray of shape (n,), int32
        The new row numbers of the user and the item of each rating.
    values : ndarray of shape (n,), float32
        The ratings.
    weights : ndarray of shape (n,), float32
        The weight of each rating; of shape (0,) if all are 1.
    """

    grid: int
    start: Int64
    first_group: Int64
    group: Int64
    new_user_row: Int32
    new_item_row: Int32
    u: Int32
    i: Int32
    values: Float32
    weights: Float32


@kernel(
    writes="i4[::1] i4[::1] f4[::1] f4[::1] i8[::1]",
    reads="i4[::1] i4[::1] f4[::1] f4[::1] i4[::1] i4[::1] i4[::1] i4[::1]",
    scalars="i8 i8",
)
def scatter_into_cells():
    """Copy each rating, in order, to the next free position in its cell: the ratings of a tile of users in a block.

    Writes `out_u`, `out_i`, `out_values`, `out_weights` and `next_free`, which is initialized with the start of each
    cell. Reads the ratings, the tile and new row number of each user, and the group and new row number of each item.
    The cells in a block are adjacent: a user group consists of `tiles` tiles, numbered by `user_tile` (n_users,).
    """

    def scatter_into_cells(
        out_u, out_i, out_values, out_weights, next_free,
        u, i, values, weights, user_tile, new_user_row, item_group, new_item_row,
        grid, tiles,
    ):  # fmt: skip
        for t in range(u.shape[0]):
            tile = user_tile[u[t]]
            cell = (tile // tiles * grid + item_group[i[t]]) * tiles + tile % tiles
            target = next_free[cell]
            next_free[cell] += 1
            out_u[target] = new_user_row[u[t]]
            out_i[target] = new_item_row[i[t]]
            out_values[target] = values[t]
            if weights.shape[0] > 0:
                out_weights[target] = weights[t]

    return scatter_into_cells


@kernel(
    writes="i4[::1] i4[::1] f4[::1] f4[::1]",
    reads="i8[::1] u8[::1]",
    scalars="i8 i8",
)
def shuffle_cells():
    """Shuffle the ratings within each of the cells first..last-1, in place.

    Writes `u`, `i`, `values` and `weights`. Reads `start`, the first rating of each cell, and `seeds`, the nonzero seed
    of an xorshift64 generator for each cell (Marsaglia 2003).
    """

    def shuffle_cells(u, i, values, weights, start, seeds, first, last):
        weighted = weights.shape[0] > 0
        for cell in range(first, last):
            state = seeds[cell]
            for t in range(start[cell + 1] - 1, start[cell], -1):
                state ^= state << np.uint64(13)
                state ^= state >> np.uint64(7)
                state ^= state << np.uint64(17)
                other = start[cell] + np.int64(state % np.uint64(t - start[cell] + 1))
                u[t], u[other] = u[other], u[t]
                i[t], i[other] = i[other], i[t]
                values[t], values[other] = values[other], values[t]
                if weighted:
                    weights[t], weights[other] = weights[other], weights[t]

    return shuffle_cells


@kernel(writes="i4[::1] i4[::1] f4[::1] f4[::1] b1[::1]", scalars="i8 i8")
def group_ratings():
    """Reorder ratings first..last-1 into groups of at most GROUP_SIZE ratings that share no user and no item.

    Writes `u`, `i`, `values`, `weights` and `is_group_start`, which marks the first rating of each group. The next
    rating in a group is the first of the LOOKAHEAD following ratings that shares no user and no item with the group.
    """

    def group_ratings(u, i, values, weights, is_group_start, first, last):
        weighted = weights.shape[0] > 0
        begin = first
        for t in range(first, last):
            source = -1
            if t > first and t - begin < GROUP_SIZE:
                for s in range(t, min(t + LOOKAHEAD, last)):
                    is_shared = False
                    for h in range(begin, t):
                        is_shared |= (u[h] == u[s]) | (i[h] == i[s])
                    if not is_shared:
                        source = s
                        break
            is_group_start[t] = source < 0
            if source < 0:
                begin = t
            elif source > t:
                u[t], u[source] = u[source], u[t]
                i[t], i[source] = i[source], i[t]
                values[t], values[source] = values[source], values[t]
                if weighted:
                    weights[t], weights[source] = weights[source], weights[t]

    return group_ratings


def rating_blocks(
    u: Int32, i: Int32, values: Float32, weights: Float32, *, n_users: int, n_items: int, grid: int, seed: int
) -> Blocks:
    """Partition ratings into blocks, by dividing users and items into random groups with about equally many ratings.

    Parameters
    ----------
    u, i : ndarray of shape (n,), int32
        The user row and the item row of each rating.
    values : ndarray of shape (n,), float32
        The ratings.
    weights : ndarray of shape (n,), float32
        The weight of each rating; of shape (0,) if all are 1.
    n_users, n_items : int
        The number of users and the number of items.
    grid : int
        The number of user groups and of item groups.
    seed : int
        The random seed for the groups and the order of ratings.

    Returns
    -------
    Blocks
        All blocks are empty if there are no ratings.

    Notes
    -----
    Within a block, ratings are ordered by tiles of users, whose vectors fit into the first-level cache. Within a tile,
    the order is random.
    """
    tiles = max(1, n_users // (grid * TILE_SIZE))
    user_tile, new_user_row = _groups(
        np.bincount(u, minlength=n_users), grid * tiles, random_stream(seed, "user groups")
    )
    item_group, new_item_row = _groups(np.bincount(i, minlength=n_items), grid, random_stream(seed, "item groups"))
    cell = (user_tile // tiles * np.int32(grid * tiles) + user_tile % tiles)[u]
    cell += item_group[i] * np.int32(tiles)
    start = row_starts(np.bincount(cell, minlength=grid * grid * tiles))
    del cell
    out_u, out_i = np.empty_like(u), np.empty_like(i)
    out_values, out_weights = np.empty_like(values), np.empty_like(weights)
    scatter_into_cells()(
        out_u, out_i, out_values, out_weights, start[:-1].copy(),
        u, i, values, weights, user_tile, new_user_row, item_group, new_item_row,
        grid, tiles,
    )  # fmt: skip
    seeds = random_stream(seed, "rating order").integers(1, 2**63, len(start) - 1, dtype=np.uint64)
    columns = (out_u, out_i, out_values, out_weights)
    is_group_start = np.empty(len(u), np.bool_)

    def arrange(block: int) -> None:
        shuffle_cells()(*columns, start, seeds, block * tiles, (block + 1) * tiles)
        group_ratings()(*columns, is_group_start, start[block * tiles], start[(block + 1) * tiles])

    parallel_for(arrange, range(grid * grid))
    group = np.append(np.flatnonzero(is_group_start), len(u))
    start = np.ascontiguousarray(start[::tiles])
    return Blocks(grid, start, np.searchsorted(group, start), group, new_user_row, new_item_row, *columns)


def _groups(counts: Int64, groups: int, rng: np.random.Generator) -> tuple[Int32, Int32]:
    """Return a random group for each row, and the position of each row when rows are sorted by group."""
    order, group_start = random_groups(counts, groups, rng)
    group, position = np.empty(len(counts), np.int32), np.empty(len(counts), np.int32)
    group[order] = np.repeat(np.arange(groups, dtype=np.int32), np.diff(group_start))
    position[order] = np.arange(len(counts), dtype=np.int32)
    return group, position


def sgd_epoch(
    P: Float32, Q: Float32, user_bias: Float32, item_bias: Float32, blocks: Blocks,
    *, mean: float, low: float, span: float, learning_rate: float, bias_rate: float, l2: float, l2_bias: float,
    rng: np.random.Generator,
) -> float:  # fmt: skip
    """Run one epoch of SGD over all blocks of ratings; blocks that share no users or items are processed in parallel.

    Parameters
    ----------
    P, Q : ndarray of shape (n_users, width) and (n_items, width), float32
        User factors and item factors, in the new order of `blocks`; updated in place.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), float32
        Biases, in the new order of `blocks`; updated in place.
    blocks : Blocks
        The ratings.
    mean, low, span, learning_rate, bias_rate, l2, l2_bias : float
        As in the equations in the module docstring. A `span` of 0 means no rating range; a `bias_rate` of 0 leaves the
        biases unchanged.
    rng : numpy.random.Generator
        The random number generator for the order of blocks.

    Returns
    -------
    float
        The sum of w (r - y)^2, each computed before its update; 0.0 if there are no ratings.
    """
    run = sgd_ratings(P.shape[1])
    loss = np.zeros(blocks.grid**2)

    def update(block: int) -> None:
        run(
            P, Q, user_bias, item_bias, loss,
            blocks.u, blocks.i, blocks.values, blocks.weights, blocks.group,
            block, blocks.first_group[block], blocks.first_group[block + 1],
            mean, low, span, learning_rate, bias_rate, l2, l2_bias,
        )  # fmt: skip

    for round_blocks in disjoint_rounds(blocks.grid, rng):
        parallel_for(update, round_blocks)
    return float(loss.sum())
