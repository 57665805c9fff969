"""Items put, updated and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import ItemDeletion, ItemUpdate, WritableItem
from twinset_server.errors import TwinsetError
from twinset_server.rpc import changes
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.streams import closing, weight
from twinset_server.rpc.write_streams import Elements, sent_digest, weigh_items


class ItemWrites(CatalogPart):
    """RPCs that change items."""

    async def PutItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutItemsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.PutItemsResponse]:
        """See the proto."""
        items: Elements[catalog_pb2.Item] = Elements(
            WritableItem,
            "items",
            limits.MAX_ITEMS_PER_MESSAGE,
            lambda sent, left_s: self._ingest.items([changes.item(item) for item in sent], timeout_s=left_s),
            lambda item: item.id,
            weigh_items,
        )
        async for answer in closing(self._written(requests, items, context)):
            yield catalog_pb2.PutItemsResponse(
                results=[changes.put_result(*outcome) for outcome in answer.outcomes()],
                slowed_by=changes.duration(answer.written.slowed_s),
            )

    async def UpdateItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.UpdateItemsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.UpdateItemsResponse]:
        """See the proto."""
        updates: Elements[catalog_pb2.ItemUpdate] = Elements(
            ItemUpdate,
            "updates",
            limits.MAX_ITEMS_PER_MESSAGE,
            lambda sent, left_s: self._ingest.updates([changes.update(update) for update in sent], timeout_s=left_s),
            lambda update: update.item.id,
            lambda sent, size_bytes: weigh_items([update.item for update in sent], size_bytes),
        )
        async for answer in closing(self._written(requests, updates, context)):
            yield catalog_pb2.UpdateItemsResponse(
                results=[changes.result(*outcome) for outcome in answer.outcomes()],
                slowed_by=changes.duration(answer.written.slowed_s),
            )

    async def DeleteItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.DeleteItemsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.DeleteItemsResponse]:
        """See the proto."""
        deletions: Elements[catalog_pb2.ItemDeletion] = Elements(
            ItemDeletion,
            "deletions",
            limits.MAX_DELETIONS_PER_MESSAGE,
            lambda sent, _: self._ingest.deletions([changes.deletion(deletion) for deletion in sent]),
            lambda deletion: deletion.id,
            lambda sent, size_bytes: weight(len(sent), size_bytes),
        )
        async for answer in closing(self._written(requests, deletions, context)):
            yield catalog_pb2.DeleteItemsResponse(results=[changes.result(*outcome) for outcome in answer.outcomes()])

    async def DeleteItem(  # noqa: N802
        self, request: catalog_pb2.DeleteItemRequest, context: Context
    ) -> catalog_pb2.DeleteItemResponse:
        """See the proto."""
        limits.check_request_id(request.request_id)
        prepared = await self._ingest.deletions([ItemDeletion(request.id, request.etag)])
        digest = await sent_digest([catalog_pb2.ItemDeletion(id=request.id, etag=request.etag)], request.request_id)
        written = await self._ingest.commit(
            ItemDeletion, [request.id], prepared, request_id=request.request_id, digest=digest
        )
        (outcome,) = written.outcomes
        if isinstance(outcome, TwinsetError):
            raise outcome
        return catalog_pb2.DeleteItemResponse(sequence=outcome.sequence)
