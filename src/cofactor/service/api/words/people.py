"""Users over the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cofactor.service.api.words.basics import Id, JsonMap, Wire

__all__ = ["Forgotten", "UserBody", "UserOut"]


class UserBody(Wire):
    """A user's facts, in place of what was known."""

    user: Id
    metadata: JsonMap


class UserOut(BaseModel):
    """What is known of a user."""

    user: str
    metadata: dict[str, Any]
    known_to_model: bool
    events_since: bool = Field(description="Whether something happened since the model learnt")


class Forgotten(BaseModel):
    """The number of the forgetting, and the job that learns without the user."""

    seq: int
    job: int
