"""Estimators from model names and `name=value` hyperparameters, parsed with the JSON Schema of the estimators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.estimators import Estimator

__all__ = ["describe_settings", "estimator_of", "estimators_of", "format_number", "format_setting"]

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def estimator_of(model: str, settings: Sequence[str] = ()) -> Estimator:
    """Create the estimator with a given name and hyperparameters such as "factors=50".

    Parameters
    ----------
    model : str
        Name of the model, such as "biased-mf".
    settings : sequence of str, default ()
        Hyperparameters, each "name=value" or "model.name=value".

    Returns
    -------
    Estimator
        Estimator with these hyperparameters.

    Raises
    ------
    ParameterError
        If the model or a hyperparameter is unknown, or a value is invalid; the message lists the alternatives.

    Examples
    --------
    >>> estimator_of("bias", ["damping=2"])
    Bias(damping=2.0)
    """
    return estimators_of([model], settings)[0]


def estimators_of(models: Sequence[str], settings: Sequence[str] = ()) -> list[Estimator]:
    """Create one estimator per model name.

    Parameters
    ----------
    models : sequence of str
        Names of the models.
    settings : sequence of str, default ()
        Hyperparameters: "name=value" applies to all models that have the hyperparameter, "model.name=value" to one.

    Returns
    -------
    list of Estimator
        Estimators, in the order of the names.

    Raises
    ------
    ParameterError
        If a model or a hyperparameter is unknown, or a value is invalid; the message lists the alternatives.

    Examples
    --------
    >>> estimators_of(["bias", "popularity"], ["bias.damping=2"])
    [Bias(damping=2.0), Popularity()]
    """
    from cofactor.estimators.base import Estimator, estimator_class

    classes = [estimator_class(model) for model in models]
    schemas = [cls.json_schema()["properties"] for cls in classes]
    specs: list[dict[str, object]] = [{"estimator": model} for model in models]
    for setting in settings:
        target_model, name, text = _split_setting(setting, models)
        candidates = [k for k, model in enumerate(models) if target_model in ("", model)]
        if not (matches := [k for k in candidates if name in schemas[k] and name != "estimator"]):
            raise ParameterError(_unknown_setting(name, [classes[k] for k in candidates]))
        for k in matches:
            specs[k][name] = _parse_value(f"{models[k]}: {name}", text, schemas[k][name])
    return [Estimator.from_dict(spec) for spec in specs]


def describe_settings(estimator_type: type[Estimator]) -> list[dict[str, Any]]:
    """Describe the hyperparameters of an estimator.

    Parameters
    ----------
    estimator_type : type of Estimator
        Class of the estimator.

    Returns
    -------
    list of dict
        One dict per hyperparameter, in the order of the fields, with keys name, default, low, high, log and meaning;
        empty if there are none. Estimators in a default are given by their names.
    """
    from cofactor.estimators import Estimator

    def default(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(default, value))
        return value.name if isinstance(value, Estimator) else value

    return [
        {
            "name": spec.name,
            "default": default(spec.default),
            **{key: spec.metadata[key] for key in ("low", "high", "log", "meaning")},
        }
        for spec in fields(estimator_type)
    ]


def format_setting(value: Any) -> str:
    """Format the value of a hyperparameter for use in `--set name=value`.

    Parameters
    ----------
    value : Any
        Value of the hyperparameter.

    Returns
    -------
    str
        String that parses to the same value, up to the precision of `:g`.

    Examples
    --------
    >>> format_setting(0.05), format_setting(None), format_setting((1, 5)), format_setting(True)
    ('0.05', 'none', '1,5', 'true')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(format_setting, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_number(value: float) -> str:
    """Return the shortest string that parses to the same number.

    Parameters
    ----------
    value : float
        Number to format.

    Returns
    -------
    str
        Formatted number.

    Examples
    --------
    >>> format_number(4.0), format_number(0.1234567)
    ('4', '0.1234567')
    """
    short_text = f"{value:g}"
    return short_text if float(short_text) == value else repr(value)


def _split_setting(setting: str, models: Sequence[str]) -> tuple[str, str, str]:
    """Split `[model.]name=value` into the model (or ""), the name and the value."""
    qualified_name, equal_sign, text = setting.partition("=")
    if not equal_sign or not qualified_name:
        raise ParameterError(f"--set takes name=value, such as --set factors=50, not {setting!r}")
    target_model, separator, name = qualified_name.strip().rpartition(".")
    if separator and target_model not in models:
        raise ParameterError(
            f"--set {setting}: {target_model!r} is not one of the requested models ({', '.join(models)})"
        )
    return target_model, name, text.strip()


def _unknown_setting(name: str, classes: Sequence[type[Estimator]]) -> str:
    """Return the error message for an unknown setting, with a suggestion and the available settings."""
    settings = {spec["name"]: spec for class_ in classes for spec in describe_settings(class_)}
    close_matches = get_close_matches(name, settings, n=1)
    hint = f" (did you mean {close_matches[0]}?)" if close_matches else ""
    models = " and ".join(dict.fromkeys(class_.name for class_ in classes))
    if not settings:
        return f"{models} has no settings, so {name!r} cannot be set"
    options = "; ".join(f"{n}={format_setting(spec['default'])}: {spec['meaning']}" for n, spec in settings.items())
    return f"{models} has no setting {name!r}{hint}; the settings are: {options}"


def _parse_value(label: str, text: str, schema: dict[str, Any]) -> object:
    """Parse the value of a setting; raise ParameterError if the text matches none of the types in the schema."""
    types = schema.get("anyOf", [schema])
    for member in types:
        valid, value = _parse_as(member, text)
        if valid:
            return value
    raise ParameterError(f"{label} must be {' or '.join(map(_describe_type, types))}, not {text!r}")


def _parse_as(schema: dict[str, Any], text: str) -> tuple[bool, object]:
    """Return whether the text is valid for a type in a schema, and the parsed value."""
    if "enum" in schema:
        return text in schema["enum"], text
    match schema["type"]:
        case "null":
            return text.lower() == "none", None
        case "object":  # an estimator, by its name
            return text == schema["title"], text
        case "boolean":
            return text.lower() in BOOLEANS, BOOLEANS.get(text.lower())
        case "array":
            parts = [] if text == "none" else [part.strip() for part in text.strip("()").split(",")]
            if schema["items"]["type"] in ("string", "object"):  # an estimator is given by its name
                return True, [part for part in parts if part]
            parsed_items = [_parse_as(schema["items"], part) for part in parts]
            is_valid = len(parsed_items) == schema.get("minItems", len(parsed_items))
            is_valid = is_valid and len(parsed_items) > 0 and all(valid for valid, _ in parsed_items)
            return is_valid, [value for _, value in parsed_items]
        case type_:
            try:
                value = int(text) if type_ == "integer" else float(text)
            except ValueError:
                return False, None
            return type_ == "integer" or math.isfinite(value), value


def _describe_type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(schema["enum"])
    if schema["type"] == "object":
        return str(schema["title"])
    if schema["type"] == "array":
        names = "names" if schema["items"]["type"] in ("string", "object") else "numbers"
        return f"{schema['minItems']} comma-separated {names}" if "minItems" in schema else f"comma-separated {names}"
    descriptions = {"integer": "an integer", "number": "a number", "boolean": "true or false", "null": "none"}
    return descriptions[schema["type"]]
