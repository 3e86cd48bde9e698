"""How good models are, and whether what they say of themselves is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor import checks
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.plots.theme import BLUE, ORANGE, QUIET, axis, checked, figure_of, ladder, shown
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["RELIABILITY", "comparison_plot", "reliability_plot"]

RELIABILITY = ("level", "low", "high", "predicted", "observed", "n", "sd")
COMPARISON = ("model", "role", "versus_best", "metric", "value", "low", "high")
ROLES = {"asked": BLUE, "tuned rival": ORANGE, "baseline": QUIET}
HOVER = (
    "predicted %{x:.1%}, observed %{y:.1%}<br>by chance ± %{customdata[1]:.1%} (2 sd)<br>%{customdata[0]:,} ratings"
    "<extra>rating at least %{fullData.name}</extra>"
)


@validated
def comparison_plot(frame: pl.DataFrame) -> Figure:
    """Each model's figure with its 95 % interval over users, best first: a dot and its whisker.

    frame: as `Comparison.frame` returns it: model, role, versus_best, metric, value, low, high. Raises DataError for
    missing columns or no rows, MissingExtraError.

    >>> frame = pl.DataFrame({
    ...     "model": ["biased-mf", "bias"], "role": ["asked", "baseline"], "versus_best": ["best", "worse (p=0.001)"],
    ...     "metric": "rmse", "value": [0.91, 0.94], "low": [0.9, 0.93], "high": [0.92, 0.95],
    ... })
    >>> figure = comparison_plot(frame)
    >>> [trace.name for trace in figure.data], figure.layout.xaxis.title.text
    (['asked', 'baseline'], 'RMSE: less is better')
    """
    require_threads()
    checked(frame, COMPARISON, "a comparison")
    from plotly.graph_objects import Scatter

    frame = frame.with_row_index("row")
    metric = str(frame["metric"][0])
    better = "RMSE: less is better" if metric == "rmse" else (
        f"{metric.upper()}: more is better"
    )  # fmt: skip
    traces = []
    for role, color in ROLES.items():
        part = frame.filter(pl.col("role") == role)
        if len(part) == 0:
            continue
        ends = {
            "array": (part["high"] - part["value"]).to_list(),
            "arrayminus": (part["value"] - part["low"]).to_list(),
        }
        traces.append(
            Scatter(
                x=part["value"].to_list(), y=part["row"].to_list(), mode="markers", name=role,
                marker={"color": color, "size": 12}, error_x={**ends, "color": color, "thickness": 2, "width": 5},
                customdata=[[*map(shown, both)] for both in part.select("model", "versus_best").rows()],
                hovertemplate="%{customdata[0]}: %{x:.4f}<br>%{customdata[1]}<extra></extra>",
            )
        )  # fmt: skip
    names = [f"{shown(name, 30)} · {shown(versus)}" for name, versus in frame.select("model", "versus_best").rows()]
    return ladder(names, traces, better, showlegend=True)


@validated
def reliability_plot(frame: pl.DataFrame, *, title: str | None = None) -> Figure:
    """How often ratings reached a level, against how often that was predicted: on the diagonal, probabilities are true.

    One line for each level, one marker for each bin, larger for more ratings, with a bar of 2 sd to both sides: where
    all is calibrated, about one bar in 20 misses the diagonal. frame: as `evaluate.reliability.reliability` returns it,
    with the columns of RELIABILITY. Raises DataError where a column is missing or there is no row (a scale without
    levels), MissingExtraError.

    >>> bins = {"low": [0.0, 0.5], "high": [0.5, 1.0], "predicted": [0.3, 0.7], "observed": [0.2, 0.8]}
    >>> figure = reliability_plot(pl.DataFrame({"level": 4.0, **bins, "n": [50, 50], "sd": [0.06, 0.06]}))
    >>> figure.data[1].name, list(figure.data[1].y), figure.layout.xaxis.title.text
    ('4', [0.2, 0.8], 'predicted probability')
    """
    require_threads()
    checks.instance("frame", frame, pl.DataFrame, "take the one that evaluate.calibration.reliability returns")
    if missing := [name for name in RELIABILITY if name not in frame.columns]:
        raise DataError(
            f"frame needs the columns {', '.join(RELIABILITY)}, and lacks {', '.join(missing)}; take the one that "
            "evaluate.calibration.reliability returns"
        )
    if len(frame) == 0:
        raise DataError("frame has no rows, so there is no reliability to draw: no ratings, or a scale without levels")
    checked(frame, RELIABILITY, "reliability")
    from plotly.graph_objects import Scatter

    parts = frame.sort("level", "low").partition_by("level", maintain_order=True)
    even = {"mode": "lines", "line": {"color": QUIET, "dash": "dash", "width": 1.5}, "hoverinfo": "skip"}
    traces = [Scatter(x=[0, 1], y=[0, 1], showlegend=False, **even)]
    traces += [Scatter(**_line(part, color)) for part, color in zip(parts, _colors(len(parts)), strict=True)]
    share = {"range": [-0.02, 1.02], "constrain": "domain", "tickformat": ".0%", "dtick": 0.2}
    return figure_of(
        traces, height=450,
        title=None if title is None else {"text": shown(title), "x": 0.02, "font": {"size": 15}},
        xaxis=axis("predicted probability", **share),
        yaxis=axis("share of ratings that reached it", scaleanchor="x", **share),
        legend={"title": {"text": "at least", "font": {"size": 13}}, "traceorder": "normal"},
        margin={"t": 50 if title is None else 100, "r": 14, "b": 60, "l": 60},
    )  # fmt: skip


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


def _colors(n: int) -> list[str]:
    """n colors in the order of a scale, told apart by lightness too, none of them near black or white."""
    from plotly.colors import sample_colorscale

    colors: list[str] = sample_colorscale("Viridis", [0.25 + 0.55 * k / max(n - 1, 1) for k in range(n)])
    return colors


def _faded(color: str) -> str:
    """rgb(...) so that what lies behind is seen."""
    return color.replace("rgb(", "rgba(").replace(")", ", 0.5)")
