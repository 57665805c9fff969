"""When a worker waits for the builder: what that writes once, all workers map, instead of each making it in memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.index import column_files
from twinset_server.catalog.index.following import SpaceState
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.store.log import ChangeLog, Snapshot

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.01
_TELL_S = 5.0


class BuilderWait:
    """Waits at a start, and after a commit that brings many vectors at once, but not without end."""

    def __init__(self, index: Path, wait_s: float, bulk: int) -> None:
        """Wait for what is written into the folder `index`.

        Args:
            index: where the builder writes.
            wait_s: how long it may take; 0 where there is none.
            bulk: so many vectors outside the index, or items without a snapshot, are worth waiting for.
        """
        self._columns = column_files.columns_folder(index)
        self._wait_s = wait_s
        self._bulk = bulk
        self._awaiting_since: float | None = None

    def first_generations(
        self,
        log: ChangeLog,
        states: Mapping[str, SpaceState],
        found: MutableMapping[str, OpenGeneration | None],
        stopped: Callable[[], bool],
    ) -> None:
        """Return when no space has many vectors and no sound generation, or after the time that a builder may take.

        Args:
            log: tells how many vectors there are.
            states: by the name of their space.
            found: what was opened of each; what appears meanwhile is opened into it.
            stopped: asked now and then.
        Raises:
            Stopped: `stopped` returned True.
        """
        missing = [name for name, one in found.items() if one is None]
        # Counted once: a look at each vector takes long, and every worker waits here.
        with log.snapshot() as snapshot:
            many = [name for name in missing if snapshot.live(name) > self._bulk]

        def waiting() -> list[str]:
            for name in many:
                if found[name] is None and states[name].newer_generation():
                    found[name] = states[name].open_newest(stopped)
            return [name for name in many if found[name] is None]

        if not self._until_none(waiting, "the index of %s"):
            _log.warning("searches are slow until the builder has written the index of %s", ", ".join(waiting()))

    def first_columns(self, log: ChangeLog, stopped: Callable[[], bool]) -> Columns | None:
        """Return the newest sound snapshot of the columns; where there is none, and many items, when one appears.

        None means that they are to be read from the database: also where there is one that is damaged, of which the
        builder may not know yet.

        Raises:
            Stopped: `stopped` returned True.
        """
        with log.snapshot() as snapshot:
            many = snapshot.items > self._bulk
        if many and self._wait_s:

            def waiting() -> list[str]:
                return [] if column_files.numbers(self._columns) else ["all items"]

            if not self._until_none(waiting, "categories and attributes of %s"):
                _log.warning("the builder didn't write categories and attributes: all items are read instead")
        found = column_files.newest_sound(self._columns, stopped)
        return None if found is None else found[1]

    def awaits(self, snapshot: Snapshot, key: int, known: Mapping[str, int]) -> bool:
        """Return whether the snapshot has so many vectors more that the builder is to bring them.

        A feed may commit a million at once. In memory they would take gigabytes, in every worker.

        Args:
            snapshot: what was committed.
            key: the last key of a vector that is known of all spaces.
            known: the same of each space.
        """
        waiting: list[str] = []
        if self._wait_s and snapshot.position.key - key > self._bulk:
            waiting = [name for name, last in known.items() if snapshot.has_more(name, last, self._bulk)]
        if not waiting:
            self._awaiting_since = None
            return False
        now = time.monotonic()
        if self._awaiting_since is None:
            self._awaiting_since = now
            _log.info("waiting for the builder to write many vectors into the index of %s", ", ".join(waiting))
        if now - self._awaiting_since < self._wait_s:
            return True
        _log.warning("the builder didn't write the index of %s: its vectors go into memory", ", ".join(waiting))
        return False

    def _until_none(self, waiting: Callable[[], list[str]], what: str) -> bool:
        """Return whether nothing is `waiting` any more; tell of `what` meanwhile."""
        ends = time.monotonic() + self._wait_s
        tell_at = time.monotonic()
        while left := waiting():
            if time.monotonic() >= ends:
                return False
            if time.monotonic() >= tell_at:
                _log.info("waiting for the builder to write " + what, ", ".join(left))
                tell_at += _TELL_S
            time.sleep(_LOOK_EVERY_S)
        return True
