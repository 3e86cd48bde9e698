"""Influence: how much of what others are shown a group of users decides.

Take a group's ratings away, work the items out anew without them (one half-step, see `kernels.ridge`), then the other
users from those items (one more), and see how many places of the others' lists change. A fit that starts from a point
where it stands still is replaced so by its first answer to the change. The same two half-steps with everybody are what
it is compared with. A model with a sigmoid is taken as the weighted least squares of its last Gauss-Newton step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import erfc, sqrt
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream
from cofactor.cold_start.priors import eased_in
from cofactor.errors import KindError
from cofactor.kernels.gram import gram
from cofactor.kernels.normal_equations import equations, solved_each
from cofactor.kernels.ridge import Side
from cofactor.kernels.sparse import SparseRows, transposed
from cofactor.kernels.topk import ItemIndex, top_items
from cofactor.metrics.significance import holm
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, RatingsLoss
from cofactor.models.prior import Prior, Priors
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Influence", "influence"]

WATCHED = 500
"""Users whose lists are looked at, at most."""

MOST_PERMUTATIONS = 100_000
"""Permutations of one audit at most."""
FAR = 0.25
"""Half-steps with training's penalty that move the items by more of their length than this are not training's."""

FLAGGED_RATIO, FLAGGED_P = 1.25, 0.01
"""A group is flagged from this ratio to its permuted mean on, and up to this adjusted p."""


@dataclass(frozen=True, eq=False)
class Influence:
    """What each group of a partition decides of the others' lists; see `influence`, which makes it.

    One row of `groups` for each group:

        group, users, share_of_users, share_of_rows    which, how many, and how much they rate
        influence            the share of the others' places that change without it, 0..1
        share_of_influence   of the sum over the groups
        permuted             the mean influence of random groups of its size, `permutations` of them
        ratio                influence / permuted
        p, p_adjusted        one-sided, from a normal fitted to the permuted ones; corrected by Holm
        flagged              ratio at least 1.25 and p_adjusted at most 0.01

    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> found = cofactor.audit.influence(rec, np.arange(60) % 2, permutations=5)
    >>> found.groups["users"].to_list(), found.permutations
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
    watched: int = WATCHED,
    seed: int = 0,
) -> Influence:
    """Audit a partition: groups (n_users,) whole numbers from 0 on, one for each user.

    Random groups come from shuffling the labels, so that they have the same sizes: small groups look influential by
    their size alone. n: the length of lists; watched: users whose lists are looked at, at most. A group that is
    everybody or nobody changes no other's list: influence 0. Deterministic in the seed. Raises KindError for a model
    without factors learnt from least squares, ParameterError for other groups and fewer than two permutations.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> busy = (ratings.by_user.counts > 20).astype(int)
    >>> found = cofactor.audit.influence(rec, busy, permutations=10).groups
    >>> found["share_of_rows"].round(2).to_list(), bool(found["ratio"][1] > found["ratio"][0])
    ([0.53, 0.47], True)
    """
    require_recommender("recommender", recommender)
    n_users = len(recommender.users)
    labels = checks.whole_array("groups", groups, low=0, high=max(n_users - 1, 0), size=n_users)
    permutations, seed = (
        checks.whole_number("permutations", permutations, low=2, high=MOST_PERMUTATIONS),
        checks.seed(seed),
    )
    n = checks.whole_number("n", n, low=1, high=checks.LONGEST_LIST)
    watched = checks.whole_number("watched", watched, low=1)
    steps = _HalfSteps.of(recommender, n, watched, seed)
    n_groups = int(labels.max(initial=0)) + 1
    found = np.array([steps.changed(labels == g) for g in range(n_groups)])
    chance = np.empty((permutations, n_groups))
    for k in range(permutations):
        shuffled = random_stream(seed, "permutation", k).permutation(labels)
        chance[k] = [steps.changed(shuffled == g) for g in range(n_groups)]
    mean, sd = chance.mean(axis=0), chance.std(axis=0, ddof=1)
    p = np.array([0.5 * erfc(z / sqrt(2)) for z in (found - mean) / np.maximum(sd, 1e-12)])
    adjusted, ratio = np.asarray(holm(p)), found / np.maximum(mean, 1e-12)
    users = np.bincount(labels, minlength=n_groups)
    rows = np.bincount(labels, weights=recommender.histories.counts, minlength=n_groups)
    table = pl.DataFrame(
        {
            "group": np.arange(n_groups),
            "users": users,
            "share_of_users": users / max(users.sum(), 1),
            "share_of_rows": rows / max(rows.sum(), 1),
            "influence": found,
            "share_of_influence": found / max(found.sum(), 1e-12),
            "permuted": mean,
            "ratio": ratio,
            "p": p,
            "p_adjusted": adjusted,
            "flagged": (ratio >= FLAGGED_RATIO) & (adjusted <= FLAGGED_P),
        }
    )
    return Influence(table, permutations)


