"""Generate reference pages from the code: commands, public names, routes and settings, and the diagram of packages."""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape, unescape
from importlib import import_module
from inspect import getsource
from pathlib import Path
from textwrap import wrap
from types import FunctionType, ModuleType

import typer
from service_pages import routes_part, settings_part
from sphinx.application import Sphinx
from sphinx.config import Config

DATA = ("readers.read", "load_report", "interactions", "scale", "ids", "features", "crosstab")
DATASETS = ("loading", "registry", "synthetic")
MODELS = (
    "base", "user_batch", "factor", "posterior", "neighborhood", "network",
    "distribution", "explanation", "prior",
)  # fmt: skip
METRICS = ("base", "registry", "rating", "ranking", "catalog", "model_lists")
PAGES = {
    "estimators": ("Estimators", ["cofactor.estimators"]),
    "recommender": (
        "Recommender",
        [
            *(f"cofactor.recommender.{name}" for name in ("recommender", "users", "questions")),
            "cofactor.recommender.exploration:Impressions",
            "cofactor.recommender.catalog:Catalog",
        ],
    ),
    "data": (
        "Data and data sets",
        [
            *(f"cofactor.data.{name}" for name in DATA),
            "cofactor.data.event_types:combine_events",
            "cofactor.data.metadata:Metadata",
            "cofactor.datasets:",
            *(f"cofactor.datasets.{name}" for name in DATASETS),
        ],
    ),
    "models": (
        "Models",
        [
            *(f"cofactor.models.{name}" for name in MODELS),
            "cofactor.models.blend:BlendModel",
            "cofactor.models.blend:BlendPart",
            "cofactor.models.paired:PairedModel",
            "cofactor.models.paired:UncertainPairedModel",
            "cofactor.models.fold_in:GaussianPrior",
            "cofactor.models.item_response:ItemResponse",
            "cofactor.models.removal:RemovalEffects",
            "cofactor.models.recalibration:Recalibration",
            "cofactor.arrays:ItemOrder",
        ],
    ),
    "evaluation": (
        "Evaluation and metrics",
        [
            "cofactor.evaluate",
            "cofactor.evaluate.evaluation:Score",
            "cofactor.evaluate.comparison:ComparedModel",
            "cofactor.evaluate.tuning:Trial",
            "cofactor.metrics.intervals:Interval",
            "cofactor.metrics:",
            *(f"cofactor.metrics.{name}" for name in METRICS),
        ],
    ),
    "capacity": ("Capacity plans", ["cofactor.capacity"]),
    "cluster": ("Apache Spark", ["cofactor.cluster"]),
    "cold-start": ("Cold start", ["cofactor.cold_start", "cofactor.cold_start.bernoulli_mixture:BernoulliMixture"]),
    "interpretation": ("Interpretation", ["cofactor.interpret"]),
    "audits": ("Audits and mitigations", ["cofactor.audit", "cofactor.audit.concentration:Genres"]),
    "figures": ("Figures", ["cofactor.plots"]),
    "client": ("Client of the service", ["cofactor.client", "cofactor.results"]),
    "store": ("Store of the service", ["cofactor.store"]),
    "errors": ("Errors and threads", ["cofactor.errors", "cofactor.kernels.parallel:threads"]),
}
"""Pages of public names: file name -> title, and what each page documents.

That is `module` with all names that it exports, `module:name`, or `module:` without names.
"""


