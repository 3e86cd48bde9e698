"""Remedies: weights that keep eager users and popular items from deciding all, and lists that spread exposure.

An item's kinds are its genres, or whatever else parts the catalog: (n_items, kinds) float64 shares, see `item_kinds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Bool, Float32, Float64, Int32, Int64
from cofactor.audit.user_clusters import taste_groups
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.sparse import SparseRows, transposed
from cofactor.models.arguments import require_histories
from cofactor.recommender.recommender import Recommender
from cofactor.validation import require_valid_fields, validated

__all__ = [
    "CAUTIOUS",
    "PLAIN",
    "Remedy",
    "calibrated",
    "capped_weights",
    "group_weights",
    "item_kinds",
    "kinds_by_raters",
    "liked_kinds",
    "propensity_weights",
    "remedies",
    "spread",
]

CLIP = 10.0
"""A propensity weight is at most so many times the mean, and at least one of so many parts of it."""
TRUST = 0.99
"""How much of a list's kinds is taken at its word, see `calibrated`."""
DEPTH = 10
"""Lists of n are made again from the best DEPTH n."""
CELLS = 1 << 22
"""Numbers held at once while lists are calibrated: bounds the memory, changes no result."""
N_GROUPS = 10
"""Groups of users, or of items, where none are named."""

Weigh: TypeAlias = Callable[[Interactions], Interactions]
Rank: TypeAlias = Callable[[Recommender, Int32, int, np.random.Generator], Int32]


@dataclass(frozen=True)
class Remedy:
    """What is done against the loop: to the table before a fit, and in making lists.

        name    what tables and figures call it
        weigh   from a table to the same table, weighted; by default as it is
        rank    from a recommender, user rows (m,) int32, n and a random stream to lists (m, n) int32, -1 where
                one ends; by default the n best

    Those that are known to help are made by `remedies`; `PLAIN` does nothing, `CAUTIOUS` needs a distribution.

    >>> Remedy("light for the popular", weigh=propensity_weights).name
    'light for the popular'
    """

    name: str
    weigh: Weigh = lambda table: table
    rank: Rank = lambda rec, users, n, _: rec.rank(users, n)[0]

    def __post_init__(self) -> None:
        require_valid_fields(self)


PLAIN = Remedy("plain")
CAUTIOUS = Remedy("cautious ranking", rank=lambda rec, users, n, _: rec.rank(users, n, by="cautious")[0])
"""For models with a distribution, such as bayesian-mf; others raise KindError."""


