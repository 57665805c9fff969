import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.items import put, unit, vectored
from twinset.contract import Metric
from twinset_server.catalog import Folder, declare_spaces, hold, open_catalog
from twinset_server.config import StoreSettings
from twinset_server.domain import Space
from twinset_server.errors import StartupError

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64)
COUNT = 60


def process(folder: Path, name: str) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-m", "fakes.writing", str(folder), name, str(COUNT)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


async def test_two_processes_that_write_at_once_lose_nothing_and_share_no_sequence(tmp_path: Path) -> None:
    with hold(tmp_path) as folder:
        declare_spaces(folder, [VISUAL])
        processes = {name: process(tmp_path, name) for name in ("left", "right")}
        outputs = await asyncio.gather(*(asyncio.to_thread(one.communicate, "go\n") for one in processes.values()))
        sequences: list[int] = []
        for output, _ in outputs:
            *lines, found = output.splitlines()
            own = [int(line) for line in lines]
            assert len(own) == 2 * COUNT
            assert own == sorted(own)
            assert found.endswith(f"-{COUNT - 1}")
            sequences += own
        assert sorted(sequences) == list(range(1, 4 * COUNT + 1))
        async with open_catalog(folder, StoreSettings(path=tmp_path)) as catalog:
            status = await catalog.status()
            assert (status.items, status.sequence, status.spaces[0].vectors) == (
                2 * COUNT + 2,
                4 * COUNT,
                2 * COUNT + 2,
            )
            items = await catalog.page(after="", limit=1000, vectors=False)
            assert {item.sequence for item in items} <= set(sequences)


async def test_what_one_member_acknowledged_the_next_search_in_another_sees(tmp_path: Path) -> None:
    settings = StoreSettings(path=tmp_path)
    with hold(tmp_path) as folder:
        declare_spaces(folder, [VISUAL])
        async with open_catalog(folder, settings) as one, open_catalog(folder, settings) as other:
            for number in range(20):
                [receipt] = await put(one, [vectored(str(number), unit(1, number, 0))])
                result = await other.search("visual", unit(1, number, 0), 1)
                assert (result.neighbours[0].item_id, result.sequence) == (str(number), receipt.sequence)


async def test_a_commit_whose_end_was_never_counted_is_seen_by_the_next_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(tmp_path) as folder:
        declare_spaces(folder, [VISUAL])
        settings = StoreSettings(path=tmp_path)
        async with open_catalog(folder, settings) as reader, open_catalog(folder, settings) as writer:
            await put(writer, [vectored("first", unit(1, 0, 0))])
            assert [one.item_id for one in (await reader.search("visual", unit(1, 0, 0), 9)).neighbours] == ["first"]
            pwrite = os.pwrite

            def odd_only(descriptor: int, content: bytes, offset: int) -> int:
                # As if the writer had been killed between its commit and the end of the count.
                return pwrite(descriptor, content, offset) if content[0] % 2 else len(content)

            for name in ("second", "third"):
                with monkeypatch.context() as patch:
                    patch.setattr(os, "pwrite", odd_only)
                    await put(writer, [vectored(name, unit(1, 0, 0))])
                found = await reader.search("visual", unit(1, 0, 0), 9)
                assert name in [one.item_id for one in found.neighbours]


def test_writers_take_turns(tmp_path: Path) -> None:
    order: list[str] = []
    together = threading.Barrier(3)

    def write(name: str) -> None:
        lock = Folder(tmp_path).write_lock()
        together.wait()
        for _ in range(50):
            with lock.held():
                order.append(name)
                time.sleep(0.001)
        lock.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, "abc"))
    # Whoever gives the lock up and asks again at once comes after those that wait.
    runs = [len(list(run)) for _, run in itertools.groupby(order[:100])]
    assert max(runs) <= 10


async def test_a_new_server_waits_for_the_members_of_one_that_was_killed(tmp_path: Path) -> None:
    with hold(tmp_path) as folder:
        declare_spaces(folder, [VISUAL])
        member = process(tmp_path, "late")
    assert member.stdin is not None
    waiting = asyncio.create_task(asyncio.to_thread(lambda: hold(tmp_path).__enter__()))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await asyncio.to_thread(member.communicate, "go\n")
    await waiting


def test_a_space_of_another_fingerprint_is_refused_and_none_is_added(tmp_path: Path) -> None:
    changed = Space("visual", 3, Metric.COSINE, "d" * 64, "net-dddddddd")
    with hold(tmp_path) as folder:
        assert declare_spaces(folder) == {}
        assert declare_spaces(folder, [VISUAL]) == {"visual": VISUAL}
        with pytest.raises(StartupError, match=f"{'a' * 64}.*{'d' * 64}"):
            declare_spaces(folder, [Space("new", 2, Metric.COSINE, "b" * 64), changed])
        named = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
        assert declare_spaces(folder, [named]) == {"visual": named}
