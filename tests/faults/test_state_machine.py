"""In any order of writes, folds, restarts and losses, the catalogue holds and finds what a dict and exact search say."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from fakes.catalog import FakeCatalog
from faults.machine import SPACES, CatalogMachine

# 500 for `make faults`.
RUNS = int(os.environ.get("TWINSET_MACHINE_RUNS", "25"))
STEPS = 50

_SETTINGS = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class FakeSystem:
    """The catalogue in memory: nothing around it can go wrong."""

    async def open(self) -> None:
        self.catalog = FakeCatalog(SPACES.values())

    async def fold(self) -> None:
        pass

    async def restart(self) -> None:
        pass

    async def lose_generation(self) -> None:
        pass

    async def close(self) -> None:
        pass


class FakeMachine(CatalogMachine):
    system_type = FakeSystem


TestFake = FakeMachine.TestCase
TestFake.settings = settings(_SETTINGS, max_examples=25)
