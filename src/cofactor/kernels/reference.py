"""The slow twin of every kernel, in NumPy and float64: what a kernel computes, without how it is made fast."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cofactor.arrays import Bool, Float32, Float64, Int32, Int64
from cofactor.kernels.bpr import TRIES
from cofactor.kernels.neighbors import COSINE, PEARSON
from cofactor.kernels.ridge import EVENTS, Side
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "added_by_items",
    "added_by_users",
    "bpr_updates",
    "damped_means",
    "dense",
    "exact_row",
    "gram",
    "history_terms",
    "improved_row",
    "mixture_cdf",
    "mixture_quantile",
    "pair_dots",
    "row_dots",
    "row_similarities",
    "row_system",
    "sgd_updates",
    "split_mix",
    "top_items",
    "top_of_rows",
    "whole",
]


def row_system(entries: SparseRows, row: int, penalty: float, side: Side) -> tuple[Float64, Float64, float]:
    """A (width, width), b (width,) and sum_j c t^2 of one row's ridge regression; see `kernels.ridge`."""
    own = slice(entries.start[row], entries.start[row + 1])
    f = side.features[entries.columns[own]].astype(np.float64)
    value = entries.values[own].astype(np.float64)
    weight = np.ones(len(value)) if entries.weights is None else entries.weights[own].astype(np.float64)
    events = side.kind == EVENTS
    c: Float64 = np.abs(value) if events else weight
    t: Float64 = (value > 0).astype(np.float64) if events else value - side.offset[entries.columns[own]]
    diagonal = penalty * side.shape.astype(np.float64) + side.precision
    blanks = side.gram.astype(np.float64) if side.kind == EVENTS else 0.0
    A = blanks + f.T @ (c[:, None] * f) + np.diag(diagonal)
    b = f.T @ (c * t) + side.precision * side.prior[row if len(side.prior) > 1 else 0].astype(np.float64)
    return A, b, float(c @ t**2)


def exact_row(entries: SparseRows, row: int, penalty: float, side: Side) -> Float64:
    """The minimizer of one row's ridge regression: A^-1 b, (width,)."""
    A, b, _ = row_system(entries, row, penalty, side)
    solution: Float64 = np.linalg.solve(A, b).astype(np.float64)
    return solution


def improved_row(x: Float32, entries: SparseRows, row: int, penalty: float, side: Side, *, steps: int) -> Float64:
    """One row after `steps` steps of conjugate gradient from x (Hestenes & Stiefel 1952): (width,)."""
    A, b, _ = row_system(entries, row, penalty, side)
    at = x.astype(np.float64)
    r = b - A @ at
    p = r.copy()
    for _ in range(steps):
        if r @ r < 1e-20:
            break
        step = (r @ r) / (p @ A @ p)
        at = at + step * p
        r_next = r - step * (A @ p)
        p = r_next + (r_next @ r_next) / (r @ r) * p
        r = r_next
    return at


def gram(features: Float32) -> Float64:
    """F' F: (width, width)."""
    wide = features.astype(np.float64)
    return wide.T @ wide


def pair_dots(P: Float32, Q: Float32, u: Int32, i: Int32) -> Float64:
    """P[u] . Q[i] for every pair: (n,)."""
    dots: Float64 = np.einsum("td,td->t", P[u].astype(np.float64), Q[i].astype(np.float64))
    return dots


def history_terms(
    Y: Float64, E: Float64, start: Int64, rows: Int32, scale: Float32, own: Float32, vectors: Float32, noise: Float32
) -> None:
    """Every row of Y (n_columns, width) drawn in turn, E (n_rows, width) following; see `kernels.gibbs`."""
    for j in range(len(Y)):
        having = rows[start[j] : start[j + 1]]
        h = scale[having].astype(np.float64)
        precision = own + vectors * (h @ h)
        drawn = vectors * (h @ E[having] + (h @ h) * Y[j]) / precision + noise[j] / np.sqrt(precision)
        E[having] -= h[:, None] * (drawn - Y[j])
        Y[j] = drawn


