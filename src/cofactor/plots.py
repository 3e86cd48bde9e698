"""Frames -> plotly figures, one function a figure (extra `report`). plotly is imported when one is drawn."""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["reliability_plot", "require_plotly", "self_contained_html"]

RELIABILITY = ("level", "low", "high", "predicted", "observed", "n", "sd")
QUIET, GRID = "#8a8f98", "#e6e8eb"
HOVER = (
    "predicted %{x:.1%}, observed %{y:.1%}<br>by chance ± %{customdata[1]:.1%} (2 sd)<br>%{customdata[0]:,} ratings"
    "<extra>rating at least %{fullData.name}</extra>"
)
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>body {{margin: 0}}</style></head>
<body>
{figure}
</body>
</html>
"""


def require_plotly() -> None:
    """Raises MissingExtraError where figures cannot be drawn."""
    if find_spec("plotly") is None:
        raise MissingExtraError('figures need plotly, which is not installed: pip install "cofactor[report]"')


def reliability_plot(frame: pl.DataFrame, *, title: str | None = None) -> Figure:
    """How often ratings reached a level, against how often that was predicted: on the diagonal, probabilities are true.

    One line for each level, one marker for each bin, larger for more ratings, with a bar of 2 sd to both sides: where
    all is calibrated, about one bar in 20 misses the diagonal. frame: as `evaluate.calibration.reliability` returns it.
    Raises DataError where a column is missing or there is no row (a scale without levels), MissingExtraError.
    """
    if missing := [name for name in RELIABILITY if name not in frame.columns]:
        raise DataError(
            f"a frame of reliability needs the columns {', '.join(RELIABILITY)}, and this one lacks "
            f"{', '.join(missing)}; take the one that evaluate.calibration.reliability returns"
        )
    if len(frame) == 0:
        raise DataError("there is no reliability to draw: no ratings, or a scale without levels")
    require_plotly()
    from plotly.graph_objects import Figure, Scatter

    parts = frame.sort("level", "low").partition_by("level", maintain_order=True)
    even = {"mode": "lines", "line": {"color": QUIET, "dash": "dash", "width": 1.5}, "hoverinfo": "skip"}
    figure = Figure(Scatter(x=[0, 1], y=[0, 1], showlegend=False, **even))
    for part, color in zip(parts, _colors(len(parts)), strict=True):
        figure.add_trace(Scatter(**_line(part, color)))
    figure.update_layout(
        template="plotly_white",
        title=None if title is None else {"text": escape(title, quote=False), "x": 0.02},
        xaxis={"title": "predicted probability of at least this rating", **_axis()},
        yaxis={"title": "share of ratings that reached it", "scaleanchor": "x", **_axis()},
        legend={"title": "rating at least", "traceorder": "reversed"},
        margin={"t": 30 if title is None else 60, "r": 20, "b": 60, "l": 70},
        font={"size": 14},
    )
    return figure


def self_contained_html(figure: Figure, *, title: str) -> str:
    """A page that shows the figure without a network: plotly's own script, 5 MB, is in it.

    title: what a browser calls the page. The same figure and title give the same text.
    """
    drawn = figure.to_html(full_html=False, include_plotlyjs=True, div_id="figure", default_height="100vh")
    return PAGE.format(title=escape(title), figure=drawn)


def _line(part: pl.DataFrame, color: str) -> dict[str, Any]:
    """What is drawn of one level."""
    bar = (2 * part["sd"]).to_list()
    return {
        "x": part["predicted"].to_list(),
        "y": part["observed"].to_list(),
        "customdata": list(zip(part["n"].to_list(), bar, strict=True)),
        "name": f"{part['level'][0]:g}",
        "mode": "lines+markers",
        "line": {"color": _faded(color), "width": 1.5},
        "marker": {"color": color, "opacity": 0.9, "size": (4 + 2 * part["n"].log10()).to_list()},
        "error_y": {"array": bar, "color": _faded(color), "thickness": 1.5, "width": 3},
        "hovertemplate": HOVER,
    }


def _axis() -> dict[str, Any]:
    return {
        "range": [-0.02, 1.02], "constrain": "domain", "tickformat": ".0%", "dtick": 0.2, "gridcolor": GRID,
        "zeroline": False,
    }  # fmt: skip


def _colors(n: int) -> list[str]:
    """n colors in the order of a scale, told apart by lightness too."""
    from plotly.colors import sample_colorscale

    colors: list[str] = sample_colorscale("Viridis", [0.85 * k / max(n - 1, 1) for k in range(n)])
    return colors


def _faded(color: str) -> str:
    """rgb(...) so that what lies behind is seen."""
    return color.replace("rgb(", "rgba(").replace(")", ", 0.5)")
