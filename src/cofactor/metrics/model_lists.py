"""Ranked lists of a model with their ties: what ranking metrics of an estimator, and of its served lists, are made of.

A list is ranked once, one place deeper than needed. Only users whose scores tie at the end of the list, or for whom the
model runs out of evidence, need all their scores.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from cofactor import checks
from cofactor.arrays import EVERY, Bool, Float32, Float64, Int32, Int64
from cofactor.errors import DataError
from cofactor.kernels.parallel import for_each
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk_dense import score_blocks
from cofactor.metrics.ranking import Hits, meetings
from cofactor.models.arguments import checked_batch
from cofactor.models.base import ScoresItems
from cofactor.models.user_batch import UserBatch
from cofactor.validation import validated

__all__ = ["ModelLists"]

TOLERANCE = 2.0**-19
"""Scores that differ by less than this share of the user's largest score are tied: float32 rounding is below it."""


Entries: TypeAlias = tuple[Any, ...]
"""Arrays user, before, size and relevant of some groups, as in `Hits`."""


@dataclass(frozen=True, eq=False)
class ModelLists:
    """Lists of some users as a model ranks them, with what ties; made by `of`.

    Attributes
    ----------
    rows : ndarray of shape (n_users, depth), int32
        Item rows, best first, -1 where a list ends. Of a tied group that does not fit, an arbitrary part.
    hits : Hits
        Test items in the lists as the estimator ranks. Items without evidence are one tied group.
    served : Hits
        The same in the lists as they are served: items without evidence stand by popularity. The same object as
        `hits` where no list needs that.
    shown : dict of int to ndarray of shape (n_items,), float64
        For each k, how many lists are expected to show each item among the first k.
    reached : dict of int to ndarray of shape (n_items,), float64
        For each k, the probability that at least one list shows the item.
    """

    rows: Int32
    hits: Hits
    served: Hits
    shown: dict[int, Float64]
    reached: dict[int, Float64]

    @classmethod
    @validated
    def of(
        cls,
        model: Any,
        users: UserBatch,
        ks: Sequence[int],
        *,
        exclude: SparseRows,
        relevant: SparseRows,
        evidence: Bool = EVERY,
        support: Int64 | None = None,
    ) -> ModelLists:
        """Rank the catalog for these users down to the largest of `ks`.

        Parameters
        ----------
        model : ScoresItems
            A model as fitted.
        users : UserBatch
            n_users users of the model.
        ks : sequence of int
            Cut-offs, each at least 1.
        exclude : SparseRows
            A row for each of `users`: items that lists leave out.
        relevant : SparseRows
            A row for each of `users`: the test items.
        evidence : ndarray of shape (n_items,), bool
            Items that the model knows; empty for all.
        support : ndarray of shape (n_items,), int64
            The popularity that served lists are filled by; none: the same for all items.

        Examples
        --------
        >>> import cofactor
        >>> table = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 2, 3], kind="events")
        >>> model = cofactor.ItemKNN().fit(table.select([True, True, True, False]))
        >>> user = UserBatch.trained([1], SparseRows.of([1], [2], [1], 2))
        >>> test = SparseRows.of([0], [3], [1], 1)
        >>> lists = ModelLists.of(model, user, [2], exclude=user.histories, relevant=test)
        >>> lists.hits.before.tolist(), lists.hits.size.tolist()          # items 0, 1 and 3 tie
        ([0], [3])
        """
        ranks = isinstance(model, ScoresItems) and hasattr(model, "n_users") and hasattr(model, "n_items")
        if not ranks:
            raise DataError(f"model must be a model that scores items, not {checks.shown(model)}")
        users = checked_batch(model, users)
        ks = checks.whole_numbers("ks", ks, low=1, high=checks.LONGEST_LIST)
        if evidence is not EVERY and checks.as_array(evidence).shape != (0,):
            evidence = checks.mask("evidence", evidence, model.n_items)
        work = _Work(model, users, sorted(set(ks)), exclude, relevant, evidence, support)
        return work.lists()


