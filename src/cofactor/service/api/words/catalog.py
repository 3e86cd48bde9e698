"""Items over the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cofactor.service.api.words.basics import Id, Ids, JsonMap, Line, Wire

__all__ = ["Alike", "AvailabilityBody", "ItemOut", "ItemsBody"]


class Like(BaseModel):
    """An item and how alike it is."""

    item: str
    rank: int
    score: float
    title: str | None = None


class Alike(BaseModel):
    """Items liked by the same people."""

    item: str
    model: int
    items: list[Like]


class ItemBody(Wire):
    """An item, in place of what was known of it."""

    item: Id
    title: Line | None = Field(None, max_length=1_000)
    available: bool = Field(True, strict=True)
    metadata: JsonMap = Field({}, examples=[{"genre": ["horror"], "year": 1979}])


class ItemsBody(Wire):
    """Items to keep."""

    items: list[ItemBody] = Field(min_length=1, max_length=10_000)


class AvailabilityBody(Wire):
    """Items that can be had, or cannot."""

    items: Ids = Field(min_length=1)
    available: bool = Field(strict=True)


class ItemOut(BaseModel):
    """What is known of an item."""

    item: str
    title: str | None
    available: bool
    metadata: dict[str, Any]
    known_to_model: bool
