"""Weights of new items in item-item models, predicted from their features.

A new item has no events from which its weights could be learned. Each of its weights is predicted by a ridge regression
from the weights of the known items. H has a row of feature indicators h_c for each known item c with n_c events, D is
the diagonal matrix of the weights d_c, and h is the mean of the rows of H, weighted by d_c::

    minimize over a and e:   sum_c d_c (W_jc - a - e'(h_c - h))^2 + ridge |e|^2        d_c = n_c / (n_c + 5)

    W_j,new = a + e'(h_new - h) = sum_c B_new,c W_jc
    B = 1 d' / sum_c d_c + (H_new - h) ((H - h)' D (H - h) + ridge I)^-1 (H - h)' D

The regression is linear in its targets, so that all weights of a new item are the same combination B of those of the
known items: its column B W', its row B W, and B W B' between new items (0 for an item with itself). Its score is this
combination of the scores of the known items, and an explanation consists of the events of the user, as for any item.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float32, Float64, Int32, Int64, read_only
from cofactor.errors import DataError, KindError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sort import sorted_pairs
from cofactor.kernels.sparse import SparseRows, read_only_rows
from cofactor.models.arguments import checked_take
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.prior import WeightPrior
from cofactor.models.similarity import DenseSimilarity, ItemSimilarity, NeighborSimilarity, SpectralSimilarity
from cofactor.validation import validated

__all__ = ["add_item_weights"]

HALF_WEIGHT_RATINGS = 5.0
"""Number of ratings or events at which a known item has half the maximum weight in a regression."""

WEIGHT_RIDGE = 10.0
"""Ridge penalty of the regression. From 1 to 300, accuracy hardly depends on it (see benchmarks/cold_items.md)."""

MAX_WEIGHTS = 500
"""Maximum number of sparse weights in the column of a new item, and in its row; those largest in magnitude are kept."""

BLOCK_ITEMS = 256
"""Number of new items whose sparse weights are computed at a time."""


@dataclass(frozen=True, eq=False)
class _Combination:
    """Matrix B that expresses new items as combinations of known ones, factored as B = coefficients @ loadings.T.

    Parameters
    ----------
    loadings : ndarray of shape (n_items, m + 1), float32
        One row for each known item; 0 for an item without events. If there are fewer new items than m + 1, these are
        the columns of B', and `coefficients` is the identity matrix.
    coefficients : ndarray of shape (n_new, m + 1), float32
        One row for each new item.
    share : ndarray of shape (n_items,), float32
        The weight of each known item in the mean: d_c / sum d.
    """

    loadings: Float32
    coefficients: Float32
    share: Float32

    @classmethod
    def of(cls, H: Float64, H_new: Float64, support: Int64, ridge: float) -> _Combination:
        d = support / (support + HALF_WEIGHT_RATINGS)
        share = d / max(float(d.sum()), 1e-12)
        h = share @ H
        centered = H - h
        weighted = centered * d[:, None]
        inverse = np.linalg.inv(weighted.T @ centered + ridge * np.eye(H.shape[1]))
        loadings = np.column_stack([share, weighted @ inverse])
        coefficients = np.column_stack([np.ones(len(H_new)), H_new - h])
        if len(coefficients) < coefficients.shape[1]:  # B itself is smaller
            loadings, coefficients = loadings @ coefficients.T, np.eye(len(coefficients))
        return cls(loadings.astype(np.float32), coefficients.astype(np.float32), share.astype(np.float32))


@one_thread_blas()
@validated
def add_item_weights(
    model: ItemItemModel,
    prior: WeightPrior,
    item_table: pl.DataFrame,
    support: Int64,
    new_table: pl.DataFrame,
    take: Int32,
) -> ItemItemModel:
    """Add new items to an item-item event model, with weights predicted from their features.

    The weights between the known items do not change.

    Parameters
    ----------
    model : ItemItemModel
        Model of events with n_items items.
    prior : WeightPrior
        Regression of the weights on the features.
    item_table : polars.DataFrame
        Features of the known items: n_items rows.
    support : ndarray of shape (n_items,), int64
        Number of training events for each known item; items without events are not used in the regression.
    new_table : polars.DataFrame
        Features of the new items: n_new rows. The weights of an item without indicators are close to the mean.
    take : ndarray of shape (n,), int32
        Items of the result: an entry t >= 0 is row t of this model, and t < 0 is new item -1 - t.

    Returns
    -------
    ItemItemModel
        Model with n items. Sparse similarities get at most 500 weights in the column and in the row of a new item.

    Raises
    ------
    KindError
        If the model is one of ratings.
    DataError
        If a table does not have the right columns or the right number of rows.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.cold_start import learn_priors
    >>> films = pl.DataFrame({"item": [0, 1, 2], "genre": ["war", "war", "noir"]})
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], kind="events")
    >>> model = cofactor.ItemKNN(event_shrink=0).fit(events)
    >>> prior = learn_priors(model, events.by_user, item_table=films, item_features=["genre"]).items
    >>> new, take = pl.DataFrame({"genre": ["war", "noir"]}), np.int32([0, 1, 2, -1, -2])
    >>> larger = add_item_weights(model, prior, films, np.array([2, 2, 1]), new, take)
    >>> larger.similarity.rows.counts.tolist()                   # for events of item 0: items 1, 3 and 4
    [3, 3, 0, 3, 3]
    """
    if model.baseline is not None:
        raise KindError("new items can be added to item-item event models only; this is a rating model")
    if len(item_table) != model.n_items:
        raise DataError(f"item_table must have n_items={model.n_items:,} rows; got {len(item_table):,}")
    support = checks.whole_array("support", support, low=0, size=model.n_items)
    take = checked_take(take, model.n_items, len(new_table))
    H, H_new = (prior.encoder.encode(table).dense(len(table)) for table in (item_table, new_table))
    combination = _Combination.of(H, H_new, support, prior.ridge)
    return replace(model, similarity=_extended(model.similarity, combination, take))


def _extended(similarity: ItemSimilarity, mix: _Combination, take: Int32) -> ItemSimilarity:
    """Return the similarities of known and new items, in the order of `take`."""
    if isinstance(similarity, DenseSimilarity):
        return DenseSimilarity(read_only(_extended_matrix(similarity.weights, mix, take)))
    if isinstance(similarity, NeighborSimilarity):
        return NeighborSimilarity(read_only_rows(_extended_rows(similarity.rows, mix, take)))
    # the column of a new item is exact: g_new v_new = sum_c B_new,c g_c v_c, where g_new is the mean of g
    neighbors = NeighborSimilarity(read_only_rows(_extended_rows(similarity.neighbors.rows, mix, take)))
    g, V = similarity.scale, similarity.vectors
    g_new = np.float32(mix.share @ g) or np.float32(1)
    V_new = mix.coefficients @ (mix.loadings.T @ (V * g[:, None])) / g_new
    rows = np.where(take >= 0, take, len(V) - 1 - take)
    vectors = np.concatenate([V, V_new.astype(np.float32)])[rows]
    scale = np.append(g, np.full(len(V_new), g_new, np.float32))[rows]
    return SpectralSimilarity(neighbors, read_only(vectors), similarity.response, read_only(scale))


def _extended_matrix(W: Float32, mix: _Combination, take: Int32) -> Float32:
    """Return the dense weights of known and new items."""
    L, K = mix.loadings, mix.coefficients
    new, old = np.flatnonzero(take < 0), np.flatnonzero(take >= 0)
    K, old_rows, outgoing = K[-1 - take[new]], take[old], L.T @ W
    new_weights = K @ (outgoing @ L) @ K.T
    np.fill_diagonal(new_weights, 0)
    out = np.empty((len(take), len(take)), np.float32)
    out[np.ix_(old, old)] = W[np.ix_(old_rows, old_rows)]
    out[np.ix_(old, new)] = (W @ L)[old_rows] @ K.T
    out[np.ix_(new, old)] = K @ outgoing[:, old_rows]
    out[np.ix_(new, new)] = new_weights
    return out


def _extended_rows(rows: SparseRows, mix: _Combination, take: Int32) -> SparseRows:
    """Return the sparse weights of known and new items; row j contains the weights for events of item j."""
    L, K = mix.loadings, mix.coefficients
    n_old, n_new = len(rows), len(K)
    position = np.full(n_old + n_new, -1, np.int32)  # in the result; -1 for items that are left out
    position[np.where(take >= 0, take, n_old - 1 - take)] = np.arange(len(take))
    outgoing, incoming = _product(L, rows), _product(L, rows.transpose(n_old))
    outgoing = np.hstack([outgoing, outgoing @ L @ K.T])
    source, target, values = [rows.owners], [rows.columns], [rows.values]
    for first in range(0, n_new, BLOCK_ITEMS):
        block = K[first : first + BLOCK_ITEMS]
        new_weights = block @ outgoing
        new_weights[np.arange(len(block)), n_old + first + np.arange(len(block))] = 0
        for weights, item, other in ((new_weights, source, target), (block @ incoming, target, source)):
            r, columns = _largest_weights(weights)
            item.append((n_old + first + r).astype(np.int32))
            other.append(columns.astype(np.int32))
            values.append(weights[r, columns])
    source_rows, target_rows = position[np.concatenate(source)], position[np.concatenate(target)]
    is_kept, n = (source_rows >= 0) & (target_rows >= 0), len(take)
    source_rows, target_rows, (sorted_values,) = sorted_pairs(
        source_rows[is_kept], target_rows[is_kept], [np.concatenate(values)[is_kept]], n, n
    )
    return SparseRows.from_counts(np.bincount(source_rows, minlength=n), target_rows, sorted_values)


def _product(loadings: Float32, rows: SparseRows) -> Float32:
    """Return loadings.T @ W for sparse weights W: ndarray of shape (m + 1, n_items), float32."""
    out = np.zeros(loadings.T.shape, np.float32)
    owner, columns = np.nonzero(loadings.T)
    entries = SparseRows.of(owner, columns, loadings[columns, owner], len(out))
    NeighborSimilarity(rows).add_scores(out, entries)
    return out


def _largest_weights(weights: Float32) -> tuple[Int64, Int64]:
    """Return row and column indices of the weights to keep: at most MAX_WEIGHTS of the largest magnitudes per row."""
    if weights.shape[1] <= MAX_WEIGHTS:
        rows, columns = np.nonzero(weights)
        return rows, columns
    columns = np.argpartition(-np.abs(weights), MAX_WEIGHTS - 1, axis=1)[:, :MAX_WEIGHTS]
    rows, position = np.nonzero(np.take_along_axis(weights, columns, axis=1))
    return rows, columns[rows, position]
