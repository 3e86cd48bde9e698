"""Simple, slow reference implementations of all kernels in NumPy and float64, for comparison in tests."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cofactor.arrays import Bool, Float32, Float64, Int32, Int64
from cofactor.kernels.bpr import MAX_DRAWS
from cofactor.kernels.neighbors import COSINE, JACCARD, PEARSON
from cofactor.kernels.ridge import EVENTS, RidgeInputs
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "bpr_updates",
    "damped_means",
    "dense",
    "gram",
    "history_terms",
    "improve_row",
    "item_item_scores",
    "leading_eigenvectors",
    "mixture_cdf",
    "mixture_quantile",
    "pair_dots",
    "row_dots",
    "row_similarities",
    "row_system",
    "sgd_updates",
    "solve_row",
    "split_mix",
    "time_ranks",
    "to_dense",
    "top_items",
    "top_of_rows",
    "transition_counts",
    "user_user_scores",
]


def row_system(entries: SparseRows, row: int, penalty: float, inputs: RidgeInputs) -> tuple[Float64, Float64, float]:
    """Build the normal equations of the ridge regression for one row; see `kernels.ridge`.

    Parameters
    ----------
    entries : SparseRows
        The entries of all rows.
    row : int
        The row number.
    penalty : float
        The penalty for the row.
    inputs : RidgeInputs
        Inputs of the ridge regression.

    Returns
    -------
    A : ndarray of shape (width, width), float64
        The matrix.
    b : ndarray of shape (width,), float64
        The right-hand side.
    float
        sum_j c t^2.
    """
    part = slice(entries.start[row], entries.start[row + 1])
    f = inputs.features[entries.columns[part]].astype(np.float64)
    value = entries.values[part].astype(np.float64)
    weight = np.ones(len(value)) if entries.weights is None else entries.weights[part].astype(np.float64)
    has_events = inputs.kind == EVENTS
    c: Float64 = np.abs(value) if has_events else weight
    t: Float64 = (value > 0).astype(np.float64) if has_events else value - inputs.offset[entries.columns[part]]
    diagonal = penalty * inputs.shape.astype(np.float64) + inputs.precision
    G = inputs.gram.astype(np.float64) if inputs.kind == EVENTS else 0.0
    A = G + f.T @ (c[:, None] * f) + np.diag(diagonal)
    b = f.T @ (c * t) + inputs.precision * inputs.prior[row if len(inputs.prior) > 1 else 0].astype(np.float64)
    return A, b, float(c @ t**2)


def solve_row(entries: SparseRows, row: int, penalty: float, inputs: RidgeInputs) -> Float64:
    """Compute the exact solution of the ridge regression for one row.

    Parameters
    ----------
    entries, row, penalty, inputs : see `row_system`
        The ridge regression.

    Returns
    -------
    ndarray of shape (width,), float64
    """
    A, b, _ = row_system(entries, row, penalty, inputs)
    solution: Float64 = np.linalg.solve(A, b).astype(np.float64)
    return solution


def improve_row(
    x: Float32, entries: SparseRows, row: int, penalty: float, inputs: RidgeInputs, *, steps: int
) -> Float64:
    """Improve the ridge regression solution for one row by conjugate gradient steps.

    Parameters
    ----------
    x : ndarray of shape (width,), float32
        The initial vector.
    entries, row, penalty, inputs : see `row_system`
        The ridge regression.
    steps : int
        The number of steps.

    Returns
    -------
    ndarray of shape (width,), float64

    References
    ----------
    Hestenes & Stiefel 1952.
    """
    A, b, _ = row_system(entries, row, penalty, inputs)
    solution = x.astype(np.float64)
    r = b - A @ solution
    p = r.copy()
    for _ in range(steps):
        if r @ r < 1e-20:
            break
        step = (r @ r) / (p @ A @ p)
        solution = solution + step * p
        r_next = r - step * (A @ p)
        p = r_next + (r_next @ r_next) / (r @ r) * p
        r = r_next
    return solution


def gram(features: Float32) -> Float64:
    """Compute the Gram matrix of feature vectors, `features.T @ features`.

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        F.

    Returns
    -------
    ndarray of shape (width, width), float64
    """
    F = features.astype(np.float64)
    return F.T @ F


def pair_dots(P: Float32, Q: Float32, u: Int32, i: Int32) -> Float64:
    """Compute the dot product of the user's and the item's factors for each user-item pair.

    Parameters
    ----------
    P, Q : ndarray of shape (n_users, width) and (n_items, width), float32
        User factors and item factors.
    u, i : ndarray of shape (n,), int32
        The pairs.

    Returns
    -------
    ndarray of shape (n,), float64
    """
    dots: Float64 = np.einsum("td,td->t", P[u].astype(np.float64), Q[i].astype(np.float64))
    return dots


def history_terms(
    Y: Float64,
    E: Float64,
    start: Int64,
    rows: Int32,
    scale: Float32,
    prior_precision: Float32,
    vector_precision: Float32,
    noise: Float32,
) -> None:
    """Sample the implicit-feedback factors of each item in turn; see `kernels.gibbs`.

    Parameters
    ----------
    Y : ndarray of shape (n_columns, width), float64
        History terms; overwritten.
    E : ndarray of shape (n_rows, width), float64
        Residuals; updated in place.
    start, rows : ndarray of shape (n_columns + 1,), int64, and (n,), int32
        The rows that have each column.
    scale : ndarray of shape (n_rows,), float32
        The factors h.
    prior_precision, vector_precision : ndarray of shape (width,), float32
        The precisions k and m.
    noise : ndarray of shape (n_columns, width), float32
        Standard normal draws.
    """
    for j in range(len(Y)):
        raters = rows[start[j] : start[j + 1]]
        h = scale[raters].astype(np.float64)
        precision = prior_precision + vector_precision * (h @ h)
        sample = vector_precision * (h @ E[raters] + (h @ h) * Y[j]) / precision + noise[j] / np.sqrt(precision)
        E[raters] -= h[:, None] * (sample - Y[j])
        Y[j] = sample


def sgd_updates(
    P: Float64, Q: Float64, user_bias: Float64, item_bias: Float64,
    u: Int32, i: Int32, values: Float32, weights: Float32,
    *, mean: float, low: float, span: float, learning_rate: float, bias_rate: float, l2: float, l2_bias: float,
) -> float:  # fmt: skip
    """Apply one SGD update for each rating, in order; see `kernels.sgd`.

    Parameters
    ----------
    P, Q : ndarray of shape (n_users, width) and (n_items, width), float64
        User factors and item factors; updated in place.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), float64
        Biases; updated in place.
    u, i : ndarray of shape (n,), int32
        The user and the item of each rating.
    values, weights : ndarray of shape (n,), float32
        The ratings and their weights; an empty array if all weights are 1.
    mean, low, span, learning_rate, bias_rate, l2, l2_bias : float
        As in `kernels.sgd`.

    Returns
    -------
    float
        The sum of w (r - y)^2, each computed before its update.
    """
    total = 0.0
    w = np.ones(len(u)) if len(weights) == 0 else weights.astype(np.float64)
    for t, (a, b) in enumerate(zip(u, i, strict=True)):
        x = mean + user_bias[a] + item_bias[b] + P[a] @ Q[b]
        y, slope = x, 1.0
        if span > 0:
            sigmoid = 1 / (1 + np.exp(-x))
            y, slope = low + span * sigmoid, span * sigmoid * (1 - sigmoid)
        total += float(w[t] * (values[t] - y) ** 2)
        delta = 2 * w[t] * (values[t] - y) * slope
        if len(weights):
            max_slope = span / 4 if span > 0 else 1.0
            delta /= max(1.0, learning_rate * 2 * w[t] * max_slope**2 * (P[a] @ P[a] + Q[b] @ Q[b] + 2))
        user_bias[a] += bias_rate * (delta - 2 * l2_bias * user_bias[a])
        item_bias[b] += bias_rate * (delta - 2 * l2_bias * item_bias[b])
        p, q = P[a].copy(), Q[b].copy()
        P[a] += learning_rate * (delta * q - 2 * l2 * p)
        Q[b] += learning_rate * (delta * p - 2 * l2 * q)
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
    """Return the top n items for each user, from a full matrix of scores.

    Parameters
    ----------
    user_factors, item_factors : ndarray of shape (n_users, width) and (n_items, width), float32
        User factors and item factors.
    bias : ndarray of shape (n_items,), float32
        Item biases.
    n : int
        The length of each list.
    seen_start, seen : ndarray of shape (n_users + 1,), int64, and (n_seen,), int32
        The items to exclude for each user.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items that may be listed; an empty array means all items.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int64
        Item row numbers, best first, ties by row number; padded with -1.
    scores : ndarray of shape (n_users, n), float64
        Their scores; padded with -inf.
    """
    scores = user_factors.astype(np.float64) @ item_factors.astype(np.float64).T + bias
    owners = np.repeat(np.arange(len(user_factors)), np.diff(seen_start))
    scores[owners, seen[seen_start[0] : seen_start[-1]]] = -np.inf
    if len(allowed):
        scores[:, ~allowed] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    best = np.take_along_axis(scores, rows, axis=1)
    return np.where(best > -np.inf, rows, -1), best


def mixture_cdf(means: Float64, sds: Float64, x: Float64) -> Float64:
    """Compute the cumulative distribution function of each mixture of normal distributions.

    Parameters
    ----------
    means, sds : ndarray of shape (n, S), float64
        The components of each mixture.
    x : ndarray of shape (n, m), float64
        The points for each mixture.

    Returns
    -------
    ndarray of shape (n, m), float64
        F_r(x_rj) = 1/S sum_s Phi((x_rj - mean_rs) / sd_rs).
    """
    z = (x[:, :, None] - means[:, None, :]) / sds[:, None, :]
    erf: Float64 = np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2))
    cdf: Float64 = ((1 + erf) / 2).mean(axis=2)
    return cdf


def mixture_quantile(means: Float64, sds: Float64, p: float) -> Float64:
    """Compute the quantile of each mixture of normal distributions for a probability, by bisection.

    Parameters
    ----------
    means, sds : ndarray of shape (n, S), float64
        The components of each mixture.
    p : float
        The probability.

    Returns
    -------
    ndarray of shape (n,), float64
        The values x with F_r(x) = p.
    """
    low, high = (means - 10 * sds).min(axis=1), (means + 10 * sds).max(axis=1)
    for _ in range(100):
        middle = (low + high) / 2
        above = mixture_cdf(means, sds, middle[:, None])[:, 0] > p
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    quantile: Float64 = (low + high) / 2
    return quantile


def split_mix(state: int) -> tuple[int, int]:
    """Advance a SplitMix64 random number generator by one step.

    Parameters
    ----------
    state : int
        The 64-bit state.

    Returns
    -------
    state : int
        The next 64-bit state.
    number : int
        The 64-bit random number.
    """
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def bpr_updates(
    P: Float64, Q: Float64, bias: Float64,
    u: Int32, i: Int32, weights: Float32, items: Int32,
    *, candidates: int, seed: int, learning_rate: float, l2: float, l2_bias: float, update_items: bool,
) -> float:  # fmt: skip
    """Apply one BPR update for each event, in order; see `kernels.bpr`.

    Parameters
    ----------
    P : ndarray of shape (n_users, width), float64
        User factors; updated in place.
    Q : ndarray of shape (n_items, width), float64
        Item factors; updated in place if `update_items`.
    bias : ndarray of shape (n_items,), float64
        Item biases; updated in place if `update_items`.
    u, i : ndarray of shape (n,), int32
        The user and the item of each event; the events of a user must be adjacent.
    weights : ndarray of shape (n,), float32
        The weight of each event; of shape (0,) if all are 1.
    items : ndarray, int32
        Row numbers of the items from which candidates are drawn.
    candidates : int
        The number of candidates for each negative.
    seed : int
        The initial state of the SplitMix64 generator; it is reset for each user unless `update_items`.
    learning_rate, l2, l2_bias : float
        As in `kernels.bpr`.
    update_items : bool
        Whether to update item factors and biases.

    Returns
    -------
    float
        The sum of -w ln sigmoid, each computed before its update.
    """
    total, state = 0.0, seed
    user_items = {int(a): set(i[u == a].tolist()) for a in np.unique(u)}
    for t, (a, b) in enumerate(zip(u, i, strict=True)):
        if not update_items and (t == 0 or u[t - 1] != a):
            state = seed
        negatives = []
        for _ in range(candidates):
            for _ in range(MAX_DRAWS):
                state, number = split_mix(state)
                c = int(items[((number >> 32) * len(items)) >> 32])
                if c not in user_items[int(a)]:
                    negatives.append(c)
                    break
        if not negatives:
            continue
        j = max(negatives, key=lambda c: float(P[a] @ Q[c] + bias[c]))
        x = float(P[a] @ (Q[b] - Q[j]) + bias[b] - bias[j])
        w = 1.0 if len(weights) == 0 else float(weights[t])
        total += w * float(np.logaddexp(0, -x))
        p, q_b, q_j = P[a].copy(), Q[b].copy(), Q[j].copy()
        norm = float((q_b - q_j) @ (q_b - q_j)) + (2 * float(p @ p) + 2 if update_items else 0)
        delta = w / (1 + math.exp(x)) / (1 + learning_rate * w * norm / 4)
        P[a] += learning_rate * (delta * (q_b - q_j) - 2 * l2 * p)
        if update_items:
            Q[b] += learning_rate * (delta * p - 2 * l2 * q_b)
            Q[j] -= learning_rate * (delta * p + 2 * l2 * q_j)
            bias[b] += learning_rate * (delta - 2 * l2_bias * bias[b])
            bias[j] -= learning_rate * (delta + 2 * l2_bias * bias[j])
    return total


def dense(x: Float32, weights: Float32, bias: Float32) -> Float64:
    """Compute the output of a dense layer, `x @ weights + bias`.

    Parameters
    ----------
    x, weights, bias : ndarray, float32
        x (n, rows), W (rows, columns) and b (columns,).

    Returns
    -------
    ndarray of shape (n, columns), float64
    """
    product: Float64 = x.astype(np.float64) @ weights.astype(np.float64) + bias
    return product


def row_dots(p: Float32, q: Float32) -> Float64:
    """Compute the dot product of each row of `p` with the same row of `q`, over the leading columns that both have.

    Parameters
    ----------
    p, q : ndarray of shape (n, a) and (n, b), float32
        The rows.

    Returns
    -------
    ndarray of shape (n,), float64
    """
    width = min(p.shape[1], q.shape[1])
    dots: Float64 = (p[:, :width].astype(np.float64) * q[:, :width].astype(np.float64)).sum(axis=1)
    return dots


def to_dense(rows: SparseRows, n_columns: int, blank: float = 0.0) -> Float64:
    """Convert a sparse matrix to a dense matrix.

    Parameters
    ----------
    rows : SparseRows
        The matrix.
    n_columns : int
        The number of columns.
    blank : float, default 0.0
        The value of missing entries.

    Returns
    -------
    ndarray of shape (n_rows, n_columns), float64
    """
    dense_matrix = np.full((len(rows), n_columns), blank)
    dense_matrix[rows.owners, rows.columns] = rows.values
    return dense_matrix


def row_similarities(
    rows: SparseRows, others: SparseRows, n_columns: int, *, measure: int, shrink: float, exclude: Int32 | None = None
) -> Float64:
    """Compute the similarity of each row to each row of another matrix; see `kernels.neighbors`.

    Parameters
    ----------
    rows, others : SparseRows
        The rows.
    n_columns : int
        The number of columns in both matrices.
    measure : {PEARSON, COSINE, JACCARD, DOT}
        The similarity measure.
    shrink : float
        The shrinkage.
    exclude : ndarray of shape (n_rows,), int32, or None, default None
        The row of `others` to exclude for each row; None excludes the rows of `others` whose columns are all in the
        row.

    Returns
    -------
    ndarray of shape (n_rows, n_others), float64
        0 if the other row is not a neighbor.
    """
    X, Y = to_dense(rows, n_columns), to_dense(others, n_columns)
    has_x, has_y = (np.isfinite(to_dense(r, n_columns, np.nan)).astype(float) for r in (rows, others))
    common, dot = has_x @ has_y.T, X @ Y.T
    xx, yy = (X**2).sum(axis=1)[:, None], (Y**2).sum(axis=1)[None, :]
    if measure == PEARSON:
        length = np.sqrt((X**2 @ has_y.T) * (has_x @ (Y**2).T))
    elif measure == COSINE:
        length = np.sqrt(xx * yy)
    else:
        length = xx + yy - dot if measure == JACCARD else np.ones_like(dot)
    valid = (dot > 0) & (length > 0)
    ratio = np.divide(dot, length, out=np.zeros_like(dot), where=valid)
    s: Float64 = ratio * np.divide(common, common + shrink, out=np.zeros_like(dot), where=valid)
    if exclude is None:
        s[common == others.counts[None, :]] = 0
    else:
        s[np.arange(len(rows)), exclude] = 0
    return s


def item_item_scores(
    rows: SparseRows, similarities: SparseRows, *, k: int | None = None, damping: float = 0.0
) -> Float64:
    """Compute item-item scores of all items for each user; see `kernels.neighbor_scores`.

    Parameters
    ----------
    rows : SparseRows
        The entries of the users.
    similarities : SparseRows
        Similarities: row j contains the items i that have j as a neighbor (as columns), and s_ij (as values).
    k : int or None, default None
        The maximum number of neighbors in an average; None for sums over all neighbors.
    damping : float, default 0.0
        A constant added to the denominator of an average.

    Returns
    -------
    ndarray of shape (n_users, n_items), float64
    """
    n_items = len(similarities)
    S, out = to_dense(similarities, n_items), np.zeros((len(rows), n_items))
    for a in range(len(rows)):
        history = rows.row(a)
        w = np.ones(len(history.columns)) if history.weights is None else history.weights.astype(np.float64)
        for i in range(n_items):
            s = S[history.columns, i]
            if k is None:
                out[a, i] = s @ history.values
                continue
            ws = s * w * top_k_membership(s, k)
            if (denominator := damping + ws.sum()) > 0:
                out[a, i] = ws @ history.values / denominator
    return out


def leading_eigenvectors(rows: SparseRows, n_columns: int, n: int) -> tuple[Float64, Float64]:
    """Compute the n leading eigenvectors of the Gram matrix of a sparse matrix; see `kernels.spectrum`.

    Parameters
    ----------
    rows : SparseRows
        The matrix.
    n_columns : int
        The number of columns.
    n : int
        The number of eigenvectors; at most the rank.

    Returns
    -------
    vectors : ndarray of shape (n_columns, n), float64
        The eigenvectors; their signs are arbitrary.
    eigenvalues : ndarray of shape (n,), float64
        Their eigenvalues, in descending order.
    """
    X = to_dense(rows, n_columns)
    eigenvalues, vectors = np.linalg.eigh(X.T @ X)
    return vectors[:, ::-1][:, :n], eigenvalues[::-1][:n]


def top_k_membership(s: Float64, k: int) -> Float64:
    """Return the weight of each similarity in a sum over the k largest; see `kernels.neighbor_scores`.

    Parameters
    ----------
    s : ndarray of shape (n,), float64
        Similarities, at least 0.
    k : int
        The number of largest similarities.

    Returns
    -------
    ndarray of shape (n,), float64
        Values from 0 to 1. A similarity that is larger than the k-th largest one by less than 1 / 8,192 of it counts in
        part as certainly included, and for the rest shares the remaining positions with the similarities close to it.
    """
    if (s > 0).sum() <= k:
        return np.ones(len(s))
    distance = (s / np.sort(s)[-k] - 1) * 2**13
    included, close = np.clip(distance, 0, 1), np.clip(1 - np.abs(distance), 0, 1)
    factors: Float64 = included + close * (k - included.sum()) / close.sum()
    return factors


def largest_similarities(similarities: Float64, n: int) -> Float64:
    """Return the n largest similarities in each row of a similarity matrix.

    Parameters
    ----------
    similarities : ndarray of shape (n_rows, n_others), float64
        0 if the other row is not a neighbor.
    n : int
        The maximum number of neighbors.

    Returns
    -------
    ndarray of shape (n_rows, n), float64
        The similarities in descending order, padded with 0. If the n-th and the next one tie, all similarities in the
        tie are excluded, unless all similarities tie.
    """
    s = np.append(-np.sort(-similarities, axis=1), np.zeros((len(similarities), n + 1)), axis=1)[:, : n + 1]
    without_ties = np.where(s[:, :n] > s[:, n:] * (1 + 1e-6), s[:, :n], 0)
    return np.where(without_ties.any(axis=1, keepdims=True), without_ties, s[:, :n])


def time_ranks(times: Int64) -> Float64:
    """Return the rank of each entry by time; simultaneous entries share their mean rank.

    Parameters
    ----------
    times : ndarray of shape (n,), int64
        The times.

    Returns
    -------
    ndarray of shape (n,), float64
        Ranks from 0.
    """
    earlier = times[:, None] > times
    tied = times[:, None] == times
    ranks: Float64 = earlier.sum(axis=1) + (tied.sum(axis=1) - 1) / 2
    return ranks


def transition_counts(rows: SparseRows, n_items: int, *, gap_power: float, backward: float) -> Float64:
    """Compute the directed counts of item pairs; see `kernels.transitions`.

    Parameters
    ----------
    rows : SparseRows
        Signed confidences of each user, with times.
    n_items : int
        The number of items.
    gap_power : float
        Power of the distance in rank between two entries, by which their pair is divided.
    backward : float
        Factor for the transition to an earlier entry.

    Returns
    -------
    ndarray of shape (n_items, n_items), float64
        c_ji, with a zero diagonal.
    """
    counts = np.zeros((n_items, n_items))
    for u in range(len(rows)):
        row = rows.row(u)
        x = row.values.astype(np.float64)
        rank = time_ranks(np.zeros(len(x), np.int64) if row.times is None else row.times)
        for a in range(len(x)):
            for b in range(len(x)):
                gap = rank[b] - rank[a]
                direction = 1 if gap > 0 else backward if gap < 0 else (1 + backward) / 2
                product = np.sign(x[a] * x[b]) * np.sqrt(abs(x[a] * x[b]))
                if a != b:
                    counts[row.columns[a], row.columns[b]] += product * max(abs(gap), 1) ** -gap_power * direction
    return counts


def user_user_scores(
    neighbors: Int32, similarity: Float32, rows: SparseRows, n_items: int, *, k: int, damping: float | None
) -> Float64:
    """Compute user-user scores of all items for each user; see `kernels.neighbor_scores`.

    Parameters
    ----------
    neighbors : ndarray of shape (n_users, width), int32
        The neighbors of each user, most similar first; padded with -1.
    similarity : ndarray of shape (n_users, width), float32
        The similarity of each neighbor.
    rows : SparseRows
        The entries of all users.
    n_items : int
        The number of items.
    k : int
        The maximum number of neighbors for an item.
    damping : float or None
        A constant added to the denominator of an average; None for sums.

    Returns
    -------
    ndarray of shape (n_users, n_items), float64
    """
    X, has_entry = to_dense(rows, n_items), np.isfinite(to_dense(rows, n_items, np.nan))
    W = has_entry.astype(float) if rows.weights is None else to_dense(replace(rows, values=rows.weights), n_items)
    out = np.zeros((len(neighbors), n_items))
    for a, (users, s) in enumerate(zip(neighbors, similarity.astype(np.float64), strict=True)):
        for i in range(n_items):
            best = [q for q, v in enumerate(users) if v >= 0 and has_entry[v, i]]
            ws = s[best] * W[users[best], i] * top_k_membership(s[best], k)
            numerator = float(ws @ X[users[best], i])
            if damping is None:
                out[a, i] = numerator
            elif damping + ws.sum() > 0:
                out[a, i] = numerator / (damping + ws.sum())
    return out


def damped_means(rows: SparseRows, bias: Float32, *, mean: float, damping: float) -> Float64:
    """Compute the damped bias of each row: the damped mean of `value - mean - column bias` over its entries.

    Parameters
    ----------
    rows : SparseRows
        The entries x and their weights w.
    bias : ndarray of shape (n_columns,), float32
        The bias of each column.
    mean, damping : float
        As in the equation.

    Returns
    -------
    ndarray of shape (n_rows,), float64
        The damped means; 0 if the denominator is 0.
    """
    w = np.ones(len(rows.values)) if rows.weights is None else rows.weights.astype(np.float64)
    owner = rows.owners
    numerator = np.bincount(owner, weights=w * (rows.values - mean - bias[rows.columns]), minlength=len(rows))
    denominator = np.bincount(owner, weights=w, minlength=len(rows)) + damping
    means: Float64 = np.divide(numerator, denominator, out=np.zeros(len(rows)), where=denominator > 0)
    return means


def top_of_rows(scores: Float32, n: int, *, exclude: SparseRows, allowed: Bool) -> tuple[Int64, Float32]:
    """Return the n items with the highest scores in each row of a score matrix.

    Parameters
    ----------
    scores : ndarray of shape (n_users, n_items), float32
        The scores.
    n : int
        The length of each list.
    exclude : SparseRows
        The items to exclude for each user.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items that may be listed; an empty array means all items.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int64
        Item row numbers, best first, ties by row number; padded with -1.
    scores : ndarray of shape (n_users, n), float32
        Their scores; padded with -inf.
    """
    candidates = scores.copy()
    candidates[exclude.owners, exclude.columns] = -np.inf
    if len(allowed):
        candidates[:, ~allowed] = -np.inf
    rows = np.argsort(-candidates, axis=1, kind="stable")[:, :n]
    best = np.take_along_axis(candidates, rows, axis=1)
    return np.where(best > -np.inf, rows, -1), best
