"""What a model can do, as Protocols asked with isinstance: there are no methods that only raise.

Users and items are row numbers, int32, as the id maps count them; -1 stands for one that is not known. A `history` is a
user's rows. Nothing asked gives nothing: no pairs an array of shape (0,), no users one of shape (0, n_items).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import NO_ORDER, Bool, Float32, Float64, Int32, Int64, ItemOrder
from cofactor.errors import DataError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation
from cofactor.validation import validated

__all__ = [
    "ComparesItems",
    "Explains",
    "FoldsAbout",
    "FoldsIn",
    "HasFactors",
    "HasUncertainty",
    "KnowsTime",
    "Model",
    "PredictsRatings",
    "ScoresItems",
    "TakesItems",
    "distribution",
    "predicted",
]


@runtime_checkable
class Model(Protocol):
    """Frozen arrays that can be written to a file and read back. `kind` is its name there, one of `models.KINDS`.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> model = cofactor.Bias().fit(ratings)
    >>> isinstance(model, Model), model.kind, model.n_users, model.n_items
    (True, 'factor', 2, 2)
    >>> again = type(model).from_parts(model.arrays(), model.settings())
    >>> bool((again.item_bias == model.item_bias).all())
    True
    """

    kind: ClassVar[str]

    @property
    def n_users(self) -> int:
        """How many users it has rows for."""
        ...

    @property
    def n_items(self) -> int:
        """How many items it has rows for: the catalog."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt, by name; of the types that `artifact` writes."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything else that is needed to use the arrays, as plain JSON values."""
        ...

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The same model again, bit for bit, from its `arrays` and `settings`."""
        ...


@runtime_checkable
class PredictsRatings(Protocol):
    """Can say what rating a user would give.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> model = cofactor.Bias().fit(ratings)
    >>> bo, brazil, nobody = 1, 1, -1
    >>> model.predict(np.int32([bo, nobody]), np.int32([brazil, brazil]), ratings.by_user).round(1)
    array([3.8, 3.8], dtype=float32)
    """

    def predict(self, users: Int32, items: Int32, histories: SparseRows) -> Float32:
        """The expected rating of each pair of users (n,) and items (n,), on the scale: (n,) float32.

        histories: one row for each user of the model. A user or item of -1 is unknown: the average stands for it.
        """
        ...


@runtime_checkable
class ScoresItems(Protocol):
    """Can order the catalog for a user.

    >>> import numpy as np
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], kind="events")
    >>> model, bo = cofactor.Popularity().fit(events), np.int32([1])
    >>> his = events.by_user.take(bo)
    >>> model.scores(bo, his).tolist()
    [[1.0, 0.5]]
    >>> rows, scores = model.top(bo, 2, histories=his, exclude=his, allowed=np.zeros(0, bool))
    >>> rows.tolist(), scores.tolist()
    ([[1, -1]], [[0.5, -inf]])
    """

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 says that the model has no evidence about the user and the item."""
        ...

    def scores(self, users: Int32, histories: SparseRows) -> Float32:
        """The unclipped score of every item: (n_users, n_items) float32, higher is better; (0, n_items) for no users.

        users (n_users,): no -1 among them; histories holds one row per asked user, in that order.
        """
        ...

    def top(
        self,
        users: Int32,
        n: int,
        *,
        histories: SparseRows,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = NO_ORDER,
    ) -> tuple[Int32, Float32]:
        """The n best items, best first: rows (n_users, n) int32 and scores (n_users, n) float32.

        histories and exclude hold one row per asked user, in that order; allowed is (n_items,) bool, empty for all.
        Where fewer than n are left, row -1 and score -inf. Equal scores: the lower row first. With `order`, items
        of which a model of events knows nothing for the user (score 0) stand in that order.
        """
        ...


@runtime_checkable
class HasFactors(Protocol):
    """Has a vector for every user and every item.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> cofactor.BiasedMF(factors=2).fit(ratings).item_factors.shape
    (2, 2)
    >>> isinstance(cofactor.ItemKNN().fit(ratings), HasFactors)
    False
    """

    @property
    def user_factors(self) -> Float32:
        """A vector for each user: (n_users, factors) float32; of width 0 where users differ in nothing but bias."""
        ...

    @property
    def item_factors(self) -> Float32:
        """A vector for each item: (n_items, factors) float32."""
        ...


@runtime_checkable
class FoldsIn(Protocol):
    """Can work out users that it was not trained on, from their histories, without retraining.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [5, 4, 1, 1, 2, 5])
    >>> model = cofactor.ExplicitALS(factors=1, l2=0.01).fit(ratings)
    >>> newcomers = SparseRows.of(rows=[0, 1], columns=[2, 2], values=[5, 1], n_rows=2)      # the first loves item 2
    >>> folded = model.fold_in(newcomers)
    >>> folded.predict(np.int32([0, 1]), np.int32([0, 0]), newcomers).round(1)           # as user 1, and as user 0
    array([1.5, 4.5], dtype=float32)
    >>> model.with_users(folded, np.int32([0, 1, -1, -2])).n_users               # two trained on, two newcomers
    4
    """

    def fold_in(self, histories: SparseRows) -> Self:
        """The same model with these histories' rows as its users; an empty row is a user of whom nothing is known."""
        ...

    def with_users(self, other: Self, take: Int32) -> Self:
        """A model whose users are picked by `take` (n,) from this one's (t >= 0) and `other`'s (row -1 - t)."""
        ...


