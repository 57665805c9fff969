"""Who goes first in the builder: what takes less time, and is waited for by more."""

from __future__ import annotations

import contextlib
import enum
import threading
from collections.abc import Iterator


class Lane(enum.IntEnum):
    """A kind of work that has a thread of its own. The lesser ones go first."""

    FOLD = 1
    """Committed rows are written into a segment: a tenth of a second."""

    BRIEF = 2
    """Small segments are merged, and get their graph: seconds."""

    LONG = 3
    """Large segments are merged, or built anew: up to many minutes."""


class Lanes:
    """Which lanes are at work, one thread in each."""

    def __init__(self) -> None:
        self._at_work = {lane: threading.Event() for lane in Lane}

    @contextlib.contextmanager
    def at_work(self, lane: Lane) -> Iterator[None]:
        """Let the lanes behind this one know that it is at work, while the context is open."""
        self._at_work[lane].set()
        try:
            yield
        finally:
            self._at_work[lane].clear()

    def is_behind(self, lane: Lane) -> bool:
        """Return whether a lane that goes before this one is at work."""
        return any(event.is_set() for other, event in self._at_work.items() if other < lane)
