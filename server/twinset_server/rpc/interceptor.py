"""Every call passes here: it is let in or refused, and what handlers raise becomes a status.

Where several workers share a port, each answer tells in its metadata which of them gave it: `twinset-worker` of
`twinset-workers`, trailing for a single answer, initial for a stream. A client evens its calls out by it. A failure
tells in any case, so that a client knows it from one of the network.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from twinset_server import tracing
from twinset_server.admission import Bound, Budget, Gate
from twinset_server.errors import DeadlineExceeded, InvalidRequest, TwinsetError
from twinset_server.rpc import metering, spans
from twinset_server.rpc.failures import FailureLog
from twinset_server.rpc.refusals import Refusals, Turns
from twinset_server.rpc.status import CODE_BY_NUMBER, internal, to_status
from twinset_server.rpc.stream_watch import DETAILS_KEY, StreamWatch

_failures = FailureLog()

_HEALTH = "/grpc.health.v1.Health/"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

_ANSWERED_ONCE = ("/twinset.v1.CatalogService/ImportFactors",)
"""All messages of the stream together have one answer."""

_UNHURRIED = (*_ANSWERED_ONCE, "/twinset.v1.CatalogService/ReplaceCatalog")
"""Their callers lose all that they have sent when the stream ends; a feed has a longest silence of its own."""

_UNWATCHED = StreamWatch(Budget(1 << 62), 0)

_Metadata = tuple[tuple[str, str], ...]

# Health and reflection come with handlers and errors of their own.
_OURS = ("/twinset.", _HEALTH_CHECK)

_Context = grpc.aio.ServicerContext[Any, Any]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker this process is, from 0, and how many share the port."""

    worker: int
    workers: int

    @property
    def metadata(self) -> _Metadata:
        """What an answer says of it."""
        return (("twinset-worker", str(self.worker)), ("twinset-workers", str(self.workers)))


@dataclass(frozen=True, slots=True)
class Door:
    """What lets the calls of a method in: a place behind the gate, while none of the bounds is full."""

    gate: Gate
    bounds: Sequence[Bound] = ()

    @property
    def shut_by(self) -> Bound | None:
        """What a call that comes now is too much for, None where it may come in."""
        if self.gate.is_full:
            return self.gate
        return next((bound for bound in self.bounds if bound.is_full), None) if self.bounds else None


DoorOf = Callable[[str, "_Handler"], "Door | None"]
"""Gives the door of a method, such as `/twinset.v1.CatalogService/GetItem`; None where all come in."""


