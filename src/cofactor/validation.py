"""Argument checks based on type annotations: a decorator for functions and a function for dataclass fields.

Plain types (int, float, bool, str, literals, lists and mappings of these) and classes are checked here. Functions check
ranges, arrays and other arguments themselves, usually with `cofactor.checks`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar, Union, get_args, get_origin

import numpy as np

from cofactor import checks
from cofactor.errors import DataError, ParameterError

__all__ = ["ADVICE", "require_valid_fields", "validated"]

P = ParamSpec("P")
R = TypeVar("R")

Check = Callable[[str, Any, Any], None]
"""Check of an argument, called with its name, its value, and the object whose method is called (or None)."""

ADVICE: dict[str, str] = {
    "Interactions": (
        "read files and data frames with cofactor.read_ratings or cofactor.read_events, and columns with "
        "cofactor.Interactions.from_columns"
    ),
    "Recommender": "create one with cofactor.Recommender.fit or cofactor.Recommender.load",
    "Split": "create one with a function such as cofactor.split_random or cofactor.evaluate.split_predefined",
    "ItemOrder": "create one with arrays.ItemOrder(rows)",
    "SparseRows": "create one with SparseRows.of(rows, columns, values, n_rows)",
    "IdMap": "create one with IdMap.of(ids)",
    "Scale": "create one with Scale.from_levels(levels)",
    "DataFrame": "convert other tables with polars.DataFrame(table)",
    "SyntheticConfig": "create one with cofactor.datasets.synthetic.SyntheticConfig()",
    "Population": "create one with Population.of(model, histories)",
    "Tastes": "create one with Tastes.of(recommender)",
    "UserBehavior": "create one with cofactor.audit.UserBehavior()",
    "Mitigation": "pass one such as cofactor.audit.PLAIN",
    "Hits": "create one with Hits.of(ranked, relevant)",
    "Study": "create one with cofactor.report.Study(table, estimator)",
    "Generator": "create one with numpy.random.default_rng(seed)",
}
"""How to create an object of each class, by class name, for messages."""

UNCHECKED = ("object", "Any", "Estimator", "CSRMatrix")
"""Classes that are not checked here; functions check estimators and matrices themselves."""

MAX_VALUES = 1_000_000
"""Maximum number of values in a list argument."""


def validated(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function or method so that each call checks its arguments against their annotations.

    An int must be an integer and not a bool, a float must be a finite number, and a str must be a string. An
    argument whose annotation is neither a plain type nor a class, such as an array, is not checked.

    Parameters
    ----------
    function : callable
        A function with annotations.

    Returns
    -------
    callable
        The wrapped function, which raises ParameterError for an invalid value, or DataError for an object of the wrong
        class.

    Examples
    --------
    >>> @validated
    ... def repeat(text: str, *, n: int = 2) -> str:
    ...     return text * n
    >>> repeat("ab", n=1.5)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: n must be an integer, not 1.5
    """
    checks_by_name: dict[str, Check] = {}
    names: list[str] = []

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if not names:
            parameters = inspect.signature(function).parameters
            checks_by_name.update(_checks_of(parameter_annotations(parameters), sys.modules[function.__module__]))
            names.extend(parameters or ["no arguments"])
        owner = args[0] if args and names[0] == "self" else None
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in checks_by_name:
                checks_by_name[name](name, value, owner)
        return function(*args, **kwargs)

    return wrapper


