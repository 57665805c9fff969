"""A process that opens damaged catalogues and may crash over it.

    python -m faults.mutation_trial MASTER FIRST COUNT [PLANTED]

For each mutation from FIRST on it damages a copy of the catalogue in MASTER, opens that, searches, with and without
filters, and prints a line of JSON: what was damaged, whether that was found, whether it answered as MASTER does, if
USearch got to see bytes that were never written, and how long it took to the last answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fakes.mutations import MUTATIONS, Mutation, files_of_newest
from faults import content, planted
from faults.scratch import scratch
from twinset_server.catalog import open_alone
from twinset_server.catalog.index import column_files, graph
from twinset_server.config import StoreSettings
from twinset_server.domain import Compare, In, Operator

QUERIES = 5
FILTERS = (
    Compare("attributes.half", Operator.EQUAL, 1),
    In("attributes.version", ("2", "3")),
)
K = 20


def emptied(path: Path, rng: np.random.Generator) -> None:
    """Leave nothing of it."""
    path.write_bytes(b"")


def turned(path: Path, rng: np.random.Generator) -> None:
    """Put the end before the beginning."""
    whole = path.read_bytes()
    start = int(rng.integers(1, len(whole))) if len(whole) > 1 else 0
    path.write_bytes(whole[start:] + whole[:start] if whole[start:] + whole[:start] != whole else whole + b"\0")


def repeated(path: Path, rng: np.random.Generator) -> None:
    """Write a sector twice, as a misdirected write does."""
    whole = bytearray(path.read_bytes())
    first, second = (int(place) * 16 for place in rng.integers(0, max(1, len(whole) // 16), 2))
    before = bytes(whole)
    whole[second : second + 512] = whole[first : first + 512]
    path.write_bytes(whole if bytes(whole) != before else whole + b"\1")


KINDS: dict[str, Mutation] = {**MUTATIONS, "emptied": emptied, "turned": turned, "repeated": repeated}


async def answers(folder: Path) -> tuple[int, list[Any]]:
    """Return the generation in use and what searches find."""
    settings = StoreSettings(path=folder)
    async with open_alone(settings, content.EXTERNAL) as catalog:
        results = [
            await catalog.search(content.SPACE, content.vector("asked", number), K, expression=expression)
            for number in range(QUERIES)
            for expression in (None, *FILTERS)
        ]
        [generation] = [one.generation for one in (await catalog.status()).spaces if one.space.name == content.SPACE]
    return generation, [[(one.item_id, round(one.distance, 9)) for one in result.neighbours] for result in results]


def watch_graphs(sound: set[bytes]) -> Callable[[], bool]:
    """Return what tells whether USearch was given anything but one of `sound` since the last time."""
    seen = []
    opened = graph.Graph.__init__

    def watched(self: graph.Graph, pages: Any, *rest: Any) -> None:
        seen.append(pages.tobytes())
        opened(self, pages, *rest)

    graph.Graph.__init__ = watched  # type: ignore[method-assign]

    def touched() -> bool:
        found = any(one not in sound for one in seen)
        seen.clear()
        return found

    return touched


async def try_out(master: Path, first: int, count: int, touched: Callable[[], bool]) -> None:
    """Print what each of `count` mutations does."""
    newest, expected = await answers(master)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        with scratch() as folder:
            shutil.copytree(master, folder, dirs_exist_ok=True)
            columns = folder / "index" / "columns"
            files = [*files_of_newest(folder / "index" / "1"), *sorted(columns.glob("columns-*"))]
            path, kind = files[number % len(files)], list(KINDS)[number // len(files) % len(KINDS)]
            KINDS[kind](path, rng)
            print(json.dumps({"number": number, "kind": kind, "file": path.name}), flush=True)
            begun = time.perf_counter()
            generation, found = await answers(folder)
            line = {
                "seconds": time.perf_counter() - begun,
                "found": column_files.newest_sound(columns) is None if path.parent == columns else generation < newest,
                "same": found == expected,
                "touched": touched(),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    planted.plant(sys.argv[4] if len(sys.argv) > 4 else "")
    master, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    graphs = {path.read_bytes() for path in master.rglob("graph.usearch")}
    asyncio.run(try_out(master, first, count, watch_graphs(graphs)))
