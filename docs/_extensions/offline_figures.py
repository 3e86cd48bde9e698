"""plotly's script, once for the site, on the pages that have a figure: no other site is requested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx

SCRIPT = "plotly.min.js"


def _link(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "plotly-graph-div" in context.get("body", ""):
        at = context["pathto"](f"_static/{SCRIPT}", resource=True)
        context["metatags"] = context.get("metatags", "") + f'<script src="{at}"></script>'


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        Path(app.outdir, "_static", SCRIPT).write_text(get_plotlyjs(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Put the script next to the pages and into the head of those that need it."""
    app.connect("html-page-context", _link)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
