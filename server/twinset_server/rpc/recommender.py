"""`RecommenderService`."""

from __future__ import annotations

from typing import Any

import grpc.aio

from twinset.v1 import recommender_pb2, recommender_pb2_grpc
from twinset_server.ports import Catalog
from twinset_server.recommend import Recommender
from twinset_server.rpc import recommendations
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.deadline import time_left_s


class RecommenderServicer(recommender_pb2_grpc.RecommenderServiceServicer):
    """Answers with the nearest items."""

    def __init__(self, catalog: Catalog, recommender: Recommender) -> None:
        self._catalog = catalog
        self._recommender = recommender

    async def Recommend(  # noqa: N802
        self, request: recommender_pb2.RecommendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> recommender_pb2.RecommendResponse:
        """See the proto."""
        found = await self._recommender.recommend(recommendations.request(request), timeout_s=time_left_s(context))
        response = recommendations.response(found, self._catalog.spaces())
        check_size("k", response)
        return response
