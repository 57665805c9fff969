"""A feed on its way: items, those again that the server could not take at the moment, and the commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twinset import wire_changes
from twinset.batches import batches
from twinset.errors import ResourceExhausted, TwinsetError, Unavailable
from twinset.items import FeedResult, FeedSummary
from twinset.stream import PipelinedStream
from twinset.v1 import catalog_pb2

# A Triton that is restarted is back within seconds.
TRIES = 5
"""How often an item is sent that the server could not take at the moment."""


class FeedStream:
    """One feed. Items are drawn in another thread; results come where the feed is run."""

    def __init__(
        self,
        items: Iterable[catalog_pb2.Item],
        *,
        batch: int,
        commit: catalog_pb2.FeedCommit,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a feed of `items`, `batch` in a message, that ends with `commit`; `pause` waits some seconds."""
        self._items = items
        self._batch = batch
        self._commit = commit
        self._pause = pause
        self._answered = threading.Condition()
        self._open = 0
        self._over = False
        self._tries = 1
        self._later: list[catalog_pb2.Item] = []
        self._wait_s = 0.0

    def run(
        self, call: Callable[..., Any], report: Callable[[FeedResult], None], *, server: str, timeout_s: float
    ) -> FeedSummary:
        """Send the feed and return what its commit did.

        Args:
            call: the stub's method.
            report: told what became of each item, in order; of one that is sent again, once it is known.
            server: the server's address, for messages.
            timeout_s: longest wait for one answer; the commit's may take longer.
        Raises:
            TwinsetError: the feed failed. Unless that is for the commit's answer being lost, nothing was changed.
        """
        stream: PipelinedStream[catalog_pb2.ReplaceCatalogRequest, catalog_pb2.ReplaceCatalogResponse]
        # A commit takes as long as the feed is large, and goes on though its caller gives up.
        stream = PipelinedStream(
            call, self._requests(), server=server, timeout_s=timeout_s, unhurried=lambda one: one.HasField("commit")
        )
        summary: FeedSummary | None = None
        try:
            for request, response in stream:
                if response.WhichOneof("response") == "summary":
                    summary = wire_changes.feed_summary_from_proto(response.summary)
                    continue
                for item, result in zip(request.items.items, response.items.results, strict=True):
                    self._settle(item, wire_changes.feed_result_from_proto(result), report)
                with self._answered:
                    self._open -= 1
                    self._answered.notify()
        finally:
            with self._answered:
                self._over = True
                self._answered.notify()
        if summary is None:
            raise TwinsetError(
                f"{server} ended the feed without a word on its commit: see what it holds, send it again"
            )
        return summary

    def _settle(self, item: catalog_pb2.Item, result: FeedResult, report: Callable[[FeedResult], None]) -> None:
        if isinstance(result.error, Unavailable | ResourceExhausted) and self._tries < TRIES:
            self._later.append(item)
            self._wait_s = max(self._wait_s, result.error.retry_after_s or 1.0)
        else:
            report(result)

    def _requests(self) -> Iterator[catalog_pb2.ReplaceCatalogRequest]:
        yield from self._messages(self._items)
        while again := self._items_again():
            self._pause(self._wait_s)
            self._tries += 1
            yield from self._messages(again)
        if not self._over:
            yield catalog_pb2.ReplaceCatalogRequest(commit=self._commit)

    def _messages(self, items: Iterable[catalog_pb2.Item]) -> Iterator[catalog_pb2.ReplaceCatalogRequest]:
        for group in batches(items, size=lambda item: item.ByteSize(), most=self._batch, name=_item_name):
            with self._answered:
                self._open += 1
            yield catalog_pb2.ReplaceCatalogRequest(items=catalog_pb2.FeedItems(items=group))

    def _items_again(self) -> list[catalog_pb2.Item]:
        """Return what the server could not take, once all that was sent is answered."""
        with self._answered:
            self._answered.wait_for(lambda: self._over or not self._open)
            again, self._later = self._later, []
            return [] if self._over else again


def _item_name(_: int, item: catalog_pb2.Item) -> str:
    return f"item {item.id!r}"
