"""Users, and what they did."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import Interaction, WritableUser, interaction_id
from twinset_server.errors import InvalidRequest, TwinsetError
from twinset_server.rpc import changes, convert
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.streams import check_running, closing, weight
from twinset_server.rpc.write_streams import Elements

_EXPORTED_AT_ONCE = 1000


class Interactions(CatalogPart):
    """RPCs about users and interactions."""

    async def PutUsers(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutUsersRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.PutUsersResponse]:
        """See the proto."""
        users: Elements[catalog_pb2.User] = Elements(
            WritableUser,
            "users",
            limits.MAX_USERS_PER_MESSAGE,
            lambda sent, _: self._ingest.users([changes.user(user) for user in sent]),
            lambda user: user.id,
            lambda sent, size_bytes: weight(len(sent), size_bytes),
        )
        async for answer in closing(self._written(requests, users, context)):
            yield catalog_pb2.PutUsersResponse(results=[changes.result(*outcome) for outcome in answer.outcomes()])

    async def PutInteractions(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.PutInteractionsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.PutInteractionsResponse]:
        """See the proto."""

        async def prepare(sent: Sequence[catalog_pb2.Interaction], _: float) -> Sequence[Interaction | TwinsetError]:
            now = datetime.datetime.now(datetime.UTC)
            return await self._ingest.interactions([changes.interaction(one, now) for one in sent])

        interactions: Elements[catalog_pb2.Interaction] = Elements(
            Interaction,
            "interactions",
            limits.MAX_INTERACTIONS_PER_MESSAGE,
            prepare,
            lambda one: interaction_id(one.user_id, one.item_id, one.kind),
            # An interaction is a row without a vector: a tenth of an item's work, and less.
            lambda sent, size_bytes: weight(-(-len(sent) // 8), size_bytes),
        )
        async for answer in closing(self._written(requests, interactions, context)):
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
