"""What a busy server refuses at its door goes again, as the server says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

import twinset
from fakes.pictures import BLUE, GREEN, RED, png
from fakes.server import FakeServer, overloaded
from twinset import Client
from twinset.channel import RETRIED
from twinset.refused_calls import TRIES
from twinset.v1 import catalog_pb2, embedding_pb2, recommender_pb2
from twinset_server.access import Scope
from twinset_server.rpc.access import scope_of


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address) as opened:
        yield opened


def test_a_refused_call_is_made_again_when_the_server_said(server: FakeServer, client: Client) -> None:
    server.refusals = [overloaded(30), overloaded(20)]
    began = time.monotonic()
    assert client.catalog().item_count == 0
    assert time.monotonic() - began >= 0.05
    assert server.calls == ["GetCatalog"] * 3


def test_a_call_that_is_refused_again_and_again_fails_with_the_reason(server: FakeServer, client: Client) -> None:
    server.refusals = [overloaded(1) for _ in range(2 * TRIES)]
    with pytest.raises(twinset.ResourceExhausted) as caught:
        client.catalog()
    assert caught.value.reason == "OVERLOADED"
    assert len(server.calls) == TRIES


def test_no_call_waits_beyond_its_deadline(server: FakeServer) -> None:
    server.refusals = [overloaded(60_000)]
    with Client(server.address, timeout_s=5) as client, pytest.raises(twinset.ResourceExhausted):
        client.catalog()
    assert server.calls == ["GetCatalog"]


def test_a_full_disk_is_not_waited_for(server: FakeServer, client: Client) -> None:
    server.refusals = [overloaded(1, "DISK_FULL")]
    with pytest.raises(twinset.ResourceExhausted):
        client.catalog()
    assert len(server.calls) == 1


def test_a_refused_stream_is_opened_again(server: FakeServer, client: Client) -> None:
    server.stream_refusals = [overloaded(10), overloaded(1)]
    pictures = [png(colour) for colour in (RED, GREEN, BLUE)]
    assert all(one.error is None for one in client.stream_embed(pictures, batch=1))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_stream_that_was_ended_for_its_silence_goes_on(server: FakeServer, client: Client, after: int) -> None:
    server.silent_once_after = after
    pictures = [png(colour) for colour in (RED, GREEN, BLUE, RED)]
    found = list(client.stream_embed(pictures, ["features"], batch=1))
    assert [list(one.outputs) for one in found] == [["features"]] * 4
    assert found[0]["features"].values == pytest.approx(found[3]["features"].values)
    assert found[0]["features"].values != pytest.approx(found[1]["features"].values)


def test_a_stream_that_is_cut_off_goes_on_behind_what_was_answered(server: FakeServer, client: Client) -> None:
    server.break_once_after = 1
    results = list(client.put_items((twinset.Item(str(n)) for n in itertools.islice(itertools.count(), 40)), batch=16))
    assert [one.id for one in results] == [str(n) for n in range(40)]


def test_each_single_read_is_tried_again() -> None:
    files = (embedding_pb2.DESCRIPTOR, catalog_pb2.DESCRIPTOR, recommender_pb2.DESCRIPTOR)
    reads = {
        (service.full_name, method.name)
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if not method.server_streaming and scope_of(f"/{service.full_name}/{method.name}") is Scope.READ
    }
    assert reads == {(service, name) for service, names in RETRIED.items() for name in names}
