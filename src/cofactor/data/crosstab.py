"""Cross-tabulation: the user-item matrix restricted to the most active users and the most rated items."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float64, Int32
from cofactor.data.id_columns import Id
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.errors import DataError
from cofactor.validation import validated

__all__ = ["CrossTab", "Fill", "crosstab"]

Fill: TypeAlias = Callable[[Int32, Int32], Any]
"""Function that maps the row numbers u (n,) and i (n,) of empty cells to n values, such as predictions."""

LINE_WIDTH = 80
MAX_HEADER_LINES = 3
MIN_COLUMN_WIDTH = 6
EMPTY_CELL = "·"


@dataclass(frozen=True, eq=False)
class CrossTab:
    """User-item matrix restricted to the most active users and the most rated items, created by `crosstab`.

    Attributes
    ----------
    u : ndarray of shape (n_users,), int32
        Row numbers of the users, most active first.
    i : ndarray of shape (n_items,), int32
        Row numbers of the items, most rated first.
    values : ndarray of shape (n_users, n_items), float64
        Ratings or filled values; NaN where empty.
    observed : ndarray of shape (n_users, n_items), bool
        True for ratings in the table, False for filled and empty cells.
    users, items : list of int or str
        IDs of the users and items.
    titles : list of str
        Title of each item, or its ID if it has no title.
    full_shape : tuple of (int, int)
        Numbers of users and items in the full table.

    Examples
    --------
    >>> ratings = Interactions.from_columns(["ana", "ana", "tom"], ["alien", "brazil", "alien"], [5, 4, 3])
    >>> cross_tab = crosstab(ratings, users=1)
    >>> cross_tab.users, cross_tab.items, cross_tab.values.tolist(), cross_tab.full_shape
    (['ana'], ['alien', 'brazil'], [[5.0, 4.0]], (2, 2))
    """

    u: Int32
    i: Int32
    values: Float64
    observed: Bool
    users: list[Id]
    items: list[Id]
    titles: list[str]
    full_shape: tuple[int, int]

    def frame(self) -> pl.DataFrame:
        """Return the cross-tabulation as a data frame with one row per user.

        Returns
        -------
        DataFrame
            The column `user`, then one Float64 column per item, named by its title and null where empty. Equal titles
            have the item ID appended. `observed` distinguishes ratings from filled values.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "ana", "tom"], ["alien", "brazil", "alien"], [5, 4, 3])
        >>> crosstab(ratings).frame().rows(named=True)[1]
        {'user': 'tom', 'alien': 3.0, 'brazil': None}
        """
        columns = [
            pl.Series(name, column, nan_to_null=True)
            for name, column in zip(self._column_names(), self.values.T, strict=True)
        ]
        return pl.DataFrame([pl.Series("user", self.users), *columns])

    def __str__(self) -> str:
        """Format as plain text, at most 80 characters wide: `4` is a rating, `~3.9` is filled, `·` is empty."""
        if not self.users or not self.items:
            return f"an empty cross-tab: {len(self.users)} users x {len(self.items)} items"
        cells = [
            [_cell(value, is_known) for value, is_known in zip(*row, strict=True)]
            for row in zip(self.values, self.observed, strict=True)
        ]
        labels = _pad_labels(["user", *map(str, self.users)], 20)
        min_width = max(MIN_COLUMN_WIDTH, *(len(cell) for row in cells for cell in row))
        max_columns = max(1, (LINE_WIDTH - len(labels[0])) // (min_width + 1))
        n_panels = -(-len(self.items) // max_columns)
        per_panel = -(-len(self.items) // n_panels)
        panels = [
            self._panel(labels, [row[start : start + per_panel] for row in cells], start)
            for start in range(0, len(self.items), per_panel)
        ]
        return "\n\n".join([*panels, self._caption()])

    def _panel(self, user_labels: list[str], cells: list[list[str]], start: int) -> str:
        """Format one panel: the items from position `start`, one for each column in `cells`."""
        n = len(cells[0])
        width = min(12, (LINE_WIDTH - len(user_labels[0])) // n - 1)
        headers = [_header(title, width) for title in self.titles[start : start + n]]
        depth = max(map(len, headers))
        row_labels = [" " * len(user_labels[0])] * (depth - 1) + user_labels
        columns = [
            [""] * (depth - len(header)) + header + [row[column] for row in cells]
            for column, header in enumerate(headers)
        ]
        lines = [
            " ".join([label, *(cell.rjust(width) for cell in line)])
            for label, *line in zip(row_labels, *columns, strict=True)
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _caption(self) -> str:
        """Describe the size of the cross-tab and count its known, filled and empty cells."""
        n_empty = int(np.isnan(self.values).sum())
        n_filled = int((~self.observed).sum()) - n_empty
        parts = [f"{self.observed.sum():,} of {self.observed.size:,} cells known"]
        parts += [f"{n_filled:,} filled in (~)"] if n_filled else []
        parts += [f"{n_empty:,} empty ({EMPTY_CELL})"] if n_empty else []
        n_users, n_items = self.full_shape
        users = f"the {len(self.users):,} most active of {n_users:,} users"
        items = f"the {len(self.items):,} most rated of {n_items:,} items"
        return f"{users}, {items}:\n{', '.join(parts)}"

    def _column_names(self) -> list[str]:
        """Return a distinct column name for each item."""
        names = ["user", *self.titles]
        ids = ["", *map(str, self.items)]
        while len(set(names)) < len(names):
            counts = Counter(names)
            names = [
                f"{name} [{id_}]" if counts[name] > 1 and column else name
                for column, (name, id_) in enumerate(zip(names, ids, strict=True))
            ]
        return names[1:]


@validated
def crosstab(interactions: Interactions, *, users: int = 10, items: int = 10, fill: Fill | None = None) -> CrossTab:
    """Return the cross-tabulation of the most active users and the most rated items.

    Ties are broken by the lower row number. Users and items without rows come last.

    Parameters
    ----------
    interactions : Interactions
        The table.
    users, items : int, default 10
        Maximum number of users and of items; a smaller table is shown in full.
    fill : callable or None, default None
        Function that fills the empty cells. It is called once, with the row numbers u (n,) and i (n,), int32, of all
        empty cells, and returns n finite values. None leaves the cells empty.

    Returns
    -------
    CrossTab
        The cross-tab.

    Raises
    ------
    ParameterError
        If `users` or `items` is below 1.
    DataError
        If `fill` does not return one finite value per empty cell.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "tom"], ["alien", "brazil", "alien"], [5, 4, 3])
    >>> print(cofactor.crosstab(ratings, fill=lambda u, i: [3.94] * len(u)))
    user        alien       brazil
    ana             5            4
    tom             3         ~3.9
    <BLANKLINE>
    the 2 most active of 2 users, the 2 most rated of 2 items:
    3 of 4 cells known, 1 filled in (~)
    """
    require_interactions("interactions", interactions)
    users, items = checks.whole_number("users", users, low=1), checks.whole_number("items", items, low=1)
    checks.optional_callable("fill", fill)
    u = _most_frequent(interactions.u, interactions.n_users, users)
    i = _most_frequent(interactions.i, interactions.n_items, items)
    values = np.full((len(u), len(i)), np.nan)
    position = np.full(interactions.n_items, -1, np.int64)
    position[i] = np.arange(len(i))
    rows = interactions.by_user.take(u)
    row, column = rows.owners, position[rows.columns]
    values[row[column >= 0], column[column >= 0]] = rows.values[column >= 0]
    is_known = ~np.isnan(values)
    item_ids = interactions.items.ids(i).to_list()
    cross_tab = CrossTab(
        u,
        i,
        values,
        is_known,
        interactions.users.ids(u).to_list(),
        item_ids,
        _titles(interactions, i, item_ids),
        (interactions.n_users, interactions.n_items),
    )
    if fill is not None and not is_known.all():
        values[~is_known] = _fill_values(cross_tab, fill)
    return cross_tab


def _most_frequent(rows: Int32, n_rows: int, n: int) -> Int32:
    """Return at most n row numbers, those with the most rows first."""
    counts = np.bincount(rows, minlength=n_rows)
    return np.argsort(-counts, kind="stable")[:n].astype(np.int32)


def _titles(interactions: Interactions, i: Int32, ids: list[Id]) -> list[str]:
    """Return the title of each item, or its ID if it has no title."""
    titles = interactions.titles
    item_titles = [None] * len(i) if titles is None else titles.gather(i).to_list()
    return [str(id_) if title is None else str(title) for title, id_ in zip(item_titles, ids, strict=True)]


def _fill_values(cross_tab: CrossTab, fill: Fill) -> Float64:
    """Return the values of `fill` for the empty cells, after checking them."""
    row, column = np.nonzero(~cross_tab.observed)
    values = np.asarray(fill(cross_tab.u[row], cross_tab.i[column]), dtype=np.float64)
    if values.shape != row.shape:
        raise DataError(f"fill must return one value for each of {len(row)} empty cells, not shape {values.shape}")
    invalid = np.flatnonzero(~np.isfinite(values))
    if len(invalid):
        user, item = cross_tab.users[row[invalid[0]]], cross_tab.items[column[invalid[0]]]
        raise DataError(f"fill must return finite values, not {values[invalid[0]]} for user {user!r} and item {item!r}")
    return values


def _cell(value: float, is_known: bool) -> str:
    """Format one cell."""
    if np.isnan(value):
        return EMPTY_CELL
    if not is_known:
        return f"~{value:.1f}" if abs(value) < 1e9 else f"~{value:.3g}"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _pad_labels(names: list[str], max_width: int) -> list[str]:
    """Pad strings to the same width, at most `max_width`; longer ones end in an ellipsis."""
    names = [_printable(name) for name in names]
    width = min(max_width, max(map(len, names)))
    return [(name if len(name) <= width else f"{name[: width - 1]}…").ljust(width) for name in names]


def _header(title: str, width: int) -> list[str]:
    """Wrap a title to up to three lines of `width`; a longer title ends in an ellipsis."""
    words = [w if len(w) <= width else f"{w[: width - 1]}…" for w in _printable(title).split()]
    return textwrap.wrap(" ".join(words), width, max_lines=MAX_HEADER_LINES, placeholder="…") or [""]


def _printable(text: str) -> str:
    """Replace line breaks and terminal control codes, since IDs and titles are untrusted."""
    return "".join(c if c.isprintable() else "?" for c in text)
