"""A corner of the user x item table, blanks and all: the busiest users by the most rated items."""

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
from cofactor.data.ids import Id
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.errors import DataError
from cofactor.validation import validated

__all__ = ["CrossTab", "Fill", "crosstab"]

Fill: TypeAlias = Callable[[Int32, Int32], Any]
"""From row numbers u (n,) and i (n,) of blanks to a value each: how a cross-tab gets predictions."""

LINE = 80
HEADER_LINES = 3
NARROWEST = 6
BLANK = "·"


@dataclass(frozen=True, eq=False)
class CrossTab:
    """Some users by some items; see `crosstab`, which makes it.

    Attributes:

        u, i: their row numbers, busiest first: (n_users,) and (n_items,) int32.
        values: (n_users, n_items) float64, NaN where blank.
        known: (n_users, n_items) bool: true where the value was given, not filled.
        users, items: their ids.
        titles: what to call each item: its title where there is one, else its id.
        whole: users and items of the table that this is a corner of.

    >>> ratings = Interactions.from_columns(["ana", "ana", "tom"], ["alien", "brazil", "alien"], [5, 4, 3])
    >>> corner = crosstab(ratings, users=1)
    >>> corner.users, corner.items, corner.values.tolist(), corner.whole
    (['ana'], ['alien', 'brazil'], [[5.0, 4.0]], (2, 2))
    """

    u: Int32
    i: Int32
    values: Float64
    known: Bool
    users: list[Id]
    items: list[Id]
    titles: list[str]
    whole: tuple[int, int]

    def frame(self) -> pl.DataFrame:
        """One row per user: `user`, then a Float64 column per item, null where blank.

        Columns are named by title; titles that would clash get their id behind them. `known` tells filled
        values from given ones.

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
        """At most 80 columns of plain text: `4` was given, `~3.9` was filled in, `·` is blank."""
        if not self.users or not self.items:
            return f"an empty cross-tab: {len(self.users)} users x {len(self.items)} items"
        cells = [
            [_cell(value, known) for value, known in zip(*row, strict=True)]
            for row in zip(self.values, self.known, strict=True)
        ]
        names = _fitted(["user", *map(str, self.users)], 20)
        narrowest = max(NARROWEST, *(len(cell) for row in cells for cell in row))
        most = max(1, (LINE - len(names[0])) // (narrowest + 1))
        n_panels = -(-len(self.items) // most)
        per_panel = -(-len(self.items) // n_panels)
        panels = [
            self._panel(names, [row[start : start + per_panel] for row in cells], start)
            for start in range(0, len(self.items), per_panel)
        ]
        return "\n\n".join([*panels, self._caption()])

    def _panel(self, names: list[str], cells: list[list[str]], start: int) -> str:
        n = len(cells[0])
        width = min(12, (LINE - len(names[0])) // n - 1)
        headers = [_header(title, width) for title in self.titles[start : start + n]]
        depth = max(map(len, headers))
        labels = [" " * len(names[0])] * (depth - 1) + names
        columns = [
            [""] * (depth - len(header)) + header + [row[place] for row in cells]
            for place, header in enumerate(headers)
        ]
        lines = [
            " ".join([label, *(cell.rjust(width) for cell in line)])
            for label, *line in zip(labels, *columns, strict=True)
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _caption(self) -> str:
        n_blank = int(np.isnan(self.values).sum())
        n_filled = int((~self.known).sum()) - n_blank
        parts = [f"{self.known.sum():,} of {self.known.size:,} cells known"]
        parts += [f"{n_filled:,} filled in (~)"] if n_filled else []
        parts += [f"{n_blank:,} blank ({BLANK})"] if n_blank else []
        n_users, n_items = self.whole
        busiest = f"the busiest {len(self.users):,} of {n_users:,} users"
        rated = f"the most rated {len(self.items):,} of {n_items:,} items"
        return f"{busiest}, {rated}:\n{', '.join(parts)}"

    def _column_names(self) -> list[str]:
        names = ["user", *self.titles]
        ids = ["", *map(str, self.items)]
        while len(set(names)) < len(names):
            times = Counter(names)
            names = [
                f"{name} [{id_}]" if times[name] > 1 and place else name
                for place, (name, id_) in enumerate(zip(names, ids, strict=True))
            ]
        return names[1:]


@validated
def crosstab(interactions: Interactions, *, users: int = 10, items: int = 10, fill: Fill | None = None) -> CrossTab:
    """The `users` busiest users by the `items` most rated items; ties go to the lower row number.

    Tables with fewer users or items are shown whole; users and items without any row come last. `fill` is
    asked once, for all blanks: from their row numbers u (n,) and i (n,) int32 to n values. Raises ParameterError for
    fewer than one user or item, DataError when `fill` does not give one finite value per blank.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "ana", "tom"], ["alien", "brazil", "alien"], [5, 4, 3])
    >>> print(cofactor.crosstab(ratings, fill=lambda u, i: [3.94] * len(u)))
    user        alien       brazil
    ana             5            4
    tom             3         ~3.9
    <BLANKLINE>
    the busiest 2 of 2 users, the most rated 2 of 2 items:
    3 of 4 cells known, 1 filled in (~)
    """
    require_interactions("interactions", interactions)
    users, items = checks.whole_number("users", users, low=1), checks.whole_number("items", items, low=1)
    checks.optional_callable("fill", fill)
    u = _busiest(interactions.u, interactions.n_users, users)
    i = _busiest(interactions.i, interactions.n_items, items)
    values = np.full((len(u), len(i)), np.nan)
    place = np.full(interactions.n_items, -1, np.int64)
    place[i] = np.arange(len(i))
    rows = interactions.by_user.take(u)
    r, column = np.repeat(np.arange(len(u)), rows.counts), place[rows.columns]
    values[r[column >= 0], column[column >= 0]] = rows.values[column >= 0]
    known = ~np.isnan(values)
    item_ids = interactions.items.ids(i).to_list()
    corner = CrossTab(
        u,
        i,
        values,
        known,
        interactions.users.ids(u).to_list(),
        item_ids,
        _titles(interactions, i, item_ids),
        (interactions.n_users, interactions.n_items),
    )
    if fill is not None and not known.all():
        values[~known] = _filled(corner, fill)
    return corner


def _busiest(rows: Int32, n_rows: int, n: int) -> Int32:
    counts = np.bincount(rows, minlength=n_rows)
    return np.argsort(-counts, kind="stable")[:n].astype(np.int32)


def _titles(interactions: Interactions, i: Int32, ids: list[Id]) -> list[str]:
    titles = interactions.titles
    known = [None] * len(i) if titles is None else titles.gather(i).to_list()
    return [str(id_) if title is None else str(title) for title, id_ in zip(known, ids, strict=True)]


def _filled(corner: CrossTab, fill: Fill) -> Float64:
    r, column = np.nonzero(~corner.known)
    given = np.asarray(fill(corner.u[r], corner.i[column]), dtype=np.float64)
    if given.shape != r.shape:
        raise DataError(f"fill must give one value for each of {len(r)} blanks, not shape {given.shape}")
    bad = np.flatnonzero(~np.isfinite(given))
    if len(bad):
        user, item = corner.users[r[bad[0]]], corner.items[column[bad[0]]]
        raise DataError(f"fill gave {given[bad[0]]} for user {user!r} and item {item!r}: it must be finite")
    return given


def _cell(value: float, known: bool) -> str:
    if np.isnan(value):
        return BLANK
    if not known:
        return f"~{value:.1f}" if abs(value) < 1e9 else f"~{value:.3g}"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _fitted(names: list[str], widest: int) -> list[str]:
    """Left-aligned to the same width; longer ones end in an ellipsis."""
    names = [_printable(name) for name in names]
    width = min(widest, max(map(len, names)))
    return [(name if len(name) <= width else f"{name[: width - 1]}…").ljust(width) for name in names]


def _header(title: str, width: int) -> list[str]:
    """A title on up to three lines of `width`; what does not fit ends in an ellipsis."""
    words = [w if len(w) <= width else f"{w[: width - 1]}…" for w in _printable(title).split()]
    return textwrap.wrap(" ".join(words), width, max_lines=HEADER_LINES, placeholder="…") or [""]


def _printable(text: str) -> str:
    """Ids and titles are other people's: no line break or terminal code of theirs reaches the screen."""
    return "".join(c if c.isprintable() else "?" for c in text)
