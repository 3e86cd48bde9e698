"""What all rooms share: ids, numbers and texts as they come in, errors and answers as they go out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from fastapi import Response
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from cofactor.data.id_columns import LONGEST_ID
from cofactor.errors import DataError
from cofactor.store.validation import LARGEST_VALUE, checked_id, checked_json, checked_text

__all__ = [
    "DECIMAL",
    "ID",
    "WHOLE",
    "AsQuery",
    "Id",
    "Ids",
    "JsonMap",
    "Line",
    "Number",
    "Rating",
    "Wire",
    "either",
    "reply",
]

PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Text without control characters, as a pattern."""

NAMED = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"
"""The same, and not blank."""

DIGITS = re.compile(r"-?[0-9]+(\.0+)?")

ID: dict[str, Any] = {
    "title": "Id",
    "description": "A string, or an integer of 64 bits, which is the same id as its decimal. Case and spaces count.",
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": NAMED},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    ],
}
"""An id in the OpenAPI document."""


def _id(given: str | int) -> str:
    try:
        return checked_id(given, "the id")
    except DataError as error:
        raise ValueError(str(error)) from None


def _map(given: dict[str, Any]) -> dict[str, Any]:
    try:
        checked_json(given, "it")
    except DataError as error:
        raise ValueError(str(error)) from None
    return given


def _line(given: str) -> str:
    try:
        return checked_text(given, "the text", len(given))
    except DataError as error:
        raise ValueError(str(error)) from None


def _finite(given: Any) -> Any:
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError("the number is not finite")
    return given


def _number(given: Any) -> Any:
    if isinstance(given, bool | str | bytes):
        raise ValueError("it is not a whole number")
    return given


def _decimal(given: Any) -> Any:
    if isinstance(given, str) and not DIGITS.fullmatch(given):  # int() takes " 3", "+3" and "3_0" as well
        raise ValueError("it is not a whole number")
    return given


def _integral(given: Any) -> Any:
    """JSON has one kind of numbers: 5.0 is 5."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


Id = TypeAliasType("Id", Annotated[StrictStr | StrictInt, BeforeValidator(_integral), AfterValidator(_id)])
"""An id, a string or an integer; as text once it is in."""

AsQuery: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=LONGEST_ID, json_schema_extra={"pattern": NAMED}), AfterValidator(_id)
]
"""An id in a query."""

Line: TypeAlias = Annotated[StrictStr, Field(json_schema_extra={"pattern": PLAIN}), AfterValidator(_line)]
"""Text without control characters."""

WHOLE = BeforeValidator(_number)
"""Behind the bounds of an int: 5 and 5.0, and neither "5" nor true."""

DECIMAL = BeforeValidator(_decimal)
"""Behind the bounds of an int in a path or a query: digits alone."""

Ids: TypeAlias = Annotated[list[Id], Field(max_length=10_000)]
JsonMap: TypeAlias = Annotated[
    dict[str, Any], AfterValidator(_map), Field(description="Any JSON object of at most 65,536 bytes")
]
Number: TypeAlias = Annotated[float, Field(strict=True, ge=-LARGEST_VALUE, le=LARGEST_VALUE), BeforeValidator(_finite)]
Rating = TypeAliasType("Rating", Number)
"""A number on the scale of the model that answers, where that learnt from ratings."""


class Wire(BaseModel):
    """A body, or a part of one: a member that it does not declare is refused, naming those that it does."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _require_declared(cls, given: Any) -> Any:
        if isinstance(given, dict) and (unknown := [name for name in given if name not in cls.model_fields]):
            known = ", ".join(cls.model_fields)
            raise PydanticCustomError(
                "unknown_member",
                "there is no member {name}; the members are {known}",
                {"name": repr(str(unknown[0])[:60]), "known": known},
            )
        return given


class ProblemAnswer(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no item 'jaws'"])


class Changed(BaseModel):
    """The number of the change."""

    seq: int


def either(*forms: dict[str, dict[str, Any]], examples: list[Any]) -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra`: a body has one of these forms, each given by how its properties differ.

    A property with a "const" or without null in its type must be there, unless it has a default.
    """

    def tell(schema: dict[str, Any]) -> None:
        shared: dict[str, Any] = {}
        for name in ("type", "properties", "required", "additionalProperties"):
            if name in schema:
                shared[name] = schema.pop(name)
        schema |= {"anyOf": [_form(shared, form) for form in forms], "examples": examples}

    return tell


def _form(parts: dict[str, Any], form: dict[str, dict[str, Any]]) -> dict[str, Any]:
    must = [name for name, told in form.items() if "default" not in told and told.get("type") != "null"]
    required = [*parts.get("required", []), *(name for name in must if name not in parts.get("required", []))]
    return {**parts, "properties": {**parts["properties"], **form}, "required": required}


def reply(content: Any, status: int = 200, **headers: str) -> Response:
    """JSON, of values that were checked when they came in: not checked again."""
    body = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, headers or None, "application/json")
