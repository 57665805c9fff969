"""A call is one trace, from the client's span through decoding, Triton and the search."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
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
