"""Triton is killed, stopped, hung and broken under load: it comes back, and no wrong vector comes out meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fakes.models import (
    run_locally,
    some_pictures,
    tiny_contract,
    tiny_onnx,
    write_card,
    write_model,
    write_tiny_model,
)
from twinset_server.config import TritonSettings
from twinset_server.errors import EmbedderUnavailable, StartupError
from twinset_server.triton import TritonEmbedder, open_embedder
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.installation import find_installation
from twinset_server.triton.private_folder import SHARED_MEMORY
from twinset_server.triton.processes import find_process
from twinset_server.triton.served_model import read_model
from twinset_server.triton.supervisor import State, Supervisor

BACK_WITHIN_S = 5.0

TRITONSERVER, STUB = 0, 1

HANGING_BACKEND = """

_execute = TritonPythonModel.execute

def execute(self, requests):
    for request in requests:
        if (read_tensor(request, "pictures") == 255).all():
            import threading
            threading.Event().wait()
    return _execute(self, requests)

TritonPythonModel.execute = execute
"""


@pytest.fixture(params=["unary", "stream"])
def transport(request: pytest.FixtureRequest) -> Literal["unary", "stream"]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def settings(tmp_path: Path, transport: Literal["unary", "stream"]) -> TritonSettings:
    repository = tmp_path / "a repository with späces"
    write_tiny_model(repository)
    return TritonSettings(model_repository=repository, transport=transport, max_batch=4)


@contextlib.asynccontextmanager
async def running(
    settings: TritonSettings, backend: Path | None = None
) -> AsyncIterator[tuple[TritonEmbedder, EmbeddedTriton]]:
    """Yield what `open_embedder` yields, and the host beneath it."""
    model = read_model(settings.model_repository / tiny_contract().model)
    installation = find_installation()
    if backend is not None:
        installation = dataclasses.replace(installation, backend=backend)
    host = EmbeddedTriton(model, settings.model_repository, startup_timeout_s=20, installation=installation)
    supervisor = Supervisor(host, settings, model=model)
    try:
        await supervisor.open(wait=True)
        yield TritonEmbedder(supervisor, settings), host
    finally:
        await supervisor.close()


class Load:
    """Calls side by side, each checked against the model run in this process."""

    def __init__(self, embedder: TritonEmbedder) -> None:
        self.answered = 0
        self._embedder = embedder
        self._pictures = some_pictures(64)
        self._expected = run_locally(self._pictures)
        self._ending = False

    @contextlib.asynccontextmanager
    async def on(self) -> AsyncIterator[Load]:
        async with asyncio.TaskGroup() as group:
            for seed in range(4):
                group.create_task(self._call(random.Random(seed)))
            try:
                yield self
            finally:
                self._ending = True

    async def more(self, count: int) -> None:
        """Return when `count` more calls were answered."""
        goal = self.answered + count
        await wait_until(lambda: self.answered >= goal)

    async def _call(self, choice: random.Random) -> None:
        while not self._ending:
            chosen = np.array([choice.randrange(64) for _ in range(choice.randint(1, 14))])
            try:
                rows = await self._embedder.embed(self._pictures[chosen], ["features", "embedding"], timeout_s=10)
            except EmbedderUnavailable:
                await asyncio.sleep(0.02)
                continue
            for name, values in rows.items():
                np.testing.assert_allclose(values, self._expected[name][chosen], atol=1e-4)
            self.answered += 1


async def wait_until(condition: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def is_back(embedder: TritonEmbedder, host: EmbeddedTriton, victim: int) -> Callable[[], bool]:
    return lambda: embedder.state is State.READY and victim not in [process.pid for process in host.processes]


@pytest.fixture
def busy_cores() -> Iterator[None]:
    """Every core has two other processes that want all of it."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.parametrize("victim", [TRITONSERVER, STUB], ids=["tritonserver", "stub"])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_under_load_triton_is_back_in_time_and_no_vector_is_wrong(
    settings: TritonSettings, victim: int, blow: signal.Signals
) -> None:
    async with running(settings) as (embedder, host), Load(embedder).on() as load:
        await load.more(20)
        pid = host.processes[victim].pid
        os.kill(pid, blow)
        await wait_until(is_back(embedder, host, pid), BACK_WITHIN_S)
        await load.more(20)


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
@pytest.mark.parametrize("victim", [TRITONSERVER, STUB], ids=["tritonserver", "stub"])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.usefixtures("busy_cores")
async def test_on_busy_cores_triton_is_back_in_time_and_no_vector_is_wrong(
    settings: TritonSettings, victim: int, blow: signal.Signals
) -> None:
    async with running(settings) as (embedder, host), Load(embedder).on() as load:
        await load.more(5)
        pid = host.processes[victim].pid
        os.kill(pid, blow)
        await wait_until(is_back(embedder, host, pid), BACK_WITHIN_S)
        await load.more(5)


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
@pytest.mark.usefixtures("busy_cores")
async def test_on_busy_cores_a_triton_that_works_is_left_alone(settings: TritonSettings) -> None:
    async with running(settings) as (embedder, host), Load(embedder).on() as load:
        await load.more(5)
        before = list(host.processes)
        await asyncio.sleep(4)
        assert host.processes == before


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_a_model_that_hangs_is_started_anew(settings: TritonSettings, tmp_path: Path) -> None:
    backend = tmp_path / "model.py"
    backend.write_text(find_installation().backend.read_text() + HANGING_BACKEND)
    async with running(settings, backend) as (embedder, host):
        pid = host.processes[STUB].pid
        white = np.full_like(some_pictures(1), 255)
        with contextlib.suppress(EmbedderUnavailable):
            await embedder.embed(white, ["features"], timeout_s=10)
        await wait_until(is_back(embedder, host, pid))
        rows = await embedder.embed(some_pictures(9), ["features"], timeout_s=10)
        np.testing.assert_allclose(rows["features"], run_locally(some_pictures(9))["features"], atol=1e-4)


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_kill_upon_kill_ends_with_a_healthy_triton(settings: TritonSettings) -> None:
    async with running(settings) as (embedder, host), Load(embedder).on() as load:
        for delay_s in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25):
            pid = host.processes[TRITONSERVER].pid
            os.kill(pid, signal.SIGKILL)
            await wait_until(lambda pid=pid: [p.pid for p in host.processes[:1]] not in ([], [pid]))  # type: ignore[misc]
            await asyncio.sleep(delay_s)
        await load.more(20)
        assert embedder.state is State.READY


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_a_graph_that_triton_can_t_load_fails_the_start_with_tritons_last_lines(settings: TritonSettings) -> None:
    path = settings.model_repository / tiny_contract().model / "1" / "model.onnx"
    path.write_bytes(tiny_onnx()[:-1000])
    write_card(settings.model_repository, tiny_contract())  # otherwise the card tells, before Triton starts
    with pytest.raises(StartupError, match=r"Triton's last lines:(.|\n)*onnxruntime"):
        async with open_embedder(settings):
            pass


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_a_model_with_other_weights_than_its_contract_says_fails_the_start(
    settings: TritonSettings, tmp_path: Path
) -> None:
    repository = tmp_path / "swapped"
    write_model(repository, tiny_contract(seed=0), tiny_onnx(seed=1))
    with pytest.raises(StartupError, match="doesn't give its known answer"):
        async with open_embedder(settings.model_copy(update={"model_repository": repository})):
            pass


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_a_model_of_another_fingerprint_fails_the_start_and_both_are_named(settings: TritonSettings) -> None:
    with pytest.raises(StartupError, match=tiny_contract().fingerprint) as caught:
        async with open_embedder(settings, expected_fingerprint="e" * 64):
            pass
    assert "e" * 64 in str(caught.value)


