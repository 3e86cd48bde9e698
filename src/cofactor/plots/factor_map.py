"""What items are like, and how loved: the taste map, and levels beside plain averages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.errors import MissingExtraError
from cofactor.fork import require_threads
from cofactor.plots.labels import spots
from cofactor.plots.theme import BLUE, ORANGE, QUIET, axis, band_color, checked, figure_of, ladder, shown
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["levels_plot", "taste_map_plot", "taste_map_png"]

PLACES = ("item", "axis_1", "axis_2", "support")
LEVELS = ("item", "level", "average", "support")
NARROW, HEIGHT, LETTER, LINE = 310, 560, 6.4, 15
"""Pixels: the plot where it is narrowest, its height, and the size of a name's letters."""
PAD = 0.06
MOST, LONGEST = 14, 24
"""Names, and letters of one, at most."""


@validated
def taste_map_plot(frame: pl.DataFrame) -> Figure:
    """Items where their factors put them: near each other where the same people like them; the outermost are named.

    frame: the `items` of a `TasteMap`: item, axis_1, axis_2, support[, title]. A point is larger for more ratings.
    Raises DataError for missing columns or no rows, MissingExtraError.

    >>> items = pl.DataFrame({"item": ["alien", "up"], "axis_1": [-1.0, 1.0], "axis_2": [0.2, 0.3], "support": [9, 4]})
    >>> figure = taste_map_plot(items)
    >>> [note.text for note in figure.layout.annotations], figure.layout.xaxis.title.text
    (['alien', 'up'], 'first axis of taste')
    """
    checked(frame, PLACES, "a taste map")
    from plotly.graph_objects import Scatter

    x, y, names = _coordinates(frame)
    size = _sizes(frame)
    ends = _outermost(x, y)
    told = [f"{shown(name, 60)}<br>{n:,} ratings" for name, n in zip(names, frame["support"].to_list(), strict=True)]
    points = [
        Scatter(
            x=x[at], y=y[at], mode="markers", text=[told[k] for k in at], hovertemplate="%{text}<extra></extra>",
            marker={"size": size[at], "color": color, "opacity": opacity, "line": {"width": 0}}, showlegend=False,
        )
        for at, color, opacity in ((np.setdiff1d(np.arange(len(x)), ends), BLUE, 0.4), (ends, ORANGE, 0.95))
    ]  # fmt: skip
    x_range, y_range = _range(x), _range(y)
    inner = HEIGHT - 70
    pixels = [(_along(x[k], x_range, NARROW), _along(y[k], y_range, inner)) for k in ends]
    texts = [shown(names[k], LONGEST) for k in ends]
    lengths = [(LETTER * min(len(str(names[k])), LONGEST) + 6, LINE) for k in ends]
    notes = [
        {"x": x[ends[spot.point]], "y": y[ends[spot.point]], "text": texts[spot.point], "ax": spot.dx, "ay": -spot.dy,
         "xanchor": "left" if spot.dx > 0 else "right", "showarrow": True, "arrowhead": 0, "arrowwidth": 1,
         "arrowcolor": QUIET, "font": {"size": 11}}
        for spot in spots(pixels, lengths, NARROW, inner)
    ]  # fmt: skip
    return figure_of(
        points, height=HEIGHT, annotations=notes, margin={"t": 20, "r": 14, "b": 50, "l": 50},
        xaxis=axis("first axis of taste", range=x_range), yaxis=axis("second axis", range=y_range),
    )  # fmt: skip


@validated
def levels_plot(frame: pl.DataFrame, *, n: int = 10) -> Figure:
    """Items with their level beside their plain average: the first n and the last n of the frame.

    frame: as `interpret.levels` or `interpret.disagreements` returns it: item, level, average, support[, title]. Raises
    DataError for missing columns or no rows, MissingExtraError.

    >>> items = pl.DataFrame({"item": ["alien", "up"], "level": [4.1, 3.9], "average": [4.4, 3.8], "support": [9, 4]})
    >>> figure = levels_plot(items)
    >>> {trace.name: list(trace.x) for trace in figure.data if trace.name}
    {'plain average': [4.4, 3.8], 'level, whoever rates': [4.1, 3.9]}
    """
    require_threads()
    checked(frame, LEVELS, "levels")
    checks.whole_number("n", n, low=1)
    from plotly.graph_objects import Scatter

    drawn = frame if len(frame) <= 2 * n else pl.concat([frame.head(n), frame.tail(n)])
    names = _named(drawn)
    level, average, support = (drawn[name].to_list() for name in ("level", "average", "support"))
    rows = list(range(len(drawn)))
    told = [
        f"{shown(name, 60)}<br>level {a:.2f}, average {b:.2f}<br>{k:,} ratings"
        for name, a, b, k in zip(names, level, average, support, strict=True)
    ]
    dots = [
        Scatter(
            x=x, y=rows, mode="markers", name=name, text=told, hovertemplate="%{text}<extra></extra>",
            marker={"size": 11, "color": color, "symbol": symbol, "line": {"width": 2, "color": color}},
            cliponaxis=False,
        )
        for name, x, color, symbol in (
            ("plain average", average, QUIET, "circle-open"), ("level, whoever rates", level, BLUE, "circle"),
        )
    ]  # fmt: skip
    labels = [f"{shown(name, 34)} · {k:,}" for name, k in zip(names, support, strict=True)]
    between = _between(average, level, rows)
    return ladder(labels, [between, *dots], "rating", showlegend=True)


