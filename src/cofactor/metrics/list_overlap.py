"""Overlap of the ranked lists of several models for the same users, such as fits with different seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.errors import DataError, ParameterError

__all__ = ["list_overlap"]


def list_overlap(lists: Sequence[Any]) -> Float64:
    """Compute the share of common items in the lists of two or more models, for each user.

    Parameters
    ----------
    lists : sequence of array-like of shape (n_users, k)
        For each model, the item row numbers of each user's list without duplicates, padded with -1.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Mean over all pairs of models; nan for a user whose lists are empty.

    Raises
    ------
    ParameterError
        If there are fewer than two models.
    DataError
        If the lists differ in shape.

    Notes
    -----
    For two lists A and B, the overlap is |A and B| / max(|A|, |B|). The order of the items does not matter.

    Examples
    --------
    >>> list_overlap([[[1, 2], [3, 4]], [[2, 1], [3, 5]]]).tolist()
    [1.0, 0.5]
    """
    arrays = [checks.number_array("lists", array, (None, None)) for array in lists]
    if len(arrays) < 2:
        raise ParameterError(f"lists must contain the lists of at least two models; got {len(arrays)}")
    if any(array.shape != arrays[0].shape for array in arrays):
        raise DataError(f"lists must have the same shape; got {[array.shape for array in arrays]}")
    overlaps = []
    for a, b in combinations(arrays, 2):
        n_items = np.maximum((a >= 0).sum(axis=1), (b >= 0).sum(axis=1)).astype(np.float64)
        merged_items = np.sort(np.concatenate([a, b], axis=1), axis=1)
        n_common = ((merged_items[:, 1:] == merged_items[:, :-1]) & (merged_items[:, 1:] >= 0)).sum(axis=1)
        overlaps.append(np.divide(n_common, n_items, out=np.full(len(a), np.nan), where=n_items > 0))
    mean: Float64 = np.mean(overlaps, axis=0)
    return mean
