"""Lets a call through whose token is good for it. Health answers everybody: who asks for it has no secrets to keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from twinset_server.access import Access, Scope
from twinset_server.errors import TwinsetError, Unauthenticated
from twinset_server.rpc.interceptor import abort_with
from twinset_server.rpc.metering import MeterOf
from twinset_server.rpc.status import code_of

_BEARER = "bearer "

_OPEN = f"/{health.SERVICE_NAME}/"

_SCOPES = {
    f"/{reflection.SERVICE_NAME}/": Scope.READ,
    "/twinset.v1.EmbeddingService/": Scope.READ,
    "/twinset.v1.RecommenderService/": Scope.READ,
    "/twinset.v1.CatalogService/Get": Scope.READ,
    "/twinset.v1.CatalogService/BatchGet": Scope.READ,
    "/twinset.v1.CatalogService/List": Scope.READ,
    "/twinset.v1.CatalogService/Export": Scope.READ,
    "/twinset.v1.CatalogService/Put": Scope.WRITE,
    "/twinset.v1.CatalogService/Update": Scope.WRITE,
    "/twinset.v1.CatalogService/Delete": Scope.WRITE,
    "/twinset.v1.CatalogService/Replace": Scope.WRITE,
    "/twinset.v1.CatalogService/Import": Scope.WRITE,
    "/twinset.v1.CatalogService/Activate": Scope.WRITE,
    "/twinset.v1.AdminService/": Scope.ADMIN,
}
"""By the beginning of a method's path: names of methods begin with what they do."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context = grpc.aio.ServicerContext[Any, Any]


def scope_of(method: str) -> Scope | None:
    """Return the scope that a method, such as `/twinset.v1.CatalogService/PutItems`, needs; None where it needs none.

    One that isn't in the table needs `admin`: what is forgotten stays closed.
    """
    if method.startswith(_OPEN):
        return None
    return next((scope for beginning, scope in _SCOPES.items() if method.startswith(beginning)), Scope.ADMIN)


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Ends calls without a good token before anything of them is read."""

    def __init__(self, access: Access, meter_of: MeterOf | None = None) -> None:
        """Ask `access`; `meter_of` gives what counts the calls of a method, None where nothing does."""
        self._access = access
        self._meter_of = meter_of

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the handler, or one that refuses."""
        handler = await continuation(handler_call_details)
        scope = scope_of(handler_call_details.method)
        if handler is None or scope is None:
            return handler
        try:
            self._access.check(_bearer(handler_call_details.invocation_metadata), scope)
        except TwinsetError as error:
            if self._meter_of is not None:
                meter = self._meter_of(handler_call_details.method)
                meter.begin()
                meter.end(code_of(error).name, None)
            return _refusing(handler, handler_call_details.method, error)
        return handler


def _bearer(metadata: Any) -> str | None:
    given = [value for key, value in metadata or () if key == "authorization"]
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], str) or not given[0].lower().startswith(_BEARER):
        raise Unauthenticated("the metadata 'authorization' must be given once, as 'Bearer TOKEN'")
    return str(given[0][len(_BEARER) :])


def _refusing(handler: _Handler, method: str, error: TwinsetError) -> _Handler:
    """Return a handler of the same shape that ends the call with `error`, and reads nothing."""

    async def refuse(_: Any, context: _Context) -> Any:
        await abort_with(context, method, error)

    async def refuse_stream(_: Any, context: _Context) -> AsyncIterator[Any]:
        await abort_with(context, method, error)
        yield

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse_stream)
    return grpc.unary_unary_rpc_method_handler(refuse)
