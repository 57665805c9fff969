"""Changes to a catalogue: streams in, what became of each change out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from twinset import wire, wire_changes
from twinset.batches import batches
from twinset.feed import FeedStream
from twinset.items import FeedResult, FeedSummary, Interaction, Item, ItemUpdate, PutResult, User
from twinset.lasting_stream import LastingStream
from twinset.refusals import refused_s
from twinset.status import error_from_call
from twinset.v1 import catalog_pb2
from twinset.writing import request_id, until_available

Element = TypeVar("Element", bound=Message)


class CatalogWrites:
    """The part of a client that writes.

    What each stream returns stands in the order of what it was given. A result without error means that the change is
    on disk, and that every later call sees it. Where the connection breaks, what was not answered is sent again; where
    that fails too, it may have been made or not. What the server refuses for being too busy (`ResourceExhausted`) is
    sent again after the time that it asks for, a bounded number of times.
    """

    server: str
    timeout_s: float
    _catalog: Any

    def put_items(self, items: Iterable[Item], *, batch: int = 64) -> Iterator[PutResult]:
        """Create items, or replace those of the same ids as a whole; return what became of each, in order.

        Args:
            items: drawn in another thread as the server takes them. One with an etag is put only if the stored item
                has just that one.
            batch: items in a message, 1 to 256; fewer go where they are large.

        Raises:
            InvalidArgument: an item doesn't fit into a message.
            TypeError, ValueError: an attribute holds what attributes can't.
        """

        def message(group: list[catalog_pb2.Item], name: str) -> catalog_pb2.PutItemsRequest:
            return catalog_pb2.PutItemsRequest(items=group, request_id=name)

        return self._written(self._catalog.PutItems, map(wire.item_to_proto, items), message, batch, _item_name)

    def update_items(self, updates: Iterable[ItemUpdate], *, batch: int = 64) -> Iterator[PutResult]:
        """Change some fields of stored items; return what became of each, in order.

        Title, uri, category and attributes change without an embedding and without touching an index: cheap enough for
        prices and stock. One whose item isn't there has the error `NotFound`.

        Args:
            updates: drawn in another thread as the server takes them.
            batch: updates in a message, 1 to 256; fewer go where they are large.

        Raises:
            InvalidArgument: an update doesn't fit into a message.
            TypeError, ValueError: an update changes nothing, or an attribute holds what attributes can't.
        """

        def message(group: list[catalog_pb2.ItemUpdate], name: str) -> catalog_pb2.UpdateItemsRequest:
            return catalog_pb2.UpdateItemsRequest(updates=group, request_id=name)

        elements = map(wire_changes.update_to_proto, updates)
        return self._written(
            self._catalog.UpdateItems, elements, message, batch, lambda place, update: _item_name(place, update.item)
        )

    def delete_items(self, items: Iterable[str | Item], *, batch: int = 256) -> Iterator[PutResult]:
        """Delete items with their pictures and vectors; return what became of each, in order.

        Args:
            items: ids, or items with etags, which are deleted only if they still have those.
            batch: deletions in a message, 1 to 1,000.
        """

        def deletion(item: str | Item) -> catalog_pb2.ItemDeletion:
            if isinstance(item, str):
                return catalog_pb2.ItemDeletion(id=item)
            return catalog_pb2.ItemDeletion(id=item.id, etag=item.etag)

        def message(group: list[catalog_pb2.ItemDeletion], name: str) -> catalog_pb2.DeleteItemsRequest:
            return catalog_pb2.DeleteItemsRequest(deletions=group, request_id=name)

        return self._written(self._catalog.DeleteItems, map(deletion, items), message, batch)

    def delete_item(self, item_id: str, *, etag: str = "") -> int:
        """Delete an item with its pictures and vectors; return the change's sequence.

        Args:
            item_id: the item.
            etag: where it isn't empty, the stored item must have it.

        Raises:
            NotFound: no item has this id.
            Aborted: the stored item has another etag.
        """
        request = catalog_pb2.DeleteItemRequest(id=item_id, etag=etag, request_id=request_id())

        def delete() -> int:
            try:
                return int(self._catalog.DeleteItem(request, timeout=self.timeout_s).sequence)
            except grpc.RpcError as failure:
                raise error_from_call(failure, self.server) from failure

        return until_available(delete)

    def replace_catalog(
        self,
        items: Iterable[Item],
        *,
        allow_failed: bool = False,
        allow_empty: bool = False,
        report: Callable[[FeedResult], None] = lambda result: None,
        batch: int = 64,
    ) -> FeedSummary:
        """Replace all items by `items`: those that are missing there are deleted. Return what that did.

        Nothing is seen of it before the end, and nothing at all where this raises: all becomes the catalogue at once.
        What is stored just so already isn't embedded again. Items that the server could not take at the moment are sent
        again.

        Args:
            items: drawn in another thread as the server takes them, without etags.
            allow_failed: go through with it although items failed; what is stored under their ids stays as it is.
            allow_empty: go through with it although there are no items, which deletes all.
            report: told what became of each item.
            batch: items in a message, 1 to 256; fewer go where they are large.

        Raises:
            FailedPrecondition: items failed (reason `FEED_HAS_FAILURES`), or there were none (`FEED_IS_EMPTY`).
            InvalidArgument: an item doesn't fit into a message.
            TypeError, ValueError: an attribute holds what attributes can't.
        """
        commit = catalog_pb2.FeedCommit(allow_failed=allow_failed, allow_empty=allow_empty)
        stream = FeedStream(map(wire.item_to_proto, items), batch=batch, commit=commit)
        return stream.run(self._catalog.ReplaceCatalog, report, server=self.server, timeout_s=self.timeout_s)

    def put_users(self, users: Iterable[User], *, batch: int = 64) -> Iterator[PutResult]:
        """Create users, or replace those of the same ids as a whole; return what became of each, in order.

        Args:
            users: drawn in another thread as the server takes them.
            batch: users in a message, 1 to 256; fewer go where they are large.

        Raises:
            TypeError, ValueError: an attribute holds what attributes can't.
        """

        def message(group: list[catalog_pb2.User], name: str) -> catalog_pb2.PutUsersRequest:
            return catalog_pb2.PutUsersRequest(users=group, request_id=name)

        return self._written(self._catalog.PutUsers, map(wire_changes.user_to_proto, users), message, batch)

    def delete_user(self, user_id: str) -> int:
        """Delete all that is stored of a user: vectors, factors, interactions; return the change's sequence.

        Raises:
            NotFound: nothing is stored of this user.
        """
        request = catalog_pb2.DeleteUserRequest(id=user_id, request_id=request_id())

        def delete() -> int:
            try:
                return int(self._catalog.DeleteUser(request, timeout=self.timeout_s).sequence)
            except grpc.RpcError as failure:
                raise error_from_call(failure, self.server) from failure

        return until_available(delete)

    def put_interactions(self, interactions: Iterable[Interaction], *, batch: int = 256) -> Iterator[PutResult]:
        """Store what users did; return what became of each, in order. Each is added, none replaces another.

        Args:
            interactions: drawn in another thread as the server takes them.
            batch: interactions in a message, 1 to 1,000.
        """

        def message(group: list[catalog_pb2.Interaction], name: str) -> catalog_pb2.PutInteractionsRequest:
            return catalog_pb2.PutInteractionsRequest(interactions=group, request_id=name)

        elements = map(wire_changes.interaction_to_proto, interactions)
        return self._written(self._catalog.PutInteractions, elements, message, batch)

    def _written(
        self,
        call: Callable[..., Any],
        elements: Iterable[Element],
        message: Callable[[list[Element], str], Message],
        batch: int,
        name: Callable[[int, Element], str] | None = None,
    ) -> Iterator[PutResult]:
        groups = batches(elements, size=_size, most=batch, name=name)
        stream: LastingStream[Message, Any] = LastingStream(
            call,
            (message(group, request_id()) for group in groups),
            server=self.server,
            timeout_s=self.timeout_s,
            refused_s=refused_s,
        )
        for response in stream:
            slowed_s = 0.0
            if "slowed_by" in response.DESCRIPTOR.fields_by_name and response.HasField("slowed_by"):
                slowed_s = response.slowed_by.ToTimedelta().total_seconds()
            for result in response.results:
                yield wire_changes.result_from_proto(result, slowed_s)


def _size(element: Message) -> int:
    return element.ByteSize()


def _item_name(_: int, item: catalog_pb2.Item) -> str:
    return f"item {item.id!r}"
