"""One look for all figures: plain, readable at 390 pixels and at 1280, by day and by night; and figures as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor import checks
from cofactor.errors import DataError, MissingExtraError
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "BLUE", "COLORS", "FONT", "GRID", "ORANGE", "QUIET", "RED", "STYLE", "axis", "band_color", "checked", "figure_of",
    "ladder", "require_plotly", "script", "self_contained_html", "shown", "snippet",
]  # fmt: skip

BLUE, ORANGE, TEAL, PURPLE, RED = "#3b76d6", "#e0792f", "#1f9d8b", "#9361c0", "#d1495b"
COLORS = (BLUE, ORANGE, TEAL, PURPLE, RED, "#8d7a3f")
QUIET, GRID, INK = "#8a8f98", "rgba(128, 128, 128, 0.25)", "#30363d"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
STEP = 40
"""Pixels from one row of a ladder to the next: its name, and its marks below."""

STYLE = """
  .js-plotly-plot {max-width: 100%}
  @media (prefers-color-scheme: dark) {
    .main-svg :is(.xaxislayer-above, .yaxislayer-above, .infolayer) text {fill: #d5d9de !important}
  }
  .main-svg .annotation text {paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round}
"""
"""Of every page with figures: texts readable on dark, and above marks; --page is the page color."""

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
  :root {{color-scheme: light dark; --page: #ffffff}}
  @media (prefers-color-scheme: dark) {{:root {{--page: #171b21}}}}
  body {{margin: 0; background: var(--page)}}{style}</style>
{script}</head>
<body>
{figure}
</body>
</html>
"""


def require_plotly() -> None:
    """Nothing where figures can be drawn; raises MissingExtraError where plotly is not installed.

    >>> require_plotly()
    """
    if find_spec("plotly") is None:
        raise MissingExtraError('figures need plotly, which is not installed: pip install "cofactor[report]"')


def checked(frame: pl.DataFrame, columns: Sequence[str], what: str) -> pl.DataFrame:
    """The frame. Raises DataError where it lacks one of these columns or has no row, MissingExtraError.

    >>> checked(pl.DataFrame({"x": [1]}), ["x", "y"], "points")
    Traceback (most recent call last):
    cofactor.errors.DataError: frame needs the columns x, y for a figure of points, and lacks y
    """
    checks.instance("frame", frame, pl.DataFrame, f"a figure of {what} is drawn from a polars frame")
    if missing := [name for name in columns if name not in frame.columns]:
        raise DataError(
            f"frame needs the columns {', '.join(columns)} for a figure of {what}, and lacks {', '.join(missing)}"
        )
    if len(frame) == 0:
        raise DataError(f"frame has no rows, so there is nothing to draw of {what}")
    require_plotly()
    return frame


def figure_of(traces: Sequence[Any], *, height: int, **layout: Any) -> Figure:
    """A figure in the common look. `height` in pixels; the width is that of the page. No traces: an empty figure."""
    from plotly.graph_objects import Figure

    figure = Figure(list(traces))
    figure.update_layout(
        template="none", height=height, colorway=COLORS, dragmode=False, hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": INK},
        hoverlabel={"bgcolor": "#20262e", "bordercolor": "#20262e", "font": {"color": "#ffffff", "family": FONT}},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        margin={"t": 40, "r": 14, "b": 50, "l": 50},
    )  # fmt: skip
    figure.update_layout(**layout)
    return figure


def axis(title: str | None = None, **more: Any) -> dict[str, Any]:
    """An axis with a faint grid and no line at zero; it stays where it is when a finger passes over it."""
    plain = {"gridcolor": GRID, "zeroline": False, "showline": False, "ticks": "", "fixedrange": True}
    return (
        plain
        | ({} if title is None else {"title": {"text": title, "standoff": 8, "font": {"size": 13}}})
        | {"automargin": True}
        | more
    )


def ladder(names: Sequence[str], marks: Sequence[Any], title: str, *, height: int = 0, **more: Any) -> Figure:
    """Rows from the top down, each with its name above its marks, so that long names need no margin.

    marks: traces whose y is the number of the row, from 0. title: of the x axis.
    """
    said = [
        {"x": 0, "xref": "paper", "xanchor": "left", "y": row, "yshift": 13, "text": name, "showarrow": False}
        for row, name in enumerate(names)
    ]
    rows = {"range": [len(names) - 0.6, -0.75], "visible": False, "fixedrange": True}
    margin = {"t": 34, "r": 14, "b": 54, "l": 14}
    return figure_of(
        marks, height=height or 110 + STEP * len(names), annotations=said, yaxis=rows,
        margin=margin, **{"xaxis": axis(title)} | more,
    )  # fmt: skip


def shown(text: object, most: int = 200) -> str:
    """An id or title as plotly shows it as it is: no tag of it is obeyed, and a long one ends in an ellipsis.

    >>> shown("<b>Alien</b> & more", 13)
    '&lt;b&gt;Alien&lt;/b&gt;…'
    """
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return escape(plain if len(plain) <= most else f"{plain[: most - 1].rstrip()}…", quote=False)


def band_color(color: str, opacity: float) -> str:
    """#rrggbb so that what lies behind is seen; opacity 0..1.

    >>> band_color("#3b76d6", 0.2)
    'rgba(59, 118, 214, 0.2)'
    """
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def script() -> str:
    """plotly's own script, 5 MB, as an element for the head of a page: once, however many figures there are.

    Raises MissingExtraError.

    >>> element = script()
    >>> element[:8], element[-10:], len(element) > 1_000_000
    ('<script>', '</script>\\n', True)
    """
    require_plotly()
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>\n"


@validated
def snippet(figure: Figure, name: str) -> str:
    """The figure as an element of a page that has `script`; name: its id there, unlike all others.

    >>> from plotly.graph_objects import Figure
    >>> 'id="ratings"' in snippet(Figure(), "ratings")
    True
    """
    html: str = _checked_figure(figure).to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
    )
    return html


@validated
def self_contained_html(figure: Figure, *, title: str) -> str:
    """A page that shows the figure without a network: plotly's own script, 5 MB, is in it.

    title: what a browser calls the page. The same figure and title give the same text. Raises MissingExtraError.

    >>> from plotly.graph_objects import Figure
    >>> page = self_contained_html(Figure(), title="Levels & averages")
    >>> "<title>Levels &amp; averages</title>" in page
    True
    """
    return PAGE.format(title=escape(title), style=STYLE, script=script(), figure=snippet(figure, "figure"))


def _checked_figure(figure: Any) -> Any:
    """The figure. Raises DataError for anything else, MissingExtraError."""
    require_plotly()
    from plotly.graph_objects import Figure

    return checks.instance("figure", figure, Figure, "draw one by a function of cofactor.plots")
