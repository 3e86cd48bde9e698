"""Base class for estimators: hyperparameter declarations and conversion to and from JSON.

Each hyperparameter is declared once, as a typed field with a description and a range. The command line, the HTTP API,
saved files and the hyperparameter search all use these fields.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import AcceptedKind, TableLike, as_interactions
from cofactor.models.base import Model
from cofactor.validation import validated

__all__ = [
    "COUNTS",
    "Estimator",
    "estimator_class",
    "estimators_of_kind",
    "item_evidence",
    "parameter",
    "require_estimator",
]

T = TypeVar("T")

COUNTS = "confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v)"
"""Description of the hyperparameter `counts` of the estimators that learn from the values of events."""


def parameter(
    default: T,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    search: tuple[float, float] | None = None,
    only_for: Kind | None = None,
) -> T:
    """Declare a hyperparameter as a dataclass field with a default value, a description and a range of valid values.

    Parameters
    ----------
    default : object
        Default value. Values must match the field's type annotation.
    meaning : str
        Description, including the unit, as shown on the command line and in the HTTP schema.
    low, high : float, optional
        Smallest and largest allowed values (inclusive); None for no limit.
    log : bool, default False
        Whether a hyperparameter search should use a logarithmic scale.
    search : tuple of (float, float), optional
        Range for the hyperparameter search, within `low` and `high`; None to exclude it from the search.
    only_for : {"ratings", "events"}, optional
        The kind of table for which the hyperparameter has an effect; None for both. The description then starts with
        "ratings only: " or "events only: ".

    Returns
    -------
    dataclasses.Field
        Field with the default value and the other arguments as metadata.

    Examples
    --------
    >>> from dataclasses import fields
    >>> from cofactor.estimators import BiasedMF
    >>> spec = {spec.name: spec for spec in fields(BiasedMF)}["learning_rate"]
    >>> spec.default, spec.metadata["low"], spec.metadata["high"], spec.metadata["search"]
    (0.025, 1e-06, 10, (0.005, 0.1))
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "log": log, "search": search, "only_for": only_for}
    spec: T = field(default=default, metadata=metadata)
    return spec


