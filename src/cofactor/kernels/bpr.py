"""Bayesian personalized ranking: what a user took should score above what the user did not, pair by pair.

For an event (u, i) of weight w and a negative j that u does not have, with x_ui = b_i + p_u . q_i:

    loss = -w ln sigmoid(x_ui - x_uj) + l2 (|p_u|^2 + |q_i|^2 + |q_j|^2) + l2_bias (b_i^2 + b_j^2)

    pull = w sigmoid(x_uj - x_ui) / (1 + rate w N / 4)        N = |q_i - q_j|^2 + 2 |p_u|^2 + 2
    p_u += rate (pull (q_i - q_j) - 2 l2 p_u)
    q_i += rate (pull p_u - 2 l2 q_i)          b_i += rate (pull - 2 l2_bias b_i)
    q_j -= rate (pull p_u + 2 l2 q_j)          b_j -= rate (pull + 2 l2_bias b_j)

This is the gradient step, held back: along its gradient of squared length N the logistic curves by at most N / 4, and
the divisor keeps a step from overshooting, however large w is (an event may count thousands of times).

The negative is the best scored of a few candidates drawn uniformly from the items of the event's block: an easy
negative has a pull near 0 and teaches nothing. Blocks are drawn anew in every epoch, so in time every item is a
candidate for every user. A block walks its users one after the other, each with all its events of the block in a row:
p_u is loaded once, and which candidates u has is known from those events alone.
Sources: Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009; Rendle & Freudenthaler 2014 (hard negatives); Weston,
Bengio & Usunier 2011 (WARP, its elder kin); Boehning & Lindsay 1988 (the bound of 1/4); Steele, Lea & Flood 2014
(SplitMix64, the generator).
"""

from __future__ import annotations

import math

import numpy as np

from cofactor.arrays import Float32, Float64, random_stream
from cofactor.kernels.blocks import PairBlocks, disjoint_rounds
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["bpr_epoch", "bpr_fold_in", "bpr_pairs", "bpr_users", "falling"]

TRIES = 8
"""How often a candidate that the user has is drawn again before it is given up."""


def _pairs(width: int, items_move: int):
    """Events first..last-1, one update each, in their order; adds w times -ln sigmoid before each to `loss[block]`.

    Writes `P` (users, width), `loss`, `stamp` (n_items,): the last user seen to have each item (-1: none yet); and `Q`
    (items, width) and `bias` if `items_move`, else N is |q_i - q_j|^2 alone. Reads `u`, `i` (events of one user stand
    together), `weights` (empty: all 1), `items`: the candidates are items[low:high]. `seed` starts the block's own
    SplitMix64, and that of every user where the items are held. An event is passed over where its user lacks none.
    """

    def _pairs(
        P, loss, stamp, Q, bias,
        u, i, weights, items,
        block, first, last, low, high, candidates, seed, learning_rate, l2, l2_bias,
    ):  # fmt: skip
        weighted = weights.shape[0] > 0
        one, two, four = np.float32(1), np.float32(2), np.float32(4)
        keep = one - learning_rate * two * l2
        keep_bias = one - learning_rate * two * l2_bias
        span = np.uint64(high - low)
        state = seed
        p = np.empty(width, np.float32)
        total = np.float64(0)
        begin = first
        while begin < last:
            a = u[begin]
            end = begin
            while end < last and u[end] == a:
                stamp[i[end]] = a
                end += 1
            for d in range(width):
                p[d] = P[a, d]
            if not items_move:
                state = seed
            for t in range(begin, end):
                j = np.int32(-1)
                xj = np.float32(-np.inf)
                for _ in range(candidates):
                    for _ in range(TRIES):
                        state += np.uint64(0x9E3779B97F4A7C15)
                        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                        z ^= z >> np.uint64(31)
                        c = items[low + np.int64(((z >> np.uint64(32)) * span) >> np.uint64(32))]
                        if stamp[c] != a:
                            x = np.float32(0)
                            for d in range(width):
                                x += p[d] * Q[c, d]
                            x += bias[c]
                            if x > xj:
                                xj = x
                                j = c
                            break
                if j < 0:
                    continue
                b = i[t]
                x = np.float32(0)
                norm = np.float32(0)
                for d in range(width):
                    gap = Q[b, d] - Q[j, d]
                    x += p[d] * gap
                    norm += gap * gap + (two * p[d] * p[d] if items_move else np.float32(0))
                x += bias[b] - bias[j]
                norm += two if items_move else np.float32(0)
                w = weights[t] if weighted else one
                e = math.exp(-abs(x))
                total += w * (math.log(one + e) + max(-x, np.float32(0)))
                pull = (e if x > 0 else one) / (one + e) / (one / (learning_rate * w) + norm / four)
                if items_move:
                    bias[b] = keep_bias * bias[b] + pull
                    bias[j] = keep_bias * bias[j] - pull
                    for d in range(width):
                        pd = p[d]
                        qb = Q[b, d]
                        qj = Q[j, d]
                        p[d] = keep * pd + pull * (qb - qj)
                        Q[b, d] = keep * qb + pull * pd
                        Q[j, d] = keep * qj - pull * pd
                else:
                    for d in range(width):
                        p[d] = keep * p[d] + pull * (Q[b, d] - Q[j, d])
            for d in range(width):
                P[a, d] = p[d]
            begin = end
        loss[block] += total

    return _pairs