def remedies(column: str | None = None) -> tuple[Remedy, ...]:
    """Those that every estimator of ratings can use; none is told who is eager, or for what.

    column: of the item table, the kinds of items; by default they are found, see `kinds_by_raters`, and what needs them
    does less. A column that is not there raises DataError when lists are made. Measured on 20 worlds in
    benchmarks/eager.md, with what fails.

    >>> import cofactor
    >>> [one.name for one in cofactor.audit.remedies()][:3]
    ['capped weight per user', 'taste groups count by people', 'popular items weigh less']
    """
    column = None if column is None else checks.text("column", column)

    def kinds(rec: Recommender) -> Float64:
        return kinds_by_raters(rec.histories, len(rec.items)) if column is None else item_kinds(rec.item_table, column)

    def spread_kinds(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
        return spread(*rec.rank(users, DEPTH * n), n, len(rec.items), strength=1.0, kinds=kinds(rec))

    def calibrate(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
        shares = kinds(rec)
        return calibrated(*rec.rank(users, DEPTH * n), n, shares, liked_kinds(rec.histories, shares)[users])

    return (
        Remedy("capped weight per user", weigh=capped_weights),
        Remedy("taste groups count by people", weigh=_by_people),
        Remedy("popular items weigh less", weigh=propensity_weights),
        Remedy("exposure spread over items", rank=_spread_items),
        Remedy("exposure spread over kinds", rank=spread_kinds),
        Remedy("lists calibrated to what one likes", rank=calibrate),
        Remedy("two places in ten explore", rank=_explore),
    )


# weights: the mean weight of the rows stays what it was, as penalties count rows


@validated
def capped_weights(interactions: Interactions, *, cap: float | None = None) -> Interactions:
    """The same rows, no user's counting for more than `cap` of another's.

        factor = min(1, cap / n)    of each of a user's n rows

    Scaled to the mean weight that there was; weights that are there are multiplied. cap: the median number of rows by
    default. A cap that nobody reaches changes nothing, nor is there anything to change without rows. Raises
    ParameterError for a cap that is not above 0.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana"] * 4 + ["bo"], [1, 2, 3, 4, 1], [5, 4, 4, 2, 5])
    >>> weights = cofactor.audit.capped_weights(ratings, cap=2).weights
    >>> (weights / weights.max()).tolist(), round(float(weights.sum()), 4)
    ([0.5, 0.5, 0.5, 0.5, 1.0], 5.0)
    """
    counts = require_interactions("interactions", interactions).by_user.counts
    cap = None if cap is None else checks.finite_number("cap", cap, above=0)
    if len(interactions) == 0:
        return interactions
    most = float(np.median(counts[counts > 0])) if cap is None else cap
    return _weighed(interactions, np.minimum(1.0, most / np.maximum(counts, 1))[interactions.u])


@validated
def group_weights(interactions: Interactions, groups: Any) -> Interactions:
    """The same rows, each group of users counting by its people, not by its ratings (post-stratification).

        factor of g = (users in g / all users) / (weight of g's rows / weight of all rows)

    groups (n_users,) whole numbers from 0 on, such as `taste_groups` finds; users without a row count for nothing. One
    group changes nothing. Source: Holt & Smith (1979), "Post stratification", JRSS A. Raises ParameterError for other
    groups.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana"] * 4 + ["bo"], [1, 2, 3, 4, 1], [5, 4, 4, 2, 5])
    >>> weights = cofactor.audit.group_weights(ratings, [0, 1]).weights
    >>> float(weights[:4].sum()), float(weights[4:].sum())
    (2.5, 2.5)
    """
    n_users = require_interactions("interactions", interactions).n_users
    labels = checks.whole_array("groups", groups, low=0, high=max(n_users - 1, 0), size=n_users)
    people = np.bincount(labels[interactions.by_user.counts > 0]).astype(np.float64)
    weight = np.bincount(labels[interactions.u], weights=interactions.weights, minlength=len(people)).astype(np.float64)
    factor = (people / people.sum()) / np.maximum(weight / max(weight.sum(), 1e-12), 1e-12)
    return _weighed(interactions, factor[labels[interactions.u]])


@validated
def propensity_weights(interactions: Interactions, *, power: float = 0.5) -> Interactions:
    """The same rows, those of popular items weighing less.

        factor = support_i^-power,    clipped to a tenth and to ten times the mean factor

    The chance that an item is rated is taken to grow with its support (inverse propensity: Schnabel et al. 2016,
    "Recommendations as treatments", ICML). Power 0 changes nothing, nor is there anything to change without rows.
    Raises ParameterError for a power outside 0..1.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 2, 3, 4, 1], [7, 7, 7, 7, 8], [5, 4, 4, 2, 5])
    >>> weights = cofactor.audit.propensity_weights(ratings).weights
    >>> ratings.frame()["item"].to_list(), (weights / weights.max()).tolist()
    ([7, 8, 7, 7, 7], [0.5, 1.0, 0.5, 0.5, 0.5])
    """
    require_interactions("interactions", interactions)
    power = checks.finite_number("power", power, low=0, high=1)
    if len(interactions) == 0:
        return interactions
    support = np.bincount(interactions.i, minlength=interactions.n_items)[interactions.i].astype(np.float64)
    weights = support**-power
    return _weighed(interactions, np.clip(weights / weights.mean(), 1 / CLIP, CLIP))


# kinds of items, and lists


@validated
def item_kinds(table: pl.DataFrame | None, column: str) -> Float64:
    """The kinds of items from a column of their table: an item of three genres is a third of each, of none 0.

    table: a row for each item, ids first. Gives (n_items, kinds) float64; rows sum to 1 or are 0. Raises DataError for
    no table and for a column that is not there, see `data.features.indicators`.

    >>> item_kinds(pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", "War"]}), "genres").tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    if table is not None:
        checks.instance("table", table, pl.DataFrame, "give the item table of the interactions")
    found = indicators(table, [checks.text("column", column)], "item")
    assert table is not None
    return found.shares(len(table))


@validated
def kinds_by_raters(histories: SparseRows, n_items: int, *, n_kinds: int = N_GROUPS, seed: int = 0) -> Float64:
    """Where no column tells kinds: clusters of items by who rated them, each item of one (see `taste_groups`).

    (n_items, kinds) float64, a single 1 in each row. Fewer than n_kinds where fewer items were rated; an item that
    nobody rated is of the largest. Raises ParameterError for n_kinds below 1, DataError for rows of more items or where
    nothing was rated.

    >>> rows = SparseRows.of([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 2, 3, 2, 3], [1] * 8, n_rows=4)
    >>> kinds = kinds_by_raters(rows, 4, n_kinds=2)
    >>> kinds.shape, bool((kinds[0] == kinds[1]).all()), bool((kinds[0] == kinds[2]).all())
    ((4, 2), True, False)
    """
    n_kinds = checks.whole_number("n_kinds", n_kinds, low=1)
    n_items = checks.whole_number("n_items", n_items, low=1, high=MOST_ROWS)
    require_histories(histories, n_items)
    checks.seed(seed)
    raters = transposed(histories, n_items)
    n_kinds = min(n_kinds, int((raters.counts > 0).sum()))
    if n_kinds == 0:
        raise DataError("nothing was rated, so raters tell no kinds of items: name a column of the item table")
    kinds: Float64 = np.eye(n_kinds)[taste_groups(raters, len(histories), n_groups=n_kinds, seed=seed)]
    return kinds


@validated
def liked_kinds(histories: SparseRows, kinds: Float64) -> Float64:
    """The mix of kinds among what each user rated at or above her own mean: (n_users, kinds) float64; rows sum to 1.

    kinds (n_items, kinds): shares. Of a user who rated nothing, or nothing of any kind, all are 0.

    >>> rows = SparseRows.of([0, 0, 0], [0, 1, 2], [5, 5, 1], n_rows=2)
    >>> liked_kinds(rows, np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    kinds = checks.number_array("kinds", kinds, (None, None))
    try:
        require_histories(histories, len(kinds))
    except DataError as problem:
        raise DataError(f"{problem}; kinds has {len(kinds):,} rows, one for each item") from None
    owner = np.repeat(np.arange(len(histories)), histories.counts)
    total = np.bincount(owner, weights=histories.values, minlength=len(histories))
    liked = histories.values >= (total / np.maximum(histories.counts, 1)).astype(np.float32)[owner]
    mix = np.zeros((len(histories), kinds.shape[1]))
    np.add.at(mix, owner[liked], kinds[histories.columns[liked]])
    size = mix.sum(axis=1, keepdims=True)
    shares: Float64 = np.divide(mix, size, out=mix, where=size > 0)
    return shares


@validated
def calibrated(
    lists: Int32, scores: Float32, n: int, kinds: Float64, wanted: Float64, *, strength: float = 0.5
) -> Int32:
    """The n best of longer lists whose kinds are mixed as each user wants them: (n_users, n) int32, by greedy picks.

        next pick = argmax over the rest of  (1 - strength) relevance_i - strength KL(wanted || mix of picks and i)

    Relevance is the score scaled to 0..1 over a user's list; in KL the mix counts 99 %, wanted 1 %, so that it is
    finite. Steck (2018), "Calibrated recommendations", RecSys. Equal values: the earlier place.

    lists, scores (n_users, m): as `Recommender.rank` gives them, -1 and -inf where a list ends; kinds (n_items, kinds):
    shares; wanted (n_users, kinds): rows sum to 1, or are 0 for no wish, see `liked_kinds`. strength 0 is the plain
    order. No lists give none; n is at most m. Raises ParameterError for a strength outside 0..1.

    >>> lists, scores = np.array([[0, 1, 2, 3]], np.int32), np.array([[4, 3, 2, 1]], np.float32)
    >>> kinds, wanted = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float), np.array([[0.5, 0.5]])
    >>> calibrated(lists, scores, 2, kinds, wanted, strength=0).tolist()
    [[0, 1]]
    >>> calibrated(lists, scores, 2, kinds, wanted).tolist()
    [[0, 2]]
    """
    strength, n = checks.finite_number("strength", strength, low=0, high=1), checks.whole_number("n", n, low=1)
    kinds = checks.number_array("kinds", kinds, (None, None))
    lists, scores = _checked_lists(lists, scores, len(kinds))
    wanted = checks.number_array("wanted", wanted, (len(lists), kinds.shape[1]))
    n = min(n, lists.shape[1])
    picks = np.empty((len(lists), n), np.int32)
    block = max(1, CELLS // max(lists.shape[1] * kinds.shape[1], 1))
    for first in range(0, len(lists), block):
        part = slice(first, first + block)
        there = lists[part] >= 0
        relevance = (1 - strength) * _relevance(scores[part], there)
        own = kinds[np.maximum(lists[part], 0)]
        places = _greedy(relevance, there, own, wanted[part], n, strength)
        picks[part] = np.take_along_axis(lists[part], places, axis=1)
    return picks


@validated
def spread(
    lists: Int32, scores: Float32, n: int, n_items: int, *, strength: float, kinds: Float64 | None = None
) -> Int32:
    """The n best of longer lists once items that are shown much cost something: (n_users, n) int32.

        score (in standard deviations of the user's list) - strength ln(1 + times shown / mean)

    lists, scores (n_users, m): as `Recommender.rank` gives them, -1 and -inf where a list ends. Times shown are those
    within the first n places of the lists as they are; with `kinds` (n_items, kinds), shares, those of an average item
    of the item's kinds. strength: 0 is the plain order. No lists give none. Raises ParameterError for a strength below
    0.

    >>> lists = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 3]], np.int32)
    >>> scores = np.array([[4.0, 3.9, 2.0]] * 3, np.float32)
    >>> spread(lists, scores, 1, 4, strength=0).tolist(), spread(lists, scores, 1, 4, strength=1).tolist()
    ([[0], [0], [0]], [[1], [2], [1]])
    """
    strength, n = checks.finite_number("strength", strength, low=0), checks.whole_number("n", n, low=1)
    n_items = checks.whole_number("n_items", n_items, low=1, high=MOST_ROWS)
    lists, scores = _checked_lists(lists, scores, n_items)
    kinds = None if kinds is None else checks.number_array("kinds", kinds, (n_items, None))
    first = lists[:, :n]
    shown = np.bincount(first[first >= 0], minlength=n_items).astype(np.float64)
    mean = max(shown.mean(), 1e-12)
    if kinds is None:
        cost = np.log1p(shown / mean)
    else:
        cost = kinds @ np.log1p(shown @ kinds / np.maximum(kinds.sum(axis=0), 1e-12) / mean)
    there = lists >= 0
    many = np.maximum(there.sum(axis=1, keepdims=True), 1)
    known = np.where(there, scores, 0).astype(np.float64)
    apart = np.where(there, known - known.sum(axis=1, keepdims=True) / many, 0)
    scaled = apart / np.maximum(np.sqrt(np.square(apart).sum(axis=1, keepdims=True) / many), 1e-12)
    worth = np.where(there, scaled - strength * cost[np.maximum(lists, 0)], -np.inf)
    order = np.argsort(-worth, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(lists, order, axis=1)


def _checked_lists(lists: Any, scores: Any, n_items: int) -> tuple[Int32, Float32]:
    """Validate lists and scores of shape (n_users, m), as `Recommender.rank` returns. Raises ParameterError."""
    rows, values = checks.as_array(lists), checks.as_array(scores)
    if rows.ndim != 2:
        raise ParameterError(f"lists must be item rows, a list of one length for each user, not {checks.shown(lists)}")
    rows = checks.row_numbers("lists", rows.ravel(), n_items, unknown=True).reshape(rows.shape)
    if values.shape != rows.shape or values.dtype.kind not in "iuf" or np.isnan(values).any():
        raise ParameterError(f"scores must be numbers of shape {rows.shape}, as lists, not {checks.shown(scores)}")
    return rows, values.astype(np.float32)


def _weighed(interactions: Interactions, factor: Float64) -> Interactions:
    """Weights times a factor (n,), scaled so that their sum stays."""
    before = np.ones(len(factor)) if interactions.weights is None else interactions.weights.astype(np.float64)
    after = before * factor
    total = after.sum()
    return interactions.with_weights((after * (before.sum() / total if total > 0 else 1.0)).astype(np.float32))


def _by_people(table: Interactions) -> Interactions:
    n_groups = min(N_GROUPS, int((table.by_user.counts > 0).sum()))
    return group_weights(table, taste_groups(table.by_user, table.n_items, n_groups=n_groups))


def _relevance(scores: Float32, there: Bool) -> Float64:
    """Scores scaled to 0..1 over each row's candidates; 0 where there is none."""
    low = np.where(there, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(there, scores, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    span = np.where(high > low, high - low, 1)
    return np.where(there, np.where(there, scores, 0) - np.where(there, low, 0), 0) / span.astype(np.float64)


def _greedy(relevance: Float64, there: Bool, own: Float64, wanted: Float64, n: int, strength: float) -> Int64:
    """Places of the picks, see `calibrated`: (m, n). relevance, there (m, c); own (m, c, kinds): the candidates'."""
    there, each = there.copy(), np.arange(len(own))
    wish, have = wanted[:, None, :], np.zeros((len(own), 1, own.shape[2]))
    picks = np.empty((len(own), n), np.int64)
    for place in range(n):
        mix = TRUST * (have + own) / (place + 1) + (1 - TRUST) * wish
        closeness = np.matmul(np.log(np.maximum(mix, 1e-300)), wanted[:, :, None])[:, :, 0]  # -KL, less a constant
        pick = np.where(there, relevance + strength * closeness, -np.inf).argmax(axis=1)
        ended = ~there.any(axis=1)  # then any place that holds no item
        picks[:, place] = np.where(ended, place, pick)
        there[each, pick] = False
        have[:, 0] += own[each, pick]
    return picks


def _spread_items(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
    return spread(*rec.rank(users, DEPTH * n), n, len(rec.items), strength=0.5)


def _explore(rec: Recommender, users: Int32, n: int, stream: np.random.Generator) -> Int32:
    """The best, but the last fifth of the places holds items drawn at random from the best half of the catalog."""
    lists, _ = rec.rank(users, max(n, len(rec.items) // 2))
    fixed = n - n // 5
    chance = stream.random(lists.shape)
    chance[:, :fixed] = -1
    chance[lists < 0] = 2
    order = np.argsort(chance, axis=1, kind="stable")[:, :n]
    order[:, :fixed] = np.arange(fixed)
    return np.take_along_axis(lists, order, axis=1)