@dataclass(frozen=True)
class Estimator(ABC):
    """Base class for estimators: an immutable specification whose fields are the hyperparameters.

    Estimators can be printed, compared, copied, pickled and converted to JSON. A value outside its range raises
    ParameterError. Defining a subclass registers its name for `from_dict`.

    Attributes
    ----------
    name : str
        Kebab-case name, as used on the command line. Two modules cannot define estimators with the same name.
    kind : {"ratings", "events", "any"}
        Kind of table that `fit` accepts.
    personalized : bool
        Whether recommendations differ between users.
    exact_fold_in : bool
        Whether folding in a training user's history reproduces that user's trained representation exactly.

    Examples
    --------
    >>> import cofactor
    >>> estimator = cofactor.BiasedMF(factors=20)
    >>> estimator == cofactor.BiasedMF().set_params(factors=20), estimator.name, estimator.kind
    (True, 'biased-mf', 'ratings')
    """

    name: ClassVar[str]
    kind: ClassVar[AcceptedKind]
    personalized: ClassVar[bool] = True
    exact_fold_in: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if (name := vars(cls).get("name")) is None:
            return
        other = _CLASSES.get(name)
        if other is not None and other.__module__ != cls.__module__:  # a module may redefine its own class
            raise ParameterError(f"the name {name!r} is already used by {other.__module__}.{other.__qualname__}")
        _CLASSES[name] = cls

    def __post_init__(self) -> None:
        types = _field_types(type(self))
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, np.generic):  # NumPy scalars print differently and cannot be converted to JSON
                object.__setattr__(self, spec.name, value := value.item())
            _check_value(self.name, spec, types[spec.name], value)

    @abstractmethod
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> Model:
        """Fit a model to a table of interactions.

        Estimators that are not iterative ignore `validation`, `init_model` and `callback`.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Training table. For a matrix, the IDs are the row and column numbers, and the values are ratings, or events
            if the estimator accepts only events.
        seed : int, Generator or None, default 0
            Random seed. The same integer gives bit-identical results; a `numpy.random.Generator` is used to draw an
            integer; None uses fresh entropy.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs as `interactions`. If given, the model from the epoch with the best
            validation score is returned.
        init_model : Model, optional
            Model to continue from, with the same IDs and hyperparameters.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        Model
            Fitted model.

        Raises
        ------
        KindError
            If a table has the wrong kind.
        DataError
            If a table has no rows or all weights are 0, or if `validation` has different IDs.
        ParameterError
            If `init_model` has a different shape.
        DivergedError
            If the loss or any model array is not finite.
        """

    @validated
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the hyperparameters of the estimator as a dict.

        Parameters
        ----------
        deep : bool, default True
            Ignored; accepted for compatibility with `sklearn.base.clone`.

        Returns
        -------
        dict of str to object
            Hyperparameter values by name.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().get_params()
        {'damping': 5.0}
        """
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}

    def set_params(self, **params: object) -> Self:
        """Return a copy of the estimator with new hyperparameter values; the estimator itself is unchanged.

        Parameters
        ----------
        **params : object
            New values by hyperparameter name.

        Returns
        -------
        Estimator
            New estimator of the same class.

        Raises
        ------
        ParameterError
            If a name is unknown (the message lists the available ones) or a value is outside its range.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().set_params(damping=10)
        Bias(damping=10)
        """
        self._require_names(params)
        return replace(self, **params)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and all hyperparameters as a JSON-serializable dict, as in HTTP responses and saved files.

        Returns
        -------
        dict of str to object
            The key "estimator" and one key per hyperparameter; tuples become lists, and estimators become dicts.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().to_dict()
        {'estimator': 'bias', 'damping': 5.0}
        """
        types = _field_types(type(self))
        values = {name: _to_json(_as_declared(types[name], value)) for name, value in self.get_params().items()}
        return {"estimator": self.name, **values}

    def to_json(self) -> str:
        """Return the result of `to_dict` as a JSON string.

        Returns
        -------
        str
            JSON object with the key "estimator" and one key per hyperparameter.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().to_json()
        '{"estimator": "bias", "damping": 5.0}'
        """
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(spec: str | Mapping[str, object]) -> Estimator:
        """Create an estimator from a dict returned by `to_dict`, or from a name.

        Parameters
        ----------
        spec : str or mapping of str to object
            Name of the estimator, or a mapping with the name under the key "estimator" and any hyperparameters.
            Missing hyperparameters take their default values.

        Returns
        -------
        Estimator
            The estimator.

        Raises
        ------
        ParameterError
            If the estimator or a hyperparameter is unknown (the message suggests a similar name), or a value has the
            wrong type or is outside its range.

        Examples
        --------
        >>> Estimator.from_dict({"estimator": "bias", "damping": 2.0})
        Bias(damping=2.0)
        >>> Estimator.from_dict("bias") == Estimator.from_dict({"estimator": "bias"})
        True
        """
        params = {"estimator": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
        name = params.pop("estimator", None)
        if not isinstance(name, str):
            raise ParameterError(
                'spec must be the name of an estimator or an object such as {"estimator": "bias", "damping": 5}; got '
                f"{checks.describe(spec)}"
            )
        cls = estimator_class(name)
        cls._require_names(params)
        types = _field_types(cls)
        return cls(**{key: _as_declared(types[key], value) for key, value in params.items()})

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema for the output of `to_dict`.

        Returns
        -------
        dict of str to object
            Schema of an object with the estimator's name and the type, range, default and description of each
            hyperparameter.

        Examples
        --------
        >>> import cofactor
        >>> damping = cofactor.Bias.json_schema()["properties"]["damping"]
        >>> damping["type"], damping["minimum"], damping["maximum"], damping["default"]
        ('number', 0, 1000, 5.0)
        """
        types = _field_types(cls)
        properties: dict[str, dict[str, Any]] = {"estimator": {"const": cls.name}}
        for spec in fields(cls):
            limits = {"minimum": spec.metadata["low"], "maximum": spec.metadata["high"]}
            properties[spec.name] = {
                **_schema_of(types[spec.name]),
                **{key: value for key, value in limits.items() if value is not None},
                "default": _to_json(spec.default),
                "description": spec.metadata["meaning"],
            }
        return {
            "type": "object",
            "title": cls.name,
            "properties": properties,
            "required": ["estimator"],
            "additionalProperties": False,
        }

    @property
    def diverged_advice(self) -> str:
        """Advice in the message of a DivergedError: which hyperparameters to change, and what to check in the data.

        Returns
        -------
        str
            Advice that mentions only hyperparameters of this estimator.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.BiasedMF().diverged_advice
        'lower learning_rate, raise l2, or look for values or weights that are far from the others'
        """
        names = {spec.name for spec in fields(self)}
        changes = [
            f"{verb} {name}"
            for verb, name in (("lower", "learning_rate"), ("raise", "l2"), ("raise", "weight_decay"))
            if name in names
        ]
        return (
            ", ".join(changes)
            + (", or " if changes else "")
            + "look for values or weights that are far from the others"
        )

    def check_table(self, interactions: TableLike) -> Interactions:
        """Return the training table, or raise an error if this estimator cannot be trained on it.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Argument passed to `fit`.

        Returns
        -------
        Interactions
            Training table; for a matrix, the IDs are the row and column numbers.

        Raises
        ------
        KindError
            If the table has the wrong kind; the message says how to convert it.
        DataError
            If the table has no rows or all weights are 0, or the argument is not a table.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
        >>> cofactor.Bias().check_table(ratings) is ratings
        True
        """
        table = as_interactions("interactions", interactions, "ratings" if self.kind == "any" else self.kind)
        if len(table) == 0:
            raise DataError("the table is empty; it must have at least one row")
        if table.weights is not None and not table.weights.any():
            raise DataError("the weight of every row is 0; at least one row must have a nonzero weight")
        if self.kind in ("any", table.kind):
            return table
        if self.kind == "events":
            raise KindError(
                f"{self.name} learns from events (clicks, plays, purchases), but the table contains ratings; "
                "to treat ratings of 4 and up as likes, use ratings.to_events(min_rating=4), or --min-rating 4 on the "
                "command line"
            )
        raise KindError(f"{self.name} learns from ratings, but the table contains events; try implicit-als")

    @validated
    def ranking_part(self, interactions: Interactions) -> tuple[Estimator, Interactions]:
        """Return the estimator that ranks items, and its training table.

        Parameters
        ----------
        interactions : Interactions
            Training table of this estimator.

        Returns
        -------
        estimator : Estimator
            This estimator; for `PairedModels`, the ranker.
        interactions : Interactions
            The training table; for `PairedModels`, the liked ratings as events.
        """
        return self, interactions

    @classmethod
    def _require_names(cls, params: Mapping[str, object]) -> None:
        """Raise ParameterError if a name is not a hyperparameter; the message suggests a similar name."""
        names = sorted(spec.name for spec in fields(cls))
        for name in params:
            if name not in names:
                available_names = f"it has {', '.join(names)}" if names else "it has none"
                raise ParameterError(
                    f"{cls.name} has no hyperparameter {name!r}{_suggestion(str(name), names)}; {available_names}"
                )


_CLASSES: dict[str, type[Estimator]] = {}
"""All estimator classes by name, in definition order."""


def estimator_class(name: str) -> type[Estimator]:
    """Return the estimator class with the given name.

    Parameters
    ----------
    name : str
        Name such as "biased-mf".

    Returns
    -------
    type of Estimator
        Estimator class.

    Raises
    ------
    ParameterError
        If the name is unknown; the message suggests a similar name and lists all names.

    Examples
    --------
    >>> estimator_class("biasedmf")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: unknown model 'biasedmf' (did you mean biased-mf?); available models: ...
    """
    if name not in _CLASSES:
        hint = _suggestion(name.lower().replace("_", "-"), _CLASSES)
        names = ", ".join(sorted(_CLASSES))
        raise ParameterError(
            f"unknown model {checks.describe(name)}{hint}; available models: {names} (see `cofactor models`)"
        )
    return _CLASSES[name]


def estimators_of_kind(kind: Kind) -> list[type[Estimator]]:
    """Return the estimator classes of this package that accept tables of the given kind.

    Parameters
    ----------
    kind : {"ratings", "events"}
        Kind of the table.

    Returns
    -------
    list of type of Estimator
        Classes, sorted by name.
    """
    package = __name__.rpartition(".")[0]
    return [
        cls for _, cls in sorted(_CLASSES.items()) if cls.kind in (kind, "any") and cls.__module__.startswith(package)
    ]


def _suggestion(name: str, names: Collection[str]) -> str:
    """Return a hint with the closest matching name, or "" if no name is close."""
    matches = get_close_matches(name, names, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def require_estimator(value: object) -> Estimator:
    """Check that a value is an estimator, and return it.

    Parameters
    ----------
    value : object
        Value of the argument `estimator`.

    Returns
    -------
    Estimator
        The value.

    Raises
    ------
    ParameterError
        If the value is not an estimator, for example if it is the name of one.

    Examples
    --------
    >>> require_estimator("bias")
    Traceback (most recent call last):
    cofactor.errors.ParameterError: estimator must be an estimator instance, such as cofactor.Bias(), not 'bias'
    """
    if not isinstance(value, Estimator):
        raise ParameterError(
            f"estimator must be an estimator instance, such as cofactor.Bias(), not {checks.describe(value)}"
        )
    return value


@cache
def _field_types(cls: type[Estimator]) -> dict[str, Any]:
    """Return the declared type of each hyperparameter, or the type of its default if names cannot be resolved."""
    try:
        hints = get_type_hints(cls)
    except NameError:  # a class defined in a function and annotated with names local to it
        hints = {}
    return {spec.name: hints.get(spec.name, type(spec.default)) for spec in fields(cls)}


def _without_none(declared_type: Any) -> Any:
    """Return X for the optional type X | None, and any other type unchanged."""
    members = [member for member in get_args(declared_type) if member is not NoneType]
    return members[0] if NoneType in get_args(declared_type) and len(members) == 1 else declared_type


def _check_value(name: str, spec: Field[Any], declared_type: Any, value: Any) -> None:
    """Raise ParameterError if a hyperparameter value does not have the declared type or is outside its range."""
    low, high, label = spec.metadata.get("low"), spec.metadata.get("high"), f"{name}: {spec.name}"
    if value is None and NoneType in get_args(declared_type):
        return
    declared_type = _without_none(declared_type)
    if get_origin(declared_type) is Literal:
        checks.choice(label, value, get_args(declared_type))
    if declared_type is Estimator and not isinstance(value, Estimator):
        raise ParameterError(f"{label} must be an estimator, such as cofactor.Bias(), not {checks.describe(value)}")
    if declared_type is int:
        checks.whole_number(label, value)
    if declared_type is float:
        checks.finite_number(label, value)
    if declared_type is bool and not isinstance(value, bool):
        raise ParameterError(f"{label} must be true or false, not {checks.describe(value)}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if (low is not None and value < low) or (high is not None and value > high):
        allowed_range = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise ParameterError(f"{label} must be {allowed_range}, not {checks.describe(value)}")


def _as_declared(declared_type: Any, value: object) -> object:
    """Convert a value to its declared type: lists to tuples, numbers to int or float (infinity if it is too large)."""
    declared_type = _without_none(declared_type)
    if isinstance(value, list):
        return tuple(value)
    if declared_type is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if declared_type is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return value


def _to_json(value: Any) -> Any:
    """Convert a hyperparameter value to a JSON value: tuples to lists, and estimators to dicts."""
    if isinstance(value, tuple):
        return [_to_json(part) for part in value]
    return value.to_dict() if isinstance(value, Estimator) else value


def _schema_of(declared_type: Any) -> dict[str, Any]:
    """Return the JSON Schema for a declared type: a scalar, a Literal, a tuple, an estimator, or a union."""
    names = {int: "integer", float: "number", bool: "boolean", NoneType: "null", str: "string"}
    if declared_type in names:
        return {"type": names[declared_type]} | ({"minLength": 1} if declared_type is str else {})
    if declared_type is Estimator:
        return {"type": "object", "required": ["estimator"]}
    if get_origin(declared_type) is Literal:
        return {"enum": list(get_args(declared_type))}
    if get_origin(declared_type) is tuple:
        first, *rest = get_args(declared_type)
        size = {} if rest == [...] else {"minItems": 1 + len(rest), "maxItems": 1 + len(rest)}
        return {"type": "array", "items": _schema_of(first), **size}
    return {"anyOf": [_schema_of(part) for part in get_args(declared_type)]}


def item_evidence(estimator: Estimator, interactions: Interactions) -> Bool | None:
    """Return a mask of the items with evidence for their scores: training interactions or item features.

    An item has data if it has a row with a nonzero weight, or if the estimator uses item features.

    Parameters
    ----------
    estimator : Estimator
        Estimator of the fitted model.
    interactions : Interactions
        Training table.

    Returns
    -------
    ndarray of shape (n_items,), bool, or None
        Mask; None if all items have data.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], ["alien", "heat"], kind="events").select([True, False])
    >>> item_evidence(cofactor.ItemKNN(), table).tolist()
    [True, False]
    """
    estimator, interactions = estimator.ranking_part(interactions)
    if getattr(estimator, "item_features", ()):
        return None
    weighted_items = interactions.i if interactions.weights is None else interactions.i[interactions.weights != 0]
    evidence = np.bincount(weighted_items, minlength=interactions.n_items) > 0
    return None if evidence.all() else read_only(evidence)
