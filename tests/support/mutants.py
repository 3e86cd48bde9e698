"""Draw deliberate faults (mutants) in every part of the package, list them, and apply one of them.

    pip install cosmic-ray
    python tests/support/mutants.py list            the 30 mutants, two in each of 15 parts, with their diffs
    python tests/support/mutants.py apply 7         change the source as mutant 7 does; `git checkout src` restores it
    python tests/support/mutants.py list --seed 16  another 30

A fault is killed when a test fails that passes without it. A fault that survives needs a new test or a proof that no
input distinguishes it from the original.

How they are drawn, for each part from `random.Random("<seed>-<part>")`: first a line, uniformly from the lines that any
operator of cosmic-ray can change, then one of the changes of that line, uniformly. Operators that need arguments,
annotations and blocks under `if TYPE_CHECKING` are omitted, and so are changes that are not valid Python. REDRAWN names
the draws that are replaced by the next one of their part, with the reason: they change no behavior. The draws follow
the source: another version of it gives other mutants.
"""

from __future__ import annotations

import argparse
import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2] / "src" / "cofactor"

PARTS = {
    "kernels": ["kernels/**/*.py"],
    "metrics": ["metrics/**/*.py"],
    "evaluate": ["evaluate/**/*.py"],
    "estimators": ["estimators/**/*.py"],
    "models": ["models/**/*.py"],
    "data/readers": ["data/readers/**/*.py"],
    "data": ["data/*.py"],
    "recommender": ["recommender/**/*.py"],
    "cold_start": ["cold_start/**/*.py"],
    "audit": ["audit/**/*.py"],
    "interpret": ["interpret/**/*.py"],
    "service": ["service/**/*.py"],
    "store": ["store/**/*.py"],
    "cli": ["cli/**/*.py"],
    "base": ["files.py", "arrays.py", "client.py"],
}
PER_PART = 2

# (seed, part, position in the stream of draws): why it is replaced
REDRAWN: dict[tuple[int, str, int], str] = {
    (15, "metrics", 0): "changes only the text of an error message (`user[k] + 1` in ranking.py)",
}


@dataclass(frozen=True, order=True)
class Site:
    """A place in the source and a change that an operator makes there."""

    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    def mutated(self) -> str:
        """Return the source of the file with the change."""
        from cosmic_ray.mutating import mutate_code

        code = mutate_code((ROOT / self.file).read_text("utf-8"), _operators()[self.operator], self.occurrence)
        assert code is not None
        return code.replace("CosmicRayTestingException", "ZeroDivisionError")  # a class that needs no import

    def diff(self) -> str:
        """Return the change as a unified diff without context."""
        before = (ROOT / self.file).read_text("utf-8").splitlines()
        lines = list(difflib.unified_diff(before, self.mutated().splitlines(), n=0, lineterm=""))
        return "\n".join(lines[2:])


def drawn(seed: int, part: str) -> list[Site]:
    """Return the mutants of a part."""
    return list(islice(_accepted(seed, part), PER_PART))


def _accepted(seed: int, part: str) -> Iterator[Site]:
    """Yield the draws of a part, without repetitions, invalid Python and what is redrawn."""
    rng = random.Random(f"{seed}-{part}")
    by_line: dict[tuple[str, int], list[Site]] = {}
    for site in sorted(_sites(part)):
        by_line.setdefault((site.file, site.line), []).append(site)
    lines = list(by_line)
    earlier: set[Site] = set()
    position = -1
    while True:
        position += 1
        site = rng.choice(by_line[rng.choice(lines)])
        if site not in earlier and (seed, part, position) not in REDRAWN and _compiles(site):
            earlier.add(site)
            yield site


def _compiles(site: Site) -> bool:
    try:
        compile(site.mutated(), site.file, "exec")
    except SyntaxError:
        return False
    return True


def _sites(part: str) -> Iterator[Site]:
    """Yield every change that an operator can make in the files of a part."""
    from cosmic_ray.ast import ast_nodes, get_ast

    for file in sorted({file for pattern in PARTS[part] for file in ROOT.glob(pattern)}):
        nodes = list(ast_nodes(get_ast(file.read_text("utf-8"))))
        for name, operator in _operators().items():
            positions = ((node, start) for node in nodes for start, _ in operator.mutation_positions(node))
            for occurrence, (node, (line, column)) in enumerate(positions):
                if not _only_typing(node):
                    yield Site(file.relative_to(ROOT).as_posix(), line, column, name, occurrence)


def _operators() -> dict[str, Any]:
    from cosmic_ray.plugins import get_operator, operator_names

    classes = {name: get_operator(name) for name in operator_names()}
    return {name: operator() for name, operator in classes.items() if not operator.arguments()}


def _only_typing(node: Any) -> bool:
    """Return whether a node stands in an annotation or under `if TYPE_CHECKING`."""
    while node.parent is not None:
        parent = node.parent
        if parent.type in {"annassign", "tfpdef"} and parent.children.index(node) > 0 and _after(parent, ":") is node:
            return True
        if parent.type == "funcdef" and _after(parent, "->") is node:
            return True
        if parent.type == "if_stmt" and parent.children[1].get_code().strip() == "TYPE_CHECKING":
            return True
        node = parent
    return False


def _after(parent: Any, mark: str) -> Any:
    """Return the child that follows a mark, or None."""
    children = parent.children
    return next((b for a, b in pairwise(children) if getattr(a, "value", None) == mark), None)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["list", "apply"])
    parser.add_argument("number", type=int, nargs="?", help="the mutant to apply, 1-30")
    parser.add_argument("--seed", type=int, default=15)
    arguments = parser.parse_args()
    parts = list(PARTS)
    if arguments.command == "list":
        for number, part in enumerate(parts):
            for k, site in enumerate(drawn(arguments.seed, part), 1):
                operator = site.operator.removeprefix("core/")
                print(f"{PER_PART * number + k:2} {part}: {site.file}:{site.line} {operator}\n{site.diff()}\n")
        return
    if arguments.number is None or not 1 <= arguments.number <= PER_PART * len(parts):
        parser.error(f"name a mutant to apply, 1-{PER_PART * len(parts)}")
    part, k = divmod(arguments.number - 1, PER_PART)
    site = drawn(arguments.seed, parts[part])[k]
    code = site.mutated()
    print(site.file, site.diff(), sep="\n")
    (ROOT / site.file).write_text(code, "utf-8")


if __name__ == "__main__":
    main()
