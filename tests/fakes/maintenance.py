"""Maintenance that does nothing until it is told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

from twinset_server.maintenance import (
    BackupReport,
    CheckReport,
    CompactReport,
    Finding,
    RebuildReport,
    RestoreReport,
    Severity,
    Work,
)

T = TypeVar("T")


class FakeMaintenance:
    """Implements the port `Maintenance`: every work waits for `go`, and ends in `error` where there is one."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.asked: list[object] = []
        self.findings = 3
        self.spaces: tuple[str, ...] = ("visual",)

    async def backup(self, into: Path, name: str, work: Work) -> BackupReport:
        return await self._done(work, BackupReport(into / name, 7, 3, 2, 99, ["ab" * 32]), into, name)

    async def restore(self, backup: Path, work: Work) -> RestoreReport:
        return await self._done(work, RestoreReport(7, 3, 2, 5), backup)

    async def check(self, work: Work) -> CheckReport:
        finding = Finding(Severity.WARNING, "index/1", "is damaged", "rebuild it")
        return await self._done(work, CheckReport([finding] * self.findings, 7, 3, 2, 1))

    async def compact(self, work: Work) -> CompactReport:
        return await self._done(work, CompactReport(100, 50, 4, 1, ("visual",)))

    async def rebuild(self, space: str, work: Work) -> RebuildReport:
        return await self._done(work, RebuildReport(self.spaces), space)

    async def _done(self, work: Work, report: T, *asked: object) -> T:
        self.asked.append(asked)
        work.stage("working", "pieces", 4)
        work.advance(3)
        while not self.go.is_set():
            work.check()
            await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        return report
