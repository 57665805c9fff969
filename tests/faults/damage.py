"""Damaged indexes, each opened in a process that may crash: all damage must be found, and cost no answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults import content, mutation_trial
from twinset_server.catalog import Folder, open_alone
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import StoreSettings
from twinset_server.domain import ItemDeletion, ItemVector, WritableItem

ANSWERED_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One mutation and what it did. `problem` is empty where it was found and the answers stayed the same."""

    number: int
    kind: str
    file: str
    seconds: float
    problem: str


async def prepare(folder: Path) -> None:
    """Make a catalogue with two generations, the newest with a graph of its own, columns, and changes since."""
    settings = StoreSettings(path=folder, fold_at=200, graph_at=100)
    paths = Folder(folder)
    async with open_alone(settings, content.EXTERNAL) as catalog:
        await catalog.write([_item(number) for number in range(1200)])
        builder = Builder(paths.database, paths.index, settings)
        builder.build_now()
        # Just so many that the segment is copied and added to, dead rows and all: the generations share none.
        await catalog.write([_item(number, 2) for number in range(1000, 1300)])
        builder.build_now()
        await catalog.write([_item(number, 3) for number in range(30)])
        await catalog.write([ItemDeletion(f"{number}") for number in range(100, 120)])


def trials(master: Path, first: int, count: int, bug: str = "") -> Iterator[Trial]:
    """Yield what each mutation did; a process that crashes is followed by another."""
    end = first + count
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), environment.get("PYTHONPATH", "")])
    while first < end:
        command = [sys.executable, "-m", mutation_trial.__name__, str(master), str(first), str(end - first), bug]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told = json.loads(line)
                outcome = process.stdout.readline()
                first = told["number"] + 1
                if not outcome:
                    yield Trial(**told, seconds=0.0, problem=f"the process ended with {process.wait()}")
                    break
                yield Trial(**told, **_judged(json.loads(outcome)))
            else:
                if process.wait():
                    raise RuntimeError(f"{command} ended with {process.returncode} outside of a trial")


def _judged(outcome: dict[str, object]) -> dict[str, object]:
    problems = {
        "the damage was not found": not outcome["found"],
        "answers differ": not outcome["same"],
        "USearch was given damaged bytes": outcome["touched"],
        f"it took more than {ANSWERED_WITHIN_S:.0f} s": float(str(outcome["seconds"])) > ANSWERED_WITHIN_S,
    }
    found = ", ".join(problem for problem, holds in problems.items() if holds)
    return {"seconds": outcome["seconds"], "problem": found}


def _item(number: int, version: int = 1) -> WritableItem:
    values = np.asarray(content.vector(f"{number}", version))
    attributes = {"half": number % 2, "version": f"{version}"}
    return WritableItem(f"{number}", "", "", "", attributes, [], [ItemVector(content.SPACE, "front", values)])