def sgd_updates(
    P: Float64, Q: Float64, user_bias: Float64, item_bias: Float64,
    u: Int32, i: Int32, values: Float32, weights: Float32,
    *, mean: float, low: float, span: float, learning_rate: float, bias_rate: float, l2: float, l2_bias: float,
) -> float:  # fmt: skip
    """One update for each rating, in their order, written into P, Q and the biases; returns sum w (r - y)^2."""
    total = 0.0
    w = np.ones(len(u)) if len(weights) == 0 else weights.astype(np.float64)
    for t, (a, b) in enumerate(zip(u, i, strict=True)):
        x = mean + user_bias[a] + item_bias[b] + P[a] @ Q[b]
        y, slope = x, 1.0
        if span > 0:
            sigmoid = 1 / (1 + np.exp(-x))
            y, slope = low + span * sigmoid, span * sigmoid * (1 - sigmoid)
        total += float(w[t] * (values[t] - y) ** 2)
        pull = 2 * w[t] * (values[t] - y) * slope
        if len(weights):
            steepest = span / 4 if span > 0 else 1.0
            pull /= max(1.0, learning_rate * 2 * w[t] * steepest**2 * (P[a] @ P[a] + Q[b] @ Q[b] + 2))
        user_bias[a] += bias_rate * (pull - 2 * l2_bias * user_bias[a])
        item_bias[b] += bias_rate * (pull - 2 * l2_bias * item_bias[b])
        p, q = P[a].copy(), Q[b].copy()
        P[a] += learning_rate * (pull * q - 2 * l2 * p)
        Q[b] += learning_rate * (pull * p - 2 * l2 * q)
    return total


def top_items(
    user_factors: Float32,
    item_factors: Float32,
    bias: Float32,
    n: int,
    *,
    seen_start: Int64,
    seen: Int32,
    allowed: Bool,
) -> tuple[Int64, Float64]:
    """The n best items of each user from the whole matrix of scores, rows and scores (n_users, n); ties by row."""
    scores = user_factors.astype(np.float64) @ item_factors.astype(np.float64).T + bias
    owners = np.repeat(np.arange(len(user_factors)), np.diff(seen_start))
    scores[owners, seen[seen_start[0] : seen_start[-1]]] = -np.inf
    if len(allowed):
        scores[:, ~allowed] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    best = np.take_along_axis(scores, rows, axis=1)
    return np.where(best > -np.inf, rows, -1), best


def mixture_cdf(means: Float64, sds: Float64, x: Float64) -> Float64:
    """F_r(x_rj) = 1/S sum_s Phi((x_rj - mean_rs) / sd_rs): (n, points), for x (n, points)."""
    z = (x[:, :, None] - means[:, None, :]) / sds[:, None, :]
    erf: Float64 = np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2))
    cdf: Float64 = ((1 + erf) / 2).mean(axis=2)
    return cdf


def mixture_quantile(means: Float64, sds: Float64, p: float) -> Float64:
    """The x with F_r(x) = p, by bisection from ten sds below every mean to ten above: (n,)."""
    low, high = (means - 10 * sds).min(axis=1), (means + 10 * sds).max(axis=1)
    for _ in range(100):
        middle = (low + high) / 2
        above = mixture_cdf(means, sds, middle[:, None])[:, 0] > p
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    middle_at_last: Float64 = (low + high) / 2
    return middle_at_last