@dataclass(frozen=True, eq=False)
class _HalfSteps:
    """One item half-step and one user half-step, with some users' rows away; what they start from is made once.

    by_item: who rated each item, with targets, confidence of each entry    side: the users as an item sees them
    A (n_items, w, w), b (n_items, w): the items' equations with everybody    counts (n_items,): how many raters
    """

    model: FactorModel
    by_item: SparseRows
    targets: Float32
    confidence: Float32
    side: Side
    counts: Int64
    A: Float64
    b: Float64
    by_user: SparseRows
    watched: Int32
    seen: SparseRows
    n: int
    lists: Int32
    priors: Priors | None = None

    @classmethod
    def of(cls, recommender: Recommender, n: int, watched: int, seed: int) -> Self:
        model = recommender.model
        if (
            not isinstance(model, FactorModel)
            or not isinstance(model.loss, RatingsLoss | EventsLoss)
            or not model.factors
        ):
            raise KindError(
                "influence needs factors learnt from least squares: biased-mf, explicit-als or implicit-als"
            )
        entries = _working(model, recommender.histories)
        by_item = transposed(entries, model.n_items)
        side = _narrowed(_traced(model.loss.side(model.user_factors, model.user_bias, model.mean), model), model)
        confidence, targets = side.targets(by_item)
        A, b = equations(by_item, targets, confidence, side.features)
        has = np.flatnonzero(entries.counts)
        chosen = random_stream(seed, "watched").choice(has, min(watched, len(has)), replace=False)
        users = np.sort(chosen).astype(np.int32)
        nobody, nothing = np.zeros(model.n_users, bool), np.zeros((0, n), np.int32)
        steps = cls(
            model, by_item, targets, confidence, side, by_item.counts, A, b,
            entries.take(users), users, recommender.histories.take(users), n, nothing,
        )  # fmt: skip
        if steps._moved(nobody) > FAR:
            steps = replace(steps, priors=eased_in(recommender, seed=seed).priors)
        return replace(steps, lists=steps._ranked(nobody))

    def _moved(self, away: Bool) -> float:
        """How far an item half-step with training's penalty takes the factors, over how long they are."""
        moved, trained = self._items(away)[0], self.model.item_factors
        return float(np.linalg.norm(moved - trained) / max(float(np.linalg.norm(trained)), 1e-12))

    def changed(self, group: Any) -> float:
        """The share of places in the lists of watched users outside the group that change without it."""
        outside = ~group[self.watched]
        if not group.any() or not outside.any():
            return 0.0
        lists, before = self._ranked(group)[outside], self.lists[outside]
        kept = (lists[:, :, None] == before[:, None, :]).any(axis=2) & (lists >= 0)
        places = (before >= 0).sum()
        return float(1 - kept.sum() / max(places, 1))

    def _ranked(self, away: Bool) -> Int32:
        """The watched users' lists after both half-steps without the rows of those who are away."""
        model, loss = self.model, self.model.loss
        assert isinstance(loss, RatingsLoss | EventsLoss)
        factors, bias = self._items(away)
        side = _narrowed(_traced(loss.side(factors, bias, model.mean), model), model)
        confidence, targets = side.targets(self.by_user)
        A, b = equations(self.by_user, targets, confidence, side.features)
        if isinstance(loss, EventsLoss):
            A += side.gram
        penalty = loss.penalty(self.by_user.counts, model.n_items)
        users = _solved(A, b, side, penalty, None if self.priors is None else self.priors.users)
        rows, _ = top_items(
            np.ascontiguousarray(users[:, : model.factors]), ItemIndex.of(factors, bias), self.n,
            seen_start=self.seen.start, seen=self.seen.columns, allowed=np.zeros(0, bool),
        )  # fmt: skip
        return rows

    def _items(self, away: Bool) -> tuple[Float32, Float32]:
        """Factors and biases of the items without these users: their part of the equations taken away."""
        loss, side, k = self.model.loss, self.side, self.model.factors
        assert isinstance(loss, RatingsLoss | EventsLoss)
        gone = away[self.by_item.columns]
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(gone)])[self.by_item.start]
        theirs = SparseRows(start, self.by_item.columns[gone], self.by_item.values[gone])
        A, b = equations(theirs, self.targets[gone], self.confidence[gone], side.features)
        np.subtract(self.A, A, out=A)
        np.subtract(self.b, b, out=b)
        if isinstance(loss, EventsLoss):
            A += side.gram - np.float32(loss.alpha0) * gram(side.features[away])
        penalty = loss.penalty(self.counts - theirs.counts, int((~away).sum()))
        x = _solved(A, b, side, penalty, None if self.priors is None else self.priors.items)
        bias = x[:, k] if x.shape[1] > k else np.zeros(len(x), np.float32)
        return np.ascontiguousarray(x[:, :k]), np.ascontiguousarray(bias)


