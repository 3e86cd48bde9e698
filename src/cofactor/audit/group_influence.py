"""Group influence: effect of a group of users on the recommendations for all other users.

To measure it, recompute the items without the group's ratings (one half-step; see `kernels.ridge`), then recompute the
other users from those items (a second half-step), and count the list positions of the other users that change. The two
half-steps replace a full refit: for a model at a fixed point of training, they give its first-order response to the
removal. The reference lists come from the same two half-steps with all users. A model with a sigmoid is treated as the
weighted least-squares problem of its last Gauss-Newton step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan, cos, pi, sin, sqrt
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream
from cofactor.checks import Seed
from cofactor.errors import KindError
from cofactor.kernels.normal_equations import build_equations, solve_each
from cofactor.kernels.ridge import RidgeInputs
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import ItemIndex, top_items
from cofactor.metrics.significance import holm
from cofactor.models.factor import FactorModel
from cofactor.models.paired import PairedModel
from cofactor.models.prior import Prior, Priors
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Influence", "influence"]

MAX_USERS = 500
"""Default maximum number of users whose lists are compared."""

MAX_PERMUTATIONS = 100_000
"""Maximum number of permutations in an audit."""
MAX_SHIFT = 0.25
"""Relative change in the item factors above which a half-step with the training penalty does not reproduce training."""

RATIO_THRESHOLD, P_VALUE_THRESHOLD = 1.25, 0.01
"""A group is flagged if its influence ratio is at least the first value and its adjusted p-value at most the second."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Influence of each group of users on the lists of all other users; returned by `influence`.

    Attributes
    ----------
    groups : pl.DataFrame
        One row per group, with the columns listed below.
    permutations : int
        Number of random partitions with which the groups were compared.

    Notes
    -----
    Columns of `groups`::

        group                group number, from 0
        users                number of users
        share_of_users       share of all users, 0..1
        share_of_rows        share of all rows, 0..1
        influence            share of the other users' list positions that change without the group, 0..1
        share_of_influence   share of the sum of `influence` over the groups
        permuted             mean influence of random groups of the same size
        ratio                influence / permuted
        p                    one-sided p-value, from Student's t distribution fitted to the permuted influences
        p_adjusted           p-value adjusted with Holm's method
        flagged              ratio >= 1.25 and p_adjusted <= 0.01

    Examples
    --------
    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> result = cofactor.audit.influence(rec, np.arange(60) % 2, permutations=5)
    >>> result.groups["users"].to_list(), result.permutations
    ([30, 30], 5)
    """

    groups: pl.DataFrame
    permutations: int


@validated
def influence(
    recommender: Recommender,
    groups: Any,
    *,
    n: int = 10,
    permutations: int = 50,
    max_users: int = MAX_USERS,
    seed: Seed = 0,
) -> Influence:
    """Measure the influence of each group of users on the lists of all other users.

    Parameters
    ----------
    recommender : Recommender
        Recommender with a factor model fitted by least squares: biased-mf, explicit-als or implicit-als. For a pair of
        models, the lists are those of its rating model.
    groups : array_like of shape (n_users,), int
        Group number for each user row, from 0.
    n : int, default 10
        Length of the lists.
    permutations : int, default 50
        Number of random partitions for comparison, at least 2.
    max_users : int, default 500
        Maximum number of users whose lists are compared; if there are more, a random sample is used.
    seed : int, Generator or None, default 0
        Seed for the permutations and for the sample of users. The result is deterministic.

    Returns
    -------
    Influence
        One row per group. The influence of a group that contains all users or no users is 0.

    Raises
    ------
    KindError
        The model does not have factors fitted by least squares.
    ParameterError
        `groups` does not contain one nonnegative integer for each user, or `permutations` is below 2.

    Notes
    -----
    Small groups have little influence because of their size. Therefore the labels are permuted, which preserves the
    group sizes, and each group is compared with random groups of the same size. The p-value is that of a prediction
    interval: t = (influence - permuted) / (s sqrt(1 + 1 / permutations)), with the standard deviation s of the permuted
    influences and permutations - 1 degrees of freedom.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics.

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
    permutations, seed = (
        checks.whole_number("permutations", permutations, low=2, high=MAX_PERMUTATIONS),
        checks.seed(seed),
    )
    n = checks.whole_number("n", n, low=1, high=checks.MAX_LIST_LENGTH)
    max_users = checks.whole_number("max_users", max_users, low=1)
    if isinstance(recommender.model, PairedModel):
        recommender = replace(recommender, model=recommender.model.rating_model, priors=None)
    steps = _HalfSteps.of(recommender, n, max_users, seed)
    n_groups = int(labels.max(initial=0)) + 1
    observed_shares = np.array([steps.changed_share(labels == g) for g in range(n_groups)])
    permuted_shares = np.empty((permutations, n_groups))
    for k in range(permutations):
        shuffled_labels = random_stream(seed, "permutation", k).permutation(labels)
        permuted_shares[k] = [steps.changed_share(shuffled_labels == g) for g in range(n_groups)]
    mean, std = permuted_shares.mean(axis=0), permuted_shares.std(axis=0, ddof=1)
    deviations = (observed_shares - mean) / np.maximum(std * sqrt(1 + 1 / permutations), 1e-12)
    p = np.array([_upper_tail(t, permutations - 1) for t in deviations.tolist()])
    adjusted_p, ratio = np.asarray(holm(p)), observed_shares / np.maximum(mean, 1e-12)
    users = np.bincount(labels, minlength=n_groups)
    rows = np.bincount(labels, weights=recommender.histories.counts, minlength=n_groups)
    table = pl.DataFrame(
        {
            "group": np.arange(n_groups),
            "users": users,
            "share_of_users": users / max(users.sum(), 1),
            "share_of_rows": rows / max(rows.sum(), 1),
            "influence": observed_shares,
            "share_of_influence": observed_shares / max(observed_shares.sum(), 1e-12),
            "permuted": mean,
            "ratio": ratio,
            "p": p,
            "p_adjusted": adjusted_p,
            "flagged": (ratio >= RATIO_THRESHOLD) & (adjusted_p <= P_VALUE_THRESHOLD),
        }
    )
    return Influence(table, permutations)


