"""One model, ready to answer: ids as the store writes them, and somebody as this model sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor.arrays import Bool, Int32
from cofactor.data.ids import IdMap
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.recommender.questions import Questions
from cofactor.recommender.recommender import Recommender
from cofactor.recommender.users import UserSource, UserView

__all__ = ["AnsweredBy", "ItemAnsweredBy", "LoadedModel"]

AnsweredBy: TypeAlias = UserSource
"""What the answer for a user is based on; see `UserView`."""

ItemAnsweredBy: TypeAlias = Literal["model", "popularity", "exploration"]
"""What an item was chosen by: "popularity" where the model has no evidence about the user and the item."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of the model with what answers need of it.

    version: its number in the store. watermark: the number of the last change it learnt from. edition: how often new
    items were put in; a list is of one version and one edition.

    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> serving = LoadedModel(1, 0, cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings))
    >>> cy, dora = serving.trained("cy"), serving.newcomer([("alien", 5.0)])
    >>> rows, _ = dora.rank(2)
    >>> cy.source, dora.source, serving.items(rows[0])
    ('model', 'fold-in', ['brazil', 'clue'])
    """

    version: int
    watermark: int
    recommender: Recommender
    edition: int = 0

    # ids

    def item_row(self, item: str) -> int:
        """The item's row, -1 for one that this model does not know."""
        return _row(self.recommender.items, item)

    def item_rows(self, items: Sequence[str]) -> Int32:
        """The rows of many items, -1 for each that this model does not know."""
        return self.recommender.items.rows(items, parse=True)

    def items(self, rows: Any) -> list[str]:
        """The ids at these rows, as text."""
        return [str(id_) for id_ in self.recommender.items.ids(rows)]

    def title(self, row: int) -> str | None:
        """The item's title in the table that was learnt from, if there was one."""
        titles = self.recommender.titles
        found: str | None = None if titles is None else titles[row]
        return found

    # who asks

    def trained(self, user: str, also: Iterable[str] = ()) -> UserView | None:
        """Return a view of a user that the model was trained on, or None. `also`: further items to leave out."""
        row = _row(self.recommender.users, user)
        if row < 0:
            return None
        view = self.recommender.for_rows(np.array([row], np.int32))
        return replace(view, exclude=self._with(view.exclude, also))

    def newcomer(
        self, history: Iterable[tuple[str, float]], also: Iterable[str] = (), facts: Mapping[str, Any] | None = None
    ) -> UserView:
        """Return a view of a user with this history, folded in with the prior where there is one.

        Unknown items are skipped. `also`: further items to leave out. `facts`: metadata of the user; what the prior did
        not learn from, or cannot read, is ignored.
        """
        entries = list(history)
        rows = self.item_rows([item for item, _ in entries])
        items, values = rows[rows >= 0], np.array([value for _, value in entries], np.float32)[rows >= 0]
        histories = SparseRows.of(np.zeros(len(items), np.int64), items, values, 1)
        with threads(1):
            view = self._folded(histories, facts or {})
        return replace(view, exclude=self._with(histories, also))

    def _folded(self, histories: SparseRows, facts: Mapping[str, Any]) -> UserView:
        rec, table = self.recommender, None
        prior = None if rec.priors is None else rec.priors.users
        if prior is not None and prior.encoder is not None and facts:
            table = pl.DataFrame({column.name: [facts.get(column.name)] for column in prior.encoder.columns})
        try:
            return rec.for_histories(histories, table)
        except DataError:
            return rec.for_histories(histories)

    def _with(self, history: SparseRows, also: Iterable[str]) -> SparseRows:
        more = self.item_rows(list(also))
        if not (more >= 0).any():
            return history
        columns = np.union1d(history.columns, more[more >= 0])
        return SparseRows.of([0] * len(columns), columns, [1.0] * len(columns), 1)

    # questions for new users, and the scale

    @cached_property
    def questions(self) -> Questions:
        """Questions for a new user before the first answer. Raises KindError for a model without factors of ratings."""
        with threads(1):
            return self.recommender.for_history([]).questions()

    @property
    def scale(self) -> Scale | None:
        """The scale of the ratings; None for models of events."""
        return self.recommender.scale

    def check_values(self, values: Sequence[float], name: str | Callable[[int], str] = "the value") -> None:
        """Raise DataError for a rating that is not on the scale, as `Scale.check` does; events may be any number."""
        if self.scale is not None:
            self.scale.check(values, name=name)

    def mask(self, unavailable: Iterable[str], allowed: Sequence[str] | None = None) -> Bool | None:
        """Which items may be shown: those in `allowed`, or all, without the unavailable ones; None for no limit."""
        gone = self.item_rows(list(unavailable))
        if allowed is None and not (gone >= 0).any():
            return None
        mask = np.full(len(self.recommender.items), allowed is None)
        if allowed is not None:
            named = self.item_rows(allowed)
            mask[named[named >= 0]] = True
        mask[gone[gone >= 0]] = False
        return mask


def _row(ids: IdMap, text: str) -> int:
    return int(ids.rows([text], parse=True)[0])
