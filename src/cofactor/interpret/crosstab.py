"""Cross-tabulation of the most active users and the most rated items, with a prediction for each cell."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.data.crosstab import crosstab
from cofactor.data.interactions import Interactions
from cofactor.models.base import HasUncertainty, PredictsRatings
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["filled_crosstab"]


@validated
def filled_crosstab(
    recommender: Recommender, *, users: int = 10, items: int = 10, confidence: float = 0.8
) -> pl.DataFrame:  # fmt: skip
    """Predict the rating in each cell of a cross-tabulation of the most active users and the most rated items.

    Parameters
    ----------
    recommender : Recommender
        Fitted recommender.
    users, items : int, default 10
        Number of users and number of items, each at least 1.
    confidence : float, default 0.8
        Interval probability, between 0 and 1.

    Returns
    -------
    polars.DataFrame
        One row per user-item pair, sorted by user (most active first) and then by item (most rated first). Columns:

        - user, item: IDs
        - observed: rating (for events, their number or amount); null if there is none
        - prediction: predicted rating, also for observed cells, which were part of training; for events, the ranking
          score
        - low, high: bounds of the interval that contains the rating with probability `confidence`, if the model
          estimates uncertainty
        - title: item title, if the recommender has titles

    Raises
    ------
    ParameterError
        If `users` or `items` is less than 1, or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "clue", "alien"], [5, 4, 3])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> cofactor.interpret.filled_crosstab(rec).select("user", "item", "observed").rows()
    [('ana', 'alien', 5.0), ('ana', 'clue', 4.0), ('bo', 'alien', 3.0), ('bo', 'clue', None)]
    """
    require_recommender("recommender", recommender)
    confidence = checks.fraction("confidence", confidence)
    cells = crosstab(_interactions(recommender), users=users, items=items)
    u, i = np.repeat(cells.u, len(cells.i)), np.tile(cells.i, len(cells.u))
    assert isinstance(recommender.model, PredictsRatings)
    columns: dict[str, Float64] = {
        "observed": cells.values.ravel(),
        "prediction": recommender.model.predict(recommender.batch(u), i).astype(np.float64),
    }
    if recommender.kind == "ratings" and isinstance(recommender.model, HasUncertainty):
        bounds = recommender.model.distribution(recommender.batch(u), i).interval(confidence)
        columns |= {"low": bounds[0].astype(np.float64), "high": bounds[1].astype(np.float64)}
    ids = {"user": recommender.users.ids(u), "item": recommender.items.ids(i)}
    frame = pl.DataFrame(ids | {name: pl.Series(values, nan_to_null=True) for name, values in columns.items()})
    return frame if recommender.titles is None else frame.with_columns(title=recommender.titles.gather(i))


def _interactions(recommender: Recommender) -> Interactions:
    """Return the recommender's histories as an Interactions table."""
    rows = recommender.histories
    u = rows.owners
    return Interactions(recommender.users, recommender.items, u, rows.columns, rows.values, kind=recommender.kind)
