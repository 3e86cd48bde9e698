"""Exploration: assign some positions in ranked lists to items with few ratings.

The functions work on ranked lists, masks and random generators; `UserView` calls them.

- `draw_positions` assigns each position in one list to a random item from a pool with a given probability, so that the
  propensity of each position is known, as required for off-policy evaluation.
- `spread_new_items` reserves a share of the positions in many lists, limits how often each new item is shown, and
  selects the items by Thompson sampling.

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

__all__ = ["NEW_ITEM_SUPPORT", "Impressions", "Position", "draw_positions", "sampler", "spread_new_items"]

NEW_ITEM_SUPPORT = 5
"""Items with fewer ratings or events count as new and are explored."""

Sampler = Callable[[int, Int32, np.random.Generator], Float64]
"""Function that draws a value for each new item, given a user's position in the batch."""


class Position(NamedTuple):
    """One position in a recommendation list.

    Attributes
    ----------
    row : int
        Row number of the item.
    score : float or None
        Ranking score of the item; None if it was explored.
    explored : bool
        Whether the item was drawn by exploration.
    propensity : float
        Probability with which this item was assigned to this position.
    """

    row: int
    score: float | None
    explored: bool
    propensity: float


@dataclass(frozen=True, eq=False)
class Impressions:
    """Number of times each item was shown, and number of clicks on it.

    Parameters
    ----------
    n_shown, n_clicked : ndarray of shape (n_items,), int64
        Counts for each item, with n_clicked <= n_shown.

    Raises
    ------
    ParameterError
        If a count is negative, if an item has more clicks than impressions, or if the lengths differ.

    Examples
    --------
    >>> impressions = Impressions(n_shown=np.array([100, 3]), n_clicked=np.array([7, 0]))
    >>> int(impressions.n_shown.sum())
    103
    """

    n_shown: Int64
    n_clicked: Int64

    def __post_init__(self) -> None:
        n_shown = checks.whole_array("n_shown", self.n_shown, low=0)
        n_clicked = checks.whole_array("n_clicked", self.n_clicked, low=0)
        if len(n_clicked) != len(n_shown):
            raise ParameterError(
                f"n_shown and n_clicked must have the same length; got {len(n_shown):,} and {len(n_clicked):,}"
            )
        if (n_clicked < 0).any() or (n_clicked > n_shown).any():
            raise ParameterError("n_clicked must not exceed n_shown for any item")


def draw_positions(
    rows: Int32, scores: Float32, pool: Int64, n: int, share: float, stream: np.random.Generator
) -> list[Position]:
    """Sample a list of n items in which each position is filled by exploration with probability `share`.

    Parameters
    ----------
    rows : ndarray of shape (m,), int32
        Item row numbers of the ranked list, best first.
    scores : ndarray of shape (m,), float32
        Scores of the items in `rows`.
    pool : ndarray of shape (p,), int64
        Sorted row numbers of the items with few ratings.
    n : int
        Length of the list; it is shorter if items run out.
    share : float
        Probability, from 0 to 1, that a position is filled by exploration.
    stream : numpy.random.Generator
        Random generator for the draws.

    Returns
    -------
    list of Position
        At most n positions, in list order.

    Notes
    -----
    A position filled by exploration gets an item that is drawn uniformly from the pool items not yet in the list; any
    other position gets the next item in `rows`. The propensity of a position is::

        share / (number of items left in the pool)    if filled by exploration
        1 - share                                     otherwise
        1                                             if the pool is exhausted

    Examples
    --------
    >>> stream = np.random.default_rng(0)
    >>> rows, scores = np.int32([7, 8]), np.float32([0.9, 0.8])
    >>> draw_positions(rows, scores, np.array([3]), 3, 1.0, stream)[0]
    Position(row=3, score=None, explored=True, propensity=1.0)
    >>> [position.row for position in draw_positions(rows, scores, np.array([3]), 3, 0.0, stream)]
    [7, 8]
    """
    ranked_items = list(zip(rows.tolist(), scores.tolist(), strict=True))
    place = np.searchsorted(pool, rows)
    is_in_pool = np.append(pool, -1)[place] == rows
    ranked_pool_items = set(rows[is_in_pool].tolist())
    n_left, listed_items = len(pool), set[int]()
    positions: list[Position] = []
    while len(positions) < n:
        probability = share if n_left else 0.0
        if n_left and stream.random() < probability:
            row = int(pool[stream.integers(len(pool))])
            while row in listed_items:  # draws again: the pool is not copied, because it may be most of the catalog
                row = int(pool[stream.integers(len(pool))])
            position = Position(row, None, True, share / n_left)
            n_left -= 1
        else:
            while ranked_items and ranked_items[0][0] in listed_items:
                ranked_items.pop(0)
            if not ranked_items:
                return positions
            row, score = ranked_items.pop(0)
            position = Position(row, score, False, 1 - probability)
            n_left -= row in ranked_pool_items
        listed_items.add(position.row)
        positions.append(position)
    return positions