def commands() -> str:
    """Return the reference of the command line as Markdown, written by typer."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from cofactor.cli.application import app

    command = get_command(app)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="cofactor"), name="cofactor")
    return unescape(text.replace("# `cofactor`", "# The command line", 1))


def names_page(title: str, modules: list[str]) -> str:
    """Return a page with a summary table and the documentation of all names that these modules export."""
    parts = [f"# {title}\n"]
    for wanted in modules:
        name, colon, only = wanted.partition(":")
        module = "" if only else f".. automodule:: {name}\n   :no-members:\n"
        if colon and not only:
            parts.append(f"## {name}\n\n```{{eval-rst}}\n{module}```\n")
            continue
        names = [only] if only else import_module(name).__all__
        table = _summary([_documented(name, public) for public in names])
        entries = "\n".join(_entry(name, public) for public in names)
        parts.append(f"## {name}\n\n`from {name} import ...`\n\n```{{eval-rst}}\n{module}\n{table}\n{entries}\n```\n")
    return "\n".join(parts)


def main_names() -> str:
    """Return the page of the names of `cofactor` itself: a summary table that links to their documentation."""
    import cofactor

    table = _summary([_documented("cofactor", name) for name in cofactor.__all__])
    return f"# Main names\n\n`import cofactor`, then `cofactor.NAME`:\n\n```{{eval-rst}}\n{table}\n```\n"


def _summary(names: list[str]) -> str:
    rows = "\n".join(f"   ~{name}" for name in names)
    return f".. py:currentmodule:: None\n.. autosummary::\n   :nosignatures:\n\n{rows}\n"


def _documented(module: str, name: str) -> str:
    """Return the full name under which an object is documented: by the module that defines it."""
    value = getattr(import_module(module), name)
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, type | FunctionType):
        return f"{value.__module__}.{name}"
    tree = ast.parse(getsource(import_module(module)))  # a constant does not name its module
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    source = next((node.module for node in imports if name in {alias.name for alias in node.names}), module)
    return f"{source}.{name}"


def _entry(module: str, name: str) -> str:
    """Return the autodoc directive of an object."""
    value, full_name = getattr(import_module(module), name), _documented(module, name)
    if isinstance(value, type):
        directive = "autoexception" if issubclass(value, Exception) else "autoclass"
        return f".. {directive}:: {full_name}\n   :members:\n"
    if isinstance(value, FunctionType):
        return f".. autofunction:: {full_name}\n"
    return f".. autodata:: {full_name}\n   :no-value:\n"


def layers_picture(root: Path) -> str:
    """Draw the import contract of pyproject.toml: a box for each package, above the packages that it may import.

    Each box shows the first sentence of the package's docstring. The picture is 400 units wide to fit a phone.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if "layers" in contract)["layers"]
    rows = [[package.strip() for package in row.split("|")] for row in layers]
    width, gap, line, parts, y = 400, 5, 15, [], 1
    for row in rows:
        share = (width + gap) / len(row)
        texts = {package: wrap(_first_sentence(root, package), int(58 / len(row) ** 1.1)) for package in row}
        height = 26 + line * max(len(lines) for lines in texts.values())
        for x, (package, lines) in enumerate(texts.items()):
            left = x * share
            parts.append(
                f'<rect x="{left + 1:.0f}" y="{y}" width="{share - gap - 3:.0f}" height="{height}" rx="5"/>'
                f'<text x="{left + 10:.0f}" y="{y + 18}">{escape(package)}</text>'
            )
            parts += [
                f'<text class="description" x="{left + 10:.0f}" y="{y + 18 + line * k}">{text}</text>'
                for k, text in enumerate(map(escape, lines), start=1)
            ]
        y += height + gap
    names = "; ".join(", ".join(row) for row in rows)
    return (
        f'<svg class="layers" viewBox="0 0 {width} {y}" role="img" '
        f'aria-label="The packages from the top down; each may import only those below it: {escape(names)}">'
        f"{''.join(parts)}</svg>\n"
    )


def _first_sentence(root: Path, package: str) -> str:
    """Return the first sentence of a package's docstring."""
    source = root / "src" / "cofactor"
    file = source / package / "__init__.py" if (source / package).is_dir() else source / f"{package}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", text.partition("\n")[0])[0].replace("`", "").replace("->", "to")


def _write(app: Sphinx, config: Config) -> None:
    """Write the generated files whose text has changed."""
    directory = Path(app.srcdir) / "generated"
    directory.mkdir(exist_ok=True)
    pages = {f"{name}-names.md": names_page(title, modules) for name, (title, modules) in PAGES.items()}
    pages["main-names.md"] = main_names()
    pages["command-line.md"] = commands()
    pages["service-routes.txt"] = routes_part()
    pages["service-settings.txt"] = settings_part()
    pages["layers.svg"] = layers_picture(Path(app.srcdir).parent)
    for name, text in pages.items():
        if not (directory / name).exists() or (directory / name).read_text(encoding="utf-8") != text:
            (directory / name).write_text(text, encoding="utf-8")


def _keep_colons(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Break the first line of an attribute's docstring after a word; napoleon takes "text: " there for a type."""
    if what in ("attribute", "data", "property") and lines:
        lines[:1] = lines[0].split(" ", 1)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for source files, and change docstrings before napoleon (priority 500)."""
    app.connect("config-inited", _write)
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
