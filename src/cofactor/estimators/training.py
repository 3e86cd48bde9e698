"""Iterative training: the epoch loop, early stopping, and checks shared by all iterative estimators."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from cofactor import checks
from cofactor.data.interactions import Interactions, relevant_rows
from cofactor.errors import DataError, DivergedError, KindError, ParameterError
from cofactor.estimators.training_table import TableLike, as_interactions, damped_biases
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.rating import RatingMetric
from cofactor.metrics.registry import VALIDATION_K, validation_metric
from cofactor.models.base import Model, PredictsRatings, ScoresItems
from cofactor.models.user_batch import UserBatch

__all__ = [
    "Epoch",
    "EpochCallback",
    "FitMonitor",
    "one_cycle",
    "report_parts",
    "require_init_model",
    "require_validation",
]

M = TypeVar("M", bound=Model)
T = TypeVar("T")

BIAS_DAMPING = 5.0
"""Damping of the biases that a fit is compared with, as in `Bias`."""

MAX_RISE, MIN_LOSS = 1.25, 1e-12
"""A fit has diverged if its last loss exceeds `MAX_RISE` times its first loss by more than `MIN_LOSS` plus the rounding
error."""

ROUNDING_ERROR = 1e-5
"""Relative rounding error of the loss of one row; with a very large weight, it affects the mean loss."""


@dataclass(frozen=True)
class Epoch:
    """Progress of a fit after one epoch or one step of a closed-form solution, as passed to the `callback` of `fit`.

    Attributes
    ----------
    number : int
        Epoch number, starting at 1.
    of : int
        Maximum number of epochs.
    loss : float
        Mean training loss per row during the epoch, excluding penalties: squared error, -ln sigmoid for bpr, or
        cross-entropy for neural-mf with head="classification"; nan for a part of a closed form.
    validation : float or None
        Metric on the validation rows: RMSE for ratings, capped recall@20 for events (see
        `metrics.registry.validation_metric`); None if there are no validation rows.
    seconds : float
        Seconds since the start of the fit.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> seen = []
    >>> model = cofactor.ExplicitALS(factors=1, epochs=2).fit(ratings, callback=seen.append)
    >>> [(epoch.number, epoch.of, epoch.validation) for epoch in seen]
    [(1, 2, None), (2, 2, None)]
    """

    number: int
    of: int
    loss: float
    validation: float | None
    seconds: float


EpochCallback: TypeAlias = Callable[[Epoch], None]


class FitMonitor:
    """Epoch loop of an iterative fit, with progress reports, divergence checks, model selection and early stopping.

    Without validation rows, all epochs are run and the last model is returned.

    Parameters
    ----------
    interactions : Interactions
        Training table.
    validation : Interactions, CSR matrix or None
        Held-out rows with the same IDs as `interactions`.
    callback : callable or None
        Called with an `Epoch` after each epoch.
    epochs : int
        Maximum number of epochs.
    patience : int
        Number of epochs without improvement in the validation score before stopping.
    advice : str
        Advice to include in the message of a DivergedError.
    loss_may_rise : bool, default False
        Whether a fit is valid if its loss rises over the run, as that of a Markov chain can.

    Raises
    ------
    DataError
        If `validation` has different IDs, or no rows on which a model can be evaluated.
    KindError
        If `validation` has the wrong kind.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> model, losses = cofactor.Bias().fit(ratings), [0.5, 0.4]
    >>> monitor = FitMonitor(ratings, None, None, epochs=2, patience=1, advice="raise l2")
    >>> monitor.run(lambda number: losses[number - 1], lambda: model) is model
    True
    """

    def __init__(
        self,
        interactions: Interactions,
        validation: TableLike | None,
        callback: EpochCallback | None,
        *,
        epochs: int,
        patience: int,
        advice: str,
        loss_may_rise: bool = False,
    ):
        checks.optional_callable("callback", callback)
        self.training, self.callback = interactions, callback
        self.validation = None if validation is None else require_validation(validation, interactions)
        self.epochs, self.patience, self.advice = epochs, patience, advice
        self.loss_may_rise = loss_may_rise
        self.start = time.perf_counter()

    def run(self, epoch: Callable[[int], float], model: Callable[[], M]) -> M:
        """Run epochs until the fit stops, and return the selected model.

        Parameters
        ----------
        epoch : callable
            Function that takes an epoch number, starting at 1, runs that epoch, and returns its mean training loss.
        model : callable
            Function that returns the current model. It is called after each epoch if there are validation rows,
            otherwise only at the end.

        Returns
        -------
        Model
            The model with the best validation score, or the last model if there are no validation rows.

        Raises
        ------
        DivergedError
            If a loss or any model array is not finite, or if the loss rises over the run.
        """
        best: tuple[float, M] | None = None
        number = epochs_since_best = 0
        losses: list[float] = []
        while number < self.epochs and epochs_since_best < self.patience:
            number += 1
            loss = epoch(number)
            if not math.isfinite(loss):
                raise DivergedError(number, loss, self.advice)
            losses.append(loss)
            score = None
            if self.validation is not None:
                current_model = model()
                score = _validation_score(current_model, self.training, self.validation)
                epochs_since_best += 1
                if best is None or validation_metric(self.validation.kind).is_better(score, best[0]):
                    best, epochs_since_best = (score, current_model), 0
            if self.callback is not None:
                self.callback(Epoch(number, self.epochs, loss, score, time.perf_counter() - self.start))
        if not self.loss_may_rise and losses[-1] > MAX_RISE * losses[0] + MIN_LOSS + self._rounding_error():
            raise DivergedError(number, losses[-1], f"the loss rose from {losses[0]:g}; {self.advice}")
        selected_model = model() if best is None else best[1]
        if not all(np.isfinite(array).all() for array in selected_model.arrays().values()):
            raise DivergedError(number, math.nan, self.advice)
        if best is not None:
            self._compare_with_biases(best[0])
        return selected_model

    def _compare_with_biases(self, score: float) -> None:
        """Warn if the validation RMSE is not better than that of damped biases alone."""
        assert self.validation is not None
        metric = validation_metric(self.validation.kind)
        if not isinstance(metric, RatingMetric):
            return
        mean, user_bias, item_bias = damped_biases(self.training, BIAS_DAMPING)
        predictions = mean + user_bias[self.validation.u] + item_bias[self.validation.i]
        biases_score = metric.compute(self.validation.values, predictions)
        if score >= biases_score:
            warnings.warn(
                f"the RMSE on the validation ratings is {score:.4g}, not better than that of biases alone "
                f"({biases_score:.4g}); use the bias estimator, or tune the hyperparameters",
                stacklevel=3,
            )

    def _rounding_error(self) -> float:
        """Return the rounding error of the mean loss caused by the row with the largest weight."""
        table = self.training
        weight = 1.0 if table.weights is None else float(np.abs(table.weights).max(initial=0))
        size = float(np.ptp(table.values)) ** 2 if table.kind == "ratings" else float(table.values.max(initial=0))
        return ROUNDING_ERROR * weight * size / len(table)


def report_parts(parts: Sequence[T], callback: EpochCallback | None) -> Iterator[T]:
    """Yield the parts of a closed-form fit, and report each of them when it is finished.

    Parameters
    ----------
    parts : sequence
        The parts.
    callback : callable or None
        Called with an `Epoch` after each part.

    Yields
    ------
    object
        Each part.

    Examples
    --------
    >>> [part * 2 for part in report_parts([1, 2], lambda epoch: print(f"{epoch.number} of {epoch.of}"))]
    1 of 2
    2 of 2
    [2, 4]
    """
    checks.optional_callable("callback", callback)
    start = time.perf_counter()
    for number, part in enumerate(parts, 1):
        yield part
        if callback is not None:
            callback(Epoch(number, len(parts), math.nan, None, time.perf_counter() - start))


def require_validation(validation: TableLike, training: Interactions) -> Interactions:
    """Return the validation rows; raise an error unless they match the training table and can be used for evaluation.

    Parameters
    ----------
    validation : Interactions or CSR matrix
        Held-out rows.
    training : Interactions
        Training table.

    Returns
    -------
    Interactions
        Validation rows as a table.

    Raises
    ------
    DataError
        If the IDs differ, or a model cannot be evaluated on any row.
    KindError
        If the kinds differ.
    """
    table = as_interactions("validation", validation, training.kind)
    if not (table.users.equals(training.users) and table.items.equals(training.items)):
        raise DataError("`validation` must have the same IDs as the training table; create both with the same split")
    if table.kind != training.kind:
        kinds = f"validation contains {table.kind}, but the training table contains {training.kind}"
        raise KindError(f"{kinds}; both must be of the same kind")
    if len(relevant_rows(table)) == 0:
        raise DataError("`validation` has no rows on which a model can be evaluated")
    return table


def _validation_score(model: Model, training: Interactions, validation: Interactions) -> float:
    """Return the model's validation metric."""
    metric = validation_metric(validation.kind)
    if isinstance(metric, RatingMetric):
        assert isinstance(model, PredictsRatings)
        ratings = model.predict(UserBatch.trained(validation.u, training.by_user, validation.times), validation.i)
        return metric.compute(validation.values, ratings)
    assert isinstance(model, ScoresItems)
    relevant_entries = relevant_rows(validation).by_user
    users = np.flatnonzero(relevant_entries.counts).astype(np.int32)
    held_out_rows, exclude = relevant_entries.take(users), training.excluded.take(users)
    batch = UserBatch.trained(users, training.by_user)
    lists = ModelLists.of(model, batch, [VALIDATION_K], exclude=exclude, relevant=held_out_rows)
    return metric.per_user(lists.hits).aggregate()


