"""A killed catalogue has lost nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from faults import catalog_load as load
from twinset_server.catalog import Folder, SqliteCatalog, open_alone, steps
from twinset_server.catalog.store.collector import Collector
from twinset_server.errors import TwinsetError

PROGRAM = Path(load.__file__)

ROUNDS = 6
TRIES = 15
"""Kills in which a planted bug has to show."""


@dataclass
class Acknowledged:
    """What the killed processes were told: the last version of each item, and what was deleted."""

    versions: dict[str, int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def read(self, output: str) -> None:
        # A line without its end was cut off by the kill.
        for line in output.splitlines(keepends=True):
            match line.split():
                case ["put", item_id, version] if line.endswith("\n"):
                    self.versions[item_id] = int(version)
                case ["deleted", item_id] if line.endswith("\n"):
                    self.deleted.add(item_id)


def run_and_kill(folder: Path, first: int, after_s: float, *flags: str) -> str:
    """Start the program, kill it `after_s` seconds after its first acknowledgement, and return what it printed."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(first), *flags],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    with process.stdout:
        begun = process.stdout.readline()
        assert begun, "the program ended before its first acknowledgement"
        time.sleep(after_s)
        process.kill()
        output = begun + process.stdout.read()
    process.wait()
    return output


def run_to(folder: Path, first: int, fault: str) -> str:
    """Start the program, let it kill itself at a step, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(first)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TWINSET_FAULT_AT": fault},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    return done.stdout


async def lost(catalog: SqliteCatalog, told: Acknowledged) -> list[str]:
    """Return what was acknowledged and isn't so."""
    problems = []
    names = list(told.versions)
    for name, item in zip(names, await catalog.get(names, vectors=False), strict=True):
        version = told.versions[name]
        if item is None:
            # Each deletion follows version 2; it may be durable and not yet acknowledged.
            if version < 2 or not name.endswith("-0"):
                problems.append(f"{name} is missing")
            continue
        stored = int(str(item.attributes["version"]))
        if name in told.deleted or stored < version:
            problems.append(f"{name} is at version {stored}")
            continue
        try:
            picture = await catalog.picture(name, "0")
        except TwinsetError as error:
            problems.append(f"picture of {name}: {error}")
            continue
        if picture.content != load.content(name, stored):
            problems.append(f"picture of {name} is another")
        [nearest] = (await catalog.search("own", load.vector(name, stored), 1)).neighbours
        if nearest.item_id != name or nearest.distance > 1e-6:
            problems.append(f"{name} is not found")
    return problems


def strays(folder: Path, catalog_contents: set[str]) -> list[str]:
    """Return the files of pictures that no item shows, and any that are half written."""
    files = [path for path in (folder / "pictures").rglob("*") if path.is_file()]
    return [str(path) for path in files if path.parent.name + path.name not in catalog_contents]


def collect_and_sweep(folder: Path) -> None:
    """Remove the pictures that nothing shows, those of a killed process among them."""
    collector = Collector(Folder(folder))
    while collector.collect():
        pass
    for _ in range(collector.directories()):
        collector.sweep()
    collector.close()


async def test_nothing_acknowledged_is_lost_in_repeated_kills(tmp_path: Path) -> None:
    chance = random.Random(7)
    told = Acknowledged()
    for number in range(ROUNDS):
        told.read(run_and_kill(tmp_path, number * 1_000_000, chance.uniform(0, 0.4)))
        async with open_alone(load.store(tmp_path), load.SPACES) as catalog:
            assert await lost(catalog, told) == [], f"after kill {number + 1}"
            items = await catalog.page(after="", limit=1_000_000, vectors=False)
            collect_and_sweep(tmp_path)
            assert strays(tmp_path, {picture.sha256 for item in items for picture in item.pictures}) == []
    assert len(told.versions) > 100
    assert told.deleted


@pytest.mark.parametrize("step", [steps.PICTURES_WRITTEN, steps.BEFORE_COMMIT, steps.AFTER_COMMIT])
async def test_nothing_acknowledged_is_lost_at_any_step_of_a_commit(tmp_path: Path, step: str) -> None:
    told = Acknowledged()
    for number, count in enumerate((1, 2, 5, 12)):
        told.read(run_to(tmp_path, number * 1_000_000, f"{step}:{count}"))
        async with open_alone(load.store(tmp_path), load.SPACES) as catalog:
            assert await lost(catalog, told) == [], f"at the {count}. {step}"
    assert told.versions


async def test_the_harness_catches_an_acknowledgement_before_the_commit(tmp_path: Path) -> None:
    found: list[str] = []
    for number in range(TRIES):
        told = Acknowledged()
        told.read(run_and_kill(tmp_path, number * 1_000_000, 0.05, "--acknowledge-early"))
        async with open_alone(load.store(tmp_path), load.SPACES) as catalog:
            found = await lost(catalog, told)
        if found:
            break
    assert found, "acknowledged before the commit, and never noticed"
