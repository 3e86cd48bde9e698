"""Heat map of a cross-tabulation, with observed values and with predictions in the empty cells."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor.fork import require_threads
from cofactor.plots.theme import axis, display_text, figure_of, require_frame
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["crosstab_plot"]

CROSSTAB_COLUMNS = ("user", "item", "observed", "prediction")
OBSERVED_COLORS = ((0.0, "#e79a72"), (0.5, "#f3e3b0"), (1.0, "#5fb8a6"))
PREDICTED_COLORS = ((0.0, "#faece4"), (0.5, "#fcf8ec"), (1.0, "#dff1ee"))
"""Color scales for observed values and for predictions, on which dark text is readable."""


@validated
def crosstab_plot(frame: pl.DataFrame) -> Figure:
    """Plot a cross-tabulation of users (rows) and items (columns), with predictions in the empty cells.

    Observed cells have solid colors; predicted cells have light colors.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame returned by `interpret.filled_crosstab`, with columns user, item, known (null in empty cells), prediction
        and, optionally, low, high and title. Users and items are drawn in order of first occurrence.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one heat map for observed cells and one for predicted cells.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> cells = {"user": ["ana", "ana"], "item": ["alien", "brazil"], "observed": [5.0, None], "prediction": [4.8, 3.1]}
    >>> observed, predicted = crosstab_plot(pl.DataFrame(cells)).data
    >>> observed.text, predicted.text
    ((['5', ''],), (['', '3.1'],))
    """
    require_threads()
    require_frame(frame, CROSSTAB_COLUMNS, "a cross-tabulation")
    users, items = (frame[name].unique(maintain_order=True).to_list() for name in ("user", "item"))
    title = "title" if "title" in frame.columns else "item"
    titles = dict(zip(frame["item"].to_list(), frame[title].to_list(), strict=True))
    cells = {(row["user"], row["item"]): row for row in frame.to_dicts()}
    values = [
        x for row in cells.values() for x in (row["observed"], row["prediction"]) if x is not None and isfinite(x)
    ]
    value_range = (min(values, default=0.0), max(values, default=1.0))
    grid = [[cells.get((user, item)) for item in items] for user in users]
    names = [titles[item] if titles[item] is not None else item for item in items]
    x_axis = axis(
        side="top", tickangle=-90, tickvals=list(range(len(items))), ticktext=[display_text(name, 18) for name in names]
    )
    y_axis = axis(
        tickvals=list(range(len(users))), ticktext=[display_text(user, 12) for user in users], autorange="reversed"
    )
    return figure_of(
        [_layer(grid, names, observed=observed, value_range=value_range) for observed in (True, False)],
        height=190 + 30 * len(users), xaxis=x_axis | {"showgrid": False}, yaxis=y_axis | {"showgrid": False},
        margin={"t": 140, "r": 10, "b": 20, "l": 50},
    )  # fmt: skip


def _layer(
    grid: Sequence[Sequence[Any]], names: Sequence[Any], *, observed: bool, value_range: tuple[float, float]
) -> Any:
    """Create a heat map of either the observed or the predicted cells."""
    from plotly.graph_objects import Heatmap

    def value(cell: Any) -> float | None:
        if cell is None or (cell["observed"] is not None) is not observed:
            return None
        number = cell["observed"] if observed else cell["prediction"]
        return number if number is not None and isfinite(number) else None

    z = [[value(cell) for cell in row] for row in grid]
    text = [["" if x is None else (f"{x:.3g}" if observed else f"{x:.1f}") for x in row] for row in z]
    hover = [[_hover_text(cell, name) for cell, name in zip(row, names, strict=True)] for row in grid]
    low, high = value_range
    if low == high:
        low, high = low - 1, high + 1
    return Heatmap(
        z=z, text=text, customdata=hover, texttemplate="%{text}", hovertemplate="%{customdata}<extra></extra>",
        colorscale=OBSERVED_COLORS if observed else PREDICTED_COLORS, zmin=low, zmax=high, showscale=False,
        xgap=2, ygap=2, hoverongaps=False,
        textfont={"size": 13 if observed else 11, "color": "#1c2127" if observed else "#5b636d"},
        name="observed" if observed else "predicted",
    )  # fmt: skip


def _hover_text(cell: Any, name: Any) -> str:
    if cell is None:
        return ""
    header = f"user {display_text(cell['user'], 40)}<br>{display_text(name, 60)}<br>"
    observed_text = "" if cell["observed"] is None else f"observed {cell['observed']:g}, "
    predicted_text = "" if cell["prediction"] is None else f"predicted {cell['prediction']:.2f}"
    interval = f"<br>{cell['low']:.2f} to {cell['high']:.2f}" if cell.get("low") is not None else ""
    return f"{header}{observed_text}{predicted_text}{interval}"
