"""A bidirectional stream with several messages in flight, and no way to hang."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import grpc

from twinset.errors import DeadlineExceeded, TwinsetError
from twinset.status import error_from_call

Request = TypeVar("Request")
Response = TypeVar("Response")
Answer_co = TypeVar("Answer_co", covariant=True)

MESSAGES_IN_FLIGHT = 4
"""Messages sent and not answered, at most. Of up to 8 MiB each, more would only fill buffers."""


class Answers(Protocol[Answer_co]):
    """What a stub's method gives for a stream: gRPC's own type for it is private."""

    def __next__(self) -> Answer_co: ...

    def __iter__(self) -> Iterator[Answer_co]: ...

    def cancel(self) -> bool:
        """End the call."""


class PipelinedStream(Generic[Request, Response]):
    """Sends requests while it returns the answers, each answer paired with its request, in order.

    gRPC draws the requests in a thread of its own, at most `MESSAGES_IN_FLIGHT` ahead of the answers. What the source
    of the requests raises comes out where the answers are read, after the answers to what was sent before.
    """

    def __init__(
        self,
        call: Callable[[Iterator[Request]], Answers[Response]],
        requests: Iterable[Request],
        *,
        server: str,
        timeout_s: float,
        unhurried: Callable[[Request], bool] = lambda _: False,
    ) -> None:
        """Prepare the stream; it begins with the first read, and can be read once.

        Args:
            call: the stub's method.
            requests: what to send; drawn in another thread.
            server: the server's address, for messages.
            timeout_s: longest wait for one answer.
            unhurried: whether the answer to a request may take as long as it likes.
        """
        self._call = call
        self._requests = requests
        self._server = server
        self._timeout_s = timeout_s
        self._unhurried = unhurried
        self._sent: deque[tuple[Request, float]] = deque()
        self._room = threading.Semaphore(MESSAGES_IN_FLIGHT)
        self._reading_since: float | None = None
        self._all_sent_at: float | None = None
        self._source_error: Exception | None = None
        self._over = threading.Event()
        self._timed_out = False

    def __iter__(self) -> Generator[tuple[Request, Response], None, None]:
        """Return the answers, each with its request.

        Raises:
            DeadlineExceeded: an answer took longer than `timeout_s`.
            TwinsetError: the stream failed. What was answered before stands.
        """
        responses = self._call(self._send())
        watchdog = threading.Thread(target=self._watch, args=(responses,), name="twinset-stream", daemon=True)
        watchdog.start()
        try:
            while True:
                self._reading_since = time.monotonic()
                response = next(responses, None)
                self._reading_since = None
                if response is None:
                    break
                if not self._sent:
                    raise TwinsetError(f"{self._server} sent more answers than it was asked for")
                request, _ = self._sent.popleft()
                self._room.release()
                yield request, response
        except grpc.RpcError as failure:
            raise self._error(failure) from failure
        finally:
            self._over.set()
            responses.cancel()
            watchdog.join()
        if self._source_error is not None:
            raise self._source_error
        if self._sent:
            raise TwinsetError(f"{self._server} ended the stream with {len(self._sent)} messages unanswered")

    def _send(self) -> Iterator[Request]:
        try:
            for request in self._requests:
                while not self._room.acquire(timeout=0.5):
                    if self._over.is_set():
                        return
                self._sent.append((request, time.monotonic()))
                yield request
        except Exception as error:  # raised again where the answers are read
            self._source_error = error
        self._all_sent_at = time.monotonic()

    def _watch(self, responses: Answers[Response]) -> None:
        while not self._over.wait(min(1.0, self._timeout_s / 4)):
            since = self._server_owes_since()
            if since is not None and time.monotonic() - since > self._timeout_s:
                self._timed_out = True
                responses.cancel()
                return

    def _server_owes_since(self) -> float | None:
        """Return since when it is the server's turn: neither a slow source nor a slow reader is its fault."""
        reading_since = self._reading_since
        if reading_since is None:
            return None
        try:
            request, sent_at = self._sent[0]
        except IndexError:
            owed_since = self._all_sent_at
        else:
            owed_since = None if self._unhurried(request) else sent_at
        return max(reading_since, owed_since) if owed_since is not None else None

    def _error(self, failure: grpc.RpcError) -> TwinsetError:
        if self._timed_out:
            return DeadlineExceeded(
                f"{self._server} left a message of the stream unanswered for {self._timeout_s:g} s: "
                "see whether the server is overloaded, or allow more with timeout_s",
                code="DEADLINE_EXCEEDED",
            )
        return error_from_call(failure, self._server)
