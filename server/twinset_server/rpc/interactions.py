"""Users, and what they did."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import Interaction, WritableUser, interaction_id
from twinset_server.errors import InvalidRequest
from twinset_server.rpc import changes, convert
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.streams import check_running, closing, weight
from twinset_server.rpc.write_streams import Batch, check_message, sent_digest, write_stream

_EXPORTED_AT_ONCE = 1000


class Interactions(CatalogPart):
    """RPCs about users and interactions."""

    async def PutUsers(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutUsersRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.PutUsersResponse]:
        """See the proto."""

        async def prepare(request: catalog_pb2.PutUsersRequest) -> Batch:
            check_message("users", request.users, limits.MAX_USERS_PER_MESSAGE, request.request_id)
            prepared = await self._ingest.users([changes.user(user) for user in request.users])
            ids = [user.id for user in request.users]
            digest = await sent_digest(request.users, request.request_id)
            return Batch(WritableUser, ids, prepared, request.request_id, digest, _weigh_users(request))

        async for answer in closing(
            write_stream(requests, prepare, weigh=_weigh_users, ingest=self._ingest, stopping=self._stopping)
        ):
            yield catalog_pb2.PutUsersResponse(results=[changes.result(*outcome) for outcome in answer.outcomes()])

    async def PutInteractions(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutInteractionsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.PutInteractionsResponse]:
        """See the proto."""

        async def prepare(request: catalog_pb2.PutInteractionsRequest) -> Batch:
            check_message("interactions", request.interactions, limits.MAX_INTERACTIONS_PER_MESSAGE, request.request_id)
            now = datetime.datetime.now(datetime.UTC)
            prepared = await self._ingest.interactions([changes.interaction(i, now) for i in request.interactions])
            ids = [interaction_id(i.user_id, i.item_id, i.kind) for i in request.interactions]
            digest = await sent_digest(request.interactions, request.request_id)
            return Batch(Interaction, ids, prepared, request.request_id, digest, _weigh_interactions(request))

        async for answer in closing(
            write_stream(requests, prepare, weigh=_weigh_interactions, ingest=self._ingest, stopping=self._stopping)
        ):
            yield catalog_pb2.PutInteractionsResponse(
                results=[changes.result("", outcome) for _, outcome, _ in answer.outcomes()]
            )

    async def ExportInteractions(  # noqa: N802
        self, request: catalog_pb2.ExportInteractionsRequest, context: Context
    ) -> AsyncIterator[catalog_pb2.ExportInteractionsResponse]:
        """See the proto."""
        after = request.after_sequence
        if after < 0:
            raise InvalidRequest("after_sequence", f"is {after}, 0 or more needed")
        while stored := await self._catalog.interactions(after=after, limit=_EXPORTED_AT_ONCE):
            check_running(self._stopping)
            after = stored[-1].sequence
            yield catalog_pb2.ExportInteractionsResponse(interactions=map(convert.interaction, stored))


def _weigh_users(request: catalog_pb2.PutUsersRequest) -> int:
    return weight(len(request.users), request.ByteSize())


def _weigh_interactions(request: catalog_pb2.PutInteractionsRequest) -> int:
    # An interaction is a row without a vector: a tenth of an item's work, and less.
    return weight(-(-len(request.interactions) // 8), request.ByteSize())
