"""The memory of a process and of all that it started, from outside."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_ANONYMOUS = re.compile(r"^Anonymous:\s+(\d+) kB", re.MULTILINE)
_PERIOD_S = 0.25


class Peak:
    """The largest sum seen so far, in MB of 10^6 bytes."""

    def __init__(self) -> None:
        self.mb = 0.0


@contextlib.contextmanager
def peak(pid: int) -> Iterator[Peak]:
    """Watch `pid` and its descendants four times a second.

    Counted are their proportional set sizes, in which shared pages count once.
    """
    seen, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(_PERIOD_S):
            seen.mb = max(seen.mb, sum(_pss_kb(process) for process in _family(pid)) * 1024 / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def anonymous_mb(pid: int) -> float:
    """Return the memory that is this process's own, in MB of 10^6 bytes: what it mapped from files is not in it."""
    found = _ANONYMOUS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def workers(pid: int) -> list[int]:
    """Return the processes below `pid` that were started as workers."""
    return [process for process in _family(pid) if b"\0worker\0" in Path(f"/proc/{process}/cmdline").read_bytes()]


def _family(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield from _family(int(child))


def _pss_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(found[1]) if found else 0
    return 0
