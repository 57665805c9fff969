"""Streams of changes: messages are prepared side by side, and committed and answered in their order."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc.aio
from google.protobuf.message import Message

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import Prepared, Receipt, Written
from twinset_server.errors import TwinsetError
from twinset_server.ingest import Ingest
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.streams import closing, in_order, weight

Element = TypeVar("Element")

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


@dataclass(frozen=True, slots=True)
class Elements(Generic[Element]):
    """What the messages of a stream carry.

    Attributes:
        kind: of the changes that they ask for.
        field: the repeated field that holds them.
        most: how many a message may have.
        prepare: makes the elements of a message ready to commit, given the seconds left of the caller's deadline.
        name: gives what an element is known by.
        weigh: tells what the elements of a message of so many bytes weigh against `MAX_UNDONE_CHANGES`.
    """

    kind: type[Prepared]
    field: str
    most: int
    prepare: Callable[[Sequence[Element], float], Awaitable[Sequence[Prepared | TwinsetError]]]
    name: Callable[[Element], str]
    weigh: Callable[[Sequence[Element], int], int]


async def write_stream(
    requests: AsyncIterator[Any],
    elements: Elements[Element],
    context: grpc.aio.ServicerContext[Any, Any],
    *,
    ingest: Ingest,
    stopping: asyncio.Event,
) -> AsyncIterator[Answer]:
    """Yield what became of each message, in order, each after its durable commit.

    Args:
        requests: the messages; one that can't be read at all ends the stream after what came before.
        elements: what they carry.
        context: the caller's.
        ingest: where changes are committed.
        stopping: set once no more messages are to be read.
    """

    def weigh(request: Any) -> int:
        return elements.weigh(getattr(request, elements.field), request.ByteSize())

    async def prepare(request: Any) -> Batch:
        sent = getattr(request, elements.field)
        check_message(elements.field, sent, elements.most, request.request_id)
        prepared = await elements.prepare(sent, time_left_s(context))
        digest = await sent_digest(sent, request.request_id)
        names = [elements.name(one) for one in sent]
        return Batch(elements.kind, names, prepared, request.request_id, digest, weigh(request))

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
