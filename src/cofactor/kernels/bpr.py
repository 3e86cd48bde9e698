"""Bayesian personalized ranking (BPR): SGD on item pairs, so that a user's items score above all other items.

For an event (u, i) with weight w and a negative item j that u does not have, with x_ui = b_i + p_u . q_i:

    loss = -w ln sigmoid(x_ui - x_uj) + l2 (|p_u|^2 + |q_i|^2 + |q_j|^2) + l2_bias (b_i^2 + b_j^2)

    delta = w sigmoid(x_uj - x_ui) / (1 + learning_rate w N / 4)        N = |q_i - q_j|^2 + 2 |p_u|^2 + 2
    p_u += learning_rate (delta (q_i - q_j) - 2 l2 p_u)
    q_i += learning_rate (delta p_u - 2 l2 q_i)          b_i += learning_rate (delta - 2 l2_bias b_i)
    q_j -= learning_rate (delta p_u + 2 l2 q_j)          b_j -= learning_rate (delta + 2 l2_bias b_j)

Unlike the gradient step in the paper, delta has a divisor. Along the gradient, whose squared length is N, the curvature
of the logistic loss is at most N / 4. The divisor therefore prevents overshooting for any w, which may be in the
thousands for repeated events.

The negative is the highest-scoring of a few candidates that are drawn uniformly from the items in the event's block,
because an easy negative has a delta near 0 and has almost no effect. New blocks are drawn in every epoch, so that over
time every item is a candidate for every user. Within a block, users are processed one after the other, each with all of
the user's events in the block. Therefore p_u is loaded once, and these events suffice to tell which candidates the user
has.

References: Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009 (BPR); Rendle & Freudenthaler 2014 (hard negatives);
Weston, Bengio & Usunier 2011 (WARP, a predecessor); Boehning & Lindsay 1988 (the bound of 1/4); Steele, Lea & Flood
2014 (SplitMix64, the random number generator).
"""

from __future__ import annotations

import math

import numpy as np

from cofactor.arrays import Float32, Float64, random_stream
from cofactor.kernels.blocks import PairBlocks, disjoint_rounds
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["bpr_epoch", "bpr_fold_in", "bpr_pairs", "bpr_users", "cosine_schedule"]

MAX_DRAWS = 8
"""The maximum number of draws for a candidate; it is skipped if all draws are items that the user has."""


def _pairs(width: int, update_items: int):
    """Make one BPR update for each of the events first..last-1, in order, and add up the loss in `loss[block]`.

    The loss of an event is -w ln sigmoid before its update. Writes `P` (n_users, width), `loss` and `last_user`
    (n_items,), the last user seen with each item (-1 if none). If `update_items`, also writes `Q` (n_items, width) and
    `bias`; otherwise N is |q_i - q_j|^2. Reads `u` and `i` (the events of a user must be adjacent), `weights` (empty if
    all are 1) and `items`, where the candidates are items[low:high]. `seed` initializes the block's SplitMix64
    generator, or one for each user if the items are fixed. Events for which no negative is drawn are skipped.
    """

    def _pairs(
        P, loss, last_user, Q, bias,
        u, i, weights, items,
        block, first, last, low, high, candidates, seed, learning_rate, l2, l2_bias,
    ):  # fmt: skip
        weighted = weights.shape[0] > 0
        f1, f2, f4 = np.float32(1), np.float32(2), np.float32(4)  # Python numbers would promote to float64
        decay = f1 - learning_rate * f2 * l2
        decay_bias = f1 - learning_rate * f2 * l2_bias
        span = np.uint64(high - low)
        state = seed
        p = np.empty(width, np.float32)
        total = np.float64(0)
        begin = first
        while begin < last:
            a = u[begin]
            end = begin
            while end < last and u[end] == a:
                last_user[i[end]] = a
                end += 1
            for d in range(width):
                p[d] = P[a, d]
            if not update_items:
                state = seed
            for t in range(begin, end):
                j = np.int32(-1)
                xj = np.float32(-np.inf)
                for _ in range(candidates):
                    for _ in range(MAX_DRAWS):
                        state += np.uint64(0x9E3779B97F4A7C15)
                        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                        z ^= z >> np.uint64(31)
                        c = items[low + np.int64(((z >> np.uint64(32)) * span) >> np.uint64(32))]
                        if last_user[c] != a:
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
                    difference = Q[b, d] - Q[j, d]
                    x += p[d] * difference
                    norm += difference * difference + (f2 * p[d] * p[d] if update_items else np.float32(0))
                x += bias[b] - bias[j]
                norm += f2 if update_items else np.float32(0)
                w = weights[t] if weighted else f1
                e = math.exp(-abs(x))
                total += w * (math.log(f1 + e) + max(-x, np.float32(0)))
                # learning_rate * delta
                step = (e if x > 0 else f1) / (f1 + e) / (f1 / (learning_rate * w) + norm / f4)
                if update_items:
                    bias[b] = decay_bias * bias[b] + step
                    bias[j] = decay_bias * bias[j] - step
                    for d in range(width):
                        pd = p[d]
                        qb = Q[b, d]
                        qj = Q[j, d]
                        p[d] = decay * pd + step * (qb - qj)
                        Q[b, d] = decay * qb + step * pd
                        Q[j, d] = decay * qj - step * pd
                else:
                    for d in range(width):
                        p[d] = decay * p[d] + step * (Q[b, d] - Q[j, d])
            for d in range(width):
                P[a, d] = p[d]
            begin = end
        loss[block] += total

    return _pairs


