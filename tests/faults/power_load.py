"""A server's processes without its network: writers, and a builder, on a folder whose disk is watched.

    python -m faults.power_load serve STATE FOLDER FIRST COUNT [PLANTED]

Runs two writers to their end, each with several callers that do COUNT things, while a builder folds; then one feed.
What callers begin and what they are told goes into the journal in STATE, between the records of the disk, so that
for every moment it is known what must be there. FIRST names what is written, so that several runs can follow.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from faults import content, ledger, planted
from faults.disk.power import PoweredFolder
from faults.ledger import Attempt, State
from twinset_server.catalog import Folder, SqliteCatalog, declare_spaces, external_space, hold, join, open_catalog
from twinset_server.catalog.index import manifest
from twinset_server.config import StoreSettings
from twinset_server.domain import (
    Change,
    Interaction,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    NewPicture,
    Picture,
    Receipt,
    WritableItem,
    WritableUser,
)
from twinset_server.processes.indexing import Indexing

WRITERS = 2
CALLERS = 3
KEYS = 8


def settings(folder: Path) -> StoreSettings:
    # Small, so that generations follow each other.
    return StoreSettings(path=folder, fold_at=16, graph_at=8)


def item(name: str, state: State) -> WritableItem:
    """Return an item at a version."""
    version, price = state
    pictures = []
    if content.has_picture(version):
        encoded = content.picture(name, version)
        sha256 = hashlib.sha256(encoded).hexdigest()
        pictures = [NewPicture(Picture("0", "image/png", 8, 8, sha256, len(encoded)), encoded)]
    attributes = {"version": version, **({"price": price} if price else {})}
    vectors = [ItemVector(content.SPACE, "", content.vector(name, version))]
    return WritableItem(name, content.title(name, version), "", "", attributes, pictures, vectors)


class Caller:
    """One caller, who owns its items; it goes on after errors, not knowing what became of what failed."""

    def __init__(self, catalog: SqliteCatalog, told: PoweredFolder, name: str) -> None:
        self._catalog = catalog
        self._told = told
        self._name = name
        self._chance = random.Random(name)
        self._number = 0
        self._states: dict[str, State] = {}

    async def run(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            changes, attempt = self._chosen()
            number = f"{self._name}/{self._number}"
            self._told.acknowledge(ledger.begun(number, attempt))
            written = await self._catalog.write(changes, request_id=number if self._chance.random() < 0.5 else "")
            if all(isinstance(outcome, Receipt) for outcome in written.outcomes):
                self._told.acknowledge(ledger.done(number))
                for name, state in attempt.items.items():
                    if state is None:
                        self._states.pop(name, None)
                    else:
                        self._states[name] = state

    def _chosen(self) -> tuple[Sequence[Change], Attempt]:
        version = self._number
        names = [f"{self._name}-{place}" for place in self._chance.sample(range(KEYS), self._chance.randint(1, 3))]
        there = [name for name in names if name in self._states]
        match self._chance.choices(["put", "update", "delete", "interact", "user"], [8, 4, 2, 2, 1])[0]:
            case "update" if there:
                updated = {name: (self._states[name][0], version) for name in there}
                return [ItemUpdate(name, changed_attributes={"price": version}) for name in there], Attempt(
                    items=dict(updated)
                )
            case "delete" if there:
                return [ItemDeletion(name) for name in there], Attempt(items=dict.fromkeys(there))
            case "interact":
                serial = int.from_bytes(hashlib.sha256(f"{self._name}/{version}".encode()).digest()[:6])
                when = datetime.datetime.fromtimestamp(version, datetime.UTC)
                return [Interaction("u", "any", "view", float(serial), when)], Attempt(interactions=[serial])
            case "user":
                return [WritableUser(self._name, {"version": version})], Attempt(users={self._name: version})
            case _:
                put = dict.fromkeys(names, (version, 0))
                return [item(name, state) for name, state in put.items()], Attempt(items=dict(put))


async def write(told: PoweredFolder, first: str, count: int) -> None:
    """Be a writer."""
    async with open_catalog(Folder(told.root), settings(told.root)) as catalog, asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(Caller(catalog, told, f"{first}{number}").run(count))


async def feed(told: PoweredFolder, first: str) -> None:
    """Replace all items by the catalogue's own with a few changes."""
    async with open_catalog(Folder(told.root), settings(told.root)) as catalog:
        stored = [one async for one in _states(catalog)]
        chance = random.Random(first)
        states = {name: state for name, state in stored if chance.random() < 0.7}
        states |= {f"{first}feed-{place}": (3 + place, 0) for place in range(6)}
        attempt = Attempt({**{name: None for name, _ in stored}, **states}, whole=True)
        told.acknowledge(ledger.begun(f"{first}feed", attempt))
        async with catalog.feed() as session:
            outcomes = await session.stage([item(name, state) for name, state in states.items()])
            if outcomes != [None] * len(states):
                return
            await session.commit()
        told.acknowledge(ledger.done(f"{first}feed"))


async def _states(catalog: SqliteCatalog) -> AsyncIterator[tuple[str, State]]:
    for one in await catalog.page(after="", limit=100_000, vectors=False):
        yield one.id, (int(str(one.attributes["version"])), int(str(one.attributes.get("price", 0))))


def serve(told: PoweredFolder, first: str, count: int, plant: str) -> None:
    """Run writers and builder, then a feed."""
    arguments = [str(told.state), str(told.root)]
    with hold(told.root) as folder:
        declare_spaces(folder, [external_space(name, section) for name, section in content.EXTERNAL.items()])
        builder = _start("build", *arguments, first, "0", plant)
        try:
            writers = [_start("write", *arguments, f"{first}{number}", str(count), plant) for number in range(WRITERS)]
            for writer in writers:
                _end(writer)
            _end(_start("feed", *arguments, first, "0", plant))
        finally:
            assert builder.stdin is not None
            builder.stdin.close()
            _end(builder)


def build(told: PoweredFolder) -> None:
    """Be the builder, until standard input ends."""
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    write_manifest = manifest.write

    def noted(*arguments: Any) -> manifest.Generation:
        generation = write_manifest(*arguments)
        told.acknowledge(ledger.published(generation.number))
        return generation

    manifest.write = noted
    folder = Folder(told.root)
    with join(folder):
        Indexing(folder, settings(told.root)).run(stop)


def _start(role: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "faults.power_load", role, *arguments], stdin=subprocess.PIPE)


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        status = process.wait()
    if status:
        raise SystemExit(f"{process.args} ended with {status}")


if __name__ == "__main__":
    role, state, root, first, count, *plant = sys.argv[1:]
    told = PoweredFolder(Path(), Path(root), Path(state))
    planted.plant(plant[0] if plant else "")
    match role:
        case "serve":
            serve(told, first, int(count), plant[0] if plant else "")
        case "write":
            asyncio.run(write(told, first, int(count)))
        case "feed":
            asyncio.run(feed(told, first))
        case "build":
            build(told)
