"""Item routes: metadata, availability and similar items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from cofactor.results import SimilarItems
from cofactor.service.api.auth import READ, WRITE
from cofactor.service.api.dependencies import CurrentService, Service, require_list_length
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import (
    DECIMAL_NUMBER,
    ChangeOut,
    Id,
    Ids,
    JsonMap,
    ListLength,
    PlainText,
    QueryId,
    RequestBody,
    json_response,
)
from cofactor.service.api.routing import StrictRoute
from cofactor.store import Item, StoredItem

__all__ = ["router"]


class ItemBody(RequestBody):
    """Item metadata; it replaces the stored metadata."""

    item: Id
    title: PlainText | None = Field(None, max_length=1_000)
    available: bool = Field(True, strict=True)
    metadata: JsonMap = Field({}, examples=[{"genre": ["horror"], "year": 1979}])


class ItemsBody(RequestBody):
    """Request to store items."""

    items: list[ItemBody] = Field(min_length=1, max_length=10_000)


class AvailabilityBody(RequestBody):
    """Request to set the availability of items."""

    items: Ids = Field(min_length=1)
    available: bool = Field(strict=True)


@dataclass(frozen=True)
class ItemOut:
    """Stored metadata of an item."""

    item: str
    title: str | None
    available: bool
    metadata: dict[str, Any]
    known_to_model: bool


router = APIRouter(route_class=StrictRoute, prefix="/v1/items", tags=["items"], responses=responses(404, 409))


@router.get("", response_model=ItemOut, dependencies=[READ])
async def get_item(service: CurrentService, item: Annotated[QueryId, Query(examples=["alien"])]) -> Response:
    """Return the metadata of an item."""
    stored, is_known = await service.run(_get_stored, service, item)
    if stored is None and not is_known:
        raise Problem(404, "this item is unknown")
    record = Item(item) if stored is None else stored
    members = {"item": item, "title": record.title, "available": record.available, "metadata": dict(record.metadata)}
    return json_response({**members, "known_to_model": is_known})


def _get_stored(service: Service, item: str) -> tuple[StoredItem | None, bool]:
    return service.store.items.get(item), service.engine.knows_item(item)


@router.put("", dependencies=[WRITE])
async def put_items(service: CurrentService, body: ItemsBody) -> ChangeOut:
    """Store items; each one replaces the stored metadata of that item."""
    items = [Item(str(entry.item), entry.title, entry.available, entry.metadata) for entry in body.items]
    return ChangeOut(await service.run(service.store.items.put, items))


@router.post("/availability", dependencies=[WRITE])
async def set_availability(service: CurrentService, body: AvailabilityBody) -> ChangeOut:
    """Set the availability of items; effective immediately in all workers."""

    def write() -> int:
        return service.store.items.set_available(map(str, body.items), available=body.available)

    return ChangeOut(await service.run(write))


@router.get("/similar", response_model=SimilarItems, dependencies=[READ])
async def similar_items(
    service: CurrentService, item: QueryId, n: Annotated[ListLength, DECIMAL_NUMBER] = 10
) -> SimilarItems:
    """Return the available items that are most similar to an item."""
    require_list_length(service, n)
    return await service.run(service.engine.similar, item, n)
