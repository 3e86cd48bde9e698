"""The feedback loop: a recommender that learns from what people took of what it showed them, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float32, Float64, Int32, Int64, random_stream, read_only
from cofactor.audit.mitigations import PLAIN, Remedy
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.kernels.sort import sorted_pairs
from cofactor.metrics.catalog import coverage, gini
from cofactor.metrics.catalog import exposure as times_shown
from cofactor.models.base import PredictsRatings
from cofactor.recommender.recommender import Recommender, checked_estimator, require_recommender
from cofactor.validation import validated

__all__ = ["Simulation", "Tastes", "simulate"]

STEEP, MIDDLE = 2.0, 3.5
"""A looked-at item is taken with probability sigmoid(STEEP (true rating - MIDDLE)), in stars from 1 to 5."""

MOST_ROUNDS = 10_000
"""Rounds of one simulation at most."""
STEPS = 21
"""So many levels, evenly spaced, where ratings are from a range without levels."""


@dataclass(frozen=True, eq=False)
class Tastes:
    """What people would truly say: of a made-up world, or by a fitted model (`Tastes.of`).

    Attributes:

        expected: (n_users, n_items) float64: the mean of each user's ratings of each item.
        noise_sd: of a single rating about it.
        levels: the ratings that can be given.
        steep, middle: a looked-at item is taken with probability sigmoid(steep (true rating - middle)).

    >>> true = Tastes(np.array([[5.0, 1.0]]), noise_sd=0.5, levels=(1.0, 2.0, 3.0, 4.0, 5.0))
    >>> true.taken([0, 0], [0, 1]).round(2).tolist()
    [0.95, 0.01]
    """

    expected: Float64
    noise_sd: float
    levels: tuple[float, ...]
    steep: float = STEEP
    middle: float = MIDDLE

    def __post_init__(self) -> None:
        checks.number_array("expected", self.expected, (None, None))
        checks.finite_number("noise_sd", self.noise_sd, low=0)
        if len(checks.number_array("levels", self.levels, (None,))) == 0:
            raise ParameterError("levels must contain at least one rating")
        checks.finite_number("steep", self.steep)
        checks.finite_number("middle", self.middle)

    @classmethod
    @validated
    def of(cls, recommender: Recommender, *, noise_sd: float | None = None) -> Self:
        """What a fitted model of ratings holds to be true, so that the loop runs on any table, such as MovieLens.

        Fit it on rows that the loop does not begin with, such as the other half (a split keeps all ids): else the loop
        is judged by what it has learnt from. noise_sd: by default that of the model's errors on its own rows. levels:
        those of its rows; steep and middle are stretched to where 1 to 5 would lie on them. Raises KindError for
        events, ParameterError for a negative noise_sd, DataError where the model has no rows.

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
        >>> tastes = cofactor.audit.Tastes.of(cofactor.Recommender.fit(cofactor.Bias(), ratings))
        >>> tastes.expected.shape, tastes.levels
        ((3, 3), (2.0, 3.0, 4.0, 5.0))
        """
        model, known = require_recommender("recommender", recommender).model, recommender.histories
        if recommender.kind != "ratings" or not isinstance(model, PredictsRatings):
            raise KindError("tastes come from a model that predicts ratings, such as biased-mf")
        noise_sd = None if noise_sd is None else checks.finite_number("noise_sd", noise_sd, low=0)
        if len(known.values) == 0:
            raise DataError("tastes come from a model with rows of its own, and this one has none")
        items = np.arange(len(recommender.items), dtype=np.int32)
        expected = np.empty((len(recommender.users), len(items)))
        for user in range(len(expected)):
            expected[user] = model.predict(np.full(len(items), user, np.int32), items, known)
        owner = np.repeat(np.arange(len(known)), known.counts)
        if noise_sd is None:
            noise_sd = float(np.sqrt(np.mean((known.values - expected[owner, known.columns]) ** 2)))
        scale = Scale.of(known.values)
        levels = scale.levels or tuple(np.linspace(scale.low, scale.high, STEPS).tolist())
        star = (scale.high - scale.low) / 4 or 1.0
        return cls(read_only(expected), noise_sd, levels, STEEP / star, scale.low + (MIDDLE - 1) * star)

    @validated
    def favorites(self, kinds: Float64) -> Int64:
        """The kind whose items each user would rate highest on average: (n_users,) int64.

        kinds (n_items, kinds): shares, see `item_kinds`. Equal ones: the first; a kind without items is nobody's.
        """
        kinds = checks.number_array("kinds", kinds, (self.expected.shape[1], None))
        size = kinds.sum(axis=0)
        mean = np.divide(
            self.expected @ kinds, size, out=np.full((len(self.expected), len(size)), -np.inf), where=size > 0
        )
        favorites: Int64 = mean.argmax(axis=1)
        return favorites

    @validated
    def ratings(self, u: Any, i: Any, stream: np.random.Generator) -> Float32:
        """Ratings as given, (n,) float32: the expected one with noise, at the nearest level; u, i (n,) row numbers."""
        levels, (u, i) = np.asarray(self.levels), self._pairs(u, i)
        if u.ndim != 1 or u.shape != i.shape:
            raise ParameterError(f"u and i must be row numbers of shape (n,), not of shapes {u.shape} and {i.shape}")
        said = self.expected[u, i] + self.noise_sd * stream.standard_normal(len(u))
        given: Float32 = levels[np.abs(said[:, None] - levels).argmin(axis=1)].astype(np.float32)
        return given

    @validated
    def taken(self, u: Any, i: Any) -> Float64:
        """The probability that a looked-at item is taken: float64.

            sigmoid(steep (expected_ui - middle))

        u, i: row numbers, broadcast.
        """
        u, i = self._pairs(u, i)
        chance: Float64 = 1 / (1 + np.exp(-self.steep * (self.expected[u, i] - self.middle)))
        return chance

    def _pairs(self, u: Any, i: Any) -> tuple[Any, Any]:
        return checks.broadcast_rows(("u", "i"), (u, i), self.expected.shape)


@dataclass(frozen=True, eq=False)
class Simulation:
    """What happened; see `simulate`, which makes it.

    Attributes:

        remedy: its name.
        lists: (rounds, n_users, n) int32: what everybody was shown.
        accuracy: (rounds, n_users): true-taste NDCG, with the probability that an item is taken for its gain, against
            the best list of items not yet rated.
        table: all rows after the last round.
        tastes: what people truly like.

    Accuracy is 0 for a user with nothing left to find.

    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import World, generate
    >>> made = generate(World(n_users=60, n_items=40, n_ratings=300, genres=4))
    >>> true = made.expected(np.arange(60)[:, None], np.arange(40))
    >>> tastes = cofactor.audit.Tastes(true, noise_sd=0.8, levels=made.world.levels)
    >>> found = cofactor.audit.simulate(cofactor.Bias(), made.interactions, tastes, rounds=2, n=5)
    >>> found.summary(np.eye(4)[made.genre]).columns[:4]
    ['remedy', 'round', 'accuracy', 'coverage']
    """

    remedy: str
    lists: Int32
    accuracy: Float64
    table: Interactions
    tastes: Tastes

    @validated
    def share(self, items: Any, users: Any) -> Float64:
        """Which share of the places of `users` (n_users,) bool shows `items` (n_items,) bool: (rounds,) float64.

        0 where nothing is shown to them.
        """
        lists = self.lists[:, checks.mask("users", users, self.lists.shape[1])]
        shown = checks.mask("items", items, self.table.n_items)[np.maximum(lists, 0)] & (lists >= 0)
        share: Float64 = shown.sum(axis=(1, 2)) / np.maximum((lists >= 0).sum(axis=(1, 2)), 1)
        return share

    @validated
    def summary(self, kinds: Float64, *, users: Any = None) -> pl.DataFrame:
        """What was shown to `users` (n_users,) bool, by default all, and how good it was: one row for each round.

            remedy, round        its name; from 1; so frames of several remedies can be stacked and drawn
            accuracy             mean true-taste NDCG
            coverage, gini       of the catalog shown to them, see `metrics.catalog`
            diversity            1 - mean cosine of the kinds of two places of a list (Ziegler et al. 2005, WWW)
            most_shown           the share of all places that the kind shown most in this round has
            favorite             the share of their places showing each one's own favorite kind, see `Tastes.favorites`
            drift                favorite in round 1 less that of this round: above 0, lists have moved away

        kinds (n_items, kinds): shares, see `remedies.item_kinds`. To see what happens to minority tastes, give the
        users whose favorite is not the kind that is shown most. Where nothing is shown, shares are 0, gini and
        diversity nan.
        """
        n_users = self.lists.shape[1]
        everyone = np.ones(n_users, bool) if users is None else checks.mask("users", users, n_users)
        kinds = checks.number_array("kinds", kinds, (self.table.n_items, None))
        if kinds.shape[1] == 0:
            raise ParameterError("kinds must have a column for each kind of items, and it has none")
        chosen, own = self.lists[:, everyone], self.tastes.favorites(kinds)[everyone]
        rows = []
        for lists, accuracy in zip(chosen, self.accuracy[:, everyone], strict=True):
            shown = times_shown(lists, len(kinds))
            mix = shown @ kinds / max(shown.sum(), 1)
            liked = np.where(lists >= 0, kinds[np.maximum(lists, 0), own[:, None]], 0).sum() / max(shown.sum(), 1)
            mean = float(accuracy.mean()) if len(accuracy) else np.nan
            rows.append((mean, coverage(shown), gini(shown), _diversity(lists, kinds), float(mix.max()), float(liked)))
        columns = ["accuracy", "coverage", "gini", "diversity", "most_shown", "favorite"]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.Float64), orient="row")
        named = frame.select(
            pl.lit(self.remedy).alias("remedy"), pl.int_range(1, pl.len() + 1).alias("round"), *columns
        )
        return named.with_columns(drift=pl.col("favorite").first() - pl.col("favorite"))


@validated
def simulate(
    estimator: Estimator,
    table: Interactions,
    tastes: Tastes,
    *,
    remedy: Remedy = PLAIN,
    rounds: int = 10,
    n: int = 10,
    looks: int | Sequence[int] | Int64 = 1,
    seed: int = 0,
) -> Simulation:
    """Rounds of: fit on all rows there are, show everybody the n best unseen items, let them look and take.

    In a round user u looks at looks[u] different places, rank r with chance proportional to 1 / r; what is taken is
    rated by true taste and noise, and is learnt from in the next round; times are left out. Deterministic in the seed.
    n is at most the number of items.
    looks: one number from 0 on for all, or one for each user. Raises KindError for events, ParameterError for tastes of
    another size, for other looks and for rounds or n below 1, DataError for a table without rows.

    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import World, generate
    >>> made = generate(World(n_users=60, n_items=40, n_ratings=300))
    >>> true = made.expected(np.arange(60)[:, None], np.arange(40))
    >>> tastes = cofactor.audit.Tastes(true, noise_sd=0.8, levels=made.world.levels)
    >>> found = cofactor.audit.simulate(cofactor.Bias(), made.interactions, tastes, rounds=3, n=5)
    >>> found.lists.shape, found.accuracy.shape, len(found.table) > 300
    ((3, 60, 5), (3, 60), True)
    """
    checked_estimator(estimator)
    require_interactions("table", table)
    checks.instance("tastes", tastes, Tastes, "make them by Tastes(...) or Tastes.of(recommender)")
    checks.instance("remedy", remedy, Remedy, "choose one of cofactor.audit.remedies()")
    rounds, n, seed = (
        checks.whole_number("rounds", rounds, low=1, high=MOST_ROUNDS),
        checks.whole_number("n", n, low=1, high=checks.LONGEST_LIST),
        checks.seed(seed),
    )
    if table.kind != "ratings":
        raise KindError("the loop is simulated on ratings: tastes say what people would rate")
    if tastes.expected.shape != (table.n_users, table.n_items):
        raise ParameterError(
            f"tastes must be of {table.n_users:,} users and {table.n_items:,} items, not {tastes.expected.shape}"
        )
    if isinstance(looks, Sequence | np.ndarray):
        each = checks.whole_array("looks", looks, low=0, size=table.n_users)
    else:
        each = np.full(table.n_users, checks.whole_number("looks", looks, low=0))
    everyone = np.arange(table.n_users, dtype=np.int32)
    table = replace(table, times=None)
    lists, accuracy = np.full((rounds, len(everyone), n), -1, np.int32), np.empty((rounds, len(everyone)))
    for number in range(rounds):
        rec = Recommender.fit(estimator, remedy.weigh(table), seed=seed)
        shown = remedy.rank(rec, everyone, n, random_stream(seed, "explore", number))
        lists[number, :, : shown.shape[1]] = shown
        accuracy[number] = _true_ndcg(lists[number], table, tastes)
        stream = random_stream(seed, "people", number)
        u, places = _looked_at(each, n, stream)
        i = lists[number][u, places]
        u, i = u[i >= 0], i[i >= 0]
        takes = stream.random(len(u)) < tastes.taken(u, i)
        u, i = u[takes], i[takes]
        table = _with_rows(table, u, i, tastes.ratings(u, i, stream))
    return Simulation(remedy.name, read_only(lists), read_only(accuracy), table, tastes)


def _looked_at(looks: Int64, n: int, stream: np.random.Generator) -> tuple[Int64, Int64]:
    """Users and places from 0: looks[u] different ones, 1 / rank their weight (Gumbel's trick: Yellott 1977)."""
    draws = stream.gumbel(size=(len(looks), n)) - np.log(np.arange(1, n + 1))
    order = np.argsort(-draws, axis=1, kind="stable")
    u, turn = np.nonzero(np.arange(n) < looks[:, None])
    return u, order[u, turn]


def _true_ndcg(lists: Int32, table: Interactions, tastes: Tastes) -> Float64:
    n_users, n = lists.shape
    gain = tastes.taken(*np.indices(tastes.expected.shape))
    gain[table.u, table.i] = 0
    discount = 1 / np.log2(np.arange(2, n + 2))
    own = np.where(lists >= 0, np.take_along_axis(gain, np.maximum(lists, 0), axis=1), 0) @ discount
    best = -np.sort(-np.partition(gain, -min(n, gain.shape[1]), axis=1)[:, -n:], axis=1)
    ideal = best @ discount[: best.shape[1]]
    return np.divide(own, ideal, out=np.zeros(n_users), where=ideal > 0)


def _with_rows(table: Interactions, u: Any, i: Any, values: Float32) -> Interactions:
    """The table with more rows, of pairs that it lacks."""
    all_u, all_i = (np.append(old, new).astype(np.int32) for old, new in ((table.u, u), (table.i, i)))
    columns = [np.append(table.values, values), None]
    if table.weights is not None:
        columns[1] = np.append(table.weights, np.ones(len(u), np.float32))
    u_, i_, (x, w) = sorted_pairs(all_u, all_i, columns, table.n_users, table.n_items)
    return replace(
        table, u=read_only(u_), i=read_only(i_), values=read_only(x), weights=None if w is None else read_only(w)
    )


def _diversity(lists: Int32, kinds: Float64) -> float:
    """1 - the mean cosine of the kinds of two places, over lists of at least two; an item of no kind is like none."""
    length = np.sqrt(np.square(kinds).sum(axis=1, keepdims=True))
    unit = np.divide(kinds, length, out=np.zeros_like(kinds), where=length > 0)
    places = np.where((lists >= 0)[:, :, None], unit[np.maximum(lists, 0)], 0)
    n = (lists >= 0).sum(axis=1)
    pairs = n * (n - 1) / 2
    cosines = (np.square(places.sum(axis=1)).sum(axis=1) - np.square(places).sum(axis=(1, 2))) / 2
    return float(1 - np.mean(cosines[pairs > 0] / pairs[pairs > 0])) if (pairs > 0).any() else np.nan