def _upper_tail(t: float, degrees_of_freedom: int) -> float:
    """Compute P(T > t) of Student's t distribution by its finite sum for whole degrees of freedom.

    Abramowitz & Stegun (1964), "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.
    """
    theta = atan(t / sqrt(degrees_of_freedom))
    first = degrees_of_freedom % 2
    # sum of the powers first, first + 2, ..., degrees_of_freedom - 2 of cos theta
    k = np.arange(2 + first, degrees_of_freedom, 2)
    terms = np.cumprod(np.concatenate([[cos(theta) ** first], (k - 1) / k * cos(theta) ** 2]))
    total = sin(theta) * float(terms.sum()) if degrees_of_freedom > 1 else 0.0
    central = (2 / pi) * (theta + total) if first else total
    return max((1 - central) / 2, 0.0)


@dataclass(frozen=True, eq=False)
class _HalfSteps:
    """Item half-step and user half-step that exclude the rows of a group; shared parts are computed once.

    Attributes
    ----------
    by_item : SparseRows
        Raters of each item; `targets` and `confidence` hold one value per entry.
    side : RidgeInputs
        User side of the item half-step.
    counts : ndarray of shape (n_items,)
        Number of raters of each item.
    A : ndarray of shape (n_items, w, w)
        Normal equations of the items with all users.
    b : ndarray of shape (n_items, w)
        Right-hand sides of the normal equations.
    """

    model: FactorModel
    by_item: SparseRows
    targets: Float32
    confidence: Float32
    side: RidgeInputs
    counts: Int64
    A: Float64
    b: Float64
    by_user: SparseRows
    sampled_users: Int32
    seen: SparseRows
    n: int
    lists: Int32
    priors: Priors | None = None

    @classmethod
    def of(cls, recommender: Recommender, n: int, max_users: int, seed: int) -> Self:
        model = recommender.model
        if not isinstance(model, FactorModel) or not model.factors:
            raise KindError(
                "influence requires factors fitted by least squares; fit biased-mf, explicit-als or implicit-als"
            )
        entries = _linearize(model, recommender.histories)
        by_item = entries.transpose(model.n_items)
        side = model.least_squares.ridge_inputs(model.user_factors, model.user_bias, model.mean)
        side = _without_padding(_with_minimal_penalty(side, model), model)
        confidence, targets = side.targets(by_item)
        A, b = build_equations(by_item, targets, confidence, side.features)
        active = np.flatnonzero(entries.counts)
        sample = random_stream(seed, "max_users").choice(active, min(max_users, len(active)), replace=False)
        users = np.sort(sample).astype(np.int32)
        no_removal, empty_lists = np.zeros(model.n_users, bool), np.zeros((0, n), np.int32)
        steps = cls(
            model, by_item, targets, confidence, side, by_item.counts, A, b,
            entries.take(users), users, recommender.histories.take(users), n, empty_lists,
        )  # fmt: skip
        if steps._relative_shift(no_removal) > MAX_SHIFT:
            steps = replace(steps, priors=recommender.ensure_priors(seed=seed).priors)
        return replace(steps, lists=steps._top_lists(no_removal))

    def _relative_shift(self, is_removed: Bool) -> float:
        """Return the relative change in the item factors after a half-step with the training penalty."""
        shifted_factors, trained_factors = self._items(is_removed)[0], self.model.item_factors
        return float(
            np.linalg.norm(shifted_factors - trained_factors) / max(float(np.linalg.norm(trained_factors)), 1e-12)
        )

    def changed_share(self, group: Any) -> float:
        """Return the fraction of list positions of sampled users outside the group that change if it is removed."""
        is_outside = ~group[self.sampled_users]
        if not group.any() or not is_outside.any():
            return 0.0
        lists, reference_lists = self._top_lists(group)[is_outside], self.lists[is_outside]
        is_unchanged = (lists[:, :, None] == reference_lists[:, None, :]).any(axis=2) & (lists >= 0)
        positions = (reference_lists >= 0).sum()
        return float(1 - is_unchanged.sum() / max(positions, 1))

    def _top_lists(self, is_removed: Bool) -> Int32:
        """Return the lists of the sampled users after both half-steps without the rows of the removed users."""
        model, loss = self.model, self.model.least_squares
        factors, bias = self._items(is_removed)
        side = _without_padding(_with_minimal_penalty(loss.ridge_inputs(factors, bias, model.mean), model), model)
        confidence, targets = side.targets(self.by_user)
        A, b = build_equations(self.by_user, targets, confidence, side.features)
        if side.gram.size:
            A += side.gram
        penalty = loss.penalty(self.by_user.counts, model.n_items)
        users = _solve(A, b, side, penalty, None if self.priors is None else self.priors.users)
        rows, _ = top_items(
            np.ascontiguousarray(users[:, : model.factors]), ItemIndex.of(factors, bias), self.n,
            seen_start=self.seen.start, seen=self.seen.columns, allowed=np.zeros(0, bool),
        )  # fmt: skip
        return rows

    def _items(self, is_removed: Bool) -> tuple[Float32, Float32]:
        """Compute item factors and biases after subtracting the removed users from the normal equations."""
        loss, side, k = self.model.least_squares, self.side, self.model.factors
        entries = is_removed[self.by_item.columns]
        rows = self.by_item.with_values(self.by_item.values).filter(entries)
        A, b = build_equations(rows, self.targets[entries], self.confidence[entries], side.features)
        np.subtract(self.A, A, out=A)
        np.subtract(self.b, b, out=b)
        if side.gram.size:
            A += side.gram - loss.unobserved_gram(side.features[is_removed])
        penalty = loss.penalty(self.counts - rows.counts, int((~is_removed).sum()))
        prior = None if self.priors is None else self.priors.items
        solution = _solve(A, b, side, penalty, prior if isinstance(prior, Prior) else None)
        bias = solution[:, k] if solution.shape[1] > k else np.zeros(len(solution), np.float32)
        return np.ascontiguousarray(solution[:, :k]), np.ascontiguousarray(bias)


