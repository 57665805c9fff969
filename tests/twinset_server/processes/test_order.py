"""What a worker is told of the server's settings."""

import json
from pathlib import Path

import pytest

from twinset_server.config import ExternalSpace, ServerSettings, Settings, StoreSettings, TritonSettings
from twinset_server.processes.order import Order, share
from twinset_server.rpc.interceptor import Place


def test_an_order_arrives_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        store=StoreSettings(path=Path("somewhere"), pictures="none"), spaces={"own": ExternalSpace(dimension=3)}
    )
    written = json.dumps(Order(settings, Place(1, 2), model_is_ready=True).to_json())
    # What surrounds the child is not what its supervisor has read.
    monkeypatch.setenv("TWINSET_SERVER__PORT", "1")
    monkeypatch.setenv("TWINSET_SPACES", '{"other": {"dimension": 2}}')
    order = Order.from_json(json.loads(written))
    assert order.settings.model_dump() == settings.model_dump()
    assert (order.place, order.model_is_ready) == (Place(1, 2), True)


@pytest.mark.parametrize(("workers", "in_flight"), [(1, 3), (2, 2), (3, 2), (16, 2)])
def test_workers_divide_the_requests_to_the_model(workers: int, in_flight: int) -> None:
    assert share(Settings(triton=TritonSettings(max_in_flight=3)), workers).triton.max_in_flight == in_flight


def test_a_limit_of_one_request_stays() -> None:
    assert share(Settings(triton=TritonSettings(max_in_flight=1)), 4).triton.max_in_flight == 1


def test_workers_divide_what_is_held_in_memory() -> None:
    shared = share(Settings(server=ServerSettings(max_waiting_bytes=512 << 20, max_pictures_in_flight=129)), 4).server
    assert (shared.max_waiting_bytes, shared.max_pictures_in_flight) == (128 << 20, 33)
    assert share(Settings(), 1000).server.max_waiting_bytes == 32 << 20
