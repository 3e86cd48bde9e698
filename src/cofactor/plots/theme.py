"""Common theme for all figures, and conversion of figures to HTML.

Figures are readable at widths from 390 to 1280 pixels, on light and dark pages.
"""

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
    "BLUE",
    "COLORS",
    "FONT",
    "GRAY",
    "GRID",
    "ORANGE",
    "RED",
    "STYLE",
    "axis",
    "band_color",
    "display_text",
    "dot_plot",
    "figure_of",
    "require_frame",
    "require_plotly",
    "script",
    "self_contained_html",
    "snippet",
]  # fmt: skip

BLUE, ORANGE, TEAL, PURPLE, RED = "#3b76d6", "#e0792f", "#1f9d8b", "#9361c0", "#d1495b"
COLORS = (BLUE, ORANGE, TEAL, PURPLE, RED, "#8d7a3f")
GRAY, GRID, TEXT_COLOR = "#8a8f98", "rgba(128, 128, 128, 0.25)", "#30363d"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
ROW_HEIGHT = 40
"""Height in pixels of one row of a dot plot, which contains the row name and the marks below it."""

STYLE = """
  .js-plotly-plot {max-width: 100%}
  @media (prefers-color-scheme: dark) {
    .main-svg :is(.xaxislayer-above, .yaxislayer-above, .infolayer) text {fill: #d5d9de !important}
  }
  .main-svg .annotation text {paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round}
"""
"""CSS for pages with figures that keeps text readable on dark pages and over marks; --page is the page color."""

