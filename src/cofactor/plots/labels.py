"""Where the names of points go, so that no two of them overlap: plain geometry in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Spot", "spots"]

AWAY, DOT = 12, 5
Box: TypeAlias = tuple[float, float, float, float]
SHIFTS = (0, 16, -16, 32, -32, 48, -48, 64, -64, 80, -80)


@dataclass(frozen=True)
class Spot:
    """Where one name stands: beside its point, `dx` pixels from it (to the right where above 0), `dy` up."""

    point: int
    dx: int
    dy: int


def spots(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], width: float, height: float
) -> list[Spot]:
    """A spot for each name that has room, the first ones served first.

    points: (x, y) in pixels from the lower left corner. sizes: (width, height) of the names. A name stands on the side
    of its point where the middle is; farther up or down where it would overlap another one. Drawn wider, with points
    moved apart alike, names that did not overlap do not overlap either: a figure need only fit where it is narrowest.
    Names keep off the points that have names, too. A name without room has no spot.

    >>> spots([(50, 50), (60, 50)], [(40, 10), (40, 10)], width=200, height=100)           # the first moves up
    [Spot(point=0, dx=12, dy=16), Spot(point=1, dx=12, dy=0)]
    """
    placed = [(x, (x - DOT, y - DOT, x + DOT, y + DOT)) for x, y in points]
    found = []
    for number, ((x, y), (wide, high)) in enumerate(zip(points, sizes, strict=True)):
        dx = AWAY if x < width / 2 else -AWAY
        left = x + dx if dx > 0 else x + dx - wide
        for dy in SHIFTS:
            box = (left, y + dy - high / 2, left + wide, y + dy + high / 2)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            if inside and not any(_meet(x, box, *other) for other in placed):
                placed.append((x, box))
                found.append(Spot(number, dx, dy))
                break
    return found


def _meet(x: float, box: Box, other_x: float, other: Box) -> bool:
    """Whether two boxes overlap where they are, or would once their points at x and other_x are farther apart."""
    (left, right) = (box, other) if x <= other_x else (other, box)
    beside = left[2] <= right[0] or (x == other_x and right[2] <= left[0])
    return not beside and box[1] < other[3] and other[1] < box[3]
