"""Stochastic gradient descent for biased matrix factorization, over disjoint blocks of users x items.

For a rating r of (u, i) with weight w, and y(x) the prediction from the linear predictor x (y(x) = x without a range):

    x    = mean + b_u + b_i + p_u . q_i
    y(x) = low + span * sigmoid(x)
    loss = w (r - y)^2 + l2 (|p_u|^2 + |q_i|^2) + l2_bias (b_u^2 + b_i^2)

    pull = 2 w (r - y) y'(x)
    p_u += rate (pull q_i - 2 l2 p_u)           b_u += rate (pull - 2 l2_bias b_u)
    q_i += rate (pull p_u - 2 l2 q_i)           b_i += rate (pull - 2 l2_bias b_i)

A weight may be so large that a step could pass the rating: 2 rate w s^2 N > 1 with N = |p_u|^2 + |q_i|^2 + 2, s the
steepest slope of y (span / 4, or 1). The pull is then divided by that number, so that no weight makes training diverge.

Blocks that share no user and no item run at once: see `kernels.blocks`.
Source: Koren, Bell & Volinsky 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, random_stream
from cofactor.kernels.blocks import dealt, disjoint_rounds
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each

__all__ = ["Blocks", "blocks_of", "set_apart", "sgd_epoch", "sgd_ratings"]

TOGETHER = 8
"""How many ratings a group holds at most."""

AHEAD = 32
"""How far a group looks for a rating that shares no row with those it has."""

TILE = 128
"""About how many users follow one another: 32 kB of vectors at 64 factors."""


@kernel(
    writes="f4[:, ::1] f4[:, ::1] f4[::1] f4[::1] f8[::1]",
    reads="i4[::1] i4[::1] f4[::1] f4[::1] i8[::1]",
    numbers="i8 i8 i8 f4 f4 f4 f4 f4 f4 f4",
)
def sgd_ratings(width: int):
    """The ratings of groups first..last-1, one update each, in their order; adds w (r - y)^2 to `loss[block]`.

    Group j is ratings group[j] .. group[j + 1] - 1, at most TOGETHER, no two of one user or one item. So their pulls
    may be worked out before the first of them moves anything, which changes nothing: a processor does eight such sums
    at once, and waits for each one where the next depends on it. A `span` of 0 stands for no range: y(x) = x.
    `bias_rate` is the rate of the biases (0 leaves them as they are).
    """

    def sgd_ratings(
        P, Q, user_bias, item_bias, loss,
        u, i, values, weights, group,
        block, first, last, mean, low, span, learning_rate, bias_rate, l2, l2_bias,
    ):  # fmt: skip
        weighted = weights.shape[0] > 0
        one, two = np.float32(1), np.float32(2)
        keep = one - learning_rate * two * l2
        keep_bias = one - bias_rate * two * l2_bias
        total = np.float64(0)
        x = np.empty(TOGETHER, np.float32)
        pull = np.empty(TOGETHER, np.float32)
        squares = np.empty(TOGETHER, np.float32)
        steepest = span / np.float32(4) if span > 0 else one
        for j in range(first, last):
            begin, end = group[j], group[j + 1]
            for g in range(TOGETHER):  # a full count, so that the loop is laid out flat; past the end, the last rating
                t = min(begin + g, end - 1)
                a, b = np.uint64(u[t]), np.uint64(i[t])  # unsigned: no look at numbers from the end
                dot = np.float32(0)
                for d in range(width):
                    dot += P[a, d] * Q[b, d]
                x[g] = dot + mean + user_bias[a] + item_bias[b]
            for g in range(TOGETHER):
                t = min(begin + g, end - 1)
                y, slope = x[g], one
                if span > 0:
                    s = one / (one + np.float32(math.exp(-x[g])))
                    y = low + span * s
                    slope = span * s * (one - s)
                w = weights[t] if weighted else one
                error = values[t] - y
                squares[g] = w * error * error
                pull[g] = two * w * error * slope
            for g in range(TOGETHER):
                t = begin + g
                if t < end:
                    a, b = np.uint64(u[t]), np.uint64(i[t])
                    total += squares[g]
                    if weighted:
                        norm = two
                        for d in range(width):
                            norm += P[a, d] * P[a, d] + Q[b, d] * Q[b, d]
                        reach = learning_rate * two * weights[t] * steepest * steepest * norm
                        if reach > one:
                            pull[g] /= reach
                    user_bias[a] = keep_bias * user_bias[a] + bias_rate * pull[g]
                    item_bias[b] = keep_bias * item_bias[b] + bias_rate * pull[g]
                    step = learning_rate * pull[g]
                    for d in range(width):
                        p = P[a, d]
                        q = Q[b, d]
                        P[a, d] = keep * p + step * q
                        Q[b, d] = keep * q + step * p
        loss[block] += total

    return sgd_ratings


@dataclass(frozen=True)
class Blocks:
    """Ratings arranged as a grid x grid of blocks: block (a, b) is entries start[a * grid + b] .. start[... + 1].

    Its groups are number first_group[a * grid + b] .. first_group[... + 1] - 1; group j is entries group[j] ..
    group[j + 1] - 1, at most TOGETHER, no two of one user or of one item.

    Users and items are renumbered, so that those who are worked on together stand together in memory: row r of the
    table is place user_place[r] of P and of the users' biases; items alike.

        u, i (n,) int32: places    values (n,) float32
        weights (n,) float32, or (0,) where all are 1
        start, first_group (grid^2 + 1,), group (n_groups + 1,) int64
        user_place (n_users,) int32, item_place (n_items,) int32

    A block may be empty.
    """

    grid: int
    start: Int64
    first_group: Int64
    group: Int64
    user_place: Int32
    item_place: Int32
    u: Int32
    i: Int32
    values: Float32
    weights: Float32


@kernel(
    writes="i4[::1] i4[::1] f4[::1] f4[::1] i8[::1]",
    reads="i4[::1] i4[::1] f4[::1] f4[::1] i4[::1] i4[::1] i4[::1] i4[::1]",
    numbers="i8 i8",
)
def scatter_into_cells():
    """Each rating, in order, to the next free place of its cell (`place` starts at the cells' starts).

    A block's cells stand side by side: user_tile (n_users,) counts tiles, `tiles` of which make a group.
    """

    def scatter_into_cells(
        out_u, out_i, out_values, out_weights, place,
        u, i, values, weights, user_tile, user_place, item_group, item_place,
        grid, tiles,
    ):  # fmt: skip
        for t in range(u.shape[0]):
            tile = user_tile[u[t]]
            cell = (tile // tiles * grid + item_group[i[t]]) * tiles + tile % tiles
            target = place[cell]
            place[cell] += 1
            out_u[target] = user_place[u[t]]
            out_i[target] = item_place[i[t]]
            out_values[target] = values[t]
            if weights.shape[0] > 0:
                out_weights[target] = weights[t]

    return scatter_into_cells


@kernel(
    writes="i4[::1] i4[::1] f4[::1] f4[::1]",
    reads="i8[::1] u8[::1]",
    numbers="i8 i8",
)
def shuffle_cells():
    """Cells first..last-1 shuffled, each by random numbers of its own (xorshift64 from `seeds`, none of them 0).

    Source: Marsaglia 2003 (xorshift).
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


@kernel(writes="i4[::1] i4[::1] f4[::1] f4[::1] b1[::1]", numbers="i8 i8")
def set_apart():
    """Ratings first..last-1 in groups of at most TOGETHER, no two of one user or one item; begins[t]: one starts at t.

    The next rating that shares no row with its group is brought forward, from up to AHEAD places on.
    """

    def set_apart(u, i, values, weights, begins, first, last):
        weighted = weights.shape[0] > 0
        begin = first
        for t in range(first, last):
            found = -1
            if t > first and t - begin < TOGETHER:
                for s in range(t, min(t + AHEAD, last)):
                    shared = False
                    for h in range(begin, t):
                        shared |= (u[h] == u[s]) | (i[h] == i[s])
                    if not shared:
                        found = s
                        break
            begins[t] = found < 0
            if found < 0:
                begin = t
            elif found > t:
                u[t], u[found] = u[found], u[t]
                i[t], i[found] = i[found], i[t]
                values[t], values[found] = values[found], values[t]
                if weighted:
                    weights[t], weights[found] = weights[found], weights[t]

    return set_apart


def blocks_of(
    u: Int32, i: Int32, values: Float32, weights: Float32, *, n_users: int, n_items: int, grid: int, seed: int
) -> Blocks:
    """Users and items dealt at random into `grid` groups of about equal ratings.

    u, i (n,) int32; values (n,) float32; weights (n,) float32, or (0,) where all are 1.
    Within a block users come in tiles whose vectors stay in the first cache; within a tile the order is random.
    """
    tiles = max(1, n_users // (grid * TILE))
    user_tile, user_place = _groups(np.bincount(u, minlength=n_users), grid * tiles, random_stream(seed, "user groups"))
    item_group, item_place = _groups(np.bincount(i, minlength=n_items), grid, random_stream(seed, "item groups"))
    cell = (user_tile // tiles * np.int32(grid * tiles) + user_tile % tiles)[u]
    cell += item_group[i] * np.int32(tiles)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(cell, minlength=grid * grid * tiles))])
    del cell
    out_u, out_i = np.empty_like(u), np.empty_like(i)
    out_values, out_weights = np.empty_like(values), np.empty_like(weights)
    scatter_into_cells()(
        out_u, out_i, out_values, out_weights, start[:-1].copy(),
        u, i, values, weights, user_tile, user_place, item_group, item_place,
        grid, tiles,
    )  # fmt: skip
    seeds = random_stream(seed, "rating order").integers(1, 2**63, len(start) - 1, dtype=np.uint64)
    columns = (out_u, out_i, out_values, out_weights)
    begins = np.empty(len(u), np.bool_)

    def arrange(block: int) -> None:
        shuffle_cells()(*columns, start, seeds, block * tiles, (block + 1) * tiles)
        set_apart()(*columns, begins, start[block * tiles], start[(block + 1) * tiles])

    for_each(arrange, range(grid * grid))
    group = np.append(np.flatnonzero(begins), len(u))
    start = np.ascontiguousarray(start[::tiles])
    return Blocks(grid, start, np.searchsorted(group, start), group, user_place, item_place, *columns)


def _groups(counts: Int64, groups: int, stream: np.random.Generator) -> tuple[Int32, Int32]:
    """The group that each row is dealt into, and its place where groups stand one after the other."""
    order, cuts = dealt(counts, groups, stream)
    group, place = np.empty(len(counts), np.int32), np.empty(len(counts), np.int32)
    group[order] = np.repeat(np.arange(groups, dtype=np.int32), np.diff(cuts))
    place[order] = np.arange(len(counts), dtype=np.int32)
    return group, place


def sgd_epoch(
    P: Float32, Q: Float32, user_bias: Float32, item_bias: Float32, blocks: Blocks,
    *, mean: float, low: float, span: float, learning_rate: float, bias_rate: float, l2: float, l2_bias: float,
    stream: np.random.Generator,
) -> float:  # fmt: skip
    """One pass over every block in rounds of disjoint blocks; returns the sum of w (r - y)^2 seen on the way.

    P (n_users, width), Q (n_items, width) and the biases, float32, are written; they stand in the order of the blocks'
    places.
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

    for disjoint in disjoint_rounds(blocks.grid, stream):
        for_each(update, disjoint)
    return float(loss.sum())
