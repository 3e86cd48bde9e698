"""The fullest corner of the cross-tab, with a prediction for every cell beside what is known."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.data.crosstab import crosstab
from cofactor.data.interactions import Interactions
from cofactor.models.base import HasUncertainty
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["filled_crosstab"]


@validated
def filled_crosstab(
    recommender: Recommender, *, users: int = 10, items: int = 10, level: float = 0.8
) -> pl.DataFrame:  # fmt: skip
    """The busiest users by the most rated items, cell by cell: user, item, known, prediction[, low, high][, title].

    known: what was given, null where blank. prediction: of the blanks, and of what was given too, which the model has
    seen. low, high: the ends of the interval that holds a rating with a probability of `level`, for models that know
    how sure they are. Users, and items within each, busiest first. Of events, known is how often or how much, and the
    prediction what is ranked by. Raises ParameterError for fewer than one user or item, or a level outside 0..1.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "clue", "alien"], [5, 4, 3])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> cofactor.interpret.filled_crosstab(rec).select("user", "item", "known").rows()
    [('ana', 'alien', 5.0), ('ana', 'clue', 4.0), ('bo', 'alien', 3.0), ('bo', 'clue', None)]
    """
    require_recommender("recommender", recommender)
    level = checks.share("level", level)
    corner = crosstab(_table(recommender), users=users, items=items)
    u, i = np.repeat(corner.u, len(corner.i)), np.tile(corner.i, len(corner.u))
    columns: dict[str, Float64] = {
        "known": corner.values.ravel(),
        "prediction": recommender.model.predict(recommender.batch(u), i).astype(np.float64),
    }
    if recommender.kind == "ratings" and isinstance(recommender.model, HasUncertainty):
        ends = recommender.model.distribution(recommender.batch(u), i).interval(level)
        columns |= {"low": ends[0].astype(np.float64), "high": ends[1].astype(np.float64)}
    ids = {"user": recommender.users.ids(u), "item": recommender.items.ids(i)}
    frame = pl.DataFrame(ids | {name: pl.Series(values, nan_to_null=True) for name, values in columns.items()})
    return frame if recommender.titles is None else frame.with_columns(title=recommender.titles.gather(i))


def _table(recommender: Recommender) -> Interactions:
    """What the recommender knows of people, as a table again."""
    rows = recommender.histories
    u = np.repeat(np.arange(len(rows), dtype=np.int32), rows.counts)
    return Interactions(recommender.users, recommender.items, u, rows.columns, rows.values, kind=recommender.kind)
