"""Pictures to vectors: decode in threads, gather over all calls, run in batches.

Decoded pictures of every call wait in two lines, one for callers who wait for just this answer and one for streams.
Whenever a place to the model is free, as many as fit in one request leave together, the urgent ones first: a lone
picture goes at once, and a busy server fills its batches without a timer.

What nobody waits for any more costs nothing: it isn't decoded, leaves its line, and a request to the model all of whose
callers are gone is taken back.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from twinset import images
from twinset.known_answer import UNKNOWN_CATEGORY
from twinset_server import tracing
from twinset_server.admission import Pace
from twinset_server.domain import Float32Array, Space, UInt8Array
from twinset_server.errors import (
    BadPicture,
    DeadlineExceeded,
    EmbedderUnavailable,
    InvalidRequest,
    TooManyPictures,
    TwinsetError,
)
from twinset_server.ports import Embedder

Outputs = Mapping[str, Float32Array]
"""One picture's outputs by name, each `[D]` float32."""


_BULK_SHARE = 4
"""One in so many places of a request is kept for streams."""


@dataclass(slots=True, eq=False)
class _Waiting:
    since: float
    pixels: UInt8Array
    category: int
    outputs: tuple[str, ...]
    deadline: float
    done: asyncio.Future[Outputs]


class _Line:
    """Pictures of one kind of caller: so many decoded at a time, and the decoded ones in order.

    `under_way` counts those that were let in, whether they wait for a thread, for the model, or for its answer.
    """

    def __init__(self, places: int) -> None:
        self.places = asyncio.Semaphore(places)
        self.waiting: deque[_Waiting] = deque()
        self.under_way = 0


class Meter(Protocol):
    """Counts requests to the model."""

    def left(self, waited_s: Sequence[float]) -> None:
        """Count a request that leaves, whose pictures waited for it so long each."""

    def ended(self, pictures: int, seconds: float, *, failed: bool) -> None:
        """Count a request that has ended."""


class Pictures(Protocol):
    """What embeds pictures, whichever model serves."""

    @property
    def now(self) -> PictureEmbedder:
        """What embeds with the model that serves at this moment: one answer holds on to it.

        Raises:
            EmbedderUnavailable: this process hasn't reached that model so far.
        """

    def of(self, spaces: Mapping[str, Space]) -> PictureEmbedder:
        """Return what embeds into these spaces of the catalogue; raises like `now`."""

    @property
    def is_well(self) -> bool:
        """Whether the model that serves has given its known answer, and nothing has spoken against it since."""

    @property
    def is_full(self) -> bool:
        """Whether a call that waits for just its answer comes too late."""

    def refusal(self) -> TooManyPictures:
        """Return what such a call ends in."""


