"""Fills a catalogue's folder as a server would, with no server in between."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    """Put items up to the number `items`, each with a vector of the mixture, and build the index of all."""
    mixture = Mixture(dimension)

    def block(start: int) -> Iterator[WritableItem]:
        for place, row in enumerate(mixture.rows(min(BLOCK, items - start), start // BLOCK)):
            vectors = [ItemVector(space, "", row)]
            yield WritableItem(item_id(start + place), "", "", f"c{place % 20}", {}, (), vectors)

    fill_with(folder, {space: ExternalSpace(dimension=dimension)}, items, block)


def fill_with(
    folder: Path, spaces: Mapping[str, ExternalSpace], items: int, block: Callable[[int], Iterable[WritableItem]]
) -> None:
    """Put items up to the number `items`, and build the indexes of all.

    Args:
        folder: of the catalogue; the items that it holds already stay.
        spaces: those of the items' vectors.
        items: how many there are then.
        block: makes the items from a number on, `BLOCK` of them or as many as there are still to be.
    """
    # Whatever waits is folded at the end: nobody is slowed down.
    settings = StoreSettings(path=folder, slow_at=2**31)
    asyncio.run(_put(settings, spaces, items, block))
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


async def _put(
    settings: StoreSettings,
    spaces: Mapping[str, ExternalSpace],
    items: int,
    block: Callable[[int], Iterable[WritableItem]],
) -> None:
    async with open_alone(settings, spaces) as catalog:
        first = (await catalog.status()).items
        line = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for start in range(first, items, BLOCK):
                await line.acquire()
                group.create_task(_write(catalog, list(block(start)), line))


async def _write(catalog: SqliteCatalog, block: list[WritableItem], line: asyncio.Semaphore) -> None:
    try:
        for outcome in (await catalog.write(block)).outcomes:
            if not isinstance(outcome, Receipt):
                raise outcome
    finally:
        line.release()