async def test_another_tritons_model_is_used_over_its_url(
    settings: TritonSettings, transport: Literal["unary", "stream"]
) -> None:
    async with running(settings) as (_, host):
        remote = TritonSettings(url=host.address, transport=transport, max_batch=4)
        async with open_embedder(remote, expected_fingerprint=tiny_contract().fingerprint) as embedder:
            rows = await embedder.embed(some_pictures(9), ["features"], timeout_s=10)
            np.testing.assert_allclose(rows["features"], run_locally(some_pictures(9))["features"], atol=1e-4)


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_a_new_start_keeps_the_address(settings: TritonSettings) -> None:
    async with running(settings) as (embedder, host):
        address, victim = embedder.address, host.processes[0].pid
        os.kill(victim, signal.SIGKILL)
        await wait_until(is_back(embedder, host, victim))
        assert embedder.address == address
        await embedder.embed(some_pictures(1), ["features"], timeout_s=10)


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
async def test_an_embedder_that_closes_leaves_nothing_behind(settings: TritonSettings) -> None:
    async with running(settings) as (embedder, host):
        await embedder.embed(some_pictures(3), ["features"], timeout_s=10)
        processes, folder = list(host.processes), host.folder
        assert list(SHARED_MEMORY.glob(f"{folder.name}*"))
    await wait_until(lambda: all(process.fault() in ("dead", "gone") for process in processes))
    assert not folder.exists()
    assert not list(SHARED_MEMORY.glob(f"{folder.name}*"))


@pytest.mark.parametrize("transport", ["unary"], indirect=True)
def test_a_server_that_is_killed_leaves_no_triton_behind(settings: TritonSettings) -> None:
    program = f"""
        import asyncio
        from pathlib import Path
        from twinset_server.triton.embedded import EmbeddedTriton
        from twinset_server.triton.served_model import read_model

        async def main():
            repository = Path({str(settings.model_repository)!r})
            host = EmbeddedTriton(read_model(repository / {tiny_contract().model!r}), repository, startup_timeout_s=20)
            await host.start()
            print(*(process.pid for process in host.processes), host.folder, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        *pids, folder = server.stdout.readline().split()
        processes = [process for pid in pids if (process := find_process(int(pid)))]
        assert [process.fault() for process in processes] == [None, None]
        server.kill()
    end = time.monotonic() + 10
    while any(process.fault() is None for process in processes):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert Path(folder).exists()
    EmbeddedTriton(
        read_model(settings.model_repository / tiny_contract().model), settings.model_repository, startup_timeout_s=1
    ).close()
    assert not Path(folder).exists()
    assert not list(SHARED_MEMORY.glob(f"{Path(folder).name}*"))