_NUMBERS = "i8 i8 i8 i8 i8 i8 u8 f4 f4 f4"
bpr_pairs = kernel(
    writes="f4[:, ::1] f8[::1] i4[::1] f4[:, ::1] f4[::1]", reads="i4[::1] i4[::1] f4[::1] i4[::1]", numbers=_NUMBERS
)(_pairs)
bpr_users = kernel(
    writes="f4[:, ::1] f8[::1] i4[::1]", reads="f4[:, ::1] f4[::1] i4[::1] i4[::1] f4[::1] i4[::1]", numbers=_NUMBERS
)(_pairs)


def bpr_epoch(
    P: Float32, Q: Float32, bias: Float32, blocks: PairBlocks,
    *, candidates: int, learning_rate: float, l2: float, l2_bias: float, stream: np.random.Generator,
) -> float:  # fmt: skip
    """One pass over every block in rounds of disjoint blocks; returns the sum of -w ln sigmoid seen on the way.

    P (n_users, width), Q (n_items, width), bias (n_items,) float32 are written. No events: 0.0.
    """
    run = bpr_pairs(P.shape[1], 1)
    grid = blocks.grid
    loss, stamp = np.zeros(grid**2), np.full(len(Q), -1, np.int32)
    seeds = stream.integers(0, 2**64, grid**2, dtype=np.uint64)

    def update(block: int) -> None:
        group = block % grid
        run(
            P, loss, stamp, Q, bias,
            blocks.u, blocks.i, blocks.weights, blocks.items,
            block, blocks.start[block], blocks.start[block + 1], blocks.cuts[group], blocks.cuts[group + 1],
            candidates, seeds[block], learning_rate, l2, l2_bias,
        )  # fmt: skip

    for disjoint in disjoint_rounds(grid, stream):
        for_each(update, disjoint)
    return float(loss.sum())


def bpr_fold_in(
    P: Float32, rows: SparseRows, weights: Float32, Q: Float32, bias: Float32,
    *, candidates: int, rates: Float64, l2: float,
) -> None:  # fmt: skip
    """Users moved as in training, an epoch for each of `rates`, the items held and the whole catalog for candidates.

    P (n_rows, width) is written; rows: the users' events; weights as in `pair_blocks`. Every user draws from the same
    streams, so one alone becomes what it becomes in a batch. A row without events stays as it is.
    """
    run = bpr_users(P.shape[1], 0)
    u = np.repeat(np.arange(len(rows), dtype=np.int32), rows.counts)
    items = np.arange(len(Q), dtype=np.int32)
    seeds = random_stream(0, "fold in").integers(0, 2**64, len(rates), dtype=np.uint64)

    def update(cut: tuple[int, int]) -> None:
        loss, stamp = np.zeros(1), np.full(len(Q), -1, np.int32)
        first, last = rows.start[cut[0]], rows.start[cut[1]]
        for seed, learning_rate in zip(seeds, rates, strict=True):
            run(
                P, loss, stamp, Q, bias,
                u, rows.columns, weights, items,
                0, first, last, 0, len(Q), candidates, seed, learning_rate, l2, 0.0,
            )  # fmt: skip

    for_each(update, row_blocks(rows.start, entries=1 << 12))


def falling(highest: float, epochs: int) -> Float64:
    """The rate of each epoch, (epochs,) float64: half a cosine from `highest` down to a hundredth of it.

    >>> falling(1.0, 3).round(2).tolist()
    [0.93, 0.5, 0.07]
    """
    progress = (np.arange(epochs) + 0.5) / epochs
    return highest * np.maximum(0.5 * (1 + np.cos(np.pi * progress)), 0.01)
