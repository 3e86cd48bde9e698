"""Keys and the process's health over the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cofactor.service.api.words.basics import Line, Wire

__all__ = ["Alive", "KeyBody", "KeyMade", "KeyPage"]


class KeyBody(Wire):
    """A key to make."""

    role: Literal["read", "write", "admin"]
    label: Line = Field(min_length=1, max_length=200)


class KeyMade(BaseModel):
    """The key itself: shown now and never again."""

    key: str


class KeyOut(BaseModel):
    """A key without its secret."""

    id: str
    role: Literal["read", "write", "admin"]
    label: str
    created: int
    revoked: int | None


class KeyPage(BaseModel):
    """Every key, oldest first."""

    keys: list[KeyOut]


class Alive(BaseModel):
    """That the process answers, and with which model."""

    status: Literal["ok"]
    model: int | None = None
    store: Literal["ok", "unavailable"] | None = None
