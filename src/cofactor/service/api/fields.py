"""Types that the bodies, queries and answers of several routes share: IDs, numbers, texts and metadata."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import Response
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from cofactor.data.id_columns import MAX_ID_LENGTH
from cofactor.store.validation import LARGEST_VALUE, checked_id, checked_json, checked_text

__all__ = [
    "DECIMAL",
    "FINITE",
    "ID_SCHEMA",
    "WHOLE",
    "AsQuery",
    "Changed",
    "Id",
    "Ids",
    "JsonMap",
    "Line",
    "Rating",
    "RequestBody",
    "project",
    "reply",
    "variant_by_kind",
]

T = TypeVar("T")

PLAIN_TEXT = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Pattern of text without control characters."""

NON_BLANK_TEXT = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"
"""Pattern of the same text with at least one character that is not a space."""

DIGITS = re.compile(r"-?[0-9]+(\.0+)?")

ID_SCHEMA: dict[str, Any] = {
    "title": "Id",
    "description": "A string, or a 64-bit integer, which is the same ID as its decimal. Case and spaces matter.",
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH, "pattern": NON_BLANK_TEXT},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    ],
}
"""Schema of `Id`, which replaces the one that FastAPI derives: that would round the limits to floats."""


def _check_map(value: dict[str, Any]) -> dict[str, Any]:
    checked_json(value, "it")
    return value


def _check_finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is not finite")
    return value


def _check_number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise ValueError("it is not a whole number")
    return value


def _check_decimal(value: Any) -> Any:
    if isinstance(value, str) and not DIGITS.fullmatch(value):  # int() accepts " 3", "+3" and "3_0" as well
        raise ValueError("it is not a whole number")
    return value


def _as_integer(value: Any) -> Any:
    """Return an integral float as int: JSON does not distinguish 5.0 and 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_CHECKED_ID = AfterValidator(lambda value: checked_id(value, "the ID"))  # a DataError is a ValueError

Id = TypeAliasType(
    "Id",
    Annotated[StrictStr | StrictInt, BeforeValidator(_as_integer), _CHECKED_ID],
)
"""ID in a body, a string or an integer; validated to text."""

AsQuery: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID_LENGTH, json_schema_extra={"pattern": NON_BLANK_TEXT}),
    _CHECKED_ID,
]
"""ID in a query."""

Line: TypeAlias = Annotated[
    StrictStr,
    Field(json_schema_extra={"pattern": PLAIN_TEXT}),
    AfterValidator(lambda text: checked_text(text, "the text", len(text))),
]
"""Text without control characters."""

FINITE = BeforeValidator(_check_finite)
"""Validator of numbers in a body: neither NaN nor infinite. Put it after the limits."""

WHOLE = BeforeValidator(_check_number)
"""Validator of whole numbers in a body: 5 and 5.0, but neither "5" nor true. Put it after the limits."""

DECIMAL = BeforeValidator(_check_decimal)
"""Validator of whole numbers in a path or a query: decimal digits only. Put it after the limits."""

Ids: TypeAlias = Annotated[list[Id], Field(max_length=10_000)]
JsonMap: TypeAlias = Annotated[
    dict[str, Any], AfterValidator(_check_map), Field(description="Any JSON object of at most 65,536 bytes")
]
Rating = TypeAliasType("Rating", Annotated[float, Field(strict=True, ge=-LARGEST_VALUE, le=LARGEST_VALUE), FINITE])
"""A number on the rating scale of the current model, if it was trained on ratings."""


class RequestBody(BaseModel):
    """Body of a request, or a part of it; rejects members that it does not declare."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _require_declared(cls, value: Any) -> Any:
        if isinstance(value, dict) and (unknown := [name for name in value if name not in cls.model_fields]):
            members = {"name": repr(str(unknown[0])[:60]), "names": ", ".join(cls.model_fields)}
            raise PydanticCustomError("unknown_member", "there is no member {name}; the members are {names}", members)
        return value


def variant_by_kind(default: str | None, message: str) -> Discriminator:
    """Return the discriminator of a union of bodies with tags "variant:KIND", by their member `kind`.

    Parameters
    ----------
    default : str or None
        Kind of a body without the member.
    message : str
        Error for another kind.

    Returns
    -------
    Discriminator
        Annotation of the union.
    """

    def variant(body: Any) -> str:
        return f"variant:{body.get('kind', default) if isinstance(body, dict) else default}"

    return Discriminator(variant, custom_error_type="unknown_kind", custom_error_message=message)


@dataclass(frozen=True)
class Changed:
    """Sequence number of the change."""

    seq: int


def project(answer: type[T], source: object, **more: Any) -> T:
    """Return an answer with the fields of the same name of an object, and with `more`.

    Parameters
    ----------
    answer : type
        Dataclass of the answer.
    source : object
        Object of the store or the library.
    **more : Any
        Fields that the object does not have, or has in another form.

    Returns
    -------
    object
        Instance of `answer`.

    Examples
    --------
    >>> from cofactor.store import Receipt
    >>> project(Changed, Receipt(seq=7, duplicate=False))
    Changed(seq=7)
    """
    names = (field.name for field in fields(answer) if field.name not in more)  # type: ignore[arg-type]
    return answer(**{name: getattr(source, name) for name in names}, **more)


def reply(content: Any) -> Response:
    """Return JSON of any depth; `TypeAdapter` serializes at most 255 levels, metadata may have more."""
    body = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, media_type="application/json")