@dataclass(eq=False)
class _Work:
    """The arguments of `ModelLists.of`, and what is computed on the way."""

    model: Any
    users: UserBatch
    ks: list[int]
    exclude: SparseRows
    relevant: SparseRows
    evidence: Bool
    support: Int64 | None
    shown: dict[int, Float64] = field(default_factory=dict)
    log_missed: dict[int, Float64] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lists(self) -> ModelLists:
        """Rank, find ties, and complete what reaches beyond the end of a list."""
        self.n_items, self.depth = int(self.model.n_items), self.ks[-1]
        if len(self.evidence) and self.evidence.all():
            self.evidence = EVERY
        self.zero = bool(self.model.zero_is_unknown)
        self.last = EVERY if self.zero or not len(self.evidence) else ~self.evidence  # ranked behind all others
        self._rank()
        self._group()
        user, place = meetings(self.rows, self.relevant)
        plain = ~self.tied[user]
        self.entries: list[Entries] = [
            (user[plain], place[plain], np.ones(plain.sum(), np.int64), np.ones(plain.sum(), np.int64))
        ]
        self.served_entries = [self.entries[0]]
        self._expose()
        if len(self.special):
            self._complete()
        self._tied_entries(user[~plain], place[~plain])
        hits = self._hits(self.entries)
        return ModelLists(
            self.rows,
            hits,
            self._hits(self.served_entries) if self.filled.any() else hits,
            self.shown,
            {k: 1 - np.exp(missed) for k, missed in self.log_missed.items()},
        )

    def _hits(self, entries: list[Entries]) -> Hits:
        if not any(len(user) for user, *_ in entries[1:]):
            user, place, _, _ = entries[0]
            return Hits.of_places(user, place, self.relevant.counts, self.depth)
        user, before, size, relevant = (np.concatenate(part).astype(np.int64) for part in zip(*entries, strict=True))
        return Hits.of_groups(user, before, size, relevant, self.relevant.counts, self.depth)

    def _rank(self) -> None:
        n = min(self.depth + 1, self.n_items)
        allowed = EVERY if not len(self.last) else ~self.last
        rows, scores = self.model.top(self.users, n, exclude=self.exclude, allowed=allowed)
        missing = self.depth + 1 - n
        if missing:
            rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        self.rows, self.scores = rows[:, : self.depth], scores

    def _group(self) -> None:
        """Where scores tie: `before` and `size` of each place of the lists that have ties (rows of `ties`)."""
        self.tolerance = self._tolerance()
        with np.errstate(invalid="ignore"):
            equal = self.scores[:, :-1] - self.scores[:, 1:] <= self.tolerance[:, None]  # nan (both -inf): False
        open_end = equal[:, -1] & (self.scores[:, -1] > -np.inf)
        equal[:, -1] = open_end
        short = np.zeros(len(equal), bool)
        if len(self.last):
            short = self.rows[:, -1] < 0
        self.tied = equal.any(axis=1) | short
        zeros = np.zeros(len(equal), bool)
        if self.zero:
            zeros = (self.scores[:, : self.depth] == 0).any(axis=1)
            self.tied |= zeros
        self.ties = np.flatnonzero(self.tied)
        self.slot = np.full(len(equal), -1)
        self.slot[self.ties] = np.arange(len(self.ties))
        begins = np.concatenate([np.ones((len(self.ties), 1), bool), ~equal[self.ties, :-1]], axis=1)
        places = np.arange(self.depth)
        self.before = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        end = np.where(np.roll(begins, -1, axis=1), places + 1, self.depth)
        end[:, -1] = self.depth
        self.size = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1] - self.before
        self.open_end, self.short, self.filled = open_end, short, short | zeros
        self.special = np.flatnonzero(open_end | self.filled)

    def _tolerance(self) -> Float32:
        """How far tied scores of each user may lie apart: (n_users,) float32."""
        first, last = self.scores[:, 0], self.scores[:, -1].copy()
        for a in np.flatnonzero(last == -np.inf):
            last[a] = self.scores[a, max(int((self.rows[a] >= 0).sum()) - 1, 0)]
        largest = np.where(np.isfinite(first), np.maximum(np.abs(first), np.abs(last)), np.float32(0))
        return (largest * np.float32(TOLERANCE)).astype(np.float32)

    def _expose(self) -> None:
        """What the lists without ties show; `_tied_entries` and `_complete` add the rest."""
        plain = self.rows[~self.tied]
        for k in self.ks:
            shown = plain[:, :k]
            self.shown[k] = np.bincount(shown[shown >= 0], minlength=self.n_items).astype(np.float64)
            self.log_missed[k] = np.where(self.shown[k] > 0, -np.inf, 0.0)

    def _add_exposure(self, k: int, items: Any, chance: Float64) -> None:
        """Lists show `items` (m,) with these probabilities."""
        self.shown[k] += np.bincount(items, weights=chance, minlength=self.n_items)
        with np.errstate(divide="ignore"):
            self.log_missed[k] += np.bincount(items, weights=np.log1p(-chance), minlength=self.n_items)

    def _tied_entries(self, user: Int64, place: Int64) -> None:
        """Entries of the tied lists, once the sizes of their last groups are known."""
        slot = self.slot[user]
        entry = (user, self.before[slot, place], self.size[slot, place], np.ones(len(user), np.int64))
        self.entries.append(entry)
        by_model = ~self.filled[user] | (self.scores[user, place] > 0 if self.zero else True)
        self.served_entries.append(tuple(part[by_model] for part in entry))
        rows = self.rows[self.ties]
        for k in self.ks:
            chance = np.clip((k - self.before) / self.size, 0, 1)
            use = (rows >= 0) & (chance > 0)
            self._add_exposure(k, rows[use], chance[use])

    def _complete(self) -> None:
        """Users of whom all scores are needed, a block at a time."""
        support = np.zeros(self.n_items, np.int64) if self.support is None else np.asarray(self.support)
        self.order = np.argsort(-support, kind="stable")
        falling = -support[self.order]
        self.run_start, self.run_end = (np.searchsorted(falling, -support, side=side) for side in ("left", "right"))
        for_each(self._complete_block, score_blocks(len(self.special), self.n_items))

    def _complete_block(self, cut: tuple[int, int]) -> None:
        at = self.special[slice(*cut)]
        scores = self.model.scores(self.users.take(at))
        exclude, relevant = self.exclude.take(at), self.relevant.take(at)
        candidate = np.ones(scores.shape, bool)
        candidate[np.repeat(np.arange(len(at)), exclude.counts), exclude.columns] = False
        owner, test = np.repeat(np.arange(len(at)), relevant.counts), relevant.columns
        use = candidate[owner, test]
        owner, test = owner[use], test[use]
        group, before, size = self._last_groups(at, scores, candidate)
        met = group[owner, test]
        user = at[owner[met]]
        cut_off = (user, before[owner[met]], size[owner[met]], np.ones(len(user), np.int64))
        served = self._served_entries(at, scores, candidate, owner, test)
        with self.lock:
            self.entries.append(cut_off)
            self.served_entries += [tuple(part[~self.filled[user]] for part in cut_off), *served]
            for k in self.ks:
                chance = np.clip((k - before) / np.maximum(size, 1), 0, 1)
                a, items = np.nonzero(group & (chance > 0)[:, None])
                self._add_exposure(k, items, chance[a])

    def _last_groups(self, at: Int64, scores: Float32, candidate: Bool) -> tuple[Bool, Int64, Int64]:
        """The group that the end of each list cuts: its items outside the list, and its `before` and `size`."""
        rows, slot, short = self.rows[at], self.slot[at], self.short[at]
        cut = self.open_end[at] & ~short
        group = np.zeros(scores.shape, bool)
        last = self.scores[at, self.depth - 1]
        group[cut] = np.abs(scores[cut] - last[cut, None]) <= self.tolerance[at[cut], None]
        if len(self.last):
            group[:, self.last] = False
            group[short] = self.last
        group &= candidate
        group[np.repeat(np.arange(len(at)), (rows >= 0).sum(axis=1)), rows[rows >= 0]] = False
        more = group.sum(axis=1)
        before = np.where(short, (rows >= 0).sum(axis=1), self.before[slot, -1])
        self.size[slot] += (self.before[slot] == before[:, None]) * np.where(cut, more, 0)[:, None]
        return group, before, np.where(short, more, self.size[slot, -1])

    def _served_entries(self, at: Int64, scores: Float32, candidate: Bool, owner: Int64, test: Int32) -> list[Entries]:
        """Entries of what follows the items with evidence: the more popular item stands higher."""
        behind = ~self.evidence if len(self.evidence) else np.zeros(self.n_items, bool)
        unknown = (scores == 0) & candidate & ~behind if self.zero else np.zeros(scores.shape, bool)
        above = ((scores > 0) & candidate & ~behind).sum(axis=1)
        filled = self.filled[at]
        entries: list[Entries] = []
        for mask, first in ((unknown, above), (candidate & behind, (candidate & ~behind).sum(axis=1))):
            met = mask[owner, test] & filled[owner]
            if not met.any():
                continue
            counted = np.zeros((len(at), self.n_items + 1), np.int32)
            np.cumsum(mask[:, self.order], axis=1, out=counted[:, 1:])
            a, i = owner[met], test[met]
            start = counted[a, self.run_start[i]]
            entries.append((at[a], first[a] + start, counted[a, self.run_end[i]] - start, np.ones(len(a), np.int64)))
        if self.zero:
            entries += self._below_zero(at, scores, candidate & ~behind, above + unknown.sum(axis=1), owner, test)
        return entries

    def _below_zero(
        self, at: Int64, scores: Float32, usable: Bool, above: Int64, owner: Int64, test: Int32
    ) -> list[Entries]:
        """Entries of test items with a negative score, where the list reaches them."""
        entries: list[Entries] = []
        reached = self.filled[at[owner]] & usable[owner, test] & (scores[owner, test] < 0) & (above < self.depth)[owner]
        for a, i in zip(owner[reached], test[reached], strict=True):
            tolerance = self.tolerance[at[a]]
            gap = np.where(usable[a] & (scores[a] < 0), scores[a] - scores[a, i], -np.inf)
            first = above[a] + (gap > tolerance).sum()
            entries.append(tuple(np.array([x]) for x in (at[a], first, (np.abs(gap) <= tolerance).sum(), 1)))
        return entries