def _solve(A: Float64, b: Float64, side: RidgeInputs, penalty: Float32, prior: Prior | None) -> Float32:
    """Solve the normal equations of each row with the training penalty or with a prior; A and b are overwritten."""
    if prior is None:
        diagonal = np.arange(A.shape[1])
        A[:, diagonal, diagonal] += penalty.astype(np.float64)[:, None] * side.shape + side.precision
    else:
        A += prior.precision
        b += prior.precision @ prior.mean
    return solve_each(A, b).astype(np.float32)


def _linearize(model: FactorModel, histories: SparseRows) -> SparseRows:
    """Return the rows for a linear half-step; with a sigmoid, they are the working responses and weights."""
    rows = model.least_squares.entries(histories)
    if model.rating_range is None:
        return rows
    users = rows.owners
    x = model.raw_scores(users, rows.columns)
    low, high = model.rating_range
    share = np.clip((model.link(x) - low) / (high - low), 1e-3, 1 - 1e-3)
    slope = ((high - low) * share * (1 - share)).astype(np.float32)
    response = x + (rows.values - model.link(x)) / slope
    weights = slope**2 if rows.weights is None else slope**2 * rows.weights
    return SparseRows(rows.start, rows.columns, response.astype(np.float32), weights.astype(np.float32))


def _with_minimal_penalty(side: RidgeInputs, model: FactorModel) -> RidgeInputs:
    """Add a minimal penalty so that the equations for items without remaining raters can be solved."""
    minimum = np.float32(1e-6) * np.square(model.user_factors).max(initial=1e-6)
    return replace(side, shape=np.maximum(side.shape, minimum), precision=np.maximum(side.precision, minimum))


def _without_padding(side: RidgeInputs, model: FactorModel) -> RidgeInputs:
    """Remove the padding so that the width equals the number of unknowns."""
    w = model.least_squares.n_unknowns(model.factors)
    return replace(
        side,
        features=np.ascontiguousarray(side.features[:, :w]),
        gram=side.gram[:w, :w],
        shape=side.shape[:w],
        precision=side.precision[:w],
        prior=side.prior[:, :w],
    )