@runtime_checkable
class FoldsAbout(Protocol):
    """Can work newcomers out from what they are taken to be beside their histories; see `models.prior`.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> model = cofactor.ExplicitALS(factors=2).fit(ratings)
    >>> someone = np.array([[0.0, 0.0, 0.5]])                    # both factors, and a bias of half a star
    >>> folded = model.fold_in_about(SparseRows.empty(1), someone, np.eye(3))
    >>> folded.user_bias.tolist()
    [0.5]
    """

    def fold_in_about(self, histories: SparseRows, means: Float64, precision: Float64) -> Self:
        """As `FoldsIn.fold_in`, about a prior: means (n, w), precision (w, w); who has no history is the mean.

        w = factors, and 1 more where users have a bias. Raises KindError for a model that solves no least squares.
        """
        ...


@runtime_checkable
class TakesItems(Protocol):
    """Can hold new items without retraining.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> model = cofactor.ExplicitALS(factors=2).fit(ratings)
    >>> rated_by_nobody = SparseRows.empty(1)
    >>> factors, bias = model.items_about(rated_by_nobody, np.array([[0.0, 0.0, 0.5]]), np.eye(3))
    >>> model.with_items(factors, bias, np.int32([0, 1, -1])).n_items, round(float(bias[0]), 2)
    (3, 0.5)
    """

    def items_about(self, raters: SparseRows, means: Float64, precision: Float64) -> tuple[Float32, Float32]:
        """Vectors (n, factors) and biases (n,) float32 of new items from who rated them (a row each), about a prior.

        raters: columns are users; means (n, w), precision (w, w) as in `FoldsAbout`. An empty row is the mean.
        """
        ...

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> Self:
        """A model whose items are picked by `take` (n,) from this one's (t >= 0) and the new ones (row -1 - t)."""
        ...


@runtime_checkable
class HasUncertainty(Protocol):
    """Can say how sure a predicted rating is.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
    >>> model = cofactor.BayesianMF(factors=2, iterations=50, burn_in=10).fit(ratings)
    >>> seen, unseen = model.distribution(np.int32([0, -1]), np.int32([0, -1]), ratings.by_user).sd()
    >>> bool(seen < unseen)
    True
    """

    def distribution(self, users: Int32, items: Int32, histories: SparseRows) -> Distribution:
        """What each pair's rating may be, n of them; users, items and histories as in `PredictsRatings.predict`."""
        ...


