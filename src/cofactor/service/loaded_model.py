"""One model, ready to answer: ids as the store writes them, and somebody as this model sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor.arrays import EVERY, Bool, Float32, Int32, ItemOrder
from cofactor.cold_start import Interview, Population
from cofactor.data.ids import IdMap
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, UnknownIdError
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.models.base import FoldsIn, HasUncertainty
from cofactor.models.rerank import By, ranked
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender

__all__ = ["AnsweredBy", "ItemAnsweredBy", "Person", "Serving"]

AnsweredBy: TypeAlias = Literal["model", "fold-in", "prior", "popularity"]
"""What stands for a user: see `Person`."""

ItemAnsweredBy: TypeAlias = Literal["model", "popularity", "exploration"]
"""What put an item into its place: "popularity" where the model has no evidence about the user and the item."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody as one model sees them.

    Attributes:

        model: the model whose user this is.
        users: a batch of the user alone; row -1 where the model knows nothing of them.
        exclude: what is never recommended to them, one row.
        by: what answers for them: the trained row, a row folded in from their history, the prior of newcomers, or what
            is popular.
    """

    model: Any
    users: UserBatch
    exclude: SparseRows
    by: AnsweredBy

    @property
    def is_known(self) -> bool:
        """Whether the model has a row for the user."""
        return int(self.users.rows[0]) >= 0


@dataclass(frozen=True, eq=False)
class Serving:
    """A version of the model with what answers need of it.

    version: its number in the store. watermark: the number of the last change it learnt from. edition: how often new
    items were put in; a list is of one version and one edition.

    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> serving = Serving(1, 0, cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings))
    >>> cy, dora = serving.trained("cy"), serving.newcomer([("alien", 5.0)])
    >>> rows, _ = serving.rank(dora, 2)
    >>> cy.by, dora.by, serving.items(rows)
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
        ids, rows = self.recommender.items, np.full(len(items), -1, np.int32)
        parsed = [ids.parse(item) for item in items]
        wanted = [at for at, id_ in enumerate(parsed) if isinstance(id_, int) == (ids.kind == "integer")]
        if wanted:
            rows[wanted] = ids.rows([parsed[at] for at in wanted])
        return rows

    def items(self, rows: Any) -> list[str]:
        """The ids at these rows, as text."""
        return [str(id_) for id_ in self.recommender.items.ids(rows)]

    def title(self, row: int) -> str | None:
        """The item's title in the table that was learnt from, if there was one."""
        titles = self.recommender.titles
        found: str | None = None if titles is None else titles[row]
        return found

    # who asks

    def trained(self, user: str, also: Iterable[str] = ()) -> Person | None:
        """Somebody this model learnt about, or None. `also`: items to leave out beside their history."""
        row = _row(self.recommender.users, user)
        if row < 0:
            return None
        rec = self.recommender
        users = rec.batch(np.array([row], np.int32))
        return Person(rec.model, users, self._with(rec.excluded.row(row), also), "model")

    def newcomer(
        self, history: Iterable[tuple[str, float]], also: Iterable[str] = (), facts: Mapping[str, Any] | None = None
    ) -> Person:
        """Somebody with this history: folded in, about the prior where there is one. Unknown items are skipped.

        facts: what is known of the user; what the prior did not learn from, or cannot read, is left aside. Without a
        history that counts: the prior; without that, or where the model cannot fold in, what is popular.
        """
        rec = self.recommender
        told = list(history)
        rows = self.item_rows([item for item, _ in told])
        pairs, values = rows[rows >= 0], np.array([value for _, value in told], np.float32)[rows >= 0]
        one = SparseRows.of(np.zeros(len(pairs), np.int64), pairs, values, 1)
        exclude = self._with(one, also)
        has_prior = rec.priors is not None and rec.priors.users is not None
        if not isinstance(rec.model, FoldsIn) or not (len(pairs) or has_prior):
            return Person(rec.model, rec.batch(np.array([-1], np.int32)), exclude, "popularity")
        with threads(1):
            folded = self._folded(one, facts or {})
            return Person(folded, UserBatch.folded(one), exclude, "fold-in" if len(pairs) else "prior")

    def _folded(self, one: SparseRows, facts: Mapping[str, Any]) -> Any:
        rec, table = self.recommender, None
        prior = None if rec.priors is None else rec.priors.users
        if prior is not None and prior.encoder is not None and facts:
            table = pl.DataFrame({column.name: [facts.get(column.name)] for column in prior.encoder.columns})
        try:
            return rec.folded_in(one, table)
        except DataError:
            return rec.folded_in(one)

    def _with(self, history: SparseRows, also: Iterable[str]) -> SparseRows:
        more = self.item_rows(list(also))
        if not (more >= 0).any():
            return history
        columns = np.union1d(history.columns, more[more >= 0])
        return SparseRows.of([0] * len(columns), columns, [1.0] * len(columns), 1)

    # what is best

    def rank(
        self, person: Person, n: int, *, allowed: Bool | None = None, by: By = "mean", diversity: float = 0.0
    ) -> tuple[Int32, Float32]:
        """The best items of somebody, at most n of the allowed: rows and scores, as `Recommender.rank` has them.

        Of somebody of whom nothing is known, what is best for a user without a history; where the model cannot fold in,
        the most popular items, with a score of 0.
        """
        rec, mask, n = self.recommender, EVERY if allowed is None else allowed, min(n, len(self.recommender.items))
        model, users = person.model, person.users
        if not person.is_known:
            if self._nobody is None:
                return self._popular(n, person.exclude, mask, by)
            model, users = self._nobody, UserBatch.folded(SparseRows.empty(1))
        with threads(1):
            rows, scores = ranked(
                model,
                users,
                n,
                exclude=person.exclude,
                allowed=mask,
                by=by,
                diversity=diversity,
                evidence=EVERY if rec.evidence is None else rec.evidence,
                order=self._order,
            )
        there = rows[0] >= 0
        return rows[0][there], scores[0][there]

    def answered_by(self, person: Person, rows: Int32, scores: Float32) -> list[ItemAnsweredBy]:
        """Return what put each of these items of `rank` into its place, as `Recommender.answered_by` has it."""
        if not person.is_known and self._nobody is None:
            return ["popularity"] * len(rows)
        marks: list[ItemAnsweredBy] = self.recommender.answered_by(rows, scores).to_list()
        return marks

    @cached_property
    def _order(self) -> ItemOrder:
        return ItemOrder.deferred(len(self.recommender.items), partial(getattr, self.recommender, "by_support"))

    @cached_property
    def _nobody(self) -> Any:
        """A model whose one user has no history; None where the model cannot fold in."""
        if not isinstance(self.recommender.model, FoldsIn):
            return None
        with threads(1):
            return self.recommender.folded_in(SparseRows.empty(1))

    def _popular(self, n: int, exclude: SparseRows, allowed: Bool, by: By) -> tuple[Int32, Float32]:
        if by != "mean" and not isinstance(self.recommender.model, HasUncertainty):
            raise KindError(f"this model predicts no distribution, so nothing can be ranked by {by!r}")
        may = np.ones(len(self.recommender.items), bool) if not len(allowed) else allowed.copy()
        may[exclude.columns] = False
        order = self.recommender.by_support
        rows = order[may[order]][:n]
        return rows, np.zeros(len(rows), np.float32)

    # what is asked of newcomers, and the scale

    @cached_property
    def interview(self) -> Interview:
        """An interview before its first question. Raises KindError where the model has no factors of ratings."""
        return Interview(Population.of(self.recommender))

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
    try:
        return ids.row(ids.parse(text))
    except UnknownIdError:
        return -1