PAGE_TEMPLATE = """<!doctype html>
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
    """Raise MissingExtraError if Plotly is not installed.

    Raises
    ------
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> require_plotly()
    """
    if find_spec("plotly") is None:
        raise MissingExtraError('figures need plotly, which is not installed: pip install "cofactor[report]"')


def require_frame(frame: pl.DataFrame, columns: Sequence[str], content: str) -> pl.DataFrame:
    """Check that a frame has the columns that a figure requires and at least one row, and return it.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame to check.
    columns : sequence of str
        Required columns.
    content : str
        Content of the figure, for error messages.

    Returns
    -------
    pl.DataFrame
        The input frame.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> require_frame(pl.DataFrame({"x": [1]}), ["x", "y"], "points")
    Traceback (most recent call last):
    cofactor.errors.DataError: frame must have the columns x, y to plot points; missing: y
    """
    checks.instance("frame", frame, pl.DataFrame, f"pass a polars DataFrame with the data of {content}")
    if missing_columns := [name for name in columns if name not in frame.columns]:
        raise DataError(
            f"frame must have the columns {', '.join(columns)} to plot {content}; missing: {', '.join(missing_columns)}"
        )
    if len(frame) == 0:
        raise DataError(f"frame must have at least one row to plot {content}")
    require_plotly()
    return frame


def figure_of(traces: Sequence[Any], *, height: int, **layout: Any) -> Figure:
    """Create a figure with the common theme.

    Parameters
    ----------
    traces : sequence of plotly traces
        Traces to draw; the figure is empty if there are none.
    height : int
        Height in pixels. The width adapts to the page.
    **layout
        Additional arguments for `Figure.update_layout`.

    Returns
    -------
    plotly.graph_objects.Figure
        Themed figure.
    """
    from plotly.graph_objects import Figure

    figure = Figure(list(traces))
    figure.update_layout(
        template="none", height=height, colorway=COLORS, dragmode=False, hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": TEXT_COLOR},
        hoverlabel={"bgcolor": "#20262e", "bordercolor": "#20262e", "font": {"color": "#ffffff", "family": FONT}},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        margin={"t": 40, "r": 14, "b": 50, "l": 50},
    )  # fmt: skip
    figure.update_layout(**layout)
    return figure


def axis(title: str | None = None, **more: Any) -> dict[str, Any]:
    """Create an axis with a faint grid and without a zero line or zooming.

    Parameters
    ----------
    title : str, optional
        Title of the axis.
    **more
        Additional properties of the axis.

    Returns
    -------
    dict
        Axis properties, for example for `figure_of(..., xaxis=...)`.
    """
    plain = {"gridcolor": GRID, "zeroline": False, "showline": False, "ticks": "", "fixedrange": True}
    return (
        plain
        | ({} if title is None else {"title": {"text": title, "standoff": 8, "font": {"size": 13}}})
        | {"automargin": True}
        | more
    )


def dot_plot(names: Sequence[str], marks: Sequence[Any], title: str, *, height: int = 0, **more: Any) -> Figure:
    """Create a dot plot with one row of marks per name, and the name above the row.

    Long names therefore do not need a margin.

    Parameters
    ----------
    names : sequence of str
        Row names, from top to bottom.
    marks : sequence of plotly traces
        Traces whose y values are row numbers, starting at 0.
    title : str
        Title of the x axis.
    height : int, default 0
        Height in pixels; 0 to fit the rows.
    **more
        Additional arguments for `Figure.update_layout`.

    Returns
    -------
    plotly.graph_objects.Figure
        Themed figure.
    """
    labels = [
        {"x": 0, "xref": "paper", "xanchor": "left", "y": row, "yshift": 13, "text": name, "showarrow": False}
        for row, name in enumerate(names)
    ]
    rows = {"range": [len(names) - 0.6, -0.75], "visible": False, "fixedrange": True}
    margin = {"t": 34, "r": 14, "b": 54, "l": 14}
    return figure_of(
        marks, height=height or 110 + ROW_HEIGHT * len(names), annotations=labels, yaxis=rows,
        margin=margin, **{"xaxis": axis(title)} | more,
    )  # fmt: skip


def display_text(text: object, max_length: int = 200) -> str:
    """Escape an ID or title for Plotly, and truncate it with an ellipsis.

    Parameters
    ----------
    text : object
        Text to show; unprintable characters become spaces.
    max_length : int, default 200
        Maximum number of characters before escaping.

    Returns
    -------
    str
        Escaped text.

    Examples
    --------
    >>> display_text("<b>Alien</b> & more", 13)
    '&lt;b&gt;Alien&lt;/b&gt;…'
    """
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return escape(plain if len(plain) <= max_length else f"{plain[: max_length - 1].rstrip()}…", quote=False)


def band_color(color: str, opacity: float) -> str:
    """Convert a #rrggbb color to an rgba(...) color with the given opacity.

    Parameters
    ----------
    color : str
        Color in the form #rrggbb.
    opacity : float
        Opacity between 0 and 1.

    Returns
    -------
    str
        Color in the form rgba(...).

    Examples
    --------
    >>> band_color("#3b76d6", 0.2)
    'rgba(59, 118, 214, 0.2)'
    """
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def script() -> str:
    """Return the Plotly library as a script element for the head of a page.

    The element, about 5 MB in size, is needed only once per page.

    Returns
    -------
    str
        HTML element.

    Raises
    ------
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> element = script()
    >>> element[:8], element[-10:], len(element) > 1_000_000
    ('<script>', '</script>\\n', True)
    """
    require_plotly()
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>\n"


@validated
def snippet(figure: Figure, name: str) -> str:
    """Convert a figure to an HTML element for a page that includes the Plotly library; see `script`.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Figure to convert.
    name : str
        ID of the element; must be unique on the page.

    Returns
    -------
    str
        HTML element.

    Raises
    ------
    DataError
        If `figure` is not a Plotly figure.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> from plotly.graph_objects import Figure
    >>> 'id="ratings"' in snippet(Figure(), "ratings")
    True
    """
    html: str = _require_figure(figure).to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
    )
    return html


@validated
def self_contained_html(figure: Figure, *, title: str) -> str:
    """Convert a figure to an HTML page that works offline and includes the Plotly library (about 5 MB).

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Figure to convert.
    title : str
        Title of the page.

    Returns
    -------
    str
        HTML page; the same figure and title give the same string.

    Raises
    ------
    DataError
        If `figure` is not a Plotly figure.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> from plotly.graph_objects import Figure
    >>> page = self_contained_html(Figure(), title="Levels & averages")
    >>> "<title>Levels &amp; averages</title>" in page
    True
    """
    return PAGE_TEMPLATE.format(title=escape(title), style=STYLE, script=script(), figure=snippet(figure, "figure"))


def _require_figure(figure: Any) -> Any:
    """Check that the argument is a Plotly figure, and return it; raise DataError or MissingExtraError otherwise."""
    require_plotly()
    from plotly.graph_objects import Figure

    return checks.instance("figure", figure, Figure, "create one with a function of cofactor.plots")
