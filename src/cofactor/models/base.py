"""Protocols of what a model can do, which are checked with isinstance; no method exists only to raise.

Users and items are row numbers, int32, as in the id maps; -1 stands for an unknown user or item. An empty request has
an empty result: shape (0,) for no pairs, and (0, n_items) for the scores of no users.
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

__all__ = ["Explains", "FoldsIn", "HasUncertainty", "Model", "PredictsRatings", "ScoresItems"]


@runtime_checkable
class Model(Protocol):
    """Immutable arrays that can be written to a file and read back.

    Attributes
    ----------
    model_type : str
        The name of the class in a file, a key of `models.MODEL_TYPES`.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> model = cofactor.Bias().fit(ratings)
    >>> isinstance(model, Model), model.model_type, model.n_users, model.n_items
    (True, 'factor', 2, 2)
    >>> copy = type(model).from_parts(model.arrays(), model.settings())
    >>> bool((copy.item_bias == model.item_bias).all())
    True
    """

    model_type: ClassVar[str]

    @property
    def n_users(self) -> int:
        """Number of users."""
        ...

    @property
    def n_items(self) -> int:
        """Number of items of the catalog."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all learned arrays by name, with dtypes that model files support.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return everything else that is needed to use the arrays, as JSON values.

        Returns
        -------
        dict of {str: object}
            JSON values by name.
        """
        ...

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Create the model from its `arrays` and `settings`; it is the same, bit for bit.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        Model
            The same object, bit for bit.
        """
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
            n users; a row of -1 is an unknown user. The times of the batch are used by models that learned from time.
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
    def n_users(self) -> int:
        """Number of users."""
        ...

    @property
    def n_items(self) -> int:
        """Number of items of the catalog."""
        ...

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
            The items to leave out, one row for each user of the batch.
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
        """Return the model with one new user for each history.

        Parameters
        ----------
        histories : SparseRows
            An empty row is a user without evidence.
        prior : GaussianPrior, optional
            The prior of the users.

        Raises
        ------
        KindError
            For a prior of a model whose users do not solve least-squares problems.
        """
        ...

    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model whose users are selected by `take` (n,): row t of this model, or row -1 - t of `other`.

        Parameters
        ----------
        other : FoldsIn
            A model with the same items.
        take : ndarray of shape (n,), int32
            Row t of this model, or row -1 - t of `other`.

        Returns
        -------
        FoldsIn
            A model of n users.
        """
        ...


@runtime_checkable
class HasUncertainty(Protocol):
    """Predicts a distribution over ratings.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
    >>> model = cofactor.BayesianMF(factors=2, iterations=50, burn_in=10).fit(ratings)
    >>> users = UserBatch.trained([0, -1], ratings.by_user)
    >>> known, unknown = model.distribution(users, np.int32([0, -1])).sd()
    >>> bool(known < unknown)
    True
    """

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return the distribution of n ratings; users and items as in `PredictsRatings.predict`.

        Parameters
        ----------
        users : UserBatch
            n users, -1 for unknown.
        items : ndarray of shape (n,), int32
            Item rows, -1 for unknown.

        Returns
        -------
        Distribution
            Of the n ratings.
        """
        ...


@runtime_checkable
class Explains(Protocol):
    """Explains a score as a sum of terms.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], kind="events")
    >>> explanation = cofactor.ItemKNN().fit(events).explain(UserBatch.trained([2], events.by_user), 0)
    >>> explanation.rows.tolist(), explanation.terms.round(2).tolist(), round(explanation.score, 2)
    ([1], [0.82], 0.82)
    """

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Return the terms of the score of one user and an item.

        Parameters
        ----------
        users : UserBatch
            One user.
        item : int
            An item row.

        Returns
        -------
        Explanation
            Without terms if the history is empty.
        """
        ...
