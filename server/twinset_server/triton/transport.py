"""How requests travel to Triton: the same `infer` over single calls, or over one long stream.

Plain `grpc.aio` and not tritonclient's own client: that copies the pixels three times, and allows one stream a client.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2

_SERVICE = "/inference.GRPCInferenceService"


class TransportError(Exception):
    """The request got no reply; the message says why."""


class Unreachable(TransportError):
    """The connection broke, or there is none."""


class TimedOut(TransportError):
    """The time given to the request passed."""


class Refused(TransportError):
    """Triton answered with an error."""


class Transport(Protocol):
    """Carries requests. Any number may be under way, and each gets its own reply."""

    async def infer(self, request: bytes, request_id: str, *, timeout_s: float) -> service_pb2.ModelInferResponse:
        """Return Triton's reply to a serialised `ModelInferRequest` whose `id` is `request_id`.

        Raises:
            Unreachable, TimedOut, Refused: there is no reply.
        """

    async def close(self) -> None:
        """Give up what is under way."""


class UnaryTransport:
    """One call a request."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._infer: Any = channel.unary_unary(
            f"{_SERVICE}/ModelInfer", response_deserializer=service_pb2.ModelInferResponse.FromString
        )

    async def infer(self, request: bytes, request_id: str, *, timeout_s: float) -> service_pb2.ModelInferResponse:
        """Return Triton's reply; cancelling the caller cancels the request inside Triton too."""
        with translated_errors():
            return await self._infer(request, timeout=timeout_s)

    async def close(self) -> None:
        """Nothing is kept between calls."""


class StreamTransport:
    """All requests over one stream, opened when first needed and again after it broke.

    Replies find their requests by id. A request given up is still computed: a stream can't take one back.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._open: Any = channel.stream_stream(
            f"{_SERVICE}/ModelStreamInfer", response_deserializer=service_pb2.ModelStreamInferResponse.FromString
        )
        self._waiting: dict[str, asyncio.Future[service_pb2.ModelInferResponse]] = {}
        self._unsent: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None

    async def infer(self, request: bytes, request_id: str, *, timeout_s: float) -> service_pb2.ModelInferResponse:
        """Return Triton's reply."""
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name="triton-stream")
        reply = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = reply
        try:
            async with asyncio.timeout(timeout_s):
                self._unsent.put_nowait((request_id, request))
                return await reply
        except TimeoutError:
            raise TimedOut(f"no reply within {timeout_s:.3g} s") from None
        finally:
            self._waiting.pop(request_id, None)

    async def close(self) -> None:
        """Cancel the stream; requests under way become Unreachable."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})
            # A task cancelled before its first step runs no `finally`.
            self._abandon("the connection was closed")

    async def _run(self) -> None:
        """Serve one stream until it breaks, then fail what was waiting on it."""
        reason = "the connection was closed"
        call = self._open()
        # A cancelled write cancels the whole stream, so no caller writes itself: this task does it for all.
        writer = asyncio.create_task(self._write(call), name="triton-stream-writer")
        try:
            with translated_errors():
                async for message in call:
                    self._deliver(message)
            reason = "Triton ended the stream"
        except TransportError as error:
            reason = str(error)
        finally:
            writer.cancel()
            call.cancel()
            self._abandon(reason)

    def _abandon(self, reason: str) -> None:
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(Unreachable(reason))
        self._waiting = {}
        self._unsent = asyncio.Queue()

    async def _write(self, call: Any) -> None:
        # A write on a broken stream raises; the reader learns the same, and knows the reason.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                request_id, request = await self._unsent.get()
                if request_id in self._waiting:
                    await call.write(request)

    def _deliver(self, message: service_pb2.ModelStreamInferResponse) -> None:
        reply = self._waiting.get(message.infer_response.id)
        if reply is None or reply.done():
            return
        if message.error_message:
            reply.set_exception(Refused(message.error_message))
        else:
            reply.set_result(message.infer_response)


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raise grpc's errors as ours."""
    try:
        yield
    except asyncio.CancelledError:
        # grpc raises it in every caller when the channel is closed under a call. Nobody cancelled those: were it to
        # pass, a TaskGroup would take the caller for cancelled and go on as if all were well.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unreachable("the connection was closed") from None
    except grpc.aio.AioRpcError as error:
        text = error.details() or error.code().name
        match error.code():
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimedOut(text) from error
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                raise Unreachable(text) from error
            case _:
                raise Refused(text) from error
