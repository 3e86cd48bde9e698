"""Event types: combine tables of events of several types, such as views and purchases, into one weighted table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.validation import validated

__all__ = ["combine_events", "require_event_tables"]


@validated
def combine_events(tables: Mapping[str, Interactions], weights: Mapping[str, float]) -> Interactions:
    """Combine tables of events of several types into one table, in which each type has a weight.

    Parameters
    ----------
    tables : mapping of str to Interactions
        Table of events of each type, as returned by `read_event_types`. Their IDs can differ.
    weights : mapping of str to float
        Weight of each type, for all types of `tables`. The value of an event is multiplied by the magnitude of its
        weight; a type with a negative weight is a dislike, and a type with the weight 0 is left out.

    Returns
    -------
    Interactions
        Events with the IDs of all tables. The values of a user-item pair are summed over the types. The table has times
        if all tables with a weight other than 0 have them; a pair has its latest time.

    Raises
    ------
    ParameterError
        If a weight is missing, not a finite number, or of a type without a table.
    KindError
        If a table contains ratings.
    DataError
        If there are no tables, or no events with a weight other than 0.

    Examples
    --------
    >>> import cofactor
    >>> views = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [3, 1], kind="events")
    >>> purchases = cofactor.Interactions.from_columns(["ana"], ["alien"], kind="events")
    >>> events = cofactor.combine_events({"view": views, "purchase": purchases}, {"view": 0.25, "purchase": 1})
    >>> events.values.tolist()
    [1.75, 0.25]
    """
    require_event_tables(tables)
    if not isinstance(weights, Mapping):
        raise ParameterError(f"`weights` must map each event type to a number; got {checks.describe(weights)}")
    names = ", ".join(map(repr, tables))
    for name in weights:
        if name not in tables:
            raise ParameterError(f"`weights` contains {name!r}, which is not an event type; the types are {names}")
    for name in tables:
        if name not in weights:
            raise ParameterError(f"`weights` has no entry for the event type {name!r}; the types are {names}")
    factors = {name: checks.finite_number(f"weights[{name!r}]", weights[name]) for name in tables}
    weighted_tables = [(table, factors[name]) for name, table in tables.items() if factors[name] and len(table)]
    if not weighted_tables:
        raise DataError("no events are left: the weights of all event types are 0")
    users = reduce(IdMap.union, (table.users for table in tables.values()))
    items = reduce(IdMap.union, (table.items for table in tables.values()))
    rows = [table.with_ids(users, items) for table, _ in weighted_tables]
    signs = np.concatenate([np.full(len(table), np.sign(factor)) for table, factor in weighted_tables])
    row_weights = np.concatenate(
        [np.ones(len(table)) if table.weights is None else table.weights for table, _ in weighted_tables]
    )
    confidences = (signs * row_weights).astype(np.float32)
    times = [table.times for table in rows if table.times is not None]
    merged = Interactions.from_columns(
        pl.concat([users.ids(table.u) for table in rows]),
        pl.concat([items.ids(table.i) for table in rows]),
        np.concatenate([table.values * abs(factor) for table, factor in weighted_tables]),
        times=np.concatenate(times) if len(times) == len(rows) else None,
        weights=None if (confidences == 1).all() else confidences,
        kind="events",
        report=weighted_tables[0][0].report,
    )
    return merged.with_ids(users, items)


def require_event_tables(tables: object) -> None:
    """Check that an argument maps names of event types to tables of events.

    Parameters
    ----------
    tables : object
        The argument.

    Raises
    ------
    ParameterError
        If it is not a mapping from strings.
    DataError
        If it is empty, or a value is not a table.
    KindError
        If a table contains ratings.

    Examples
    --------
    >>> require_event_tables({})
    Traceback (most recent call last):
    cofactor.errors.DataError: `tables` is empty; pass one table of events for each event type
    """
    if not isinstance(tables, Mapping) or not all(isinstance(name, str) for name in tables):
        raise ParameterError(f"`tables` must map names of event types to tables; got {checks.describe(tables)}")
    if not tables:
        raise DataError("`tables` is empty; pass one table of events for each event type")
    for name, table in tables.items():
        if require_interactions(f"tables[{name!r}]", table).kind != "events":
            raise KindError(f"tables[{name!r}] contains ratings; convert them with to_events(min_rating=...)")
