"""Base class of estimators, declaration of hyper-parameters, and monitoring of fits.

A hyper-parameter is declared once, as a typed field with its meaning and range; the command line, the HTTP schema and
the hyper-parameter search read the fields.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypeVar

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, read_only
from cofactor.data.interactions import Interactions, Kind, require_interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError, DivergedError, KindError, ParameterError
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.ranking import expected_hits
from cofactor.models.base import PredictsRatings, ScoresItems
from cofactor.models.user_batch import UserBatch

__all__ = [
    "Epoch",
    "EpochCallback",
    "Estimator",
    "FitMonitor",
    "Learns",
    "item_evidence",
    "liked",
    "parameter",
    "standardized",
]

T = TypeVar("T")

Learns: TypeAlias = Kind | Literal["any"]
"""Kind of table that an estimator accepts: "ratings", "events", or "any" for both."""


def parameter(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    choices: tuple[str, ...] = (),
    search: tuple[float, float] | None = None,
) -> Any:
    """Declare a hyper-parameter as a dataclass field with its default, meaning and range.

    Parameters
    ----------
    default : object
        Default value; its type is the type that values must have.
    meaning : str
        Description with the unit, as the command line and the HTTP schema print it.
    low, high : float, optional
        Smallest and largest allowed value, both inclusive; None for no limit.
    log : bool, default False
        Whether a hyper-parameter search should use a logarithmic scale.
    choices : tuple of str, default ()
        Allowed values of a text; empty for no restriction.
    search : tuple of (float, float), optional
        Range of a hyper-parameter search, within `low` and `high`; None to exclude it from the search.

    Returns
    -------
    dataclasses.Field
        Field with the default and, as metadata, the other arguments.

    Examples
    --------
    >>> from dataclasses import fields
    >>> from cofactor.estimators import BiasedMF
    >>> spec = {spec.name: spec for spec in fields(BiasedMF)}["learning_rate"]
    >>> spec.default, spec.metadata["low"], spec.metadata["high"], spec.metadata["search"]
    (0.02, 1e-06, 10, (0.005, 0.1))
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "log": log, "choices": choices, "search": search}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Estimator:
    """Base class of estimators: an immutable specification whose fields are the hyper-parameters.

    Estimators can be printed, compared and serialized to JSON. A value outside its range raises ParameterError.

    Attributes
    ----------
    name : str
        Name in kebab case, as on the command line.
    kind : {"ratings", "events", "any"}
        Kind of table that `fit` accepts.
    personal : bool
        Whether recommendations differ between users.
    exact_fold_in : bool
        Whether folding in the history of a training user gives that user's trained representation exactly.

    Notes
    -----
    Each subclass has a method `fit` with this signature, which returns a model of `cofactor.models`::

        fit(interactions, *, seed=0, validation=None, init_model=None, callback=None)

    - `seed`: integer from 0; the same seed gives bit-identical results.
    - `validation`: held-out rows with the ids of `interactions`; the model of the best epoch is returned.
    - `init_model`: model with the same ids and hyper-parameters to continue from.
    - `callback`: called with an `Epoch` after each epoch.

    `fit` raises KindError for the other kind of table, DataError for a table without rows or without a nonzero weight,
    and DivergedError if numbers become non-finite. Estimators that are not iterative ignore the keyword arguments.

    Examples
    --------
    >>> import cofactor
    >>> estimator = cofactor.BiasedMF(factors=20)
    >>> estimator == cofactor.BiasedMF().with_settings(factors=20), estimator.name, estimator.kind
    (True, 'biased-mf', 'ratings')
    """

    name: ClassVar[str]
    kind: ClassVar[Learns]
    personal: ClassVar[bool] = True
    exact_fold_in: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, np.generic):  # NumPy scalars print differently and cannot be serialized to JSON
                object.__setattr__(self, spec.name, value := value.item())
            _check_value(type(self).name, spec, value)

    def to_json(self) -> str:
        """Return the name and all hyper-parameters as JSON, as they are stored in files.

        Returns
        -------
        str
            JSON object with the key "estimator" and one key per hyper-parameter.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().to_json()
        '{"estimator": "bias", "damping": 5.0}'
        """
        return json.dumps({"estimator": self.name, **asdict(self)})

    @property
    def diverged_advice(self) -> str:
        """Advice for a DivergedError: which hyper-parameters to change, and to check the data.

        Returns
        -------
        str
            The advice; each hyper-parameter in it is a field of this estimator.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.BiasedMF().diverged_advice
        'lower learning_rate, raise l2, or look for values or weights that are far off the others'
        """
        names = {spec.name for spec in fields(self)}
        changes = [
            f"{verb} {name}"
            for verb, name in (("lower", "learning_rate"), ("raise", "l2"), ("raise", "weight_decay"))
            if name in names
        ]
        return (
            ", ".join(changes) + (", or " if changes else "") + "look for values or weights that are far off the others"
        )

    def with_settings(self, **settings: Any) -> Self:
        """Return a copy of the estimator with some hyper-parameters changed.

        Parameters
        ----------
        **settings : object
            New values by the name of the hyper-parameter.

        Returns
        -------
        Estimator
            Estimator of the same class.

        Raises
        ------
        ParameterError
            For an unknown name (the message lists the available ones) and for a value outside its range.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().with_settings(damping=10)
        Bias(damping=10)
        """
        names = {spec.name for spec in fields(self)}
        for name in settings:
            if name not in names:
                raise ParameterError(f"{self.name} has no setting {name!r}; it has {', '.join(sorted(names))}")
        return replace(self, **settings)

    def require(self, interactions: Interactions) -> None:
        """Raise unless this estimator can be fitted on a table.

        Parameters
        ----------
        interactions : Interactions
            Table to check.

        Raises
        ------
        KindError
            If the table is of the other kind; the message says how to convert it.
        DataError
            If the table has no rows or all weights are 0.
        """
        if len(require_interactions("interactions", interactions)) == 0:
            raise DataError("the table is empty: no rows to learn from")
        if interactions.weights is not None and not interactions.weights.any():
            raise DataError("the weight of every row is 0; at least one row must have a nonzero weight")
        if self.kind in ("any", interactions.kind):
            return
        if self.kind == "events":
            raise KindError(
                f"{self.name} learns from events (clicks, plays, purchases), but the table holds ratings; to treat "
                "ratings of 4 and up as likes: ratings.to_events(min_rating=4), on the command line --min-rating 4"
            )
        raise KindError(f"{self.name} learns from ratings, but the table holds events; try implicit-als")


