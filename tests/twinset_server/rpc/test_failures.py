"""Failed calls in the log."""

from __future__ import annotations

import json
import logging

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from twinset.v1 import catalog_pb2, catalog_pb2_grpc
from twinset_server import logs
from twinset_server.errors import InvalidRequest, ItemNotFound
from twinset_server.rpc import interceptor
from twinset_server.rpc.failures import MOST_A_SECOND, FailureLog
from twinset_server.rpc.status import to_status


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [getattr(record, logs.FIELDS) for record in caplog.records if hasattr(record, logs.FIELDS)]


async def test_a_failed_call_has_one_line_under_the_id_that_its_caller_knows(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "_failures", FailureLog())  # others may have failed within this second
    caplog.set_level(logging.INFO)
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetItem(catalog_pb2.GetItemRequest(id="maria.musterfrau@example.org"))
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())[GRPC_DETAILS_METADATA_KEY])
    told = error_details_pb2.RequestInfo()
    assert any(detail.Unpack(told) for detail in status.details)
    assert lines(caplog)[-1] == {
        "method": "/twinset.v1.CatalogService/GetItem",
        "code": "NOT_FOUND",
        "reason": "ITEM_NOT_FOUND",
        "request": told.request_id,
    }
    assert "maria" not in caplog.text


def test_a_line_names_the_field_and_nothing_that_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    FailureLog().tell("/a/B", to_status(InvalidRequest("items[2].attributes['maria']", "is 'maria'")))
    assert lines(caplog)[0]["field"] == "items.attributes"
    assert "maria" not in str(lines(caplog))


def test_what_nobody_foresaw_is_told_by_its_place_and_not_by_its_text(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("maria")
    except KeyError as error:
        FailureLog().tell("/a/B", to_status(ItemNotFound("a")), error)
    (line,) = lines(caplog)
    assert "KeyError in test_what_nobody_foresaw" in str(line["error"])
    assert "maria" not in str(line)
    assert caplog.records[0].levelno == logging.ERROR


def test_many_failures_are_counted_rather_than_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now_s = 0.0
    failures = FailureLog(lambda: now_s)
    for _ in range(MOST_A_SECOND + 30):
        failures.tell("/a/B", to_status(ItemNotFound("a")))
    assert len(lines(caplog)) == MOST_A_SECOND
    now_s = 1.0
    failures.tell("/a/B", to_status(ItemNotFound("a")))
    assert lines(caplog)[MOST_A_SECOND] == {"count": 30}
    assert len(lines(caplog)) == MOST_A_SECOND + 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_both_formats_show_the_facts(
    form: logs.Format, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setenv("TWINSET_LOGS__FORMAT", "text")
    logs.set_up("worker 7", form)
    logging.getLogger("a.b").warning("it %s", "broke", extra={logs.FIELDS: {"code": "INTERNAL"}})
    said = capsys.readouterr().err
    if form == "text":
        assert said.endswith("WARNING worker 7 a.b: it broke code=INTERNAL\n")
    else:
        read = json.loads(said)
        assert read.pop("time").endswith("Z")
        assert read == {
            "level": "WARNING",
            "process": "worker 7",
            "logger": "a.b",
            "message": "it broke",
            "code": "INTERNAL",
        }
