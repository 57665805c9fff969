"""All that a catalogue holds, as a stream that goes on where it broke."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from twinset import wire, wire_changes
from twinset.errors import DeadlineExceeded, Unavailable
from twinset.items import Interaction, Item, View
from twinset.status import error_from_call
from twinset.v1 import catalog_pb2
from twinset.writing import TRIES, pause_s

Message = TypeVar("Message")


class CatalogExports:
    """The part of a client that reads whole catalogues."""

    server: str
    timeout_s: float
    _catalog: Any

    def export_items(self, *, view: View = "basic", after: str = "") -> Iterator[Item]:
        """Return all items in the byte order of their ids; faster than `list_items`.

        Args:
            view: how much of each item comes along; `full` brings vectors.
            after: begin behind this id.
        """

        def call() -> Iterator[catalog_pb2.ExportItemsResponse]:
            request = catalog_pb2.ExportItemsRequest(view=wire.view_to_proto(view), after_id=after)
            answers: Iterator[catalog_pb2.ExportItemsResponse] = self._catalog.ExportItems(
                request, timeout=self.timeout_s
            )
            return answers

        for response in self._resumed(call):
            yield from map(wire.item_from_proto, response.items)
            after = response.items[-1].id

    def export_interactions(self, *, after: int = 0) -> Iterator[Interaction]:
        """Return the interactions that were stored after the change sequence `after`, in that order.

        The last one's `sequence` is where a later export goes on.

        Raises:
            InvalidArgument: `after` is negative.
        """

        def call() -> Iterator[catalog_pb2.ExportInteractionsResponse]:
            request = catalog_pb2.ExportInteractionsRequest(after_sequence=after)
            answers: Iterator[catalog_pb2.ExportInteractionsResponse] = self._catalog.ExportInteractions(
                request, timeout=self.timeout_s
            )
            return answers

        for response in self._resumed(call):
            yield from map(wire_changes.interaction_from_proto, response.interactions)
            after = response.interactions[-1].sequence

    def _resumed(self, call: Callable[[], Iterator[Message]]) -> Iterator[Message]:
        """Return the messages of `call`, called again where it breaks: it begins behind what came.

        The time allowed is that of one call, so that a silent server is noticed; a call that brought something may
        well have used it up.
        """
        tries = 1
        while True:
            came = False
            try:
                for message in call():
                    came, tries = True, 1
                    yield message
            except grpc.RpcError as failure:
                error = error_from_call(failure, self.server)
                if isinstance(error, Unavailable) and tries < TRIES:
                    time.sleep(pause_s(error, tries))
                elif not (isinstance(error, DeadlineExceeded) and came):
                    raise error from failure
                tries += 1
            else:
                return