def _solved(A: Float64, b: Float64, side: Side, penalty: Float32, prior: Prior | None) -> Float32:
    """Every row's equations solved, with training's penalty or about a prior; A and b are written."""
    if prior is None:
        diagonal = np.arange(A.shape[1])
        A[:, diagonal, diagonal] += penalty.astype(np.float64)[:, None] * side.shape + side.precision
    else:
        A += prior.precision
        b += prior.precision @ prior.mean
    return solved_each(A, b).astype(np.float32)


def _working(model: FactorModel, histories: SparseRows) -> SparseRows:
    """The rows as a linear half-step reads them: of a sigmoid, the working response and its weight at the model."""
    assert isinstance(model.loss, RatingsLoss | EventsLoss)
    rows = model.loss.entries(histories)
    if model.rating_range is None:
        return rows
    users = np.repeat(np.arange(len(rows), dtype=np.int32), rows.counts)
    x = model.linear(users, rows.columns)
    low, high = model.rating_range
    share = np.clip((model.link(x) - low) / (high - low), 1e-3, 1 - 1e-3)
    slope = ((high - low) * share * (1 - share)).astype(np.float32)
    response = x + (rows.values - model.link(x)) / slope
    weights = slope**2 if rows.weights is None else slope**2 * rows.weights
    return SparseRows(rows.start, rows.columns, response.astype(np.float32), weights.astype(np.float32))


def _traced(side: Side, model: FactorModel) -> Side:
    """With a trace of penalty, for items that nobody is left to have rated."""
    trace = np.float32(1e-6) * np.square(model.user_factors).max(initial=1e-6)
    return replace(side, shape=np.maximum(side.shape, trace), precision=np.maximum(side.precision, trace))


def _narrowed(side: Side, model: FactorModel) -> Side:
    """Without the padding: the width is that of the unknowns alone."""
    w = model.factors + (isinstance(model.loss, RatingsLoss) and model.loss.l2_bias is not None)
    return replace(
        side,
        features=np.ascontiguousarray(side.features[:, :w]),
        gram=side.gram[:w, :w],
        shape=side.shape[:w],
        precision=side.precision[:w],
        prior=side.prior[:, :w],
    )