@validated
def taste_map_png(frame: pl.DataFrame, path: str | Path, *, title: str | None = None) -> None:
    """The same map as a PNG of 2000 x 1400 pixels, drawn by matplotlib without any screen.

    frame: the `items` of a `TasteMap`, as for `taste_map_plot`. Raises DataError for missing columns or no rows,
    MissingExtraError without plotly or matplotlib, OSError where the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> items = pl.DataFrame({"item": ["alien", "up"], "axis_1": [-1.0, 1.0], "axis_2": [0.2, 0.3], "support": [9, 4]})
    >>> with TemporaryDirectory() as folder:
    ...     taste_map_png(items, Path(folder, "map.png"))
    ...     Path(folder, "map.png").read_bytes()[1:4]
    b'PNG'
    """
    checked(frame, PLACES, "a taste map")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as problem:
        raise MissingExtraError(
            'a PNG needs matplotlib, which is not installed: pip install "cofactor[report]"'
        ) from problem
    x, y, names = _coordinates(frame)
    ends = _outermost(x, y)
    figure = Canvas(figsize=(10, 7), dpi=200, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(x, y, s=_sizes(frame) ** 2 / 2, c=BLUE, alpha=0.4, linewidths=0)
    axes.scatter(x[ends], y[ends], s=_sizes(frame)[ends] ** 2 / 2, c=ORANGE, linewidths=0)
    axes.set(xlim=_range(x), ylim=_range(y), xlabel="first axis of taste", ylabel="second axis")
    axes.grid(color="#d9dce0", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8)
    if title is not None:
        axes.set_title(_literal(title), loc="left", fontsize=12)
    canvas.draw()  # lays out, so that pixels are known
    _name_ends(axes, canvas.get_renderer(), x[ends], y[ends], [names[k] for k in ends])
    figure.savefig(path, format="png", metadata={"Software": None})


def _name_ends(axes: Any, renderer: Any, x: Float64, y: Float64, names: Sequence[object]) -> None:
    """Names beside their points, as many as have room, measured by the renderer that will draw them."""
    texts = [axes.annotate(_literal(name), (a, b), fontsize=8) for name, a, b in zip(names, x, y, strict=True)]
    sizes = [(box.width + 6, box.height + 6) for box in (text.get_window_extent(renderer) for text in texts)]
    for text in texts:
        text.remove()
    frame = axes.get_window_extent(renderer)
    pixels = [(float(a - frame.x0), float(b - frame.y0)) for a, b in axes.transData.transform(np.column_stack([x, y]))]
    points_per_pixel = 72 / axes.figure.dpi
    for spot in spots(pixels, sizes, frame.width, frame.height):
        axes.annotate(
            _literal(names[spot.point]), (x[spot.point], y[spot.point]), fontsize=8, color="#30363d",
            xytext=(spot.dx * points_per_pixel, spot.dy * points_per_pixel), textcoords="offset points",
            ha="left" if spot.dx > 0 else "right", va="center",
            arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _literal(text: object) -> str:
    """What matplotlib shows as it is: no $ of it begins a formula, and a long one ends in an ellipsis."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return (plain if len(plain) <= 34 else f"{plain[:33].rstrip()}…").replace("$", r"\$")


def _coordinates(frame: pl.DataFrame) -> tuple[Float64, Float64, list[object]]:
    x, y = (frame[name].to_numpy().astype(np.float64) for name in ("axis_1", "axis_2"))
    return x, y, _named(frame)


def _named(frame: pl.DataFrame) -> list[object]:
    """Titles, and ids where there is none."""
    ids = frame["item"].to_list()
    titles = frame["title"].to_list() if "title" in frame.columns else [None] * len(ids)
    return [id_ if title is None else title for title, id_ in zip(titles, ids, strict=True)]


def _sizes(frame: pl.DataFrame) -> Float64:
    support = frame["support"].to_numpy().astype(np.float64)
    sizes: Float64 = 4 + 9 * np.sqrt(support / max(support.max(), 1))
    return sizes


def _outermost(x: Float64, y: Float64) -> Any:
    """The points to name: the farthest out along each axis, at both ends in turn; (n,) row numbers."""
    orders = [np.argsort(sign * values, kind="stable") for values in (x, y) for sign in (1, -1)]
    turns = np.stack(orders, axis=1)[:MOST].ravel().tolist()
    return np.array(list(dict.fromkeys(turns))[:MOST], np.int64)


def _range(values: Float64) -> list[float]:
    low, high = float(values.min()), float(values.max())
    pad = PAD * (high - low) or 1.0
    return [low - pad, high + pad]


def _along(value: float, ends: list[float], pixels: float) -> float:
    return (value - ends[0]) / (ends[1] - ends[0]) * pixels


def _between(first: Sequence[float], second: Sequence[float], rows: Sequence[int]) -> Any:
    """The bars of dumbbells."""
    from plotly.graph_objects import Scatter

    x = [part for pair in zip(first, second, rows, strict=True) for part in (pair[0], pair[1], None)]
    y = [part for row in rows for part in (row, row, None)]
    return Scatter(
        x=x, y=y, mode="lines", line={"color": band_color("#8a8f98", 0.55), "width": 3}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
