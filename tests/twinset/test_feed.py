"""A feed's commit may take longer than its messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from twinset.errors import DeadlineExceeded
from twinset.feed import FeedStream
from twinset.v1 import catalog_pb2


class Server:
    """Answers as gRPC's stub does, those messages after `pause_s` that `slow` names."""

    def __init__(self, slow: str, pause_s: float) -> None:
        self._slow = slow
        self._pause_s = pause_s
        self._cancelled = threading.Event()

    def __call__(self, requests: Iterator[catalog_pb2.ReplaceCatalogRequest]) -> Server:
        self._requests = requests
        return self

    def __iter__(self) -> Server:
        return self

    def __next__(self) -> catalog_pb2.ReplaceCatalogResponse:
        request = next(self._requests)
        if request.WhichOneof("request") == self._slow and self._cancelled.wait(self._pause_s):
            raise grpc.RpcError
        if request.HasField("commit"):
            return catalog_pb2.ReplaceCatalogResponse(summary=catalog_pb2.FeedSummary(created=1))
        results = [catalog_pb2.FeedItemResult(id=item.id) for item in request.items.items]
        return catalog_pb2.ReplaceCatalogResponse(items=catalog_pb2.FeedItemResults(results=results))

    def cancel(self) -> bool:
        self._cancelled.set()
        return True


def run(server: Server) -> int:
    stream = FeedStream([catalog_pb2.Item(id="a")], batch=1, commit=catalog_pb2.FeedCommit())
    return stream.run(server, lambda _: None, server="here", timeout_s=0.1).created


def test_a_commit_is_waited_for_as_long_as_it_takes() -> None:
    assert run(Server("commit", pause_s=0.5)) == 1


def test_items_are_not() -> None:
    with pytest.raises(DeadlineExceeded, match="left a message of the stream unanswered"):
        run(Server("items", pause_s=60))
