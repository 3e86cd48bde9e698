"""Nearest-neighbor search between the rows of sparse matrices, without computing the full similarity matrix.

The similarity of rows a and b with values x is defined as follows, where sums are over the n common columns and |x_a|
is the norm of the whole row:

    pearson   s = sum x_a x_b / sqrt(sum x_a^2 sum x_b^2)             cosine   s = sum x_a x_b / (|x_a| |x_b|)
    jaccard   s = sum x_a x_b / (|x_a|^2 + |x_b|^2 - sum x_a x_b)     dot      s = sum x_a x_b
    then      s <- s n / (n + shrink)

For each row, the kernel iterates over the lists of the row's columns and accumulates the sums for all rows in them.
Each thread needs one accumulator per row. Only positive similarities are used.

If a column has more than `max_length` entries, its list contains only the rows with the most entries (ties by row
number). These rows have the most columns in common with other rows, so they rank first when similarities are shrunk. If
a list is truncated, the best `CANDIDATE_FACTOR` times n rows are compared again over all of their entries. The
selection of these rows then depends on the truncation, but their similarities are exact.

References: Koren 2008, section 2.2 (shrinkage); Tanimoto's extension of the Jaccard index to weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, contiguous, row_starts
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "CANDIDATE_FACTOR",
    "COSINE",
    "DOT",
    "JACCARD",
    "PEARSON",
    "TIE_TOLERANCE",
    "ColumnLists",
    "best_candidates",
    "nearest",
]

PEARSON, COSINE, JACCARD, DOT = 0, 1, 2, 3
"""Compile-time option for the similarity measure; a dot product may exceed 1, so it is used without shrinkage."""

CANDIDATE_FACTOR = 2
"""If column lists are truncated, this many times n rows are compared over all of their entries."""

TIE_TOLERANCE = 1e-6
"""The relative difference within which similarities are treated as ties: a few times the rounding error of float32."""

DENSE_RATIO = 3
"""The ratio of listed entries to rows above which all rows are scanned, instead of a list of visited rows."""

NO_ROW = np.iinfo(np.int32).max


@kernel(
    writes="i4[:, ::1] f4[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] i8[::1] i4[::1] f4[::1] i4[::1] f4[::1] i4[::1] i4[::1]",
    scalars="i8 i8 f4",
)
def _nearest(measure: int, is_binary: int):
    """Write a heap of the nearest rows for each of the rows first..last-1, with the worst one at the root.

    Writes the row numbers `nearest_rows` and their `similarity`, both (last - first, n). Reads the rows, including
    their squared norms `norm`, and the column lists: `position` is the position of a listed row, `row_of` its row
    number, `position_norm` its squared norm and `position_size` its number of entries. Skips row `excluded[a]` (-1 for
    none) and rows whose columns are all in row a. If `is_binary`, all values are 1, so a single sum is sufficient.
    Other sums are float64, so that a similarity rounded to float32 does not depend on the order of the columns.
    """
    from cofactor.kernels import topk_heap

    dtype = np.float32 if is_binary else np.float64

    def _nearest(
        nearest_rows, similarity,
        start, columns, values, norm, list_start, position, list_value, row_of, position_norm, position_size, excluded,
        first, last, shrink,
    ):  # fmt: skip
        n_positions = row_of.shape[0]
        n_sums = (1 if is_binary else 2) if measure != PEARSON else 4  # n, sum x_a x_b, sum x_a^2, sum x_b^2
        sums = np.zeros((n_positions, n_sums), dtype)
        seen = np.empty(n_positions + 1, np.int32)
        for a in range(first, last):
            out = a - first
            n_listed = 0
            for e in range(start[a], start[a + 1]):
                n_listed += list_start[columns[e] + 1] - list_start[columns[e]]
            # a list of the rows seen saves nothing if most rows are seen
            scan_all = n_listed > DENSE_RATIO * n_positions
            m = n_positions if scan_all else 0
            for e in range(start[a], start[a + 1]):
                c = columns[e]
                x = dtype(values[e])
                square = x * x
                for t in range(list_start[c], list_start[c + 1]):
                    b = np.uint64(position[t])  # unsigned: numba then omits the code for negative indices
                    if not scan_all:
                        seen[m] = b  # overwritten by the next row unless new: avoids a branch
                        m += int(sums[b, 0] == 0)
                    sums[b, 0] += dtype(1)
                    if not is_binary:
                        y = dtype(list_value[t])
                        sums[b, 1] += x * y
                        if measure == PEARSON:
                            sums[b, 2] += square
                            sums[b, 3] += y * y
            min_common = np.float32(0)
            for q in range(m):
                b = np.uint64(q if scan_all else seen[q])
                common, dot = sums[b, 0], sums[b, 0] if is_binary else sums[b, 1]
                xx, yy = (sums[b, 2], sums[b, 3]) if measure == PEARSON else (dtype(0), dtype(0))
                for d in range(n_sums):
                    sums[b, d] = dtype(0)
                # a similarity is at most n / (n + shrink), which rejects most rows
                if common < min_common or dot <= 0:
                    continue
                row = row_of[b]
                if common == position_size[b] or row == excluded[a]:
                    continue
                shrinkage = np.float64(common) / (np.float64(common) + shrink)
                norm_a, norm_b = np.float64(norm[a]), np.float64(position_norm[b])
                if measure == PEARSON:
                    length = np.sqrt(xx * yy)
                elif measure == COSINE:
                    length = np.sqrt(norm_a * norm_b)
                elif measure == JACCARD:
                    length = norm_a + norm_b - dot
                else:
                    length = np.float64(1)
                if not length > 0:
                    continue
                s = np.float32(shrinkage * (dot if measure == DOT else min(dot / length, 1.0)))
                if not topk_heap.replace_worst(similarity, nearest_rows, out, s, row):
                    continue
                worst = similarity[out, 0]
                if worst < 1:
                    min_common = np.float32(0.9999) * shrink * worst / (1 - worst)

    return _nearest


@kernel(
    writes="f4[:, ::1]",
    reads="i4[:, ::1] i8[::1] i4[::1] f4[::1] f4[::1] i8[::1] i4[::1] f4[::1] f4[::1]",
    scalars="i8 i8 f4",
)
def _compare(measure: int):
    """Write the similarity of each row a to the rows nearest_rows[a - first] of the other matrix, over all entries.

    Writes `similarity` (last - first, n), which is 0 if the similarity is not positive, if row a has all columns of the
    other row, or if the row number is negative. Reads the rows, the other rows, their squared norms and `nearest_rows`.
    """

    def _compare(
        similarity, nearest_rows, start, columns, values, norm, other_start, other_columns, other_values, other_norm,
        first, last, shrink,
    ):  # fmt: skip
        for a in range(first, last):
            for q in range(nearest_rows.shape[1]):
                similarity[a - first, q] = np.float32(0)
                b = nearest_rows[a - first, q]
                if b < 0:
                    continue
                position = other_start[b]
                end = other_start[b + 1]
                common, dot, xx, yy = np.float64(0), np.float64(0), np.float64(0), np.float64(0)
                for e in range(start[a], start[a + 1]):
                    c = columns[e]
                    stride = 1  # galloping search for the first column of b that is at least c
                    while position + stride < end and other_columns[position + stride] < c:
                        position += stride
                        stride *= 2
                    high = min(position + stride, end)
                    while position < high:
                        middle = (position + high) >> 1
                        if other_columns[middle] < c:
                            position = middle + 1
                        else:
                            high = middle
                    if position == end:
                        break
                    if other_columns[position] == c:
                        x = np.float64(values[e])
                        y = np.float64(other_values[position])
                        common += 1.0
                        dot += x * y
                        xx += x * x
                        yy += y * y
                if dot <= 0 or common == end - other_start[b]:
                    continue
                norm_a, norm_b = np.float64(norm[a]), np.float64(other_norm[b])
                if measure == PEARSON:
                    length = np.sqrt(xx * yy)
                elif measure == COSINE:
                    length = np.sqrt(norm_a * norm_b)
                elif measure == JACCARD:
                    length = norm_a + norm_b - dot
                else:
                    length = np.float64(1)
                if length > 0:
                    s = dot if measure == DOT else min(dot / length, 1.0)
                    similarity[a - first, q] = np.float32(common / (common + shrink) * s)

    return _compare


@kernel(
    writes="i4[::1] f4[::1] i8[::1]",
    reads="i8[::1] i4[::1] f4[::1] i4[::1] i8[::1]",
)
def _fill_lists():
    """Append the entries of each row, in the order of `order`, to the lists of their columns until these are full.

    Writes `position`, `list_value` and `next_`, the current end of each list, which is initialized with `list_start`.
    """

    def _fill_lists(position, list_value, next_, start, columns, values, order, list_start):
        for t in range(order.shape[0]):
            row = order[t]
            for e in range(start[row], start[row + 1]):
                c = columns[e]
                if next_[c] < list_start[c + 1]:
                    position[next_[c]] = t
                    list_value[next_[c]] = values[e]
                    next_[c] += 1

    return _fill_lists


@dataclass(frozen=True, eq=False)
class ColumnLists:
    """Column lists of a sparse matrix: the entries of each column, sorted by decreasing row size.

    Attributes
    ----------
    start : ndarray of shape (n_columns + 1,), int64
        The list of column c contains the entries from start[c] to start[c + 1] - 1; it may be empty.
    position : ndarray of shape (n,), int32
        The position of each entry's row in the common order.
    values : ndarray of shape (n,), float32
        The value of each entry.
    row_of : ndarray of shape (n_rows,), int32
        The row number at each position.
    norm : ndarray of shape (n_rows,), float32
        The squared norm of the row at each position.
    size : ndarray of shape (n_rows,), int32
        The number of entries in the row at each position.
    is_truncated : bool
        Whether any column has more entries than its list.
    """

    start: Int64
    position: Int32
    values: Float32
    row_of: Int32
    norm: Float32
    size: Int32
    is_truncated: bool

    @classmethod
    def of(cls, rows: SparseRows, n_columns: int, *, max_length: int) -> ColumnLists:
        """Create the column lists of a sparse matrix.

        Parameters
        ----------
        rows : SparseRows
            The matrix; weights are ignored.
        n_columns : int
            The number of columns.
        max_length : int
            The maximum number of entries in a list.

        Returns
        -------
        ColumnLists
        """
        counts = rows.counts
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        column_counts = rows.column_counts(n_columns)
        lengths = np.minimum(column_counts, max_length)
        start = row_starts(lengths)
        position, values = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
        _fill_lists()(position, values, start[:-1].copy(), rows.start, rows.columns, rows.values, order, start)
        size = counts[order].astype(np.int32)
        return cls(
            start, position, values, order, _squares(rows)[order], size, bool((column_counts > max_length).any())
        )


def nearest(
    rows: SparseRows,
    lists: ColumnLists,
    others: SparseRows,
    *,
    measure: int,
    n: int,
    shrink: float,
    exclude: Int32 | None = None,
) -> tuple[Int32, Float32]:
    """Find the n rows of another matrix most similar to each row, best first, with ties broken by row number.

    Parameters
    ----------
    rows : SparseRows
        The rows to find neighbors for; weights are ignored, here and in `others`.
    lists : ColumnLists
        The column lists of `others`.
    others : SparseRows
        The matrix whose rows are the candidates.
    measure : {PEARSON, COSINE, JACCARD, DOT}
        The similarity measure.
    n : int
        The maximum number of neighbors for each row.
    shrink : float
        The shrinkage for similarities that are based on few common columns.
    exclude : ndarray of shape (n_rows,), int32, or None, default None
        The candidate to skip for each row; -1 for none. If None, candidates whose columns are all in the row are
        skipped, including the row itself, because they add no information.

    Returns
    -------
    neighbors : ndarray of shape (n_rows, n), int32
        Row numbers of `others`; padded with -1. If the n-th and the next similarity tie, all candidates in the tie are
        excluded, unless no neighbor would remain, so that the selection does not depend on row numbers.
    similarity : ndarray of shape (n_rows, n), float32
        Their similarities; padded with 0.

    Notes
    -----
    See the equations in the module docstring.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0, 1, 1, 1], columns=[0, 1, 0, 1, 2], values=[1] * 5, n_rows=2)
    >>> lists = ColumnLists.of(rows, 3, max_length=2)
    >>> neighbors, similarity = nearest(rows, lists, rows, measure=COSINE, n=1, shrink=0)
    >>> neighbors[:, 0], similarity[:, 0].round(2)         # row 1 has all columns of row 0
    (array([ 1, -1], dtype=int32), array([0.82, 0.  ], dtype=float32))
    """
    norm = _squares(rows)
    if measure != DOT:
        rows, lists, others, norm = _rescale(rows, lists, others, norm)
    neighbors = np.full((len(rows), n), -1, np.int32)
    similarity = np.zeros((len(rows), n), np.float32)
    size = lists.size if exclude is None else np.full(len(lists.size), np.iinfo(np.int32).max, np.int32)
    excluded = np.full(len(rows), -1, np.int32) if exclude is None else exclude
    other_norm = np.empty(len(lists.row_of), np.float32)
    other_norm[lists.row_of] = lists.norm
    width = max(n * CANDIDATE_FACTOR if lists.is_truncated else n, n + 1)
    shrink32 = np.float32(shrink)
    is_binary = measure != PEARSON and bool((rows.values == 1).all() and (lists.values == 1).all())

    def search(cut: tuple[int, int]) -> None:
        candidates = np.full((cut[1] - cut[0], width), NO_ROW, np.int32)
        s = np.zeros(candidates.shape, np.float32)
        _nearest(measure, int(is_binary))(
            candidates, s,
            rows.start, rows.columns, rows.values, norm, lists.start, lists.position, lists.values,
            lists.row_of, lists.norm, size, excluded, *cut, shrink32,
        )  # fmt: skip
        candidates[s <= 0] = -1
        if lists.is_truncated:
            _compare(measure)(
                s, candidates,
                rows.start, rows.columns, rows.values, norm, others.start, others.columns, others.values, other_norm,
                *cut, shrink32,
            )  # fmt: skip
        neighbors[slice(*cut)], similarity[slice(*cut)] = best_candidates(candidates, s, n)

    parallel_for(search, row_blocks(rows.start))
    return neighbors, similarity


def best_candidates(candidates: Int32, similarity: Float32, n: int) -> tuple[Int32, Float32]:
    """Return up to n candidates with the largest positive similarities, dropping those tied with the (n+1)th.

    Parameters
    ----------
    candidates : ndarray of shape (n_rows, width), int32
        Row numbers; width is above n.
    similarity : ndarray of shape (n_rows, width), float32
        Their similarities.
    n : int
        The maximum number of candidates for each row.

    Returns
    -------
    candidates : ndarray of shape (n_rows, n), int32
        The best candidates, most similar first; padded with -1. If the n-th and the next similarity tie, all candidates
        in the tie are excluded, unless none would remain, so that the selection does not depend on row numbers.
    similarity : ndarray of shape (n_rows, n), float32
        Their similarities; 0 where the candidate is -1.

    Examples
    --------
    >>> candidates, similarity = best_candidates(np.int32([[0, 1, 2]]), np.float32([[0.2, 0.5, 0.2]]), 2)
    >>> candidates.tolist()
    [[1, -1]]
    """
    order = np.lexsort((candidates, -similarity), axis=1)[:, : n + 1]
    best = np.take_along_axis(similarity, order, axis=1)
    tied = best[:, :n] <= best[:, n:] * np.float32(1 + TIE_TOLERANCE)
    tied[tied.all(axis=1)] = False
    best = np.where(tied, np.float32(0), best[:, :n])
    return np.where(best > 0, np.take_along_axis(candidates, order[:, :n], axis=1), np.int32(-1)), best


def _rescale(
    rows: SparseRows, lists: ColumnLists, others: SparseRows, norm: Float32
) -> tuple[SparseRows, ColumnLists, SparseRows, Float32]:  # fmt: skip
    """Scale all values by a power of two if products of the squared norms would overflow or underflow float32.

    Similarities do not change, except dot products. Most data does not need scaling.
    """
    largest = max(float(norm.max(initial=0)), float(lists.norm.max(initial=0)))
    if 1e-6 <= largest <= 1e18 or largest == 0:
        return rows, lists, others, norm
    factor = np.float32(np.exp2(np.round(15 - np.log2(largest) / 2)))
    scaled = replace(lists, values=lists.values * factor, norm=lists.norm * factor * factor)
    rows, others = replace(rows, values=rows.values * factor), replace(others, values=others.values * factor)
    return rows, scaled, others, norm * factor * factor


def _squares(rows: SparseRows) -> Float32:
    owner = rows.owners
    squares = np.bincount(owner, weights=np.square(rows.values, dtype=np.float64), minlength=len(rows))
    return contiguous(squares, np.float32)
