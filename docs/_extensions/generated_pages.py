"""Pages and pictures made of the code itself: the commands, the public names, the layers of the import contract."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from html import escape, unescape
from pathlib import Path
from textwrap import wrap
from types import FunctionType, ModuleType

import typer
from service_pages import routes_part, settings_part
from sphinx.application import Sphinx

DATA = ("readers.read", "load_report", "interactions", "scale", "ids", "features", "crosstab")
DATASETS = ("loading", "synthetic")
MODELS = (
    "base", "factor", "posterior", "neighborhood", "network", "distribution", "explanation", "prior", "objective"
)  # fmt: skip
PAGES = {
    "Estimators: ways to learn": ["cofactor.estimators"],
    "The recommender": [f"cofactor.recommender.{name}" for name in ("recommender", "questions", "exploration")],
    "Tables, ids, features": [
        *(f"cofactor.data.{name}" for name in DATA),
        *(f"cofactor.datasets.{name}" for name in DATASETS),
    ],
    "Models: what fit returns": [*(f"cofactor.models.{name}" for name in MODELS), "cofactor.arrays:ItemOrder"],
    "Evaluation": [
        "cofactor.evaluate",
        "cofactor.evaluate.evaluation:Score",
        "cofactor.evaluate.comparison:ComparedModel",
        "cofactor.evaluate.tuning:Trial",
        "cofactor.metrics.intervals:Interval",
        *(f"cofactor.metrics.{name}" for name in ("rating", "ranking", "catalog", "model_lists")),
    ],
    "Cold start": ["cofactor.cold_start", "cofactor.cold_start.bernoulli_mixture:BernoulliMixture"],
    "Seeing inside": ["cofactor.interpret"],
    "Audits and all_mitigations": ["cofactor.audit", "cofactor.audit.concentration:Genres"],
    "Figures": ["cofactor.plots"],
    "Client of a service": ["cofactor.client"],
    "Store of a service": ["cofactor.store"],
    "Errors, threads": ["cofactor.errors", "cofactor.kernels.parallel:threads"],
}
"""Every page of names, and the modules (or one name of a module) that stand on it."""


def commands() -> str:
    """The command line as Markdown, by typer's own writer."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from cofactor.cli.application import app

    command = get_command(app)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="cofactor"), name="cofactor")
    return unescape(text.replace("# `cofactor`", "# The command line", 1))


def names_page(title: str, modules: list[str]) -> str:
    """A page that asks autodoc for everything these modules export."""
    parts = [f"# {title}\n"]
    for wanted in modules:
        name, _, only = wanted.partition(":")
        module = importlib.import_module(name)
        shown = [only] if only else module.__all__
        entries = "\n".join(_entry(name, public) for public in shown)
        about = "" if only else f".. automodule:: {name}\n   :no-members:\n"
        parts.append(f"`from {name} import ...`\n\n```{{eval-rst}}\n{about}\n{entries}\n```\n")
    return "\n".join(parts)


def first_names() -> str:
    """The names of `cofactor` itself, each with its first line and a link to where it is told in full."""
    import cofactor

    lines = ["# What most people need", "", "`import cofactor`, then:", ""]
    for name in cofactor.__all__:
        thing = getattr(cofactor, name)
        if isinstance(thing, ModuleType):
            lines.append(f"- `cofactor.{name}`: {_first_line(thing)}")
        else:
            role = "py:class" if isinstance(thing, type) else "py:func"
            lines.append(f"- {{{role}}}`{name} <{thing.__module__}.{name}>`: {_first_line(thing)}")
    return "\n".join(lines) + "\n"


def _first_line(thing: object) -> str:
    text = " ".join((thing.__doc__ or "").strip().partition("\n\n")[0].split())
    return re.sub(r"([*_|<>\[\]^$])", r"\\\1", text)


def _entry(module: str, name: str) -> str:
    thing = getattr(importlib.import_module(module), name)
    if isinstance(thing, type):
        kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
        return f".. {kind}:: {thing.__module__}.{name}\n   :members:\n"
    if isinstance(thing, FunctionType):
        return f".. autofunction:: {thing.__module__}.{name}\n"
    return f".. autodata:: {module}.{name}\n   :no-value:\n"


def layers_picture(root: Path) -> str:
    """The import contract of pyproject.toml as a picture: each room stands on those that it may import.

    With a room stands what it says of itself. 400 units wide, so that it is read on a phone too.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = [[room.strip() for room in row.split("|")] for row in next(c for c in contracts if "layers" in c)["layers"]]
    width, gap, line, parts, y = 400, 5, 15, [], 1
    for row in rows:
        share = (width + gap) / len(row)
        said = {room: wrap(_own_words(root, room), int(58 / len(row) ** 1.1)) for room in row}
        height = 26 + line * max(len(words) for words in said.values())
        for x, (room, words) in enumerate(said.items()):
            left = x * share
            parts.append(
                f'<rect x="{left + 1:.0f}" y="{y}" width="{share - gap - 3:.0f}" height="{height}" rx="5"/>'
                f'<text x="{left + 10:.0f}" y="{y + 18}">{escape(room)}</text>'
            )
            parts += [
                f'<text class="said" x="{left + 10:.0f}" y="{y + 18 + line * k}">{escape(text, quote=False)}</text>'
                for k, text in enumerate(words, start=1)
            ]
        y += height + gap
    names = "; ".join(" beside ".join(row) for row in rows)
    return (
        f'<svg class="layers" viewBox="0 0 {width} {y}" role="img" '
        f'aria-label="The rooms from the top down, each may import only those below: {escape(names)}">'
        f"{''.join(parts)}</svg>\n"
    )


def _own_words(root: Path, room: str) -> str:
    """The first sentence of a room's docstring."""
    home = root / "src" / "cofactor"
    file = home / room / "__init__.py" if (home / room).is_dir() else home / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", text.partition("\n")[0])[0].replace("`", "").replace("->", "to")


def _file(title: str) -> str:
    return re.split(r"\W", title.lower(), maxsplit=1)[0] + "-names.md"


def _write(app: Sphinx) -> None:
    made = Path(app.srcdir) / "generated"
    made.mkdir(exist_ok=True)
    pages = {_file(title): names_page(title, modules) for title, modules in PAGES.items()}
    pages["first-names.md"] = first_names()
    pages["command-line.md"] = commands()
    pages["service-routes.txt"] = routes_part()
    pages["service-settings.txt"] = settings_part()
    pages["layers.svg"] = layers_picture(Path(app.srcdir).parent)
    for name, text in pages.items():
        if not (made / name).exists() or (made / name).read_text(encoding="utf-8") != text:
            (made / name).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write them before pages are read."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
