"""One implementation of each path: which modules may call a method, found on the syntax tree; and no import cycles."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import cofactor

SOURCE = Path(cofactor.__file__).parent


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """Return the path and the syntax tree of each module of cofactor."""
    return [
        (str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(SOURCE.rglob("*.py"))
    ]


@cache
def modules_by_call() -> dict[str, set[str]]:
    """Return the modules that call a method or a function, by its name."""
    modules = defaultdict[str, set[str]](set)
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                modules[called].add(module)
    return modules


def callers(method: str) -> set[str]:
    """Return the modules that call a method or a function of this name."""
    return modules_by_call().get(method, set())


def outside_of_models(modules: set[str]) -> set[str]:
    return {name for name in modules if not name.startswith(("models/", "estimators/"))}


def test_all_lists_come_from_one_ranking_path() -> None:
    """`UserView.rank` makes all lists; the ranking metrics read the same scores with their ties."""
    assert callers("rank_items") == {"recommender/users.py"}
    assert outside_of_models(callers("top")) == {"metrics/model_lists.py"}


def test_all_new_users_are_folded_in_by_one_function() -> None:
    """Choosing a prior on held-out users folds in too: it cannot use the prior that it is about to choose."""
    assert outside_of_models(callers("fold_in")) == {
        "recommender/updating.py",
        "recommender/recommender.py",
        "cold_start/held_out.py",
    }


def test_users_of_a_model_are_replaced_by_one_function() -> None:
    assert callers("replace_users") == {"recommender/recommender.py", "recommender/updating.py"}
    users_of_models = {"recommender/updating.py"}
    users_of_recommenders = {"recommender/recommender.py", "service/training/point_in_time.py"}
    assert outside_of_models(callers("with_users")) == users_of_models | users_of_recommenders


def test_a_recommended_item_has_one_type() -> None:
    """The type of the ranking is the type of the HTTP body and of the client."""
    types = []
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                fields = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)}  # fmt: skip  # noqa: E501
                if {"item", "rank", "propensity"} <= fields:
                    types.append(f"{name}:{node.name}")
    assert types == ["results.py:RecommendedItem"]


def test_training_data_of_a_store_are_assembled_in_one_place() -> None:
    in_service = {name for name in callers("from_columns") if name.startswith(("service/", "store/"))}
    assert in_service == {"service/training/data.py"}


def test_the_recommender_is_small() -> None:
    tree = ast.parse((SOURCE / "recommender/recommender.py").read_text(encoding="utf-8"))
    (recommender,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Recommender")
    lines = set(range(recommender.lineno, recommender.end_lineno + 1))  # type: ignore[operator]
    for node in ast.walk(recommender):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))  # type: ignore[operator]
    assert len(lines) < 300, "lines without docstrings"


def module_names() -> set[str]:
    return {"cofactor"} | {module.name for module in pkgutil.walk_packages([str(SOURCE)], "cofactor.")}


def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports, a package's `__init__` included, at any place in the file."""
    names = module_names()
    edges: dict[str, set[str]] = {name: set() for name in names}
    for path, tree in trees():
        name = ".".join(("cofactor", *Path(path).with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.walk(tree):
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module:
                members = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [member if member in names else node.module for member in members]
            edges[name] |= {target for target in targets if target in names and target != name}
    return edges


def test_there_are_no_import_cycles() -> None:
    edges, done, stack = imports(), set[str](), list[str]()

    def visit(name: str) -> None:
        assert name not in stack, " -> ".join([*stack[stack.index(name) :], name])
        if name in done:
            return
        stack.append(name)
        for target in sorted(edges[name]):
            visit(target)
        stack.pop()
        done.add(name)

    for name in sorted(edges):
        visit(name)


@pytest.mark.parametrize(
    "module", sorted(name for name in module_names() if "migrations" not in name and "__main__" not in name)
)
def test_no_function_shadows_its_module(module: str) -> None:
    parent, _, name = module.rpartition(".")
    if parent:
        importlib.import_module(module)
        assert isinstance(getattr(importlib.import_module(parent), name), ModuleType)
        assert not isinstance(getattr(importlib.import_module(parent), name), FunctionType)
