"""Estimators from names and `name=value` settings: types, defaults and ranges come from the estimators' fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.estimators import Estimator

__all__ = ["described_settings", "estimator_of", "estimators_of", "in_words", "number_text"]

YES_NO = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def estimator_of(model: str, settings: Sequence[str] = ()) -> Estimator:
    """Return the estimator of this name with settings such as "factors=50".

    Parameters
    ----------
    model : str
        Name of the model, such as "biased-mf".
    settings : sequence of str, default ()
        Settings, each "name=value" or "model.name=value".

    Returns
    -------
    Estimator
        The estimator.

    Raises
    ------
    ParameterError
        If the model, a setting or a value is unknown; the message lists the alternatives.

    Examples
    --------
    >>> estimator_of("bias", ["damping=2"])
    Bias(damping=2.0)
    """
    return estimators_of([model], settings)[0]


def estimators_of(models: Sequence[str], settings: Sequence[str] = ()) -> list[Estimator]:
    """Return one estimator per name.

    Parameters
    ----------
    models : sequence of str
        Names of the models.
    settings : sequence of str, default ()
        Settings: "name=value" applies to all models that have the setting, "model.name=value" to one.

    Returns
    -------
    list of Estimator
        The estimators, in the order of the names.

    Raises
    ------
    ParameterError
        If a model, a setting or a value is unknown; the message lists the alternatives.

    Examples
    --------
    >>> estimators_of(["bias", "popularity"], ["bias.damping=2"])
    [Bias(damping=2.0), Popularity()]
    """
    classes = [_class_of(model) for model in models]
    parameters: list[dict[str, Any]] = [{} for _ in models]
    for setting in settings:
        target, name, text = _parts(setting, models)
        matches = [k for k, class_ in enumerate(classes) if name in _types(class_) and target in ("", models[k])]
        if not matches:
            raise ParameterError(_unknown_setting(name, [c for c in classes if target in ("", c.name)]))
        for k in matches:
            parameters[k][name] = _value(classes[k].name, name, text, _types(classes[k])[name])
    return [class_(**values) for class_, values in zip(classes, parameters, strict=True)]


def described_settings(kind: type[Estimator]) -> list[dict[str, Any]]:
    """Describe the hyper-parameters of an estimator.

    Parameters
    ----------
    kind : type of Estimator
        Class of the estimator.

    Returns
    -------
    list of dict
        One dict per hyper-parameter, in the order of the fields, with name, default, low, high, log and meaning; []
        if there is none.
    """
    return [
        {"name": spec.name, "default": _default(spec), **{k: spec.metadata.get(k) for k in ("low", "high", "log")},
         "meaning": spec.metadata.get("meaning", "")}
        for spec in fields(kind)
    ]  # fmt: skip


def in_words(value: Any) -> str:
    """Format the value of a setting as the user types it after `--set name=`.

    Parameters
    ----------
    value : Any
        Value of the setting.

    Returns
    -------
    str
        Text that is parsed to the same value, up to the precision of `:g`.

    Examples
    --------
    >>> in_words(0.05), in_words(None), in_words((1, 5)), in_words(True)
    ('0.05', 'none', '1,5', 'true')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(in_words, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_text(value: float) -> str:
    """Return the shortest text that parses to the same number.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> number_text(4.0), number_text(0.1234567)
    ('4', '0.1234567')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _class_of(model: str) -> Any:
    from cofactor.estimators import REGISTRY

    if model not in REGISTRY:
        near = get_close_matches(model.lower().replace("_", "-"), REGISTRY, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ParameterError(f"unknown model {model!r}{hint}; the models are {', '.join(REGISTRY)} (`cofactor models`)")
    return REGISTRY[model]


def _parts(setting: str, models: Sequence[str]) -> tuple[str, str, str]:
    """Split a setting into the model (or ""), the name and the text of the value."""
    left, equals, text = setting.partition("=")
    if not equals or not left:
        raise ParameterError(f"--set takes name=value, as in --set factors=50, not {setting!r}")
    target, dot, name = left.strip().rpartition(".")
    if dot and target not in models:
        raise ParameterError(f"--set {setting}: {target!r} is not one of the requested models ({', '.join(models)})")
    return target, name, text.strip()


def _types(class_: Any) -> dict[str, Any]:
    hints = get_type_hints(class_)
    return {spec.name: hints[spec.name] for spec in fields(class_)}


def _default(spec: Field[Any]) -> Any:
    return None if spec.default is MISSING else spec.default


def _unknown_setting(name: str, classes: Sequence[Any]) -> str:
    """Return the message for an unknown setting, with a suggestion and the settings of these estimators."""
    settings = {spec["name"]: spec for class_ in classes for spec in described_settings(class_)}
    near = get_close_matches(name, settings, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    models = " and ".join(dict.fromkeys(class_.name for class_ in classes))
    if not settings:
        return f"{models} has no settings, so {name!r} cannot be set"
    listed = "; ".join(f"{n}={in_words(spec['default'])}: {spec['meaning']}" for n, spec in settings.items())
    return f"{models} has no setting {name!r}{hint}; the settings are: {listed}"


def _value(model: str, name: str, text: str, type_: Any) -> Any:
    """Parse the value of a setting. Raises ParameterError if the text fits none of the types of the field."""
    types = get_args(type_) if get_origin(type_) not in (None, tuple, Literal) else (type_,)
    for member in types:
        valid, value = _parse_as(member, text)
        if valid:
            return value
    expected = " or ".join(map(_type_in_words, types))
    raise ParameterError(f"{model}: {name} must be {expected}, not {text!r}")


def _parse_as(type_: Any, text: str) -> tuple[bool, Any]:
    """Return whether the text is valid for this type, and the parsed value."""
    try:
        if type_ in (NoneType, None):
            return text.lower() == "none", None
        if type_ is bool:
            return text.lower() in YES_NO, YES_NO.get(text.lower())
        if get_origin(type_) is Literal:
            return text in get_args(type_), text
        if get_args(type_)[1:] == (Ellipsis,):
            names = [] if text == "none" else text.strip("()").split(",")
            return True, tuple(name.strip() for name in names if name.strip())
        if get_origin(type_) is tuple:
            parts = text.strip("()").split(",")
            parsed = [_parse_as(t, part.strip()) for t, part in zip(get_args(type_), parts, strict=True)]
            return all(valid for valid, _ in parsed), tuple(value for _, value in parsed)
        value = type_(text)
    except ValueError:
        return False, None
    return not isinstance(value, float) or math.isfinite(value), value


def _type_in_words(type_: Any) -> str:
    if get_args(type_)[1:] == (Ellipsis,):
        return "comma-separated names"
    if get_origin(type_) is tuple:
        return f"{len(get_args(type_))} comma-separated numbers"
    if get_origin(type_) is Literal:
        return " or ".join(map(str, get_args(type_)))
    return {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none"}.get(type_, "text")
