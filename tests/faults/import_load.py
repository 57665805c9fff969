"""A process to kill: imports generations of factors, and prints each once it serves.

    python import_load.py FOLDER FIRST COUNT [--switch-early]

Lines are `serves SEED`. Everything a generation holds follows from its seed.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from fakes.factors import each, factors
from fakes.items import put, writable
from twinset_server.catalog import open_alone
from twinset_server.catalog.store import generations
from twinset_server.catalog.store.importing import FactorImports
from twinset_server.config import StoreSettings
from twinset_server.domain import FactorItems, FactorsHeader, FactorUsers

ITEMS, USERS, PARTS = 300, 40, 6
STORED = [f"i{place}" for place in range(ITEMS - 50)]
"""The other items have factors, and come to the catalogue later, if at all."""


def store(folder: Path) -> StoreSettings:
    # Small, so that the index of a generation is built too.
    return StoreSettings(path=folder, fold_at=100, graph_at=50)


def generation(seed: int) -> tuple[FactorsHeader, FactorItems, FactorUsers]:
    return factors(ITEMS, USERS, seed=seed)


def parts(seed: int) -> tuple[FactorsHeader, list[FactorItems | FactorUsers]]:
    """Return the header, and the rows as they come: items and users in several messages."""
    header, items, users = generation(seed)
    size = ITEMS // PARTS
    rows: list[FactorItems | FactorUsers] = []
    for start in range(0, ITEMS, size):
        part = slice(start, start + size)
        rows.append(FactorItems(items.ids[part], items.factors[part], items.liked[part], items.known[part]))
    return header, [*rows[:-1], users, rows[-1]]


async def main(folder: Path, first: int, count: int) -> None:
    async with open_alone(store(folder), {}) as catalog:
        await put(catalog, [writable(item_id) for item_id in STORED])
        for seed in range(first, first + count):
            header, rows = parts(seed)
            await catalog.import_factors(header, each(*rows))
            print("serves", seed, flush=True)


def plant_early_switch() -> None:
    """Let a generation serve before its rows have come."""
    written = FactorImports._written

    async def eager(self: FactorImports, change: partial) -> object:  # type: ignore[type-arg]
        found = await written(self, change)
        if getattr(change, "func", None) is generations.begin:
            await written(self, partial(generations.activate, number=found))
        return found

    FactorImports._written = eager  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    if "--switch-early" in sys.argv:
        plant_early_switch()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
