"""Garbage at every RPC, and what came of it.

A call is told by its number and its method, which together make the same bytes again.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from faults.hostile.messages import Messages
from faults.hostile.service import SERVICES, Services, method_path, services
from twinset_server.limits import MAX_REQUEST_BYTES

AT_ONCE = 8
ANSWERED_WITHIN_S = 20.0
"""On a busy machine; the slowest answer is told beside."""

FILL_EVERY = 400
"""Calls after which what they deleted is put again."""

_DETAILS = "grpc-status-details-bin"

_RIGHT = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}
"""Nothing that is sent makes a part of the server unavailable, or is unknown to it, and nothing is a defect of it.

A cancelled call is none of ours: CANCELLED is what an operation that garbage cancelled ends in."""

_RIGHT_NUMBERS = {code.value[0] for code in _RIGHT}


@dataclass
class Outcome:
    """What became of all calls."""

    calls: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


METHODS: tuple[MethodDescriptor, ...] = tuple(method for service in SERVICES for method in service.methods)


async def send(folder: Path, first: int, count: int) -> Outcome:
    """Send the calls numbered from `first` on to services in `folder`, and return what became of them."""
    outcome = Outcome()
    # Threads of their own: those of the event loop are the server's, which waits for one while callers wait for it.
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="caller") as callers:
        async with services(folder) as opened:
            run = asyncio.get_running_loop().run_in_executor
            numbers = iter(range(first, first + count))
            while batch := list(itertools.islice(numbers, FILL_EVERY)):
                await run(callers, opened.fill)
                waiting = iter(batch)
                async with asyncio.TaskGroup() as group:
                    for _ in range(AT_ONCE):
                        group.create_task(_some(callers, opened, waiting, outcome))
            await run(callers, opened.fill)  # what was there before is still understood
    return outcome


def sent(method: MethodDescriptor, number: int, known: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """Return the messages of a call."""
    random = Random(number << 32 | zlib.crc32(method_path(method).encode()))
    messages = Messages(random, known)
    return [
        messages.encoded(method.input_type) for _ in range(random.choice((1, 2, 5)) if method.client_streaming else 1)
    ]


async def _some(callers: ThreadPoolExecutor, opened: Services, numbers: Iterator[int], outcome: Outcome) -> None:
    run = asyncio.get_running_loop().run_in_executor
    for number in numbers:
        await run(callers, _call, opened, METHODS[number % len(METHODS)], number, outcome)


def _call(opened: Services, method: MethodDescriptor, number: int, outcome: Outcome) -> None:
    path = method_path(method)
    contents = sent(method, number, opened.known)
    wrong, began = "", time.monotonic()
    try:
        answers = _answers(opened.channels[method.containing_service.full_name], method, contents)
        code = grpc.StatusCode.OK
        wrong = next(filter(None, map(_wrong_within, answers)), "")
    except grpc.RpcError as error:
        code = error.code()
        keys = {key for key, _ in error.trailing_metadata() or ()}
        if code not in _RIGHT:
            wrong = f"{code.name}: {error.details()}"
        elif _DETAILS not in keys and max(map(len, contents)) <= MAX_REQUEST_BYTES:
            wrong = f"{code.name} without details: {error.details()}"
    outcome.calls += 1
    outcome.codes[code.name] += 1
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - began)
    if wrong:
        outcome.problems.append(f"call {number}, {path}: {wrong}")


def _answers(channel: grpc.Channel, method: MethodDescriptor, sent: Sequence[bytes]) -> list[Message]:
    read = message_factory.GetMessageClass(method.output_type).FromString
    path, within = method_path(method), ANSWERED_WITHIN_S
    if method.client_streaming:
        return list(channel.stream_stream(path, response_deserializer=read)(iter(sent), timeout=within))
    if method.server_streaming:
        return list(channel.unary_stream(path, response_deserializer=read)(sent[0], timeout=within))
    return [channel.unary_unary(path, response_deserializer=read)(sent[0], timeout=within)]


def _wrong_within(message: Message) -> str:
    """Return what is wrong with a status within an answer; empty where nothing is."""
    if isinstance(message, status_pb2.Status):
        return "" if message.code in _RIGHT_NUMBERS else f"in a result {message.code}: {message.message}"
    for one, value in message.ListFields():
        if one.message_type is None or one.message_type.GetOptions().map_entry:
            continue
        for part in value if one.is_repeated else [value]:
            if wrong := _wrong_within(part):
                return wrong
    return ""
