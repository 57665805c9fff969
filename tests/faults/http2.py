"""Unary calls over very many connections from one thread, so cheap that the server is what gives way.

HTTP/2 by hand: a request is bytes made beforehand, and of an answer no more is read than its status and its length. A
call costs it 65 us of its processor, so one core brings 10,000 a second.
"""

from __future__ import annotations

import collections
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from faults.http2_frames import (
    ACK,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Request,
    frame,
)

_STATUS = b"grpc-status"
_CANCELLED = 1
_RETRY_INFO = b"grpc-status-details-bin"
_WORKER = b"twinset-worker"

LOST = -1
"""In place of a status: the connection broke, or the stream was reset, and the server may have begun the call."""

UNTAKEN = -2
"""In place of a status: the server said that it hasn't begun the call, and won't; any client makes it again."""

_REFUSED_STREAM, _CANCEL = 7, 8
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
        due_s: when it was to be sent, in the clock of `time.monotonic`.
        took_s: from then until its end.
        status: its gRPC status, or `LOST`, or `UNTAKEN`.
        told_when: whether a refusal came with details, which say when to come back.
        named: whether a worker said its name, so that a handler has seen the call.
    """

    due_s: float
    took_s: float
    status: int
    told_when: bool
    named: bool


class _Connection:
    """One connection. `due` has when each stream under way was due, by its number."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due: dict[int, float] = {}
        self.unsent = bytearray()
        self.read = bytearray()
        self.window = DEFAULT_WINDOW
        self.waiting: collections.deque[bytes] = collections.deque()
        self.next_stream = 1
        self.leaving = False
        self.greeted = False
        settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        grown = struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW)
        self.unsent += PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, grown)

    def begin(self, request: Request, due_s: float) -> None:
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.due[stream] = due_s
        self.unsent += frame(HEADERS, END_HEADERS, stream, request.headers)
        for start in range(0, len(request.body), LARGEST_FRAME):
            part = request.body[start : start + LARGEST_FRAME]
            last = start + LARGEST_FRAME >= len(request.body)
            self.waiting.append(frame(DATA, END_STREAM if last else 0, stream, part))
        self.fill()

    def fill(self) -> None:
        while self.waiting and len(self.waiting[0]) - 9 <= self.window:
            one = self.waiting.popleft()
            self.window -= len(one) - 9
            self.unsent += one


