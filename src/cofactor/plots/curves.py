"""Line charts for audits: accuracy by number of interactions, and feedback loop simulation measures by round."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.metrics.registry import metric_named
from cofactor.plots.theme import BLUE, COLORS, FONT, GRAY, axis, band_color, display_text, figure_of, require_frame
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["cold_start_plot", "simulation_plot"]

COLD_START_COLUMNS = (
    "history_length",
    *(f"{model}{end}" for model in ("personal", "baseline") for end in ("", "_low", "_high")),
)


@validated
def cold_start_plot(frame: pl.DataFrame, *, metric: str = "rmse") -> Figure:
    """Plot a cold-start curve: accuracy against the number of interactions of a new user, with 95% confidence bands.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame `ColdStartCurve.curve`, with columns history_length, and personal and baseline with their _low and _high
        columns.
    metric : str, default "rmse"
        Metric of the curve, such as "rmse" or "ndcg@10".

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with lines and bands for the personal model and the baseline.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> ends = {f"{model}{end}": [1.0, 0.9] for model in ("personal", "baseline") for end in ("", "_low", "_high")}
    >>> figure = cold_start_plot(pl.DataFrame({"history_length": [1, 5], **ends}))
    >>> figure.layout.yaxis.title.text, list(figure.layout.xaxis.ticktext)
    ('RMSE (lower is better)', ['1', '5'])
    """
    require_frame(frame, COLD_START_COLUMNS, "a cold-start curve")
    from plotly.graph_objects import Scatter

    x = list(range(len(frame)))
    traces = []
    for model, name, color in (("baseline", "baseline", GRAY), ("personal", "personal model", BLUE)):
        low, high = frame[f"{model}_low"].to_list(), frame[f"{model}_high"].to_list()
        rows = [at for at, end in enumerate(low) if isfinite(end)]  # too few users for an interval: nan
        intervals = [f"{low[at]:.4f} to {high[at]:.4f}" if at in rows else "no interval" for at in x]
        traces.append(
            Scatter(
                x=rows + rows[::-1], y=[*(high[at] for at in rows), *(low[at] for at in rows[::-1])],
                fill="toself", fillcolor=band_color(color, 0.18), mode="none",
                hoverinfo="skip", showlegend=False, name=f"{name}, 95 % interval",
            )
        )  # fmt: skip
        traces.append(
            Scatter(
                x=x, y=frame[model].to_list(), mode="lines+markers", name=name, line={"color": color, "width": 2.5},
                marker={"size": 8}, customdata=list(zip(frame["history_length"].to_list(), intervals, strict=True)),
                hovertemplate="%{customdata[0]} interactions: %{y:.4f}<br>%{customdata[1]}",
            )
        )  # fmt: skip
    metric_info = metric_named(metric)
    title = f"{metric_info.title} ({metric_info.direction})"
    ticks = {"tickvals": x, "ticktext": [str(n) for n in frame["history_length"].to_list()]}
    return figure_of(
        traces, height=440, xaxis=axis("interactions of the new user", **ticks), yaxis=axis(title), hovermode="x",
        margin={"t": 40, "r": 14, "b": 60, "l": 60},
    )  # fmt: skip


@validated
def simulation_plot(frame: pl.DataFrame, measures: Mapping[str, str]) -> Figure:
    """Plot the measures of a feedback loop simulation by round, with one panel per measure and one line per mitigation.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame with columns mitigation, round and one column per measure; see `Simulation.summary`. If the frame has
        columns with the suffixes _low and _high for a measure (see `average_summaries`), they are drawn as error bars.
    measures : mapping of str to str
        Mapping from the columns to draw to their panel titles.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with panels from top to bottom, in the order of `measures`.

    Raises
    ------
    DataError
        If a column is missing, the frame has no rows, or there are no measures.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> frame = pl.DataFrame({"mitigation": ["plain", "plain"], "round": [1, 2], "coverage": [0.5, 0.4]})
    >>> figure = simulation_plot(frame, {"coverage": "share of the catalog shown"})
    >>> figure.data[0].name, list(figure.data[0].y), figure.layout.annotations[0].text
    ('plain', [0.5, 0.4], 'share of the catalog shown')
    """
    require_threads()
    require_frame(frame, ("mitigation", "round", *measures), "a simulation")
    if not measures:
        raise DataError("measures must name at least one column of frame")
    from plotly.graph_objects import Scatter

    all_mitigations = frame["mitigation"].unique(maintain_order=True).to_list()
    traces = []
    for panel, column in enumerate(measures, start=1):
        for number, mitigation in enumerate(all_mitigations):
            part = frame.filter(pl.col("mitigation") == mitigation).sort("round")
            color = GRAY if number == 0 else COLORS[(number - 1) % len(COLORS)]
            traces.append(
                Scatter(
                    x=part["round"].to_list(), y=part[column].to_list(), mode="lines+markers",
                    name=display_text(mitigation, 40),
                    legendgroup=str(number), showlegend=panel == 1, line={"color": color, "width": 2.5},
                    marker={"size": 7}, xaxis="x", yaxis="y" if panel == 1 else f"y{panel}",
                    hovertemplate="round %{x}: %{y:.3f}", error_y=_error_bars(part, column, color),
                )
            )  # fmt: skip
    height = 110 + 210 * len(measures)
    return figure_of(traces, height=height, **_panels(measures), margin={"t": 90, "r": 14, "b": 50, "l": 60})


def _error_bars(part: pl.DataFrame, column: str, color: str) -> dict[str, Any] | None:
    """Return error bars for the bounds of a measure, without a bar for nan; None if the frame has no bounds."""
    if not {f"{column}_low", f"{column}_high"} <= set(part.columns):
        return None
    above, below = part[f"{column}_high"] - part[column], part[column] - part[f"{column}_low"]
    lengths = {"array": above.fill_nan(0).to_list(), "arrayminus": below.fill_nan(0).to_list()}
    return {"type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": color} | lengths


def _panels(measures: Mapping[str, str]) -> dict[str, Any]:
    """Return the layout of one y axis per measure, from top to bottom, with the title above each axis."""
    n = len(measures)
    layout: dict[str, Any] = {"xaxis": axis("round", dtick=1, anchor="y" if n == 1 else f"y{n}"), "annotations": []}
    for panel, name in enumerate(measures.values()):
        top = 1 - panel / n
        layout["yaxis" if panel == 0 else f"yaxis{panel + 1}"] = axis(domain=[top - 1 / n + 0.02, top - 0.07])
        layout["annotations"].append(
            {"x": 0, "y": top - 0.07, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom",
             "text": display_text(name), "showarrow": False, "font": {"size": 13, "family": FONT}}
        )  # fmt: skip
    return layout
