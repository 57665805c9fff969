"""`RecommenderService`."""

from __future__ import annotations

from typing import Any

import grpc.aio

from twinset.v1 import catalog_pb2, recommender_pb2, recommender_pb2_grpc
from twinset_server import limits
from twinset_server.domain import VISUAL
from twinset_server.ports import Catalog
from twinset_server.recommend import Detail, Recommendations, Recommender
from twinset_server.rpc import convert
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.deadline import time_left_s
from twinset_server.scoring import score_of

_DETAIL = {
    catalog_pb2.ITEM_VIEW_ID: Detail.ID,
    catalog_pb2.ITEM_VIEW_BASIC: Detail.BASIC,
    catalog_pb2.ITEM_VIEW_FULL: Detail.FULL,
}


class RecommenderServicer(recommender_pb2_grpc.RecommenderServiceServicer):
    """Answers with the nearest items."""

    def __init__(self, catalog: Catalog, recommender: Recommender) -> None:
        self._catalog = catalog
        self._recommender = recommender

    async def Recommend(  # noqa: N802
        self, request: recommender_pb2.RecommendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> recommender_pb2.RecommendResponse:
        """See the proto."""
        k = request.k if request.HasField("k") else limits.DEFAULT_K
        view = convert.known_view(request.view, catalog_pb2.ITEM_VIEW_ID)
        convert.check_view(view, k, "k")
        found = await self._recommender.recommend(
            convert.example(request),
            k=k,
            exclude=request.exclude,
            space=request.space or VISUAL,
            detail=_DETAIL[view],
            timeout_s=time_left_s(context),
        )
        response = recommender_pb2.RecommendResponse(
            recommendations=self._recommendations(found, view),
            exact=found.result.exact,
            candidates_examined=found.result.examined,
            space=found.space.name,
            fingerprint=found.space.fingerprint,
            metric=convert.metric(found.space.metric),
            sequence=found.result.sequence,
        )
        check_size("k", response)
        return response

    def _recommendations(self, found: Recommendations, view: convert.View) -> list[recommender_pb2.Recommendation]:
        spaces = dict(self._catalog.spaces())
        metric = found.space.metric
        return [
            recommender_pb2.Recommendation(
                item=catalog_pb2.Item(id=neighbour.item_id)
                if found.items is None
                else convert.item(found.items[neighbour.item_id], view, spaces),
                score=score_of(metric, neighbour.distance),
                distance=neighbour.distance,
                picture_id=neighbour.picture_id,
            )
            for neighbour in found.result.neighbours
        ]
