"""Items and their pictures, as they are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import Item
from twinset_server.errors import InvalidRequest, ItemNotFound
from twinset_server.rpc import convert, pages
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.status import to_status
from twinset_server.rpc.streams import check_running

CHUNK_BYTES = 1 << 20

_EXPORT_PAGE = 100
"""Items of an export converted at a time: other calls wait meanwhile."""


class ItemReads(CatalogPart):
    """RPCs that read items."""

    async def GetItem(  # noqa: N802
        self, request: catalog_pb2.GetItemRequest, context: Context
    ) -> catalog_pb2.GetItemResponse:
        """See the proto."""
        limits.check_id("id", request.id)
        view = convert.known_view(request.view, catalog_pb2.ITEM_VIEW_FULL)
        (item,) = await self._get([request.id], view)
        if item is None:
            raise ItemNotFound(request.id)
        return catalog_pb2.GetItemResponse(item=item)

    async def BatchGetItems(  # noqa: N802
        self, request: catalog_pb2.BatchGetItemsRequest, context: Context
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
        self, request: catalog_pb2.ListItemsRequest, context: Context
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

    async def ExportItems(  # noqa: N802
        self, request: catalog_pb2.ExportItemsRequest, context: Context
    ) -> AsyncIterator[catalog_pb2.ExportItemsResponse]:
        """See the proto."""
        limits.check_text("after_id", request.after_id, limits.MAX_ID_BYTES)
        view = convert.known_view(request.view, catalog_pb2.ITEM_VIEW_BASIC)
        full = view == catalog_pb2.ITEM_VIEW_FULL
        after = request.after_id
        while stored := await self._catalog.page(after=after, limit=_EXPORT_PAGE, vectors=full):
            check_running(self._stopping)
            spaces = dict(self._catalog.spaces())
            # What doesn't fit in the answer is read again: attributes of 64 KiB are rare.
            items = pages.fill((convert.item(item, view, spaces) for item in stored), limits.MAX_RESPONSE_BYTES)
            after = items[-1].id
            yield catalog_pb2.ExportItemsResponse(items=items)

    async def GetPicture(  # noqa: N802
        self, request: catalog_pb2.GetPictureRequest, context: Context
    ) -> AsyncIterator[catalog_pb2.GetPictureResponse]:
        """See the proto."""
        limits.check_id("item_id", request.item_id)
        limits.check_text("picture_id", request.picture_id, limits.MAX_ID_BYTES)
        stored = await self._catalog.picture(request.item_id, request.picture_id)
        content = stored.content
        yield catalog_pb2.GetPictureResponse(picture=convert.picture(stored.picture), chunk=content[:CHUNK_BYTES])
        for start in range(CHUNK_BYTES, len(content), CHUNK_BYTES):
            yield catalog_pb2.GetPictureResponse(chunk=content[start : start + CHUNK_BYTES])

    async def _get(self, ids: Sequence[str], view: convert.View) -> list[catalog_pb2.Item | None]:
        stored: list[Item | None] = await self._catalog.get(ids, vectors=view == catalog_pb2.ITEM_VIEW_FULL)
        spaces = dict(self._catalog.spaces())
        return [convert.item(item, view, spaces) if item else None for item in stored]
