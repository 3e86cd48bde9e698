"""Ranked lists of a model and their ties, the input to the ranking metrics.

The module covers both the lists as the estimator ranks them and the lists as they are served. Each list is ranked once,
to one position more than needed. All scores are computed only for users whose scores tie at the end of the list, or for
whom the model has too little evidence to fill the list.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Float64, Int32, Int64
from cofactor.errors import DataError
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk_dense import score_blocks
from cofactor.metrics.ranking import Hits, find_hits
from cofactor.models.arguments import checked_batch
from cofactor.models.base import ScoresItems
from cofactor.models.user_batch import UserBatch
from cofactor.validation import validated

__all__ = ["ModelLists"]

TOLERANCE = 2.0**-19
"""Scores closer than this fraction of the user's largest score are tied; it exceeds float32 rounding errors."""


Entries: TypeAlias = tuple[Any, ...]
"""Arrays user, before, size and relevant for a set of groups, as in `Hits`."""


@dataclass(frozen=True, eq=False)
class ModelLists:
    """Ranked lists for a set of users and the positions of their test items, with ties; create with `ModelLists.of`.

    Attributes
    ----------
    rows : ndarray of shape (n_users, depth), int32
        Item row numbers, best first, padded with -1. A tied group that does not fit is cut arbitrarily.
    hits : Hits
        Test items in the lists as the estimator ranks them. Items without evidence form one tied group.
    served_hits : Hits
        Test items in the lists as served, in which items without evidence are ranked by popularity. The same object as
        `hits` if no list contains such items.
    list_counts : dict of int to ndarray of shape (n_items,), float64
        For each k, the expected number of lists that contain each item in the top k.
    show_probability : dict of int to ndarray of shape (n_items,), float64
        For each k, the probability that at least one list contains each item in the top k.
    """

    rows: Int32
    hits: Hits
    served_hits: Hits
    list_counts: dict[int, Float64]
    show_probability: dict[int, Float64]

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
        evidence: Bool = ALL_ROWS,
        support: Int64 | None = None,
    ) -> ModelLists:
        """Rank the catalog for a set of users, in lists as long as the largest cutoff in `ks`.

        Parameters
        ----------
        model : ScoresItems
            Fitted model.
        users : UserBatch
            Batch of n_users users of the model.
        ks : sequence of int
            Cutoffs, each at least 1.
        exclude : SparseRows
            One row for each of `users`, with the items to exclude from the list.
        relevant : SparseRows
            One row for each of `users`, with the test items.
        evidence : ndarray of shape (n_items,), bool
            Mask of the items for which the model has evidence; empty for all items.
        support : ndarray of shape (n_items,), int64, optional
            Number of ratings for each item; items without evidence are served in descending order of support. None
            treats them as equally popular.

        Returns
        -------
        ModelLists
            Ranked lists; empty if there are no users.

        Raises
        ------
        DataError
            If `model` does not score items.
        ParameterError
            If `users`, `ks` or `evidence` is invalid for the model.

        Examples
        --------
        >>> import cofactor
        >>> table = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 2, 3], kind="events")
        >>> model = cofactor.ItemKNN().fit(table.select([True, True, True, False]))
        >>> users = UserBatch.trained([1], SparseRows.of([1], [2], [1], 2))
        >>> test = SparseRows.of([0], [3], [1], 1)
        >>> lists = ModelLists.of(model, users, [2], exclude=users.histories, relevant=test)
        >>> lists.hits.before.tolist(), lists.hits.size.tolist()          # items 0, 1 and 3 tie
        ([0], [3])
        """
        if not isinstance(model, ScoresItems):
            raise DataError(f"model must be able to score items; got {checks.describe(model)}")
        users = checked_batch(model, users)
        ks = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH)
        if evidence is not ALL_ROWS and checks.as_array(evidence).shape != (0,):
            evidence = checks.mask("evidence", evidence, model.n_items)
        builder = _ListBuilder(model, users, sorted(set(ks)), exclude, relevant, evidence, support)
        return builder.lists()


