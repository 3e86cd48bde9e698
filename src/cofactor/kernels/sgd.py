"""Stochastic gradient descent for biased matrix factorization, over disjoint blocks of users x items.

For a rating r of (u, i) with weight w, and y(x) the prediction from the linear predictor x (y(x) = x without a range):

    x    = mean + b_u + b_i + p_u . q_i
    y(x) = low + span * sigmoid(x)
    loss = w (r - y)^2 + l2 (|p_u|^2 + |q_i|^2) + l2_bias (b_u^2 + b_i^2)

    pull = 2 w (r - y) y'(x)
    p_u += rate (pull q_i - 2 l2 p_u)           b_u += rate (pull - 2 l2_bias b_u)
    q_i += rate (pull p_u - 2 l2 q_i)           b_i += rate (pull - 2 l2_bias b_i)

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
from cofactor.kernels.threads import for_each

__all__ = ["Blocks", "blocks_of", "sgd_epoch", "sgd_ratings"]


@kernel(
    writes="f4[:, ::1] f4[:, ::1] f4[::1] f4[::1] f8[::1]",
    reads="i4[::1] i4[::1] f4[::1] f4[::1]",
    numbers="i8 i8 i8 f4 f4 f4 f4 f4 f4 f4",
)
def sgd_ratings(width: int):
    """Ratings first..last-1, one update each, in their order; adds w (r - y)^2 before the update to `loss[block]`.

    A `span` of 0 stands for no range: y(x) = x. `bias_rate` is the rate of the biases (0 leaves them as they are).
    """

    def sgd_ratings(
        P, Q, user_bias, item_bias, loss,
        u, i, values, weights,
        block, first, last, mean, low, span, rate, bias_rate, l2, l2_bias,
    ):  # fmt: skip
        weighted = weights.shape[0] > 0
        one, two = np.float32(1), np.float32(2)
        keep = one - rate * two * l2
        keep_bias = one - bias_rate * two * l2_bias
        total = np.float64(0)
        for t in range(first, last):
            a = u[t]
            b = i[t]
            x = np.float32(0)
            for d in range(width):
                x += P[a, d] * Q[b, d]
            x += mean + user_bias[a] + item_bias[b]
            if span > 0:
                s = one / (one + np.float32(math.exp(-x)))
                y = low + span * s
                slope = span * s * (one - s)
            else:
                y = x
                slope = one
            w = weights[t] if weighted else one
            error = values[t] - y
            total += w * error * error
            pull = two * w * error * slope
            user_bias[a] = keep_bias * user_bias[a] + bias_rate * pull
            item_bias[b] = keep_bias * item_bias[b] + bias_rate * pull
            pull *= rate
            for d in range(width):
                p = P[a, d]
                q = Q[b, d]
                P[a, d] = keep * p + pull * q
                Q[b, d] = keep * q + pull * p
        loss[block] += total

    return sgd_ratings


@dataclass(frozen=True)
class Blocks:
    """Ratings arranged as a grid x grid of blocks: block (a, b) is entries start[a * grid + b] .. start[... + 1].

    u, i (n,) int32    values (n,) float32    weights (n,) or (0,) float32    start (grid^2 + 1,) int64
    """

    grid: int
    start: Int64
    u: Int32
    i: Int32
    values: Float32
    weights: Float32


@kernel(
    writes="i4[::1] i4[::1] f4[::1] f4[::1] i8[::1]",
    reads="i4[::1] i4[::1] i4[::1] f4[::1] f4[::1] i4[::1] i4[::1]",
    numbers="i8",
)
def scatter_into_blocks():
    """Each rating, in the order given, to the next free place of its block (`place` starts at the blocks' starts)."""

    def scatter_into_blocks(
        out_u, out_i, out_values, out_weights, place,
        order, u, i, values, weights, user_group, item_group,
        grid,
    ):  # fmt: skip
        for t in range(order.shape[0]):
            source = order[t]
            block = user_group[u[source]] * grid + item_group[i[source]]
            target = place[block]
            place[block] += 1
            out_u[target] = u[source]
            out_i[target] = i[source]
            out_values[target] = values[source]
            if weights.shape[0] > 0:
                out_weights[target] = weights[source]

    return scatter_into_blocks


def blocks_of(
    u: Int32, i: Int32, values: Float32, weights: Float32, *, n_users: int, n_items: int, grid: int, seed: int
) -> Blocks:
    """Users and items dealt at random into `grid` groups of about equal ratings; random order within a block."""
    user_group = _groups(np.bincount(u, minlength=n_users), grid, random_stream(seed, "user groups"))
    item_group = _groups(np.bincount(i, minlength=n_items), grid, random_stream(seed, "item groups"))
    block = user_group[u] * np.int32(grid) + item_group[i]
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(block, minlength=grid * grid))])
    del block
    order = np.arange(len(u), dtype=np.int32)
    random_stream(seed, "rating order").shuffle(order)
    blocks = Blocks(grid, start, np.empty_like(u), np.empty_like(i), np.empty_like(values), np.empty_like(weights))
    scatter_into_blocks()(
        blocks.u, blocks.i, blocks.values, blocks.weights, start[:-1].copy(),
        order, u, i, values, weights, user_group, item_group,
        grid,
    )  # fmt: skip
    return blocks


def _groups(counts: Int64, grid: int, stream: np.random.Generator) -> Int32:
    """The group that each row is dealt into."""
    order, cuts = dealt(counts, grid, stream)
    group = np.empty(len(counts), np.int32)
    group[order] = np.repeat(np.arange(grid, dtype=np.int32), np.diff(cuts))
    return group


def sgd_epoch(
    P: Float32, Q: Float32, user_bias: Float32, item_bias: Float32, blocks: Blocks,
    *, mean: float, low: float, span: float, rate: float, bias_rate: float, l2: float, l2_bias: float,
    stream: np.random.Generator,
) -> float:  # fmt: skip
    """One pass over every block in rounds of disjoint blocks; returns the sum of w (r - y)^2 seen on the way."""
    run = sgd_ratings(P.shape[1])
    loss = np.zeros(blocks.grid**2)

    def update(block: int) -> None:
        run(
            P, Q, user_bias, item_bias, loss,
            blocks.u, blocks.i, blocks.values, blocks.weights,
            block, blocks.start[block], blocks.start[block + 1],
            mean, low, span, rate, bias_rate, l2, l2_bias,
        )  # fmt: skip

    for disjoint in disjoint_rounds(blocks.grid, stream):
        for_each(update, disjoint)
    return float(loss.sum())
