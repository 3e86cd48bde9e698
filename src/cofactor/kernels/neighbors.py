"""The nearest rows of each row of a mostly blank matrix, without a rows x rows matrix: one accumulator per thread.

For rows a and b with values x, sums over the n columns that both have (whole rows for |x_a|, |x_b|):

    pearson   s = sum x_a x_b / sqrt(sum x_a^2 sum x_b^2)             cosine   s = sum x_a x_b / (|x_a| |x_b|)
    jaccard   s = sum x_a x_b / (|x_a|^2 + |x_b|^2 - sum x_a x_b)     then     s <- s n / (n + shrink)

A row walks through the lists of its columns and adds to every row it meets there. Columns longer than `longest` list
only their fullest rows (ties by row): those share most with anybody, so they lead where similarities are shrunk. Who is
met is then a matter of the sample; how similar they are is not: `CANDIDATES` times n are met and compared in full.
Only positive similarities count. Sources: Koren 2008, section 2.2 (shrinkage); Tanimoto for Jaccard on weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, contiguous
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["CANDIDATES", "COSINE", "JACCARD", "PEARSON", "TIED", "ColumnLists", "nearest", "transposed"]

PEARSON, COSINE, JACCARD = 0, 1, 2
"""The compile-time choice of the similarity."""

CANDIDATES = 2
"""How many times n rows are compared in full where columns are sampled."""

TIED = 1e-6
"""Similarities tie within this share of them, which is a few times the rounding of float32."""

MANY = 3
"""Rows met, each time counted, over rows there are: from here on who is met is not noted down."""

NOBODY = np.iinfo(np.int32).max


@kernel(
    writes="i4[:, ::1] f4[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] i8[::1] i4[::1] f4[::1] i4[::1] f4[::1] i4[::1] i4[::1]",
    numbers="i8 i8 f4",
)
def _nearest(measure: int, plain: int):
    """Heaps of the nearest rows of rows first..last-1, the worst at the root: `found`, `likeness` (last - first, n).

    Reads the rows (`norm`: their squared length) and the lists of columns (`place`: the number of a listed row,
    `row_of` its row, `place_norm` its squared length, `place_size` its number of entries). Left out are a row's own
    `itself` (-1: none) and whoever has no entry that the row lacks. `plain`: every value is 1, so that one sum is all.
    Other sums are float64: rounded to float32, a similarity then does not depend on the order of the columns.
    """
    from cofactor.kernels import topk_heap

    number = np.float32 if plain else np.float64

    def _nearest(
        found, likeness,
        start, columns, values, norm, list_start, place, list_value, row_of, place_norm, place_size, itself,
        first, last, shrink,
    ):  # fmt: skip
        n_places = row_of.shape[0]
        kept = (1 if plain else 2) if measure != PEARSON else 4  # n, sum x_a x_b, sum x_a^2, sum x_b^2
        sums = np.zeros((n_places, kept), number)
        met = np.empty(n_places + 1, np.int32)
        for a in range(first, last):
            out = a - first
            meetings = 0
            for e in range(start[a], start[a + 1]):
                meetings += list_start[columns[e] + 1] - list_start[columns[e]]
            # who is met many times over may as well be anybody: then nobody is noted down
            everybody = meetings > MANY * n_places
            m = n_places if everybody else 0
            for e in range(start[a], start[a + 1]):
                c = columns[e]
                x = number(values[e])
                square = x * x
                for t in range(list_start[c], list_start[c + 1]):
                    b = np.uint64(place[t])  # unsigned: no index from the end to think of
                    if not everybody:
                        met[m] = b  # kept if this is the first time: no branch to guess
                        m += int(sums[b, 0] == 0)
                    sums[b, 0] += number(1)
                    if not plain:
                        y = number(list_value[t])
                        sums[b, 1] += x * y
                        if measure == PEARSON:
                            sums[b, 2] += square
                            sums[b, 3] += y * y
            least = np.float32(0)
            for q in range(m):
                b = np.uint64(q if everybody else met[q])
                common, dot = sums[b, 0], sums[b, 0] if plain else sums[b, 1]
                xx, yy = (sums[b, 2], sums[b, 3]) if measure == PEARSON else (number(0), number(0))
                for d in range(kept):
                    sums[b, d] = number(0)
                # no similarity is above n / (n + shrink): most rows are done with here
                if common < least or dot <= 0:
                    continue
                row = row_of[b]
                if common == place_size[b] or row == itself[a]:
                    continue
                trust = np.float64(common) / (np.float64(common) + shrink)
                size, other = np.float64(norm[a]), np.float64(place_norm[b])
                if measure == PEARSON:
                    length = np.sqrt(xx * yy)
                elif measure == COSINE:
                    length = np.sqrt(size * other)
                else:
                    length = size + other - dot
                if not length > 0:
                    continue
                s = np.float32(trust * min(dot / length, 1.0))
                if not topk_heap.offer(likeness, found, out, s, row):
                    continue
                root = likeness[out, 0]
                if root < 1:
                    least = np.float32(0.9999) * shrink * root / (1 - root)

    return _nearest


@kernel(
    writes="f4[:, ::1]",
    reads="i4[:, ::1] i8[::1] i4[::1] f4[::1] f4[::1] i8[::1] i4[::1] f4[::1] f4[::1]",
    numbers="i8 i8 f4",
)
def _compared(measure: int):
    """likeness[a - first, q]: how similar row a is to row found[a - first, q] of the others (below 0: none), in full.

    0 where it is not positive, and for whoever has no entry that row a lacks.
    """

    def _compared(
        likeness, found, start, columns, values, norm, other_start, other_columns, other_values, other_norm,
        first, last, shrink,
    ):  # fmt: skip
        for a in range(first, last):
            for q in range(found.shape[1]):
                likeness[a - first, q] = np.float32(0)
                b = found[a - first, q]
                if b < 0:
                    continue
                at = other_start[b]
                end = other_start[b + 1]
                common, dot, xx, yy = np.float64(0), np.float64(0), np.float64(0), np.float64(0)
                for e in range(start[a], start[a + 1]):
                    c = columns[e]
                    stride = 1  # gallop to the first column of b from c on
                    while at + stride < end and other_columns[at + stride] < c:
                        at += stride
                        stride *= 2
                    high = min(at + stride, end)
                    while at < high:
                        middle = (at + high) >> 1
                        if other_columns[middle] < c:
                            at = middle + 1
                        else:
                            high = middle
                    if at == end:
                        break
                    if other_columns[at] == c:
                        x = np.float64(values[e])
                        y = np.float64(other_values[at])
                        common += 1.0
                        dot += x * y
                        xx += x * x
                        yy += y * y
                if dot <= 0 or common == end - other_start[b]:
                    continue
                size, other = np.float64(norm[a]), np.float64(other_norm[b])
                if measure == PEARSON:
                    length = np.sqrt(xx * yy)
                elif measure == COSINE:
                    length = np.sqrt(size * other)
                else:
                    length = size + other - dot
                if length > 0:
                    likeness[a - first, q] = np.float32(common / (common + shrink) * min(dot / length, 1.0))

    return _compared


@kernel(
    writes="i4[::1] f4[::1] i8[::1]",
    reads="i8[::1] i4[::1] f4[::1] i4[::1] i8[::1]",
)
def _fill_lists():
    """Each row in turn (`order`) to the lists of its columns, until they are full; `next_` starts at `list_start`."""

    def _fill_lists(place, list_value, next_, start, columns, values, order, list_start):
        for t in range(order.shape[0]):
            row = order[t]
            for e in range(start[row], start[row + 1]):
                c = columns[e]
                if next_[c] < list_start[c + 1]:
                    place[next_[c]] = t
                    list_value[next_[c]] = values[e]
                    next_[c] += 1

    return _fill_lists


@dataclass(frozen=True, eq=False)
class ColumnLists:
    """Rows by the columns they have, the fullest rows first.

        start (n_columns + 1,) int64: where each column's list begins
        place (n,) int32: the number of a row in this order    values (n,) float32
        row_of (n_rows,) int32: the row of each place
        norm (n_rows,) float32, size (n_rows,) int32: its squared length, its number of entries
        sampled: whether a column was longer than its list

    A column that no row has is an empty list.
    """

    start: Int64
    place: Int32
    values: Float32
    row_of: Int32
    norm: Float32
    size: Int32
    sampled: bool

    @classmethod
    def of(cls, rows: SparseRows, n_columns: int, *, longest: int) -> ColumnLists:
        """The lists of `rows` (their weights are not looked at), each of at most `longest` rows."""
        counts = rows.counts
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        whole = rows.column_counts(n_columns)
        kept = np.minimum(whole, longest)
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
        place, values = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
        _fill_lists()(place, values, start[:-1].copy(), rows.start, rows.columns, rows.values, order, start)
        size = counts[order].astype(np.int32)
        return cls(start, place, values, order, _squares(rows)[order], size, bool((whole > longest).any()))


def transposed(rows: SparseRows, n_columns: int) -> SparseRows:
    """Columns as rows; weights are left behind.

    >>> turned = transposed(SparseRows.of(rows=[0, 1, 1], columns=[1, 0, 1], values=[5, 3, 4], n_rows=2), 2)
    >>> turned.row(1).columns.tolist(), turned.row(1).values.tolist()
    ([0, 1], [5.0, 4.0])
    """
    counts = rows.column_counts(n_columns)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    place, values = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    order = np.arange(len(rows), dtype=np.int32)
    _fill_lists()(place, values, start[:-1].copy(), rows.start, rows.columns, rows.values, order, start)
    return SparseRows(start, place, values)


def nearest(
    rows: SparseRows,
    lists: ColumnLists,
    others: SparseRows,
    *,
    measure: int,
    n: int,
    shrink: float,
    itself: Int32 | None = None,
) -> tuple[Int32, Float32]:
    """The n rows of `others` (of which `lists` was made) most similar to each of `rows`, best first, ties by row.

    Left out is whoever has no entry that the row lacks: it has nothing to tell (nor has a row to itself). Where
    `itself` (n_rows,) int32 is given, only that row is left out. Weights are not looked at. Where similarities tie at
    the end of the n, all of these are left out, so that no row number decides; unless nothing else remained.
    Returns row numbers (n_rows, n) int32, -1 where there is none, and similarities (n_rows, n) float32, 0 there.

    >>> rows = SparseRows.of(rows=[0, 0, 1, 1, 1], columns=[0, 1, 0, 1, 2], values=[1] * 5, n_rows=2)
    >>> lists = ColumnLists.of(rows, 3, longest=2)
    >>> near, how = nearest(rows, lists, rows, measure=COSINE, n=1, shrink=0)
    >>> near[:, 0], how[:, 0].round(2)                     # row 0 has nothing that row 1 lacks
    (array([ 1, -1], dtype=int32), array([0.82, 0.  ], dtype=float32))
    """
    rows, lists, others, norm = _in_range(rows, lists, others)
    found = np.full((len(rows), n), -1, np.int32)
    likeness = np.zeros((len(rows), n), np.float32)
    size = lists.size if itself is None else np.full(len(lists.size), np.iinfo(np.int32).max, np.int32)
    own = np.full(len(rows), -1, np.int32) if itself is None else itself
    other_norm = np.empty(len(lists.row_of), np.float32)
    other_norm[lists.row_of] = lists.norm
    width = max(n * CANDIDATES if lists.sampled else n, n + 1)
    wanted = np.float32(shrink)
    plain = measure != PEARSON and bool((rows.values == 1).all() and (lists.values == 1).all())

    def block(cut: tuple[int, int]) -> None:
        near = np.full((cut[1] - cut[0], width), NOBODY, np.int32)
        how = np.zeros(near.shape, np.float32)
        _nearest(measure, int(plain))(
            near, how,
            rows.start, rows.columns, rows.values, norm, lists.start, lists.place, lists.values,
            lists.row_of, lists.norm, size, own, *cut, wanted,
        )  # fmt: skip
        near[how <= 0] = -1
        if lists.sampled:
            _compared(measure)(
                how, near,
                rows.start, rows.columns, rows.values, norm, others.start, others.columns, others.values, other_norm,
                *cut, wanted,
            )  # fmt: skip
        order = np.lexsort((near, -how), axis=1)[:, : n + 1]
        topk_heap = np.take_along_axis(how, order, axis=1)
        tied = topk_heap[:, :n] <= topk_heap[:, n:] * np.float32(1 + TIED)
        tied[tied.all(axis=1)] = False
        there = slice(*cut)
        likeness[there] = np.where(tied, np.float32(0), topk_heap[:, :n])
        found[there] = np.take_along_axis(near, order[:, :n], axis=1)

    for_each(block, row_blocks(rows.start))
    found[likeness <= 0] = -1
    return found, likeness


def _in_range(
    rows: SparseRows, lists: ColumnLists, others: SparseRows
) -> tuple[SparseRows, ColumnLists, SparseRows, Float32]:  # fmt: skip
    """All values times one power of two where products of squared lengths would leave the range of float32; and the
    squared length of each row.

    Similarities do not change by it, and values are usually as they are.
    """
    norm = _squares(rows)
    largest = max(float(norm.max(initial=0)), float(lists.norm.max(initial=0)))
    if 1e-6 <= largest <= 1e18 or largest == 0:
        return rows, lists, others, norm
    times = np.float32(np.exp2(np.round(15 - np.log2(largest) / 2)))
    scaled = replace(lists, values=lists.values * times, norm=lists.norm * times * times)
    rows, others = replace(rows, values=rows.values * times), replace(others, values=others.values * times)
    return rows, scaled, others, norm * times * times


def _squares(rows: SparseRows) -> Float32:
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    squares = np.bincount(owner, weights=np.square(rows.values, dtype=np.float64), minlength=len(rows))
    return contiguous(squares, np.float32)