@dataclass(eq=False)
class _ListBuilder:
    """Arguments of `ModelLists.of` and intermediate results."""

    model: Any
    users: UserBatch
    ks: list[int]
    exclude: SparseRows
    relevant: SparseRows
    evidence: Bool
    support: Int64 | None
    list_counts: dict[int, Float64] = field(default_factory=dict)
    log_p_not_shown: dict[int, Float64] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lists(self) -> ModelLists:
        """Rank items, find ties, and complete the tied groups that extend beyond the end of a list."""
        self.n_items, self.depth = int(self.model.n_items), self.ks[-1]
        if len(self.evidence) and self.evidence.all():
            self.evidence = ALL_ROWS
        self.zero_is_unknown = bool(self.model.zero_is_unknown)
        # Items without evidence are ranked behind all others.
        self.ranked_last = ALL_ROWS if self.zero_is_unknown or not len(self.evidence) else ~self.evidence
        self._rank_items()
        self._group_ties()
        user, position = find_hits(self.rows, self.relevant)
        has_no_ties = ~self.tied[user]
        self.entries: list[Entries] = [
            (
                user[has_no_ties],
                position[has_no_ties],
                np.ones(has_no_ties.sum(), np.int64),
                np.ones(has_no_ties.sum(), np.int64),
            )
        ]
        self.served_entries = [self.entries[0]]
        self._count_exposure()
        if len(self.incomplete):
            self._complete_lists()
        self._tied_entries(user[~has_no_ties], position[~has_no_ties])
        hits = self._hits(self.entries)
        return ModelLists(
            self.rows,
            hits,
            self._hits(self.served_entries) if self.needs_filling.any() else hits,
            self.list_counts,
            {k: 1 - np.exp(log_p) for k, log_p in self.log_p_not_shown.items()},
        )

    def _hits(self, entries: list[Entries]) -> Hits:
        """Merge entries into hits; the first entries belong to lists without ties."""
        if not any(len(user) for user, *_ in entries[1:]):
            user, position, _, _ = entries[0]
            return Hits.of_positions(user, position, self.relevant.counts, self.depth)
        user, before, size, relevant = (np.concatenate(part).astype(np.int64) for part in zip(*entries, strict=True))
        return Hits.of_groups(user, before, size, relevant, self.relevant.counts, self.depth)

    def _rank_items(self) -> None:
        """Rank `depth` + 1 items; the extra one shows whether the last group extends beyond the list."""
        n = min(self.depth + 1, self.n_items)
        allowed = ALL_ROWS if not len(self.ranked_last) else ~self.ranked_last
        rows, scores = self.model.top(self.users, n, exclude=self.exclude, allowed=allowed)
        n_missing = self.depth + 1 - n
        if n_missing:
            rows = np.pad(rows, ((0, 0), (0, n_missing)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, n_missing)), constant_values=-np.inf)
        self.rows, self.scores = rows[:, : self.depth], scores

    def _group_ties(self) -> None:
        """Find ties, and set `before` and `size` for each position in the lists with ties (the rows `tied_lists`)."""
        self.tolerance = self._tolerance()
        with np.errstate(invalid="ignore"):
            is_tied = self.scores[:, :-1] - self.scores[:, 1:] <= self.tolerance[:, None]  # nan (both -inf): False
        extends_past_end = is_tied[:, -1] & (self.scores[:, -1] > -np.inf)
        is_tied[:, -1] = extends_past_end
        is_too_short = np.zeros(len(is_tied), bool)
        if len(self.ranked_last):
            is_too_short = self.rows[:, -1] < 0
        self.tied = is_tied.any(axis=1) | is_too_short
        has_zero = np.zeros(len(is_tied), bool)
        if self.zero_is_unknown:
            has_zero = (self.scores[:, : self.depth] == 0).any(axis=1)
            self.tied |= has_zero
        self.tied_lists = np.flatnonzero(self.tied)
        self.slot = np.full(len(is_tied), -1)
        self.slot[self.tied_lists] = np.arange(len(self.tied_lists))
        starts = np.concatenate([np.ones((len(self.tied_lists), 1), bool), ~is_tied[self.tied_lists, :-1]], axis=1)
        positions = np.arange(self.depth)
        self.before = np.maximum.accumulate(np.where(starts, positions, 0), axis=1)
        end = np.where(np.roll(starts, -1, axis=1), positions + 1, self.depth)
        end[:, -1] = self.depth
        self.size = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1] - self.before
        self.extends_past_end, self.is_too_short, self.needs_filling = (
            extends_past_end,
            is_too_short,
            is_too_short | has_zero,
        )
        self.incomplete = np.flatnonzero(extends_past_end | self.needs_filling)

    def _tolerance(self) -> Float32:
        """Return the maximum difference between tied scores for each user: (n_users,) float32."""
        first_scores, last_scores = self.scores[:, 0], self.scores[:, -1].copy()
        for a in np.flatnonzero(last_scores == -np.inf):
            last_scores[a] = self.scores[a, max(int((self.rows[a] >= 0).sum()) - 1, 0)]
        largest_scores = np.where(
            np.isfinite(first_scores), np.maximum(np.abs(first_scores), np.abs(last_scores)), np.float32(0)
        )
        return (largest_scores * np.float32(TOLERANCE)).astype(np.float32)

    def _count_exposure(self) -> None:
        """Count the item exposure in lists without ties; `_tied_entries` and `_complete_lists` add the others."""
        lists = self.rows[~self.tied]
        for k in self.ks:
            rows = lists[:, :k]
            self.list_counts[k] = np.bincount(rows[rows >= 0], minlength=self.n_items).astype(np.float64)
            self.log_p_not_shown[k] = np.where(self.list_counts[k] > 0, -np.inf, 0.0)

    def _add_exposure(self, k: int, items: Any, p: Float64) -> None:
        """Add the exposure of `items`, (m,), which are shown with probabilities `p`."""
        self.list_counts[k] += np.bincount(items, weights=p, minlength=self.n_items)
        with np.errstate(divide="ignore"):
            self.log_p_not_shown[k] += np.bincount(items, weights=np.log1p(-p), minlength=self.n_items)

    def _tied_entries(self, user: Int64, position: Int64) -> None:
        """Add the entries of the tied lists after the sizes of their last groups are final."""
        slot = self.slot[user]
        entry = (user, self.before[slot, position], self.size[slot, position], np.ones(len(user), np.int64))
        self.entries.append(entry)
        by_model = ~self.needs_filling[user] | (self.scores[user, position] > 0 if self.zero_is_unknown else True)
        self.served_entries.append(tuple(part[by_model] for part in entry))
        rows = self.rows[self.tied_lists]
        for k in self.ks:
            p = np.clip((k - self.before) / self.size, 0, 1)
            has_chance = (rows >= 0) & (p > 0)
            self._add_exposure(k, rows[has_chance], p[has_chance])

    def _complete_lists(self) -> None:
        """Process the users for whom all scores are needed, block by block."""
        support = np.zeros(self.n_items, np.int64) if self.support is None else np.asarray(self.support)
        self.order = np.argsort(-support, kind="stable")
        negative_support = -support[self.order]
        self.run_start, self.run_end = (
            np.searchsorted(negative_support, -support, side=side) for side in ("left", "right")
        )
        parallel_for(self._complete_block, score_blocks(len(self.incomplete), self.n_items))

    def _complete_block(self, block: tuple[int, int]) -> None:
        """Add the entries and the exposure of the groups that lie only partly in the lists of a block."""
        lists = self.incomplete[slice(*block)]
        scores = self.model.scores(self.users.take(lists))
        exclude, relevant = self.exclude.take(lists), self.relevant.take(lists)
        candidate = np.ones(scores.shape, bool)
        candidate[exclude.owners, exclude.columns] = False
        owner, test = relevant.owners, relevant.columns
        is_candidate = candidate[owner, test]
        owner, test = owner[is_candidate], test[is_candidate]
        group, before, size = self._last_groups(lists, scores, candidate)
        in_group = group[owner, test]
        user = lists[owner[in_group]]
        last_entries = (user, before[owner[in_group]], size[owner[in_group]], np.ones(len(user), np.int64))
        served_hits = self._served_entries(lists, scores, candidate, owner, test)
        with self.lock:
            self.entries.append(last_entries)
            self.served_entries += [tuple(part[~self.needs_filling[user]] for part in last_entries), *served_hits]
            for k in self.ks:
                p = np.clip((k - before) / np.maximum(size, 1), 0, 1)
                a, items = np.nonzero(group & (p > 0)[:, None])
                self._add_exposure(k, items, p[a])

    def _last_groups(self, lists: Int64, scores: Float32, candidate: Bool) -> tuple[Bool, Int64, Int64]:
        """Return the group cut off by the end of each list: a mask of items outside the list, `before` and `size`."""
        rows, slot, is_too_short = self.rows[lists], self.slot[lists], self.is_too_short[lists]
        is_truncated = self.extends_past_end[lists] & ~is_too_short
        group = np.zeros(scores.shape, bool)
        last = self.scores[lists, self.depth - 1]
        group[is_truncated] = (
            np.abs(scores[is_truncated] - last[is_truncated, None]) <= self.tolerance[lists[is_truncated], None]
        )
        if len(self.ranked_last):
            group[:, self.ranked_last] = False
            group[is_too_short] = self.ranked_last
        group &= candidate
        group[np.repeat(np.arange(len(lists)), (rows >= 0).sum(axis=1)), rows[rows >= 0]] = False
        n_outside = group.sum(axis=1)
        before = np.where(is_too_short, (rows >= 0).sum(axis=1), self.before[slot, -1])
        self.size[slot] += (self.before[slot] == before[:, None]) * np.where(is_truncated, n_outside, 0)[:, None]
        return group, before, np.where(is_too_short, n_outside, self.size[slot, -1])

    def _served_entries(
        self, lists: Int64, scores: Float32, candidate: Bool, owner: Int32, test: Int32
    ) -> list[Entries]:
        """Return entries for the items ranked after those with evidence, in descending order of popularity."""
        without_evidence = ~self.evidence if len(self.evidence) else np.zeros(self.n_items, bool)
        lacks_evidence = (
            (scores == 0) & candidate & ~without_evidence if self.zero_is_unknown else np.zeros(scores.shape, bool)
        )
        n_positive = ((scores > 0) & candidate & ~without_evidence).sum(axis=1)
        needs_filling = self.needs_filling[lists]
        entries: list[Entries] = []
        for mask, first in (
            (lacks_evidence, n_positive),
            (candidate & without_evidence, (candidate & ~without_evidence).sum(axis=1)),
        ):
            in_mask = mask[owner, test] & needs_filling[owner]
            if not in_mask.any():
                continue
            n_before = np.zeros((len(lists), self.n_items + 1), np.int32)
            np.cumsum(mask[:, self.order], axis=1, out=n_before[:, 1:])
            a, i = owner[in_mask], test[in_mask]
            start = n_before[a, self.run_start[i]]
            entries.append(
                (lists[a], first[a] + start, n_before[a, self.run_end[i]] - start, np.ones(len(a), np.int64))
            )
        if self.zero_is_unknown:
            entries += self._negative_score_entries(
                lists, scores, candidate & ~without_evidence, n_positive + lacks_evidence.sum(axis=1), owner, test
            )
        return entries

    def _negative_score_entries(
        self, lists: Int64, scores: Float32, candidate: Bool, n_above: Int64, owner: Int32, test: Int32
    ) -> list[Entries]:
        """Return entries for test items with negative scores, in lists that are long enough to include them."""
        entries: list[Entries] = []
        is_visible = (
            self.needs_filling[lists[owner]]
            & candidate[owner, test]
            & (scores[owner, test] < 0)
            & (n_above < self.depth)[owner]
        )
        for a, i in zip(owner[is_visible], test[is_visible], strict=True):
            tolerance = self.tolerance[lists[a]]
            gap = np.where(candidate[a] & (scores[a] < 0), scores[a] - scores[a, i], -np.inf)
            first = n_above[a] + (gap > tolerance).sum()
            entries.append(tuple(np.array([x]) for x in (lists[a], first, (np.abs(gap) <= tolerance).sum(), 1)))
        return entries
