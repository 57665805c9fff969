"""Whenever the power fails, all that was acknowledged is there, nothing of it in part, and the index fits it."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import power_cut
from faults.disk.journal import read
from faults.disk.power import Action, Operation, PoweredFolder, compiled, compiler
from faults.scratch import scratch
from faults.share import share

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler: install gcc or clang")

CUTS = share(12, 600)
RUNS = share(1, 10)
COUNT = 10


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture
def folder(library: Path) -> Iterator[PoweredFolder]:
    with scratch() as outer:
        made = PoweredFolder(library, outer / "root", outer / "state")
        made.begin()
        yield made


async def problems(folder: PoweredFolder, count: int, seed: int = 1) -> list[str]:
    """Cut the power at `count` moments, and return what was wrong after any."""
    records, chance, found = read(folder.journal), random.Random(seed), []
    for cut, left, told in power_cut.folders(records, power_cut.cuts(records, count, chance), chance):
        found += [f"{cut}: {problem}" for problem in await power_cut.judge(left, told)]
    return found


@pytest.mark.parametrize("run", range(RUNS))
async def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(folder: PoweredFolder, run: int) -> None:
    assert power_cut.run_load(folder, f"a{run}", COUNT) == 0
    # Again on what is there: logs are reset, names and keys used before.
    assert power_cut.run_load(folder, f"b{run}", COUNT) == 0
    assert await problems(folder, CUTS // RUNS, seed=run) == []


@pytest.mark.parametrize(
    ("bug", "sign"),
    [
        ("early-acknowledgement", "and should be"),
        ("unsynced-commits", "and should be"),
        ("unsynced-pictures", "is damaged"),
        ("unsynced-renames", "was published"),
        ("unsynced-segments", "was published"),
    ],
)
async def test_the_harness_catches(folder: PoweredFolder, bug: str, sign: str) -> None:
    assert power_cut.run_load(folder, "a", 8, bug) == 0
    found = await problems(folder, 80)
    assert any(sign in problem for problem in found), f"{bug} was never noticed, but {found}"


FAILURES = [
    (operations, action, error, after)
    for operations in (Operation.SYNC, Operation.WRITE, Operation.RENAME, Operation.CREATE, Operation.TRUNCATE)
    for action in (Action.FAIL_ONCE, Action.FAIL_FOR_GOOD)
    for error in (errno.EIO, errno.ENOSPC)
    for after in (3, 20, 60, 61, 62, 63, 150, 400)
]


@pytest.mark.parametrize(
    ("operations", "action", "error", "after"),
    random.Random(2).sample(FAILURES, share(1, len(FAILURES))),
)
async def test_a_call_that_fails_is_never_acknowledged_and_writes_recover(
    folder: PoweredFolder, operations: Operation, action: Action, error: int, after: int
) -> None:
    assert power_cut.run_load(folder, "a", 2) == 0
    folder.strike(operations, action, after=after, error=error)
    # What fails may end the whole run, such as a start on a full disk.
    power_cut.run_load(folder, "b", COUNT)
    folder.calm()
    assert power_cut.run_load(folder, "c", 2) == 0
    assert await problems(folder, 12) == []
