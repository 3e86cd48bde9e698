"""Frequencies of ratings or of event counts: one row per distinct value, or per bin if there are many values."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.arrays import Float32, Float64
from cofactor.data.interactions import Interactions

__all__ = ["value_counts"]

BINS = 10


def value_counts(interactions: Interactions) -> pl.DataFrame:
    """Count the rows per rating level; without levels, per distinct value, or in ten bins if there are more than 20.

    Ratings have bins of equal width. Events have bins of equal ratio, because most counts are small and a few are very
    large; if all counts are whole numbers, so are the ends of the bins.

    Parameters
    ----------
    interactions : Interactions
        Table with at least one row.

    Returns
    -------
    DataFrame
        Columns low, high (Float64; the same number for a single value) and count, in ascending order. A bin includes
        its lower end; the last one also includes its upper end.

    Examples
    --------
    >>> plays = Interactions.from_columns([1] * 30, range(30), [*range(1, 30), 4000], kind="events")
    >>> value_counts(plays).rows()[:3]
    [(1.0, 2.0, 1), (2.0, 5.0, 3), (5.0, 12.0, 7)]
    """
    values, counts = np.unique(interactions.values, return_counts=True)
    scale = interactions.scale
    if scale is not None and scale.levels:
        count_of = dict(zip(np.round(values, 6).tolist(), counts.tolist(), strict=True))
        levels = [round(float(np.float32(level)), 6) for level in scale.levels]
        return _frame(np.array(levels), np.array(levels), [count_of.get(level, 0) for level in levels])
    if len(values) <= 2 * BINS:
        return _frame(values, values, counts)
    low, high = float(values[0]), float(values[-1])
    edges = np.linspace(low, high, BINS + 1)
    if interactions.kind == "events":
        edges = np.geomspace(low, high, BINS + 1)
        edges = np.unique(np.round(edges)) if (values == np.round(values)).all() else edges
        edges[[0, -1]] = low, high
    counts, edges = np.histogram(interactions.values.astype(np.float64), edges)
    return _frame(edges[:-1], edges[1:], counts)


def _frame(low: Float64 | Float32, high: Float64 | Float32, counts: object) -> pl.DataFrame:
    schema = {"low": pl.Float64, "high": pl.Float64, "count": pl.Int64}
    return pl.DataFrame({"low": low, "high": high, "count": counts}, schema_overrides=schema)
