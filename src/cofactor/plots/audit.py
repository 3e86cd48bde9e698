"""Figures for audits: Lorenz curves, genre frequencies, and influence of user groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from cofactor import checks
from cofactor.arrays import MAX_ROWS
from cofactor.fork import require_threads
from cofactor.plots.theme import (
    BLUE,
    COLORS,
    GRAY,
    ORANGE,
    RED,
    axis,
    band_color,
    display_text,
    dot_plot,
    figure_of,
    require_frame,
)
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["genres_plot", "influence_plot", "lorenz_plot"]

LORENZ_COLUMNS = ("what", "share_of_members", "share_held")
GENRE_COLUMNS = ("genre", "had", "shown")
INFLUENCE_COLUMNS = ("group", "users", "share_of_users", "share_of_influence", "ratio", "flagged")


@validated
def lorenz_plot(frame: pl.DataFrame) -> Figure:
    """Plot Lorenz curves: cumulative fraction of a total by fraction of the members, smallest members first.

    The diagonal is an even distribution. The farther a curve is below it, the more concentrated the distribution.

    Parameters
    ----------
    frame : pl.DataFrame
        Concatenated `lorenz` frames of one or more `Concentration` objects, with columns what (the name of the curve),
        share_of_members (0 to 1, smallest members first) and share_held (0 to 1, cumulative).

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one line per curve, and the diagonal.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> half = pl.DataFrame({"what": "raters", "share_of_members": [0.0, 0.5, 1.0], "share_held": [0.0, 0.1, 1.0]})
    >>> figure = lorenz_plot(half)
    >>> [trace.name for trace in figure.data], figure.layout.yaxis.title.text
    (['even distribution', 'raters'], 'cumulative share of total')
    """
    require_threads()
    require_frame(frame, LORENZ_COLUMNS, "Lorenz curves")
    from plotly.graph_objects import Scatter

    line = {"color": GRAY, "dash": "dash", "width": 1.5}
    traces = [
        Scatter(
            x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", showlegend=False, name="even distribution"
        )
    ]  # fmt: skip
    for part, color in zip(frame.partition_by("what", maintain_order=True), COLORS, strict=False):
        traces.append(
            Scatter(
                x=part["share_of_members"].to_list(), y=part["share_held"].to_list(), mode="lines",
                name=display_text(part["what"][0], 40), line={"color": color, "width": 2.5},
                hovertemplate="smallest %{x:.0%}: %{y:.1%} of total",
            )
        )  # fmt: skip
    ticks = {"range": [-0.02, 1.02], "tickformat": ".0%", "dtick": 0.25}
    return figure_of(
        traces, height=460, xaxis=axis("cumulative share of users or items, smallest first", **ticks),
        yaxis=axis("cumulative share of total", **ticks), margin={"t": 60, "r": 14, "b": 60, "l": 60},
    )  # fmt: skip


@validated
def genres_plot(frame: pl.DataFrame, *, n: int = 18) -> Figure:
    """Plot the fraction of each genre in users' histories and in their recommendations.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame `Genres.table`, with columns genre, had and shown (fractions from 0 to 1).
    n : int, default 18
        Number of rows to draw, starting with the first.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one row per genre, a ring for the fraction in histories, and a dot for that in recommendations.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> figure = genres_plot(pl.DataFrame({"genre": ["Drama", "War"], "had": [0.6, 0.4], "shown": [0.9, 0.1]}))
    >>> [trace.name for trace in figure.data if trace.name], [note.text for note in figure.layout.annotations]
    (['in histories', 'in recommendations'], ['Drama', 'War'])
    """
    frame = require_frame(frame, GENRE_COLUMNS, "genres").head(checks.whole_number("n", n, low=1, high=MAX_ROWS))
    names = [display_text(genre, 30) for genre in frame["genre"].to_list()]
    return _dumbbells(
        names, {"in histories": frame["had"].to_list(), "in recommendations": frame["shown"].to_list()},
        title="mean share over users", hover=names, colors=[ORANGE] * len(frame), symbols=["circle"] * len(frame),
    )  # fmt: skip


@validated
def influence_plot(frame: pl.DataFrame) -> Figure:
    """Plot each user group's fraction of all users next to its fraction of the total influence.

    Parameters
    ----------
    frame : pl.DataFrame
        Frame `Influence.groups`, with columns group, users, share_of_users, share_of_influence (0 to 1), ratio and
        flagged.

    Returns
    -------
    plotly.graph_objects.Figure
        Figure with one row per group, in descending order of ratio; flagged groups have red diamonds.

    Raises
    ------
    DataError
        If a column is missing, or the frame has no rows.
    MissingExtraError
        If Plotly is not installed.

    Examples
    --------
    >>> groups = pl.DataFrame({
    ...     "group": [0, 1], "users": [90, 10], "share_of_users": [0.9, 0.1], "share_of_influence": [0.6, 0.4],
    ...     "ratio": [0.7, 4.0], "flagged": [False, True],
    ... })
    >>> influence_plot(groups).layout.annotations[0].text
    'group 1 · 10 users · <b>flagged</b>'
    """
    require_threads()
    require_frame(frame, INFLUENCE_COLUMNS, "influence")
    frame = frame.sort("ratio", descending=True)
    flags = frame["flagged"].to_list()
    rows = frame.select("group", "users", "ratio", "flagged").rows()
    names = [
        f"group {group} · {users:,} users{' · <b>flagged</b>' if is_flagged else ''}"
        for group, users, _, is_flagged in rows
    ]
    hover = [
        f"{name}<br>{ratio:.2f} times the influence of a random group"
        for name, (_, _, ratio, _) in zip(names, rows, strict=True)
    ]
    return _dumbbells(
        names,
        {"of users": frame["share_of_users"].to_list(), "of influence": frame["share_of_influence"].to_list()},
        title="share", hover=hover, colors=[RED if is_flagged else BLUE for is_flagged in flags],
        symbols=["diamond" if is_flagged else "circle" for is_flagged in flags],
    )  # fmt: skip


def _dumbbells(
    names: list[str], fractions: dict[str, list[float]], *, title: str, hover: list[str], colors: list[str],
    symbols: list[str],
) -> Figure:  # fmt: skip
    """Create a figure with two fractions per row, connected by a bar; colors and symbols apply to the second one."""
    from plotly.graph_objects import Scatter

    rows = list(range(len(names)))
    (first_name, first_values), (second_name, second_values) = fractions.items()
    x = [end for a, b in zip(first_values, second_values, strict=True) for end in (a, b, None)]
    y = [end for row in rows for end in (row, row, None)]
    bar = Scatter(
        x=x, y=y, mode="lines", line={"color": band_color("#8a8f98", 0.55), "width": 3}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
    markers = (
        {"size": 11, "color": GRAY, "symbol": "circle-open", "line": {"width": 2, "color": GRAY}},
        {"size": 11, "color": colors, "symbol": symbols},
    )
    dots = [
        Scatter(
            x=values, y=rows, mode="markers", name=name, marker=marker, text=hover, cliponaxis=False,
            hovertemplate="%{text}<br>%{x:.1%} " + name + "<extra></extra>",
        )
        for name, values, marker in zip((first_name, second_name), (first_values, second_values), markers, strict=True)
    ]  # fmt: skip
    return dot_plot(
        names, [bar, *dots], title, showlegend=True, xaxis=axis(title, tickformat=".0%", rangemode="tozero")
    )
