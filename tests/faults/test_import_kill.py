"""An import of factors that is killed: the old generation serves or the new one, whole, and the next import goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fakes.factors import each
from faults import import_load as load
from twinset_server.catalog import SqliteCatalog, open_alone, steps
from twinset_server.domain import Search

PROGRAM = Path(load.__file__)


def run(folder: Path, first: int, count: int, *flags: str, fault: str = "") -> list[int]:
    """Let the program import, and return the seeds that it said to serve; `fault` kills it."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(first), str(count), *flags],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TWINSET_FAULT_AT": fault},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if fault else 0)
    return [int(line.split()[1]) for line in done.stdout.splitlines()]


async def problems(catalog: SqliteCatalog, seed: int) -> list[str]:
    """Return in what the catalogue isn't just what the generation of `seed` makes it."""
    header, items, users = load.generation(seed)
    state = await catalog.state()
    space = state.spaces["taste"]
    if space.fingerprint != header.fingerprint:
        return [f"{space.fingerprint} serves, not {header.fingerprint}"]
    found = []
    rows = state.vectors("taste", items.ids)
    stored = items.factors[: len(load.STORED)]
    if rows.values.shape != stored.shape or (rows.values[np.argsort(rows.owners)] != stored).any():
        found.append(f"{len(rows.values)} items have factors, and not just those of their generation")
    for user_id, factors in zip(users.ids, users.factors, strict=True):
        told = await catalog.taste(user_id, space.generation)
        if told.factors is None or (told.factors != factors).any():
            found.append(f"{user_id} has other factors")
            continue
        best = [one.item_id for one in state.search(Search("taste", factors, 5, target_recall=1.0)).neighbours]
        if best != [items.ids[place] for place in np.argsort(-(stored @ factors))[:5]]:
            found.append(f"{user_id} is shown {best}")
    return found


def rows_of_generations(folder: Path) -> tuple[int, int]:
    """Return how many generations the tables hold rows of, and how many rows of items that is."""
    with contextlib.closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        (generations,) = connection.execute("SELECT count(*) FROM factor_generations").fetchone()
        (rows,) = connection.execute("SELECT count(*) FROM factor_items").fetchone()
    return generations, rows


@pytest.mark.parametrize(
    ("fault", "serves"),
    [
        (f"{steps.IMPORT_BEGUN}:3", 1),
        (f"{steps.IMPORT_ROWS}:{2 * (load.PARTS + 1) + 3}", 1),
        (f"{steps.IMPORT_WHOLE}:3", 1),
        (f"{steps.IMPORT_SWITCHED}:3", 2),
        (f"{steps.IMPORT_FORGETTING}:1", 2),
    ],
)
async def test_a_killed_import_leaves_one_generation_whole_and_the_next_goes_on(
    tmp_path: Path, fault: str, serves: int
) -> None:
    assert run(tmp_path, 0, 3, fault=fault) == [0, 1]
    async with open_alone(load.store(tmp_path), {}) as catalog:
        assert await problems(catalog, serves) == []
        # What served before can be had back, and what was staged is never told of.
        kept = [one.fingerprint for one in await catalog.factor_generations()]
        assert kept[:2] == [load.generation(seed)[0].fingerprint for seed in (serves, serves - 1)]
        await catalog.activate_factors(0)
        assert await problems(catalog, serves - 1) == []
        header, rows = load.parts(7)
        await catalog.import_factors(header, each(*rows))
        assert await problems(catalog, 7) == []
    assert rows_of_generations(tmp_path) == (2, 2 * load.ITEMS)


async def test_the_harness_catches_a_switch_before_the_rows(tmp_path: Path) -> None:
    assert run(tmp_path, 0, 2, "--switch-early", fault=f"{steps.IMPORT_ROWS}:{load.PARTS + 4}") == [0]
    async with open_alone(load.store(tmp_path), {}) as catalog:
        assert await problems(catalog, 0) != []
        assert await problems(catalog, 1) != []
