"""Garbage at every RPC is answered by what is wrong with it."""

import asyncio
from pathlib import Path

from faults.hostile import garbage
from faults.share import share


def test_garbage_is_never_a_defect_of_the_server_nor_a_hang(tmp_path: Path) -> None:
    calls = share(400, 20_000)
    outcome = asyncio.run(garbage.send(tmp_path, 0, calls))
    assert outcome.problems == []
    assert outcome.calls == calls
    # Else the garbage would be of one kind, and little of the server would be reached.
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"} <= outcome.codes.keys()


def test_the_same_number_makes_the_same_bytes() -> None:
    first, second = (garbage.sent(garbage.METHODS[3], 3, {"": ["a"], "bytes": [b"b"]}) for _ in range(2))
    assert first == second