def spread_new_items(
    lists: Int32,
    new_items: Int32,
    exclude: SparseRows,
    *,
    share: float,
    cap: int,
    sample: Sampler,
    stream: np.random.Generator,
) -> tuple[Int32, Bool]:
    """Assign a fraction of the positions in many lists to new items, using each new item at most `cap` times.

    Parameters
    ----------
    lists : ndarray of shape (n_users, n), int32
        Row numbers of ranked items, without the new items.
    new_items : ndarray of shape (m,), int32
        Row numbers of the new items.
    exclude : SparseRows
        One row per list, with the items that it must not contain.
    share : float
        Expected fraction of the positions that are filled by exploration, from 0 to 1.
    cap : int
        Maximum number of positions for each new item.
    sample : callable
        Function that draws a value for each new item for one user; the items with the largest values are selected.
    stream : numpy.random.Generator
        Random generator for the draws.

    Returns
    -------
    lists : ndarray of shape (n_users, n), int32
        Row numbers of the items, including the new items.
    explored : ndarray of shape (n_users, n), bool
        Mask of the positions with new items.
    """
    lists, explored, remaining_counts = lists.copy(), np.zeros(lists.shape, bool), np.full(len(new_items), cap)
    n = lists.shape[1]
    n_explored = np.floor(n * share + stream.random(len(lists))).astype(np.int64)
    for user in stream.permutation(len(lists)):
        if n_explored[user] == 0 or not len(new_items):
            continue
        is_available = (remaining_counts > 0) & ~np.isin(new_items, exclude.row(int(user)).columns)
        values = np.where(is_available, sample(int(user), new_items, stream), -np.inf)
        selected_items = np.argsort(-values, kind="stable")[: min(int(n_explored[user]), int(is_available.sum()))]
        positions = stream.permutation(n)[: len(selected_items)]
        lists[user, positions], explored[user, positions] = new_items[selected_items], True
        remaining_counts[selected_items] -= 1
    return lists, explored


def sampler(model: object, rows: Int32, impressions: Impressions | None) -> Sampler:
    """Return a function that samples a random score for each new item, such as a click probability.

    Parameters
    ----------
    model : Model
        The fitted model; for a Bayesian model, values are sampled from the posterior.
    rows : ndarray of shape (n_users,), int32
        Row numbers of the users in the model.
    impressions : Impressions or None
        If given, click probabilities are sampled from Beta(1 + n_clicked, 1 + n_shown - n_clicked).

    Returns
    -------
    callable
        Sampling function for `spread_new_items`. Without impressions or a posterior, all new items are equally likely.
    """

    def sample_uniformly(user: int, new_items: Int32, stream: np.random.Generator) -> Float64:
        return stream.random(len(new_items))

    def sample_click_rates(user: int, new_items: Int32, stream: np.random.Generator) -> Float64:
        assert impressions is not None
        n_shown, n_clicked = impressions.n_shown[new_items], impressions.n_clicked[new_items]
        return stream.beta(1.0 + n_clicked, 1.0 + n_shown - n_clicked)

    def sample_from_posterior(user: int, new_items: Int32, stream: np.random.Generator) -> Float64:
        assert isinstance(model, BayesianModel)
        samples, k = model.posterior, model.factors
        s = int(stream.integers(len(samples)))
        items = samples.items[s, new_items].astype(np.float64)
        noise = stream.standard_normal(len(new_items)) * 1e-9  # breaks ties between items without any information
        values: Float64 = items[:, :k] @ samples.users[s, rows[user], :k].astype(np.float64) + items[:, k] + noise
        return values

    if impressions is not None:
        return sample_click_rates
    return sample_from_posterior if isinstance(model, BayesianModel) else sample_uniformly
