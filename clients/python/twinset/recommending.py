"""Recommendations: one, many in a few calls, or many as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc

from twinset import wire
from twinset.batches import batches
from twinset.items import Query, QueryResult, Recommendations, Vector, View
from twinset.status import error_from_call, error_from_status
from twinset.stream import PipelinedStream
from twinset.v1 import filter_pb2, recommender_pb2


class Recommending:
    """The part of a client that asks for recommendations."""

    server: str
    timeout_s: float
    _recommender: Any

    def recommend(
        self,
        *,
        item: str | None = None,
        picture: bytes | None = None,
        vector: Vector | None = None,
        k: int = 10,
        exclude: Iterable[str] = (),
        space: str = "",
        view: View = "id",
        filter: str | filter_pb2.Filter = "",  # noqa: A002 - its name in the proto, and everywhere
        facets: Mapping[str, int] | Iterable[str] = (),
        exact: bool = False,
        target_recall: float | None = None,
    ) -> Recommendations:
        """Return the items that look most like one example, best first.

        Args:
            item: the example is this item; it is never an answer to itself.
            picture: the example is this encoded picture.
            vector: the example is this vector.
            k: how many, 1 to 1,000 (100 with the view `full`).
            exclude: ids never to return, up to 1,000.
            space: the space to search; `visual` by default, and for a vector the one that it lives in.
            view: how much of each item comes along.
            filter: which items may be returned, such as `category = "shoes" AND attributes.price < 50`; or the same as
                a message. `twinset.filters.literal` writes values.
            facets: fields to count the values of over the items that match: their names, or by name how many values.
            exact: compare every vector.
            target_recall: the share of the true nearest that is enough, above 0 and at most 1; .98 by default.

        Raises:
            ValueError: not exactly one of `item`, `picture` and `vector` is given, or `exact` and `target_recall` both.
            InvalidArgument: `k` is out of range, filter or vector are malformed, or the picture can't be decoded.
            NotFound: the item or the space isn't there.
            FailedPrecondition: the vector is of another model or space, or the item has none there.
        """
        query = Query(
            item=item,
            picture=picture,
            vector=vector,
            k=k,
            exclude=tuple(exclude),
            space=space,
            view=view,
            filter=filter,
            facets=facets if isinstance(facets, Mapping) else tuple(facets),
            exact=exact,
            target_recall=target_recall,
        )
        try:
            response = self._recommender.Recommend(wire.query_to_proto(query), timeout=self.timeout_s)
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure
        return wire.recommendations_from_proto(response)

    def recommend_many(self, queries: Iterable[Query], *, batch: int = 64) -> Iterator[QueryResult]:
        """Return the answer to each query, in order; one that fails carries its error.

        Each call holds `batch` queries, 1 to 256, is answered from one state of the catalogue, and is tried again like
        other reads. Several threads that each ask for a part use all workers of the server.

        Raises:
            ValueError: a query has not exactly one example.
            InvalidArgument: an answer would be over 4 MiB: make `batch` smaller.
        """
        for asked, requests in _messages(queries, batch):
            message = recommender_pb2.BatchRecommendRequest(requests=requests)
            try:
                response = self._recommender.BatchRecommend(message, timeout=self.timeout_s)
            except grpc.RpcError as failure:
                raise error_from_call(failure, self.server) from failure
            yield from _answers(asked, response.results)

    def stream_recommend(self, queries: Iterable[Query], *, batch: int = 8) -> Iterator[QueryResult]:
        """Return the answer to each query, as they come and in order; one that fails carries its error.

        Args:
            queries: drawn in another thread as the server takes them. One by a picture holds up those behind it.
            batch: queries in a message, 1 to 256. A message is sent when it is full: take 1 where queries come slowly
                and each answer matters at once.

        Raises:
            ValueError: a query has not exactly one example.
            InvalidArgument: an answer would be over 4 MiB: make `batch` smaller.
        """
        asked: deque[Sequence[Query]] = deque()

        def requests() -> Iterator[recommender_pb2.StreamRecommendRequest]:
            for group, messages in _messages(queries, batch):
                asked.append(group)
                yield recommender_pb2.StreamRecommendRequest(requests=messages)

        stream = PipelinedStream(
            self._recommender.StreamRecommend, requests(), server=self.server, timeout_s=self.timeout_s
        )
        for _, response in stream:
            yield from _answers(asked.popleft(), response.results)


def _messages(
    queries: Iterable[Query], batch: int
) -> Iterator[tuple[Sequence[Query], Sequence[recommender_pb2.RecommendRequest]]]:
    pairs = ((query, wire.query_to_proto(query)) for query in queries)
    groups = batches(pairs, size=lambda pair: pair[1].ByteSize(), most=batch, name=lambda place, _: f"query {place}")
    for group in groups:
        yield [query for query, _ in group], [request for _, request in group]


def _answers(queries: Sequence[Query], results: Sequence[recommender_pb2.RecommendResult]) -> Iterator[QueryResult]:
    for query, result in zip(queries, results, strict=True):
        if result.WhichOneof("result") == "response":
            yield QueryResult(query, wire.recommendations_from_proto(result.response))
        else:
            yield QueryResult(query, error=error_from_status(result.error))
