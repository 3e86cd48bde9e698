"""Who knows what: kinds of users by the items they have rated, and whom of them somebody new is like.

A user of kind k has rated item j with the chance p_kj, whatever else they have rated: a mixture of Bernoullis. What is
told of a newcomer, item by item, makes some kinds likelier and others not, by Bayes' rule; the chance of every other
item follows. Two items that go together do so because the same kinds know both: nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, random_stream
from cofactor.errors import ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.validation import validated

__all__ = ["BernoulliMixture"]

PASSES = 20
"""Of expectation and maximization: little moves after a dozen."""

SEED_WEIGHT = 0.1
"""How much the one user that a kind begins with counts in its first chances, beside everybody's."""

PSEUDO = 2.0
"""As many imagined users, who know items as everybody does, belong to every kind."""


@dataclass(frozen=True, eq=False)
class BernoulliMixture:
    """Kinds of users; all float64.

        share (k,)                the part of the users that is of each kind; sums to 1
        knows (k, n_items)        p, the chance that one of this kind has rated an item; above 0, below 1
        belonging (n_users, k)    how surely each user is of each kind; rows sum to 1

    Source of the way it is learnt: Dempster, Laird & Rubin (1977), JRSS B 39.

    >>> rows = SparseRows.of([0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 2, 2], [1] * 6, n_rows=4)
    >>> crowd = BernoulliMixture.of(rows, 3, kinds=2)
    >>> chances = crowd.like([0], [True]) @ crowd.knows
    >>> bool(chances[1] > chances[2])
    True
    """

    share: Float64
    knows: Float64
    belonging: Float64

    @classmethod
    @validated
    def of(cls, histories: SparseRows, n_items: int, *, kinds: int, seed: int = 0) -> Self:
        """Learnt by expectation and maximization, from as many kinds as there are users, if those are fewer.

            belonging_uk ~ share_k prod_j p_kj^x_uj (1 - p_kj)^(1 - x_uj)
            p_kj = (sum_u belonging_uk x_uj + PSEUDO p_j) / (sum_u belonging_uk + PSEUDO)

        p_j is the share of users with the item, half a user more. Each kind begins as one user drawn at random, mostly
        smoothed away. Work and memory: a pass is `kinds` times the ratings. Without users all is as likely as not, and
        there is one kind.
        """
        checks.whole_number("kinds", kinds, low=1)
        histories.checked("histories", checks.whole_number("n_items", n_items, low=0, high=MAX_ROWS))
        n, k = len(histories), max(min(kinds, len(histories)), 1)
        share_with_item = (histories.column_counts(n_items) + 0.5) / (n + 1)
        share, knows = np.full(k, 1 / k), np.tile(share_with_item, (k, 1))
        chosen = random_stream(seed, "kinds").permutation(n)[:k]
        for row, user in zip(knows, chosen, strict=False):
            row *= 1 - SEED_WEIGHT
            row[histories.row(int(user)).columns] += SEED_WEIGHT
        belonging = np.ones((0, k))
        for _ in range(PASSES if n else 0):
            belonging = _belonging(share, knows, histories)
            total = belonging.sum(axis=0)
            share = (total + 1) / (n + k)
            knows = (_knowing(belonging, histories, n_items) + PSEUDO * share_with_item) / (total + PSEUDO)[:, None]
        return cls(share, knows, belonging)

    @validated
    def like(self, asked: Sequence[int], known: Sequence[bool]) -> Float64:
        """How likely each kind is for somebody who was asked these items and knew these: (k,) float64, Bayes' rule.

            kind k ~ share_k prod_j p_kj^known_j (1 - p_kj)^(1 - known_j)

        asked: item rows; known: one bool for each. The shares themselves where nothing was asked.
        """
        rows = checks.row_numbers("asked", asked, self.knows.shape[1])
        if checks.as_array(known).shape != rows.shape:
            both = f"{checks.describe(asked)} and {checks.describe(known)}"
            raise ParameterError(f"asked and known must have the same length, not {both}")
        p = self.knows[:, rows]
        log = np.log(self.share) + np.log(np.where(checks.mask("known", known, len(rows)), p, 1 - p)).sum(axis=1)
        kinds: Float64 = _normalized(log[None])[0]
        return kinds


def _belonging(share: Float64, knows: Float64, histories: SparseRows) -> Float64:
    """(n_users, k): log P(row | kind) is that of an empty row, and the log odds of every item that is in it."""
    owner = histories.owners
    blank = np.log1p(-knows)
    odds, log = np.log(knows) - blank, np.empty((len(histories), len(share)))
    for kind, empty in enumerate(np.log(share) + blank.sum(axis=1)):
        log[:, kind] = empty + np.bincount(owner, odds[kind][histories.columns], minlength=len(histories))
    return _normalized(log)


def _knowing(belonging: Float64, histories: SparseRows, n_items: int) -> Float64:
    """How many users of each kind have each item: (k, n_items)."""
    owner = histories.owners
    rows = [np.bincount(histories.columns, column[owner], minlength=n_items) for column in belonging.T]
    counted: Float64 = np.stack(rows)
    return counted


def _normalized(log: Float64) -> Float64:
    """Rows of logarithms as rows of chances that sum to 1."""
    part = np.exp(log - log.max(axis=1, keepdims=True))
    chances: Float64 = part / part.sum(axis=1, keepdims=True)
    return chances
