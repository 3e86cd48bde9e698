"""What all estimators share: hyper-parameters as typed fields, and how a fit is watched and stopped."""

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
from cofactor.models.base import PredictsRatings, ScoresItems, predicted

__all__ = [
    "Epoch",
    "EpochCallback",
    "Estimator",
    "Learns",
    "Watch",
    "item_evidence",
    "liked",
    "parameter",
    "standardized",
]

T = TypeVar("T")

Learns: TypeAlias = Kind | Literal["any"]
"""What an estimator learns from: one kind of table, or "any", each in its own way."""


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
    """A hyper-parameter: its default, what it means (with its unit), and the range it may take.

    `low` and `high` are inclusive; `log` says that tuning should search it on a logarithmic scale. A text is one of
    its `choices`. `search`: the narrower range that tuning looks through, for what is worth tuning.

    >>> from dataclasses import fields
    >>> from cofactor.estimators import BiasedMF
    >>> rate = {spec.name: spec for spec in fields(BiasedMF)}["learning_rate"]
    >>> rate.default, rate.metadata["low"], rate.metadata["high"], rate.metadata["search"]
    (0.02, 1e-06, 10, (0.005, 0.1))
    """
    about = {"meaning": meaning, "low": low, "high": high, "log": log, "choices": choices, "search": search}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Estimator:
    """A way to learn, as a value: it prints, compares and goes to and from JSON.

    Class attributes: `name` (kebab case, as on the command line), `kind` (what it learns from), `personal` (different
    users get different items), `exact_fold_in` (a training user's history folds in to that user's own row). The fields
    are hyper-parameters; making one raises ParameterError where a value is not in its range.

        fit(interactions, *, seed=0, validation=None, init_model=None, callback=None) -> a model of `models`

        seed: from 0 on; the same seed gives the same bits
        validation: rows held out, with the ids of `interactions`: the epoch that is best on them is kept
        init_model: a model of the same ids and settings to go on from
        callback: told of each `Epoch`

    `fit` raises KindError for the other kind of table, DataError for a table without rows or without any weight above
    0, and DivergedError where numbers stop being finite. What nothing iterates over has no use for the last three, nor
    for a seed.

    >>> import cofactor
    >>> one = cofactor.BiasedMF(factors=20)
    >>> one == cofactor.BiasedMF().with_settings(factors=20), one.name, one.kind
    (True, 'biased-mf', 'ratings')
    """

    name: ClassVar[str]
    kind: ClassVar[Learns]
    personal: ClassVar[bool] = True
    exact_fold_in: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, np.generic):  # numbers of NumPy neither print nor go to JSON like plain ones
                object.__setattr__(self, spec.name, value := value.item())
            _check(type(self).name, spec, value)

    def to_json(self) -> str:
        """Its name and every hyper-parameter, as it stands in a file.

        >>> import cofactor
        >>> cofactor.Bias().to_json()
        '{"estimator": "bias", "damping": 5.0}'
        """
        return json.dumps({"estimator": self.name, **asdict(self)})

    @property
    def diverged_advice(self) -> str:
        """What a DivergedError of this estimator advises: the hyper-parameters that it has, or a look at the data.

        Returns
        -------
        str
            Each hyper-parameter that it names is a field of the estimator.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.BiasedMF().diverged_advice
        'lower learning_rate, raise l2, or look for values or weights that are far off the others'
        """
        known = {spec.name for spec in fields(self)}
        changes = [
            f"{verb} {name}"
            for verb, name in (("lower", "learning_rate"), ("raise", "l2"), ("raise", "weight_decay"))
            if name in known
        ]
        return (
            ", ".join(changes) + (", or " if changes else "") + "look for values or weights that are far off the others"
        )

    def with_settings(self, **settings: Any) -> Self:
        """The same estimator with some hyper-parameters changed.

        Raises ParameterError for an unknown name, which lists those there are, and for a value out of its range.
        """
        known = {spec.name for spec in fields(self)}
        for name in settings:
            if name not in known:
                raise ParameterError(f"{self.name} has no setting {name!r}; it has {', '.join(sorted(known))}")
        return type(self)(**{**{k: getattr(self, k) for k in known}, **settings})

    def require(self, interactions: Interactions) -> None:
        """Ratings and events are never mixed up silently: KindError says how to convert.

        Raises DataError for a table without rows, or where the weight of every row is 0.
        """
        if len(require_interactions("interactions", interactions)) == 0:
            raise DataError("the table is empty: no rows to learn from")
        if interactions.weights is not None and not interactions.weights.any():
            raise DataError("the weight of every row is 0: there is nothing to learn from")
        if self.kind in ("any", interactions.kind):
            return
        if self.kind == "events":
            raise KindError(
                f"{self.name} learns from events (clicks, plays, purchases), and these are ratings; say which count "
                "as liked: ratings.to_events(min_rating=4), on the command line --min-rating 4"
            )
        raise KindError(f"{self.name} learns from ratings, and these are events; try implicit-als")


