"""Questions: a questionnaire for a new user that uses item IDs instead of row numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.cold_start.questionnaire import Questionnaire
from cofactor.data.id_columns import Id, single_id
from cofactor.errors import ParameterError, UnknownIdError
from cofactor.recommender.catalog import Catalog

__all__ = ["Questions"]


@dataclass(frozen=True, eq=False)
class Questions:
    """Questionnaire for one user: the answers so far, and the next item to ask about.

    Created by `UserView.questions`. Immutable; `with_answer` returns a new object.

    Parameters
    ----------
    catalog : Catalog
        Catalog with the items.
    questionnaire : Questionnaire
        Questionnaire with the answers by item row.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> questions = rec.for_history([]).questions()
    >>> questions = questions.with_answer(questions.next_item(), 5.0)
    >>> questions.recommend(n=3).columns
    ['item', 'rank', 'prediction']
    """

    catalog: Catalog
    questionnaire: Questionnaire

    def next_item(self) -> Id | None:
        """Return the ID of the next item to ask about.

        Returns
        -------
        ID or None
            Item whose answer is expected to reduce the variance of the predictions most, or the most popular item if
            such questions would rarely be answered with a rating; None if no question is expected to change the
            recommendations. See `Questionnaire.next_item`.
        """
        row = self.questionnaire.next_item()
        return None if row is None else self.catalog.items.id_at(row)

    def with_answer(self, item: Id, rating: float | None) -> Self:
        """Return a copy of the questionnaire with one additional answer.

        Parameters
        ----------
        item : ID
            Item that has not been answered yet.
        rating : float or None
            Rating on the model's scale; None if the user does not know the item.

        Returns
        -------
        Questions
            Questions that include the answer.

        Raises
        ------
        UnknownIdError
            For an unknown item.
        ParameterError
            If the item was answered before, or the rating is not a finite number.
        DataError
            If the rating is not on the scale.
        """
        try:
            row = self.catalog.items.row(single_id("item", item))
        except UnknownIdError as unknown:
            raise UnknownIdError(f"item {unknown}") from None
        if row in self.questionnaire.items:
            raise ParameterError(f"item {item!r} was already answered")
        if rating is not None and self.catalog.scale is not None:
            value = checks.finite_number("rating", rating)
            self.catalog.scale.check([value], name=f"the rating of item {item!r}")
        return replace(self, questionnaire=self.questionnaire.with_answer(row, rating))

    @property
    def ratings(self) -> dict[Id, float]:
        """Ratings by item ID, in the order of the answers; can be passed to `Recommender.for_history`."""
        rows, values = self.questionnaire.ratings
        return dict(zip(self.catalog.items.ids(rows).to_list(), values.tolist(), strict=True))

    def expected_variance(self) -> float:
        """Return the mean variance of the predictions; see `Questionnaire.expected_variance`.

        Returns
        -------
        float
            Mean variance, in squared rating units.
        """
        return self.questionnaire.expected_variance()

    def expected_answers(self, n: int = 10) -> float:
        """Return how many of the next n questions the user can be expected to answer with a rating.

        Parameters
        ----------
        n : int, default 10
            Number of questions, at least 0.

        Returns
        -------
        float
            Expected number; see `Questionnaire.expected_answers`.

        Raises
        ------
        ParameterError
            If n is not a nonnegative integer.
        """
        return self.questionnaire.expected_answers(n)

    def recommend(self, n: int = 10) -> pl.DataFrame:
        """Return the top n items that the user has not rated, ranked by `Questionnaire.relevance`.

        Parameters
        ----------
        n : int, default 10
            Number of items, at least 0.

        Returns
        -------
        pl.DataFrame
            Columns item, rank (from 1), prediction (on the rating scale), and title if titles are available. Fewer rows
            if fewer than n items are left.

        Raises
        ------
        ParameterError
            If n is not a nonnegative integer.
        """
        rows = self.questionnaire.top_items(n)
        predictions, scale = self.questionnaire.predictions()[rows], self.catalog.scale
        if scale is not None:
            predictions = predictions.clip(scale.low, scale.high)
        ranks = np.arange(1, len(rows) + 1, dtype=np.int32)
        columns = {"item": self.catalog.items.ids(rows), "rank": ranks, "prediction": predictions}
        return self.catalog.with_titles(pl.DataFrame(columns), rows)
