"""Which elements of a written message are worth sending again, because the server was too busy for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import Message
from google.rpc import code_pb2

from twinset.status import error_from_status
from twinset.v1 import catalog_pb2

_NEEDS_A_HAND = "DISK_FULL"


def refused_s(response: Any, behind: Sequence[Message]) -> float | None:
    """Return after how many seconds a message is to be sent again for the elements refused; None where none is.

    An element stays refused where a later message has one of the same id: that one may be made already, and the
    earlier must not follow it.

    Args:
        response: the answer of a writing stream.
        behind: the messages after the one that it answers.
    """
    waits: list[float] = []
    later: set[str] | None = None
    for result in response.results:
        if result.error.code != code_pb2.RESOURCE_EXHAUSTED:
            continue
        if later is None:
            later = {element_id for message in behind for element_id in _ids(message)}
        error = error_from_status(result.error)
        if error.retry_after_s is not None and error.reason != _NEEDS_A_HAND and result.id not in later:
            waits.append(error.retry_after_s)
    return max(waits, default=None)


def _ids(request: Message) -> Iterator[str]:
    """Yield the ids of what a message changes; interactions have none, and their order doesn't matter."""
    match request:
        case catalog_pb2.PutItemsRequest():
            yield from (item.id for item in request.items)
        case catalog_pb2.UpdateItemsRequest():
            yield from (update.item.id for update in request.updates)
        case catalog_pb2.DeleteItemsRequest():
            yield from (deletion.id for deletion in request.deletions)
        case catalog_pb2.PutUsersRequest():
            yield from (user.id for user in request.users)
