"""A twinset server in this process: a dict for a catalogue, the mean colours of a picture's quarters for a model."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent import futures
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from numpy.typing import NDArray

from twinset.images import PictureError, PicturePipeline, decode, read_header
from twinset.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    filter_pb2,
    recommender_pb2,
    recommender_pb2_grpc,
)

FINGERPRINT = "ab" * 32
MODEL = "quarters-abababab"
DIMENSION = 12

_PIPELINE = PicturePipeline(2, 2)


class Refusal(Exception):
    """A status with its details, for a call or for one element."""

    def __init__(self, code: int, message: str, reason: str, *details: Any) -> None:
        super().__init__(message)
        info = error_details_pb2.ErrorInfo(reason=reason, domain="twinset")
        self.status = status_pb2.Status(code=code, message=message)
        for detail in (info, *details):
            packed = any_pb2.Any()
            packed.Pack(detail)
            self.status.details.append(packed)


def invalid(field: str, message: str) -> Refusal:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    return Refusal(code_pb2.INVALID_ARGUMENT, f"{field}: {message}", "INVALID_REQUEST", bad)


def not_found(item_id: str) -> Refusal:
    resource = error_details_pb2.ResourceInfo(resource_type="item", resource_name=item_id)
    return Refusal(code_pb2.NOT_FOUND, f"no item {item_id!r}", "ITEM_NOT_FOUND", resource)


def unavailable(seconds: int) -> Refusal:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = seconds
    return Refusal(code_pb2.UNAVAILABLE, "Triton can't be reached", "EMBEDDER_UNAVAILABLE", retry)


def overloaded(milliseconds: int, reason: str = "OVERLOADED") -> Refusal:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(milliseconds)
    return Refusal(code_pb2.RESOURCE_EXHAUSTED, "too much is under way", reason, retry)


def silent() -> Refusal:
    retry = error_details_pb2.RetryInfo()
    return Refusal(code_pb2.UNAVAILABLE, "nothing went over the stream", "STREAM_SILENT", retry)


def internal(request_id: str) -> Refusal:
    request = error_details_pb2.RequestInfo(request_id=request_id)
    return Refusal(code_pb2.INTERNAL, "twinset has a defect", "INTERNAL", request)


def embed(content: bytes) -> NDArray[np.float32]:
    """Return `[12]` float32 of unit length; the oracle of every expectation about neighbours."""
    colours = decode(content, _PIPELINE).astype(np.float32).ravel() + 1
    unit: NDArray[np.float32] = colours / np.linalg.norm(colours)
    return unit


class FakeServer(
    embedding_pb2_grpc.EmbeddingServiceServicer,
    catalog_pb2_grpc.CatalogServiceServicer,
    recommender_pb2_grpc.RecommenderServiceServicer,
):
    """Listens on a free port of loopback while its context lasts.

    Attributes:
        items: the catalogue, by id.
        puts: sizes of the messages that PutItems got.
        put_names: the request_ids of those messages; `delete_names` those of DeleteItem.
        accuracies: of each recommendation asked for, True for exact, its target recall, or None.
        batches: how many recommendations each message asked for at once.
        recommended: the requests for recommendations.
        calls: names of the unary calls, in order.
        refusals: what the next unary calls end in, first one first.
        break_stream_after: messages that streams answer, all together, before each of them breaks.
        stream_refusals: what the next streams end in before they take a message.
        silent_once_after: messages that a stream answers before it is ended for its silence, once.
        break_once_after: messages that a stream answers before it breaks, once, with the last one done and unanswered.
        recommend_refusals: what the next Recommend calls end in.
        filters: the filters of Recommend calls, which aren't heeded; facets are counted of categories.
        put_refusals: what the next puts of an item end in, by id, first one first.
        silent_after: messages that a stream answers before it takes requests and answers nothing.
        fell_silent: set once it does.
    """

    def __init__(self) -> None:
        self.items: dict[str, catalog_pb2.Item] = {}
        self.contents: dict[str, dict[str, bytes]] = {}
        self.puts: list[int] = []
        self.put_names: list[str] = []
        self.delete_names: list[str] = []
        self.calls: list[str] = []
        self.refusals: list[Refusal] = []
        self.break_stream_after: int | None = None
        self.break_once_after: int | None = None
        self.stream_refusals: list[Refusal] = []
        self.silent_once_after: int | None = None
        self.streamed = 0
        self.recommend_refusals: list[Refusal] = []
        self.filters: list[str | filter_pb2.Filter] = []
        self.accuracies: list[bool | float | None] = []
        self.batches: list[int] = []
        self.recommended: list[recommender_pb2.RecommendRequest] = []
        self.put_refusals: dict[str, list[Refusal]] = {}
        self.silent_after: int | None = None
        self.fell_silent = threading.Event()
        self.stores_pictures = True
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._sequence = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(max_workers=8),
            options=[("grpc.max_receive_message_length", 24 * 1024 * 1024), ("grpc.so_reuseport", 0)],
        )
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(self, self._grpc)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(self, self._grpc)
        recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(self, self._grpc)
        self.address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._closing.set()
        self._grpc.stop(0).wait()

    def put_vectorless(self, item_id: str) -> None:
        """Store an item that has neither picture nor vector."""
        self._put(catalog_pb2.Item(id=item_id))

    def _begin(self, context: grpc.ServicerContext, name: str) -> None:
        with self._lock:
            self.calls.append(name)
            refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            _abort(context, refusal)

    def _stream(self, context: grpc.ServicerContext, requests: Iterator[Any]) -> Iterator[Any]:
        if self.stream_refusals:
            _abort(context, self.stream_refusals.pop(0))
        for place, request in enumerate(requests):
            if place == self.silent_once_after:
                self.silent_once_after = None
                _abort(context, silent())
            if self.streamed == self.break_stream_after:
                _abort(context, unavailable(0))
            self.streamed += 1
            if place == self.silent_after:
                self.fell_silent.set()
                self._closing.wait(30)
            yield request

    # EmbeddingService

    def _embed(self, pictures: Sequence[bytes], outputs: Sequence[str]) -> Iterator[embedding_pb2.EmbedResult]:
        for place, content in enumerate(pictures):
            try:
                values = embed(content)
            except PictureError as error:
                yield embedding_pb2.EmbedResult(error=invalid(f"pictures[{place}]", str(error)).status)
                continue
            vector = embedding_pb2.Vector(space="visual", values=values.tobytes(), fingerprint=FINGERPRINT)
            features = embedding_pb2.Vector(values=(values * 2).tobytes(), fingerprint=FINGERPRINT)
            named = [
                embedding_pb2.Output(name=name, vector=vector if name == "embedding" else features)
                for name in outputs or ["embedding"]
            ]
            yield embedding_pb2.EmbedResult(embedding=embedding_pb2.Embedding(outputs=named))

    def Embed(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "Embed")
        if unknown := set(request.outputs) - {"embedding", "features"}:
            _abort(context, invalid("outputs", f"no output {unknown.pop()!r}; there are embedding, features"))
        results = self._embed(request.pictures, request.outputs)
        return embedding_pb2.EmbedResponse(results=results, model=MODEL, fingerprint=FINGERPRINT)

    def StreamEmbed(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        outputs: list[str] = []
        for place, request in enumerate(self._stream(context, requests)):
            if place and request.outputs:
                _abort(context, invalid("outputs", "only the first message may name outputs"))
            outputs = outputs or list(request.outputs)
            results = self._embed(request.pictures, outputs)
            yield embedding_pb2.StreamEmbedResponse(results=results, model=MODEL, fingerprint=FINGERPRINT)

    # CatalogService

    def _put(self, item: catalog_pb2.Item) -> catalog_pb2.PutItemResult:
        if self.put_refusals.get(item.id):
            return catalog_pb2.PutItemResult(id=item.id, error=self.put_refusals[item.id].pop(0).status)
        stored = catalog_pb2.Item()
        stored.CopyFrom(item)
        contents: dict[str, bytes] = {}
        vector = None
        for place, picture in enumerate(stored.pictures):
            try:
                header = read_header(picture.content)
                vector = embed(picture.content) if vector is None else vector
            except PictureError as error:
                refusal = invalid(f"pictures[{place}].content", str(error))
                return catalog_pb2.PutItemResult(id=item.id, error=refusal.status)
            picture.id = picture.id or str(place)
            contents[picture.id] = picture.content
            picture.media_type, picture.width, picture.height = header.media_type, header.width, header.height
            picture.sha256 = hashlib.sha256(picture.content).hexdigest()
            picture.size_bytes, picture.stored = len(picture.content), self.stores_pictures
            picture.ClearField("content")
        for brought in stored.vectors:
            vector = np.frombuffer(brought.values, "<f4").astype(np.float32)
        with self._lock:
            self._sequence += 1
            stored.sequence, stored.etag = self._sequence, f"etag{self._sequence}"
            stored.create_time.GetCurrentTime()
            stored.update_time.CopyFrom(stored.create_time)
            self.items[item.id], self.contents[item.id] = stored, contents
            self._vectors.pop(item.id, None)
            if vector is not None:
                self._vectors[item.id] = vector
        receipt = catalog_pb2.PutReceipt(etag=stored.etag, sequence=stored.sequence)
        return catalog_pb2.PutItemResult(id=item.id, receipt=receipt)

    def PutItems(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        for request in self._stream(context, requests):
            self.puts.append(len(request.items))
            self.put_names.append(request.request_id)
            if self.break_once_after == len(self.puts) - 1:
                for item in request.items:
                    self._put(item)
                _abort(context, unavailable(0))
            yield catalog_pb2.PutItemsResponse(results=[self._put(item) for item in request.items])

    def GetItem(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "GetItem")
        if request.id not in self.items:
            _abort(context, not_found(request.id))
        view = request.view or catalog_pb2.ITEM_VIEW_FULL
        return catalog_pb2.GetItemResponse(item=_seen(self.items[request.id], view))

    def BatchGetItems(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "BatchGetItems")
        if not 1 <= len(request.ids) <= (100 if request.view == catalog_pb2.ITEM_VIEW_FULL else 1000):
            _abort(context, invalid("ids", f"{len(request.ids)} ids in one call"))
        view = request.view or catalog_pb2.ITEM_VIEW_BASIC
        return catalog_pb2.BatchGetItemsResponse(
            results=[
                catalog_pb2.BatchGetItemResult(item=_seen(self.items[item_id], view))
                if item_id in self.items
                else catalog_pb2.BatchGetItemResult(error=not_found(item_id).status)
                for item_id in request.ids
            ]
        )

    def ListItems(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "ListItems")
        ids = sorted((item_id for item_id in self.items if item_id > request.page_token), key=str.encode)
        page = ids[: request.page_size or 100]
        view = request.view or catalog_pb2.ITEM_VIEW_BASIC
        return catalog_pb2.ListItemsResponse(
            items=[_seen(self.items[item_id], view) for item_id in page],
            next_page_token=page[-1] if len(page) < len(ids) else "",
        )

    def DeleteItem(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.delete_names.append(request.request_id)
        self._begin(context, "DeleteItem")
        if self.items.pop(request.id, None) is None:
            _abort(context, not_found(request.id))
        self._vectors.pop(request.id, None)
        self._sequence += 1
        return catalog_pb2.DeleteItemResponse(sequence=self._sequence)

    def GetPicture(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._begin(context, "GetPicture")
        if request.item_id not in self.items:
            _abort(context, not_found(request.item_id))
        if not self.stores_pictures:
            _abort(context, Refusal(code_pb2.FAILED_PRECONDITION, "no contents are kept", "PICTURE_NOT_STORED"))
        pictures = self.items[request.item_id].pictures
        picture = next((p for p in pictures if request.picture_id in ("", p.id)), None)
        if picture is None:
            _abort(context, not_found(request.item_id))
        content = self.contents[request.item_id][picture.id]
        half = len(content) // 2
        yield catalog_pb2.GetPictureResponse(picture=picture, chunk=content[:half])
        yield catalog_pb2.GetPictureResponse(chunk=content[half:])

    def GetCatalog(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "GetCatalog")
        return catalog_pb2.GetCatalogResponse(
            item_count=len(self.items),
            picture_count=sum(len(item.pictures) for item in self.items.values()),
            spaces=[
                catalog_pb2.Space(
                    name="visual",
                    dimension=DIMENSION,
                    metric=embedding_pb2.METRIC_COSINE,
                    fingerprint=FINGERPRINT,
                    model=MODEL,
                    vector_count=len(self._vectors),
                    index_generation=1,
                )
            ],
            sequence=self._sequence,
            server_version="0.1.0",
        )

    # RecommenderService

    def Recommend(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "Recommend")
        try:
            return self._recommend(request)
        except Refusal as refusal:
            _abort(context, refusal)

    def BatchRecommend(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._begin(context, "BatchRecommend")
        self.batches.append(len(request.requests))
        return recommender_pb2.BatchRecommendResponse(results=map(self._recommended, request.requests))

    def StreamRecommend(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        for request in self._stream(context, requests):
            self.batches.append(len(request.requests))
            yield recommender_pb2.StreamRecommendResponse(results=map(self._recommended, request.requests))

    def _recommended(self, request: Any) -> recommender_pb2.RecommendResult:
        try:
            return recommender_pb2.RecommendResult(response=self._recommend(request))
        except Refusal as refusal:
            return recommender_pb2.RecommendResult(error=refusal.status)

    def _query(self, place: int, example: Any) -> NDArray[np.float32]:
        match example.WhichOneof("example"):
            case "item_id":
                if example.item_id not in self.items:
                    raise not_found(example.item_id)
                if example.item_id not in self._vectors:
                    raise Refusal(code_pb2.FAILED_PRECONDITION, "no vector", "ITEM_HAS_NO_VECTOR")
                return self._vectors[example.item_id]
            case "picture":
                try:
                    return embed(example.picture)
                except PictureError as error:
                    raise invalid(f"examples[{place}].picture", str(error)) from error
            case "user_id":
                return np.zeros(DIMENSION, np.float32)
            case _:
                query = np.frombuffer(example.vector.values, "<f4").astype(np.float32)
                if len(query) != DIMENSION:
                    raise invalid(f"examples[{place}].vector.values", f"{len(query)} components, not {DIMENSION}")
                return query

    def _recommend(self, request: Any) -> recommender_pb2.RecommendResponse:
        if self.recommend_refusals:
            raise self.recommend_refusals.pop(0)
        accuracy = request.WhichOneof("accuracy")
        self.accuracies.append(accuracy and getattr(request, accuracy))
        self.filters.append(request.filter_expression if request.HasField("filter_expression") else request.filter)
        self.recommended.append(request)
        queries = [self._query(n, example) for n, example in enumerate(request.examples)]
        excluded = {*request.exclude, *(one.item_id for one in request.examples)}
        weights = [one.weight if one.HasField("weight") else 1.0 for one in request.examples]
        shares = np.array(weights) / np.abs(weights).sum()
        if not 1 <= request.k <= 1000:
            raise invalid("k", f"{request.k} is not 1 to 1,000")
        given = {i: shares * (np.array(queries) @ v) for i, v in self._vectors.items() if i not in excluded}
        scores = {i: float(one.sum()) for i, one in given.items()}
        best = sorted(scores, key=lambda item_id: (-scores[item_id], item_id.encode()))[: request.k]
        view = request.view or catalog_pb2.ITEM_VIEW_ID
        return recommender_pb2.RecommendResponse(
            recommendations=[
                recommender_pb2.Recommendation(
                    item=_seen(self.items[i], view),
                    score=scores[i],
                    distance=1 - scores[i],
                    picture_id="0",
                    explanation=_explanation(given[i]) if request.explain else None,
                )
                for i in best
            ],
            examples=[recommender_pb2.ExampleExplanation()] * len(queries) if request.explain else [],
            exact=True,
            plan=recommender_pb2.SearchPlan(method=recommender_pb2.SEARCH_METHOD_SCAN, expected_recall=1),
            candidates_examined=len(scores),
            space="visual",
            fingerprint=FINGERPRINT,
            metric=embedding_pb2.METRIC_COSINE,
            sequence=self._sequence,
            facets=[_facet(facet, self.items.values()) for facet in request.facets],
            matching_count=len(self.items) if request.facets else None,
        )


def _explanation(shares: NDArray[np.float64]) -> recommender_pb2.Explanation:
    return recommender_pb2.Explanation(
        contributions=[{"example": n, "share": float(share)} for n, share in enumerate(shares)]
    )


def _facet(request: filter_pb2.FacetRequest, items: Collection[catalog_pb2.Item]) -> filter_pb2.Facet:
    counts = Counter(item.category for item in items if item.category)
    return filter_pb2.Facet(
        field=request.field,
        counts=[
            filter_pb2.FacetCount(value=catalog_pb2.AttributeValue(string_value=value), count=count)
            for value, count in counts.most_common(request.limit if request.HasField("limit") else None)
        ],
        distinct_count=len(counts),
        missing_count=len(items) - counts.total(),
    )


def _seen(item: catalog_pb2.Item, view: int) -> catalog_pb2.Item:
    if view == catalog_pb2.ITEM_VIEW_ID:
        return catalog_pb2.Item(id=item.id)
    seen = catalog_pb2.Item()
    seen.CopyFrom(item)
    if view == catalog_pb2.ITEM_VIEW_BASIC:
        seen.ClearField("vectors")
    return seen


def _abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(refusal.status))
    raise AssertionError("abort_with_status raises")
