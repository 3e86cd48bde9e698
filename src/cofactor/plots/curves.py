"""What changes as more is known, and as rounds go by."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.plots.theme import BLUE, COLORS, FONT, QUIET, axis, band_color, checked, figure_of, shown
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["cold_start_plot", "simulation_plot"]

COLD = ("given", *(f"{who}{end}" for who in ("personal", "baseline") for end in ("", "_low", "_high")))


@validated
def cold_start_plot(frame: pl.DataFrame, *, metric: str = "rmse") -> Figure:
    """Accuracy against how many ratings a newcomer has given: the personal model and the baseline, with 95 % bands.

    frame: the `curve` of a `ColdStart`: given (how many ratings), personal and baseline with their _low and _high.
    metric: what they are measured in, "rmse" or one of which more is better. Raises DataError for missing columns or no
    rows, MissingExtraError.

    >>> ends = {f"{who}{end}": [1.0, 0.9] for who in ("personal", "baseline") for end in ("", "_low", "_high")}
    >>> figure = cold_start_plot(pl.DataFrame({"given": [1, 5], **ends}))
    >>> figure.layout.yaxis.title.text, list(figure.layout.xaxis.ticktext)
    ('RMSE (less is better)', ['1', '5'])
    """
    checked(frame, COLD, "a cold-start curve")
    from plotly.graph_objects import Scatter

    x = list(range(len(frame)))
    traces = []
    for who, name, color in (("baseline", "baseline", QUIET), ("personal", "personal model", BLUE)):
        low, high = frame[f"{who}_low"].to_list(), frame[f"{who}_high"].to_list()
        known = [at for at, end in enumerate(low) if isfinite(end)]  # nan where no interval holds
        ends = [f"{low[at]:.4f} to {high[at]:.4f}" if at in known else "no interval" for at in x]
        traces.append(
            Scatter(
                x=known + known[::-1], y=[*(high[at] for at in known), *(low[at] for at in known[::-1])],
                fill="toself", fillcolor=band_color(color, 0.18), mode="none",
                hoverinfo="skip", showlegend=False, name=f"{name}, 95 %",
            )
        )  # fmt: skip
        traces.append(
            Scatter(
                x=x, y=frame[who].to_list(), mode="lines+markers", name=name, line={"color": color, "width": 2.5},
                marker={"size": 8}, customdata=list(zip(frame["given"].to_list(), ends, strict=True)),
                hovertemplate="%{customdata[0]} given: %{y:.4f}<br>%{customdata[1]}",
            )
        )  # fmt: skip
    better = "RMSE (less is better)" if metric == "rmse" else f"{metric.upper()} (more is better)"
    ticks = {"tickvals": x, "ticktext": [str(n) for n in frame["given"].to_list()]}
    return figure_of(
        traces, height=440, xaxis=axis("ratings given by the newcomer", **ticks), yaxis=axis(better), hovermode="x",
        margin={"t": 40, "r": 14, "b": 60, "l": 60},
    )  # fmt: skip


@validated
def simulation_plot(frame: pl.DataFrame, measures: Mapping[str, str]) -> Figure:
    """Measures round after round, one panel below the other, a line for each remedy.

    frame: remedy, round and a column for each of `measures`, which maps columns to what they are called. Raises
    DataError for missing columns, no rows or no measures, MissingExtraError.

    >>> frame = pl.DataFrame({"remedy": ["plain", "plain"], "round": [1, 2], "coverage": [0.5, 0.4]})
    >>> figure = simulation_plot(frame, {"coverage": "share of the catalog shown"})
    >>> figure.data[0].name, list(figure.data[0].y), figure.layout.annotations[0].text
    ('plain', [0.5, 0.4], 'share of the catalog shown')
    """
    require_threads()
    checked(frame, ("remedy", "round", *measures), "a simulation")
    if not measures:
        raise DataError("measures must name at least one measure of a simulation")
    from plotly.graph_objects import Scatter

    remedies = frame["remedy"].unique(maintain_order=True).to_list()
    traces = []
    for panel, column in enumerate(measures, start=1):
        for number, remedy in enumerate(remedies):
            part = frame.filter(pl.col("remedy") == remedy).sort("round")
            color = QUIET if number == 0 else COLORS[(number - 1) % len(COLORS)]
            traces.append(
                Scatter(
                    x=part["round"].to_list(), y=part[column].to_list(), mode="lines+markers", name=shown(remedy, 40),
                    legendgroup=str(number), showlegend=panel == 1, line={"color": color, "width": 2.5},
                    marker={"size": 7}, xaxis="x", yaxis="y" if panel == 1 else f"y{panel}",
                    hovertemplate="round %{x}: %{y:.3f}",
                )
            )  # fmt: skip
    height = 110 + 210 * len(measures)
    return figure_of(traces, height=height, **_panels(measures), margin={"t": 90, "r": 14, "b": 50, "l": 60})


def _panels(measures: Mapping[str, str]) -> dict[str, Any]:
    """A y axis for each measure, from the top down, each with its name above it."""
    n = len(measures)
    layout: dict[str, Any] = {"xaxis": axis("round", dtick=1, anchor="y" if n == 1 else f"y{n}"), "annotations": []}
    for panel, name in enumerate(measures.values()):
        top = 1 - panel / n
        layout["yaxis" if panel == 0 else f"yaxis{panel + 1}"] = axis(domain=[top - 1 / n + 0.02, top - 0.07])
        layout["annotations"].append(
            {"x": 0, "y": top - 0.07, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom",
             "text": shown(name), "showarrow": False, "font": {"size": 13, "family": FONT}}
        )  # fmt: skip
    return layout
