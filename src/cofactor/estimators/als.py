"""Alternating least squares (ALS) estimators for ratings and for implicit feedback.

With the item factors held fixed, fitting each user is a ridge regression, and vice versa.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, Counts, Float32, random_stream, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback, FitMonitor, require_init_model
from cofactor.estimators.training_table import Standardization, TableLike
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.ridge import improve, solve
from cofactor.kernels.sparse import SparseRows
from cofactor.models.base import Model
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, RatingsLoss
from cofactor.validation import validated

__all__ = ["ExplicitALS", "ImplicitALS", "initial_item_factors"]

FACTORS = "number of latent factors"
EPOCHS = "maximum number of epochs, each a pass over all users and items"
PSEUDO_RATINGS = "constant c: the penalties of a user or item with n ratings are multiplied by n + c"
STEPS = "number of conjugate gradient steps per row and epoch"
PATIENCE = "number of epochs without improvement in the validation score before stopping"


@dataclass(frozen=True)
class ExplicitALS(Estimator):
    """Biased matrix factorization for ratings, fitted by alternating least squares.

    Parameters
    ----------
    factors : int, default 50
        Number of latent factors.
    epochs : int, default 10
        Maximum number of epochs, each a pass over all users and items.
    l2 : float, default 0.09
        L2 penalty on factors, per rating.
    l2_bias : float, default 0.05
        L2 penalty on biases, per rating.
    pseudo_ratings : float, default 20.0
        Constant c: the penalties of a user or item with n ratings are multiplied by n + c.
    init_std : float, default 0.02
        Standard deviation of the initial factors.
    cg_steps : int, default 3
        Number of conjugate gradient steps per row and epoch.
    patience : int, default 3
        Number of epochs without improvement in the validation score before stopping.

    Notes
    -----
    The model and its objective::

        r^ = mean + b_u + b_i + p_u . q_i
        minimize  sum over ratings of w (r - r^)^2
                  + sum over users and items of (n + pseudo_ratings) (l2 |p|^2 + l2_bias b^2)

    r is a standardized rating (mean 0, standard deviation 1), w its weight, and n the number of ratings of the user or
    item. Unlike in ALS-WR, biases are solved for jointly with the factors, and the penalty of a row with few ratings
    does not vanish, which matters for sparse tables. If all ratings are equal, the model predicts that rating.

    References
    ----------
    Zhou et al. 2008, "Large-scale parallel collaborative filtering for the Netflix Prize" (ALS-WR).
    Takacs, Pilaszy & Tikk 2011, "Applications of the conjugate gradient method for implicit feedback collaborative
    filtering".

    Examples
    --------
    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> rec = cofactor.Recommender.fit(ExplicitALS(factors=2), ratings)
    >>> rec.predict(0, 0) > 4.5                                                      # a held-out pair
    True
    """

    name: ClassVar[str] = "explicit-als"
    kind: ClassVar[Kind] = "ratings"
    exact_fold_in: ClassVar[bool] = True

    factors: int = parameter(50, FACTORS, low=1, high=1024, log=True, search=(8, 256))
    epochs: int = parameter(10, EPOCHS, low=1, high=1000, search=(5, 20))
    l2: float = parameter(0.09, "L2 penalty on factors, per rating", low=1e-6, high=100, log=True, search=(0.03, 0.6))
    l2_bias: float = parameter(
        0.05, "L2 penalty on biases, per rating", low=1e-6, high=100, log=True, search=(0.005, 0.5)
    )
    pseudo_ratings: float = parameter(20.0, PSEUDO_RATINGS, low=0, high=10_000, search=(0, 60))
    init_std: float = parameter(0.02, "standard deviation of the initial factors", low=1e-6, high=10, log=True)
    cg_steps: int = parameter(3, STEPS, low=1, high=100)
    patience: int = parameter(3, PATIENCE, low=1, high=1000)

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
        """Fit the model to a table of ratings.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings.
        seed : int, Generator or None, default 0
            Seed for the initial factors; the same seed gives identical results.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs. If given, the model from the epoch with the best validation score is
            returned.
        init_model : FactorModel, optional
            Model to continue from, with the same IDs and number of factors.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        FactorModel
            Model with biases. Its user factors minimize the objective exactly given its item factors, so folding in a
            user's history reproduces the user's trained factors.

        Raises
        ------
        KindError
            If the table or `validation` contains events.
        DataError
            If the table has no rows or all weights are 0, or if `validation` has different IDs or no rows.
        ParameterError
            If `init_model` has a different shape.
        DivergedError
            If the loss or any model array is not finite.
        """
        table = self.check_table(interactions)
        monitor = FitMonitor(
            table, validation, callback, epochs=self.epochs, patience=self.patience, advice=self.diverged_advice
        )
        loss = RatingsLoss(l2=self.l2, l2_bias=self.l2_bias, pseudo_ratings=self.pseudo_ratings)
        transformation = Standardization.of(table)
        solver = _AlternatingSolver(loss, self.factors, self.cg_steps, transformation, table.scale)

        def initial() -> FactorModel:
            if init_model is None:
                return _initial_model(table, self.factors, self.init_std, checks.seed(seed))
            return transformation.to_standard(_require_factor_model(init_model, table, self.factors))

        return solver.run(transformation.apply(table), initial(), monitor)


@dataclass(frozen=True)
class ImplicitALS(Estimator):
    """Matrix factorization for implicit feedback (clicks, plays, purchases), fitted by alternating least squares.

    Unobserved user-item pairs are treated as zeros with low confidence.

    Parameters
    ----------
    factors : int, default 64
        Number of latent factors.
    epochs : int, default 10
        Maximum number of epochs, each a pass over all users and items.
    blank_ratio : float, default 6.0
        Total confidence of all user-item pairs, treated as unobserved, divided by that of all events.
    l2_ratio : float, default 0.011
        L2 penalty relative to a row's support and to the skew of the table.
    nu : float, default 1.0
        Exponent of the support in the penalty: 0 for a constant penalty, 1 for a proportional one.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).
    init_std : float, default 0.1
        Standard deviation of the initial factors, before division by sqrt(factors).
    cg_steps : int, default 3
        Number of conjugate gradient steps per row and epoch.
    patience : int, default 3
        Number of epochs without improvement in the validation score before stopping.

    Notes
    -----
    The score and the objective::

        x = p_u . q_i
        minimize  sum over events of w (1 - x)^2 + alpha0 sum over all pairs of x^2
                  + l2 sum_u (n_u + alpha0 n_items)^nu |p_u|^2 + l2 sum_i (n_i + alpha0 n_users)^nu |q_i|^2

    w is the event's confidence (`counts`) times its weight. An event with negative w is a dislike: its target is 0, and
    its confidence is the absolute value of w. n_u and n_i are the number of events for user u and item i; see
    `cofactor.models.losses`. With very few events, the penalty dominates and all factors are zero.

    alpha0 and l2 are stored in the model. They follow from the table with U users and I items that have events::

        alpha0 = blank_ratio (sum over events of |w|) / (U I)
        l2 = l2_ratio sqrt(s) M^(1 - nu),    s = I sum_i n_i^2 / (sum_i n_i)^2

    With the same alpha0 for all tables, unobserved pairs outweigh the events by far in a sparse table, and all scores
    are close to zero. With alpha0 = 0.2, for instance, all pairs together weigh 7 times as much as the liked films of
    MovieLens-100k, but 150 times as much as the events of citeulike, where a ratio of 6 doubles NDCG@10. s is the skew
    of the items: if more events fall on a few popular items, a larger penalty generalizes better. M is the mean
    support, so that the same l2_ratio suits any nu. See `EventsLoss.for_table`; docs/estimators.md has the
    measurements. Use `from_absolute` to give alpha0 and l2 themselves.

    References
    ----------
    Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
    Rendle et al. 2021, "Revisiting the performance of iALS on item recommendation benchmarks" (alpha0 and nu).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i and (u + i) % 2 == 0]      # two tastes
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(ImplicitALS(factors=2), events)
    >>> rec.recommend(0, n=1)["item"].to_list()                      # the item of the same taste that is missing
    [0]
    """

    name: ClassVar[str] = "implicit-als"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    factors: int = parameter(64, FACTORS, low=1, high=1024, log=True, search=(8, 256))
    epochs: int = parameter(10, EPOCHS, low=1, high=1000, search=(5, 20))
    blank_ratio: float = parameter(
        6.0,
        "total confidence of all user-item pairs, treated as unobserved, divided by that of all events",
        low=1e-6,
        high=1e9,
        log=True,
        search=(0.5, 50),
    )
    l2_ratio: float = parameter(
        0.011,
        "L2 penalty relative to a row's support and to the skew of the table",
        low=1e-9,
        high=1e4,
        log=True,
        search=(0.001, 0.1),
    )
    nu: float = parameter(
        1.0,
        "exponent of the support in the penalty: 0 for a constant penalty, 1 for a proportional one",
        low=0,
        high=2,
        search=(0, 1),
    )
    counts: Counts = parameter("log", COUNTS)
    init_std: float = parameter(
        0.1, "standard deviation of the initial factors, before division by sqrt(factors)", low=1e-6, high=10, log=True
    )
    cg_steps: int = parameter(3, STEPS, low=1, high=100)
    patience: int = parameter(3, PATIENCE, low=1, high=1000)

    @classmethod
    @validated
    def from_absolute(
        cls, interactions: TableLike, *, alpha0: float, l2: float, nu: float = 1.0, **settings: object
    ) -> Self:  # fmt: skip
        """Create an estimator from absolute values of alpha0 and l2 for a table, such as those of another library.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events to which the estimator will be fitted.
        alpha0 : float
            Confidence of pairs without an event, above 0.
        l2 : float
            L2 penalty, multiplied by the row's support to the power nu; above 0.
        nu : float, default 1.0
            Exponent of the support in the penalty.
        **settings : object
            Other hyperparameters.

        Returns
        -------
        ImplicitALS
            Estimator with the corresponding `blank_ratio` and `l2_ratio`.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        ParameterError
            If a value is out of range.

        Examples
        --------
        >>> import cofactor
        >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 2], kind="events")
        >>> estimator = ImplicitALS.from_absolute(events, alpha0=0.5, l2=8.0, nu=0, factors=2)
        >>> round(estimator.blank_ratio, 3), round(estimator.fit(events).loss.l2, 3)
        (0.75, 8.0)
        """
        alpha0, l2 = checks.finite_number("alpha0", alpha0, low=0), checks.finite_number("l2", l2, low=0)
        unit = cls(blank_ratio=1.0, l2_ratio=1.0, nu=nu).set_params(**settings)
        table = unit.check_table(interactions)
        blank_ratio = alpha0 / unit._loss(table).alpha0
        l2_ratio = l2 / unit.set_params(blank_ratio=blank_ratio)._loss(table).l2
        return unit.set_params(blank_ratio=blank_ratio, l2_ratio=l2_ratio)

    def _loss(self, table: Interactions) -> EventsLoss:
        """Return the loss, with alpha0 and l2 computed for a table."""
        return EventsLoss.for_table(
            table, blank_ratio=self.blank_ratio, l2_ratio=self.l2_ratio, nu=self.nu, counts=self.counts
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
        """Fit the model to a table of events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events.
        seed : int, Generator or None, default 0
            Seed for the initial factors; the same seed gives identical results.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs. If given, the model from the epoch with the best validation score is
            returned.
        init_model : FactorModel, optional
            Model to continue from, with the same IDs and number of factors.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        FactorModel
            Model without biases; its users are the exact minimizers given its items, so that folding in a user's
            history gives the user's trained factors.

        Raises
        ------
        KindError
            If the table or `validation` contains ratings.
        DataError
            If the table has no rows or all weights are 0, or if `validation` has different IDs or no rows.
        ParameterError
            If `init_model` has a different shape.
        DivergedError
            If the loss or any model array is not finite.
        """
        table = self.check_table(interactions)
        monitor = FitMonitor(
            table, validation, callback, epochs=self.epochs, patience=self.patience, advice=self.diverged_advice
        )
        loss = self._loss(table)
        solver = _AlternatingSolver(loss, self.factors, self.cg_steps)

        def initial() -> FactorModel:
            if init_model is None:
                return _initial_model(table, self.factors, self.init_std / self.factors**0.5, checks.seed(seed))
            return _require_factor_model(init_model, table, self.factors)

        return solver.run(table, initial(), monitor)


def _require_factor_model(init_model: Model, table: Interactions, factors: int) -> FactorModel:
    """Return `init_model`; raise an error unless it is a FactorModel whose shape matches the table and `factors`."""
    shapes = {"user_factors": (table.n_users, factors), "item_factors": (table.n_items, factors)}
    return require_init_model(init_model, FactorModel, shapes)


def _initial_model(interactions: Interactions, factors: int, std: float, seed: int) -> FactorModel:
    """Return a model with normally distributed random item factors; all other parameters are zero."""
    return FactorModel(
        np.zeros((interactions.n_users, factors), np.float32),
        initial_item_factors(interactions.n_items, factors, std, seed),
        np.zeros(interactions.n_users, np.float32),
        np.zeros(interactions.n_items, np.float32),
    )


def initial_item_factors(n_items: int, factors: int, std: float, seed: int) -> Float32:
    """Draw the item factors from which alternating least squares starts.

    Parameters
    ----------
    n_items, factors : int
        Shape of the result.
    std : float
        Standard deviation.
    seed : int
        Seed of the fit.

    Returns
    -------
    ndarray of shape (n_items, factors), float32
        Normally distributed factors.
    """
    noise = random_stream(seed, "item factors").standard_normal((n_items, factors), dtype=np.float32)
    return noise * np.float32(std)


@dataclass(frozen=True)
class _AlternatingSolver:
    """Solver that alternates between users and items.

    The unknowns of all users are stored in one array with columns [factors, bias if any, padding], and those of all
    items in another. For ratings, the table is standardized, and the returned model is in rating units.
    """

    loss: RatingsLoss | EventsLoss
    factors: int
    cg_steps: int
    transformation: Standardization | None = None
    scale: Scale | None = None

    def run(self, interactions: Interactions, model: FactorModel, monitor: FitMonitor) -> FactorModel:
        """Run alternating updates of users and items until `monitor` stops the fit, and return the selected model."""
        by_user, by_item = self.loss.entries(interactions.by_user), self.loss.entries(interactions.by_item)
        users, items = (
            self._unknowns(model.user_factors, model.user_bias),
            self._unknowns(model.item_factors, model.item_bias),
        )
        del model  # the memory of the initial factors
        user_penalty = self.loss.penalty(by_user.counts, interactions.n_items)
        item_penalty = self.loss.penalty(by_item.counts, interactions.n_users)
        empty_items = by_item.counts == 0
        loss_unit = 1.0 if self.transformation is None else self.transformation.std**2

        def epoch(_: int) -> float:
            self._half_step(users, by_user, user_penalty, items)
            squares = self._half_step(items, by_item, item_penalty, users)
            return squares / len(interactions) * loss_unit

        return monitor.run(epoch, lambda: self._model(users, items, by_user, user_penalty, empty_items))

    def _unknowns(self, factors: Float32, bias: Float32) -> Float32:
        """Return an array with the columns [factors, bias if any, padding]."""
        unknowns = np.zeros((len(factors), self.loss.width(self.factors)), np.float32)
        unknowns[:, : self.factors] = factors
        if self.loss.has_bias:
            unknowns[:, self.factors] = bias
        return unknowns

    def _bias(self, unknowns: Float32) -> Float32:
        """Return the bias column, or zeros if there is none."""
        return unknowns[:, self.factors] if self.loss.has_bias else np.zeros(len(unknowns), np.float32)

    def _half_step(self, target: Float32, entries: SparseRows, penalty: Float32, fixed_unknowns: Float32) -> float:
        """Update all users given the items, or all items given the users, and return the sum of squared errors."""
        inputs = self.loss.ridge_inputs(fixed_unknowns[:, : self.factors], self._bias(fixed_unknowns), 0.0)
        return improve(target, entries, penalty, inputs, steps=self.cg_steps)

    def _model(
        self, users: Float32, items: Float32, by_user: SparseRows, penalty: Float32, empty_items: Bool
    ) -> FactorModel:
        """Return the current model after solving for the users exactly, which makes fold-in of user histories exact.

        Items without rows (`empty_items`) are set to zero, which minimizes their penalty; conjugate gradient steps
        would only approach zero.
        """
        items = np.where(empty_items[:, None], np.float32(0), items)
        exact_users = np.empty_like(users)
        inputs = self.loss.ridge_inputs(items[:, : self.factors], self._bias(items), 0.0)
        solve(exact_users, by_user, penalty, inputs)
        model = FactorModel(
            read_only(exact_users[:, : self.factors].copy()),
            read_only(items[:, : self.factors].copy()),
            read_only(self._bias(exact_users).copy()),
            read_only(self._bias(items).copy()),
            loss=self.loss,
        )
        return model if self.transformation is None else self.transformation.to_ratings(model, self.scale)
