"""Figures about items: a map of the item factors, and bias-adjusted ratings compared with plain averages."""

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
from cofactor.plots.labels import place_labels
from cofactor.plots.theme import BLUE, GRAY, ORANGE, axis, band_color, display_text, dot_plot, figure_of, require_frame
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["bias_ranking_plot", "factor_map_plot", "factor_map_png"]

MAP_COLUMNS = ("item", "axis_1", "axis_2", "support")
RANKING_COLUMNS = ("item", "level", "average", "support")
MIN_WIDTH, HEIGHT, CHAR_WIDTH, LINE_HEIGHT = 310, 560, 6.4, 15
"""Minimum width and height of the plot, and width and height of a character in a label, in pixels."""
PADDING = 0.06
MAX_LABELS, MAX_CHARS = 14, 24
"""Maximum number of labels, and maximum number of characters per label."""


@validated
def factor_map_plot(frame: pl.DataFrame) -> Figure:
    """Plot items on the first two principal axes of their factors.

    Items that are close to each other are liked by the same users. The outermost items are labeled, and the point size
    increases with the number of ratings.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame `FactorMap.items`, with columns item, axis_1, axis_2, support and, optionally, title.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one point per item, which shows the item's name and number of ratings on hover.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> items = pl.DataFrame({"item": ["alien", "up"], "axis_1": [-1.0, 1.0], "axis_2": [0.2, 0.3], "support": [9, 4]})
    >>> figure = factor_map_plot(items)
    >>> [note.text for note in figure.layout.annotations], figure.layout.xaxis.title.text
    (['alien', 'up'], 'first factor axis')
    """
    require_frame(frame, MAP_COLUMNS, "a factor map")
    from plotly.graph_objects import Scatter

    x, y, names = _coordinates(frame)
    diameters = _diameters(frame)
    ends = _outermost(x, y)
    hover = [
        f"{display_text(name, 60)}<br>{n:,} ratings" for name, n in zip(names, frame["support"].to_list(), strict=True)
    ]
    points = [
        Scatter(
            x=x[at], y=y[at], mode="markers", text=[hover[k] for k in at], hovertemplate="%{text}<extra></extra>",
            marker={"size": diameters[at], "color": color, "opacity": opacity, "line": {"width": 0}}, showlegend=False,
        )
        for at, color, opacity in ((np.setdiff1d(np.arange(len(x)), ends), BLUE, 0.4), (ends, ORANGE, 0.95))
    ]  # fmt: skip
    x_range, y_range = _range(x), _range(y)
    plot_height = HEIGHT - 70
    pixels = [(_to_pixels(x[k], x_range, MIN_WIDTH), _to_pixels(y[k], y_range, plot_height)) for k in ends]
    texts = [display_text(names[k], MAX_CHARS) for k in ends]
    sizes = [(CHAR_WIDTH * min(len(str(names[k])), MAX_CHARS) + 6, LINE_HEIGHT) for k in ends]
    annotations = [
        {"x": x[ends[label.point]], "y": y[ends[label.point]], "text": texts[label.point], "ax": label.dx,
         "ay": -label.dy, "xanchor": "left" if label.dx > 0 else "right", "showarrow": True, "arrowhead": 0,
         "arrowwidth": 1, "arrowcolor": GRAY, "font": {"size": 11}}
        for label in place_labels(pixels, sizes, MIN_WIDTH, plot_height)
    ]  # fmt: skip
    return figure_of(
        points, height=HEIGHT, annotations=annotations, margin={"t": 20, "r": 14, "b": 50, "l": 50},
        xaxis=axis("first factor axis", range=x_range), yaxis=axis("second factor axis", range=y_range),
    )  # fmt: skip


@validated
def bias_ranking_plot(frame: pl.DataFrame, *, n: int = 10) -> Figure:
    """Plot the bias-adjusted rating and the plain average rating of the first and last `n` items in a frame.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame returned by `interpret.bias_ranking` or `interpret.surprising_items`, with columns item, level (the
        bias-adjusted rating), average, support and, optionally, title.
    n : int, default 10
        Number of items to draw from each end of the frame.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one row per item, a ring for the plain average and a dot for the bias-adjusted rating.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> items = pl.DataFrame({"item": ["alien", "up"], "level": [4.1, 3.9], "average": [4.4, 3.8], "support": [9, 4]})
    >>> figure = bias_ranking_plot(items)
    >>> {trace.name: list(trace.x) for trace in figure.data if trace.name}
    {'plain average': [4.4, 3.8], 'bias-adjusted rating': [4.1, 3.9]}
    """
    require_threads()
    require_frame(frame, RANKING_COLUMNS, "bias-adjusted ratings")
    checks.whole_number("n", n, low=1)
    from plotly.graph_objects import Scatter

    displayed_rows = frame if len(frame) <= 2 * n else pl.concat([frame.head(n), frame.tail(n)])
    names = _names(displayed_rows)
    level, average, support = (displayed_rows[name].to_list() for name in ("level", "average", "support"))
    rows = list(range(len(displayed_rows)))
    hover = [
        f"{display_text(name, 60)}<br>bias-adjusted {a:.2f}, average {b:.2f}<br>{k:,} ratings"
        for name, a, b, k in zip(names, level, average, support, strict=True)
    ]
    dots = [
        Scatter(
            x=x, y=rows, mode="markers", name=name, text=hover, hovertemplate="%{text}<extra></extra>",
            marker={"size": 11, "color": color, "symbol": symbol, "line": {"width": 2, "color": color}},
            cliponaxis=False,
        )
        for name, x, color, symbol in (
            ("plain average", average, GRAY, "circle-open"), ("bias-adjusted rating", level, BLUE, "circle"),
        )
    ]  # fmt: skip
    labels = [f"{display_text(name, 34)} · {k:,}" for name, k in zip(names, support, strict=True)]
    bars = _bars(average, level, rows)
    return dot_plot(labels, [bars, *dots], "rating", showlegend=True)


