"""Spans of what a call goes through, for OpenTelemetry. Off unless the settings say where to: then a span costs a look.

Import of OpenTelemetry happens in `start` alone: a server without it runs, and starts no slower.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from types import TracebackType
from typing import Any, Protocol

from twinset_server.config import TraceSettings
from twinset_server.errors import StartupError


class Span(Protocol):
    """A part of a call, while its context is open."""

    def __enter__(self) -> Any:
        """Begin it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """End it."""


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_VERSION = version("twinset")
_NOTHING = _Nothing()
_tracer: Any = None
_provider: Any = None


def is_on() -> bool:
    """Return whether spans are made in this process."""
    return _tracer is not None


def span(name: str) -> Span:
    """Return a span within the one that is open where this is called."""
    return _NOTHING if _tracer is None else _tracer.start_as_current_span(name, record_exception=False)


def server_span(method: str, traceparent: str | None) -> Any:
    """Return a span of a whole call, within that of its caller where `traceparent` tells of one.

    Call it only where tracing is on.
    """
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
    service, _, name = method.lstrip("/").partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    return _tracer.start_as_current_span(
        method.lstrip("/"), context=parent, kind=SpanKind.SERVER, attributes=attributes, record_exception=False
    )


def start(settings: TraceSettings, worker: int) -> None:
    """Make spans from now on and send them to `settings.endpoint`; do nothing where there is none.

    Raises:
        StartupError: OpenTelemetry isn't installed.
    """
    if settings.endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise StartupError(
            f"traces.endpoint is set, and OpenTelemetry isn't installed ({error.name}): pip install 'twinset[traces]'"
        ) from error
    resource = Resource.create(
        {
            "service.name": "twinset",
            "service.version": _VERSION,
            "service.instance.id": f"worker-{worker}",
            "process.pid": os.getpid(),
        }
    )
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.share)))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint, insecure=settings.plaintext))
    )
    use(provider)


def use(provider: Any) -> None:
    """Make spans with a provider of OpenTelemetry's; None ends it."""
    global _tracer, _provider
    _provider = provider
    _tracer = None if provider is None else provider.get_tracer("twinset", _VERSION)


def stop() -> None:
    """Send what hasn't been sent, and make no more spans."""
    if _provider is not None:
        _provider.shutdown()
    use(None)
