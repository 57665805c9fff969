"""Streams that outlast a broken connection, a busy server, and a silence of their own source."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from twinset.errors import ResourceExhausted, Unavailable
from twinset.stream import Answers, PipelinedStream
from twinset.writing import pause_s

Request = TypeVar("Request")
Response = TypeVar("Response")

TRIES = 4
"""How often a stream is begun anew without any answer in between, the first time included."""

REFUSALS = 12
"""How often a message is sent of which the server refuses elements, or a stream is opened that it refuses, for being
too busy."""

_LONGEST_REFUSED_S = 10.0

_SILENT = "STREAM_SILENT"
"""The source gave nothing for so long that the server ended the stream: that is no failure."""


class LastingStream(Generic[Request, Response]):
    """A pipelined stream that begins anew where it breaks, or where elements are to be sent again.

    What was not answered is sent again in its order. That is safe for reads; and for writes since every message carries
    a `request_id`: what the server has made of it already it doesn't make again, but gives the same receipts.
    """

    def __init__(
        self,
        call: Callable[[Iterator[Request]], Answers[Response]],
        requests: Iterable[Request],
        *,
        server: str,
        timeout_s: float,
        refused_s: Callable[[Response, Sequence[Request]], float | None] = lambda response, behind: None,
        opening: Callable[[Request], Request] = lambda request: request,
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
            opening: makes of a request the one that may come first in a stream.
            pause: waits some seconds.
        """
        self._call = call
        self._refused_s = refused_s
        self._unanswered = _Unanswered(iter(requests))
        self._server = server
        self._timeout_s = timeout_s
        self._opening = opening
        self._pause = pause

    def __iter__(self) -> Iterator[Response]:
        """Return the answers in the order of the requests.

        Raises:
            Unavailable: the server stayed away.
            ResourceExhausted: it stayed too busy.
            TwinsetError: the stream failed. What was answered before stands.
        """
        tries = refusals = 1
        while True:
            stream = PipelinedStream(
                self._call, self._unanswered.from_first(self._opening), server=self._server, timeout_s=self._timeout_s
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
                if error.reason == _SILENT:
                    continue
                if tries == TRIES:
                    raise
                self._pause(pause_s(error, tries))
                tries += 1
            except ResourceExhausted as error:
                if error.retry_after_s is None or refusals == REFUSALS:
                    raise
                self._pause(min(error.retry_after_s, _LONGEST_REFUSED_S) * random.uniform(1, 1.5))  # noqa: S311
                refusals += 1
            else:
                self._pause(min(wait_s or 0.0, _LONGEST_REFUSED_S))
                refusals += 1


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

    def from_first(self, opening: Callable[[Request], Request]) -> Iterator[Request]:
        """Return the requests from the first unanswered one on, that one made by `opening` what may come first.

        Raises what the source raises, each time.
        """
        first = place = self._settled
        while True:
            with self._drawing:
                if place == self._settled + len(self._drawn) and not self._draw():
                    return
                with self._changing:
                    request = self._drawn[place - self._settled]
            place += 1
            yield opening(request) if place == first + 1 else request

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
