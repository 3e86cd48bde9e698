"""The feedback loop: a recommender that learns from what people took of what it showed them, round after round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from cofactor.arrays import Float32, Float64, Int32, Int64, random_stream, read_only
from cofactor.audit.remedies import capped_weights, propensity_weights, spread
from cofactor.data.interactions import Interactions
from cofactor.errors import KindError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.kernels.order import sorted_pairs
from cofactor.recommend import Recommender

__all__ = ["PLAIN", "Remedy", "Simulation", "Tastes", "remedies", "simulate"]

STEEP, MIDDLE = 2.0, 3.5
"""A looked-at item is taken with probability sigmoid(STEEP (true rating - MIDDLE))."""

Weigh: TypeAlias = Callable[[Interactions], Interactions]
Rank: TypeAlias = Callable[[Recommender, Int32, int, np.random.Generator], Int32]


@dataclass(frozen=True, eq=False)
class Tastes:
    """What people would truly say.

    Attributes:
        expected: (n_users, n_items) float64: the mean of each user's ratings of each item.
        noise_sd: of a single rating about it.
        levels: the ratings that can be given.
    """

    expected: Float64
    noise_sd: float
    levels: tuple[float, ...]

    def ratings(self, u: Any, i: Any, stream: np.random.Generator) -> Float32:
        """Ratings as given: the expected one with noise, at the nearest level."""
        levels = np.asarray(self.levels)
        said = self.expected[u, i] + self.noise_sd * stream.standard_normal(len(u))
        given: Float32 = levels[np.abs(said[:, None] - levels).argmin(axis=1)].astype(np.float32)
        return given

    def taken(self, u: Any, i: Any) -> Float64:
        """The probability that a looked-at item is taken."""
        chance: Float64 = 1 / (1 + np.exp(-STEEP * (self.expected[u, i] - MIDDLE)))
        return chance


@dataclass(frozen=True)
class Remedy:
    """What is done against the loop: to the table before a fit, and in making lists."""

    name: str
    weigh: Weigh = lambda table: table
    rank: Rank = lambda rec, users, n, _: rec.rank(users, n)[0]


PLAIN = Remedy("plain")


def remedies() -> tuple[Remedy, ...]:
    """Those that every estimator of ratings can use."""
    return (
        Remedy("capped weight per user", weigh=capped_weights),
        Remedy("popular items weigh less", weigh=propensity_weights),
        Remedy("exposure spread", rank=_spread),
        Remedy("two places in ten explore", rank=_explore),
    )


@dataclass(frozen=True, eq=False)
class Simulation:
    """What happened.

    Attributes:
        remedy: its name.
        lists: (rounds, n_users, n) int32: what everybody was shown.
        accuracy: (rounds, n_users): true-taste NDCG, with the probability that an item is taken for its gain, against
            the best list of items not yet rated.
        table: all rows after the last round.
    """

    remedy: str
    lists: Int32
    accuracy: Float64
    table: Interactions

    def share(self, items: Any, users: Any) -> Float64:
        """Which share of the places of `users` (n_users,) bool shows `items` (n_items,) bool: (rounds,) float64."""
        lists = self.lists[:, np.asarray(users)]
        shown = np.asarray(items)[np.maximum(lists, 0)] & (lists >= 0)
        share: Float64 = shown.sum(axis=(1, 2)) / np.maximum((lists >= 0).sum(axis=(1, 2)), 1)
        return share


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
    rated by true taste and noise, and is learnt from in the next round. Deterministic in the seed. Raises KindError for
    events, ParameterError.
    """
    if table.kind != "ratings":
        raise KindError("the loop is simulated on ratings: tastes say what people would rate")
    if tastes.expected.shape != (table.n_users, table.n_items):
        raise ParameterError(
            f"tastes must be of {table.n_users:,} users and {table.n_items:,} items, not {tastes.expected.shape}"
        )
    if rounds < 1 or n < 1:
        raise ParameterError("rounds and n must be at least 1")
    each = np.broadcast_to(np.asarray(looks, np.int64), (table.n_users,))
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
    return Simulation(remedy.name, read_only(lists), read_only(accuracy), table)


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


def _spread(rec: Recommender, users: Int32, n: int, stream: np.random.Generator) -> Int32:
    del stream
    lists, scores = rec.rank(users, 10 * n)
    return spread(lists, scores, n, len(rec.items), strength=0.5)


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
