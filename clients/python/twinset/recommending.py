"""Recommendations: one, many in a few calls, or many as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc

from twinset import wire_recommendations as wire
from twinset.batches import batches
from twinset.items import Vector, View
from twinset.lasting_stream import LastingStream
from twinset.recommendations import Example, Query, QueryResult, Recommendations
from twinset.status import error_from_call, error_from_status
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
        examples: Sequence[Example] = (),
        target_categories: Iterable[str] = (),
        min_score: float | None = None,
        mmr_lambda: float | None = None,
        group_by: str = "",
        group_size: int = 1,
        max_similarity: float | None = None,
        explain: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Recommendations:
        """Return the items with the highest score by one or more examples, best first.

        The score is the mean of the similarities to the examples, by their weights; see docs/recommending.md.

        Args:
            item: the one example is this item; it is never an answer to itself.
            picture: the one example is this encoded picture.
            vector: the one example is this vector.
            k: how many, 1 to 1,000 (100 with the view `full`).
            exclude: ids never to return, up to 1,000.
            space: where examples are compared that don't say it; `visual` by default, and for one vector the space
                that it lives in.
            view: how much of each item comes along.
            filter: which items may be returned, such as `category = "shoes" AND attributes.price < 50`; or the same as
                a message. `twinset.filters.literal` writes values.
            facets: fields to count the values of over the items that match: their names, or by name how many values.
            exact: compare every vector.
            target_recall: the share of the true nearest that is enough, above 0 and at most 1; .98 by default.
            examples: 1 to 16, of items, pictures, vectors and users, each with its relation and weight.
            target_categories: only items of one of these categories, up to 100.
            min_score: only items with this score or a higher one.
            mmr_lambda: 0 to 1; below 1, items that are unlike those before them come first.
            group_by: a field; at most `group_size` items that share its value are returned.
            group_size: how many.
            max_similarity: no item that is this similar to one before it, or more.
            explain: tell which example brought each item how much.
            page_size: give the `k` items in pages of so many; 0 gives all at once. `recommend_pages` asks for them all.
            page_token: `next_page_token` of the page before; all else as it was then.

        Raises:
            ValueError: not exactly one of `item`, `picture`, `vector` and `examples` is given, or `exact` and
                `target_recall` both.
            InvalidArgument: a number is out of range, filter or vector are malformed, a picture can't be decoded, or
                examples cancel each other out.
            NotFound: an item, a user or a space isn't there.
            FailedPrecondition: a vector is of another model or space, or an item or user has none there.
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
            examples=examples,
            target_categories=tuple(target_categories),
            min_score=min_score,
            mmr_lambda=mmr_lambda,
            group_by=group_by,
            group_size=group_size,
            max_similarity=max_similarity,
            explain=explain,
            page_size=page_size,
            page_token=page_token,
        )
        return self.recommend_query(query)

    def recommend_pages(self, query: Query) -> Iterator[Recommendations]:
        """Return the answer to a query page by page, `query.page_size` items each.

        A page is asked for when it is wanted. All are of one answer: no item comes twice and none is left out, however
        long that takes and whatever is written meanwhile; only those are missing that were deleted.

        Raises:
            ValueError: `query.page_size` isn't set, and as for `recommend`.
            TwinsetError: as for `recommend`.
        """
        if query.page_size < 1:
            raise ValueError("recommend_pages takes a query with a page_size of 1 or more")
        while True:
            page = self.recommend_query(query)
            yield page
            if not page.next_page_token:
                return
            query = replace(query, page_token=page.next_page_token)

    def recommend_query(self, query: Query) -> Recommendations:
        """Return the answer to one query: what `recommend` returns for the same arguments.

        Raises:
            ValueError, TwinsetError: as for `recommend`.
        """
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

        stream = LastingStream(
            self._recommender.StreamRecommend, requests(), server=self.server, timeout_s=self.timeout_s
        )
        for response in stream:
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
