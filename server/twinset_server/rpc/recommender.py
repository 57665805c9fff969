"""`RecommenderService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio

from twinset.v1 import recommender_pb2, recommender_pb2_grpc
from twinset_server import limits
from twinset_server.errors import InvalidRequest, TwinsetError
from twinset_server.ports import Catalog
from twinset_server.recommend import Recommender, Request
from twinset_server.rpc import recommendations
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.status import to_status
from twinset_server.rpc.streams import closing, in_order, weight

MAX_UNDONE_REQUESTS = 256
"""Requests that a stream holds unanswered before it reads no more."""

_Context = grpc.aio.ServicerContext[Any, Any]


class RecommenderServicer(recommender_pb2_grpc.RecommenderServiceServicer):
    """Answers with the nearest items."""

    def __init__(self, catalog: Catalog, recommender: Recommender, stopping: asyncio.Event) -> None:
        """`stopping` is set when the server stops: streams end then."""
        self._catalog = catalog
        self._recommender = recommender
        self._stopping = stopping

    async def Recommend(  # noqa: N802
        self, request: recommender_pb2.RecommendRequest, context: _Context
    ) -> recommender_pb2.RecommendResponse:
        """See the proto."""
        found = await self._recommender.recommend(recommendations.request(request), timeout_s=time_left_s(context))
        response = recommendations.response(found, self._catalog.spaces())
        check_size(recommendations.largest_part(response), response)
        return response

    async def BatchRecommend(  # noqa: N802
        self, request: recommender_pb2.BatchRecommendRequest, context: _Context
    ) -> recommender_pb2.BatchRecommendResponse:
        """See the proto."""
        response = recommender_pb2.BatchRecommendResponse(results=await self._results(request.requests, context))
        check_size("requests", response)
        return response

    async def StreamRecommend(  # noqa: N802
        self, requests: AsyncIterator[recommender_pb2.StreamRecommendRequest], context: _Context
    ) -> AsyncIterator[recommender_pb2.StreamRecommendResponse]:
        """See the proto."""

        async def work(request: recommender_pb2.StreamRecommendRequest) -> recommender_pb2.StreamRecommendResponse:
            response = recommender_pb2.StreamRecommendResponse(results=await self._results(request.requests, context))
            check_size("requests", response)
            return response

        def weigh(request: recommender_pb2.StreamRecommendRequest) -> int:
            return weight(len(request.requests), request.ByteSize())

        answers = in_order(requests, work, weigh=weigh, capacity=MAX_UNDONE_REQUESTS, stopping=self._stopping)
        async for response in closing(answers):
            yield response

    async def _results(
        self, messages: Sequence[recommender_pb2.RecommendRequest], context: _Context
    ) -> list[recommender_pb2.RecommendResult]:
        limits.check_count("requests", messages, limits.MAX_REQUESTS_PER_MESSAGE, least=1)
        asked = [_request(message) for message in messages]
        found = await self._recommender.recommend_many(asked, timeout_s=time_left_s(context))
        spaces = self._catalog.spaces()
        return [
            recommender_pb2.RecommendResult(error=to_status(_located(one, place)))
            if isinstance(one, TwinsetError)
            else recommender_pb2.RecommendResult(response=recommendations.response(one, spaces))
            for place, one in enumerate(found)
        ]


def _request(message: recommender_pb2.RecommendRequest) -> Request | TwinsetError:
    try:
        return recommendations.request(message)
    except TwinsetError as error:
        return error


def _located(error: TwinsetError, place: int) -> TwinsetError:
    """Return the error of the request at `place`, by its field's whole name."""
    return error.within(f"requests[{place}]") if isinstance(error, InvalidRequest) else error
