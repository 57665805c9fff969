"""Children are started together, again when they die, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from fakes import supervised
from twinset_server.config import Settings, StoreSettings
from twinset_server.errors import DiskFull, StartupError, StoreUnavailable
from twinset_server.processes.order import Order
from twinset_server.processes.supervisor import Programs, Supervisor
from twinset_server.rpc.interceptor import Place

TESTS = Path(supervised.__file__).parents[1]


def program(role: str) -> tuple[str, ...]:
    """Return a command that is found from a child's own working directory too."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    return ("/usr/bin/env", f"PYTHONPATH={path}", sys.executable, str(supervised.PROGRAM), role)


def order(worker: int, data: Path = Path("twinset-data")) -> Order:
    return Order(Settings(store=StoreSettings(path=data)), Place(worker, 1), model_is_ready=False)


def supervisor(worker: str = "builder", data: Path = Path("twinset-data")) -> Supervisor:
    """Return a supervisor of one child that needs no port, beside a builder."""
    programs = Programs(worker=program(worker), builder=program("builder"))
    return Supervisor(0, 1, lambda number: order(number, data), drain_s=1, programs=programs)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Supervisor]:
    running = supervisor(data=tmp_path)
    await running.launch()
    await running.begin()
    yield running
    await running.stop()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_child_that_dies_is_started_again(running: Supervisor) -> None:
    before = running.status
    assert [child.ready for child in before] == [True, True]
    os.kill(before[0].pid, signal.SIGKILL)
    await wait_until(lambda: running.status[0].restarts == 1 and running.status[0].ready)
    assert running.status[0].pid != before[0].pid
    assert running.status[1] == before[1]


async def test_a_child_that_can_t_start_at_first_ends_the_start_with_its_own_words(tmp_path: Path) -> None:
    refused = supervisor("refusing-worker", tmp_path)
    await refused.launch()
    with pytest.raises(StartupError, match="worker 0 refuses"):
        await refused.begin()
    await refused.stop()
    assert [child.pid for child in refused.status] == [0, 0]


async def test_a_child_that_is_gone_before_its_order_is_launched_again(tmp_path: Path) -> None:
    bereft = supervisor(data=tmp_path)
    await bereft.launch()
    os.kill(bereft.status[0].pid, signal.SIGKILL)
    await wait_until(lambda: bereft.status[0].pid == 0)
    await bereft.begin()
    assert [child.ready for child in bereft.status] == [True, True]
    await bereft.stop()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])  # the server's loop is the second one, whose pipes differ
def test_a_pause_ends_well_though_a_worker_dies_twice_before_its_order(
    tmp_path: Path, run: Callable[[Coroutine[None, None, None]], None]
) -> None:
    dying = tmp_path / "dying"
    script = 'if mv "$0/2" "$0/1" || mv "$0/1" "$0/0"; then exit 1; fi 2>/dev/null; exec "$@"'
    worker = ("/bin/sh", "-c", script, str(dying), *program("builder"))

    async def pause() -> None:
        programs = Programs(worker=worker, builder=program("builder"))
        running = Supervisor(0, 1, lambda number: order(number, tmp_path), drain_s=1, programs=programs)
        await running.launch()
        await running.begin()
        async with running.paused():
            dying.mkdir()
            (dying / "2").touch()
        assert [child.ready for child in running.status] == [True, True]
        await running.stop()

    run(pause())
    assert [path.name for path in dying.iterdir()] == ["0"]


async def test_a_child_that_sends_nonsense_is_kept(tmp_path: Path) -> None:
    babbling = Programs(worker=("/bin/sh", "-c", "echo nonsense; exec sleep 60"), builder=program("builder"))
    heard = Supervisor(0, 1, lambda number: order(number, tmp_path), drain_s=1, programs=babbling)
    await heard.launch()
    with pytest.raises(StartupError, match=r"worker 0 can't start: .*JSONDecodeError"):
        await heard.begin(give_up=False)
    await wait_until(lambda: heard.status[0].restarts > 3)
    await heard.stop()
    assert [child.pid for child in heard.status] == [0, 0]


