"""What all sections share: the table, a model of it, a split, and smaller tables where the whole is too much."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import random_stream
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.estimators import BiasedMF, ImplicitALS
from cofactor.estimators.base import Estimator
from cofactor.evaluate.split import Split, split_per_user, split_random
from cofactor.recommender.recommender import Recommender, checked_estimator

__all__ = ["MOST_KINDS", "Study", "corner", "sample"]

GENRES = ("genres", "genre", "categories", "category")
"""Columns of an item table that say what kind of thing an item is, if none is named."""
MOST_KINDS = 100
"""More kinds than this are not kinds: they are left out."""


@dataclass(frozen=True, eq=False)
class Study:
    """What is reported on.

    Attributes:

        table: all rows.
        estimator: whose model is looked at.
        genres: the column of the item table that names kinds of items, None for none.
        seed: of everything that is drawn.
        rounds: of the simulated feedback loop.
        most_rows: where models are fitted many times, tables of more rows are sampled to about that many.
        most_people: the loop is simulated on at most so many users and as many items.

    What is derived from these is worked out when it is first asked for.

    >>> table = Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> study = Study(table, BiasedMF(factors=2))
    >>> study.recommender.model, study.fewer is table
    (FactorModel(2 users, 2 items, 2 factors), True)
    """

    table: Interactions
    estimator: Estimator
    genres: str | None = None
    seed: int = 0
    rounds: int = 6
    most_rows: int = 200_000
    most_people: int = 1_000

    def __post_init__(self) -> None:
        require_interactions("table", self.table)
        checked_estimator(self.estimator)
        if self.genres is not None:
            checks.text("genres", self.genres)
        checks.seed(self.seed)
        for name in ("rounds", "most_rows", "most_people"):
            checks.whole_number(name, getattr(self, name), low=1)

    @cached_property
    def recommender(self) -> Recommender:
        """The estimator's model of the whole table. Raises as a fit does."""
        return Recommender.fit(self.estimator, self.table, seed=self.seed)

    @cached_property
    def fewer(self) -> Interactions:
        """The table, or the rows of some users drawn at random, about `most_rows` of them."""
        return sample(self.table, self.most_rows, self.seed)

    @cached_property
    def split(self) -> Split:
        """A fifth of the rows held out: of all rows (ratings), of each user's (events). Raises DataError."""
        cut = split_random if self.table.kind == "ratings" else split_per_user
        return cut(self.fewer, test=0.2, seed=self.seed)

    @cached_property
    def kinds(self) -> str | None:
        """The column that names kinds of items: the one asked for, or a usual one of texts or lists."""
        table = self.table.item_table
        if self.genres is not None or table is None:
            return self.genres
        usual = (name for name in GENRES if name in table.columns[1:])
        return next((name for name in usual if table[name].dtype in (pl.String, pl.List)), None)

    @cached_property
    def sampled(self) -> str:
        """A sentence for sections that look at a sample, "" where they look at all."""
        if len(self.fewer) == len(self.table):
            return ""
        return (
            f"This part looks at {self.fewer.n_users:,} users drawn at random and their {len(self.fewer):,} "
            f"{self.table.kind}, of {len(self.table):,}."
        )

    @property
    def small_estimator(self) -> Estimator:
        """A model of least squares that is fitted in no time: for what needs one, or needs many."""
        return BiasedMF(factors=16) if self.table.kind == "ratings" else ImplicitALS(factors=16)


def sample(table: Interactions, rows: int, seed: int) -> Interactions:
    """The table, or whole users of it drawn at random until there are `rows` rows, at least one of them.

    What is drawn has no ids but its own.

    >>> table = Interactions.from_columns([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [5, 1, 1, 5, 3, 3])
    >>> sample(table, 4, seed=0).n_users, sample(table, 1, seed=0).n_users
    (2, 1)
    """
    if len(table) <= rows:
        return table
    order = random_stream(seed, "sample").permutation(table.n_users)
    total = np.cumsum(table.by_user.counts[order])
    chosen = np.zeros(table.n_users, bool)
    chosen[order[: max(1, int(np.searchsorted(total, rows, side="right")))]] = True
    return _of(table, chosen[table.u])


def corner(table: Interactions, users: int, items: int, seed: int) -> Interactions:
    """The table, or so many of its users, drawn at random, and so many of the items that these rated most.

    Users who rated none of these items are left out, so there may be fewer.

    >>> table = Interactions.from_columns([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [5, 1, 1, 5, 3, 3])
    >>> part = corner(table, users=3, items=1, seed=0)
    >>> part.n_users, part.n_items
    (3, 1)
    """
    if table.n_users <= users and table.n_items <= items:
        return table
    chosen = np.zeros(table.n_users, bool)
    chosen[random_stream(seed, "corner").permutation(np.flatnonzero(table.by_user.counts))[:users]] = True
    theirs = chosen[table.u]
    support = np.bincount(table.i[theirs], minlength=table.n_items)
    kept = np.zeros(table.n_items, bool)
    kept[np.argsort(-support, kind="stable")[:items]] = True
    return _of(table, theirs & kept[table.i])


def _of(table: Interactions, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Interactions:
    """Some rows, as a table of their own users and items only."""
    part = table.select(keep)
    small = Interactions.from_columns(
        part.users.ids(part.u), part.items.ids(part.i), part.values, times=part.times, weights=part.weights,
        kind=part.kind, scale=part.scale,
    )  # fmt: skip
    if table.item_table is None:
        return small
    return replace(small, item_table=table.item_table[table.items.rows(small.items.all)])