def _check(name: str, spec: Field[Any], value: Any) -> None:
    low, high, choices = (spec.metadata.get(name) for name in ("low", "high", "choices"))
    if choices:
        checks.choice(f"{name}: {spec.name}", value, choices)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if type(spec.default) is int:
        checks.whole_number(f"{name}: {spec.name}", value)
    if type(spec.default) is float:
        checks.finite_number(f"{name}: {spec.name}", value)
    if type(spec.default) is bool and not isinstance(value, bool):
        raise ParameterError(f"{name}: {spec.name} must be true or false, not {checks.shown(value)}")
    if not number:
        return
    if (low is not None and value < low) or (high is not None and value > high):
        upper = "" if high is None else f" to {high:g}"
        raise ParameterError(f"{name}: {spec.name} must be from {low:g}{upper}, not {checks.shown(value)}")


def standardized(ratings: Interactions) -> tuple[Interactions, float]:
    """The ratings in the unit in which estimators learn, and that unit; see `Scale.unit`.

    Learning rates, penalties and priors then mean the same on every scale. Ratings from 1 to 5 are returned
    as they are.

    Parameters
    ----------
    ratings : Interactions
        A table of ratings.

    Returns
    -------
    tuple of (Interactions, float)
        The same rows with values and scale divided by the unit, and the unit.

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
    """How far a fit is: what `callback` is told.

    Attributes:

        number, of: this epoch, counted from 1, and how many are planned.
        loss: the mean over rows of the squared error met during the epoch, penalties apart (bpr: -ln sigmoid;
            neural-mf with levels: cross-entropy).
        validation: RMSE (ratings, lower is better) or recall@20 (events, higher is better) on the
            validation part, or None without one.
        seconds: since the fit began.

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


class Watch:
    """Follows a fit: reports epochs, raises DivergedError, keeps the best model and says when to stop.

    Raises DataError where the validation part has other ids or nothing to score by, KindError where it is of the other
    kind. Without one, all epochs are run and the last model is the chosen one.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> watch = Watch(ratings, epochs=2, patience=1, validation=None, callback=None, advice="raise l2")
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
            raise DataError("the validation part must have the same ids as the training part; cut it with a split")
        if validation is not None and validation.kind != interactions.kind:
            raise KindError(f"the validation part holds {validation.kind}, the training part {interactions.kind}")
        if validation is not None and len(liked(validation)) == 0:
            raise DataError("the validation part has no rows to score a model by")
        self.training, self.validation = interactions, validation
        self.epochs, self.patience, self.callback = epochs, patience, callback
        self.advice = advice
        self.began = time.perf_counter()
        self.best: tuple[float, Any] | None = None
        self.since_best = 0

    def goes_on(self, number: int, loss: float, model: Callable[[], Any]) -> bool:
        """Tell it of an epoch; `model` makes the model as it is now (only called with a validation part).

        True where another epoch is worth it. Raises DivergedError where the loss is not finite.
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
            self.callback(Epoch(number, self.epochs, loss, score, time.perf_counter() - self.began))
        return number < self.epochs and self.since_best < self.patience

    def chosen(self, last: Callable[[], T]) -> T:
        """The best model on the validation part; the last one without a validation part."""
        return last() if self.best is None else self.best[1]


def _validation_score(model: Any, training: Interactions, validation: Interactions) -> float:
    if validation.kind == "ratings":
        assert isinstance(model, PredictsRatings)
        ratings = predicted(model, validation.u, validation.i, validation.times, training.by_user)
        return float(np.sqrt(np.mean((validation.values - ratings.astype(np.float64)) ** 2)))
    assert isinstance(model, ScoresItems)
    relevant = liked(validation).by_user
    users = np.flatnonzero(relevant.counts).astype(np.int32)
    held_out, exclude = relevant.take(users), training.excluded.take(users)
    lists = ModelLists.of(model, users, [20], known=training.by_user, exclude=exclude, relevant=held_out)
    return float(np.mean(expected_hits(lists.hits, 20) / np.minimum(held_out.counts, 20)))


def liked(interactions: Interactions) -> Interactions:
    """The rows that a good ranking should find: all but dislikes, and all of a table of ratings; maybe none.

    >>> events = Interactions.from_columns([0, 0], ["liked", "disliked"], weights=[1, -1], kind="events")
    >>> liked(events).frame()["item"].to_list()
    ['liked']
    """
    if interactions.kind == "ratings" or interactions.weights is None:
        return interactions
    return interactions.select(interactions.weights > 0)


def item_evidence(estimator: Any, interactions: Interactions) -> Bool | None:
    """Items that a model of this estimator knows something about after a fit; None for all.

    An item is known from a row with a weight other than 0, or from its features.

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