@dataclass
class Caller:
    """Makes calls of one kind over `connections` connections to `host:port`; a context manager.

    `outcomes` grows while it runs. `under_way` is how many calls have no outcome so far. With `cancel_each` of 5, every
    fifth call is cancelled after `cancel_after_s`.
    """

    address: str
    connections: int
    requests: Sequence[Request]
    cancel_each: int = 0
    cancel_after_s: float = 0.002
    outcomes: list[Outcome] = field(default_factory=list)
    under_way: int = 0

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: list[_Connection] = []
        self._leaving: list[_Connection] = []
        self._to_cancel: collections.deque[tuple[float, _Connection, int]] = collections.deque()
        self._sent = 0
        self._reached = True

    def __enter__(self) -> Caller:
        for _ in range(self.connections):
            self._connect()
        self._serve_for(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (*self._open, *self._leaving):
            connection.socket.close()
        self._selector.close()

    def at_rate(self, per_s: float, seconds: float) -> None:
        """Make so many calls a second, whatever becomes of them, and return at the end of the time."""
        began = time.monotonic()
        for number in range(int(per_s * seconds)):
            due_s = began + number / per_s
            while (left_s := due_s - time.monotonic()) > 0:
                self._serve(left_s)
            self._begin(due_s)
            if number % 8 == 0:
                self._serve(0.0)
        self._serve_for(max(0.0, began + seconds - time.monotonic()))

    def at_once(self, count: int, seconds: float) -> None:
        """Keep `count` calls under way for the time given."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            while self.under_way < count and self._begin(now):
                pass
            self._serve(min(end - now, _LOOK_S))

    def reaches(self) -> bool:
        """Return whether the last connection came about."""
        return self._reached

    def settle(self, within_s: float) -> None:
        """Wait until each call has its outcome; those that have none by then stay without."""
        end = time.monotonic() + within_s
        while self.under_way and (left_s := end - time.monotonic()) > 0:
            self._serve(left_s)

    def _connect(self) -> None:
        host, _, port = self.address.rpartition(":")
        try:
            connection = _Connection((host, int(port)))
        except OSError:
            self._reached = False
            return
        self._reached = True
        connection.socket.setblocking(False)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._open.append(connection)
        self._write(connection)

    def _begin(self, due_s: float) -> bool:
        """Begin a call, and return whether there is a connection for it."""
        while len(self._open) < self.connections:
            self._connect()
            if not self._reached:
                return False
        connection = self._open[self._sent % len(self._open)]
        connection.begin(self.requests[self._sent % len(self.requests)], due_s)
        self._sent += 1
        self.under_way += 1
        if self.cancel_each and self._sent % self.cancel_each == 0:
            at_s = time.monotonic() + self.cancel_after_s
            self._to_cancel.append((at_s, connection, connection.next_stream - 2))
        self._write(connection)
        return True

    def _serve_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            self._serve(left_s)

    def _serve(self, wait_s: float) -> None:
        while self._to_cancel and self._to_cancel[0][0] <= time.monotonic():
            _, connection, stream = self._to_cancel.popleft()
            if stream in connection.due:
                connection.unsent += frame(RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))
                self._end(connection, stream, time.monotonic(), _CANCELLED)
                self._write(connection)
        if self._to_cancel:
            wait_s = min(wait_s, max(0.0, self._to_cancel[0][0] - time.monotonic()))
        for key, events in self._selector.select(wait_s):
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._write(connection)
            if events & selectors.EVENT_READ:
                self._read(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            while connection.unsent:
                del connection.unsent[: connection.socket.send(connection.unsent)]
        except BlockingIOError:
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
            return
        except OSError:
            self._lose(connection)
            return
        self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection) -> None:
        try:
            content = connection.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._lose(connection)
            return
        connection.greeted = True
        now = time.monotonic()
        read = connection.read
        read += content
        start = 0
        while len(read) - start >= 9:
            size = read[start] << 16 | read[start + 1] << 8 | read[start + 2]
            if len(read) - start < 9 + size:
                break
            kind, flags = read[start + 3], read[start + 4]
            stream = struct.unpack_from(">I", read, start + 5)[0]
            self._heed(connection, kind, flags, stream, bytes(read[start + 9 : start + 9 + size]), now)
            start += 9 + size
        del read[:start]
        if connection.unsent:
            self._write(connection)

    def _heed(self, connection: _Connection, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        if kind == HEADERS and flags & END_STREAM:
            at = payload.find(_STATUS) + len(_STATUS)
            status = int(payload[at + 1 : at + 1 + payload[at]])
            self._end(connection, stream, now, status, told_when=_RETRY_INFO in payload, named=_WORKER in payload)
        elif kind == RST_STREAM:
            refused = struct.unpack(">I", payload)[0] == _REFUSED_STREAM
            self._end(connection, stream, now, UNTAKEN if refused else LOST)
        elif kind == GOAWAY:
            self._leave(connection, struct.unpack_from(">I", payload)[0], now)
        elif kind == SETTINGS and not flags & ACK:
            connection.unsent += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            connection.unsent += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE and stream == 0:
            connection.window += struct.unpack(">I", payload)[0]
            connection.fill()

    def _end(
        self,
        connection: _Connection,
        stream: int,
        now: float,
        status: int,
        *,
        told_when: bool = False,
        named: bool = False,
    ) -> None:
        due_s = connection.due.pop(stream, None)
        if due_s is not None:
            self.under_way -= 1
            self.outcomes.append(Outcome(due_s, now - due_s, status, told_when, named))

    def _leave(self, connection: _Connection, last: int, now: float) -> None:
        """Begin no more calls on a connection; the server takes none behind the stream `last`."""
        for stream in [one for one in connection.due if one > last]:
            self._end(connection, stream, now, UNTAKEN)
        if not connection.leaving:
            connection.leaving = True
            self._open.remove(connection)
            self._leaving.append(connection)

    def _lose(self, connection: _Connection) -> None:
        now = time.monotonic()
        # Before anything came back of the connection, no server had taken it.
        status = LOST if connection.greeted else UNTAKEN
        for stream in list(connection.due):
            self._end(connection, stream, now, status)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        (self._leaving if connection.leaving else self._open).remove(connection)
