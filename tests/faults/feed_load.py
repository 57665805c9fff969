"""A process to kill: stages a feed in the place of all items, and commits it.

python feed_load.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from faults import catalog_load as load
from twinset_server.catalog import open_alone

NEW = [f"new {number}" for number in range(200)]


async def main(folder: Path) -> None:
    async with open_alone(load.store(folder), load.SPACES) as catalog, catalog.feed() as feed:
        for name in NEW:
            assert await feed.stage([load.item(name, 1)]) == [None]
        print("staged", flush=True)
        sys.stdin.readline()
        await feed.commit()
        print("committed", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
