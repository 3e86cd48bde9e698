"""What a model can do, as Protocols asked with isinstance: there are no methods that only raise.

Users and items are row numbers, int32, as the id maps count them; -1 stands for one that is not known. A `history` is a
user's rows. Nothing asked gives nothing: no pairs an array of shape (0,), no users one of shape (0, n_items).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from cofactor.arrays import ROW_ORDER, Bool, Float32, Int32, ItemOrder
from cofactor.kernels.sparse import SparseRows
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.user_batch import UserBatch

__all__ = [
    "ComparesItems",
    "Explains",
    "FoldsIn",
    "HasFactors",
    "HasUncertainty",
    "Model",
    "PredictsRatings",
    "ScoresItems",
    "TakesItems",
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
    """Predicts the rating of a user and an item.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> model, bo, unknown, brazil = cofactor.Bias().fit(ratings), 1, -1, 1
    >>> model.predict(UserBatch.trained([bo, unknown], ratings.by_user), np.int32([brazil, brazil])).round(1)
    array([3.8, 3.8], dtype=float32)
    """

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict the rating of each user of the batch and the item at the same position, on the rating scale.

        Parameters
        ----------
        users : UserBatch
            n users; a row of -1 is an unknown user. Times of the batch count where the model learned from time.
        items : ndarray of shape (n,), int32
            Item rows; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        ...


@runtime_checkable
class ScoresItems(Protocol):
    """Ranks the catalog for a user.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> events = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], kind="events")
    >>> model, bo = cofactor.Popularity().fit(events), UserBatch.trained([1], events.by_user)
    >>> model.scores(bo).tolist()
    [[1.0, 0.5]]
    >>> rows, scores = model.top(bo, 2, exclude=bo.histories, allowed=np.zeros(0, bool))
    >>> rows.tolist(), scores.tolist()
    ([[1, -1]], [[0.5, -inf]])
    """

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 means that the model has no evidence about the user and the item."""
        ...

    def scores(self, users: UserBatch) -> Float32:
        """Compute the unclipped score of every item; higher is better.

        Parameters
        ----------
        users : UserBatch
            Without rows of -1.

        Returns
        -------
        ndarray of shape (n_users, n_items), float32
        """
        ...

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """Return the n best items of each user, best first.

        Parameters
        ----------
        users : UserBatch
            Without rows of -1.
        n : int
            The length of each list.
        exclude : SparseRows
            The items that the list of each user of the batch leaves out.
        allowed : ndarray of shape (n_items,), bool
            The items to rank; an empty array for all.
        order : ItemOrder
            The order of items for which a model of events has no evidence about the user (score 0).

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item rows; -1 where fewer than n items are left. Of equal scores the lower row is first.
        scores : ndarray of shape (n_users, n), float32
            -inf where the row is -1.
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
    """Fits new users from their histories without retraining.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [5, 4, 1, 1, 2, 5])
    >>> model = cofactor.ExplicitALS(factors=1, l2=0.01).fit(ratings)
    >>> histories = SparseRows.of(rows=[0, 1], columns=[2, 2], values=[5, 1], n_rows=2)   # the first user likes item 2
    >>> folded = model.fold_in(histories)
    >>> folded.predict(UserBatch.folded(histories), np.int32([0, 0])).round(1)            # as user 1, and as user 0
    array([1.5, 4.5], dtype=float32)
    >>> model.with_users(folded, np.int32([0, 1, -1, -2])).n_users                        # two trained, two new users
    4
    """

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return the model with a user for each history; an empty history is a user without evidence.

        Raises KindError for a prior where users do not solve a least-squares problem.
        """
        ...

    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model whose users are selected by `take` (n,): row t of this model, or row -1 - t of `other`."""
        ...


@runtime_checkable
class TakesItems(Protocol):
    """Adds new items without retraining.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> model = cofactor.ExplicitALS(factors=2).fit(ratings)
    >>> without_raters = SparseRows.empty(1)
    >>> factors, bias = model.fold_in_items(without_raters, GaussianPrior(np.array([[0.0, 0.0, 0.5]]), np.eye(3)))
    >>> model.with_items(factors, bias, np.int32([0, 1, -1])).n_items, round(float(bias[0]), 2)
    (3, 0.5)
    """

    def fold_in_items(self, raters: SparseRows, prior: GaussianPrior) -> tuple[Float32, Float32]:
        """Fit new items with the users fixed.

        Parameters
        ----------
        raters : SparseRows
            A row for each new item, with columns for users. An empty row gives the mean of the prior.
        prior : GaussianPrior
            Of each new item.

        Returns
        -------
        factors : ndarray of shape (n, factors), float32
        bias : ndarray of shape (n,), float32
        """
        ...

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> Self:
        """Return a model whose items are selected by `take` (n,): row t of this model, or new item -1 - t."""
        ...


@runtime_checkable
class HasUncertainty(Protocol):
    """Predicts a distribution over ratings.

    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
    >>> model = cofactor.BayesianMF(factors=2, iterations=50, burn_in=10).fit(ratings)
    >>> users = UserBatch.trained([0, -1], ratings.by_user)
    >>> seen, unseen = model.distribution(users, np.int32([0, -1])).sd()
    >>> bool(seen < unseen)
    True
    """

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return the distribution of n ratings; users and items as in `PredictsRatings.predict`."""
        ...


@runtime_checkable
class ComparesItems(Protocol):
    """Compares items other than by their vectors (`HasFactors`).

    >>> import numpy as np
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], kind="events")
    >>> cofactor.ItemKNN().fit(events).item_similarity(np.int32([[0, 1, 2]])).tolist()
    [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """

    def item_similarity(self, items: Int32) -> Float32:
        """Return the similarity, -1 to 1, of all pairs within each list of items.

        Lists of shape (m, c) give an ndarray of shape (m, c, c), float32; 0 for row -1.
        """
        ...


@runtime_checkable
class Explains(Protocol):
    """Explains the terms of a score.

    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], kind="events")
    >>> why = cofactor.ItemKNN().fit(events).explain(UserBatch.trained([2], events.by_user), 0)
    >>> why.rows.tolist(), why.terms.round(2).tolist(), round(why.score, 2)       # all of it is item 1's
    ([1], [0.82], 0.82)
    """

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Return the terms of the score of one user (a batch of one) and one item. An empty history has no terms."""
        ...