def parameter_annotations(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Return the annotation of each named parameter of a signature.

    Parameters
    ----------
    parameters : mapping of str to inspect.Parameter
        The parameters of the signature.

    Returns
    -------
    dict of str to object
        Annotations by name, without those of *args and **kwargs, and without parameters that have no annotation.

    Examples
    --------
    >>> def double(n: int, *more: int) -> int: ...
    >>> list(parameter_annotations(inspect.signature(double).parameters))
    ['n']
    """
    variadic_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: spec.annotation
        for name, spec in parameters.items()
        if spec.kind not in variadic_kinds and spec.annotation is not inspect.Parameter.empty
    }


def require_valid_fields(record: Any) -> None:
    """Check the fields of a dataclass against their annotations, as `validated` checks arguments.

    Parameters
    ----------
    record : dataclass
        The object; call this function in its `__post_init__`.

    Raises
    ------
    ParameterError
        If a plain value has the wrong type.
    DataError
        If an object is of the wrong class.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Place:
    ...     rank: int
    ...     def __post_init__(self):
    ...         require_valid_fields(self)
    >>> Place("first")
    Traceback (most recent call last):
    cofactor.errors.ParameterError: rank must be an integer, not 'first'
    """
    cls = type(record)
    checks_by_name = _checks_by_class.get(cls)
    if checks_by_name is None:
        checks_by_name = {}
        for base in reversed(cls.__mro__):
            checks_by_name |= _checks_of(getattr(base, "__annotations__", {}), sys.modules[base.__module__])
        checks_by_name = _checks_by_class[cls] = {
            spec.name: checks_by_name[spec.name] for spec in dataclasses.fields(cls) if spec.name in checks_by_name
        }
    for name, check in checks_by_name.items():
        check(name, getattr(record, name), record)


_checks_by_class: dict[type, dict[str, Check]] = {}


def _checks_of(annotations: Mapping[str, Any], module: types.ModuleType) -> dict[str, Check]:
    """Return the check for each name whose annotation has one."""
    checks_by_name = {}
    for name, annotation in annotations.items():
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, vars(module))
            except NameError:  # a name that is imported for type checkers only
                continue
        if (check := _check(annotation)) is not None:
            checks_by_name[name] = check
    return checks_by_name


def _check(annotation: Any) -> Check | None:
    """Return the check for an annotation, or None if there is none."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation == checks.Seed:
        return lambda name, value, _: checks.require_seed(value, name)
    if annotation is Self:
        return lambda name, value, owner: _require_class(name, value, type(owner))
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union(parts)
    if origin is Literal:
        return lambda name, value, _: _require_choice(name, value, parts)
    if origin is collections.abc.Callable:
        return _require_callable
    if origin is tuple and len(parts) == 2 and parts[1] is not Ellipsis:
        return None
    if origin in _LISTS and parts and (check_value := _check(parts[0])) is not None:
        return lambda name, value, owner: _require_list(name, value, check_value, owner)
    if origin in (collections.abc.Mapping, dict) and parts[0] is str:
        return _require_mapping
    if isinstance(annotation, type) and origin is None and annotation.__name__ not in UNCHECKED:
        return lambda name, value, _: _require_class(name, value, annotation)
    return None


def _union(parts: tuple[Any, ...]) -> Check | None:
    """Return a check that accepts any of several annotations, or None if one of them has no check."""
    if Path in parts:
        return _optional_path if type(None) in parts else _path
    optional = type(None) in parts
    candidates = [_check(part) for part in parts if part is not type(None)]
    alternatives = [alternative for alternative in candidates if alternative is not None]
    if len(alternatives) < len(candidates):
        return None

    def check(name: str, value: Any, owner: Any) -> None:
        if value is None and optional:
            return None
        problems = []
        for alternative in alternatives:
            try:
                return alternative(name, value, owner)
            except (ParameterError, DataError) as problem:
                problems.append(problem.with_traceback(None))  # a traceback would keep the arrays of all callers alive
        if len(problems) == 1:
            raise problems[0]
        rules = [str(problem).removeprefix(f"{name} must be ").partition(", not ")[0] for problem in problems]
        raise ParameterError(f"{name} must be {' or '.join(rules)}, not {checks.describe(value)}")

    return check


def _require_class(name: str, value: Any, cls: type) -> None:
    """Require an instance of a class."""
    advice = ADVICE.get(cls.__name__)
    if not isinstance(value, cls):
        message = f"{name} must be of type {cls.__name__}, not {checks.describe(value)}"
        raise DataError(f"{message}: {advice}" if advice else message)


def _require_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Require one of several strings."""
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(f"{name} must be {' or '.join(map(str, choices))}, not {checks.describe(value)}")


def _require_callable(name: str, value: Any, _: Any) -> None:
    """Require a function."""
    if not callable(value):
        raise ParameterError(f"{name} must be a function, not {checks.describe(value)}")


def _require_mapping(name: str, value: Any, _: Any) -> None:
    """Require a mapping with string keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ParameterError(f"{name} must be a dict with string keys, not {checks.describe(value)}")


def _require_list(name: str, value: Any, check_value: Check, owner: Any) -> None:
    """Require a list, tuple, array or column of values that all pass a check."""
    message = f"{name} must be a list, not {checks.describe(value)}"
    if isinstance(value, str | bytes | bytearray | Mapping) or not hasattr(value, "__len__"):
        raise ParameterError(message)
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise ParameterError(message)
    try:
        is_too_long = len(value) > MAX_VALUES
    except OverflowError:  # a range whose length does not fit into 64 bits
        is_too_long = True
    if is_too_long:
        raise ParameterError(f"{name} must contain at most {MAX_VALUES:,} values, not {checks.describe(value)}")
    try:
        parts = list(value)
    except Exception as problem:  # iterating a foreign object may raise anything
        raise ParameterError(message) from problem
    for part in parts:
        try:
            check_value(name, part, owner)
        except (ParameterError, DataError) as problem:
            rule = str(problem).removeprefix(f"{name} must be ").partition(", not ")[0]
            raise type(problem)(f"each value in {name} must be {rule}, not {checks.describe(part)}") from None


def _path(name: str, value: Any, _: Any) -> None:
    """Require a non-empty path, as a string or a Path."""
    try:
        is_path = isinstance(value, str | os.PathLike) and b"\0" not in os.fsencode(value) and bool(os.fspath(value))
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise ParameterError(f"{name} must be a path, not {checks.describe(value)}")


def _optional_path(name: str, value: Any, _: Any) -> None:
    """Require a path or None."""
    if value is not None:
        _path(name, value, _)


def _int(name: str, value: Any, _: Any) -> None:
    """Require an integer."""
    checks.whole_number(name, value)


def _float(name: str, value: Any, _: Any) -> None:
    """Require a finite number."""
    checks.finite_number(name, value)


def _bool(name: str, value: Any, _: Any) -> None:
    """Require True or False."""
    checks.flag(name, value)


def _str(name: str, value: Any, _: Any) -> None:
    """Require a string."""
    if not isinstance(value, str):
        raise ParameterError(f"{name} must be a string, not {checks.describe(value)}")


_PLAIN: dict[Any, Check] = {int: _int, float: _float, bool: _bool, str: _str}
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Collection)