def _check_value(name: str, spec: Field[Any], value: Any) -> None:
    """Raise ParameterError unless a hyper-parameter's value has the type of its default and is within its range."""
    low, high, choices = (spec.metadata.get(key) for key in ("low", "high", "choices"))
    if choices:
        checks.choice(f"{name}: {spec.name}", value, choices)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if type(spec.default) is int:
        checks.whole_number(f"{name}: {spec.name}", value)
    if type(spec.default) is float:
        checks.finite_number(f"{name}: {spec.name}", value)
    if type(spec.default) is bool and not isinstance(value, bool):
        raise ParameterError(f"{name}: {spec.name} must be true or false, not {checks.shown(value)}")
    if not is_number:
        return
    if (low is not None and value < low) or (high is not None and value > high):
        upper = "" if high is None else f" to {high:g}"
        raise ParameterError(f"{name}: {spec.name} must be from {low:g}{upper}, not {checks.shown(value)}")


def standardized(ratings: Interactions) -> tuple[Interactions, float]:
    """Divide ratings by the unit of their scale (`Scale.unit`), so that hyper-parameters do not depend on the scale.

    Learning rates, penalties and priors then have the same effect on every scale. Ratings from 1 to 5 are returned
    unchanged.

    Parameters
    ----------
    ratings : Interactions
        A table of ratings.

    Returns
    -------
    tuple of (Interactions, float)
        The same rows with values and scale divided by the unit, and the unit. A table of events is returned
        unchanged, with unit 1.

    Examples
    --------
    >>> ratings = Interactions.from_columns([0, 0], [0, 1], [10, 100])
    >>> standard, unit = standardized(ratings)
    >>> unit, (standard.values * unit).tolist()
    (36.0, [10.0, 100.0])
    """
    scale = ratings.scale
    if scale is None or scale.unit == 1:
        return ratings, 1.0
    unit = scale.unit
    levels = tuple(level / unit for level in scale.levels)
    values = read_only((ratings.values / unit).astype(np.float32))
    return replace(ratings, values=values, scale=Scale(scale.low / unit, scale.high / unit, levels)), unit


