"""Several workers behind one port: all are used, and none takes another down. Their catalogues here are in memory."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from e2e.conftest import SAMPLES
from fakes import supervised
from fakes.models import write_tiny_model
from twinset import Client, errors
from twinset.channel import open_channel
from twinset.v1 import embedding_pb2, embedding_pb2_grpc
from twinset_server.triton.processes import Process, find_process

WORKERS = 2
PICTURE = next(SAMPLES.rglob("*.png")).read_bytes()
REQUEST = embedding_pb2.StreamEmbedRequest(pictures=[PICTURE])
TESTS = Path(supervised.__file__).parents[1]


class Server:
    """A running supervisor with its children."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, log.read_text()
        self.address = f"127.0.0.1:{port}"

    def children(self, name: str) -> list[Process]:
        """Return the children whose command line has `name`."""
        found = []
        for pid in _children(self.process.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if any(part == name or part.endswith(f"/{name}") for part in command):
                found.append(pid)
        return [process for pid in sorted(found) if (process := find_process(pid))]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def wait_until(condition: Callable[[], bool], within_s: float = 20) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder)
    return folder


Start = Callable[..., Server]


@pytest.fixture(scope="module")
def start(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with ExitStack() as stack:

        def _start(data: Path | None = None, drain_s: float = 5) -> Server:
            data = data or tmp_path_factory.mktemp("workers") / "data"
            log = data.with_suffix(".log")
            command = [sys.executable, str(supervised.PROGRAM), str(data), str(models), str(WORKERS), str(drain_s)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
            stderr = stack.enter_context(log.open("a"))
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            )
            stack.callback(_stop, process)
            return Server(process, log)

        yield _start


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=30)
    if process.stdout:
        process.stdout.close()


@pytest.fixture(scope="module")
def server(start: Start) -> Server:
    return start()


def workers_that_answer(server: Server) -> set[str]:
    with Client(server.address, timeout_s=20) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: client.embed([PICTURE]), range(16)))
        return set(client.connections) - {""}


def wait_until_all_answer(server: Server) -> None:
    wait_until(lambda: workers_that_answer(server) == {"0", "1"})


def test_calls_at_the_same_time_reach_both_workers(server: Server) -> None:
    with Client(server.address, timeout_s=20) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.embed([PICTURE])[0], range(64)))
        assert [answer.error for answer in answers] == [None] * 64
        assert client.connections.keys() >= {"0", "1"}


def test_all_workers_ask_one_triton(server: Server) -> None:
    assert len(server.children("tritonserver")) == 1
    assert len(server.children("worker")) == WORKERS


def test_a_killed_worker_fails_no_read_and_comes_back(server: Server) -> None:
    victim = server.children("worker")[0]
    over = False
    failures: list[Exception] = []

    def read() -> int:
        made = 0
        while not over:
            try:
                client.catalog()
                made += 1
            except errors.TwinsetError as error:
                failures.append(error)
        return made

    with Client(server.address, timeout_s=20) as client, ThreadPoolExecutor(6) as threads:
        readers = [threads.submit(read) for _ in range(6)]
        wait_until(lambda: client.connections.keys() >= {"0", "1"})
        os.kill(victim.pid, signal.SIGKILL)
        try:
            wait_until(lambda: len(server.children("worker")) == WORKERS and victim not in server.children("worker"))
            wait_until_all_answer(server)
        finally:
            over = True
        assert all(reader.result() for reader in readers)
    assert failures == []


def test_a_worker_that_dies_leaves_the_streams_of_the_other_alone(server: Server) -> None:
    wait_until_all_answer(server)
    with streams_open(server, 4) as streams:
        os.kill(server.children("worker")[0].pid, signal.SIGKILL)
        outcomes = Counter(outcome(gate, stream) for gate, stream in streams)
    assert outcomes == {"answered": 2, "UNAVAILABLE": 2}
    wait_until_all_answer(server)


def outcome(gate: Gate, stream: Any) -> str:
    gate.send(REQUEST)
    try:
        next(stream)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "answered"


@contextmanager
def streams_open(server: Server, count: int) -> Iterator[list[tuple[Gate, Any]]]:
    """Give streams that have had one answer each, and their requests."""
    with open_channel(server.address) as channel, ExitStack() as stack:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        gates = [Gate() for _ in range(count)]
        streams = []
        for gate in gates:
            stack.callback(gate.end)
            streams.append((gate, stub.StreamEmbed(gate)))
            gate.send(REQUEST)
            assert len(next(streams[-1][1]).results) == 1
        yield streams


class Gate:
    """Requests of a stream, sent one by one."""

    def __init__(self) -> None:
        self._queue: queue.Queue[embedding_pb2.StreamEmbedRequest | None] = queue.Queue()

    def send(self, request: embedding_pb2.StreamEmbedRequest) -> None:
        self._queue.put(request)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[embedding_pb2.StreamEmbedRequest]:
        return self

    def __next__(self) -> embedding_pb2.StreamEmbedRequest:
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request


def test_the_model_is_asked_again_after_triton_was_killed(server: Server) -> None:
    (triton,) = server.children("tritonserver")
    os.kill(triton.pid, signal.SIGKILL)
    wait_until(lambda: (found := server.children("tritonserver")) != [] and found != [triton])

    def embeds() -> bool:
        try:
            with Client(server.address, timeout_s=20) as client, ThreadPoolExecutor(4) as threads:
                made = list(threads.map(lambda _: client.embed([PICTURE])[0].error, range(8)))
        except errors.Unavailable:
            return False
        return made == [None] * 8

    wait_until(embeds)


def test_a_killed_supervisor_takes_all_its_processes_along_and_can_be_started_again(
    start: Start, tmp_path: Path
) -> None:
    first = start(tmp_path / "data")
    children = [find_process(pid) for pid in _children(first.process.pid)]
    assert len(children) >= WORKERS + 2
    first.process.kill()
    wait_until(lambda: all(child is None or child.fault() in ("gone", "dead") for child in children), 5)
    second = start(tmp_path / "data")
    with Client(second.address) as client:
        assert client.catalog().item_count == 0


def test_sigterm_lets_streams_end_after_what_they_have_read(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path / "data", drain_s=20)
    with streams_open(server, 4) as streams:
        server.process.send_signal(signal.SIGTERM)
        for _, stream in streams:
            with pytest.raises(grpc.RpcError) as raised:
                next(stream)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.process.wait(20) == 0
    assert "killed" not in server.log.read_text()


def test_a_second_signal_hurries_the_end(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path / "data", drain_s=600)
    children = [find_process(pid) for pid in _children(server.process.pid)]
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert all(child is None or child.fault() in ("gone", "dead") for child in children)


def test_a_second_server_gets_neither_the_folder_nor_the_port(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twinset_server", "serve", "--workers", "1", "--model-repository", str(models)]
    first = subprocess.Popen([*command, "--port", "0", "--data", tmp_path / "data"], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        address = first.stdout.readline().split()[3]
        port = address.partition(":")[2]
        same_folder = subprocess.run(
            [*command, "--port", "0", "--data", tmp_path / "data"],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert same_folder.returncode == 2
        assert "another server (process" in same_folder.stderr
        same_port = subprocess.run(
            [*command, "--port", port, "--data", tmp_path / "other"],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert same_port.returncode == 2
        assert f"can't listen on 127.0.0.1:{port}" in same_port.stderr
        assert not (tmp_path / "other").exists()
        with Client(address) as client:
            assert client.catalog().item_count == 0
    finally:
        _stop(first)
