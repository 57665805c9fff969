"""Streams of changes: messages are prepared side by side, and committed and answered in their order."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import Prepared, Receipt, Written
from twinset_server.errors import TwinsetError
from twinset_server.ingest import Ingest
from twinset_server.rpc.streams import closing, in_order, weight

Request = TypeVar("Request")

MAX_UNDONE_CHANGES = 128
"""Changes that a stream holds unanswered before it reads no more; a larger message is taken alone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A message ready to commit: the ids as they were sent, and what became of each so far.

    `digest` is of what was sent, see `sent_digest`.
    """

    kind: type[Prepared]
    ids: Sequence[str]
    changes: Sequence[Prepared | TwinsetError]
    request_id: str
    digest: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message."""

    batch: Batch
    written: Written

    def outcomes(self) -> Sequence[tuple[str, Receipt | TwinsetError, Prepared | TwinsetError]]:
        """Return each id as it was sent, with what became of it, and what was made of the change before."""
        return list(zip(self.batch.ids, self.written.outcomes, self.batch.changes, strict=True))


async def write_stream(
    requests: AsyncIterator[Request],
    prepare: Callable[[Request], Awaitable[Batch]],
    *,
    weigh: Callable[[Request], int],
    ingest: Ingest,
    stopping: asyncio.Event,
) -> AsyncIterator[Answer]:
    """Yield what became of each message, in order, each after its durable commit.

    Args:
        requests: the messages.
        prepare: makes a message ready to commit; what it raises ends the stream after what came before.
        weigh: tells what a message weighs against `MAX_UNDONE_CHANGES`.
        ingest: where changes are committed.
        stopping: set once no more messages are to be read.
    """

    async def commit(batch: Batch) -> Answer:
        written = await ingest.commit(
            batch.kind, batch.ids, batch.changes, request_id=batch.request_id, digest=batch.digest
        )
        return Answer(batch, written)

    # Two lines, one behind the other.
    ready = in_order(requests, prepare, weigh=weigh, capacity=MAX_UNDONE_CHANGES, stopping=stopping)
    done = in_order(closing(ready), commit, weigh=lambda batch: batch.weight, capacity=MAX_UNDONE_CHANGES)
    async with aclosing(done):  # type: ignore[type-var]
        async for answer in done:
            yield answer


def weigh_items(items: Sequence[catalog_pb2.Item], size_bytes: int) -> int:
    """Return what items weigh: one each, or their pictures where there are more. Or bytes, where those count most.

    Pictures are decoded and embedded.
    """
    return weight(max(len(items), sum(len(item.pictures) for item in items)), size_bytes)


async def sent_digest(elements: Sequence[Message], request_id: str) -> bytes:
    """Return the SHA-256 of the elements of a message as they were sent; empty where the message has no name.

    What the server makes of them, such as the time of an interaction that brings none, may differ each time.
    """
    return await asyncio.to_thread(_digest, elements) if request_id else b""


def _digest(elements: Sequence[Message]) -> bytes:
    found = hashlib.sha256()
    for element in elements:
        content = element.SerializeToString(deterministic=True)
        found.update(len(content).to_bytes(8, "big"))
        found.update(content)
    return found.digest()


def check_message(field: str, elements: Sequence[object], most: int, request_id: str = "") -> None:
    """Raise `InvalidRequest` where a message has no elements, too many, or too long a request id."""
    limits.check_count(field, elements, most, least=1)
    limits.check_request_id(request_id)
