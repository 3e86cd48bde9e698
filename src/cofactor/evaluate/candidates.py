"""Candidates of automatic selection: the estimators to try, the tables they suit, and how their fit times scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cofactor.data.held_out import is_ordered
from cofactor.data.interactions import Interactions, Kind
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import Estimator

__all__ = ["CANDIDATES", "Candidate", "candidates_for"]


def _rows(table: Interactions) -> float:
    """Return the number of rows, which is proportional to the time of an iterative fit."""
    return float(len(table))


def _rows_and_ids(table: Interactions) -> float:
    """Return a number proportional to the time of a fit that solves equations for each user and item."""
    return float(len(table) + 15 * (table.n_users + table.n_items))


def _item_pairs(table: Interactions) -> float:
    """Return the number of item pairs that share a history, proportional to the time of a sparse matrix product."""
    return float(np.square(table.by_user.counts, dtype=np.float64).sum())


def _user_pairs(table: Interactions) -> float:
    """Return the number of user pairs that share an item."""
    return float(np.square(table.by_item.counts, dtype=np.float64).sum())


def _dense(table: Interactions) -> float:
    """Return the approximate time of `EASE` in nanoseconds.

    It writes a weight for each pair of items, multiplies them with the table, and inverts a matrix of the items, or of
    the users if these are few. The factors were measured on MovieLens-100k, Last.fm and citeulike.
    """
    n_users, n_items = float(table.n_users), float(table.n_items)
    inverted = n_users if 2 * n_users < n_items else n_items
    return 12 * n_items**2 + n_items * len(table) + 0.01 * inverted**3


def _suits_all(table: Interactions) -> bool:
    return True


def _is_small(table: Interactions) -> bool:
    """Return whether `EASE` fits the table within its default memory limit of 8 GB."""
    return 24 * table.n_items**2 <= 8e9


@dataclass(frozen=True)
class Candidate:
    """Estimator to try in automatic selection.

    Attributes
    ----------
    name : str
        Name of the estimator; a name that is not registered is skipped.
    cost : callable
        Function that returns a number proportional to the time of a fit to a table.
    is_suitable : callable
        Function that returns whether the estimator suits a table.
    """

    name: str
    cost: Callable[[Interactions], float] = field(default_factory=lambda: _rows)
    is_suitable: Callable[[Interactions], bool] = field(default_factory=lambda: _suits_all)


CANDIDATES: dict[Kind, tuple[Candidate, ...]] = {
    "events": (
        Candidate("popularity"),
        Candidate("item-knn", _item_pairs),
        Candidate("implicit-als", _rows_and_ids),
        Candidate("rp3beta", _item_pairs),
        Candidate("user-knn", _user_pairs),
        Candidate("ease", _dense, _is_small),
        Candidate("sparse-ease", _item_pairs),
        Candidate("graph-filter", _item_pairs),
        Candidate("sequential-item-knn", is_suitable=is_ordered),
        Candidate("bpr"),
    ),
    "ratings": (
        Candidate("bias"),
        Candidate("explicit-als", _rows_and_ids),
        Candidate("item-knn", _item_pairs),
        Candidate("bayesian-mf", _rows_and_ids),
        Candidate("user-knn", _user_pairs),
        Candidate("biased-mf"),
        Candidate("neural-mf"),
    ),
}
"""For each kind of table, the candidates in the order in which their defaults are tried: fast ones first."""


def candidates_for(table: Interactions) -> list[tuple[Candidate, Estimator]]:
    """Return the registered candidates that suit a table, with their default hyperparameters.

    Parameters
    ----------
    table : Interactions
        Training table.

    Returns
    -------
    list of tuple of (Candidate, Estimator)
        Candidates, in the order of `CANDIDATES`.

    Examples
    --------
    >>> ratings = Interactions.from_columns([1, 1, 2], [7, 8, 7], [5, 4, 4])
    >>> [candidate.name for candidate, _ in candidates_for(ratings)][:2]
    ['bias', 'explicit-als']
    """
    return [
        (candidate, REGISTRY[candidate.name]())
        for candidate in CANDIDATES[table.kind]
        if candidate.name in REGISTRY and candidate.is_suitable(table)
    ]
