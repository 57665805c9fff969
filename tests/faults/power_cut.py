"""What a power cut at any moment of a watched run leaves, opened by the real catalogue and judged by the ledger."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults import content, ledger, power_load
from faults.disk.journal import Disk, Record
from faults.disk.power import PoweredFolder
from faults.ledger import Ledger, Stored
from faults.scratch import scratch
from twinset_server.catalog import SqliteCatalog, external_space, open_alone
from twinset_server.catalog.index import column_files, manifest
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.domain import And, Compare, Exists, Expression, Not, Operator
from twinset_server.errors import TwinsetError


def run_load(folder: PoweredFolder, first: str, count: int, bug: str = "") -> int:
    """Run the load to its end, or to that of a process of it, and return the status."""
    arguments = ["serve", str(folder.state), str(folder.root), first, str(count), bug]
    tests = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**folder.environment, "PYTHONPATH": os.pathsep.join(filter(None, tests))}
    command = [sys.executable, "-m", power_load.__name__, *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment at which the power fails: after so many records; `early` as in `Disk.rebuild`."""

    place: int
    early: float
    torn: bool


def cuts(records: Sequence[Record], count: int, chance: random.Random) -> list[Cut]:
    """Return `count` moments of a run, in their order; the last is its end."""
    first = next(place for place, record in enumerate(records) if record.kind == "A")
    places = sorted(chance.choices(range(first, len(records)), k=count - 1))
    return [
        *(Cut(place + 1, chance.choice([0.0, 0.5, 1.0]), torn=chance.random() < 0.5) for place in places),
        Cut(len(records), 0.0, torn=False),
    ]


def folders(
    records: Sequence[Record], wanted: Sequence[Cut], chance: random.Random
) -> Iterator[tuple[Cut, Path, Ledger]]:
    """Yield for each cut, in order, the folder as it is left and the ledger as of then."""
    disk, place = Disk(), 0
    for cut in wanted:
        for record in records[place : cut.place]:
            disk.apply(record)
        place = cut.place
        under_way = records[place] if cut.torn and place < len(records) else None
        with scratch() as target:
            disk.rebuild(target, chance, early=cut.early, under_way=under_way)
            yield cut, target, ledger.read(disk.acknowledged)


async def judge(folder: Path, told: Ledger) -> list[str]:
    """Open the catalogue in `folder`, and return what is lost, resurrected or not found."""
    index = _lost_generation(folder, told.generation) + _unsound_columns(folder)
    async with open_alone(power_load.settings(folder), content.EXTERNAL) as catalog:
        named = {*told.users, *(name for attempt in told.attempts.values() for name in attempt.users)}
        stored, problems = await held(catalog, named)
        return index + problems + told.problems(stored) + await misplaced(catalog, stored)


def _lost_generation(folder: Path, published: int) -> list[str]:
    """Tell where a published generation, by which the log was cut and older files were removed, is gone."""
    space = external_space(content.SPACE, content.EXTERNAL[content.SPACE])
    sound = [manifest.newest_sound(path, space) for path in (folder / "index").glob("*")]
    newest = max((one.generation.number for one in sound if one is not None), default=0)
    return [f"generation {published} was published, and {newest} is the newest"] if newest < published else []


def _unsound_columns(folder: Path) -> list[str]:
    """Tell where a snapshot of the columns got its name before all of it was on disk."""
    home = column_files.columns_folder(folder / "index")
    problems = []
    for number in column_files.numbers(home):
        try:
            column_files.open_snapshot(home, number)
        except Unsound as error:
            problems.append(f"snapshot {number} of the columns was published: {error}")
    return problems


async def held(catalog: SqliteCatalog, users: Iterable[str]) -> tuple[Stored, list[str]]:
    """Return what a catalogue holds, of the users those named, and what doesn't fit together within it."""
    stored, problems = Stored(), []
    for item in await catalog.page(after="", limit=1_000_000, vectors=True):
        version, price = int(str(item.attributes["version"])), int(str(item.attributes.get("price", 0)))
        stored.items[item.id] = (version, price)
        vectors = [vector.values for vector in item.vectors or ()]
        # The store scales vectors anew, which may move a last bit.
        fits = len(vectors) == 1 and np.allclose(vectors[0], content.vector(item.id, version), atol=1e-6)
        if item.title != content.title(item.id, version) or not fits:
            problems.append(f"{item.id} at version {version} holds parts of another")
        if content.has_picture(version):
            try:
                if (await catalog.picture(item.id, "")).content != content.picture(item.id, version):
                    problems.append(f"the picture of {item.id} is of another version than {version}")
            except TwinsetError as error:
                problems.append(f"the picture of {item.id} at version {version}: {error}")
    stored.users = await _users(catalog, users)
    stored.interactions = [int(one.interaction.weight) for one in await catalog.interactions(after=0, limit=1_000_000)]
    return stored, problems


async def misplaced(catalog: SqliteCatalog, stored: Stored) -> list[str]:
    """Return where the index disagrees with the items: each is found by its vector, and no other vector is there."""
    problems = []
    for name, (version, _) in stored.items.items():
        [nearest] = (await catalog.search(content.SPACE, content.vector(name, version), 1)).neighbours or [None]
        if nearest is None or nearest.item_id != name or nearest.distance > 1e-6:
            problems.append(f"{name} at version {version} is not found, but {nearest}")
    everything = await catalog.search(content.SPACE, content.vector("any", 1), len(stored.items) + 50)
    found = {neighbour.item_id for neighbour in everything.neighbours}
    if found != set(stored.items):
        problems.append(f"searches find {sorted(found ^ set(stored.items))} besides or not")
    for state in set(stored.items.values()):
        expected = {name for name, one in stored.items.items() if one == state}
        of_state = await catalog.search(
            content.SPACE, content.vector("any", 1), len(expected) + 50, expression=_of(*state)
        )
        found = {neighbour.item_id for neighbour in of_state.neighbours}
        if found != expected:
            problems.append(f"a filter for version and price {state} finds {sorted(found ^ expected)} besides or not")
    status = await catalog.status()
    [vectors] = [one.vectors for one in status.spaces if one.space.name == content.SPACE]
    if (status.items, vectors) != (len(stored.items), len(stored.items)):
        problems.append(f"{status.items} items and {vectors} vectors are counted, {len(stored.items)} are there")
    return problems


def _of(version: int, price: int) -> Expression:
    """Return a filter for the items at this version, at this price or without one."""
    priced = Compare("attributes.price", Operator.EQUAL, price) if price else Not(Exists("attributes.price"))
    return And((Compare("attributes.version", Operator.EQUAL, version), priced))


async def _users(catalog: SqliteCatalog, names: Iterable[str]) -> dict[str, int]:
    found = {}
    for name in names:
        try:
            found[name] = int(str((await catalog.user(name)).attributes["version"]))
        except TwinsetError:
            continue
    return found
