"""`CatalogService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio

import twinset
from twinset.v1 import catalog_pb2, catalog_pb2_grpc
from twinset_server import limits
from twinset_server.domain import Item, ItemDeletion, WritableItem
from twinset_server.errors import InvalidRequest, ItemNotFound, TwinsetError
from twinset_server.ingest import Ingest
from twinset_server.ports import Catalog
from twinset_server.rpc import convert, pages
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.status import to_status
from twinset_server.rpc.streams import closing, in_order, weight

MAX_UNDONE_ITEMS = 128
CHUNK_BYTES = 1 << 20

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A message ready to commit: the ids as they were sent, and what became of each so far."""

    ids: list[str]
    items: list[WritableItem | TwinsetError]
    weight: int


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers from the catalogue."""

    def __init__(self, catalog: Catalog, ingest: Ingest, stopping: asyncio.Event) -> None:
        self._catalog = catalog
        self._ingest = ingest
        self._stopping = stopping

    async def PutItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutItemsRequest], context: _Context
    ) -> AsyncIterator[catalog_pb2.PutItemsResponse]:
        """See the proto."""

        async def prepare(request: catalog_pb2.PutItemsRequest) -> _Prepared:
            limits.check_count("items", request.items, limits.MAX_ITEMS_PER_MESSAGE, least=1)
            drafts = [convert.draft(item) for item in request.items]
            prepared = await self._ingest.prepare(drafts, timeout_s=time_left_s(context))
            return _Prepared([item.id for item in request.items], prepared, _weigh(request))

        async def commit(prepared: _Prepared) -> catalog_pb2.PutItemsResponse:
            outcomes = await self._ingest.commit(prepared.items)
            results = [convert.put_result(i, outcome) for i, outcome in zip(prepared.ids, outcomes, strict=True)]
            return catalog_pb2.PutItemsResponse(results=results)

        # Two lines, one behind the other: messages are prepared side by side and committed in their order.
        ready = in_order(requests, prepare, weigh=_weigh, capacity=MAX_UNDONE_ITEMS, stopping=self._stopping)
        done = in_order(closing(ready), commit, weigh=lambda p: p.weight, capacity=MAX_UNDONE_ITEMS)
        async for response in closing(done):
            yield response

    async def GetItem(  # noqa: N802
        self, request: catalog_pb2.GetItemRequest, context: _Context
    ) -> catalog_pb2.GetItemResponse:
        """See the proto."""
        limits.check_id("id", request.id)
        view = convert.known_view(request.view, catalog_pb2.ITEM_VIEW_FULL)
        (item,) = await self._get([request.id], view)
        if item is None:
            raise ItemNotFound(request.id)
        return catalog_pb2.GetItemResponse(item=item)

    async def BatchGetItems(  # noqa: N802
        self, request: catalog_pb2.BatchGetItemsRequest, context: _Context
    ) -> catalog_pb2.BatchGetItemsResponse:
        """See the proto."""
        limits.check_count("ids", request.ids, limits.MAX_BATCH_GET, least=1)
        limits.check_ids("ids", request.ids)
        view = convert.known_view(request.view, catalog_pb2.ITEM_VIEW_BASIC)
        convert.check_view(view, len(request.ids), "ids")
        items = await self._get(request.ids, view)
        response = catalog_pb2.BatchGetItemsResponse(
            results=[
                catalog_pb2.BatchGetItemResult(item=item)
                if item is not None
                else catalog_pb2.BatchGetItemResult(error=to_status(ItemNotFound(item_id)))
                for item_id, item in zip(request.ids, items, strict=True)
            ]
        )
        check_size("ids", response)
        return response

    async def ListItems(  # noqa: N802
        self, request: catalog_pb2.ListItemsRequest, context: _Context
    ) -> catalog_pb2.ListItemsResponse:
        """See the proto."""
        view = convert.known_view(request.view, catalog_pb2.ITEM_VIEW_BASIC)
        if request.page_size < 0:
            raise InvalidRequest("page_size", f"is {request.page_size}, 0 or more needed")
        most = limits.MAX_FULL_VIEW if view == catalog_pb2.ITEM_VIEW_FULL else limits.MAX_PAGE
        size = min(request.page_size or limits.DEFAULT_PAGE, most)
        after = pages.after(request.page_token, view)
        # One more than the page holds tells whether another follows.
        stored = await self._catalog.page(after=after, limit=size + 1, vectors=view == catalog_pb2.ITEM_VIEW_FULL)
        spaces = dict(self._catalog.spaces())
        items = pages.fill((convert.item(s, view, spaces) for s in stored[:size]), limits.MAX_RESPONSE_BYTES)
        more = len(items) < len(stored)
        token = pages.token(items[-1].id, view) if more else ""
        return catalog_pb2.ListItemsResponse(items=items, next_page_token=token)

    async def DeleteItem(  # noqa: N802
        self, request: catalog_pb2.DeleteItemRequest, context: _Context
    ) -> catalog_pb2.DeleteItemResponse:
        """See the proto."""
        limits.check_id("id", request.id)
        [outcome] = (await self._catalog.write([ItemDeletion(request.id)])).outcomes
        if isinstance(outcome, TwinsetError):
            raise outcome
        return catalog_pb2.DeleteItemResponse(sequence=outcome.sequence)

    async def GetPicture(  # noqa: N802
        self, request: catalog_pb2.GetPictureRequest, context: _Context
    ) -> AsyncIterator[catalog_pb2.GetPictureResponse]:
        """See the proto."""
        limits.check_id("item_id", request.item_id)
        limits.check_text("picture_id", request.picture_id, limits.MAX_ID_BYTES)
        stored = await self._catalog.picture(request.item_id, request.picture_id)
        content = stored.content
        yield catalog_pb2.GetPictureResponse(picture=convert.picture(stored.picture), chunk=content[:CHUNK_BYTES])
        for start in range(CHUNK_BYTES, len(content), CHUNK_BYTES):
            yield catalog_pb2.GetPictureResponse(chunk=content[start : start + CHUNK_BYTES])

    async def GetCatalog(  # noqa: N802
        self, request: catalog_pb2.GetCatalogRequest, context: _Context
    ) -> catalog_pb2.GetCatalogResponse:
        """See the proto."""
        return convert.catalog_status(await self._catalog.status(), twinset.__version__)

    async def _get(self, ids: Sequence[str], view: convert.View) -> list[catalog_pb2.Item | None]:
        stored: list[Item | None] = await self._catalog.get(ids, vectors=view == catalog_pb2.ITEM_VIEW_FULL)
        spaces = dict(self._catalog.spaces())
        return [convert.item(item, view, spaces) if item else None for item in stored]


def _weigh(request: catalog_pb2.PutItemsRequest) -> int:
    """Items, or pictures where there are more: those are decoded and embedded. Or bytes, where those count most."""
    pictures = sum(len(item.pictures) for item in request.items)
    return weight(max(len(request.items), pictures), request.ByteSize())
