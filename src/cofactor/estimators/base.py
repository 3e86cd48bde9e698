"""Base class of estimators, declaration of hyper-parameters, and conversion to JSON and back.

A hyper-parameter is declared once, as a typed field with its meaning and range; the command line, the HTTP interface,
saved files and the hyper-parameter search read the fields.
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
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import AcceptedKind, TableLike, as_interactions
from cofactor.models.base import Model
from cofactor.validation import validated

__all__ = ["Estimator", "estimator_class", "item_evidence", "parameter", "require_estimator"]

T = TypeVar("T")


def parameter(
    default: T,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    search: tuple[float, float] | None = None,
) -> T:
    """Declare a hyper-parameter as a dataclass field with its default, meaning and range.

    Parameters
    ----------
    default : object
        Default value. Values must have the type of the field's annotation.
    meaning : str
        Description with the unit, as the command line and the HTTP schema print it.
    low, high : float, optional
        Smallest and largest allowed value, both inclusive; None for no limit.
    log : bool, default False
        Whether a hyper-parameter search should use a logarithmic scale.
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
    metadata = {"meaning": meaning, "low": low, "high": high, "log": log, "search": search}
    spec: T = field(default=default, metadata=metadata)
    return spec


@dataclass(frozen=True)
class Estimator(ABC):
    """Base class of estimators: an immutable specification whose fields are the hyper-parameters.

    Estimators can be printed, compared, copied, pickled and converted to JSON. A value outside its range raises
    ParameterError. Defining a subclass registers it: `from_dict` finds it by its name.

    Attributes
    ----------
    name : str
        Name in kebab case, as on the command line. Two modules cannot define estimators with the same name.
    kind : {"ratings", "events", "any"}
        Kind of table that `fit` accepts.
    personalized : bool
        Whether recommendations differ between users.
    exact_fold_in : bool
        Whether folding in the history of a training user gives that user's trained representation exactly.

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
        if other is not None and other.__module__ != cls.__module__:  # a module may define its class again
            raise ParameterError(f"the name {name!r} belongs to the estimator {other.__module__}.{other.__qualname__}")
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
        """Fit a model.

        Estimators that are not iterative ignore `validation`, `init_model` and `callback`.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Training table. The ids of a matrix are its row and column numbers; its values are ratings, or events if
            the estimator accepts events only.
        seed : int, Generator or None, default 0
            Seed of the random numbers. The same integer gives bit-identical results; a `numpy.random.Generator` is
            used to draw an integer; None uses fresh entropy.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the ids of `interactions`. If given, the model of the epoch with the best validation
            score is returned.
        init_model : Model, optional
            Model with the same ids and hyper-parameters to continue from.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        Model
            A model of `cofactor.models`.

        Raises
        ------
        KindError
            If a table is of the other kind.
        DataError
            If a table has no rows or all weights are 0, or if `validation` has other ids.
        ParameterError
            If `init_model` has another shape.
        DivergedError
            If the loss or an array of the model is not finite.
        """

    @validated
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the hyper-parameters by name.

        Parameters
        ----------
        deep : bool, default True
            Ignored: no hyper-parameter is an estimator. `sklearn.base.clone` passes it.

        Returns
        -------
        dict of str to object
            Values of the fields.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().get_params()
        {'damping': 5.0}
        """
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}

    def set_params(self, **params: object) -> Self:
        """Return a copy of the estimator with some hyper-parameters changed; the estimator itself does not change.

        Parameters
        ----------
        **params : object
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
        >>> cofactor.Bias().set_params(damping=10)
        Bias(damping=10)
        """
        self._require_names(params)
        return replace(self, **params)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and all hyper-parameters as JSON values, as HTTP answers and saved files hold them.

        Returns
        -------
        dict of str to object
            The key "estimator" and one key per hyper-parameter; tuples become lists.

        Examples
        --------
        >>> import cofactor
        >>> cofactor.Bias().to_dict()
        {'estimator': 'bias', 'damping': 5.0}
        """
        params = {name: list(value) if isinstance(value, tuple) else value for name, value in self.get_params().items()}
        return {"estimator": self.name, **params}

    def to_json(self) -> str:
        """Return `to_dict` as JSON text.

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
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(spec: str | Mapping[str, object]) -> Estimator:
        """Create an estimator from JSON values, as `to_dict` returns them.

        Parameters
        ----------
        spec : str or mapping of str to object
            Name of the estimator, or its name under the key "estimator" and hyper-parameters. Those that are missing
            have their defaults.

        Returns
        -------
        Estimator
            The estimator.

        Raises
        ------
        ParameterError
            If the estimator or a hyper-parameter is unknown (the message suggests one that exists), or a value has
            another type or is outside its range.

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
                'spec must be the name of an estimator, or an object such as {"estimator": "bias", "damping": 5}, not '
                f"{checks.describe(spec)}"
            )
        cls = estimator_class(name)
        cls._require_names(params)
        defaults = {spec.name: spec.default for spec in fields(cls)}
        return cls(**{key: _from_json(defaults[key], value) for key, value in params.items()})

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the estimator's `to_dict`.

        Returns
        -------
        dict of str to object
            Schema of an object with the name and the hyper-parameters: type, range, default and meaning of each.

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
            default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
            keywords = {
                "minimum": spec.metadata["low"],
                "maximum": spec.metadata["high"],
                "default": default,
                "description": spec.metadata["meaning"],
            }
            defined = {key: value for key, value in keywords.items() if value is not None}
            properties[spec.name] = _schema_of(types[spec.name]) | defined
        return {
            "type": "object",
            "title": cls.name,
            "properties": properties,
            "required": ["estimator"],
            "additionalProperties": False,
        }

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

    def check_table(self, interactions: TableLike) -> Interactions:
        """Return the table of a fit; raise unless this estimator can be fitted on it.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            The argument of `fit`.

        Returns
        -------
        Interactions
            The table; that of a matrix has the row and column numbers as ids.

        Raises
        ------
        KindError
            If the table is of the other kind; the message says how to convert it.
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
            raise DataError("the table is empty: no rows to learn from")
        if table.weights is not None and not table.weights.any():
            raise DataError("the weight of every row is 0; at least one row must have a nonzero weight")
        if self.kind in ("any", table.kind):
            return table
        if self.kind == "events":
            raise KindError(
                f"{self.name} learns from events (clicks, plays, purchases), but the table holds ratings; to treat "
                "ratings of 4 and up as likes: ratings.to_events(min_rating=4), on the command line --min-rating 4"
            )
        raise KindError(f"{self.name} learns from ratings, but the table holds events; try implicit-als")

    @classmethod
    def _require_names(cls, params: Mapping[str, object]) -> None:
        """Raise ParameterError for a setting that is not a hyper-parameter, with a suggestion."""
        names = sorted(spec.name for spec in fields(cls))
        for name in params:
            if name not in names:
                available = f"it has {', '.join(names)}" if names else "it has none"
                raise ParameterError(f"{cls.name} has no setting {name!r}{_suggestion(str(name), names)}; {available}")