async def test_a_program_that_isn_t_there_ends_the_start() -> None:
    absent = Supervisor(0, 1, order, drain_s=1, programs=Programs(worker=("/no/such/program",)))
    with pytest.raises(StartupError, match=r"worker 0 can't be started: .*/no/such/program"):
        await absent.launch()
    assert [child.pid for child in absent.status] == [0, 0]


async def test_a_rebuild_tells_how_far_it_is(running: Supervisor) -> None:
    shares = [done async for done in running.rebuild("visual")]
    assert list(dict.fromkeys(shares)) == [0.0, 0.25, 0.5, 0.75, 1.0]


async def test_a_rebuild_that_gets_no_further_can_be_given_up(running: Supervisor) -> None:
    async with contextlib.aclosing(running.rebuild("endless")) as shares:
        assert [await anext(shares) for _ in range(3)] == [0.5] * 3


async def test_a_rebuild_of_an_unknown_space_fails(running: Supervisor) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        _ = [done async for done in running.rebuild("nowhere")]


async def test_a_rebuild_without_room_tells_that_the_disk_is_full(running: Supervisor) -> None:
    with pytest.raises(DiskFull, match="'large' was not rebuilt"):
        _ = [done async for done in running.rebuild("large")]


async def test_a_rebuild_that_nobody_waits_for_is_cancelled(running: Supervisor, tmp_path: Path) -> None:
    async with contextlib.aclosing(running.rebuild("endless")) as shares:
        assert await anext(shares) == 0.5
    await wait_until((tmp_path / "cancelled").exists)
    assert [done async for done in running.rebuild("visual")][-1] == 1.0


async def test_a_rebuild_ends_with_the_builder(running: Supervisor) -> None:
    with pytest.raises(StoreUnavailable, match="the builder ended"):
        _ = [done async for done in running.rebuild("fatal")]
    await wait_until(lambda: running.status[1].ready)
    assert [done async for done in running.rebuild("visual")][-1] == 1.0


async def test_while_paused_there_are_no_children(running: Supervisor) -> None:
    before = [child.pid for child in running.status]
    async with running.paused():
        assert [child.pid for child in running.status] == [0, 0]
        with pytest.raises(StoreUnavailable, match="doesn't run"):
            _ = [done async for done in running.rebuild("visual")]
    after = running.status
    assert all(child.ready for child in after)
    assert not {child.pid for child in after} & set(before)


async def test_a_pause_whose_children_can_t_be_launched_at_once_ends_with_all_running(
    running: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, refusals = asyncio.create_subprocess_exec, iter([OSError("no room")])

    async def create_at_last(*command: str, **options: int) -> asyncio.subprocess.Process:
        for refusal in refusals:
            raise refusal
        return await create(*command, **options)  # type: ignore[arg-type]

    async with running.paused():
        monkeypatch.setattr(asyncio, "create_subprocess_exec", create_at_last)
    assert all(child.ready for child in running.status)


async def test_a_folder_that_a_pause_made_unfit_is_not_served_until_it_is_put_back(tmp_path: Path) -> None:
    fit = True

    async def check() -> None:
        if not fit:
            raise StartupError("the space is another")

    programs = Programs(worker=program("builder"), builder=program("builder"))
    checked = Supervisor(0, 1, lambda number: order(number, tmp_path), drain_s=1, programs=programs, check=check)
    await checked.launch()
    await checked.begin()
    with pytest.raises(StartupError, match="the space is another"):
        async with checked.paused():
            fit = False
    assert [child.pid for child in checked.status] == [0, 0]
    async with checked.paused():
        fit = True
    assert all(child.ready for child in checked.status)
    await checked.stop()
