"""Fills a catalogue's folder as a server would, with no server in between."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from benchmarks.mixture import Mixture
from twinset_server.catalog import open_alone
from twinset_server.catalog.folder import hold
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.sqlite_catalog import SqliteCatalog
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.domain import ItemVector, Receipt, WritableItem

BLOCK = 64
_AT_ONCE = 8
"""Blocks that wait for one commit."""


def item_id(number: int) -> str:
    """Return the id of the item that is filled in as `number`, from 0."""
    return f"item/{number // BLOCK:08}/{number % BLOCK:02}"


def fill(folder: Path, space: str, dimension: int, items: int) -> None:
    """Put items up to the number `items`, each with a vector, and build the index of all."""
    # Whatever waits is folded at the end: nobody is slowed down.
    settings = StoreSettings(path=folder, slow_at=2**31)
    spaces = {space: ExternalSpace(dimension=dimension)}
    asyncio.run(_put(settings, spaces, space, items))
    with hold(folder) as held:
        Builder(held.database, held.index, settings).build_now()


def synced_us() -> float:
    """Return the median time of a write of 64 KB that is synced, in microseconds."""
    content = os.urandom(64 << 10)
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        moments = [time.perf_counter()]
        for _ in range(64):
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())
            moments.append(time.perf_counter())
    return statistics.median(later - earlier for earlier, later in pairwise(moments)) * 1e6


async def _put(settings: StoreSettings, spaces: Mapping[str, ExternalSpace], space: str, items: int) -> None:
    mixture = Mixture(spaces[space].dimension)
    async with open_alone(settings, spaces) as catalog:
        first = (await catalog.status()).items
        line = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for start in range(first, items, BLOCK):
                await line.acquire()
                rows = mixture.rows(min(BLOCK, items - start), start // BLOCK)
                block = [
                    WritableItem(item_id(start + n), "", "", f"c{n % 20}", {}, (), [ItemVector(space, "", row)])
                    for n, row in enumerate(rows)
                ]
                group.create_task(_write(catalog, block, line))


async def _write(catalog: SqliteCatalog, block: list[WritableItem], line: asyncio.Semaphore) -> None:
    try:
        for outcome in (await catalog.write(block)).outcomes:
            if not isinstance(outcome, Receipt):
                raise outcome
    finally:
        line.release()
