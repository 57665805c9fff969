"""A process of a server: writes through a catalogue that another process holds, and prints the sequences it got.

python -m fakes.writing FOLDER NAME COUNT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fakes.items import unit, vectored
from twinset_server.catalog import Folder, open_catalog
from twinset_server.config import StoreSettings
from twinset_server.domain import Receipt


async def main(folder: Path, name: str, count: int) -> None:
    async with open_catalog(Folder(folder), StoreSettings(path=folder)) as catalog:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(count):
            written = await catalog.write(
                [vectored(f"{name}-{number}", unit(1, number, 0)), vectored(name, unit(1, 0, 0))]
            )
            for receipt in written.outcomes:
                assert isinstance(receipt, Receipt), receipt
                print(receipt.sequence, flush=True)
        result = await catalog.search("visual", unit(1, count - 1, 0), 1)
        print(result.neighbours[0].item_id, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