@validated
def factor_map_png(frame: pl.DataFrame, path: str | Path, *, title: str | None = None) -> None:
    """Save a factor map as a 2000 x 1400 pixel PNG file, drawn with Matplotlib and without a display.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame `FactorMap.items`, as for `factor_map_plot`.
    path : str or Path
        File to write.
    title : str, optional
        Title above the map.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly or Matplotlib is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> items = pl.DataFrame({"item": ["alien", "up"], "axis_1": [-1.0, 1.0], "axis_2": [0.2, 0.3], "support": [9, 4]})
    >>> with TemporaryDirectory() as folder:
    ...     factor_map_png(items, Path(folder, "map.png"))
    ...     Path(folder, "map.png").read_bytes()[1:4]
    b'PNG'
    """
    require_frame(frame, MAP_COLUMNS, "a factor map")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as problem:
        raise MissingExtraError(
            'PNG output needs matplotlib, which is not installed: pip install "cofactor[report]"'
        ) from problem
    x, y, names = _coordinates(frame)
    ends = _outermost(x, y)
    figure = Canvas(figsize=(10, 7), dpi=200, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(x, y, s=_diameters(frame) ** 2 / 2, c=BLUE, alpha=0.4, linewidths=0)
    axes.scatter(x[ends], y[ends], s=_diameters(frame)[ends] ** 2 / 2, c=ORANGE, linewidths=0)
    axes.set(xlim=_range(x), ylim=_range(y), xlabel="first factor axis", ylabel="second factor axis")
    axes.grid(color="#d9dce0", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8)
    if title is not None:
        axes.set_title(_escape_for_matplotlib(title), loc="left", fontsize=12)
    canvas.draw()  # the layout must be computed before labels are placed in pixels
    _label_points(axes, canvas.get_renderer(), x[ends], y[ends], [names[k] for k in ends])
    figure.savefig(path, format="png", metadata={"Software": None})


def _label_points(axes: Any, renderer: Any, x: Float64, y: Float64, names: Sequence[object]) -> None:
    """Label as many points as fit without overlaps, using text sizes from the renderer."""
    texts = [
        axes.annotate(_escape_for_matplotlib(name), (a, b), fontsize=8) for name, a, b in zip(names, x, y, strict=True)
    ]
    sizes = [(box.width + 6, box.height + 6) for box in (text.get_window_extent(renderer) for text in texts)]
    for text in texts:
        text.remove()
    frame = axes.get_window_extent(renderer)
    pixels = [(float(a - frame.x0), float(b - frame.y0)) for a, b in axes.transData.transform(np.column_stack([x, y]))]
    points_per_pixel = 72 / axes.figure.dpi
    for label in place_labels(pixels, sizes, frame.width, frame.height):
        axes.annotate(
            _escape_for_matplotlib(names[label.point]), (x[label.point], y[label.point]), fontsize=8, color="#30363d",
            xytext=(label.dx * points_per_pixel, label.dy * points_per_pixel), textcoords="offset points",
            ha="left" if label.dx > 0 else "right", va="center",
            arrowprops={"arrowstyle": "-", "color": GRAY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _escape_for_matplotlib(text: object) -> str:
    """Escape text for Matplotlib, in which $ starts a formula, and truncate it to 34 characters."""
    printable_text = "".join(c if c.isprintable() else " " for c in str(text))
    return (printable_text if len(printable_text) <= 34 else f"{printable_text[:33].rstrip()}…").replace("$", r"\$")


def _coordinates(frame: pl.DataFrame) -> tuple[Float64, Float64, list[object]]:
    x, y = (frame[name].to_numpy().astype(np.float64) for name in ("axis_1", "axis_2"))
    return x, y, _names(frame)


def _names(frame: pl.DataFrame) -> list[object]:
    """Return the item titles, or the IDs of items without titles."""
    ids = frame["item"].to_list()
    titles = frame["title"].to_list() if "title" in frame.columns else [None] * len(ids)
    return [id_ if title is None else title for title, id_ in zip(titles, ids, strict=True)]


def _diameters(frame: pl.DataFrame) -> Float64:
    support = frame["support"].to_numpy().astype(np.float64)
    diameters: Float64 = 4 + 9 * np.sqrt(support / max(support.max(), 1))
    return diameters


def _outermost(x: Float64, y: Float64) -> Any:
    """Return row numbers of the points to label, alternating between the outermost ones at both ends of each axis."""
    orders = [np.argsort(sign * values, kind="stable") for values in (x, y) for sign in (1, -1)]
    candidate_rows = np.stack(orders, axis=1)[:MAX_LABELS].ravel().tolist()
    return np.array(list(dict.fromkeys(candidate_rows))[:MAX_LABELS], np.int64)


def _range(values: Float64) -> list[float]:
    low, high = float(values.min()), float(values.max())
    padding = PADDING * (high - low) or 1.0
    return [low - padding, high + padding]


def _to_pixels(value: float, axis_range: list[float], pixels: float) -> float:
    return (value - axis_range[0]) / (axis_range[1] - axis_range[0]) * pixels


def _bars(first: Sequence[float], second: Sequence[float], rows: Sequence[int]) -> Any:
    """Create horizontal bars that connect two values in each row."""
    from plotly.graph_objects import Scatter

    x = [part for pair in zip(first, second, rows, strict=True) for part in (pair[0], pair[1], None)]
    y = [part for row in rows for part in (row, row, None)]
    return Scatter(
        x=x, y=y, mode="lines", line={"color": band_color("#8a8f98", 0.55), "width": 3}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
