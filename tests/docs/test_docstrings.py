"""Docstrings: every exported name has one with an example, and all public ones pass the validator of numpydoc.

`python tests/docs/test_docstrings.py [PACKAGE ...]` prints the errors of the validator, for example of `service`.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import numpydoc.validate
import pytest
from numpydoc.docscrape import get_doc_object

import cofactor
from cofactor.estimators import Estimator

MODULES = (
    "cofactor",
    "cofactor.estimators",
    "cofactor.evaluate",
    "cofactor.cold_start",
    "cofactor.audit",
    "cofactor.interpret",
    "cofactor.plots",
)


def exported(module_name: str) -> dict[str, Any]:
    """Return the classes and functions that a module exports."""
    module = import_module(module_name)
    values = {name: getattr(module, name) for name in module.__all__}
    return {name: value for name, value in values.items() if inspect.isclass(value) or inspect.isfunction(value)}


EXPORTED = {f"{module}.{name}": value for module in MODULES for name, value in exported(module).items()}


def function_of(member: Any) -> Any:
    """Return the function behind a method, class method, property or cached property."""
    return next((getattr(member, name) for name in ("__func__", "fget", "func") if hasattr(member, name)), member)


def public_members(value: Any) -> dict[str, Any]:
    """Return the functions of the public methods and properties that a class defines; {} for a function."""
    members = {name: function_of(member) for name, member in vars(value).items()} if inspect.isclass(value) else {}
    return {
        name: member
        for name, member in members.items()
        if inspect.isfunction(member) and not name.startswith("_") and member.__name__ != "<lambda>"
    }


def docstrings(value: Any) -> Iterator[str]:
    """Yield the docstring of a function or class, and those of the public methods of a class."""
    yield value.__doc__ or ""
    for member in public_members(value).values():
        yield member.__doc__ or ""


def test_every_module_exports_something() -> None:
    assert {name.rpartition(".")[0] for name in EXPORTED} == set(MODULES)


@pytest.mark.parametrize("name", EXPORTED)
def test_every_exported_name_has_a_docstring_with_an_example(name: str) -> None:
    value = EXPORTED[name]
    own = next(docstrings(value))
    assert own.strip(), f"{name} has no docstring"
    assert not own.startswith(f"{value.__name__}("), f"{name} has no docstring"  # the default of a dataclass
    assert any(">>>" in text for text in docstrings(value)), f"{name} has no example"


DOCUMENTED = [
    (function, *match)
    for value in EXPORTED.values()
    for function in (value, *public_members(value).values())
    for match in re.findall(r"(?m)^ +(\w+) : .*\bdefault (\S+)$", function.__doc__ or "")
]


def test_documented_defaults_are_those_of_the_signature() -> None:
    wrong = []
    for function, name, default in DOCUMENTED:
        actual = inspect.signature(function).parameters[name].default
        text = f"{type(actual).__name__}()" if isinstance(actual, Estimator) else repr(actual)
        if text.replace("'", '"') != default.replace("'", '"'):
            wrong.append(f"{function.__qualname__}: the documented default of {name} is {default}, not {actual!r}")
    assert wrong == []
    assert len(DOCUMENTED) > 5


# the validator of numpydoc

CHECKS_OFF = {
    "SA01": "a See Also section is written where it helps, not everywhere",
    "ES01": "many summaries need no second paragraph",
    "EX01": "examples are required of exported names only, by another test",
    "PR08": "the description of a parameter may start with a symbol of the equation",
    "RT02": "two values of the same type are documented together: `low, high : polars.DataFrame`",
    "RT03": "the summary of a short function describes its return value",
    "RT04": "the description of a return value may start with a symbol of the equation",
}
INTERFACES = {
    "PR01": "options and query parameters are described where they are declared",
    "RT01": "commands print, and the answers of routes are described by their schemas",
}
"""Checks that are off for commands and routes: their docstrings are the texts of `--help` and of OpenAPI."""

numpydoc.validate.extract_ignore_validation_comments = cache(numpydoc.validate.extract_ignore_validation_comments)


def public_modules() -> list[str]:
    """Return the names of all modules without a leading underscore."""
    names = [module.name for module in pkgutil.walk_packages(cofactor.__path__, "cofactor.")]
    return ["cofactor", *(name for name in names if not any(part.startswith("_") for part in name.split(".")))]


PACKAGES = sorted({".".join(name.split(".")[:2]) for name in public_modules()})


def public_objects(package: str) -> Iterator[tuple[str, Any]]:
    """Yield name and object of the public classes, functions and methods that the modules of a package define."""
    for module_name in public_modules():
        if f"{module_name}.".startswith(f"{package}.") and (package != "cofactor" or module_name == package):
            for name, value in vars(import_module(module_name)).items():
                is_own = getattr(value, "__module__", "") == module_name and not name.startswith("_")
                if is_own and (inspect.isclass(value) or inspect.isfunction(value)):
                    yield f"{module_name}.{name}", value
                    for member_name in public_members(value):
                        yield f"{module_name}.{name}.{member_name}", value


def documented_fields(value: Any) -> set[str]:
    """Return the fields of a class that an Attributes section or a declaration with a description documents."""
    if not inspect.isclass(value):
        return set()
    rows = [row for base in value.__mro__ for row in get_doc_object(base)["Attributes"] if base is not object]
    attributes = {name.strip() for row in rows for name in row.name.split(",")}
    declared = {name for name, field in getattr(value, "model_fields", {}).items() if field.description}
    return attributes | declared


def undocumented(value: Any, names: set[str]) -> set[str]:
    """Return the parameters that nothing documents, of those that numpydoc misses in a Parameters section.

    The signature of a pydantic settings class also has the private options of its base class, such as `_env_file`; they
    are documented by pydantic. Parameters of all other classes and functions count, whatever their name.
    """
    if hasattr(value, "model_fields"):
        names = {name for name in names if not name.startswith("_")}
    return names - documented_fields(value)


def is_interface(name: str) -> bool:
    """Tell whether an object is a command or a route: its parameters are described by their annotations."""
    return name.startswith(("cofactor.cli.", "cofactor.service.api."))


def validation_errors(package: str) -> list[str]:
    """Return the errors that numpydoc reports for the public docstrings of a package."""
    errors = []
    for name, value in public_objects(package):
        for code, message in numpydoc.validate.validate(name)["errors"]:
            if code in CHECKS_OFF or (code in INTERFACES and is_interface(name)):
                continue
            if code == "PR01" and not undocumented(value, set(re.findall(r"'(\w+)'", message))):
                continue  # numpydoc looks for the fields of a dataclass in Parameters only
            if code == "YD01" and is_context_manager(name, value):
                continue  # a generator function that yields nothing to document
            errors.append(f"{name}: {code} {message}")
    return errors


def is_context_manager(name: str, value: Any) -> bool:
    """Tell whether a name is a function decorated by `contextmanager`."""
    function = public_members(value).get(name.rpartition(".")[2], value)
    return inspect.isgeneratorfunction(inspect.unwrap(function)) and not inspect.isgeneratorfunction(function)


def test_private_parameters_are_ignored_only_in_pydantic_classes() -> None:
    from cofactor.service.settings import ServiceSettings

    class Plain:
        """A class without fields."""

    assert undocumented(ServiceSettings, {"_env_file", "port", "unknown"}) == {"unknown"}
    assert undocumented(Plain, {"_private"}) == {"_private"}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_docstrings_pass_the_validator_of_numpydoc(package: str) -> None:
    """All checks of `numpydoc.validate` hold for all public docstrings, except for these.

    - Off: SA01 (See Also), ES01 (extended summary), EX01 (example; each exported name needs one by another test), PR08
      and RT04 (capital letters, for descriptions may start with a symbol), RT02 (`low, high : polars.DataFrame` is one
      line for two values), RT03 (the summary of a short function describes its return value).
    - Off in cli/ and service/api/: PR01 (parameters) and RT01 (returns). Docstrings of commands and routes are the
      texts of `--help` and OpenAPI, which take parameters and answers from the annotations.
    - PR01 accepts an Attributes section of a class, and fields that are declared with a description. Of pydantic
      classes it ignores parameters with a leading underscore, which are options of the base class.
    - YD01 (yields) is not required of context managers.
    """
    errors = validation_errors(package)
    assert errors == [], f"{len(errors)} errors in {package}"


if __name__ == "__main__":
    names = [name if name in PACKAGES else f"cofactor.{name}" for name in sys.argv[1:]]
    if missing := set(names) - set(PACKAGES):
        sys.exit(f"no such package: {', '.join(sorted(missing))}")
    for package_name in names or PACKAGES:
        package_errors = validation_errors(package_name)
        print(f"{package_name}: {len(package_errors)}", *package_errors, sep="\n  ")
