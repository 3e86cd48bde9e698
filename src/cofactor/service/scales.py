"""The scale of the ratings, which a service keeps: it may grow with the table, and never shrinks to what was used."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.store import Store

__all__ = ["keep_scale", "scale_for"]

_NAME = "scale"


def keep_scale(store: Store, table: Interactions) -> None:
    """Keep the scale of the first table, as it was declared or found there; events have none."""
    if table.scale is not None and store.settings.get(_NAME) is None:
        store.settings.put(_NAME, [table.scale.low, table.scale.high, list(table.scale.levels)])


def scale_for(store: Store, values: Any) -> Scale | None:
    """What is kept where it holds these ratings (n,), else the scale of both together; None where none is kept.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     table = Interactions.from_columns(["ana"], ["alien"], [4], scale=Scale.declared([1, 2, 3, 4, 5]))
    ...     keep_scale(store, table)
    ...     scale_for(store, [4.0]).levels, scale_for(store, [4.0, 6.0]).high
    ((1.0, 2.0, 3.0, 4.0, 5.0), 6.0)
    """
    found = store.settings.get(_NAME)
    if found is None:
        return None
    kept = Scale(found[0], found[1], tuple(found[2]))
    given = pl.Series(np.asarray(values, np.float32)).unique().to_numpy()
    if kept.holds(given).all():
        return kept
    return Scale.of(np.concatenate([given, kept.levels or (kept.low, kept.high)]))
