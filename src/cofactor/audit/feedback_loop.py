"""Feedback loop simulation: retrain a recommender repeatedly on the responses to its own recommendations.

Each round fits the estimator, recommends n items to each user, draws the items that the users accept, and adds their
ratings to the table. The true preferences that determine the responses come from synthetic data or from a fitted model.
A control without feedback adds as many ratings of items that do not depend on the lists, which tells growth that is due
to feedback from growth that is due to more data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream, read_only
from cofactor.audit.mitigations import PLAIN, Mitigation
from cofactor.audit.user_behavior import UserBehavior
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.base import Estimator, require_estimator
from cofactor.kernels.sort import sorted_pairs
from cofactor.metrics.catalog import coverage, gini
from cofactor.metrics.catalog import exposure as item_exposure
from cofactor.models.base import PredictsRatings
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Simulation", "Tastes", "simulate"]

STEEPNESS, MIDPOINT = 2.0, 3.5
"""A viewed item is accepted with probability sigmoid(STEEPNESS (true rating - MIDPOINT)) on a scale of 1 to 5 stars."""

MAX_ROUNDS = 10_000
"""Maximum number of rounds in a simulation."""
DEFAULT_BEHAVIOR = UserBehavior()
GRID_SIZE = 21
"""Number of evenly spaced rating levels that approximate a continuous scale."""


@dataclass(frozen=True, eq=False)
class Tastes:
    """True preferences of simulated users: the expected rating of each item by each user.

    Create them from synthetic data or from a fitted model (`Tastes.of`).

    Attributes
    ----------
    expected : ndarray of shape (n_users, n_items), float64
        Expected rating of each item by each user.
    noise_std : float
        Standard deviation of a single rating around its expected value.
    levels : tuple of float
        Possible ratings.
    steepness, midpoint : float
        A viewed item is accepted with probability sigmoid(steepness (expected - midpoint)). Ratings of at least
        `midpoint` are events for estimators of events.

    Examples
    --------
    >>> tastes = Tastes(np.array([[5.0, 1.0]]), noise_std=0.5, levels=(1.0, 2.0, 3.0, 4.0, 5.0))
    >>> tastes.acceptance_probability([0, 0], [0, 1]).round(2).tolist()
    [0.95, 0.01]
    """

    expected: Float64
    noise_std: float
    levels: tuple[float, ...]
    steepness: float = STEEPNESS
    midpoint: float = MIDPOINT

    def __post_init__(self) -> None:
        checks.number_array("expected", self.expected, (None, None))
        checks.finite_number("noise_std", self.noise_std, low=0)
        if len(checks.number_array("levels", self.levels, (None,))) == 0:
            raise ParameterError("levels must contain at least one rating")
        checks.finite_number("steepness", self.steepness)
        checks.finite_number("midpoint", self.midpoint)

    @classmethod
    @validated
    def of(cls, recommender: Recommender, *, noise_std: float | None = None) -> Self:
        """Use the predictions of a fitted model as true preferences, so that the loop can be simulated on any table.

        Parameters
        ----------
        recommender : Recommender
            Recommender with a model of ratings. Fit it on rows that are not in the initial table of the loop, such as
            the other half of a split (splits keep all IDs); otherwise the loop is evaluated on its own training data.
        noise_std : float, optional
            Standard deviation of a single rating; by default, the root mean squared error on the training rows.

        Returns
        -------
        Tastes
            Preferences with the rating levels of the training rows, and with `steepness` and `midpoint` rescaled from
            1-5 to their range.

        Raises
        ------
        KindError
            The model does not predict ratings.
        ParameterError
            `noise_std` is negative.
        DataError
            The recommender has no training rows.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
        >>> tastes = cofactor.audit.Tastes.of(cofactor.Recommender.fit(cofactor.Bias(), ratings))
        >>> tastes.expected.shape, tastes.levels
        ((3, 3), (2.0, 3.0, 4.0, 5.0))
        """
        model, histories = require_recommender("recommender", recommender).model, recommender.histories
        if recommender.kind != "ratings" or not isinstance(model, PredictsRatings):
            raise KindError("true preferences require a model that predicts ratings, such as biased-mf")
        noise_std = None if noise_std is None else checks.finite_number("noise_std", noise_std, low=0)
        if len(histories.values) == 0:
            raise DataError(
                "true preferences require a recommender with training rows; the histories of this recommender are empty"
            )
        items = np.arange(len(recommender.items), dtype=np.int32)
        expected = np.empty((len(recommender.users), len(items)))
        for user in range(len(expected)):
            expected[user] = model.predict(recommender.batch(np.full(len(items), user, np.int32)), items)
        owner = histories.owners
        if noise_std is None:
            noise_std = float(np.sqrt(np.mean((histories.values - expected[owner, histories.columns]) ** 2)))
        scale = Scale.infer(histories.values)
        levels = scale.levels or tuple(np.linspace(scale.low, scale.high, GRID_SIZE).tolist())
        star_width = (scale.high - scale.low) / 4 or 1.0
        return cls(
            read_only(expected), noise_std, levels, STEEPNESS / star_width, scale.low + (MIDPOINT - 1) * star_width
        )

    @validated
    def favorites(self, categories: Float64) -> Int64:
        """Return each user's favorite category: the one with the highest mean expected rating.

        Parameters
        ----------
        categories : ndarray of shape (n_items, n_categories)
            Category shares of the items; see `item_categories`.

        Returns
        -------
        ndarray of shape (n_users,), int64
            Column of `categories` for each user; ties go to the first column. A category without items is never the
            favorite.
        """
        categories = checks.number_array("categories", categories, (self.expected.shape[1], None))
        category_sizes = categories.sum(axis=0)
        mean = np.divide(
            self.expected @ categories,
            category_sizes,
            out=np.full((len(self.expected), len(category_sizes)), -np.inf),
            where=category_sizes > 0,
        )
        favorites: Int64 = mean.argmax(axis=1)
        return favorites

    @validated
    def ratings(self, u: Any, i: Any, stream: np.random.Generator) -> Float32:
        """Draw ratings: the expected rating plus noise, rounded to the nearest level.

        Parameters
        ----------
        u, i : array_like of shape (n,), int
            Row numbers of users and items.
        stream : np.random.Generator
            Random generator for the noise.

        Returns
        -------
        ndarray of shape (n,), float32
            One rating for each pair; empty if there are no pairs.

        Raises
        ------
        ParameterError
            `u` and `i` do not have the same shape (n,), or are out of range.
        """
        levels, (u, i) = np.asarray(self.levels), self._pairs(u, i)
        if u.ndim != 1 or u.shape != i.shape:
            raise ParameterError(
                f"u and i must be arrays of row numbers with the same shape (n,); got shapes {u.shape} and {i.shape}"
            )
        noisy_ratings = self.expected[u, i] + self.noise_std * stream.standard_normal(len(u))
        ratings: Float32 = levels[np.abs(noisy_ratings[:, None] - levels).argmin(axis=1)].astype(np.float32)
        return ratings

    @validated
    def acceptance_probability(self, u: Any, i: Any) -> Float64:
        """Return the probability that a user accepts a viewed item.

        Parameters
        ----------
        u, i : array_like of int
            Row numbers of users and items, broadcast against each other.

        Returns
        -------
        ndarray, float64
            Probabilities, in the broadcast shape.

        Notes
        -----
        The probability is sigmoid(steepness (expected_ui - midpoint)).
        """
        u, i = self._pairs(u, i)
        probability: Float64 = 1 / (1 + np.exp(-self.steepness * (self.expected[u, i] - self.midpoint)))
        return probability

    def _pairs(self, u: Any, i: Any) -> tuple[Any, Any]:
        return checks.broadcast_rows(("u", "i"), (u, i), self.expected.shape)


@dataclass(frozen=True, eq=False)
class Simulation:
    """Lists, accuracy and final table of a simulated feedback loop; returned by `simulate`.

    Attributes
    ----------
    mitigation : str
        Name of the mitigation.
    lists : ndarray of shape (n_rounds, n_users, n), int32
        Items shown to each user, as row numbers; -1 after the end of a shorter list.
    accuracy : ndarray of shape (n_rounds, n_users), float64
        NDCG with respect to the true preferences: the gain is the probability that the user accepts an item, and the
        ideal list consists of the best unseen items. 0 for a user without unseen items.
    ideal_lists : ndarray of shape (n_rounds, n_users, n), int32
        Unseen items that each user is most likely to accept by true preferences, as row numbers; -1 after the end of a
        shorter list.
    active : ndarray of shape (n_rounds, n_users), bool
        Whether a user has not left before the round. Lists and accuracy are computed for all users, so that all rounds
        compare the same users.
    table : Interactions
        Table with all rows after the last round.
    tastes : Tastes
        True preferences.

    Examples
    --------
    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> data = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=300, genres=4))
    >>> expected = data.expected(np.arange(60)[:, None], np.arange(40))
    >>> tastes = cofactor.audit.Tastes(expected, noise_std=0.8, levels=data.config.rating_levels)
    >>> run = cofactor.audit.simulate(cofactor.Bias(), data.interactions, tastes, rounds=2, n=5)
    >>> run.summary(np.eye(4)[data.genre]).columns[:4]
    ['mitigation', 'round', 'accuracy', 'coverage']
    """

    mitigation: str
    lists: Int32
    accuracy: Float64
    ideal_lists: Int32
    active: Bool
    table: Interactions
    tastes: Tastes

    @validated
    def share(self, items: Any, users: Any) -> Float64:
        """Return, for each round, the fraction of the selected users' list positions that show the selected items.

        Parameters
        ----------
        items : array_like of shape (n_items,), bool
            Mask of the selected items.
        users : array_like of shape (n_users,), bool
            Mask of the selected users.

        Returns
        -------
        ndarray of shape (n_rounds,), float64
            Share for each round; 0 if nothing is shown to the users.
        """
        return self._share(self.lists, items, users)

    @validated
    def excess(self, items: Any, users: Any) -> Float64:
        """Return, for each round, the share of the selected items minus their share by true preferences.

        Parameters
        ----------
        items : array_like of shape (n_items,), bool
            Mask of the selected items.
        users : array_like of shape (n_users,), bool
            Mask of the selected users.

        Returns
        -------
        ndarray of shape (n_rounds,), float64
            Excess exposure for each round, between -1 and 1: `share` minus the share in `ideal_lists`. `growth_parts`
            splits it.
        """
        return self._share(self.lists, items, users) - self._share(self.ideal_lists, items, users)

    def _share(self, all_lists: Int32, items: Any, users: Any) -> Float64:
        lists = all_lists[:, checks.mask("users", users, all_lists.shape[1])]
        is_shown = checks.mask("items", items, self.table.n_items)[np.maximum(lists, 0)] & (lists >= 0)
        share: Float64 = is_shown.sum(axis=(1, 2)) / np.maximum((lists >= 0).sum(axis=(1, 2)), 1)
        return share

    @validated
    def summary(self, categories: Float64, *, users: Any = None) -> pl.DataFrame:
        """Summarize the lists and their accuracy for each round.

        Parameters
        ----------
        categories : ndarray of shape (n_items, n_categories)
            Category shares of the items; see `item_categories`.
        users : array_like of shape (n_users,), bool, optional
            Mask of the users to summarize; by default, all. To see the effect on users with minority preferences,
            select those whose favorite category is not the one shown most.

        Returns
        -------
        pl.DataFrame
            One row per round. If nothing is shown, the shares are 0, and gini and diversity are nan; accuracy is nan if
            no users are selected.

        Raises
        ------
        ParameterError
            `categories` has no columns.

        Notes
        -----
        Columns of the frame::

            mitigation       name of the mitigation
            round            number of the round, from 1
            accuracy         mean NDCG with respect to the true preferences
            coverage, gini   coverage and concentration of the shown items; see `metrics.catalog`
            diversity        1 - mean cosine similarity between the categories of two positions in a list
            most_shown       share of all positions that goes to the category shown most in this round
            favorite         share of positions that goes to users' favorite categories; see `Tastes.favorites`
            active           share of the users who have not left
            drift            favorite in round 1 minus favorite in this round; above 0, lists moved away from it

        Frames for several mitigations can be concatenated; `average_summaries` averages frames for several seeds.

        References
        ----------
        Ziegler et al. (2005), "Improving recommendation lists through topic diversification", WWW (diversity).
        """
        n_users = self.lists.shape[1]
        is_selected_user = np.ones(n_users, bool) if users is None else checks.mask("users", users, n_users)
        categories = checks.number_array("categories", categories, (self.table.n_items, None))
        if categories.shape[1] == 0:
            raise ParameterError("categories must have at least one column; got 0 columns")
        all_lists, favorites = self.lists[:, is_selected_user], self.tastes.favorites(categories)[is_selected_user]
        rows = []
        rounds = zip(all_lists, self.accuracy[:, is_selected_user], self.active[:, is_selected_user], strict=True)
        for lists, accuracy, is_active in rounds:
            shown = item_exposure(lists, len(categories))
            category_shares = shown @ categories / max(shown.sum(), 1)
            in_favorite = np.where(lists >= 0, categories[np.maximum(lists, 0), favorites[:, None]], 0).sum()
            favorite = float(in_favorite / max(shown.sum(), 1))
            mean, active = (float(x.mean()) if len(x) else np.nan for x in (accuracy, is_active))
            measures = (mean, coverage(shown), gini(shown), _diversity(lists, categories), float(category_shares.max()))
            rows.append((*measures, favorite, active))
        columns = ["accuracy", "coverage", "gini", "diversity", "most_shown", "favorite", "active"]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.Float64), orient="row")
        with_names = frame.select(
            pl.lit(self.mitigation).alias("mitigation"), pl.int_range(1, pl.len() + 1).alias("round"), *columns
        )
        return with_names.with_columns(drift=pl.col("favorite").first() - pl.col("favorite"))


@validated
def simulate(
    estimator: Estimator,
    table: Interactions,
    tastes: Tastes,
    *,
    mitigation: Mitigation = PLAIN,
    behavior: UserBehavior = DEFAULT_BEHAVIOR,
    feedback: bool = True,
    rounds: int = 10,
    n: int = 10,
    views: int | Sequence[int] | Int64 = 1,
    seed: Seed = 0,
) -> Simulation:
    """Simulate a feedback loop: fit, recommend, let users respond, and repeat.

    Parameters
    ----------
    estimator : Estimator
        Estimator, refitted in each round to all rows. An estimator of events is fitted to the rows with ratings of at
        least `tastes.midpoint`; the other rows are excluded from the lists.
    table : Interactions
        Ratings before the first round. Times are ignored.
    tastes : Tastes
        True preferences of the users in the table for its items.
    mitigation : Mitigation, optional
        Mitigation to apply; by default, none. Its weights apply to the rows that the estimator is fitted to.
    behavior : UserBehavior, optional
        Behavior of the users; by default, position bias only.
    feedback : bool, default True
        Whether the accepted items are added. If False, each user adds as many items from the whole catalog instead,
        which is the control without feedback.
    rounds : int, default 10
        Number of rounds, at least 1.
    n : int, default 10
        Length of the lists, at least 1.
    views : int or array_like of shape (n_users,), default 1
        Number of list positions that a user views in each round, at least 0: one value for all users, or one for each.
    seed : int, Generator or None, default 0
        Seed for the fits and for the responses. The result is deterministic.

    Returns
    -------
    Simulation
        Lists, accuracy and final table.

    Raises
    ------
    KindError
        The table contains events.
    ParameterError
        The shape of `tastes` does not match the table, or `views`, `rounds` or `n` is out of range.
    DataError
        The table has no rows, or an estimator of events has no rating of at least `tastes.midpoint`.

    Notes
    -----
    In each round, user u views views[u] different positions, drawn with weights rank^-position_bias. A viewed item is
    accepted with probability `behavior.acceptance_probability`, which is `tastes.acceptance_probability` without
    conformity, and its rating is drawn by `tastes.ratings`; the rating is added to the training data for the next
    round.

    In the control, the accepted items are replaced by as many unseen items, drawn without replacement with weights
    `tastes.acceptance_probability`. These are the items that the user accepts while viewing the whole catalog in random
    order, so they depend neither on the lists nor on popularity. Round 1 is the same with and without feedback.

    References
    ----------
    Chaney, Stewart & Engelhardt (2018), "How algorithmic confounding in recommendation systems increases homogeneity
    and decreases utility", RecSys.

    Examples
    --------
    >>> import cofactor, numpy as np
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> data = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=300))
    >>> expected = data.expected(np.arange(60)[:, None], np.arange(40))
    >>> tastes = cofactor.audit.Tastes(expected, noise_std=0.8, levels=data.config.rating_levels)
    >>> run = cofactor.audit.simulate(cofactor.Bias(), data.interactions, tastes, rounds=3, n=5)
    >>> run.lists.shape, run.accuracy.shape, len(run.table) > 300
    ((3, 60, 5), (3, 60), True)
    """
    require_estimator(estimator)
    require_interactions("table", table)
    checks.instance("tastes", tastes, Tastes, "create them with Tastes(...) or Tastes.of(recommender)")
    checks.instance("mitigation", mitigation, Mitigation, "choose one of cofactor.audit.all_mitigations()")
    checks.instance("behavior", behavior, UserBehavior, "create one with cofactor.audit.UserBehavior()")
    rounds, n, seed = (
        checks.whole_number("rounds", rounds, low=1, high=MAX_ROUNDS),
        checks.whole_number("n", n, low=1, high=checks.MAX_LIST_LENGTH),
        checks.seed(seed),
    )
    if table.kind != "ratings":
        raise KindError("table must contain ratings, not events: the feedback loop is simulated on ratings")
    if tastes.expected.shape != (table.n_users, table.n_items):
        raise ParameterError(
            f"tastes must cover the {table.n_users:,} users and {table.n_items:,} items of the table; got expected "
            f"ratings of shape {tastes.expected.shape}"
        )
    if isinstance(views, Sequence | np.ndarray):
        views = checks.whole_array("views", views, low=0, size=table.n_users)
    else:
        views = np.full(table.n_users, checks.whole_number("views", views, low=0))
    users = np.arange(table.n_users, dtype=np.int32)
    table = replace(table, times=None)
    shape, is_active = (rounds, len(users), n), np.ones(len(users), bool)
    lists, ideal_lists = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    accuracy, active = np.empty(shape[:2]), np.empty(shape[:2], bool)
    preference = tastes.acceptance_probability(*np.indices(tastes.expected.shape))
    for round_index in range(rounds):
        rec = Recommender.fit(estimator, mitigation.weigh(_training_table(estimator, table, tastes)), seed=seed)
        shown = mitigation.rank(rec, users, n, random_stream(seed, "explore", round_index))
        lists[round_index, :, : shown.shape[1]] = shown
        ideal_lists[round_index], accuracy[round_index] = _ideal_lists(lists[round_index], table, preference)
        active[round_index] = is_active
        stream = random_stream(seed, "people", round_index)
        u, positions = behavior.viewed_positions(np.where(is_active, views, 0), n, stream)
        i = lists[round_index][u, positions]
        u, i = u[i >= 0], i[i >= 0]
        support = np.bincount(table.i, minlength=table.n_items)
        is_accepted = stream.random(len(u)) < behavior.acceptance_probability(preference, support)[u, i]
        is_active &= ~behavior.leaves(np.bincount(u[~is_accepted], minlength=len(users)), stream)
        u, i = u[is_accepted], i[is_accepted]
        if not feedback:
            u, i = _catalog_choices(np.bincount(u, minlength=len(users)), table, preference, stream)
        table = _with_rows(table, u, i, tastes.ratings(u, i, stream))
    return Simulation(
        mitigation.name, read_only(lists), read_only(accuracy), read_only(ideal_lists), read_only(active), table, tastes
    )


def _training_table(estimator: Estimator, table: Interactions, tastes: Tastes) -> Interactions:
    return table.to_events(min_rating=tastes.midpoint) if estimator.kind == "events" else table


def _catalog_choices(
    counts: Int64, table: Interactions, preference: Float64, stream: np.random.Generator
) -> tuple[Int64, Int64]:
    """Draw counts[u] distinct unseen items for each user u, with weights `preference` (Gumbel trick)."""
    keys = np.log(np.maximum(preference, np.finfo(np.float64).tiny)) + stream.gumbel(size=preference.shape)
    keys[table.u, table.i] = -np.inf
    u, draw_index = np.nonzero(np.arange(counts.max(initial=0)) < counts[:, None])
    return u, _top_items(keys, counts.max(initial=0))[u, draw_index]


def _top_items(keys: Float64, n: int) -> Int64:
    """Return the items with the n largest keys of each row, in descending order: ndarray of shape (n_users, n)."""
    top = np.argpartition(-keys, min(n, keys.shape[1]) - 1, axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def _ideal_lists(lists: Int32, table: Interactions, preference: Float64) -> tuple[Int32, Float64]:
    """Return the unseen items with the highest preference, padded with -1, and the NDCG of `lists` against them."""
    n_users, n = lists.shape
    keys = preference.copy()
    keys[table.u, table.i] = -1
    best, gain = _top_items(keys, n), np.maximum(keys, 0)
    ideal_lists = np.full((n_users, n), -1, np.int32)
    ideal_lists[:, : best.shape[1]] = np.where(np.take_along_axis(keys, best, axis=1) >= 0, best, -1)
    discount = 1 / np.log2(np.arange(2, n + 2))

    def dcg(items: Int32) -> Float64:
        total: Float64 = np.where(items >= 0, np.take_along_axis(gain, np.maximum(items, 0), axis=1), 0) @ discount
        return total

    ideal_gain = dcg(ideal_lists)
    return ideal_lists, np.divide(dcg(lists), ideal_gain, out=np.zeros(n_users), where=ideal_gain > 0)


def _with_rows(table: Interactions, u: Any, i: Any, values: Float32) -> Interactions:
    """Return the table with rows added for new user-item pairs."""
    all_u, all_i = (
        np.append(old_rows, new_rows).astype(np.int32) for old_rows, new_rows in ((table.u, u), (table.i, i))
    )
    columns = [np.append(table.values, values), None]
    if table.weights is not None:
        columns[1] = np.append(table.weights, np.ones(len(u), np.float32))
    sorted_u, sorted_i, (x, w) = sorted_pairs(all_u, all_i, columns, table.n_users, table.n_items)
    return replace(
        table,
        u=read_only(sorted_u),
        i=read_only(sorted_i),
        values=read_only(x),
        weights=None if w is None else read_only(w),
    )


def _diversity(lists: Int32, categories: Float64) -> float:
    """Return 1 minus the mean cosine similarity between two items in a list, over lists of at least two items.

    The similarity is computed from the categories; it is 0 for an item without categories.
    """
    length = np.sqrt(np.square(categories).sum(axis=1, keepdims=True))
    unit = np.divide(categories, length, out=np.zeros_like(categories), where=length > 0)
    vectors = np.where((lists >= 0)[:, :, None], unit[np.maximum(lists, 0)], 0)
    n = (lists >= 0).sum(axis=1)
    pairs = n * (n - 1) / 2
    cosines = (np.square(vectors.sum(axis=1)).sum(axis=1) - np.square(vectors).sum(axis=(1, 2))) / 2
    return float(1 - np.mean(cosines[pairs > 0] / pairs[pairs > 0])) if (pairs > 0).any() else np.nan
