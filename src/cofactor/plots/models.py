"""Figures about models: comparison by a metric, and reliability of predicted probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor import checks
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.metrics.registry import metric_named
from cofactor.plots.theme import BLUE, GRAY, ORANGE, axis, display_text, dot_plot, figure_of, require_frame
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["RELIABILITY_COLUMNS", "comparison_plot", "reliability_plot"]

RELIABILITY_COLUMNS = ("level", "low", "high", "predicted", "observed", "n", "sd")
COMPARISON_COLUMNS = ("model", "role", "versus_best", "metric", "value", "low", "high")
ROLES = {"requested": ("selected", BLUE), "tuned baseline": ("tuned baseline", ORANGE), "baseline": ("baseline", GRAY)}
"""Legend text and color for each role of a compared model."""
HOVER = (
    "predicted %{x:.1%}, observed %{y:.1%}<br>chance ± %{customdata[1]:.1%} (2 sd)<br>%{customdata[0]:,} ratings"
    "<extra>rating at least %{fullData.name}</extra>"
)


@validated
def comparison_plot(frame: pl.DataFrame) -> Figure:
    """Plot a metric of each model with its 95% confidence interval over users.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame returned by `Comparison.frame`, with columns model, role, versus_best, metric, value, low and high.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one row per model, in the order of the frame (best first), colored by role.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> frame = pl.DataFrame({
    ...     "model": ["biased-mf", "bias"], "role": ["requested", "baseline"],
    ...     "versus_best": ["best", "worse (p=0.001)"],
    ...     "metric": "rmse", "value": [0.91, 0.94], "low": [0.9, 0.93], "high": [0.92, 0.95],
    ... })
    >>> figure = comparison_plot(frame)
    >>> [trace.name for trace in figure.data], figure.layout.xaxis.title.text
    (['selected', 'baseline'], 'RMSE (lower is better)')
    """
    require_threads()
    require_frame(frame, COMPARISON_COLUMNS, "a comparison")
    from plotly.graph_objects import Scatter

    frame = frame.with_row_index("row")
    metric = metric_named(frame["metric"][0])
    title = f"{metric.title} ({metric.direction})"
    traces = []
    for role, (name, color) in ROLES.items():
        part = frame.filter(pl.col("role") == role)
        if len(part) == 0:
            continue
        error = {
            "array": (part["high"] - part["value"]).to_list(),
            "arrayminus": (part["value"] - part["low"]).to_list(),
        }
        traces.append(
            Scatter(
                x=part["value"].to_list(), y=part["row"].to_list(), mode="markers", name=name,
                marker={"color": color, "size": 12}, error_x={**error, "color": color, "thickness": 2, "width": 5},
                customdata=[[*map(display_text, texts)] for texts in part.select("model", "versus_best").rows()],
                hovertemplate="%{customdata[0]}: %{x:.4f}<br>%{customdata[1]}<extra></extra>",
            )
        )  # fmt: skip
    names = [
        f"{display_text(name, 30)} · {display_text(comparison_text)}"
        for name, comparison_text in frame.select("model", "versus_best").rows()
    ]
    return dot_plot(names, traces, title, showlegend=True)


@validated
def reliability_plot(frame: pl.DataFrame, *, title: str | None = None) -> Figure:
    """Plot a reliability diagram: observed versus predicted frequency of ratings at or above each level.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame returned by `evaluate.reliability.reliability`, with the columns `RELIABILITY_COLUMNS`.
    title : str, optional
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one line per level, one marker per bin (larger for more ratings), and error bars of 2 standard
        deviations. If the model is calibrated, about 1 in 20 error bars does not cross the diagonal.

    Raises
    ------
    DataError
        A column is missing, or the frame has no rows (because there are no ratings, or the scale has no
        levels).
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> bins = {"low": [0.0, 0.5], "high": [0.5, 1.0], "predicted": [0.3, 0.7], "observed": [0.2, 0.8]}
    >>> figure = reliability_plot(pl.DataFrame({"level": 4.0, **bins, "n": [50, 50], "sd": [0.06, 0.06]}))
    >>> figure.data[1].name, list(figure.data[1].y), figure.layout.xaxis.title.text
    ('4', [0.2, 0.8], 'predicted probability')
    """
    require_threads()
    checks.instance("frame", frame, pl.DataFrame, "use the `reliability` frame of evaluate.calibration(...)")
    if missing_columns := [name for name in RELIABILITY_COLUMNS if name not in frame.columns]:
        raise DataError(
            f"frame must have the columns {', '.join(RELIABILITY_COLUMNS)}; missing: {', '.join(missing_columns)}; use "
            "the `reliability` frame of evaluate.calibration(...)"
        )
    if len(frame) == 0:
        raise DataError(
            "frame must have at least one row; it is empty if there are no ratings or their scale has no levels"
        )
    require_frame(frame, RELIABILITY_COLUMNS, "reliability")
    from plotly.graph_objects import Scatter

    parts = frame.sort("level", "low").partition_by("level", maintain_order=True)
    diagonal = {"mode": "lines", "line": {"color": GRAY, "dash": "dash", "width": 1.5}, "hoverinfo": "skip"}
    traces = [Scatter(x=[0, 1], y=[0, 1], showlegend=False, **diagonal)]
    traces += [Scatter(**_level_trace(part, color)) for part, color in zip(parts, _colors(len(parts)), strict=True)]
    ticks = {"range": [-0.02, 1.02], "constrain": "domain", "tickformat": ".0%", "dtick": 0.2}
    return figure_of(
        traces, height=450,
        title=None if title is None else {"text": display_text(title), "x": 0.02, "font": {"size": 15}},
        xaxis=axis("predicted probability", **ticks),
        yaxis=axis("observed frequency", scaleanchor="x", **ticks),
        legend={"title": {"text": "rating at least", "font": {"size": 13}}, "traceorder": "normal"},
        margin={"t": 50 if title is None else 100, "r": 14, "b": 60, "l": 60},
    )  # fmt: skip


def _level_trace(part: pl.DataFrame, color: str) -> dict[str, Any]:
    """Return the trace properties for one rating level."""
    bar = (2 * part["sd"]).to_list()
    return {
        "x": part["predicted"].to_list(),
        "y": part["observed"].to_list(),
        "customdata": list(zip(part["n"].to_list(), bar, strict=True)),
        "name": f"{part['level'][0]:g}",
        "mode": "lines+markers",
        "line": {"color": _half_transparent(color), "width": 1.5},
        "marker": {"color": color, "opacity": 0.9, "size": (4 + 2 * part["n"].log10()).to_list()},
        "error_y": {"array": bar, "color": _half_transparent(color), "thickness": 1.5, "width": 3},
        "hovertemplate": HOVER,
    }


def _colors(n: int) -> list[str]:
    """Return n ordered colors that differ in lightness, none of them close to black or white."""
    from plotly.colors import sample_colorscale

    colors: list[str] = sample_colorscale("Viridis", [0.25 + 0.55 * k / max(n - 1, 1) for k in range(n)])
    return colors


def _half_transparent(color: str) -> str:
    """Return an rgb(...) color at half opacity."""
    return color.replace("rgb(", "rgba(").replace(")", ", 0.5)")