@dataclass(frozen=True)
class Epoch:
    """Progress of a fit after an epoch: the argument of `callback`.

    Attributes
    ----------
    number : int
        Number of this epoch, counted from 1.
    of : int
        Maximum number of epochs.
    loss : float
        Mean training loss per row during the epoch, without penalties: squared error, or -ln sigmoid for bpr, or
        cross-entropy for neural-mf with head="classification".
    validation : float or None
        RMSE (ratings, lower is better) or recall@20 (events, higher is better) on the validation rows; None if there
        are none.
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
    """Monitor of an iterative fit: reports epochs, detects divergence, keeps the best model and stops early.

    Without validation rows all epochs run and the last model is returned.

    Parameters
    ----------
    interactions : Interactions
        Training table.
    epochs : int
        Maximum number of epochs.
    patience : int
        Epochs without improvement of the validation score before stopping.
    validation : Interactions or None
        Held-out rows with the ids of `interactions`.
    callback : callable or None
        Called with an `Epoch` after each epoch.
    advice : str
        Advice in the message of a DivergedError.

    Raises
    ------
    DataError
        If `validation` has other ids, or no rows to score a model on.
    KindError
        If `validation` is of the other kind.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> watch = FitMonitor(ratings, epochs=2, patience=1, validation=None, callback=None, advice="raise l2")
    >>> watch.goes_on(1, 0.5, model=dict), watch.goes_on(2, 0.4, model=dict)
    (True, False)
    """

    def __init__(
        self,
        interactions: Interactions,
        *,
        epochs: int,
        patience: int,
        validation: Interactions | None,
        callback: EpochCallback | None,
        advice: str,
    ):
        checks.optional_callable("callback", callback)
        if validation is not None:
            require_interactions("validation", validation)
        if validation is not None and not (
            validation.users.equals(interactions.users) and validation.items.equals(interactions.items)
        ):
            raise DataError("validation must have the same ids as the training table; create both with a split")
        if validation is not None and validation.kind != interactions.kind:
            raise KindError(
                f"validation holds {validation.kind}, but the training table holds {interactions.kind}; "
                "both must be of the same kind"
            )
        if validation is not None and len(liked(validation)) == 0:
            raise DataError("validation has no rows to score a model on")
        self.training, self.validation = interactions, validation
        self.epochs, self.patience, self.callback = epochs, patience, callback
        self.advice = advice
        self.start = time.perf_counter()
        self.best: tuple[float, Any] | None = None
        self.since_best = 0

    def goes_on(self, number: int, loss: float, model: Callable[[], Any]) -> bool:
        """Record an epoch and return whether the fit should continue.

        Parameters
        ----------
        number : int
            Number of the epoch, counted from 1.
        loss : float
            Mean training loss of the epoch.
        model : callable
            Function that returns the current model; it is called only if there are validation rows.

        Returns
        -------
        bool
            False after the last epoch, and after `patience` epochs without improvement.

        Raises
        ------
        DivergedError
            If the loss is not finite.
        """
        if not np.isfinite(loss):
            raise DivergedError(number, loss, self.advice)
        score = None
        if self.validation is not None:
            current = model()
            score = _validation_score(current, self.training, self.validation)
            signed = score if self.validation.kind == "events" else -score
            if self.best is None or signed > self.best[0]:
                self.best, self.since_best = (signed, current), 0
            else:
                self.since_best += 1
        if self.callback is not None:
            self.callback(Epoch(number, self.epochs, loss, score, time.perf_counter() - self.start))
        return number < self.epochs and self.since_best < self.patience

    def chosen(self, last: Callable[[], T]) -> T:
        """Return the model with the best validation score, or the last model if there are no validation rows.

        Parameters
        ----------
        last : callable
            Function that returns the last model.

        Returns
        -------
        model
            The chosen model.
        """
        return last() if self.best is None else self.best[1]


def _validation_score(model: Any, training: Interactions, validation: Interactions) -> float:
    """Return the RMSE for ratings, or recall@20 (normalized by at most 20 relevant items) for events."""
    if validation.kind == "ratings":
        assert isinstance(model, PredictsRatings)
        ratings = model.predict(UserBatch.trained(validation.u, training.by_user, validation.times), validation.i)
        return float(np.sqrt(np.mean((validation.values - ratings.astype(np.float64)) ** 2)))
    assert isinstance(model, ScoresItems)
    relevant = liked(validation).by_user
    users = np.flatnonzero(relevant.counts).astype(np.int32)
    held_out, exclude = relevant.take(users), training.excluded.take(users)
    batch = UserBatch.trained(users, training.by_user)
    lists = ModelLists.of(model, batch, [20], exclude=exclude, relevant=held_out)
    return float(np.mean(expected_hits(lists.hits, 20) / np.minimum(held_out.counts, 20)))


def liked(interactions: Interactions) -> Interactions:
    """Select the relevant rows for ranking metrics: events with a positive weight, or all rows of ratings.

    Parameters
    ----------
    interactions : Interactions
        Table of ratings or events.

    Returns
    -------
    Interactions
        The rows that are not dislikes; possibly none.

    Examples
    --------
    >>> events = Interactions.from_columns([0, 0], ["liked", "disliked"], weights=[1, -1], kind="events")
    >>> liked(events).frame()["item"].to_list()
    ['liked']
    """
    if interactions.kind == "ratings" or interactions.weights is None:
        return interactions
    return interactions.select(interactions.weights > 0)


def item_evidence(estimator: Any, interactions: Interactions) -> Bool | None:
    """Mask of the items that a fitted model has data about.

    An item has data if it has a row with a nonzero weight, or if the estimator uses item features.

    Parameters
    ----------
    estimator : Estimator
        Estimator that is fitted.
    interactions : Interactions
        Training table.

    Returns
    -------
    ndarray of shape (n_items,), bool, or None
        The mask; None if all items have data.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], ["alien", "heat"], kind="events").select([True, False])
    >>> item_evidence(cofactor.ItemKNN(), table).tolist()
    [True, False]
    """
    if getattr(estimator, "item_features", ()):
        return None
    counted = interactions.i if interactions.weights is None else interactions.i[interactions.weights != 0]
    evidence = np.bincount(counted, minlength=interactions.n_items) > 0
    return None if evidence.all() else read_only(evidence)
