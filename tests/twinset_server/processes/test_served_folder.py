"""What a supervisor does for maintenance."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from twinset_server.processes.served_folder import ServedFolder
from twinset_server.processes.supervisor import Supervisor


class FakeSupervisor:
    def __init__(self) -> None:
        self.rebuilt: list[str] = []

    async def rebuild(self, space: str) -> AsyncIterator[float]:
        self.rebuilt.append(space)
        for share in (0.5, 1.0):
            yield share


@pytest.mark.parametrize(("alone", "shares"), [(False, [0.5, 1.0]), (True, [0.25, 0.5, 0.75, 1.0])])
async def test_no_older_generation_is_left_after_a_second_build(alone: bool, shares: list[float]) -> None:
    supervisor = FakeSupervisor()
    served = ServedFolder(Path("/data"), cast(Supervisor, supervisor))
    assert [share async for share in served.rebuild("visual", alone=alone)] == shares
    assert supervisor.rebuilt == ["visual"] * (2 if alone else 1)
