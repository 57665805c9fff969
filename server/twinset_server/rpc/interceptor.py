"""Every call passes here: what handlers raise becomes a status, and what they didn't foresee becomes INTERNAL.

Where several workers share a port, each answer tells in its metadata which of them gave it: `twinset-worker` of
`twinset-workers`, trailing for a single answer, initial for a stream. A client evens its calls out by it. A failure
tells in any case, so that a client knows it from one of the network.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from twinset_server.errors import DeadlineExceeded, InvalidRequest, TwinsetError
from twinset_server.rpc import metering
from twinset_server.rpc.status import CODE_BY_NUMBER, internal, to_status

_log = logging.getLogger(__name__)

_DETAILS_KEY = "grpc-status-details-bin"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

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


class Intercepted:
    """A server to register services with: ends a failed call with the status of its error, and names the worker.

    Handlers are wrapped once, when they are registered. An interceptor of gRPC's own is asked for every call, which
    costs a small one as much as to parse its request.
    """

    def __init__(
        self, server: grpc.aio.Server, place: Place | None = None, meter_of: metering.MeterOf | None = None
    ) -> None:
        """`place` is None for a server that shares its port with none, `meter_of` where calls aren't counted."""
        self._server = server
        self._meter_of = meter_of
        self._metadata: _Metadata = place.metadata if place else ()
        self._is_shared = place is not None and place.workers > 1

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, _Handler]) -> None:
        """Register the handlers of a service by the names of their methods; generated code calls this."""
        handlers = {
            name: self._wrapped(f"/{service_name}/{name}", handler) for name, handler in method_handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, handlers),))
        self._server.add_registered_method_handlers(service_name, handlers)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code brings the same handlers by their names, to the method above."""

    def _wrapped(self, method: str, handler: _Handler) -> _Handler:
        """Return the handler, wrapped by its shape."""
        if not method.startswith(_OURS):
            return handler
        said, meter = self._metadata, self._meter_of(method) if self._meter_of else None
        if handler.unary_unary:
            call = _unary(handler.unary_unary, method, said, tells=self._is_shared)
            call = metering.unary(call, meter) if meter else call
            return _rebuild(grpc.unary_unary_rpc_method_handler, handler, call)
        for behaviour, make in (
            (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        ):
            if behaviour:
                call = _stream(behaviour, method, said)
                return _rebuild(make, handler, metering.stream(call, meter) if meter else call)
        raise TypeError(f"{method}: no RPC of twinset is client-streaming")


class _Unreadable:
    """Stands for a request whose bytes are no message of its type: gRPC would call that UNKNOWN, or INTERNAL."""


def _rebuild(make: Callable[..., _Handler], handler: _Handler, behaviour: Callable[..., Any]) -> _Handler:
    deserialize: Callable[[bytes], Any] = handler.request_deserializer or bytes

    def read(data: bytes) -> Any:
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


def _unary(behaviour: Callable[..., Any], method: str, named: _Metadata, *, tells: bool) -> Callable[..., Any]:
    async def call(request: Any, context: _Context) -> Any:
        try:
            response = await behaviour(_readable(request), context)
        except Exception as error:
            await _abort(context, method, error, named)
        if tells:
            # Trailing, since that travels with the answer; initial metadata is an operation of its own, which costs a
            # fifth of a small call, and a client that has it doesn't try the call again.
            context.set_trailing_metadata(named)
        return response

    return call


def _stream(behaviour: Callable[..., Any], method: str, named: _Metadata) -> Callable[..., Any]:
    async def call(request: Any, context: _Context) -> AsyncIterator[Any]:
        unsaid = named
        try:
            readable = _all_readable(request) if isinstance(request, AsyncIterator) else _readable(request)
            # A caller who goes away ends the handler now, and not when its memory is collected: a feed lets go then.
            async with aclosing(behaviour(readable, context)) as responses:
                async for response in responses:
                    if unsaid:
                        await context.send_initial_metadata(unsaid)
                        unsaid = ()
                    yield response
        except Exception as error:
            await _abort(context, method, error, named)

    return call


async def abort_with(context: _Context, error: TwinsetError) -> NoReturn:
    """End a call with the status of an error."""
    await _end(context, to_status(error), ())


async def _abort(context: _Context, method: str, error: Exception, named: _Metadata) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    await _end(context, _status(method, error), named)


async def _end(context: _Context, status: status_pb2.Status, named: _Metadata) -> NoReturn:
    details = (_DETAILS_KEY, status.SerializeToString())
    await context.abort(CODE_BY_NUMBER[status.code], status.message, trailing_metadata=(details, *named))


def _status(method: str, error: Exception) -> status_pb2.Status:
    if isinstance(error, TwinsetError):
        return to_status(error)
    if isinstance(error, TimeoutError):
        return to_status(DeadlineExceeded("no time was left for the call: give more"))
    request_id = secrets.token_hex(8)
    _log.error("%s failed, request %s", method, request_id, exc_info=error)
    return internal(request_id)