_SCALARS = "i8 i8 i8 i8 i8 i8 u8 f4 f4 f4"
bpr_pairs = kernel(
    writes="f4[:, ::1] f8[::1] i4[::1] f4[:, ::1] f4[::1]", reads="i4[::1] i4[::1] f4[::1] i4[::1]", scalars=_SCALARS
)(_pairs)
bpr_users = kernel(
    writes="f4[:, ::1] f8[::1] i4[::1]", reads="f4[:, ::1] f4[::1] i4[::1] i4[::1] f4[::1] i4[::1]", scalars=_SCALARS
)(_pairs)


def bpr_epoch(
    P: Float32, Q: Float32, bias: Float32, blocks: PairBlocks,
    *, candidates: int, learning_rate: float, l2: float, l2_bias: float, rng: np.random.Generator,
) -> float:  # fmt: skip
    """Run one epoch of BPR over all blocks of events, processing blocks without common users or items in parallel.

    Parameters
    ----------
    P : ndarray of shape (n_users, width), float32
        User factors; updated in place.
    Q : ndarray of shape (n_items, width), float32
        Item factors; updated in place.
    bias : ndarray of shape (n_items,), float32
        Item biases; updated in place.
    blocks : PairBlocks
        The events.
    candidates : int
        The number of candidates drawn for each negative.
    learning_rate, l2, l2_bias : float
        As in the equations in the module docstring.
    rng : numpy.random.Generator
        The random number generator for the candidates and the order of blocks.

    Returns
    -------
    float
        The sum of -w ln sigmoid over the events, each computed before its update; 0.0 if there are no events.
    """
    run = bpr_pairs(P.shape[1], 1)
    grid = blocks.grid
    loss, last_user = np.zeros(grid**2), np.full(len(Q), -1, np.int32)
    seeds = rng.integers(0, 2**64, grid**2, dtype=np.uint64)

    def update(block: int) -> None:
        group = block % grid
        run(
            P, loss, last_user, Q, bias,
            blocks.u, blocks.i, blocks.weights, blocks.items,
            block, blocks.start[block], blocks.start[block + 1], blocks.item_start[group], blocks.item_start[group + 1],
            candidates, seeds[block], learning_rate, l2, l2_bias,
        )  # fmt: skip

    for round_blocks in disjoint_rounds(grid, rng):
        parallel_for(update, round_blocks)
    return float(loss.sum())


def bpr_fold_in(
    P: Float32, rows: SparseRows, weights: Float32, Q: Float32, bias: Float32,
    *, candidates: int, rates: Float64, l2: float, row_l2: float = 0.0,
) -> None:  # fmt: skip
    """Fit the factors of new users as in training, with the item factors held fixed and negatives from all items.

    Parameters
    ----------
    P : ndarray of shape (n_rows, width), float32
        User factors; updated in place. A row without events is unchanged.
    rows : SparseRows
        The events of the users.
    weights : ndarray of shape (n,), float32
        The weight of each event; of shape (0,) if all are 1.
    Q : ndarray of shape (n_items, width), float32
        Item factors.
    bias : ndarray of shape (n_items,), float32
        Item biases.
    candidates : int
        The number of candidates drawn for each negative.
    rates : ndarray of shape (epochs,), float64
        The learning rate of each epoch.
    l2 : float
        The penalty on the user factors, per event.
    row_l2 : float, default 0
        An additional penalty on the user factors, once per row. Its step is taken after each epoch: p_u is divided by
        1 + 2 learning_rate row_l2.

    Notes
    -----
    All users share the same random numbers, so that a user's result does not depend on the batch.
    """
    run = bpr_users(P.shape[1], 0)
    u = rows.owners
    items = np.arange(len(Q), dtype=np.int32)
    seeds = random_stream(0, "fold in").integers(0, 2**64, len(rates), dtype=np.uint64)

    def update(block: tuple[int, int]) -> None:
        loss, last_user = np.zeros(1), np.full(len(Q), -1, np.int32)
        first, last = rows.start[block[0]], rows.start[block[1]]
        for seed, learning_rate in zip(seeds, rates, strict=True):
            run(
                P, loss, last_user, Q, bias,
                u, rows.columns, weights, items,
                0, first, last, 0, len(Q), candidates, seed, learning_rate, l2, 0.0,
            )  # fmt: skip
            P[block[0] : block[1]] /= np.float32(1 + 2 * learning_rate * row_l2)

    parallel_for(update, row_blocks(rows.start, entries=1 << 12))


def cosine_schedule(initial_rate: float, epochs: int) -> Float64:
    """Return the learning rates of a cosine schedule, which decays from `initial_rate` to 1% of it.

    Parameters
    ----------
    initial_rate : float
        The learning rate at the start.
    epochs : int
        The number of epochs.

    Returns
    -------
    ndarray of shape (epochs,), float64
        The learning rate of each epoch.

    Examples
    --------
    >>> cosine_schedule(1.0, 3).round(2).tolist()
    [0.93, 0.5, 0.07]
    """
    progress = (np.arange(epochs) + 0.5) / epochs
    return initial_rate * np.maximum(0.5 * (1 + np.cos(np.pi * progress)), 0.01)
