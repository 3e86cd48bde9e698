"""Who rates, what is shown, and who decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from cofactor import checks
from cofactor.arrays import MOST_ROWS
from cofactor.fork import require_threads
from cofactor.plots.theme import BLUE, COLORS, ORANGE, QUIET, RED, axis, band_color, checked, figure_of, ladder, shown
from cofactor.validation import validated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["genres_plot", "influence_plot", "lorenz_plot"]

LORENZ = ("what", "share_of_members", "share_held")
GENRES = ("genre", "had", "shown")
INFLUENCE = ("group", "users", "share_of_users", "share_of_influence", "ratio", "flagged")


@validated
def lorenz_plot(frame: pl.DataFrame) -> Figure:
    """How unevenly things are held: on the diagonal all hold the same, the deeper a curve hangs, the fewer hold most.

    frame: the `lorenz` of several `Concentration`s below each other, each called by the column `what`:

        what: which curve
        share_of_members: 0..1, poorest first    share_held: 0..1, what they hold together

    Raises DataError for missing columns or no rows, MissingExtraError.

    >>> half = pl.DataFrame({"what": "raters", "share_of_members": [0.0, 0.5, 1.0], "share_held": [0.0, 0.1, 1.0]})
    >>> figure = lorenz_plot(half)
    >>> [trace.name for trace in figure.data], figure.layout.yaxis.title.text
    (['all the same', 'raters'], 'share held')
    """
    require_threads()
    checked(frame, LORENZ, "Lorenz curves")
    from plotly.graph_objects import Scatter

    even = {"mode": "lines", "line": {"color": QUIET, "dash": "dash", "width": 1.5}, "hoverinfo": "skip"}
    traces = [Scatter(x=[0, 1], y=[0, 1], showlegend=False, name="all the same", **even)]
    for part, color in zip(frame.partition_by("what", maintain_order=True), COLORS, strict=False):
        traces.append(
            Scatter(
                x=part["share_of_members"].to_list(), y=part["share_held"].to_list(), mode="lines",
                name=shown(part["what"][0], 40), line={"color": color, "width": 2.5},
                hovertemplate="%{x:.0%} who hold least hold %{y:.1%}",
            )
        )  # fmt: skip
    share = {"range": [-0.02, 1.02], "tickformat": ".0%", "dtick": 0.25}
    return figure_of(
        traces, height=460, xaxis=axis("share of users or items, poorest first", **share),
        yaxis=axis("share held", **share), margin={"t": 60, "r": 14, "b": 60, "l": 60},
    )  # fmt: skip


@validated
def genres_plot(frame: pl.DataFrame, *, n: int = 18) -> Figure:
    """What share of people's lists each genre is, beside what share of their own ratings: the first n rows.

    frame: the `table` of `Genres`, with genre, had and shown (shares, 0..1). Raises DataError for missing columns or no
    rows, MissingExtraError.

    >>> figure = genres_plot(pl.DataFrame({"genre": ["Drama", "War"], "had": [0.6, 0.4], "shown": [0.9, 0.1]}))
    >>> [trace.name for trace in figure.data if trace.name], [note.text for note in figure.layout.annotations]
    (['had by people', 'shown to them'], ['Drama', 'War'])
    """
    frame = checked(frame, GENRES, "genres").head(checks.whole_number("n", n, low=1, high=MOST_ROWS))
    names = [shown(genre, 30) for genre in frame["genre"].to_list()]
    return _dumbbells(
        names, {"had by people": frame["had"].to_list(), "shown to them": frame["shown"].to_list()},
        title="share, mean over users", told=names, colors=[ORANGE] * len(frame), symbols=["circle"] * len(frame),
    )  # fmt: skip


@validated
def influence_plot(frame: pl.DataFrame) -> Figure:
    """Each group's share of the people beside its share of the influence on others; flagged groups stand out.

    frame: the `groups` of an `Influence`: group, users, share_of_users, share_of_influence (0..1), ratio, flagged.
    Groups of the highest ratio come first. Raises DataError for missing columns or no rows, MissingExtraError.

    >>> groups = pl.DataFrame({
    ...     "group": [0, 1], "users": [90, 10], "share_of_users": [0.9, 0.1], "share_of_influence": [0.6, 0.4],
    ...     "ratio": [0.7, 4.0], "flagged": [False, True],
    ... })
    >>> influence_plot(groups).layout.annotations[0].text
    'group 1 · 10 people · <b>flagged</b>'
    """
    require_threads()
    checked(frame, INFLUENCE, "influence")
    frame = frame.sort("ratio", descending=True)
    flagged = frame["flagged"].to_list()
    rows = frame.select("group", "users", "ratio", "flagged").rows()
    names = [
        f"group {group} · {users:,} people{' · <b>flagged</b>' if marked else ''}" for group, users, _, marked in rows
    ]
    told = [f"{name}<br>{ratio:.2f} times a random group's" for name, (_, _, ratio, _) in zip(names, rows, strict=True)]
    return _dumbbells(
        names,
        {"of the people": frame["share_of_users"].to_list(), "of the influence": frame["share_of_influence"].to_list()},
        title="share", told=told, colors=[RED if one else BLUE for one in flagged],
        symbols=["diamond" if one else "circle" for one in flagged],
    )  # fmt: skip


def _dumbbells(
    names: list[str], shares: dict[str, list[float]], *, title: str, told: list[str], colors: list[str],
    symbols: list[str],
) -> Figure:  # fmt: skip
    """Two shares of each row with a bar between them; colors and symbols are those of the second."""
    from plotly.graph_objects import Scatter

    rows = list(range(len(names)))
    (first, before), (second, after) = shares.items()
    x = [part for a, b in zip(before, after, strict=True) for part in (a, b, None)]
    y = [part for row in rows for part in (row, row, None)]
    bar = Scatter(
        x=x, y=y, mode="lines", line={"color": band_color("#8a8f98", 0.55), "width": 3}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
    looks = (
        {"size": 11, "color": QUIET, "symbol": "circle-open", "line": {"width": 2, "color": QUIET}},
        {"size": 11, "color": colors, "symbol": symbols},
    )
    dots = [
        Scatter(
            x=values, y=rows, mode="markers", name=name, marker=look, text=told, cliponaxis=False,
            hovertemplate="%{text}<br>%{x:.1%} " + name + "<extra></extra>",
        )
        for name, values, look in zip((first, second), (before, after), looks, strict=True)
    ]  # fmt: skip
    return ladder(names, [bar, *dots], title, showlegend=True, xaxis=axis(title, tickformat=".0%", rangemode="tozero"))
