"""A channel made of several connections, so that calls spread evenly over the workers behind one port.

The kernel hands each new connection to some worker, and all calls on it stay there. So every answer of a server with
several workers tells in its metadata which of them gave it, and how many there are. From that this channel knows where
its connections lead: a call goes to the worker with the fewest calls under way, on the connection with the fewest. More
connections are opened only when calls are under way at the same time: who calls now and then pays for one.

A single call that a busy server refused goes again when the server said, to the worker that is best then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from twinset.refused_calls import Refusals
from twinset.trace_context import trace_metadata

CONNECTIONS_PER_WORKER = 8

_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_LONGEST_ASK_S = 2.0
"""How long a new connection may take to tell where it leads."""
_PATIENCE_S = 1.0
"""How long a worker that no new connection led to is taken for gone."""


_Make = Callable[[grpc.Channel], Any]
"""Gives the function that makes calls of one method over a channel."""


@dataclass(eq=False)
class _Connection:
    """`load` is the number of calls under way, `worker` where it led when it last answered, empty while unknown."""

    channel: grpc.Channel
    worker: str = ""
    load: int = 0
    calls: dict[str, Any] = field(default_factory=dict)


class Connections:
    """Several connections to one address. Stubs use it as a `grpc.Channel`; it may be shared by threads."""

    def __init__(self, connect: Callable[[], grpc.Channel], metadata: Sequence[tuple[str, str]] = ()) -> None:
        """Use `connect` for a channel with a connection of its own; called again for each further one.

        `metadata` goes with each call.
        """
        self._connect = connect
        self._metadata = metadata
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._connections = [_Connection(connect())]
        self._workers = 0
        self._none_before_s = 0.0
        self._closed = False

    @property
    def leads(self) -> Counter[str]:
        """How many connections lead to each worker; those to an unknown one under an empty name."""
        with self._lock:
            return Counter(connection.worker for connection in self._connections)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a function that makes a call and returns its answer."""

        def make(channel: grpc.Channel) -> Any:
            return channel.unary_unary(method, *args, **kwargs)

        def once(request: Any, options: dict[str, Any]) -> Any:
            with self._taken() as connection:
                try:
                    response, done = _made(connection, method, make).with_call(
                        request, metadata=(*self._metadata, *trace_metadata()), **options
                    )
                except grpc.RpcError as error:
                    self._learn(connection, error)
                    raise
                self._learn(connection, done)
                return response

        def call(request: Any, **options: Any) -> Any:
            refusals = Refusals(options.get("timeout"))
            while True:
                try:
                    return once(request, options)
                except grpc.RpcError as failure:
                    pause_s = refusals.pause_s(failure)
                    if pause_s is None:
                        raise
                # Not on the connection: while it waits, the call is nobody's load.
                time.sleep(pause_s)
                options["timeout"] = refusals.left_s

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a function that makes a call and returns the iterator over its answers."""
        return self._streaming(method, lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a function that makes a call and returns the iterator over its answers."""
        return self._streaming(method, lambda channel: channel.stream_stream(method, *args, **kwargs))

    def close(self) -> None:
        """Close all connections; calls under way fail."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        for connection in connections:
            connection.channel.close()

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _streaming(self, method: str, make: _Make) -> Callable[..., Any]:
        def call(request: Any, **options: Any) -> Any:
            # A stream stays where it begins, so it is worth knowing first where that is.
            if self._workers == 0:
                self._ask_first()
            connection = self._take()
            try:
                stream = _made(connection, method, make)(
                    request, metadata=(*self._metadata, *trace_metadata()), **options
                )
            except BaseException:
                self._give_back(connection)
                raise

            def ended() -> None:
                # Nothing but the code: gRPC's thread, which calls this, would wait for initial metadata for ever.
                if stream.code() in _NO_ANSWER:
                    self._forget(connection)
                self._give_back(connection)

            if not stream.add_callback(ended):
                ended()
            return stream

        return call

    @contextlib.contextmanager
    def _taken(self) -> Iterator[_Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self) -> _Connection:
        """Return the connection for one more call, opening one where those that lead to the right place are busy."""
        with self._lock:
            lightest = self._lightest()
            if not self._another_is_due(lightest):
                lightest.load += 1
                return lightest
        # One at a time, so that a burst doesn't open as many as it has calls.
        with self._opening:
            tries = CONNECTIONS_PER_WORKER * self._workers
            while tries and self._open_if_due():
                tries -= 1
            with self._lock:
                if not tries:
                    self._none_before_s = time.monotonic() + _PATIENCE_S
                lightest = self._lightest()
                lightest.load += 1
                return lightest

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            connection.load -= 1

    def _forget(self, connection: _Connection) -> None:
        """Take a connection for one that may lead elsewhere when it comes about again."""
        with self._lock:
            connection.worker = ""

    def _lightest(self) -> _Connection:
        loads: Counter[str] = Counter()
        for connection in self._connections:
            loads[connection.worker] += connection.load
        return min(self._connections, key=lambda one: (loads[one.worker], one.load))

    def _another_is_due(self, lightest: _Connection) -> bool:
        """Return whether a call that would go to `lightest` had better go to a connection yet to be opened."""
        if self._workers < 2 or self._closed or time.monotonic() < self._none_before_s:
            return False
        room = len(self._connections) < CONNECTIONS_PER_WORKER * self._workers
        seen = {connection.worker for connection in self._connections} - {""}
        if len(seen) < self._workers:
            return any(connection.load for connection in self._connections) and (
                room or self._idle_surplus() is not None
            )
        return lightest.load > 0 and room

    def _idle_surplus(self) -> _Connection | None:
        """Return an idle connection to a worker that others lead to as well."""
        leads = Counter(connection.worker for connection in self._connections)
        idle = [one for one in self._connections if one.load == 0 and leads[one.worker] > 1]
        return max(idle, key=lambda one: leads[one.worker], default=None)

    def _open_if_due(self) -> bool:
        """Open one more connection where that is due; return whether yet another may be."""
        with self._lock:
            lightest = self._lightest()
            if not self._another_is_due(lightest):
                return False
            surplus = None
            if len(self._connections) >= CONNECTIONS_PER_WORKER * self._workers:
                # Workers that were started again left all of them at the others.
                surplus = self._idle_surplus()
                if surplus is not None:
                    self._connections.remove(surplus)
        if surplus is not None:
            surplus.channel.close()
        connection = _Connection(self._connect())
        if not self._ask(connection):
            connection.channel.close()
            # Each call that asked again would wait as long, for the same worker that hangs.
            with self._lock:
                self._none_before_s = time.monotonic() + _PATIENCE_S
            return False
        with self._lock:
            if self._closed:
                connection.channel.close()
                return False
            self._connections.append(connection)
        return True

    def _ask_first(self) -> None:
        with self._opening:
            if self._workers == 0:
                self._ask(self._connections[0])

    def _ask(self, connection: _Connection) -> bool:
        """Find out where a connection leads; return whether it leads anywhere."""
        ask: Any = connection.channel.unary_unary(_HEALTH_CHECK)
        try:
            _, done = ask.with_call(b"", timeout=_LONGEST_ASK_S)
        except grpc.RpcError as error:
            self._learn(connection, error)
            return not (isinstance(error, grpc.Call) and error.code() in _NO_ANSWER)
        except ValueError:  # it was closed meanwhile
            return False
        self._learn(connection, done)
        return True

    def _learn(self, connection: _Connection, call: Any) -> None:
        """Take note of what an answer, or a failure, says of the worker that gave it."""
        if not isinstance(call, grpc.Call):
            return
        said: dict[str, Any] = dict([*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())])
        if not said.get("twinset-worker") and call.code() in _NO_ANSWER:
            self._forget(connection)
            return
        with self._lock:
            # A server without workers says nothing, and one connection is all that it needs.
            connection.worker, self._workers = said.get("twinset-worker", ""), int(said.get("twinset-workers", 1))


def _made(connection: _Connection, method: str, make: _Make) -> Any:
    call = connection.calls.get(method)
    if call is None:
        call = connection.calls[method] = make(connection.channel)
    return call
