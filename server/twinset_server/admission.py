"""How many calls of a class may be under way: what is too much is refused at once, and told when to come back.

A server that takes on all that comes answers nothing in time. So each class has so many places, and the classes
don't take each other's: a flood of pictures leaves the places of reads alone. The check is one comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from twinset_server.config import ServerSettings
from twinset_server.errors import Overloaded

READ_RETRY_S = 0.2
WRITE_RETRY_S = 0.5
STREAM_RETRY_S = 2.0
"""Streams last: where all places are taken, one is seldom free soon."""


class Bound(Protocol):
    """Something bounded."""

    @property
    def is_full(self) -> bool:
        """Whether one more call is too much."""

    def refusal(self) -> Overloaded:
        """Return what one more call ends in."""


class Gate:
    """The places of one class of calls.

    Attributes:
        under_way: how many are taken.
    """

    __slots__ = ("_limit", "_message", "_retry_after_s", "under_way")

    def __init__(self, calls: str, limit: int, setting: str, retry_after_s: float) -> None:
        """Give `limit` places to `calls`, such as "streams"; `setting` is where an operator gives more."""
        self.under_way = 0
        self._limit = limit
        self._message = (
            f"{limit} {calls} are under way here, as many as {setting} allows: come back after the time in RetryInfo"
        )
        self._retry_after_s = retry_after_s

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self.under_way >= self._limit

    def refusal(self) -> Overloaded:
        """Return what a call ends in that finds no place."""
        return Overloaded(self._message, self._retry_after_s)

    def __enter__(self) -> None:
        """Take a place.

        Raises:
            Overloaded: there is none.
        """
        if self.under_way >= self._limit:
            raise self.refusal()
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1


class Budget:
    """Bytes that all streams together may hold of requests that they have read and not answered."""

    def __init__(self, limit: int) -> None:
        self._spare = limit
        self._freed: list[Callable[[], None]] = []

    def take(self, size: int, *, alone: bool) -> bool:
        """Take bytes where there are so many; with `alone`, which a stream is that holds nothing else, in any case."""
        if size > self._spare and not alone:
            return False
        self._spare -= size
        return True

    def give_back(self, size: int) -> None:
        """Give bytes back, and call those who wait."""
        self._spare += size
        if self._freed and self._spare > 0:
            called, self._freed = self._freed, []
            for call in called:
                call()

    def when_freed(self, call: Callable[[], None]) -> None:
        """Call once as soon as bytes have been given back."""
        self._freed.append(call)


@dataclass(frozen=True, slots=True)
class Admission:
    """The gates of one worker, and what its streams may hold.

    `pictures` is what bounds the pictures of single calls.
    """

    reads: Gate
    writes: Gate
    streams: Gate
    stream_bytes: Budget
    pictures: Bound

    @classmethod
    def of(cls, settings: ServerSettings, pictures: Bound) -> Self:
        """Return what a worker of these settings lets in."""
        return cls(
            reads=Gate("reads", settings.max_reads, "server.max_reads", READ_RETRY_S),
            writes=Gate("writes", settings.max_writes, "server.max_writes", WRITE_RETRY_S),
            streams=Gate("streams", settings.max_streams, "server.max_streams", STREAM_RETRY_S),
            stream_bytes=Budget(settings.max_stream_bytes),
            pictures=pictures,
        )


class Pace:
    """How many pictures may wait so that none waits longer than `longest_wait_s`, by how fast they went of late."""

    def __init__(self, longest_wait_s: float, least: int, most: int) -> None:
        """Allow `least` in any case, so that the model always has work, and `most` at the most."""
        self._longest_wait_s = longest_wait_s
        self._least = min(least, most)
        self._most = most
        self._per_s = math.inf
        self._ended_s = 0.0

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return int(max(self._least, min(self._most, self._per_s * self._longest_wait_s)))

    def ended(self, pictures: int, began_s: float, now_s: float, *, full: bool) -> None:
        """Take note that so many came back together which had left at `began_s`; `full` where no more could come along.

        A request that wasn't full tells what is done at least: how fast full ones are done, it doesn't.
        """
        # Requests overlap: from one end to the next is what those of the one took of the model.
        took_s = now_s - max(began_s, self._ended_s)
        self._ended_s = now_s
        if took_s > 0:
            rate = pictures / took_s
            if full or rate > self._per_s:
                self._per_s = rate if math.isinf(self._per_s) else 0.8 * self._per_s + 0.2 * rate
