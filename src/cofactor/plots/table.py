"""The cross-tab as a picture: what people said, and between it what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from cofactor.fork import require_threads
from cofactor.plots.theme import axis, checked, figure_of, shown
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["crosstab_plot"]

CELLS = ("user", "item", "known", "prediction")
SOLID = ((0.0, "#e79a72"), (0.5, "#f3e3b0"), (1.0, "#5fb8a6"))
LIGHT = ((0.0, "#faece4"), (0.5, "#fcf8ec"), (1.0, "#dff1ee"))
"""Colors on which dark text can be read: of what was said, and of what is predicted."""


@validated
def crosstab_plot(frame: pl.DataFrame) -> Figure:
    """Users down, items across: known cells solid with what was given, the others light with what is predicted.

    frame: as `interpret.filled_crosstab` returns it, users and items in the order in which they come first: user, item,
    known (null for a blank), prediction[, low, high][, title]. Raises DataError for missing columns or no rows,
    MissingExtraError.

    >>> cells = {"user": ["ana", "ana"], "item": ["alien", "brazil"], "known": [5.0, None], "prediction": [4.8, 3.1]}
    >>> given, predicted = crosstab_plot(pl.DataFrame(cells)).data
    >>> given.text, predicted.text
    ((['5', ''],), (['', '3.1'],))
    """
    require_threads()
    checked(frame, CELLS, "a filled cross-tab")
    users, items = (frame[name].unique(maintain_order=True).to_list() for name in ("user", "item"))
    title = "title" if "title" in frame.columns else "item"
    titles = dict(zip(frame["item"].to_list(), frame[title].to_list(), strict=True))
    cells = {(row["user"], row["item"]): row for row in frame.to_dicts()}
    numbers = [x for row in cells.values() for x in (row["known"], row["prediction"]) if x is not None and isfinite(x)]
    ends = (min(numbers, default=0.0), max(numbers, default=1.0))
    grid = [[cells.get((user, item)) for item in items] for user in users]
    names = [titles[item] if titles[item] is not None else item for item in items]
    across = axis(
        side="top", tickangle=-90, tickvals=list(range(len(items))), ticktext=[shown(name, 18) for name in names]
    )
    down = axis(tickvals=list(range(len(users))), ticktext=[shown(user, 12) for user in users], autorange="reversed")
    return figure_of(
        [_layer(grid, names, said=said, ends=ends) for said in (True, False)],
        height=190 + 30 * len(users), xaxis=across | {"showgrid": False}, yaxis=down | {"showgrid": False},
        margin={"t": 140, "r": 10, "b": 20, "l": 50},
    )  # fmt: skip


def _layer(grid: Sequence[Sequence[Any]], names: Sequence[Any], *, said: bool, ends: tuple[float, float]) -> Any:
    """Either the cells that were given, or the others."""
    from plotly.graph_objects import Heatmap

    def value(cell: Any) -> float | None:
        if cell is None or (cell["known"] is not None) is not said:
            return None
        number = cell["known"] if said else cell["prediction"]
        return number if number is not None and isfinite(number) else None

    z = [[value(cell) for cell in row] for row in grid]
    text = [["" if x is None else (f"{x:.3g}" if said else f"{x:.1f}") for x in row] for row in z]
    told = [[_told(cell, name) for cell, name in zip(row, names, strict=True)] for row in grid]
    low, high = ends if ends[0] < ends[1] else (ends[0] - 1, ends[1] + 1)
    return Heatmap(
        z=z, text=text, customdata=told, texttemplate="%{text}", hovertemplate="%{customdata}<extra></extra>",
        colorscale=SOLID if said else LIGHT, zmin=low, zmax=high, showscale=False, xgap=2, ygap=2, hoverongaps=False,
        textfont={"size": 13 if said else 11, "color": "#1c2127" if said else "#5b636d"},
        name="given" if said else "predicted",
    )  # fmt: skip


def _told(cell: Any, name: Any) -> str:
    if cell is None:
        return ""
    head = f"user {shown(cell['user'], 40)}<br>{shown(name, 60)}<br>"
    given = "" if cell["known"] is None else f"given {cell['known']:g}, "
    expected = "" if cell["prediction"] is None else f"predicted {cell['prediction']:.2f}"
    ends = f"<br>{cell['low']:.2f} to {cell['high']:.2f}" if cell.get("low") is not None else ""
    return f"{head}{given}{expected}{ends}"
