"""`RecommenderService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc.aio

from twinset.v1 import pairs_pb2, ranking_pb2, recommender_pb2, recommender_pb2_grpc
from twinset_server import limits
from twinset_server.domain import Space
from twinset_server.errors import InvalidRequest, TwinsetError
from twinset_server.ports import Catalog
from twinset_server.recommend import Recommendations, Recommender, Request
from twinset_server.rpc import recommendation_requests, recommendations, recommended_pages
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.pairs import PairCalls
from twinset_server.rpc.ranking import RankingCalls
from twinset_server.rpc.status import to_status
from twinset_server.rpc.streams import closing, in_order, weight

MAX_UNDONE_REQUESTS = 64
"""Requests that a stream holds unanswered before it reads no more: twice what our client sends ahead. Answers that
nobody takes are held as well, some KB each."""

_Context = grpc.aio.ServicerContext[Any, Any]


class RecommenderServicer(recommender_pb2_grpc.RecommenderServiceServicer):
    """Answers with the nearest items."""

    def __init__(
        self,
        catalog: Catalog,
        recommender: Recommender,
        pairs: PairCalls,
        ranking: RankingCalls,
        stopping: asyncio.Event,
    ) -> None:
        """`stopping` is set when the server stops: streams end then."""
        self._catalog = catalog
        self._pairs = pairs
        self._ranking = ranking
        self._recommender = recommender
        self._stopping = stopping

    async def Recommend(  # noqa: N802
        self, request: recommender_pb2.RecommendRequest, context: _Context
    ) -> recommender_pb2.RecommendResponse:
        """See the proto."""
        if request.page_token:
            page = await recommended_pages.page(request, self._recommender, self._catalog.spaces())
            check_size("page_size", page)
            return page
        asked = recommendation_requests.request(request)
        found = await self._recommender.recommend(asked, timeout_s=time_left_s(context))
        response = recommendations.response(found, self._catalog.spaces())
        recommended_pages.cut(request, response)
        check_size(recommendations.largest_part(response), response)
        return response

    async def BatchRecommend(  # noqa: N802
        self, request: recommender_pb2.BatchRecommendRequest, context: _Context
    ) -> recommender_pb2.BatchRecommendResponse:
        """See the proto."""
        response = recommender_pb2.BatchRecommendResponse()
        await self._answer(request.requests, response.results.add, context)
        check_size("requests", response)
        return response

    async def StreamRecommend(  # noqa: N802
        self, requests: AsyncIterator[recommender_pb2.StreamRecommendRequest], context: _Context
    ) -> AsyncIterator[recommender_pb2.StreamRecommendResponse]:
        """See the proto."""

        async def work(request: recommender_pb2.StreamRecommendRequest) -> recommender_pb2.StreamRecommendResponse:
            response = recommender_pb2.StreamRecommendResponse()
            await self._answer(request.requests, response.results.add, context)
            check_size("requests", response)
            return response

        def weigh(request: recommender_pb2.StreamRecommendRequest) -> int:
            return weight(len(request.requests), request.ByteSize())

        answers = in_order(requests, work, weigh=weigh, capacity=MAX_UNDONE_REQUESTS, stopping=self._stopping)
        async for response in closing(answers):
            yield response

    async def ScorePair(  # noqa: N802
        self, request: pairs_pb2.ScorePairRequest, context: _Context
    ) -> pairs_pb2.ScorePairResponse:
        """See the proto."""
        return await self._pairs.score(request, time_left_s(context))

    async def BatchScorePairs(  # noqa: N802
        self, request: pairs_pb2.BatchScorePairsRequest, context: _Context
    ) -> pairs_pb2.BatchScorePairsResponse:
        """See the proto."""
        return await self._pairs.score_many(request, time_left_s(context))

    async def CompleteSet(  # noqa: N802
        self, request: pairs_pb2.CompleteSetRequest, context: _Context
    ) -> pairs_pb2.CompleteSetResponse:
        """See the proto."""
        return await self._pairs.complete(request, time_left_s(context))

    async def RankForUser(  # noqa: N802
        self, request: ranking_pb2.RankForUserRequest, context: _Context
    ) -> ranking_pb2.RankForUserResponse:
        """See the proto."""
        return await self._ranking.rank(request, time_left_s(context))

    async def _answer(
        self,
        messages: Sequence[recommender_pb2.RecommendRequest],
        add: Callable[[], recommender_pb2.RecommendResult],
        context: _Context,
    ) -> None:
        """Add the result of each request, in order."""
        limits.check_count("requests", messages, limits.MAX_REQUESTS_PER_MESSAGE, least=1)
        spaces = self._catalog.spaces()
        pages = [await self._page(message, spaces) if message.page_token else None for message in messages]
        asked = [_request(one) for one, page in zip(messages, pages, strict=True) if page is None]
        found = iter(await self._recommender.recommend_many(asked, timeout_s=time_left_s(context)))
        for place, (message, page) in enumerate(zip(messages, pages, strict=True)):
            _write(add(), message, next(found) if page is None else page, place, spaces)

    async def _page(
        self, message: recommender_pb2.RecommendRequest, spaces: Mapping[str, Space]
    ) -> recommender_pb2.RecommendResponse | TwinsetError:
        try:
            return await recommended_pages.page(message, self._recommender, spaces)
        except TwinsetError as error:
            return error


def _request(message: recommender_pb2.RecommendRequest) -> Request | TwinsetError:
    try:
        return recommendation_requests.request(message)
    except TwinsetError as error:
        return error


def _write(
    result: recommender_pb2.RecommendResult,
    message: recommender_pb2.RecommendRequest,
    outcome: Recommendations | recommender_pb2.RecommendResponse | TwinsetError,
    place: int,
    spaces: Mapping[str, Space],
) -> None:
    match outcome:
        case TwinsetError():
            result.error.CopyFrom(to_status(_located(outcome, place)))
        case Recommendations():
            recommendations.fill(result.response, outcome, spaces)
            recommended_pages.cut(message, result.response)
        case _:
            result.response.CopyFrom(outcome)


def _located(error: TwinsetError, place: int) -> TwinsetError:
    """Return the error of the request at `place`, by its field's whole name."""
    return error.within(f"requests[{place}]") if isinstance(error, InvalidRequest) else error
