"""Names in src, tests, benchmarks and docs: no identifier, module or parameter from the list of banned words.

`python tests/docs/test_names.py` prints all places, with the number of them in each package.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "cofactor"

NOT_NAMES = {
    *("told", "found", "one", "there", "kept", "asked", "given", "known", "worth", "beside", "anew", "whoever"),
}
"""Words that are neither a noun for a value nor a verb for an action; a name may contain them: `one_cycle`."""

METAPHORS = {
    *("about", "among", "blockwise", "border", "crowd", "disagreement", "door", "eager", "house", "likeness", "mood"),
    *("newcomer", "recipe", "remedy", "rival", "room", "stone", "twin", "verdict", "wish", "world"),
}
"""Metaphors, and words with a standard counterpart; no part of a name may be one of these or its plural."""

REPLACED = {
    "asof": "point_in_time",
    "fold_in_about": "fold_in(prior=...)",
    "init_sd": "init_std",
    "item_width": "item_dim",
    "on_bad": "on_error",
    "on_epoch": "callback",
    "positive_from": "min_rating",
    "sweeps": "iterations",
    "taste_map": "factor_map",
    "user_width": "user_dim",
    "widening": "catalog_update",
    "worked_out": "fold_in",
}
"""Names that have a standard name now: old name -> new name."""


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each identifier that a module binds, with its line: definitions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((alias.asname, node.lineno) for alias in names if alias.asname)


def problem(name: str) -> str | None:
    """Return what is wrong with a name, or None."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).strip("_").lower()
    if snake in NOT_NAMES:
        return f"{name} is not a name"
    if snake in REPLACED:
        return f"{name} is {REPLACED[snake]} now"
    singular = {form for part in snake.split("_") for form in (part, part.removesuffix("s"), re.sub("ies$", "y", part))}
    if banned := sorted(singular & METAPHORS):
        return f"{name} contains the banned word {banned[0]!r}"
    return None


def problems(path: Path, root: Path = SOURCE) -> list[str]:
    """Return the banned names of a file, and a banned file name, as lines that start with file and line number."""
    place = path.relative_to(root.parent)
    names = [(path.stem, 1), *identifiers(ast.parse(path.read_text(encoding="utf-8")))]
    return sorted({f"{place}:{line}: {text}" for name, line in names if (text := problem(name))})


def files(package: str) -> list[Path]:
    """Return the Python files of a package or module."""
    return sorted((SOURCE / package).rglob("*.py")) if (SOURCE / package).is_dir() else [SOURCE / f"{package}.py"]


PACKAGES = sorted(path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "docs"])
def test_no_identifier_outside_src_is_a_banned_word(folder: str) -> None:
    root = SOURCE.parents[1] / folder
    banned = [line for path in sorted(root.rglob("*.py")) for line in problems(path, root)]
    assert not banned, f"{len(banned)} banned names in {folder}:\n" + "\n".join(banned)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_identifier_is_a_banned_word(package: str) -> None:
    banned = [line for path in files(package) for line in problems(path)]
    assert not banned, f"{len(banned)} banned names in {package}:\n" + "\n".join(banned)


def test_all_kinds_of_bindings_are_checked(tmp_path: Path) -> None:
    """The line numbers are those of the bindings; uses of a name, calls with keywords and strings do not count."""
    lines = [
        "def told(newcomers, *, world): pass",
        "class Recipe: one: int = 1",
        "import numpy as rival",
        "for given, known in (): pass",
        "self.kept = [found for found in ()]",
        "if (worth := 1): pass",
        "try: pass",
        "except OSError as there: pass",
        "frame.collect(eager=True, positive_from=4); one_cycle = known_ids = 'told'",
        "positive_from = lambda asked: asked",
        "match 1:",
        "    case beside: pass",
    ]
    path = tmp_path / "package" / "mood.py"
    path.parent.mkdir()
    path.write_text("\n".join(lines), encoding="utf-8")
    found_lines = [int(text.split(":")[1]) for text in problems(path, path.parent)]
    assert sorted(Counter(found_lines).items()) == [
        *((1, 4), (2, 2), (3, 1), (4, 2), (5, 2), (6, 1), (8, 1), (10, 2), (12, 1)),
    ]


if __name__ == "__main__":
    for package_name in PACKAGES:
        places = [line for path in files(package_name) for line in problems(path)]
        print(f"{package_name}: {len(places)}", *places, sep="\n  ")
