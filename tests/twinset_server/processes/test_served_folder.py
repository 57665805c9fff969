"""What a supervisor does for maintenance."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest

from twinset_server.lineage.switching import ModelSwitches
from twinset_server.processes.served_folder import ServedFolder
from twinset_server.processes.supervisor import Supervisor


class FakeSupervisor:
    def __init__(self) -> None:
        self.rebuilt: list[tuple[str, bool]] = []
        self.given_up = False

    async def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        self.rebuilt.append((space, alone))
        try:
            for share in (0.5, 1.0):
                yield share
        except GeneratorExit:
            self.given_up = True
            raise


@pytest.mark.parametrize("alone", [False, True])
async def test_the_builder_builds_once(alone: bool) -> None:
    supervisor = FakeSupervisor()
    served = ServedFolder(Path("/data"), cast(Supervisor, supervisor), cast(ModelSwitches, None))
    assert [share async for share in served.rebuild("visual", alone=alone)] == [0.5, 1.0]
    assert supervisor.rebuilt == [("visual", alone)]


async def test_a_rebuild_given_up_is_given_up_by_the_builder() -> None:
    supervisor = FakeSupervisor()
    served = ServedFolder(Path("/data"), cast(Supervisor, supervisor), cast(ModelSwitches, None))
    async with contextlib.aclosing(served.rebuild("visual")) as shares:
        await anext(shares)
    assert supervisor.given_up
