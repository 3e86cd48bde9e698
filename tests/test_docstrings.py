"""Whatever a public room exports says what it is, and shows it by an example that runs (pytest runs them all)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

ROOMS = (
    "cofactor",
    "cofactor.estimators",
    "cofactor.evaluate",
    "cofactor.cold_start",
    "cofactor.audit",
    "cofactor.interpret",
    "cofactor.plots",
)


def exported(room: str) -> dict[str, Any]:
    """The classes and functions that a room exports; its constants and rooms apart."""
    module = import_module(room)
    things = {name: getattr(module, name) for name in module.__all__}
    return {name: thing for name, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)}


EXPORTED = {f"{room}.{name}": thing for room in ROOMS for name, thing in exported(room).items()}


def docstrings(thing: Any) -> Iterator[str]:
    """Its own, and for a class those of its own public methods and properties."""
    yield thing.__doc__ or ""
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            function = next((getattr(member, at) for at in ("__func__", "fget", "func") if hasattr(member, at)), member)
            if inspect.isfunction(function) and not name.startswith("_"):  # not a default: int has an example, too
                yield function.__doc__ or ""


def test_every_room_exports_something() -> None:
    assert {name.rpartition(".")[0] for name in EXPORTED} == set(ROOMS)


@pytest.mark.parametrize("name", EXPORTED)
def test_it_says_what_it_is_and_shows_it(name: str) -> None:
    thing = EXPORTED[name]
    own = next(docstrings(thing))
    made = f"{thing.__name__}("  # what a dataclass without a docstring gets from Python
    assert own.strip(), f"{name} has no docstring"
    assert not own.startswith(made), f"{name} has no docstring"
    assert any(">>>" in text for text in docstrings(thing)), f"{name} has no example"


def callables(thing: Any) -> Iterator[Any]:
    """The function or class itself, and for a class its own public methods."""
    yield thing
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and not name.startswith("_"):
                yield function


DOCUMENTED = [
    (function, *found)
    for thing in EXPORTED.values()
    for function in callables(thing)
    for found in re.findall(r"(?m)^ +(\w+) : .*\bdefault (\S+)$", function.__doc__ or "")
]


def test_documented_defaults_are_those_of_the_signature() -> None:
    wrong = []
    for function, name, default in DOCUMENTED:
        has = inspect.signature(function).parameters[name].default
        if repr(has).replace("'", '"') != default.replace("'", '"'):
            wrong.append(f"{function.__qualname__}: {name} is said to be {default} and is {has!r}")
    assert wrong == []
    assert len(DOCUMENTED) > 5
