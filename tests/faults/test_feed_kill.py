"""A feed is there as a whole once it is committed, and not at all before, whenever its process is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fakes.items import put
from faults import catalog_load as load
from faults import feed_load
from faults.test_catalog_kill import collect_and_sweep, strays
from twinset_server.catalog import open_alone, steps

OLD = [f"old {number}" for number in range(10)]


async def prepare(folder: Path) -> None:
    async with open_alone(load.store(folder), load.SPACES) as catalog:
        await put(catalog, [load.item(name, 1) for name in OLD])


def start(folder: Path, fault: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, feed_load.__file__, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TWINSET_FAULT_AT": fault},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def stored_after(folder: Path) -> list[str]:
    """Return the items that are there, all of which are whole, and without a stray file."""
    async with open_alone(load.store(folder), load.SPACES) as catalog:
        items = await catalog.page(after="", limit=1000, vectors=False)
        for item in items:
            assert (await catalog.picture(item.id, "0")).content == load.content(item.id, 1)
            [nearest] = (await catalog.search("own", load.vector(item.id, 1), 1)).neighbours
            assert nearest.item_id == item.id
        collect_and_sweep(folder)
        assert strays(folder, {picture.sha256 for item in items for picture in item.pictures}) == []
        assert list((folder / "feeds").iterdir()) == []
    return [item.id for item in items]


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def read_until_committed(process: subprocess.Popen[str]) -> None:
    read_until(process, "staged")
    assert process.stdin is not None
    process.stdin.write("commit\n")
    process.stdin.flush()
    read_until(process, "committed")


async def test_a_feed_that_is_killed_before_its_commit_leaves_no_trace(tmp_path: Path) -> None:
    await prepare(tmp_path)
    process = start(tmp_path)
    read_until(process, "staged")
    process.kill()
    process.communicate()
    assert await stored_after(tmp_path) == OLD


async def test_a_feed_that_is_killed_within_its_commit_leaves_no_trace(tmp_path: Path) -> None:
    await prepare(tmp_path)
    process = start(tmp_path, steps.FEED_COMMIT)
    output, _ = process.communicate("commit\n")
    assert output == "staged\n"
    assert await stored_after(tmp_path) == OLD


async def test_a_feed_that_is_killed_after_its_commit_is_there(tmp_path: Path) -> None:
    await prepare(tmp_path)
    process = start(tmp_path)
    read_until_committed(process)
    process.kill()
    process.communicate()
    assert await stored_after(tmp_path) == sorted(feed_load.NEW)
