"""What is stored of a user, and its end."""

from __future__ import annotations

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import UserDeletion
from twinset_server.errors import TwinsetError
from twinset_server.rpc import convert
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.write_streams import sent_digest


class Users(CatalogPart):
    """RPCs about all of one user's data."""

    async def GetUser(  # noqa: N802
        self, request: catalog_pb2.GetUserRequest, context: Context
    ) -> catalog_pb2.GetUserResponse:
        """See the proto."""
        limits.check_id("id", request.id)
        data = await self._catalog.user_data(request.id)
        user = catalog_pb2.User(id=request.id)
        if data.user is not None:
            user = convert.user(data.user, self._catalog.spaces())
        return catalog_pb2.GetUserResponse(user=user, interaction_count=data.interactions, has_factors=data.has_factors)

    async def DeleteUser(  # noqa: N802
        self, request: catalog_pb2.DeleteUserRequest, context: Context
    ) -> catalog_pb2.DeleteUserResponse:
        """See the proto."""
        limits.check_request_id(request.request_id)
        prepared = await self._ingest.user_deletions([UserDeletion(request.id)])
        digest = await sent_digest([catalog_pb2.DeleteUserRequest(id=request.id)], request.request_id)
        written = await self._ingest.commit(
            UserDeletion, [request.id], prepared, request_id=request.request_id, digest=digest
        )
        (outcome,) = written.outcomes
        if isinstance(outcome, TwinsetError):
            raise outcome
        return catalog_pb2.DeleteUserResponse(sequence=outcome.sequence)