def split_mix(state: int) -> tuple[int, int]:
    """The next state and number of SplitMix64, both of 64 bits."""
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def bpr_updates(
    P: Float64, Q: Float64, bias: Float64,
    u: Int32, i: Int32, weights: Float32, items: Int32,
    *, candidates: int, seed: int, learning_rate: float, l2: float, l2_bias: float, items_move: bool,
) -> float:  # fmt: skip
    """One update for each event, in their order, written into P and (if `items_move`) Q and bias; see `kernels.bpr`.

    Candidates are drawn from all of `items`. Returns the sum of -w ln sigmoid before each update.
    """
    total, state = 0.0, seed
    taken = {int(a): set(i[u == a].tolist()) for a in np.unique(u)}
    for t, (a, b) in enumerate(zip(u, i, strict=True)):
        if not items_move and (t == 0 or u[t - 1] != a):
            state = seed
        negatives = []
        for _ in range(candidates):
            for _ in range(TRIES):
                state, number = split_mix(state)
                c = int(items[((number >> 32) * len(items)) >> 32])
                if c not in taken[int(a)]:
                    negatives.append(c)
                    break
        if not negatives:
            continue
        j = max(negatives, key=lambda c: float(P[a] @ Q[c] + bias[c]))
        x = float(P[a] @ (Q[b] - Q[j]) + bias[b] - bias[j])
        w = 1.0 if len(weights) == 0 else float(weights[t])
        total += w * float(np.logaddexp(0, -x))
        p, q_b, q_j = P[a].copy(), Q[b].copy(), Q[j].copy()
        length = float((q_b - q_j) @ (q_b - q_j)) + (2 * float(p @ p) + 2 if items_move else 0)
        pull = w / (1 + math.exp(x)) / (1 + learning_rate * w * length / 4)
        P[a] += learning_rate * (pull * (q_b - q_j) - 2 * l2 * p)
        if items_move:
            Q[b] += learning_rate * (pull * p - 2 * l2 * q_b)
            Q[j] -= learning_rate * (pull * p + 2 * l2 * q_j)
            bias[b] += learning_rate * (pull - 2 * l2_bias * bias[b])
            bias[j] -= learning_rate * (pull + 2 * l2_bias * bias[j])
    return total


def dense(x: Float32, weights: Float32, bias: Float32) -> Float64:
    """x W + b: (n, columns)."""
    product: Float64 = x.astype(np.float64) @ weights.astype(np.float64) + bias
    return product


def row_dots(p: Float32, q: Float32) -> Float64:
    """p_r . q_r over the width that both have: (n,)."""
    width = min(p.shape[1], q.shape[1])
    dots: Float64 = (p[:, :width].astype(np.float64) * q[:, :width].astype(np.float64)).sum(axis=1)
    return dots


def whole(rows: SparseRows, n_columns: int, blank: float = 0.0) -> Float64:
    """Every entry in its place, `blank` elsewhere: (n_rows, n_columns)."""
    filled = np.full((len(rows), n_columns), blank)
    filled[np.repeat(np.arange(len(rows)), rows.counts), rows.columns] = rows.values
    return filled


def row_similarities(
    rows: SparseRows, others: SparseRows, n_columns: int, *, measure: int, shrink: float, itself: Int32 | None = None
) -> Float64:
    """How similar each of `rows` is to each of `others`, 0 where it is no neighbor: (n_rows, n_others)."""
    X, Y = whole(rows, n_columns), whole(others, n_columns)
    has_x, has_y = (np.isfinite(whole(r, n_columns, np.nan)).astype(float) for r in (rows, others))
    common, dot = has_x @ has_y.T, X @ Y.T
    xx, yy = (X**2).sum(axis=1)[:, None], (Y**2).sum(axis=1)[None, :]
    if measure == PEARSON:
        length = np.sqrt((X**2 @ has_y.T) * (has_x @ (Y**2).T))
    elif measure == COSINE:
        length = np.sqrt(xx * yy)
    else:
        length = xx + yy - dot
    good = (dot > 0) & (length > 0)
    ratio = np.divide(dot, length, out=np.zeros_like(dot), where=good)
    s: Float64 = ratio * np.divide(common, common + shrink, out=np.zeros_like(dot), where=good)
    if itself is None:
        s[common == others.counts[None, :]] = 0
    else:
        s[np.arange(len(rows)), itself] = 0
    return s


