"""Calls spread evenly over the workers behind one port; here those are gRPC servers in this process that share one."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest

from twinset.channel import open_channel
from twinset.connections import CONNECTIONS_PER_WORKER, Connections

WORKERS = 3
SERVICE = "twinset.test.Echo"
HEALTH = "grpc.health.v1.Health"


class Worker:
    """Answers with its own number, after `release` is set; counts its calls."""

    def __init__(self, number: int, port: int, workers: int = WORKERS, *, names: bool = True) -> None:
        self.number = number
        self.calls: Counter[str] = Counter()
        self.release = threading.Event()
        self.release.set()
        self.checks_go_on = threading.Event()
        self.checks_go_on.set()
        self.refuse = False
        self._said = (("twinset-worker", str(number)), ("twinset-workers", str(workers))) if names else ()
        self._server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 1)])
        unary = grpc.unary_unary_rpc_method_handler
        stream = grpc.stream_stream_rpc_method_handler
        handlers = {"Say": unary(self._say), "Stream": stream(self._stream)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        checks = grpc.method_handlers_generic_handler(HEALTH, {"Check": unary(self._check)})
        self._server.add_generic_rpc_handlers((checks,))
        self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def stop(self) -> None:
        self.release.set()
        self.checks_go_on.set()
        self._server.stop(None).wait()

    def _say(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls["Say"] += 1
        self.release.wait(10)
        if self.refuse:
            context.set_trailing_metadata(self._said)
            context.abort(grpc.StatusCode.NOT_FOUND, "no")
        context.send_initial_metadata(self._said)
        return str(self.number).encode()

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.calls["Stream"] += 1
        context.send_initial_metadata(self._said)
        for _ in requests:
            yield str(self.number).encode()

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls["Check"] += 1
        self.checks_go_on.wait(10)
        context.send_initial_metadata(self._said)
        return b""


@contextmanager
def shared_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def port() -> Iterator[int]:
    with shared_port() as port:
        yield port


@pytest.fixture
def workers(port: int) -> Iterator[list[Worker]]:
    started = [Worker(number, port) for number in range(WORKERS)]
    yield started
    for worker in started:
        worker.stop()


@pytest.fixture
def channel(port: int) -> Iterator[Connections]:
    with open_channel(f"127.0.0.1:{port}") as opened:
        yield opened


def say(channel: Connections) -> Callable[..., bytes]:
    return channel.unary_unary(f"/{SERVICE}/Say")


def hold(workers: list[Worker]) -> None:
    for worker in workers:
        worker.release.clear()


def open_streams(channel: Connections, count: int, stack: ExitStack) -> list[str]:
    """Open streams that stay open; return who serves each."""
    over = threading.Event()
    served = []
    for _ in range(count):

        def requests() -> Iterator[bytes]:
            yield b"."
            over.wait(10)

        stream = channel.stream_stream(f"/{SERVICE}/Stream")(requests())
        stack.callback(stream.cancel)
        served.append(next(stream).decode())
    stack.callback(over.set)
    return served


def test_calls_one_after_another_use_one_connection(workers: list[Worker], channel: Connections) -> None:
    answers = {say(channel)(b"", timeout=10) for _ in range(50)}
    assert len(answers) == 1
    assert channel.leads.total() == 1
    assert sum(worker.calls["Check"] for worker in workers) == 0


def test_streams_at_the_same_time_are_dealt_out_evenly_from_the_first_on(
    workers: list[Worker], channel: Connections
) -> None:
    with ExitStack() as stack:
        served = open_streams(channel, 4 * WORKERS, stack)
    assert Counter(served) == {str(number): 4 for number in range(WORKERS)}


def test_calls_at_the_same_time_are_dealt_out_evenly(workers: list[Worker], channel: Connections) -> None:
    say(channel)(b"", timeout=10)
    hold(workers)
    with futures.ThreadPoolExecutor(24) as threads:
        calls = [threads.submit(say(channel), b"", timeout=10) for _ in range(24)]
        while sum(worker.calls["Say"] for worker in workers) < 25:
            threading.Event().wait(0.01)
        for worker in workers:
            worker.release.set()
        answers = Counter(call.result() for call in calls)
    assert answers == {str(number).encode(): 8 for number in range(WORKERS)}
    assert channel.leads.total() <= CONNECTIONS_PER_WORKER * WORKERS


def test_a_failed_call_tells_where_its_connection_leads_too(workers: list[Worker], channel: Connections) -> None:
    for worker in workers:
        worker.refuse = True
    with pytest.raises(grpc.RpcError):
        say(channel)(b"", timeout=10)
    (lead,) = channel.leads
    assert lead in {"0", "1", "2"}


def test_a_server_without_workers_gets_one_connection(port: int, channel: Connections) -> None:
    worker = Worker(0, port, names=False)
    with ExitStack() as stack:
        stack.callback(worker.stop)
        assert open_streams(channel, 5, stack) == ["0"] * 5
        assert channel.leads.total() == 1
        assert worker.calls["Check"] == 1


def test_a_worker_that_is_gone_is_left_out_and_found_again(
    port: int, workers: list[Worker], channel: Connections
) -> None:
    with ExitStack() as stack:
        open_streams(channel, WORKERS, stack)
    workers[0].stop()

    def answered() -> Counter[bytes]:
        found: Counter[bytes] = Counter()
        with ExitStack() as stack:
            open_streams(channel, 1, stack)
            with futures.ThreadPoolExecutor(8) as threads:
                calls = [threads.submit(say(channel), b"", timeout=10) for _ in range(64)]
            for call in calls:
                if not isinstance(call.exception(), grpc.RpcError):
                    found[call.result()] += 1
        return found

    answered()  # what led to the worker that is gone comes about anew
    assert answered().keys() == {b"1", b"2"}
    workers[0] = Worker(0, port)
    for _ in range(40):
        if b"0" in answered():
            return
        threading.Event().wait(0.1)
    pytest.fail("the worker that came back gets no calls")


def test_a_worker_that_hangs_is_waited_for_once_and_not_by_each_call(
    workers: list[Worker], channel: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinset.connections._LONGEST_ASK_S", 0.05)
    monkeypatch.setattr("twinset.connections._PATIENCE_S", 60.0)
    with ExitStack() as stack:
        open_streams(channel, 1, stack)
        for worker in workers:
            stack.callback(worker.checks_go_on.set)
            worker.checks_go_on.clear()
        before = sum(worker.calls["Check"] for worker in workers)
        for _ in range(3):
            say(channel)(b"", timeout=10)
        assert sum(worker.calls["Check"] for worker in workers) - before == 1


def test_closing_ends_streams(workers: list[Worker], channel: Connections) -> None:
    with ExitStack() as stack:
        open_streams(channel, 3, stack)
        channel.close()
    with pytest.raises(ValueError, match="closed"):
        say(channel)(b"", timeout=10)


def test_a_closed_channel_opens_no_more(port: int, workers: list[Worker]) -> None:
    made: list[Any] = []

    def connect() -> grpc.Channel:
        made.append(grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]))
        return made[-1]

    channel = Connections(connect)
    say(channel)(b"", timeout=10)
    channel.close()
    with pytest.raises(ValueError, match="closed"):
        channel.stream_stream(f"/{SERVICE}/Stream")(iter([b""]))
    assert len(made) == 1
