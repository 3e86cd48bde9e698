"""Report subject: the table, its model and split, and samples for sections that would be slow on the whole table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import random_stream
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.estimators import BiasedMF, ImplicitALS
from cofactor.estimators.base import Estimator, require_estimator
from cofactor.evaluate.split import Split, split_per_user, split_random
from cofactor.recommender.recommender import Recommender

__all__ = ["MAX_GENRES", "Study", "sample_users", "sample_users_and_items"]

GENRES = ("genres", "genre", "categories", "category")
"""Columns of an item table that are used as genres by default."""
MAX_GENRES = 100
"""Maximum number of different genres; a column with more is not used."""


@dataclass(frozen=True, eq=False)
class Study:
    """Subject and options of a report.

    Derived objects, such as the fitted model, are computed on first use.

    Attributes
    ----------
    table : Interactions
        Ratings or events.
    estimator : Estimator
        Estimator whose model is audited.
    genres : str or None
        Column of the item table with genres; by default, a column with a usual name.
    seed : int, Generator or None, default 0
        Seed of all samples, splits and fits.
    rounds : int, default 6
        Rounds of the feedback loop simulation.
    max_rows : int, default 200000
        Sections that fit many models use a sample of whole users with about this number of rows.
    max_users_and_items : int, default 1000
        Maximum number of users, and of items, in the feedback loop simulation.

    Examples
    --------
    >>> table = Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> study = Study(table, BiasedMF(factors=2))
    >>> study.recommender.model, study.sampled_table is table
    (FactorModel(2 users, 2 items, 2 factors), True)
    """

    table: Interactions
    estimator: Estimator
    genres: str | None = None
    seed: Seed = 0
    rounds: int = 6
    max_rows: int = 200_000
    max_users_and_items: int = 1_000

    def __post_init__(self) -> None:
        require_interactions("table", self.table)
        require_estimator(self.estimator)
        if self.genres is not None:
            checks.text("genres", self.genres)
        object.__setattr__(self, "seed", checks.seed(self.seed))
        for name in ("rounds", "max_rows", "max_users_and_items"):
            checks.whole_number(name, getattr(self, name), low=1)

    @cached_property
    def recommender(self) -> Recommender:
        """Recommender fitted on the whole table. Raises the errors of `Recommender.fit`."""
        return Recommender.fit(self.estimator, self.table, seed=self.seed)

    @cached_property
    def sampled_table(self) -> Interactions:
        """The table, or a random sample of its users with about `max_rows` rows."""
        return sample_users(self.table, self.max_rows, self.seed)

    @cached_property
    def split(self) -> Split:
        """Split with 20 % of all ratings, or of each user's events, held out. Raises DataError."""
        split = split_random if self.table.kind == "ratings" else split_per_user
        return split(self.sampled_table, test=0.2, seed=self.seed)

    @cached_property
    def genre_column(self) -> str | None:
        """Column of genres: `genres`, or a column of text or lists with a usual name; None if there is none."""
        table = self.table.item_table
        if self.genres is not None or table is None:
            return self.genres
        candidates = (name for name in GENRES if name in table.columns[1:])
        return next((name for name in candidates if table[name].dtype in (pl.String, pl.List)), None)

    @cached_property
    def sample_notes(self) -> list[str]:
        """A sentence for sections on a sample; empty if the sample is the whole table."""
        if len(self.sampled_table) == len(self.table):
            return []
        sentence = (
            f"This section uses a sample: {self.sampled_table.n_users:,} users drawn at random and their "
            f"{len(self.sampled_table):,} {self.table.kind}, of {len(self.table):,}."
        )
        return [sentence]

    @property
    def small_estimator(self) -> Estimator:
        """Small least-squares factor model, for sections that need factors or fit many models."""
        return BiasedMF(factors=16) if self.table.kind == "ratings" else ImplicitALS(factors=16)


def sample_users(table: Interactions, rows: int, seed: Seed) -> Interactions:
    """Sample whole users at random up to a number of rows.

    Parameters
    ----------
    table : Interactions
        Table to sample.
    rows : int
        Maximum number of rows; at least one user is sampled even if they have more.
    seed : int, Generator or None
        Seed of the sample.

    Returns
    -------
    Interactions
        The table itself if it is small enough, else a table with only the ids of the sample.

    Examples
    --------
    >>> table = Interactions.from_columns([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [5, 1, 1, 5, 3, 3])
    >>> sample_users(table, 4, seed=0).n_users, sample_users(table, 1, seed=0).n_users
    (2, 1)
    """
    if len(table) <= rows:
        return table
    order = random_stream(seed, "sample").permutation(table.n_users)
    total = np.cumsum(table.by_user.counts[order])
    chosen = np.zeros(table.n_users, bool)
    chosen[order[: max(1, int(np.searchsorted(total, rows, side="right")))]] = True
    return _subset(table, chosen[table.u])


def sample_users_and_items(table: Interactions, users: int, items: int, seed: Seed) -> Interactions:
    """Sample users at random, and select the items that they rated most.

    Parameters
    ----------
    table : Interactions
        Table to sample.
    users, items : int
        Maximum numbers of users and items.
    seed : int, Generator or None
        Seed of the sample.

    Returns
    -------
    Interactions
        The table itself if it is small enough, else a table with only the ids of the sample. Users without any of the
        selected items are left out.

    Examples
    --------
    >>> table = Interactions.from_columns([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [5, 1, 1, 5, 3, 3])
    >>> part = sample_users_and_items(table, users=3, items=1, seed=0)
    >>> part.n_users, part.n_items
    (3, 1)
    """
    if table.n_users <= users and table.n_items <= items:
        return table
    chosen = np.zeros(table.n_users, bool)
    chosen[random_stream(seed, "corner").permutation(np.flatnonzero(table.by_user.counts))[:users]] = True
    user_rows = chosen[table.u]
    support = np.bincount(table.i[user_rows], minlength=table.n_items)
    chosen_items = np.zeros(table.n_items, bool)
    chosen_items[np.argsort(-support, kind="stable")[:items]] = True
    return _subset(table, user_rows & chosen_items[table.i])


def _subset(table: Interactions, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Interactions:
    """Select rows as a table with only their users and items."""
    part = table.select(rows)
    small = Interactions.from_columns(
        part.users.ids(part.u), part.items.ids(part.i), part.values, times=part.times, weights=part.weights,
        kind=part.kind, scale=part.scale,
    )  # fmt: skip
    if table.item_table is None:
        return small
    return replace(small, item_table=table.item_table[table.items.rows(small.items.all)])
