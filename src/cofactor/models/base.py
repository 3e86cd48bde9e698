"""Protocols for the capabilities of models (predict, rank, fold in, explain), to be checked with isinstance.

A model lacks the methods that it does not support, instead of raising an error in them. Users and items are int32 row
numbers, as in the ID maps; -1 is an unknown user or item. An empty request gets an empty result: shape (0,) for no
pairs, and (0, n_items) for the scores of no users.
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
    "Explains",
    "FoldsIn",
    "FoldsInWithout",
    "HasUncertainty",
    "Model",
    "PredictsRatings",
    "ScoresItems",
    "ScoresSomeItems",
]


@runtime_checkable
class Model(Protocol):
    """A fitted model: immutable arrays that can be saved to a file and loaded again.

    Attributes
    ----------
    model_type : str
        The name of the class in model files, a key of `models.MODEL_TYPES`.

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
        """Number of users in the model."""
        ...

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all learned arrays of the model by name; all must have dtypes that model files support.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        ...

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct a model from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        Model
            A bitwise identical object.
        """
        ...


@runtime_checkable
class PredictsRatings(Protocol):
    """A model that predicts ratings for user-item pairs.

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
        """Predict a rating for each user-item pair, clipped to the rating scale.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user. The times in the batch are used by models that learned time effects.
        items : ndarray of shape (n,), int32
            The item of each pair, as a row number; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        ...


@runtime_checkable
class ScoresItems(Protocol):
    """A model that ranks the items in the catalog for a user.

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
        """Number of users in the model."""
        ...

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        ...

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 means that the model has no evidence about the user-item pair."""
        ...

    def scores(self, users: UserBatch) -> Float32:
        """Compute the unclipped scores of all items for each user; higher is better.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).

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
        """Return the top n items for each user, best first.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).
        n : int
            The length of each list.
        exclude : SparseRows
            The items to exclude, one row for each user in the batch.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank; an empty array means all items.
        order : ItemOrder
            The order of items for which an event model has no evidence about the user (score 0).

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers, with ties ordered by row number; padded with -1 if fewer than n items remain.
        scores : ndarray of shape (n_users, n), float32
            -inf where the row is -1.
        """
        ...


@runtime_checkable
class ScoresSomeItems(Protocol):
    """Model that can score some items without scoring all others.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> model, users = cofactor.Bias().fit(ratings), UserBatch.trained([0, 1], ratings.by_user)
    >>> bool((model.item_scores(users, np.int32([1])) == model.scores(users)[:, [1]]).all())
    True
    """

    def item_scores(self, users: UserBatch, items: Int32) -> Float32:
        """Compute the unclipped scores of some items for each user, equal to the corresponding columns of `scores`.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).
        items : ndarray of shape (n,), int32
            Item row numbers.

        Returns
        -------
        ndarray of shape (n_users, n), float32
        """
        ...


@runtime_checkable
class FoldsIn(Protocol):
    """A model that can fit new users from their histories without retraining.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [5, 4, 1, 1, 2, 5])
    >>> model = cofactor.ExplicitALS(factors=1, l2=0.01, pseudo_ratings=0).fit(ratings)
    >>> histories = SparseRows.of(rows=[0, 1], columns=[2, 2], values=[5, 1], n_rows=2)   # the first user likes item 2
    >>> folded = model.fold_in(histories)
    >>> folded.predict(UserBatch.folded(histories), np.int32([0, 0])).round(1)            # as user 1, and as user 0
    array([1.6, 4.4], dtype=float32)
    >>> model.with_users(folded, np.int32([0, 1, -1, -2])).n_users                        # two trained, two new users
    4
    """

    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return a model with the same items and one new user for each history.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user; an empty row is a user without evidence.
        prior : GaussianPrior, optional
            The prior for the new users.

        Raises
        ------
        KindError
            If a prior is passed to a model whose users are not fitted by least squares.
        """
        ...

    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model with the same items, and with users selected from this model and another one.

        Parameters
        ----------
        other : FoldsIn
            A model with the same items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        FoldsIn
            A model with n users.
        """
        ...


@runtime_checkable
class FoldsInWithout(Protocol):
    """Protocol for models that can quickly fold in a history with each row left out in turn.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [5, 4, 1, 1, 2, 5])
    >>> model, history = cofactor.BayesianMF(factors=1, iterations=20, burn_in=10).fit(ratings), ratings.by_user.row(0)
    >>> without_first = model.fold_in(history.filter([False, True, True]))
    >>> bool(np.allclose(model.fold_in_without(history).user_factors[0], without_first.user_factors[0], atol=1e-4))
    True
    """

    def fold_in_without(self, histories: SparseRows) -> ScoresSomeItems:
        """Fold in a history once with each row left out and once in full; return the model.

        Parameters
        ----------
        histories : SparseRows
            The history of one user, a single row with m entries.

        Returns
        -------
        ScoresSomeItems
            A model with m + 1 users, who score items as if they were folded in; the last one has the whole history.
            Histories are not used.
        """
        ...


@runtime_checkable
class HasUncertainty(Protocol):
    """A model that predicts a distribution over ratings.

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
        """Return the predictive distribution of the rating for each user-item pair.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        Distribution
            The distributions of n ratings.
        """
        ...


@runtime_checkable
class Explains(Protocol):
    """A model that explains a score as a sum of contributions.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.models.user_batch import UserBatch
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], kind="events")
    >>> explanation = cofactor.ItemKNN().fit(events).explain(UserBatch.trained([2], events.by_user), 0)
    >>> explanation.rows.tolist(), explanation.terms.round(2).tolist(), round(explanation.score, 2)
    ([1], [0.33], 0.33)
    """

    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain the score of one user-item pair as a sum of contributions.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
            The explanation; it has no terms if the history is empty.
        """
        ...
