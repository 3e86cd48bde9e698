"""Docstrings as they are written: paragraphs with `code`, indented blocks kept as they stand, examples.

They are plain text with formulas such as |p_u|^2, which reStructuredText would take for markup.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SPECIAL = re.compile(r"([\\*_|`\[\]<>])")


def restructured(lines: list[str]) -> list[str]:
    """The docstring's lines as reStructuredText that shows the same text."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        if rows[0].lstrip().startswith(">>>"):
            indent = len(rows[0]) - len(rows[0].lstrip())
            out += [".. code-block:: pycon", "", *(f"    {row[indent:]}" for row in rows), ""]
        elif all(row.startswith("    ") for row in rows):
            out += [".. code-block:: text", "", *rows, ""]
        elif block.strip():
            out += [_paragraph(" ".join(row.strip() for row in rows)), ""]
    return out


def _paragraph(text: str) -> str:
    parts = re.split(r"`([^`]+)`", text)
    return "".join(SPECIAL.sub(r"\\\1", part) if k % 2 == 0 else f"\\ ``{part}``\\ " for k, part in enumerate(parts))


def _rewrite(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Rewrite every docstring that autodoc reads."""
    app.connect("autodoc-process-docstring", _rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
