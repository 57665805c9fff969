"""A process to kill: puts, overwrites and deletes items, and prints each change once it is acknowledged.

    python catalog_load.py FOLDER FIRST [--acknowledge-early]

Lines are `put ID VERSION` and `deleted ID`. Everything an item holds follows from its id and version, so that whoever
reads the lines can tell what must be there.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fakes.items import delete, put
from twinset_server.catalog import SqliteCatalog, open_alone
from twinset_server.catalog.store.requests import Write
from twinset_server.catalog.store.writer import Writer
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.domain import Float32Array, ItemVector, NewPicture, Picture, Receipt, WritableItem

DIMENSION = 16
SPACES = {"own": ExternalSpace(dimension=DIMENSION)}
CALLERS = 8
ITEMS_PER_PUT = 4


def store(folder: Path) -> StoreSettings:
    # Small, so that kills hit folds as well.
    return StoreSettings(path=folder, fold_at=200, graph_at=100)


def content(item_id: str, version: int) -> bytes:
    return f"picture of {item_id}, version {version} ".encode() * 100


def vector(item_id: str, version: int) -> Float32Array:
    seed = int.from_bytes(hashlib.sha256(content(item_id, version)).digest()[:8])
    values = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return values / np.float32(np.linalg.norm(values))


def item(item_id: str, version: int) -> WritableItem:
    encoded = content(item_id, version)
    picture = Picture("0", "image/png", 1, 1, hashlib.sha256(encoded).hexdigest(), len(encoded))
    vectors = [ItemVector("own", "0", vector(item_id, version))]
    return WritableItem(item_id, "", "", "", {"version": version}, [NewPicture(picture, encoded)], vectors)


async def call(catalog: SqliteCatalog, caller: int, first: int) -> None:
    for turn in itertools.count(first):
        for version in (1, 2):
            names = [f"{turn}-{caller}-{place}" for place in range(ITEMS_PER_PUT)]
            results = await put(catalog, [item(name, version) for name in names])
            for name, result in zip(names, results, strict=True):
                assert isinstance(result, Receipt), result
                print("put", name, version, flush=True)
        await delete(catalog, names[0])
        print("deleted", names[0], flush=True)


async def main(folder: Path, first: int) -> None:
    async with open_alone(store(folder), SPACES) as catalog, asyncio.TaskGroup() as callers:
        for caller in range(CALLERS):
            callers.create_task(call(catalog, caller, first))


def plant_early_acknowledgement() -> None:
    """Make the writer tell its callers before it commits."""
    commit = Writer._write

    def eager(self: Writer, writes: Sequence[Write]) -> None:
        for write in writes:
            write.reply.give([Receipt("0", 0)] * len(write.changes))
        commit(self, writes)

    Writer._write = eager  # type: ignore[method-assign]


if __name__ == "__main__":
    if "--acknowledge-early" in sys.argv:
        plant_early_acknowledgement()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
