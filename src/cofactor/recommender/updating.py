"""TODO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Bool
from cofactor.data.ids import IdMap
from cofactor.errors import DataError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.base import FoldsIn
from cofactor.recommender.recommender import Recommender

__all__ = ["as_of"]


def as_of(
    recommender: Recommender,
    users: IdMap,
    state: pl.DataFrame,
    facts: pl.DataFrame | None = None,
    seen: pl.DataFrame | None = None,
) -> Recommender:
    """The recommender with these users alone, and with what they did until then: what would have answered them.

    users: string ids. state: user, item (String), value: all that counts of these users, and perhaps of others. facts:
    user (String) and what priors may have learnt from. seen: as `state`, the pairs that lists leave out besides; None
    for none. Who did nothing since the model was learnt keeps the vector it
    learnt; all others are folded in, as the service does. Items that the model does not know are left out. Raises
    KindError for a model that cannot fold in.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> since = pl.DataFrame({"user": ["zoe", "ana"], "item": ["clue", "alien"], "value": [4.0, 5.0]})
    >>> now = as_of(rec, IdMap.of(["ana", "zoe"]), since)
    >>> now.histories.counts.tolist(), now.recommend("zoe")["item"].to_list()
    ([1, 1], ['alien'])
    """
    present = _histories(recommender, users, state)
    before = recommender.users.rows(users.all)
    changed = (before < 0) | _differs(recommender.histories.take(before), present)
    take = before.copy()
    take[changed] = -1 - np.arange(changed.sum(), dtype=np.int32)
    model = recommender.model
    if len(users) and isinstance(model, FoldsIn):
        folded = _folded(
            recommender, present.take(np.flatnonzero(changed)), users.all.cast(pl.String).filter(changed), facts
        )
        model = model.with_users(folded, take)
    excluded = None if seen is None else _histories(recommender, users, seen)
    return replace(recommender, model=model, users=users, histories=present, user_table=None, seen=excluded)


def _folded(recommender: Recommender, histories: SparseRows, users: pl.Series, facts: pl.DataFrame | None) -> Any:
    """As the service folds in: about what is known of them, where the prior can read it."""
    if facts is None or recommender.priors is None or recommender.priors.users is None:
        return recommender.folded_in(histories)
    table = pl.DataFrame({"user": users}).join(facts, on="user", how="left", maintain_order="left")
    try:
        return recommender.folded_in(histories, table)
    except DataError:
        return recommender.folded_in(histories)


def _histories(recommender: Recommender, users: IdMap, state: pl.DataFrame) -> SparseRows:
    state = state.filter(pl.col("user").is_in(users.all.cast(pl.String).implode()))
    owner, item = users.rows(state["user"]), recommender.items.rows(state["item"])
    known = (owner >= 0) & (item >= 0)
    return SparseRows.of(owner[known], item[known], state["value"].to_numpy()[known], len(users))


def _differs(one: SparseRows, other: SparseRows) -> Bool:
    """Whether each row of two matrices differs: (n,) bool."""
    differs: Bool = one.counts != other.counts
    same = np.flatnonzero(~differs)
    a, b = one.take(same), other.take(same)
    owner = np.repeat(same, a.counts)
    unlike = (a.columns != b.columns) | (a.values != b.values)
    differs[owner[unlike]] = True
    return differs
