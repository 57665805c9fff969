"""kill -9 of any process of a server, at random and at any call, loses and resurrects nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.disk.power import compiled, compiler
from faults.kill.rounds import rounds
from faults.scratch import scratch

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler: install gcc or clang")

ROUNDS = ["worker", "builder", "supervisor", "sync", "rename"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


async def test_nothing_acknowledged_is_lost_when_processes_are_killed(library: Path) -> None:
    with scratch() as folder:
        async with rounds(folder, library, seed=1) as server:
            for kind in ROUNDS:
                assert (await server.round(kind)).problems == []
    assert server.ledger.acknowledged > 100
    assert sum(tally.kills for tally in server.tallies.values()) > len(ROUNDS) // 2


@pytest.mark.slow
async def test_the_harness_catches_an_acknowledgement_before_the_commit(library: Path) -> None:
    with scratch() as folder:
        async with rounds(folder, library, seed=2, bug="early-acknowledgement") as server:
            for _ in range(20):
                if problems := (await server.round("sync")).problems:
                    break
    assert any("and should be" in problem for problem in problems), "acknowledged before the commit, and never noticed"


@pytest.mark.slow
async def test_the_harness_catches_a_request_that_is_made_twice(library: Path) -> None:
    with scratch() as folder:
        async with rounds(folder, library, seed=3, bug="forgotten-requests") as server:
            for kind in ["worker", "sync"] * 15:
                try:
                    problems = (await server.round(kind)).problems
                except AssertionError as error:
                    # A deletion that is made again doesn't find its item any more.
                    problems = [str(error)]
                if problems:
                    break
    assert problems, "made twice, and never noticed"