def added_by_items(rows: SparseRows, links: SparseRows, *, k: int | None = None, damping: float = 0.0) -> Float64:
    """What a user's items say of every item: sums, or averages over the k most similar; (n_users, n_items)."""
    n_items = len(links)
    S, out = whole(links, n_items), np.zeros((len(rows), n_items))
    for a in range(len(rows)):
        own = rows.row(a)
        w = np.ones(len(own.columns)) if own.weights is None else own.weights.astype(np.float64)
        for i in range(n_items):
            s = S[own.columns, i]
            if k is None:
                out[a, i] = s @ own.values
                continue
            ws = s * w * places_of(s, k)
            if (below := damping + ws.sum()) > 0:
                out[a, i] = ws @ own.values / below
    return out


def places_of(s: Float64, k: int) -> Float64:
    """How often each is among the k largest, over all orders of those that tie: (n,)."""
    alike = np.abs(s[:, None] - s) <= 1e-6 * s
    before = ((s > s[:, None]) & ~alike).sum(axis=1)
    shares: Float64 = np.clip((k - before) / alike.sum(axis=1), 0, 1)
    return shares


def nearest_of(similarities: Float64, n: int) -> Float64:
    """The n largest of each row, 0 where there are fewer; those that tie at the end are left out, unless all do."""
    s = np.append(-np.sort(-similarities, axis=1), np.zeros((len(similarities), n + 1)), axis=1)[:, : n + 1]
    kept = np.where(s[:, :n] > s[:, n:] * (1 + 1e-6), s[:, :n], 0)
    return np.where(kept.any(axis=1, keepdims=True), kept, s[:, :n])


def added_by_users(
    neighbors: Int32, likeness: Float32, rows: SparseRows, n_items: int, *, k: int, damping: float | None
) -> Float64:
    """What the k most similar users with an item say of it: averages, or sums without damping; (n_users, n_items)."""
    X, has = whole(rows, n_items), np.isfinite(whole(rows, n_items, np.nan))
    W = has.astype(float) if rows.weights is None else whole(replace(rows, values=rows.weights), n_items)
    out = np.zeros((len(neighbors), n_items))
    for a, (near, how) in enumerate(zip(neighbors, likeness.astype(np.float64), strict=True)):
        for i in range(n_items):
            best = [q for q, v in enumerate(near) if v >= 0 and has[v, i]]
            ws = how[best] * W[near[best], i] * places_of(how[best], k)
            above = float(ws @ X[near[best], i])
            if damping is None:
                out[a, i] = above
            elif damping + ws.sum() > 0:
                out[a, i] = above / (damping + ws.sum())
    return out


def damped_means(rows: SparseRows, bias: Float32, *, mean: float, damping: float) -> Float64:
    """sum w (x - mean - bias) / (damping + sum w) of each row, 0 without weight: (n_rows,)."""
    w = np.ones(len(rows.values)) if rows.weights is None else rows.weights.astype(np.float64)
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    above = np.bincount(owner, weights=w * (rows.values - mean - bias[rows.columns]), minlength=len(rows))
    below = np.bincount(owner, weights=w, minlength=len(rows)) + damping
    means: Float64 = np.divide(above, below, out=np.zeros(len(rows)), where=below > 0)
    return means


def top_of_rows(scores: Float32, n: int, *, exclude: SparseRows, allowed: Bool) -> tuple[Int64, Float32]:
    """The n best of each row of scores, rows and scores (n_users, n); ties by row."""
    left = scores.copy()
    left[np.repeat(np.arange(len(exclude)), exclude.counts), exclude.columns] = -np.inf
    if len(allowed):
        left[:, ~allowed] = -np.inf
    rows = np.argsort(-left, axis=1, kind="stable")[:, :n]
    best = np.take_along_axis(left, rows, axis=1)
    return np.where(best > -np.inf, rows, -1), best
