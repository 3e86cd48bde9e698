"""Exploration: give some positions of ranked lists to items with few ratings.

The module works on ranked lists, masks and random streams; `UserView.recommend` and `UserView.explore` call it.

- `draw_positions` gives each position of one list to a random item of a pool with a stated probability, so that the
  propensity of each position is known. Off-policy evaluation needs it.
- `spread_new_items` sets aside a share of all positions of many lists, limits how often each new item is shown, and
  chooses the items by Thompson sampling.

References
----------
W. R. Thompson (1933), "On the likelihood that one unknown probability exceeds another", Biometrika.
O. Chapelle and L. Li (2011), "An empirical evaluation of Thompson sampling", NeurIPS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64
from cofactor.errors import ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.posterior import BayesianModel

__all__ = ["FEW_RATINGS", "Impressions", "Position", "draw_positions", "sampler", "spread_new_items"]

FEW_RATINGS = 5
"""Items with fewer ratings or events are new: they are worth exploring."""

Sampler = Callable[[int, Int32, np.random.Generator], Float64]
"""Draws a value of each new item for one user, by position in the batch."""


class Position(NamedTuple):
    """One position of a list.

    Attributes
    ----------
    row : int
        Item row.
    score : float or None
        What the item is ranked by; None if it was explored.
    explored : bool
        Whether the item was drawn by exploration.
    propensity : float
        Probability with which this item was placed here.
    """

    row: int
    score: float | None
    explored: bool
    propensity: float


@dataclass(frozen=True, eq=False)
class Impressions:
    """Number of times that each item was shown, and clicked when shown.

    Parameters
    ----------
    shown, clicked : ndarray of shape (n_items,), int64
        Counts, with clicked <= shown.

    Raises
    ------
    ParameterError
        If a count of clicks is negative or above the count of impressions, or the lengths differ.

    Examples
    --------
    >>> impressions = Impressions(shown=np.array([100, 3]), clicked=np.array([7, 0]))
    >>> int(impressions.shown.sum())
    103
    """

    shown: Int64
    clicked: Int64

    def __post_init__(self) -> None:
        shown = checks.whole_array("shown", self.shown, low=0)
        clicked = checks.whole_array("clicked", self.clicked, low=0)
        if len(clicked) != len(shown):
            raise ParameterError(
                f"shown and clicked must have the same length, not {len(shown):,} and {len(clicked):,}"
            )
        if (clicked < 0).any() or (clicked > shown).any():
            raise ParameterError("clicked must be at most shown for each item")


def draw_positions(
    rows: Int32, scores: Float32, pool: Int64, n: int, share: float, stream: np.random.Generator
) -> list[Position]:
    """Draw a list of n positions, each of which is explored with the probability `share`.

    Parameters
    ----------
    rows : ndarray of shape (m,), int32
        Item rows of the ranked list, best first.
    scores : ndarray of shape (m,), float32
        Their scores.
    pool : ndarray of shape (p,), int64
        Rows of the items to explore.
    n : int
        The length of the list; it is shorter where items run out.
    share : float
        Probability of each position to be explored, from 0 to 1.
    stream : numpy.random.Generator
        Random stream of the draws.

    Returns
    -------
    list of Position
        At most n positions, in the order of the list.

    Notes
    -----
    An explored position takes an item of the pool that is not yet in the list, all with the same probability; each
    other position takes the next item of `rows`. The propensity of a position is::

        share / (number of items left in the pool)    if it is explored
        1 - share                                     otherwise, and 1 where the pool is exhausted

    Examples
    --------
    >>> stream = np.random.default_rng(0)
    >>> rows, scores = np.int32([7, 8]), np.float32([0.9, 0.8])
    >>> draw_positions(rows, scores, np.array([3]), 3, 1.0, stream)[0]
    Position(row=3, score=None, explored=True, propensity=1.0)
    >>> [position.row for position in draw_positions(rows, scores, np.array([3]), 3, 0.0, stream)]
    [7, 8]
    """
    unused = [int(row) for row in stream.permutation(pool)]
    ranked = list(zip(rows.tolist(), scores.tolist(), strict=True))
    taken: set[int] = set()
    positions: list[Position] = []
    while len(positions) < n:
        unused = [row for row in unused if row not in taken]
        probability = share if unused else 0.0
        if unused and stream.random() < probability:
            position = Position(unused[-1], None, True, share / len(unused))
        else:
            while ranked and ranked[0][0] in taken:
                ranked.pop(0)
            if not ranked:
                return positions
            row, score = ranked.pop(0)
            position = Position(row, score, False, 1 - probability)
        taken.add(position.row)
        positions.append(position)
    return positions


def spread_new_items(
    lists: Int32,
    new: Int32,
    exclude: SparseRows,
    *,
    share: float,
    cap: int,
    sample: Sampler,
    stream: np.random.Generator,
) -> tuple[Int32, Bool]:
    """Give a share of the positions of many lists to new items, each at most `cap` times.

    Parameters
    ----------
    lists : ndarray of shape (n_users, n), int32
        Ranked item rows without the new items.
    new : ndarray of shape (m,), int32
        Rows of the new items.
    exclude : SparseRows
        One row for each list: items that it must not show.
    share : float
        Expected share of explored positions, from 0 to 1.
    cap : int
        The largest number of positions for each new item.
    sample : callable
        Draws a value of each new item for one user; the items with the largest values are shown.
    stream : numpy.random.Generator
        Random stream of the draws.

    Returns
    -------
    lists : ndarray of shape (n_users, n), int32
        Item rows with the new items.
    explored : ndarray of shape (n_users, n), bool
        The positions of new items.
    """
    lists, explored, remaining = lists.copy(), np.zeros(lists.shape, bool), np.full(len(new), cap)
    n = lists.shape[1]
    n_explored = np.floor(n * share + stream.random(len(lists))).astype(np.int64)
    for user in stream.permutation(len(lists)):
        if n_explored[user] == 0 or not len(new):
            continue
        possible = (remaining > 0) & ~np.isin(new, exclude.row(int(user)).columns)
        values = np.where(possible, sample(int(user), new, stream), -np.inf)
        best = np.argsort(-values, kind="stable")[: min(int(n_explored[user]), int(possible.sum()))]
        positions = stream.permutation(n)[: len(best)]
        lists[user, positions], explored[user, positions] = new[best], True
        remaining[best] -= 1
    return lists, explored


def sampler(model: object, rows: Int32, impressions: Impressions | None) -> Sampler:
    """Return the distribution that new items are sampled from.

    Parameters
    ----------
    model : Model
        A Bayesian model is sampled from its posterior.
    rows : ndarray of shape (n_users,), int32
        Rows of the model's users.
    impressions : Impressions or None
        Where given, the probability of a click is sampled from Beta(1 + clicked, 1 + shown - clicked).

    Returns
    -------
    callable
        See `spread_new_items`. Without impressions and a posterior, all new items are equally likely.
    """

    def uniform(user: int, new: Int32, stream: np.random.Generator) -> Float64:
        return stream.random(len(new))

    def clicks(user: int, new: Int32, stream: np.random.Generator) -> Float64:
        assert impressions is not None
        shown, clicked = impressions.shown[new], impressions.clicked[new]
        return stream.beta(1.0 + clicked, 1.0 + shown - clicked)

    def posterior(user: int, new: Int32, stream: np.random.Generator) -> Float64:
        assert isinstance(model, BayesianModel)
        samples, k = model.posterior, model.factors
        s = int(stream.integers(len(samples)))
        items = samples.items[s, new].astype(np.float64)
        noise = stream.standard_normal(len(new)) * 1e-9  # breaks ties of items without any information
        values: Float64 = items[:, :k] @ samples.users[s, rows[user], :k].astype(np.float64) + items[:, k] + noise
        return values

    if impressions is not None:
        return clicks
    return posterior if isinstance(model, BayesianModel) else uniform
