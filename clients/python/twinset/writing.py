"""Writes that survive a broken connection or a busy server: every message has a name, and goes again under it."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from twinset.errors import Unavailable
from twinset.stream import Answers, PipelinedStream

Request = TypeVar("Request")
Response = TypeVar("Response")

TRIES = 4
"""How often a stream is begun anew without any answer in between, the first time included."""

REFUSALS = 12
"""How often a message is sent of which the server refuses elements for being too busy."""

_LONGEST_PAUSE_S = 2.0
_LONGEST_REFUSED_S = 10.0


def request_id() -> str:
    """Return a new name for a write: the server remembers it for 24 hours, and makes such a write once."""
    return uuid.uuid4().hex


class WriteStream(Generic[Request, Response]):
    """A pipelined stream of writes that begins anew where it breaks, or where elements are to be sent again.

    What was not answered is sent again in its order. That is safe since every message carries a `request_id`: what the
    server has made of it already it doesn't make again, but gives the same receipts.
    """

    def __init__(
        self,
        call: Callable[[Iterator[Request]], Answers[Response]],
        requests: Iterable[Request],
        *,
        server: str,
        timeout_s: float,
        refused_s: Callable[[Response, Sequence[Request]], float | None] = lambda response, behind: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare the stream; it begins with the first read, and can be read once.

        Args:
            call: the stub's method.
            requests: what to send; drawn in another thread.
            server: the server's address, for messages.
            timeout_s: longest wait for one answer.
            refused_s: given an answer, and the requests behind its own that may be made already, tells after how many
                seconds the request is to be sent again; None where the answer stands.
            pause: waits some seconds.
        """
        self._call = call
        self._refused_s = refused_s
        self._unanswered = _Unanswered(iter(requests))
        self._server = server
        self._timeout_s = timeout_s
        self._pause = pause

    def __iter__(self) -> Iterator[Response]:
        """Return the answers in the order of the requests.

        Raises:
            Unavailable: the server stayed away.
            TwinsetError: the stream failed. What was answered before stands.
        """
        tries = refusals = 1
        while True:
            stream = PipelinedStream(
                self._call, self._unanswered.from_first(), server=self._server, timeout_s=self._timeout_s
            )
            wait_s: float | None = None
            try:
                with contextlib.closing(iter(stream)) as answered:
                    for _, response in answered:
                        wait_s = self._refused_s(response, self._unanswered.behind_first())
                        if wait_s is not None and refusals < REFUSALS:
                            break
                        self._unanswered.settle_first()
                        tries = refusals = 1
                        yield response
                    else:
                        return
            except Unavailable as error:
                if tries == TRIES:
                    raise
                self._pause(pause_s(error, tries))
                tries += 1
            else:
                self._pause(min(wait_s or 0.0, _LONGEST_REFUSED_S))
                refusals += 1


def until_available(write: Callable[[], Response], *, pause: Callable[[float], None] = time.sleep) -> Response:
    """Return what `write` returns, called again while the server is unavailable; it must carry a `request_id`.

    Raises:
        Unavailable: the server stayed away.
    """
    for attempt in range(1, TRIES):
        try:
            return write()
        except Unavailable as error:
            pause(pause_s(error, attempt))
    return write()


def pause_s(error: Unavailable, attempt: int) -> float:
    """Return how many seconds to wait before the try behind `attempt`."""
    wanted = 0.2 * 2**attempt if error.retry_after_s is None else error.retry_after_s
    return min(wanted, _LONGEST_PAUSE_S)


class _Unanswered(Generic[Request]):
    """Requests drawn from their source and not yet answered; each stream reads them from the first on.

    A stream that broke may still be drawing in its thread when the next begins: what it draws is the next one's.
    """

    def __init__(self, source: Iterator[Request]) -> None:
        self._source = source
        self._failure: Exception | None = None
        self._drawing = threading.Lock()
        # Apart from drawing: an answer doesn't wait for a slow source.
        self._changing = threading.Lock()
        self._drawn: deque[Request] = deque()
        self._settled = 0

    def from_first(self) -> Iterator[Request]:
        """Return the requests from the first unanswered one on; raises what the source raises, each time."""
        place = self._settled
        while True:
            with self._drawing:
                if place == self._settled + len(self._drawn) and not self._draw():
                    return
                with self._changing:
                    request = self._drawn[place - self._settled]
            place += 1
            yield request

    def behind_first(self) -> list[Request]:
        """Return what was drawn after the first: it may be sent, and made."""
        with self._changing:
            return list(self._drawn)[1:]

    def settle_first(self) -> None:
        """Forget the first: it is answered."""
        with self._changing:
            self._drawn.popleft()
            self._settled += 1

    def _draw(self) -> bool:
        if self._failure is not None:
            raise self._failure
        try:
            request = next(self._source)
        except StopIteration:
            return False
        except Exception as failure:
            self._failure = failure
            raise
        with self._changing:
            self._drawn.append(request)
        return True