_CLASSES: dict[str, type[Estimator]] = {}
"""All estimator classes by name, in the order of their definition."""


def estimator_class(name: str) -> type[Estimator]:
    """Return the estimator class of a name.

    Parameters
    ----------
    name : str
        Name such as "biased-mf".

    Returns
    -------
    type of Estimator
        The class.

    Raises
    ------
    ParameterError
        If there is none of this name; the message suggests one and lists all.

    Examples
    --------
    >>> estimator_class("biasedmf")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: unknown model 'biasedmf' (did you mean biased-mf?); the models are ...
    """
    if name not in _CLASSES:
        hint = _suggestion(name.lower().replace("_", "-"), _CLASSES)
        names = ", ".join(sorted(_CLASSES))
        raise ParameterError(f"unknown model {checks.describe(name)}{hint}; the models are {names} (`cofactor models`)")
    return _CLASSES[name]


def _suggestion(name: str, names: Collection[str]) -> str:
    """Return the closest of the names as a hint for a message, or "" if none is close."""
    matches = get_close_matches(name, names, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def require_estimator(value: object) -> Estimator:
    """Require an estimator, and return it.

    Parameters
    ----------
    value : object
        The argument `estimator`.

    Returns
    -------
    Estimator
        The value.

    Raises
    ------
    ParameterError
        If it is anything else, such as the name of an estimator.

    Examples
    --------
    >>> require_estimator("bias")
    Traceback (most recent call last):
    cofactor.errors.ParameterError: estimator must be an estimator, such as cofactor.Bias(), not 'bias'
    """
    if not isinstance(value, Estimator):
        raise ParameterError(f"estimator must be an estimator, such as cofactor.Bias(), not {checks.describe(value)}")
    return value


@cache
def _field_types(cls: type[Estimator]) -> dict[str, Any]:
    """Return the declared type of each hyper-parameter; the type of its default where names cannot be resolved."""
    try:
        hints = get_type_hints(cls)
    except NameError:  # a class inside a function, annotated with names of that function
        hints = {}
    return {spec.name: hints.get(spec.name, type(spec.default)) for spec in fields(cls)}


def _check_value(name: str, spec: Field[Any], declared_type: Any, value: Any) -> None:
    """Raise ParameterError unless a hyper-parameter's value has the declared type and is within its range."""
    low, high, label = spec.metadata.get("low"), spec.metadata.get("high"), f"{name}: {spec.name}"
    if get_origin(declared_type) is Literal:
        checks.choice(label, value, get_args(declared_type))
    if declared_type is int:
        checks.whole_number(label, value)
    if declared_type is float:
        checks.finite_number(label, value)
    if declared_type is bool and not isinstance(value, bool):
        raise ParameterError(f"{label} must be true or false, not {checks.describe(value)}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if (low is not None and value < low) or (high is not None and value > high):
        upper = "" if high is None else f" to {high:g}"
        raise ParameterError(f"{label} must be from {low:g}{upper}, not {checks.describe(value)}")


def _from_json(default: object, value: object) -> object:
    """Convert a JSON value: lists to tuples, 5.0 to a whole number, and what no float can hold to infinity."""
    if isinstance(value, list):
        return tuple(value)
    if type(default) is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if type(default) is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return value


def _schema_of(declared_type: Any) -> dict[str, Any]:
    """Return the JSON Schema of a declared type: a plain value, a choice, a tuple, or one of several types."""
    names = {int: "integer", float: "number", bool: "boolean", NoneType: "null", str: "string"}
    if declared_type in names:
        return {"type": names[declared_type]} | ({"minLength": 1} if declared_type is str else {})
    if get_origin(declared_type) is Literal:
        return {"enum": list(get_args(declared_type))}
    if get_origin(declared_type) is tuple:
        first, *rest = get_args(declared_type)
        size = {} if rest == [...] else {"minItems": 1 + len(rest), "maxItems": 1 + len(rest)}
        return {"type": "array", "items": _schema_of(first), **size}
    return {"anyOf": [_schema_of(part) for part in get_args(declared_type)]}


def item_evidence(estimator: Estimator, interactions: Interactions) -> Bool | None:
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
    weighted_items = interactions.i if interactions.weights is None else interactions.i[interactions.weights != 0]
    evidence = np.bincount(weighted_items, minlength=interactions.n_items) > 0
    return None if evidence.all() else read_only(evidence)
