"""Label placement: positions of point labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["LabelPosition", "place_labels"]

LABEL_OFFSET, POINT_RADIUS = 12, 5
"""Horizontal distance between a label and its point, and the radius kept free around each point, in pixels."""
Box: TypeAlias = tuple[float, float, float, float]
VERTICAL_SHIFTS = (0, 16, -16, 32, -32, 48, -48, 64, -64, 80, -80)


@dataclass(frozen=True)
class LabelPosition:
    """Position of a label relative to its point.

    Attributes
    ----------
    point : int
        Index of the point.
    dx : int
        Horizontal offset in pixels; positive if the label is to the right of its point.
    dy : int
        Vertical offset in pixels; positive if the label is above its point.
    """

    point: int
    dx: int
    dy: int


def place_labels(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], width: float, height: float
) -> list[LabelPosition]:
    """Place labels next to their points without overlaps, in the order of the points.

    Parameters
    ----------
    points : sequence of (float, float)
        Positions (x, y) in pixels from the lower left corner.
    sizes : sequence of (float, float)
        Width and height of each label in pixels.
    width, height : float
        Size of the plot in pixels.

    Returns
    -------
    list of Spot
        One position for each label that fits; labels that do not fit are omitted.

    Notes
    -----
    A label is placed on the side of its point that faces the center of the plot, and is moved up or down to avoid
    earlier labels and all labeled points. Labels that do not overlap at this width do not overlap in a wider plot
    either, so a responsive figure needs to be laid out only for its minimum width.

    Examples
    --------
    >>> place_labels([(50, 50), (60, 50)], [(40, 10), (40, 10)], width=200, height=100)  # the first label moves up
    [LabelPosition(point=0, dx=12, dy=16), LabelPosition(point=1, dx=12, dy=0)]
    """
    obstacles = [(x, (x - POINT_RADIUS, y - POINT_RADIUS, x + POINT_RADIUS, y + POINT_RADIUS)) for x, y in points]
    result = []
    for number, ((x, y), (label_width, label_height)) in enumerate(zip(points, sizes, strict=True)):
        dx = LABEL_OFFSET if x < width / 2 else -LABEL_OFFSET
        left = x + dx if dx > 0 else x + dx - label_width
        for dy in VERTICAL_SHIFTS:
            box = (left, y + dy - label_height / 2, left + label_width, y + dy + label_height / 2)
            is_inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            if is_inside and not any(_overlap(x, box, *other) for other in obstacles):
                obstacles.append((x, box))
                result.append(LabelPosition(number, dx, dy))
                break
    return result


def _overlap(x: float, box: Box, other_x: float, other: Box) -> bool:
    """Return whether two boxes overlap, now or after their points at `x` and `other_x` are moved apart."""
    (left, right) = (box, other) if x <= other_x else (other, box)
    are_separate = left[2] <= right[0] or (x == other_x and right[2] <= left[0])
    return not are_separate and box[1] < other[3] and other[1] < box[3]
