"""Items put, updated and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import ItemDeletion, ItemUpdate, WritableItem
from twinset_server.errors import TwinsetError
from twinset_server.rpc import changes
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.streams import closing, weight
from twinset_server.rpc.write_streams import Batch, check_message, sent_digest, weigh_items, write_stream


class ItemWrites(CatalogPart):
    """RPCs that change items."""

    async def PutItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutItemsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.PutItemsResponse]:
        """See the proto."""

        async def prepare(request: catalog_pb2.PutItemsRequest) -> Batch:
            check_message("items", request.items, limits.MAX_ITEMS_PER_MESSAGE, request.request_id)
            drafts = [changes.item(item) for item in request.items]
            prepared = await self._ingest.items(drafts, timeout_s=time_left_s(context))
            ids = [item.id for item in request.items]
            digest = await sent_digest(request.items, request.request_id)
            return Batch(WritableItem, ids, prepared, request.request_id, digest, _weigh_puts(request))

        async for answer in closing(
            write_stream(requests, prepare, weigh=_weigh_puts, ingest=self._ingest, stopping=self._stopping)
        ):
            yield catalog_pb2.PutItemsResponse(
                results=[changes.put_result(*outcome) for outcome in answer.outcomes()],
                slowed_by=changes.duration(answer.written.slowed_s),
            )

    async def UpdateItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.UpdateItemsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.UpdateItemsResponse]:
        """See the proto."""

        async def prepare(request: catalog_pb2.UpdateItemsRequest) -> Batch:
            check_message("updates", request.updates, limits.MAX_ITEMS_PER_MESSAGE, request.request_id)
            drafts = [changes.update(update) for update in request.updates]
            prepared = await self._ingest.updates(drafts, timeout_s=time_left_s(context))
            ids = [update.item.id for update in request.updates]
            digest = await sent_digest(request.updates, request.request_id)
            return Batch(ItemUpdate, ids, prepared, request.request_id, digest, _weigh_updates(request))

        async for answer in closing(
            write_stream(requests, prepare, weigh=_weigh_updates, ingest=self._ingest, stopping=self._stopping)
        ):
            yield catalog_pb2.UpdateItemsResponse(
                results=[changes.result(*outcome) for outcome in answer.outcomes()],
                slowed_by=changes.duration(answer.written.slowed_s),
            )

    async def DeleteItems(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.DeleteItemsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.DeleteItemsResponse]:
        """See the proto."""

        async def prepare(request: catalog_pb2.DeleteItemsRequest) -> Batch:
            check_message("deletions", request.deletions, limits.MAX_DELETIONS_PER_MESSAGE, request.request_id)
            given = [changes.deletion(deletion) for deletion in request.deletions]
            prepared = await self._ingest.deletions(given)
            digest = await sent_digest(request.deletions, request.request_id)
            ids = [one.id for one in given]
            return Batch(ItemDeletion, ids, prepared, request.request_id, digest, _weigh_deletions(request))

        async for answer in closing(
            write_stream(requests, prepare, weigh=_weigh_deletions, ingest=self._ingest, stopping=self._stopping)
        ):
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


def _weigh_puts(request: catalog_pb2.PutItemsRequest) -> int:
    return weigh_items(request.items, request.ByteSize())


def _weigh_updates(request: catalog_pb2.UpdateItemsRequest) -> int:
    return weigh_items([update.item for update in request.updates], request.ByteSize())


def _weigh_deletions(request: catalog_pb2.DeleteItemsRequest) -> int:
    return weight(len(request.deletions), request.ByteSize())
