"""In any order of writes, folds, restarts and losses the catalogue says what a dict and an exact search say."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from fakes.catalog import FakeCatalog
from faults import planted
from faults.machine import SPACES, CatalogMachine
from faults.scratch import scratch
from faults.share import share
from twinset_server.catalog import Folder, open_alone
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.store import schema
from twinset_server.catalog.store.collector import Collector
from twinset_server.catalog.store.pruner import Pruner
from twinset_server.config import StoreSettings

RUNS = share(8, 500)
STEPS = 50

_SETTINGS = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    # Shrinking replays hundreds of runs; the failing one is printed as it was found.
    phases=[Phase.generate],
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


class SqliteSystem:
    """The catalogue on disk, its builder at hand."""

    async def open(self) -> None:
        self._folder = contextlib.ExitStack()
        self._settings = StoreSettings(path=self._folder.enter_context(scratch()), fold_at=4, graph_at=2)
        await self._begin()

    async def fold(self) -> None:
        folder = Folder(self._settings.path)
        builder = Builder(folder.database, folder.index, self._settings)
        builder.fold_once()
        while builder.merge_once():
            pass
        collector, pruner = Collector(folder), Pruner(folder)
        try:
            collector.collect()
            collector.sweep()
            pruner.prune_log(min(builder.log_floors().values(), default=0))
        finally:
            collector.close()
            pruner.close()

    async def restart(self) -> None:
        await self._stack.aclose()
        await self._begin()

    async def lose_generation(self) -> None:
        await self._stack.aclose()
        for space in (self._settings.path / "index").iterdir():
            if generations := sorted(space.glob("generation-*.json")):
                damaged = generations[-1].read_bytes()
                generations[-1].write_bytes(damaged[: len(damaged) // 2])
        await self._begin()

    async def close(self) -> None:
        await self._stack.aclose()
        self._folder.close()

    async def _begin(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self.catalog = await self._stack.enter_async_context(open_alone(self._settings, {}, SPACES.values()))


class FakeMachine(CatalogMachine):
    system_type = FakeSystem


TestFake = FakeMachine.TestCase
TestFake.settings = settings(_SETTINGS, max_examples=25)


class SqliteMachine(CatalogMachine):
    system_type = SqliteSystem


TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = _SETTINGS


def test_the_machine_catches_keys_that_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_TABLES", schema._TABLES)
    planted.plant("reused-keys")
    with pytest.raises(AssertionError):
        run_state_machine_as_test(SqliteMachine, settings=settings(_SETTINGS, max_examples=200))
