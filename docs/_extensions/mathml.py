"""Formulas as MathML, which every browser of today draws by itself: no script and no font is fetched."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

PART = r"(?:<mrow>.*?</mrow>|<m[ion]>[^<]*</m[ion]>)"
HAT = re.compile(
    rf"<munderover>\s*(<mi>\w</mi>)\s*({PART})\s*(<mo[^>]*>\u02c6</mo>)\s*</munderover>",
    re.DOTALL,
)


def mathml(tex: str, *, block: bool = False) -> str:
    """Return the formula; the index of a letter with a hat is next to it, where docutils puts it below.

    >>> "<msub><mover>" in mathml(r"\\hat{r}_{ui}")
    True
    """
    return HAT.sub(r"<msub><mover>\1\3</mover>\2</msub>", tex2mathml(tex, as_block=block))


def _inline(self: Any, node: nodes.Element) -> None:
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<div class="math">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer that `html_math_renderer` names."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
