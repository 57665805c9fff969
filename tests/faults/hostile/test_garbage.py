"""Garbage at every RPC is answered by what is wrong with it."""

import asyncio
from pathlib import Path

import pytest

from faults.hostile import garbage
from faults.hostile.messages import Messages
from faults.share import share
from twinset_server.catalog.sqlite_catalog import SqliteCatalog
from twinset_server.rpc import convert


def test_garbage_is_never_a_defect_of_the_server_nor_a_hang(tmp_path: Path) -> None:
    calls = share(240, 20_000)
    outcome = asyncio.run(garbage.send(tmp_path, 0, calls))
    assert outcome.problems == []
    assert outcome.calls == calls
    # Else the garbage would be of one kind, and little of the server would be reached.
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"} <= outcome.codes.keys()


def test_a_defect_and_a_hang_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("planted")

    async def silent(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(convert, "catalog_status", broken)
    monkeypatch.setattr(SqliteCatalog, "factor_generations", silent)
    monkeypatch.setattr(garbage, "ANSWERED_WITHIN_S", 0.5)
    monkeypatch.setattr(Messages, "encoded", lambda *_: b"")
    names = [method.name for method in garbage.METHODS]
    seen = [
        problem
        for name in ("GetCatalog", "ListFactors")
        for problem in asyncio.run(garbage.send(tmp_path / name, names.index(name), 1)).problems
    ]
    assert [problem.partition(": ")[2].partition(":")[0] for problem in seen] == ["INTERNAL", "DEADLINE_EXCEEDED"]


def test_the_same_number_makes_the_same_bytes() -> None:
    first, second = (garbage.sent(garbage.METHODS[3], 3, {"": ["a"], "bytes": [b"b"]}) for _ in range(2))
    assert first == second