@runtime_checkable
class KnowsTime(Protocol):
    """May predict otherwise at one time than at another. times (n,) int64: seconds since 1970.

    >>> import numpy as np
    >>> import cofactor
    >>> day = 86_400
    >>> ratings = cofactor.Interactions.from_columns(
    ...     [0] * 8, list(range(8)), [5, 5, 5, 5, 1, 1, 1, 1], times=[0, 1, 2, 3, *range(9 * day, 9 * day + 4)]
    ... )
    >>> model = cofactor.BayesianMF(factors=1, iterations=50, burn_in=10, time_bin=day).fit(ratings)
    >>> good, bad = model.predict_at(np.int32([0, 0]), np.int32([-1, -1]), np.int64([9, 9 * day]), ratings.by_user)
    >>> model.knows_time, bool(good > bad)
    (True, True)
    """

    @property
    def knows_time(self) -> bool:
        """Whether it learnt from time: else times change nothing."""
        ...

    def predict_at(self, users: Int32, items: Int32, times: Int64, histories: SparseRows) -> Float32:
        """As `PredictsRatings.predict`, each pair at its time; at times of which nothing is known the same as there."""
        ...

    def distribution_at(self, users: Int32, items: Int32, times: Int64, histories: SparseRows) -> Distribution:
        """As `HasUncertainty.distribution`, each pair at its time."""
        ...


@runtime_checkable
class ComparesItems(Protocol):
    """Can say how alike items are, beyond having vectors (`HasFactors`).

    >>> import numpy as np
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], kind="events")
    >>> cofactor.ItemKNN().fit(events).item_similarity(np.int32([[0, 1, 2]])).tolist()
    [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """

    def item_similarity(self, items: Int32) -> Float32:
        """Similarity -1..1 of all pairs within each row of item rows: (m, c) gives (m, c, c) float32; 0 for row -1."""
        ...


@runtime_checkable
class Explains(Protocol):
    """Can say what its scores are made of.

    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], kind="events")
    >>> why = cofactor.ItemKNN().fit(events).explain(2, 0, events.by_user)
    >>> why.rows.tolist(), why.terms.round(2).tolist(), round(why.score, 2)       # all of it is item 1's
    ([1], [0.82], 0.82)
    """

    def explain(self, user: int, item: int, histories: SparseRows) -> Explanation:
        """The parts of one known pair's score; histories holds all users' rows. An empty history has no terms."""
        ...


@validated
def predicted(model: Any, users: Int32, items: Int32, times: Int64 | None, histories: SparseRows) -> Float32:
    """The expected ratings of pairs, at their times where those are known and the model minds: (n,) float32.

    model: one that `PredictsRatings`; times (n,) int64, seconds since 1970, or None; histories: all users' rows.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1], [0, 1, 0], [5, 3, 4])
    >>> model = cofactor.Bias().fit(ratings)                      # which minds no time
    >>> predicted(model, np.int32([1]), np.int32([1]), np.int64([0]), ratings.by_user).round(1)
    array([3.8], dtype=float32)
    """
    if not isinstance(model, PredictsRatings) or not isinstance(model, Model):
        raise DataError(f"model must be a model that predicts ratings, not {checks.shown(model)}")
    if times is not None and isinstance(model, KnowsTime):
        return model.predict_at(users, items, times, histories)
    ratings: Float32 = model.predict(users, items, histories)
    return ratings


@validated
def distribution(
    model: HasUncertainty, users: Int32, items: Int32, times: Int64 | None, histories: SparseRows
) -> Distribution:
    """What the ratings of pairs may be, n of them, at their times where those are known and the model minds.

    As `predicted`, of a model that `HasUncertainty`.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1], [0, 1, 0], [5, 3, 4])
    >>> model = cofactor.BayesianMF(factors=1, iterations=20, burn_in=5, kept_samples=8).fit(ratings)
    >>> distribution(model, np.int32([1]), np.int32([1]), ratings.times, ratings.by_user)
    Distribution(1 ratings, 3 levels, 8 components)
    """
    if times is not None and isinstance(model, KnowsTime):
        return model.distribution_at(users, items, times, histories)
    return model.distribution(users, items, histories)
