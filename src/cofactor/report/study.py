"""Subject of a report: table, fitted model, split, and smaller samples for sections that would take too long."""

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
"""Names of item table columns that are used as genres by default."""
MAX_GENRES = 100
"""Maximum number of distinct genres; a column with more is not used."""


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
        Column of the item table with genres; by default, a column with a common name such as genres or category.
    seed : int, Generator or None, default 0
        Seed for all samples, splits and fits.
    rounds : int, default 6
        Number of rounds in the feedback loop simulation.
    max_rows : int, default 200000
        Maximum number of rows for sections that fit many models; larger tables are reduced to a random sample of users.
    max_users_and_items : int, default 1000
        Maximum number of users, and of items, in the feedback loop simulation.
    refits : int, default 0
        Number of additional fits of each compared model, to measure the overlap of its lists between seeds.

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
    refits: int = 0

    def __post_init__(self) -> None:
        require_interactions("table", self.table)
        require_estimator(self.estimator)
        if self.genres is not None:
            checks.text("genres", self.genres)
        object.__setattr__(self, "seed", checks.seed(self.seed))
        for name in ("rounds", "max_rows", "max_users_and_items"):
            checks.whole_number(name, getattr(self, name), low=1)
        checks.whole_number("refits", self.refits, low=0)

    @cached_property
    def recommender(self) -> Recommender:
        """Recommender trained on the whole table; access can raise any error of `Recommender.fit`."""
        return Recommender.fit(self.estimator, self.table, seed=self.seed)

    @cached_property
    def sampled_table(self) -> Interactions:
        """Table of the report, reduced to a random sample of its users if it has more than `max_rows` rows."""
        return sample_users(self.table, self.max_rows, self.seed)

    @cached_property
    def split(self) -> Split:
        """Split that tests on 20% of all ratings, or on 20% of each user's events; accessing it may raise DataError."""
        split = split_random if self.table.kind == "ratings" else split_per_user
        return split(self.sampled_table, test=0.2, seed=self.seed)

    @cached_property
    def genre_column(self) -> str | None:
        """Name of the genre column: `genres`, or a string or list column with a common name; None if there is none."""
        table = self.table.item_table
        if self.genres is not None or table is None:
            return self.genres
        candidates = (name for name in GENRES if name in table.columns[1:])
        return next((name for name in candidates if table[name].dtype in (pl.String, pl.List)), None)

    @cached_property
    def sample_notes(self) -> list[str]:
        """List with one sentence that describes the sample of users; empty if the whole table is used."""
        if len(self.sampled_table) == len(self.table):
            return []
        sentence = (
            f"This section uses a random sample of {self.sampled_table.n_users:,} users, with "
            f"{len(self.sampled_table):,} of the {len(self.table):,} {self.table.kind}."
        )
        return [sentence]

    @property
    def small_estimator(self) -> Estimator:
        """Estimator for a small least-squares factor model, for sections that need factors or fit many models."""
        return BiasedMF(factors=16) if self.table.kind == "ratings" else ImplicitALS(factors=16)


def sample_users(table: Interactions, rows: int, seed: Seed) -> Interactions:
    """Return all interactions of a random sample of users.

    Parameters
    ----------
    table : Interactions
        Table to sample.
    rows : int
        Maximum number of rows; at least one user is sampled, even if that user has more.
    seed : int, Generator or None
        Seed for the sample.

    Returns
    -------
    Interactions
        The table itself if it is small enough, else a table with only the IDs in the sample.

    Examples
    --------
    >>> table = Interactions.from_columns([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [5, 1, 1, 5, 3, 3])
    >>> sample_users(table, 4, seed=0).n_users, sample_users(table, 1, seed=0).n_users
    (2, 1)
    """
    if len(table) <= rows:
        return table
    order = random_stream(seed, "sample").permutation(table.n_users)
    cumulative_rows = np.cumsum(table.by_user.counts[order])
    user_mask = np.zeros(table.n_users, bool)
    user_mask[order[: max(1, int(np.searchsorted(cumulative_rows, rows, side="right")))]] = True
    return _subset(table, user_mask[table.u])


def sample_users_and_items(table: Interactions, users: int, items: int, seed: Seed) -> Interactions:
    """Return the interactions of a random sample of users with the items that these users rated most often.

    Parameters
    ----------
    table : Interactions
        Table to sample.
    users, items : int
        Maximum number of users and of items.
    seed : int, Generator or None
        Seed for the sample.

    Returns
    -------
    Interactions
        The table itself if it is small enough, else a table with only the IDs in the sample. Users without any of the
        selected items are omitted.

    Examples
    --------
    >>> table = Interactions.from_columns([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2], [5, 1, 1, 5, 3, 3])
    >>> part = sample_users_and_items(table, users=3, items=1, seed=0)
    >>> part.n_users, part.n_items
    (3, 1)
    """
    if table.n_users <= users and table.n_items <= items:
        return table
    user_mask = np.zeros(table.n_users, bool)
    user_mask[random_stream(seed, "corner").permutation(np.flatnonzero(table.by_user.counts))[:users]] = True
    user_rows = user_mask[table.u]
    support = np.bincount(table.i[user_rows], minlength=table.n_items)
    item_mask = np.zeros(table.n_items, bool)
    item_mask[np.argsort(-support, kind="stable")[:items]] = True
    return _subset(table, user_rows & item_mask[table.i])


def _subset(table: Interactions, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Interactions:
    """Return the selected rows as a table that contains only their users and items."""
    subset = table.select(rows)
    subset = Interactions.from_columns(
        subset.users.ids(subset.u), subset.items.ids(subset.i), subset.values, times=subset.times,
        weights=subset.weights, kind=subset.kind, scale=subset.scale,
    )  # fmt: skip
    if table.item_table is None:
        return subset
    return replace(subset, item_table=table.item_table[table.items.rows(subset.items.all)])
