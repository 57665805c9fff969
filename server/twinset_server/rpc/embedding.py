"""`EmbeddingService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio

from twinset.v1 import embedding_pb2, embedding_pb2_grpc
from twinset_server import limits
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import EmbedderUnavailable, InvalidRequest
from twinset_server.rpc import convert
from twinset_server.rpc.answers import check_embeddings
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.status import to_status
from twinset_server.rpc.streams import closing, in_order, weight

MAX_UNDONE_PICTURES = 64


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Answers with the model that fills `visual`."""

    def __init__(self, pictures: PictureEmbedder, stopping: asyncio.Event) -> None:
        self._pictures = pictures
        self._stopping = stopping

    async def Embed(  # noqa: N802
        self, request: embedding_pb2.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_pb2.EmbedResponse:
        """See the proto."""
        _check_shape(request.pictures, request.outputs)
        contract = self._pictures.embedder.contract
        return embedding_pb2.EmbedResponse(
            results=await self._embed(request.pictures, request.outputs, time_left_s(context), urgent=True),
            model=contract.model,
            fingerprint=contract.fingerprint,
        )

    async def StreamEmbed(  # noqa: N802
        self,
        requests: AsyncIterator[embedding_pb2.StreamEmbedRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[embedding_pb2.StreamEmbedResponse]:
        """See the proto."""
        outputs: Sequence[str] | None = None

        async def work(request: embedding_pb2.StreamEmbedRequest) -> embedding_pb2.StreamEmbedResponse:
            nonlocal outputs
            _check_shape(request.pictures, request.outputs)
            if outputs is None:
                outputs = request.outputs
            elif request.outputs:
                raise InvalidRequest("outputs", "belong in the first message of the stream only")
            try:
                contract = self._pictures.embedder.contract
                results = await self._embed(request.pictures, outputs, time_left_s(context), urgent=False)
            except EmbedderUnavailable as error:
                # No model is known so far. The stream goes on: the caller may send these pictures again.
                unavailable = embedding_pb2.EmbedResult(error=to_status(error))
                return embedding_pb2.StreamEmbedResponse(results=[unavailable] * len(request.pictures))
            return embedding_pb2.StreamEmbedResponse(
                results=results, model=contract.model, fingerprint=contract.fingerprint
            )

        def weigh(request: embedding_pb2.StreamEmbedRequest) -> int:
            return weight(len(request.pictures), sum(map(len, request.pictures)))

        answers = in_order(requests, work, weigh=weigh, capacity=MAX_UNDONE_PICTURES, stopping=self._stopping)
        async for response in closing(answers):
            yield response

    async def _embed(
        self, pictures: Sequence[bytes], outputs: Sequence[str], timeout_s: float, *, urgent: bool
    ) -> list[embedding_pb2.EmbedResult]:
        embedder = self._pictures.embedder
        names = self._pictures.choose_outputs(outputs)
        check_embeddings("pictures", len(pictures), names, embedder)
        outcomes = await self._pictures.embed(pictures, names, timeout_s=timeout_s, urgent=urgent)
        return [convert.embed_result(o, names, embedder, f"pictures[{n}]") for n, o in enumerate(outcomes)]


def _check_shape(pictures: Sequence[bytes], outputs: Sequence[str]) -> None:
    limits.check_count("pictures", pictures, limits.MAX_PICTURES_PER_MESSAGE, least=1)
    limits.check_count("outputs", outputs, limits.MAX_OUTPUTS)
