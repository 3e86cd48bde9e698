"""Models and their settings by name: everything is read off the fields of the estimators."""

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
    """The estimator of this name with settings such as "factors=50". Raises ParameterError.

    >>> estimator_of("bias", ["damping=2"])
    Bias(damping=2.0)
    """
    return estimators_of([model], settings)[0]


def estimators_of(models: Sequence[str], settings: Sequence[str] = ()) -> list[Estimator]:
    """An estimator for each name; `name=value` is for all that have it, `model.name=value` for one.

    Raises ParameterError for unknown models, settings and values, listing what there is.

    >>> estimators_of(["bias", "popularity"], ["bias.damping=2"])
    [Bias(damping=2.0), Popularity()]
    """
    kinds = [_class_of(model) for model in models]
    chosen: list[dict[str, Any]] = [{} for _ in models]
    for setting in settings:
        target, name, text = _parts(setting, models)
        having = [at for at, kind in enumerate(kinds) if name in _types(kind) and target in ("", models[at])]
        if not having:
            raise ParameterError(_no_such(name, [kind for kind in kinds if target in ("", kind.name)]))
        for at in having:
            chosen[at][name] = _value(kinds[at].name, name, text, _types(kinds[at])[name])
    return [kind(**given) for kind, given in zip(kinds, chosen, strict=True)]


def described_settings(kind: type[Estimator]) -> list[dict[str, Any]]:
    """Every hyper-parameter, in the order of the fields: name, default, low, high, log, meaning; [] for none."""
    return [
        {"name": spec.name, "default": _default(spec), **{k: spec.metadata.get(k) for k in ("low", "high", "log")},
         "meaning": spec.metadata.get("meaning", "")}
        for spec in fields(kind)
    ]  # fmt: skip


def in_words(value: Any) -> str:
    """A setting's value as it is typed after `--set name=`.

    >>> in_words(0.05), in_words(None), in_words((1, 5)), in_words(True)
    ('0.05', 'none', '1,5', 'true')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(in_words, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_text(value: float) -> str:
    """Return the shortest text that gives the same number.

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
        raise ParameterError(f"there is no model {model!r}{hint}; there are {', '.join(REGISTRY)} (`cofactor models`)")
    return REGISTRY[model]


def _parts(setting: str, models: Sequence[str]) -> tuple[str, str, str]:
    left, equals, text = setting.partition("=")
    if not equals or not left:
        raise ParameterError(f"--set takes name=value, as in --set factors=50, not {setting!r}")
    target, dot, name = left.strip().rpartition(".")
    if dot and target not in models:
        raise ParameterError(f"--set {setting}: {target!r} is not among the models asked for ({', '.join(models)})")
    return target, name, text.strip()


def _types(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {spec.name: hints[spec.name] for spec in fields(kind)}


def _default(spec: Field[Any]) -> Any:
    return None if spec.default is MISSING else spec.default


def _no_such(name: str, kinds: Sequence[Any]) -> str:
    known = {spec["name"]: spec for kind in kinds for spec in described_settings(kind)}
    near = get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    models = " and ".join(dict.fromkeys(kind.name for kind in kinds))
    if not known:
        return f"{models} has no settings, so none called {name!r}"
    listed = "; ".join(f"{n}={in_words(spec['default'])}: {spec['meaning']}" for n, spec in known.items())
    return f"{models} has no setting {name!r}{hint}; there are: {listed}"


def _value(model: str, name: str, text: str, kind: Any) -> Any:
    kinds = get_args(kind) if get_origin(kind) not in (None, tuple, Literal) else (kind,)
    for one in kinds:
        read, value = _read_as(one, text)
        if read:
            return value
    meant = " or ".join(_type_in_words(one) for one in kinds)
    raise ParameterError(f"{model}: {name} must be {meant}, not {text!r}")


def _read_as(kind: Any, text: str) -> tuple[bool, Any]:
    """Whether the text is of this type, and its value in it."""
    try:
        if kind in (NoneType, None):
            return text.lower() == "none", None
        if kind is bool:
            return text.lower() in YES_NO, YES_NO.get(text.lower())
        if get_origin(kind) is Literal:
            return text in get_args(kind), text
        if get_args(kind)[1:] == (Ellipsis,):
            names = [] if text == "none" else text.strip("()").split(",")
            return True, tuple(name.strip() for name in names if name.strip())
        if get_origin(kind) is tuple:
            parts = text.strip("()").split(",")
            read = [_read_as(k, part.strip()) for k, part in zip(get_args(kind), parts, strict=True)]
            return all(good for good, _ in read), tuple(value for _, value in read)
        value = kind(text)
    except ValueError:
        return False, None
    return not isinstance(value, float) or math.isfinite(value), value


def _type_in_words(kind: Any) -> str:
    if get_args(kind)[1:] == (Ellipsis,):
        return "names with commas"
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} numbers with a comma"
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none"}.get(kind, "text")
