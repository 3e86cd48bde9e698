"""Frames as read on a page: polars puts quotes round each text of a table, for programs; people need none."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

QUOTED = re.compile(r"<td>&quot;([^<]*?)(?:&quot;)?</td>")


def _unquote(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = QUOTED.sub(r"<td>\1</td>", context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Take the quotes off before a page is written."""
    app.connect("html-page-context", _unquote)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
