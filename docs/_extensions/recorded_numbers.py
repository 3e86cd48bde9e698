"""Compare the numbers in the text of each page with docs/numbers.json during the build."""

from __future__ import annotations

import json

import pages
from docutils import nodes
from myst_nb.ext.eval import EvalRoleAny
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)
_texts: dict[str, dict[str, str]] = {}


class RecordedNumber(EvalRoleAny):
    """The role `eval`, which also keeps the text of each expression."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Evaluate the expression in the page's kernel."""
        nodes_of_role, messages = super().run()
        name = self.document.settings.env.docname
        _texts.setdefault(name, {})[self.text] = "".join(node.astext() for node in nodes_of_role)
        return nodes_of_role, messages


def _compare(app: Sphinx, document: nodes.document) -> None:
    name = app.env.docname
    page = pages.HERE / f"{name}.md"
    recorded = json.loads(pages.NUMBERS.read_text(encoding="utf-8"))
    if page.name in recorded or name in _texts:
        for line in pages.moved(page, _texts.pop(name, {})):
            log.warning("%s", line, location=name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Warn about numbers of a page that differ from the recorded numbers."""
    app.add_role("eval", RecordedNumber(), override=True)
    app.connect("doctree-read", _compare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
