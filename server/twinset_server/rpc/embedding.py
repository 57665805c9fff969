"""`EmbeddingService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from twinset.v1 import embedding_pb2, embedding_pb2_grpc
from twinset_server import limits
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import InvalidRequest
from twinset_server.rpc import convert
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.streams import closing, in_order

MAX_UNDONE_PICTURES = 64


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Answers with the model that fills `visual`."""

    def __init__(self, pictures: PictureEmbedder) -> None:
        self._pictures = pictures

    async def Embed(  # noqa: N802
        self, request: embedding_pb2.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_pb2.EmbedResponse:
        """See the proto."""
        limits.check_count("pictures", request.pictures, limits.MAX_PICTURES_PER_MESSAGE, least=1)
        limits.check_count("outputs", request.outputs, limits.MAX_OUTPUTS)
        names = self._pictures.choose_outputs(request.outputs)
        embedder = self._pictures.embedder
        outcomes = await self._pictures.embed(request.pictures, names, timeout_s=time_left_s(context))
        response = embedding_pb2.EmbedResponse(
            results=[convert.embed_result(o, names, embedder, f"pictures[{n}]") for n, o in enumerate(outcomes)],
            model=embedder.contract.model,
            fingerprint=embedder.contract.fingerprint,
        )
        limits.check_response("pictures", response)
        return response

    async def StreamEmbed(  # noqa: N802
        self,
        requests: AsyncIterator[embedding_pb2.StreamEmbedRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[embedding_pb2.StreamEmbedResponse]:
        """See the proto."""
        embedder = self._pictures.embedder
        names: tuple[str, ...] = ()

        async def work(request: embedding_pb2.StreamEmbedRequest) -> embedding_pb2.StreamEmbedResponse:
            nonlocal names
            limits.check_count("pictures", request.pictures, limits.MAX_PICTURES_PER_MESSAGE, least=1)
            if not names:
                limits.check_count("outputs", request.outputs, limits.MAX_OUTPUTS)
                names = self._pictures.choose_outputs(request.outputs)
            elif request.outputs:
                raise InvalidRequest("outputs", "belong in the first message of the stream only")
            outcomes = await self._pictures.embed(request.pictures, names, timeout_s=time_left_s(context))
            response = embedding_pb2.StreamEmbedResponse(
                results=[convert.embed_result(o, names, embedder, f"pictures[{n}]") for n, o in enumerate(outcomes)],
                model=embedder.contract.model,
                fingerprint=embedder.contract.fingerprint,
            )
            limits.check_response("pictures", response)
            return response

        answers = in_order(requests, work, weigh=lambda r: len(r.pictures), capacity=MAX_UNDONE_PICTURES)
        async for response in closing(answers):
            yield response