def require_init_model(model: Model, cls: type[M], shapes: Mapping[str, tuple[int, ...]]) -> M:
    """Check that training can continue from a model, and return the model.

    Parameters
    ----------
    model : Model
        Value of the argument `init_model`.
    cls : type
        Required class.
    shapes : mapping of str to tuple of int
        Required shape of each array that the fit uses, keyed by its name in `Model.arrays`.

    Returns
    -------
    Model
        The model.

    Raises
    ------
    DataError
        If the model is not an instance of `cls`.
    ParameterError
        If an array is missing or has a different shape.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.models import FactorModel
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1], [0, 1, 0], [5, 3, 4])
    >>> require_init_model(cofactor.Bias().fit(ratings), FactorModel, {"item_factors": (2, 50)})
    Traceback (most recent call last):
    cofactor.errors.ParameterError: init_model must have item_factors of shape (2, 50); got (2, 0)
    """
    checked_model = checks.instance("init_model", model, cls, "fit one with the same estimator")
    arrays = checked_model.arrays()
    for name, shape in shapes.items():
        actual_shape = arrays[name].shape if name in arrays else None
        if actual_shape != shape:
            raise ParameterError(f"init_model must have {name} of shape {shape}; got {actual_shape}")
    return checked_model


def one_cycle(
    peak: float,
    progress: float,
    *,
    first: float = 0.04,
    rise: float = 0.25,
    last: float = 0.0,
    warm_up: Literal["cosine", "linear"] = "cosine",
) -> float:
    """Compute the learning rate of a one-cycle schedule: a rise from `first`, then a half-cosine decay to `last`.

    Parameters
    ----------
    peak : float
        Peak learning rate.
    progress : float
        Completed fraction of the fit, from 0 to 1.
    first : float, default 0.04
        Initial learning rate, as a fraction of `peak`.
    rise : float, default 0.25
        Fraction of the fit during which the learning rate rises.
    last : float, default 0.0
        Lower bound on the learning rate during the decay, as a fraction of `peak`.
    warm_up : {"cosine", "linear"}, default "cosine"
        Shape of the rise: a half cosine, as in fastai, or a straight line.

    Returns
    -------
    float
        Learning rate at `progress`.

    References
    ----------
    Smith & Topin 2019, "Super-convergence"; with cosine annealing as in fastai.

    Examples
    --------
    >>> [round(one_cycle(1.0, progress), 2) for progress in (0.0, 0.25, 0.625, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if progress >= rise:
        return peak * max((1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2, last)
    if warm_up == "linear":
        return peak * (first + (1 - first) * progress / rise)
    return peak * (first + (1 - first) * (1 - math.cos(math.pi * progress / rise)) / 2)
