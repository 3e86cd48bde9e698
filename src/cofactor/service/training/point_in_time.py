"""Point-in-time evaluation: restrict a recommender to the histories known at an earlier time, to avoid leakage."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.arrays import Int32
from cofactor.data.ids import IdMap
from cofactor.errors import DataError
from cofactor.kernels.sparse import SparseRows
from cofactor.recommender.recommender import Recommender

__all__ = ["as_of"]


def as_of(
    recommender: Recommender,
    users: IdMap,
    state: pl.DataFrame,
    metadata: pl.DataFrame | None = None,
    seen: pl.DataFrame | None = None,
) -> Recommender:
    """Return a recommender for the given users only, with their histories as of an earlier time.

    Parameters
    ----------
    recommender : Recommender
        A fitted recommender.
    users : IdMap
        IDs of the users, as strings.
    state : pl.DataFrame
        Histories with the columns user and item (String), value and, optionally, time, which sequential models use;
        other users and unknown items are ignored.
    metadata : pl.DataFrame, optional
        User metadata with the column user (String) and columns for the prior.
    seen : pl.DataFrame, optional
        Additional items to exclude from lists, in the format of `state`.

    Returns
    -------
    Recommender
        The recommender. Users whose history has not changed keep their vector; all others are folded in, as in the
        service.

    Raises
    ------
    KindError
        If the model cannot fold in users.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> since = pl.DataFrame({"user": ["zoe", "ana"], "item": ["clue", "alien"], "value": [4.0, 5.0]})
    >>> now = as_of(rec, IdMap.of(["ana", "zoe"]), since)
    >>> now.histories.counts.tolist(), now.recommend("zoe")["item"].to_list()
    ([1, 1], ['alien'])
    """
    histories = _histories(recommender, users, state)
    excluded = None if seen is None else _histories(recommender, users, seen)
    table = None
    if metadata is not None and recommender.priors is not None and recommender.priors.user_prior is not None:
        ids = pl.DataFrame({"user": users.all.cast(pl.String)})
        table = ids.join(metadata, on="user", how="left", maintain_order="left")
    try:
        return recommender.with_users(users, histories, table=table, seen=excluded)
    except DataError:  # metadata that the prior cannot use is treated as missing
        return recommender.with_users(users, histories, seen=excluded)


def _histories(recommender: Recommender, users: IdMap, state: pl.DataFrame) -> SparseRows:
    state = state.filter(pl.col("user").is_in(users.all.cast(pl.String).implode()))
    owner: Int32 = users.rows(state["user"])
    item = recommender.items.rows(state["item"])
    is_known = (owner >= 0) & (item >= 0)
    value = np.asarray(state["value"])[is_known]
    times = None
    if recommender.histories.times is not None and "time" in state.columns:
        times = np.asarray(state["time"])[is_known]
    return SparseRows.of(owner[is_known], item[is_known], value, len(users), times=times)
