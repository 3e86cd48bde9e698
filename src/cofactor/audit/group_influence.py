"""Group influence: effect of a group of users on the recommendations for all other users.

To measure it, refit the recommender's estimator without the group's ratings, and count the positions in the other
users' lists that change. The reference lists come from a refit with all users and the same seed, so that only the group
makes the difference. A group's influence is compared with that of random groups of as many users, and with that of
random groups with as many ratings: a group that rates much can exceed the first without exceeding the second.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float64, Int32, Int64, random_stream
from cofactor.checks import MAX_SEED, Seed
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator
from cofactor.kernels.parallel import one_thread_blas, parallel_map
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Influence", "influence"]

MAX_USERS = 2_000
"""Default maximum number of users whose lists are compared."""

PERMUTATIONS, MAX_PERMUTATIONS = 99, 100_000
"""Default and maximum number of random partitions. With fewer than 99, no p-value can reach 0.01."""
LONG_LIST_FACTOR = 10
"""Length of the longer lists used for p-values, as a multiple of `n`; at most a quarter of the catalog."""
MAX_ROW_MATCHED_GROUPS = 20
"""Maximum number of random groups with as many ratings as a group."""
REPEATS, MAX_REPEATS = 10, 1_000
"""Default number of seeds for an estimator whose lists depend on the seed, and maximum number of seeds."""

RATIO_THRESHOLD, P_VALUE_THRESHOLD = 1.25, 0.01
"""A group is flagged if its influence ratio is at least the first value and its adjusted p-value at most the second."""
AGREEMENT_THRESHOLD = 0.8
"""A warning is issued if the refit reproduces a smaller fraction of the positions in the recommender's lists."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Influence of each group of users on the lists of all other users; returned by `influence`.

    Attributes
    ----------
    groups : pl.DataFrame
        One row per group, with the columns listed below.
    permutations : int
        Number of random partitions with which the groups were compared.
    repeats : int
        Number of seeds over which `influence` is averaged.
    agreement : float
        Fraction of the positions in the recommender's lists that the refit with all users reproduces, 0..1. If it is
        low, the audit describes other lists than those that users see.
    noise_floor : float
        Fraction of the list positions that change if all users are kept and only the seed changes, 0..1.

    Notes
    -----
    Columns of `groups`::

        group                group number, from 0
        users                number of users
        share_of_users       share of all users, 0..1
        share_of_rows        share of all rows, 0..1
        influence            fraction of positions in the other users' lists that change when the group is left out
        share_of_influence   share of the sum of `influence` over the groups
        permuted             mean influence of random groups of the same size
        ratio                influence / permuted
        permuted_rows        mean influence of random groups with the same number of rows
        ratio_rows           influence / permuted_rows
        p                    p-value of the group among random groups of the same size
        p_adjusted           p-value for the largest of all groups, which bounds the family-wise error
        flagged              ratio >= 1.25 and p_adjusted <= 0.01

    Examples
    --------
    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> result = cofactor.audit.influence(rec, np.arange(60) % 2, permutations=5)
    >>> result.groups["users"].to_list(), result.permutations, result.agreement
    ([30, 30], 5, 1.0)
    """

    groups: pl.DataFrame
    permutations: int
    repeats: int
    agreement: float
    noise_floor: float


@one_thread_blas()
@validated
def influence(
    recommender: Recommender,
    groups: Any,
    *,
    n: int = 10,
    permutations: int = PERMUTATIONS,
    repeats: int | None = None,
    max_users: int = MAX_USERS,
    seed: Seed = 0,
) -> Influence:
    """Measure the influence of each group of users on the lists of all other users.

    Parameters
    ----------
    recommender : Recommender
        Recommender with its estimator, which is refitted for each group and each random group. Choose one that is
        fitted quickly.
    groups : array_like of shape (n_users,), int
        Group number for each user row, from 0.
    n : int, default 10
        Length of the lists.
    permutations : int, default 99
        Number of random partitions for comparison, at least 2. With fewer than 99, no group can be flagged.
    repeats : int, optional
        Number of seeds over which the influence of the groups is averaged; by default 10 if the lists depend on the
        seed, as with random initial values, else 1. Random groups use one of the seeds each.
    max_users : int, default 2000
        Maximum number of users whose lists are compared; if there are more, a random sample is used.
    seed : int, Generator or None, default 0
        Seed for the permutations and for the sample of users; also that of the refits if the recommender does not
        contain the seed of its fit. The result is deterministic.

    Returns
    -------
    Influence
        One row per group. The influence of a group that contains all users or no users is 0.

    Raises
    ------
    ParameterError
        `groups` does not contain one nonnegative integer for each user, `permutations` is below 2, or the recommender
        has no estimator.
    DataError
        All rows outside a group have weight 0.
    DivergedError
        A refit diverged.

    Warns
    -----
    UserWarning
        The refit with all users reproduces less than 80 % of the recommender's list positions, for instance because
        users were added after the fit.

    Notes
    -----
    Small groups have little influence because of their size. Therefore the labels are permuted, which preserves the
    group sizes, and each group is compared with random groups of the same size. The p-values are exact for labels that
    are assigned at random: with B permutations, p = (1 + number of permutations that reach the group's value) /
    (1 + B). The value is the sum of two standardized shares of changed positions: in the lists of length n, and in
    lists ten times as long (at most a quarter of the catalog), which depend less on chance. For the adjusted p-value,
    the standardized value of a group is compared with the largest value of each permutation (Westfall & Young 1993).
    If several seeds are used, the p-values compare refits of a single seed.

    `permuted_rows` is the mean of up to 20 groups of users in random order, until their number of rows is nearest to
    that of the group. A group with a ratio above 1 and `ratio_rows` near 1 has influence because it rates more.

    References
    ----------
    Phipson & Smyth (2010), "Permutation p-values should never be zero", Statistical Applications in Genetics and
    Molecular Biology; Westfall & Young (1993), "Resampling-Based Multiple Testing".

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> is_active = (ratings.by_user.counts > 20).astype(int)
    >>> groups = cofactor.audit.influence(rec, is_active, permutations=10).groups
    >>> groups["share_of_rows"].round(2).to_list(), bool(groups["ratio"][1] > groups["ratio"][0])
    ([0.53, 0.47], True)
    """
    require_recommender("recommender", recommender)
    n_users = len(recommender.users)
    labels = checks.whole_array("groups", groups, low=0, high=max(n_users - 1, 0), size=n_users)
    permutations = checks.whole_number("permutations", permutations, low=2, high=MAX_PERMUTATIONS)
    n = checks.whole_number("n", n, low=1, high=checks.MAX_LIST_LENGTH)
    max_users, seed = checks.whole_number("max_users", max_users, low=1), checks.seed(seed)
    if repeats is not None:
        repeats = checks.whole_number("repeats", repeats, low=1, high=MAX_REPEATS)
    refits = _Refits.of(recommender, n, repeats, max_users, seed)
    if (agreement := refits.agreement(recommender)) < AGREEMENT_THRESHOLD:
        warnings.warn(
            f"a refit with all users reproduces only {agreement:.0%} of the list positions of this recommender, so its "
            "lists may depend on other groups; fit it again on its current users without early stopping, and pass the "
            "seed of that fit",
            stacklevel=4,
        )
    n_groups = int(labels.max(initial=0)) + 1
    members = [labels == g for g in range(n_groups)]

    def permuted_shares(k: int) -> Float64:
        shuffled = random_stream(seed, "permutation", k).permutation(labels)
        # with observed[0], which uses the first seed, all seeds are used equally often
        return refits.changed_shares((shuffled == g for g in range(n_groups)), (k + 1) % refits.repeats)

    def row_matched_shares(k: int) -> Float64:
        streams = [random_stream(seed, "rows", k, g) for g in range(n_groups)]
        draws = map(refits.row_matched_users, members, streams)
        return refits.changed_shares(draws, k % refits.repeats)

    observed = np.array(parallel_map(lambda k: refits.changed_shares(members, k), range(refits.repeats)))
    permuted = np.array(parallel_map(permuted_shares, range(permutations)))
    by_rows = np.array(parallel_map(row_matched_shares, range(min(permutations, MAX_ROW_MATCHED_GROUPS))))
    p, adjusted_p = _permutation_p_values(observed[0], permuted)
    shares, mean, mean_by_rows = (values[..., 0].mean(axis=0) for values in (observed, permuted, by_rows))
    ratio = shares / np.maximum(mean, 1e-12)
    users = np.bincount(labels, minlength=n_groups)
    rows = np.bincount(labels, weights=recommender.histories.counts, minlength=n_groups)
    table = pl.DataFrame(
        {
            "group": np.arange(n_groups),
            "users": users,
            "share_of_users": users / max(users.sum(), 1),
            "share_of_rows": rows / max(rows.sum(), 1),
            "influence": shares,
            "share_of_influence": shares / max(shares.sum(), 1e-12),
            "permuted": mean,
            "ratio": ratio,
            "permuted_rows": mean_by_rows,
            "ratio_rows": shares / np.maximum(mean_by_rows, 1e-12),
            "p": p,
            "p_adjusted": adjusted_p,
            "flagged": (ratio >= RATIO_THRESHOLD) & (adjusted_p <= P_VALUE_THRESHOLD),
        }
    )
    return Influence(table, permutations, refits.repeats, agreement, refits.noise_floor())


def _permutation_p_values(observed: Float64, permuted: Float64) -> tuple[Float64, Float64]:
    """Return the p-value of each group, and the p-value of the maximum over all groups.

    `observed` has shape (n_groups, n_lengths), and `permuted` (permutations, n_groups, n_lengths). The tested value is
    the sum of the standardized values over the lengths, standardized again. The observed values are included in all
    means and standard deviations, so that all permutations, the observed one included, are treated alike.
    """
    scores = _standardized(_standardized(np.concatenate([observed[None], permuted])).sum(axis=2))
    return (scores >= scores[0]).mean(axis=0), (scores.max(axis=1)[:, None] >= scores[0]).mean(axis=0)


def _standardized(values: Float64) -> Float64:
    """Return values with mean 0 and standard deviation 1 over the first axis, or 0 where all values are equal."""
    std = values.std(axis=0)
    scores: Float64 = np.divide(values - values.mean(axis=0), std, out=np.zeros_like(values), where=std > 0)
    return scores


@dataclass(frozen=True, eq=False)
class _Refits:
    """Refits of a recommender's estimator without groups of users, and the lists of a sample of users.

    Attributes
    ----------
    estimator : Estimator
        Estimator that ranks; of a pair of models, the ranker.
    table : Interactions
        Its training table.
    counts : ndarray of shape (n_users,)
        Number of rows of each user.
    users : ndarray of shape (n_sampled,), int32
        Users whose lists are compared.
    n : int
        Length of the lists.
    long_list_length : int
        Length of the longer lists, which include those of length n.
    repeats : int
        Number of seeds over which influence is averaged.
    seeds : tuple of int
        At least two seeds.
    reference : tuple of ndarray of shape (n_sampled, long_list_length), int32
        Lists with all users, for each seed.
    """

    estimator: Estimator
    table: Interactions
    counts: Int64
    users: Int32
    n: int
    long_list_length: int
    repeats: int
    seeds: tuple[int, ...]
    reference: tuple[Int32, ...] = ()

    @classmethod
    def of(cls, recommender: Recommender, n: int, repeats: int | None, max_users: int, seed: int) -> Self:
        if recommender.estimator is None:
            raise ParameterError("influence requires a recommender with its estimator; create it with Recommender.fit")
        estimator, table = recommender.estimator.ranking_part(_training_table(recommender))
        first_seed = seed if recommender.seed is None else recommender.seed
        seeds = tuple((first_seed + k) % (MAX_SEED + 1) for k in range(max(repeats or REPEATS, 2)))
        active = np.flatnonzero(table.by_user.counts)
        sample = random_stream(seed, "max_users").choice(active, min(max_users, len(active)), replace=False)
        users = np.sort(sample).astype(np.int32)
        long_list_length = max(n, min(LONG_LIST_FACTOR * n, table.n_items // 4))
        refits = cls(estimator, table, recommender.histories.counts, users, n, long_list_length, 1, seeds)
        no_removal = np.zeros(table.n_users, bool)
        first, second = (refits.lists(no_removal, users, s) for s in seeds[:2])
        if repeats is None:
            repeats = 1 if np.array_equal(first, second) else REPEATS
        others = parallel_map(lambda s: refits.lists(no_removal, users, s), seeds[2 : max(repeats, 2)])
        return replace(refits, repeats=repeats, reference=(first, second, *others))

    def lists(self, is_removed: Bool, users: Int32, seed: int) -> Int32:
        """Return the lists of users after a refit without the rows of the removed users."""
        table = self.table.select(~is_removed[self.table.u]) if is_removed.any() else self.table
        return Recommender.fit(self.estimator, table, seed=seed).for_rows(users).rank(self.long_list_length)[0]

    def changed_shares(self, groups: Iterable[Bool], repeat: int) -> Float64:
        """Return the fraction of positions in the other users' lists that change when each group is left out in turn.

        The result has shape (n_groups, 2); the columns are the fractions for lists of length n and for longer lists.
        """
        return np.array([self._changed_shares(group, repeat) for group in groups])

    def _changed_shares(self, group: Bool, repeat: int) -> tuple[float, float]:
        is_outside = ~group[self.users]
        if not group.any() or not is_outside.any():
            return 0.0, 0.0
        lists, reference = self.lists(group, self.users[is_outside], self.seeds[repeat]), self.reference[repeat]
        return (
            _changed_share(lists[:, : self.n], reference[is_outside, : self.n]),
            _changed_share(lists, reference[is_outside]),
        )

    def row_matched_users(self, group: Bool, stream: np.random.Generator) -> Bool:
        """Draw random users who together have about as many rows as a group; return their mask."""
        order = stream.permutation(len(self.counts))
        totals = np.concatenate([[0], np.cumsum(self.counts[order])])
        drawn = np.zeros(len(self.counts), bool)
        drawn[order[: np.abs(totals - self.counts[group].sum()).argmin()]] = True
        return drawn

    def agreement(self, recommender: Recommender) -> float:
        """Return the fraction of positions in the recommender's lists whose items are in the reference lists."""
        lists = recommender.for_rows(self.users).rank(self.n)[0]
        return 1 - _changed_share(self.reference[0][:, : self.n], lists)

    def noise_floor(self) -> float:
        """Return the mean fraction of positions of the first reference lists that change in refits with other seeds."""
        first, *others = (lists[:, : self.n] for lists in self.reference)
        return float(np.mean([_changed_share(lists, first) for lists in others]))


def _changed_share(lists: Int32, reference: Int32) -> float:
    """Return the fraction of positions in the reference lists whose items are missing from the other lists."""
    is_unchanged = (reference[:, :, None] == lists[:, None, :]).any(axis=2) & (reference >= 0)
    positions = int((reference >= 0).sum())
    return float(1 - is_unchanged.sum() / positions) if positions else 0.0


def _training_table(recommender: Recommender) -> Interactions:
    """Reconstruct the training table of a recommender from its histories."""
    histories, users, items = recommender.histories, recommender.users, recommender.items
    seen = None
    if recommender.seen is not None:
        rows = recommender.seen
        seen = Interactions(users, items, rows.owners.astype(np.int32), rows.columns, rows.values)
    return Interactions(
        users, items, histories.owners.astype(np.int32), histories.columns, histories.values, recommender.kind,
        histories.times, histories.weights, recommender.scale, recommender.user_table, recommender.item_table,
        seen=seen,
    )  # fmt: skip