class PictureEmbedder:
    """Embeds encoded pictures with one model. It is `Pictures` where no other may ever serve."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_batch: int,
        max_in_flight: int,
        max_pictures: int,
        max_waiting_bytes: int,
        max_wait_s: float = 1.0,
        decode_threads: int = 0,
        meter: Meter | None = None,
    ) -> None:
        """Use `embedder` for requests of up to `max_batch` pictures, `max_in_flight` at a time.

        `max_pictures` bounds the pictures of streams that are decoded or under way, and of urgent calls again as many;
        `max_waiting_bytes` bounds the encoded ones held over all calls. Urgent calls are refused while those before
        them would take the model longer than `max_wait_s`, by its pace of late. `decode_threads` of 0 means one a core.
        `meter` is told of each request to the model.
        """
        self._embedder = embedder
        self._meter = meter
        self._max_batch = max_batch
        self._free = max_in_flight
        self._urgent = _Line(max_pictures)
        self._bulk = _Line(max_pictures)
        self._spare_bytes = max_waiting_bytes
        self._retry_after_s = max_wait_s
        # With fewer, requests to the model would leave half empty.
        self._pace = Pace(max_wait_s, max_batch, max_pictures)
        self._under_way: set[asyncio.Task[None]] = set()
        threads = decode_threads or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    @property
    def embedder(self) -> Embedder:
        """The model's seam."""
        return self._embedder

    @property
    def is_full(self) -> bool:
        """Whether a call that waits for just its answer comes too late."""
        return self._urgent.under_way >= self._pace.limit or self._spare_bytes <= 0

    def refusal(self) -> TooManyPictures:
        """Return what such a call ends in."""
        return TooManyPictures(
            f"{self._urgent.under_way} pictures wait for the model here, as many as it gets done in "
            "server.max_picture_wait_s: come back after the time in RetryInfo",
            self._retry_after_s,
        )

    @property
    def now(self) -> PictureEmbedder:
        """This."""
        return self

    def of(self, spaces: Mapping[str, Space]) -> PictureEmbedder:
        """Return this."""
        return self

    @property
    def is_well(self) -> bool:
        """Whether the model has given its known answer, and nothing has spoken against it since."""
        return self._embedder.is_well

    def close(self) -> None:
        """Stop the decoding threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def choose_outputs(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return `names`, or where there are none the outputs that fill a space.

        Raises:
            InvalidRequest: the model has no output of such a name.
            EmbedderUnavailable: the model isn't known yet.
        """
        known = self._embedder.outputs
        for position, name in enumerate(names):
            if name not in known:
                raise InvalidRequest(
                    f"outputs[{position}]", f"the model has no output {name!r}; it has {', '.join(known)}"
                )
        return tuple(dict.fromkeys(names)) or tuple(space.output for space in self._embedder.contract.spaces)

    async def embed(
        self,
        contents: Sequence[bytes],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        urgent: bool,
        categories: Sequence[int] = (),
    ) -> list[Outputs | TwinsetError]:
        """Return per picture its outputs, or the error that befell this picture alone.

        Args:
            contents: encoded pictures.
            outputs: names from `choose_outputs`.
            timeout_s: time left of the caller's deadline.
            urgent: someone waits for just this answer, so that it goes ahead of streams.
            categories: of the pictures, as the contract's `category_index` numbers them; empty where all are unknown.
        """
        if urgent and self.is_full:
            # Where one call is let in, all of its pictures are.
            return [self.refusal()] * len(contents)
        line = self._urgent if urgent else self._bulk
        deadline = asyncio.get_running_loop().time() + timeout_s
        names = tuple(outputs)
        given = list(zip(contents, categories or [UNKNOWN_CATEGORY] * len(contents), strict=True))
        if len(given) == 1:
            return [await self._embed_one(*given[0], names, deadline, line)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._embed_one(*one, names, deadline, line)) for one in given]
        return [task.result() for task in tasks]

    async def _embed_one(
        self, content: bytes, category: int, outputs: tuple[str, ...], deadline: float, line: _Line
    ) -> Outputs | TwinsetError:
        loop = asyncio.get_running_loop()
        if len(content) > self._spare_bytes:
            return TooManyPictures("too many pictures wait to be embedded: send this one again in a second")
        self._spare_bytes -= len(content)
        line.under_way += 1
        try:
            async with asyncio.timeout_at(deadline), line.places:
                pipeline = self._embedder.contract.pipeline
                with tracing.span("decode"):
                    pixels = await loop.run_in_executor(self._threads, images.decode, content, pipeline)
                waiting = _Waiting(loop.time(), pixels, category, outputs, deadline, loop.create_future())
                line.waiting.append(waiting)
                self._dispatch()
                # From the line to the model's answer: what Triton itself took, its own traces and metrics tell.
                with tracing.span("triton"):
                    return await waiting.done
        except images.PictureError as error:
            return BadPicture("content", str(error))
        except TimeoutError:
            return DeadlineExceeded("no time was left to embed the picture: give more, or send fewer at once")
        except TwinsetError as error:
            return error
        finally:
            line.under_way -= 1
            self._spare_bytes += len(content)

    def _dispatch(self) -> None:
        while self._free and (batch := self._next_batch()):
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._under_way.add(task)
            # Not in the task itself: one that is cancelled before its first step does nothing at all.
            task.add_done_callback(self._returned)
            _cancel_when_abandoned(task, batch)

    def _returned(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._free += 1
        self._dispatch()

    def _next_batch(self) -> list[_Waiting]:
        """Take pictures that want the same outputs, oldest first; those whose caller is gone cost nothing."""
        batch: list[_Waiting] = []
        # Streams keep a part of every request, however many urgent pictures there are.
        kept = self._max_batch // _BULK_SHARE if self._bulk.waiting else 0
        _take(self._urgent.waiting, batch, max(1, self._max_batch - kept))
        _take(self._bulk.waiting, batch, self._max_batch)
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        began = asyncio.get_running_loop().time()
        failed = True
        if self._meter is not None:
            self._meter.left([began - waiting.since for waiting in batch])
        try:
            pixels = np.stack([waiting.pixels for waiting in batch])
            # The most patient caller decides; the others stop waiting by themselves.
            left_s = max(waiting.deadline for waiting in batch) - asyncio.get_running_loop().time()
            categories = np.array([waiting.category for waiting in batch], np.int32)
            answer = await self._embedder.embed(
                pixels, batch[0].outputs, timeout_s=max(left_s, 0.001), categories=categories
            )
            failed = False
            for row, waiting in enumerate(batch):
                if not waiting.done.done():
                    waiting.done.set_result({name: values[row] for name, values in answer.items()})
        except Exception as error:  # every waiter must hear of it, whatever it is
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
        except asyncio.CancelledError:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(EmbedderUnavailable("the server is stopping"))
            raise
        finally:
            if self._meter is not None:
                self._meter.ended(len(batch), asyncio.get_running_loop().time() - began, failed=failed)
            if not failed:
                full = len(batch) == self._max_batch
                self._pace.ended(len(batch), began, asyncio.get_running_loop().time(), full=full)


def _cancel_when_abandoned(task: asyncio.Task[None], batch: Sequence[_Waiting]) -> None:
    """Cancel a request to the model once nobody waits for any of its pictures."""
    left = len(batch)

    def gone(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            task.cancel()

    for waiting in batch:
        waiting.done.add_done_callback(gone)


def _take(waiting: deque[_Waiting], batch: list[_Waiting], most: int) -> None:
    """Move pictures from `waiting` into `batch` until that has `most`, leaving those that want other outputs."""
    others: list[_Waiting] = []
    while waiting and len(batch) < most:
        one = waiting.popleft()
        if one.done.done():
            continue
        (batch if not batch or one.outputs == batch[0].outputs else others).append(one)
    waiting.extendleft(reversed(others))
