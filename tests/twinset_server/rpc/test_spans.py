"""A call is one trace, from the client's span through decoding, Triton and the search."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fakes.pictures import RED, png
from fakes.service import FakeService
from twinset import Client, Item, Picture
from twinset_server import tracing
from twinset_server.config import TraceSettings
from twinset_server.rpc import spans

RECOMMEND = "twinset.v1.RecommenderService/Recommend"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.stop()


def test_a_call_is_one_trace_from_the_callers_span_on(exported: InMemorySpanExporter) -> None:
    tracer = TracerProvider().get_tracer("caller")
    with FakeService() as service, Client(service.address) as client:
        list(client.put_items([Item("a", [Picture(content=png(RED))])]))
        with tracer.start_as_current_span("shop") as shop:
            client.recommend(picture=png(RED))
    whole = shop.get_span_context().trace_id
    made = {span.name: span for span in exported.get_finished_spans() if span.context.trace_id == whole}
    assert set(made) == {RECOMMEND, "decode", "triton", "search"}
    call = made[RECOMMEND]
    assert call.parent is not None
    assert call.parent.span_id == shop.get_span_context().span_id
    for part in ("decode", "triton", "search"):
        parent = made[part].parent
        assert parent is not None
        assert parent.span_id == call.context.span_id
    assert made["decode"].end_time <= made["triton"].start_time <= made["triton"].end_time <= made["search"].start_time
    assert call.kind is trace.SpanKind.SERVER
    assert call.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "twinset.v1.RecommenderService",
        "rpc.method": "Recommend",
    }


def test_a_stream_is_a_span_and_so_is_what_it_embeds(exported: InMemorySpanExporter) -> None:
    with FakeService() as service, Client(service.address) as client:
        list(client.put_items([Item("a", [Picture(content=png(RED))])]))
    made = [span for span in exported.get_finished_spans() if span.name in ("decode", "triton")]
    (call,) = [span for span in exported.get_finished_spans() if span.name.endswith("/PutItems")]
    assert [span.context.trace_id for span in made] == [call.context.trace_id] * 2
    assert call.parent is None


class Collector:
    """Takes what is exported."""

    def __init__(self) -> None:
        self.services: list[str] = []
        self.spans: list[str] = []

    def export(self, request: ExportTraceServiceRequest, _: grpc.ServicerContext) -> ExportTraceServiceResponse:
        for resource in request.resource_spans:
            self.services += [
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            ]
            self.spans += [span.name for scope in resource.scope_spans for span in scope.spans]
        return ExportTraceServiceResponse()


def test_spans_reach_a_collector() -> None:
    collector = Collector()
    take = grpc.unary_unary_rpc_method_handler(
        collector.export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": take}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    tracing.start(TraceSettings(endpoint=f"127.0.0.1:{port}", plaintext=True, share=1.0), 3)
    with FakeService() as fake, Client(fake.address) as client:
        client.catalog()
    tracing.stop()
    server.stop(None)
    assert collector.services == ["twinset"]
    assert "twinset.v1.CatalogService/GetCatalog" in collector.spans


def test_without_tracing_handlers_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a handler was wrapped")

    monkeypatch.setattr(spans, "unary", never)
    monkeypatch.setattr(spans, "stream", never)
    tracing.start(TraceSettings(), 0)
    assert not tracing.is_on()
    with FakeService() as service, Client(service.address) as client:
        list(client.put_items([Item("a", [Picture(content=png(RED))])]))
    assert tracing.span("a") is tracing.span("b")
