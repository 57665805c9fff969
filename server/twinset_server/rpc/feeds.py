"""All items replaced by those of a feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.errors import DeadlineExceeded, InvalidRequest
from twinset_server.feeds import FeedPart, FeedSession
from twinset_server.rpc import changes
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.streams import in_order
from twinset_server.rpc.write_streams import MAX_UNDONE_CHANGES, check_message, weigh_items

IDLE_S = 600.0
"""How long a feed may wait for its next message: while it is open no picture's file can be removed."""


class Feeds(CatalogPart):
    """RPCs that replace all items."""

    async def ReplaceCatalog(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.ReplaceCatalogRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.ReplaceCatalogResponse]:
        """See the proto."""
        async with self._catalog.feed() as feed:
            session = FeedSession(feed, self._ingest)

            async def prepare(request: catalog_pb2.ReplaceCatalogRequest) -> FeedPart | catalog_pb2.FeedCommit:
                match request.WhichOneof("request"):
                    case "items":
                        items = request.items.items
                        check_message("items.items", items, limits.MAX_ITEMS_PER_MESSAGE)
                        drafts = [changes.item(item) for item in items]
                        return await session.prepare(
                            [item.id for item in items], drafts, timeout_s=time_left_s(context)
                        )
                    case "commit":
                        return request.commit
                    case _:
                        raise InvalidRequest("request", "is empty: set items or commit")

            ready = in_order(
                _up_to_commit(requests), prepare, weigh=_weigh, capacity=MAX_UNDONE_CHANGES, stopping=self._stopping
            )
            async with aclosing(ready):  # type: ignore[type-var]
                async for part in ready:
                    if isinstance(part, catalog_pb2.FeedCommit):
                        summary = await session.commit(allow_failed=part.allow_failed, allow_empty=part.allow_empty)
                        yield catalog_pb2.ReplaceCatalogResponse(summary=changes.feed_summary(summary, session.failed))
                    else:
                        results = [changes.feed_result(outcome) for outcome in await session.stage(part)]
                        yield catalog_pb2.ReplaceCatalogResponse(items=catalog_pb2.FeedItemResults(results=results))


async def _up_to_commit(
    requests: AsyncIterator[catalog_pb2.ReplaceCatalogRequest],
) -> AsyncIterator[catalog_pb2.ReplaceCatalogRequest]:
    """Yield the messages up to the commit: what would come behind it must not touch the feed any more.

    Raises:
        DeadlineExceeded: none came for `IDLE_S`.
    """
    messages = aiter(requests)
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                request = await anext(messages, None)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no message came for {IDLE_S:g} s, so the feed is abandoned: send it again"
            ) from error
        if request is None:
            return
        yield request
        if request.WhichOneof("request") == "commit":
            return


def _weigh(request: catalog_pb2.ReplaceCatalogRequest) -> int:
    return weigh_items(request.items.items, request.ByteSize())
