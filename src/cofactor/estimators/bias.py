"""Non-personalized baselines: damped means for ratings, popularity for events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cofactor.arrays import read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.estimators.base import Estimator, parameter
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike, damped_biases
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.base import Model
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss
from cofactor.validation import validated

__all__ = ["Bias", "Popularity"]


@dataclass(frozen=True)
class Bias(Estimator):
    """Baseline for ratings: the mean rating plus a damped user bias and a damped item bias.

    Parameters
    ----------
    damping : float, default 5.0
        Strength of shrinkage: number of pseudo-ratings equal to the mean added to each user and item.

    Notes
    -----
    The prediction and its terms::

        r^ = mean + b_u + b_i
        b_i = sum over i's ratings w (r - mean) / (sum w + damping)
        b_u = sum over u's ratings w (r - mean - b_i) / (sum w + damping)

    w is the weight of a rating. A user or item without ratings has a bias of 0.

    References
    ----------
    Koren 2008, "Factorization meets the neighborhood", section 2.1 (the decoupled estimates).

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], [5, 3, 4])
    >>> model = Bias(damping=1).fit(ratings)
    >>> model.mean, model.item_bias.round(2), model.user_bias.round(2)
    (4.0, array([ 0.33, -0.5 ], dtype=float32), array([ 0.06, -0.17], dtype=float32))
    """

    name: ClassVar[str] = "bias"
    kind: ClassVar[Kind] = "ratings"
    personalized: ClassVar[bool] = False
    exact_fold_in: ClassVar[bool] = True

    damping: float = parameter(
        5.0,
        "strength of shrinkage: number of pseudo-ratings equal to the mean added to each user and item",
        low=0,
        high=1000,
        log=True,
        search=(1, 50),
    )

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> FactorModel:
        """Compute the mean rating, the damped user biases and the damped item biases from a table of ratings.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        FactorModel
            Model without factors whose biases are the damped biases.

        Raises
        ------
        KindError
            If the table contains events.
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        mean, user_bias, item_bias = damped_biases(table, self.damping)
        return FactorModel(
            read_only(np.zeros((table.n_users, 0), np.float32)),
            read_only(np.zeros((table.n_items, 0), np.float32)),
            read_only(user_bias.astype(np.float32)),
            read_only(item_bias.astype(np.float32)),
            mean=mean,
            scale=table.scale,
            loss=RatingsLoss(l2=0.0, l2_bias=0.0, damping=self.damping),
        )


@dataclass(frozen=True)
class Popularity(Estimator):
    """Baseline for events: the score of an item is the fraction of users who have interacted with it.

    Notes
    -----
    The score is the same for all users::

        x = sum_u max(w_ui, 0) / n_users

    w is the weight of an event, 1 by default, so dislikes do not count. The value of an event does not count: the sum
    of play counts would rank items by their few heaviest users. An item without events scores 0. n_users counts all
    users in the table, including those without events.

    References
    ----------
    Cremonesi, Koren & Turrin 2010, "Performance of recommender algorithms on top-N recommendation tasks" (TopPop).

    Examples
    --------
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns(["ana", "ana", "bo"], ["alien", "brazil", "alien"], kind="events")
    >>> Popularity().fit(events).item_bias.tolist()
    [1.0, 0.5]
    """

    name: ClassVar[str] = "popularity"
    kind: ClassVar[Kind] = "events"
    personalized: ClassVar[bool] = False
    exact_fold_in: ClassVar[bool] = True

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> FactorModel:
        """Compute the popularity of each item from a table of events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        FactorModel
            Model without factors whose item biases are the item popularities.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        weights = None if table.weights is None else np.maximum(table.weights, 0)
        counts = np.bincount(table.i, weights=weights, minlength=table.n_items)
        return FactorModel(
            read_only(np.zeros((table.n_users, 0), np.float32)),
            read_only(np.zeros((table.n_items, 0), np.float32)),
            read_only(np.zeros(table.n_users, np.float32)),
            read_only((counts / table.n_users).astype(np.float32)),
        )
