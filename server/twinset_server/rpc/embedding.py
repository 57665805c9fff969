"""`EmbeddingService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio

from twinset.known_answer import UNKNOWN_CATEGORY
from twinset.v1 import embedding_pb2, embedding_pb2_grpc
from twinset_server import limits
from twinset_server.embedding import PictureEmbedder, Pictures
from twinset_server.errors import EmbedderUnavailable, InvalidRequest
from twinset_server.rpc import convert
from twinset_server.rpc.answers import check_embeddings
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.status import to_status
from twinset_server.rpc.streams import closing, in_order, weight

MAX_UNDONE_PICTURES = 64

_Request = embedding_pb2.EmbedRequest | embedding_pb2.StreamEmbedRequest
_Result = embedding_pb2.EmbedResult


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a call wants of every picture: outputs, and how many classes of each output that has some."""

    outputs: Sequence[str]
    predictions: int


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Answers with the model that fills `visual`."""

    def __init__(self, pictures: Pictures, stopping: asyncio.Event) -> None:
        self._pictures = pictures
        self._stopping = stopping

    async def Embed(  # noqa: N802
        self, request: embedding_pb2.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_pb2.EmbedResponse:
        """See the proto."""
        _check_shape(request)
        pictures = self._pictures.now
        if pictures.is_full:
            raise pictures.refusal()
        contract = pictures.embedder.contract
        wish = _Wish(request.outputs, request.predictions)
        return embedding_pb2.EmbedResponse(
            results=await _embedded(pictures, request, wish, time_left_s(context), urgent=True),
            model=contract.model,
            fingerprint=contract.fingerprint,
        )

    async def StreamEmbed(  # noqa: N802
        self,
        requests: AsyncIterator[embedding_pb2.StreamEmbedRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[embedding_pb2.StreamEmbedResponse]:
        """See the proto."""
        wish: _Wish | None = None

        async def work(request: embedding_pb2.StreamEmbedRequest) -> embedding_pb2.StreamEmbedResponse:
            nonlocal wish
            _check_shape(request)
            if wish is None:
                wish = _Wish(request.outputs, request.predictions)
            elif request.outputs or request.predictions:
                field = "outputs" if request.outputs else "predictions"
                raise InvalidRequest(field, "belong in the first message of the stream only")
            try:
                pictures = self._pictures.now
                contract = pictures.embedder.contract
                results = await _embedded(pictures, request, wish, time_left_s(context), urgent=False)
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


async def _embedded(
    pictures: PictureEmbedder, request: _Request, wish: _Wish, timeout_s: float, *, urgent: bool
) -> list[_Result]:
    embedder, contents = pictures.embedder, request.pictures
    contract = embedder.contract
    names = pictures.choose_outputs(wish.outputs)
    check_embeddings("pictures", len(contents), names, embedder, wish.predictions)
    asked = names if not wish.predictions else tuple(dict.fromkeys((*names, *contract.class_outputs())))
    indices = [contract.category_index(category) for category in request.categories]
    outcomes = await pictures.embed(
        contents,
        asked,
        timeout_s=timeout_s,
        urgent=urgent,
        categories=[index or UNKNOWN_CATEGORY for index in indices],
    )
    unknown = [bool(contract.categories) and index is None for index in indices] or [False] * len(contents)
    return [
        convert.embed_result(
            outcome,
            names,
            embedder,
            f"pictures[{place}]",
            predictions=wish.predictions,
            category_unknown=unknown[place],
        )
        for place, outcome in enumerate(outcomes)
    ]


def _check_shape(request: _Request) -> None:
    limits.check_count("pictures", request.pictures, limits.MAX_PICTURES_PER_MESSAGE, least=1)
    limits.check_count("outputs", request.outputs, limits.MAX_OUTPUTS)
    limits.check_texts("outputs", request.outputs, limits.MAX_OUTPUT_BYTES)
    limits.check_predictions(request.predictions)
    if request.categories and len(request.categories) != len(request.pictures):
        raise InvalidRequest(
            "categories",
            f"holds {len(request.categories)} for {len(request.pictures)} pictures: give one each, or none",
        )
    limits.check_texts("categories", request.categories, limits.MAX_CATEGORY_BYTES)
