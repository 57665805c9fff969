"""A bulk embedding that is killed goes on where it was, and leaves no Triton behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from fakes.bulk import COUNT, command, write_pictures
from fakes.models import write_tiny_model
from fakes.triton import FakeTriton
from twinset.folder import read_folder
from twinset_server.triton.processes import Process, find_process

CHUNK = 8


@pytest.mark.parametrize("asked_before_the_kill", [1, 9, 25, 39])
async def test_a_killed_run_repeats_at_most_a_chunk(tmp_path: Path, asked_before_the_kill: int) -> None:
    photos, vectors = tmp_path / "photos", tmp_path / "vectors"
    write_pictures(photos)
    async with FakeTriton() as triton:
        reached, blocked = asyncio.Event(), True

        async def before_reply() -> None:
            if blocked and sum(triton.batch_sizes) >= asked_before_the_kill:
                reached.set()
                await asyncio.Event().wait()

        triton.before_reply = before_reply
        arguments = [*map(str, command(photos, vectors)), "--triton-url", triton.address, "--chunk", str(CHUNK)]
        first = await asyncio.create_subprocess_exec(*arguments)
        await asyncio.wait_for(reached.wait(), 30)
        # Those whose answers have come may now be on their way to the disk, or there: the kill falls in between.
        first.send_signal(signal.SIGKILL)
        await first.wait()
        assert not (vectors / "embedding.npy").exists()
        blocked = False
        second = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(second.communicate(), 30)
        assert second.returncode == 0
        assert out.startswith(f"{COUNT} pictures: {COUNT} embedded, 0 failed".encode())
        assert sum(triton.batch_sizes) <= COUNT + CHUNK
    assert (vectors / "ids.txt").read_text().splitlines() == list(read_folder(photos, "path").pictures)
    assert np.load(vectors / "embedding.npy").shape[0] == COUNT
    assert sorted(path.name for path in vectors.iterdir()) == ["embedding.npy", "ids.txt", "manifest.json"]


def test_a_killed_run_takes_its_triton_along(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 200)
    write_tiny_model(tmp_path / "models")
    arguments = [*command(tmp_path / "photos", tmp_path / "vectors"), "--chunk", "4"]
    with subprocess.Popen([*arguments, "--repository", tmp_path / "models"]) as run:
        wait_until(lambda: (tmp_path / "vectors" / ".parts").exists())
        family = descendants(run.pid)
        assert len(family) >= 2  # twinset-server, and under it tritonserver
        run.kill()
    wait_until(lambda: all(process.fault() in ("gone", "dead") for process in family))


def descendants(pid: int) -> list[Process]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [process for child in children if (process := find_process(int(child)))]
    return found + [process for child in children for process in descendants(int(child))]


def wait_until(condition: object) -> None:
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)