class Intercepted:
    """A server to register services with: lets calls in, ends a failed one with its status, and names the worker.

    Handlers are wrapped once, when they are registered. An interceptor of gRPC's own is asked for every call, which
    costs a small one as much as to parse its request.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        place: Place | None = None,
        meter_of: metering.MeterOf | None = None,
        door_of: DoorOf | None = None,
        watch: StreamWatch | None = None,
    ) -> None:
        """`place` is None for a server that shares its port with none, `meter_of` where calls aren't counted.

        `door_of` is None where all calls come in, `watch` where streams aren't watched.
        """
        self._server = server
        self._meter_of = meter_of
        self._door_of = door_of
        self._watch = watch
        self._metadata: _Metadata = place.metadata if place else ()
        self._turns = Turns()
        self._is_traced = tracing.is_on()
        self._is_shared = place is not None and place.workers > 1

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, _Handler]) -> None:
        """Register the handlers of a service by the names of their methods; generated code calls this."""
        methods = {f"/{service_name}/{name}": handler for name, handler in method_handlers.items()}
        if any(method.startswith(_HEALTH) for method in methods):
            # A method that gRPC itself knows has a line of its own: health doesn't stand behind what waits to come in.
            handlers = {name: self._wrapped(f"/{service_name}/{name}", one) for name, one in method_handlers.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, handlers),))
            self._server.add_registered_method_handlers(service_name, handlers)
            return
        # One line for all others: with one each, gRPC would wait for 40 things at once, which costs each call 14 us.
        entries = {method: self._entry(method, handler) for method, handler in methods.items()}
        self._server.add_generic_rpc_handlers((_Entrance(entries),))

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code brings the same handlers by their names, to the method above."""

    def _entry(self, method: str, handler: _Handler) -> _Entry:
        door = self._door_of(method, handler) if self._door_of else None
        meter = self._meter_of(method) if self._meter_of else None
        return _Entry(method, self._wrapped(method, handler, door, meter), door, meter, self._metadata, self._turns)

    def _wrapped(
        self, method: str, handler: _Handler, door: Door | None = None, meter: metering.Meter | None = None
    ) -> _Handler:
        """Return the handler, wrapped by its shape."""
        if not method.startswith(_OURS):
            return handler
        gate = door.gate if door else _WIDE_OPEN
        if handler.unary_unary:
            call = _unary(handler.unary_unary, method, self._metadata, gate, tells=self._is_shared)
            call = metering.unary(call, meter) if meter else call
            call = spans.unary(call, method) if self._is_traced else call
            return _rebuild(grpc.unary_unary_rpc_method_handler, handler, call, gate)
        for behaviour, make in (
            (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        ):
            if behaviour:
                call = _stream(behaviour, method, self._metadata, gate, self._watch)
                call = metering.stream(call, meter) if meter else call
                call = spans.stream(call, method) if self._is_traced else call
                return _rebuild(make, handler, call, None if handler.request_streaming else gate)
        raise TypeError(f"{method}: no RPC of twinset is client-streaming")


_WIDE_OPEN = Gate("calls", 1 << 62, "nothing", 1.0)


class _Entry:
    """A method: its handler, and what lets its calls in."""

    __slots__ = ("_door", "_handler", "_meter", "_method", "_named", "_refusals", "_turns")

    def __init__(
        self,
        method: str,
        handler: _Handler,
        door: Door | None,
        meter: metering.Meter | None,
        named: _Metadata,
        turns: Turns,
    ) -> None:
        self._method = method
        self._handler = handler
        self._door = door
        self._meter = meter
        self._named = named
        self._turns = turns
        self._refusals: dict[Bound, Refusals] = {}

    def handler(self) -> _Handler:
        """Return what handles a call that comes now."""
        if self._door is None or (shut_by := self._door.shut_by) is None:
            return self._handler
        refusals = self._refusals.get(shut_by)
        if refusals is None:
            refusals = Refusals(self._method, shut_by, self._named, self._turns, _failures, self._meter)
            self._refusals[shut_by] = refusals
        return refusals.handler


class _Entrance(grpc.GenericRpcHandler):
    """Where gRPC asks for the handler of a call of some service."""

    def __init__(self, entries: Mapping[str, _Entry]) -> None:
        self._entries = entries

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """Return the handler of a method, or what refuses the call; None for a method of another service."""
        entry = self._entries.get(handler_call_details.method)
        return None if entry is None else entry.handler()


class _Unreadable:
    """Stands for a request whose bytes are no message of its type: gRPC would call that UNKNOWN, or INTERNAL."""


_UNREAD = object()
"""Stands for a request that isn't parsed, since its call finds no place."""


def _rebuild(
    make: Callable[..., _Handler], handler: _Handler, behaviour: Callable[..., Any], gate: Gate | None
) -> _Handler:
    """Return a handler that reads safely, and nothing at all while `gate` is full; None where there is none to heed."""
    deserialize: Callable[[bytes], Any] = handler.request_deserializer or bytes

    def read(data: bytes) -> Any:
        if gate is not None and gate.is_full:
            return _UNREAD
        try:
            return deserialize(data)
        except DecodeError:
            return _Unreadable()

    return make(behaviour, request_deserializer=read, response_serializer=handler.response_serializer)


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise InvalidRequest("request", "its bytes are no message of this RPC's request: compare your protos with ours")
    return request


async def _all_readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


def _unary(
    behaviour: Callable[..., Any], method: str, named: _Metadata, gate: Gate, *, tells: bool
) -> Callable[..., Any]:
    async def call(request: Any, context: _Context) -> Any:
        try:
            # gRPC runs this right after the request was read, or left unread because the gate was full: it still is.
            with gate:
                response = await behaviour(_readable(request), context)
        except Exception as error:
            await _abort(context, method, error, named)
        if tells:
            # Trailing, since that travels with the answer; initial metadata is an operation of its own, which costs a
            # fifth of a small call, and a client that has it doesn't try the call again.
            context.set_trailing_metadata(named)
        return response

    return call


def _stream(
    behaviour: Callable[..., Any], method: str, named: _Metadata, gate: Gate, watch: StreamWatch | None
) -> Callable[..., Any]:
    answers_each = method not in _ANSWERED_ONCE

    async def call(request: Any, context: _Context) -> AsyncIterator[Any]:
        unsaid = named
        try:
            with gate, (watch or _UNWATCHED).watching(context, answers_each=answers_each) as stream:
                if isinstance(request, AsyncIterator):
                    readable: Any = _all_readable(request)
                    if method not in _UNHURRIED:
                        readable = stream.reading(readable)
                else:
                    readable = _readable(request)
                # A caller who goes away ends the handler now, and not when its memory is collected: a feed lets go.
                async with aclosing(behaviour(readable, context)) as responses:
                    async for response in responses:
                        stream.answering()
                        if unsaid:
                            await context.send_initial_metadata(unsaid)
                            unsaid = ()
                        yield response
                        stream.answered()
        except Exception as error:
            await _abort(context, method, error, named)

    return call


async def abort_with(context: _Context, method: str, error: TwinsetError) -> NoReturn:
    """End a call of a method with the status of an error, and write that down."""
    await _end(context, _status(method, error), ())


async def _abort(context: _Context, method: str, error: Exception, named: _Metadata) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    await _end(context, _status(method, error), named)


async def _end(context: _Context, status: status_pb2.Status, named: _Metadata) -> NoReturn:
    details = (DETAILS_KEY, status.SerializeToString())
    await context.abort(CODE_BY_NUMBER[status.code], status.message, trailing_metadata=(details, *named))


def _status(method: str, error: Exception) -> status_pb2.Status:
    if isinstance(error, TimeoutError):
        error = DeadlineExceeded("no time was left for the call: give more")
    foreseen = isinstance(error, TwinsetError)
    status = to_status(error) if isinstance(error, TwinsetError) else internal(secrets.token_hex(8))
    _failures.tell(method, status, None if foreseen else error)
    return status
