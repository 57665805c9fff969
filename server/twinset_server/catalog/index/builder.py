"""The builder: folds what was committed into generations, in lanes at a lower priority than what answers.

One lane folds the delta, which takes a tenth of a second; one merges small segments, which takes seconds, and one large
ones, which may take many minutes; and one writes snapshots of the table of columns. Nothing else writes into the folder
of the index.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.index.coding import default_dtype
from twinset_server.catalog.index.column_shelf import ColumnShelf
from twinset_server.catalog.index.lanes import Lane, Lanes
from twinset_server.catalog.index.plan import Limits
from twinset_server.catalog.index.shelf import Progress, Shelf
from twinset_server.catalog.store.generations import HIDDEN
from twinset_server.catalog.store.log import ChangeLog
from twinset_server.config import StoreSettings
from twinset_server.domain import TASTE
from twinset_server.errors import SpaceNotFound, StoreUnavailable

_log = logging.getLogger(__name__)

_PAUSE_S = 0.05
_PAUSE_AFTER_FAILURE_S = 5.0

_FOLD_NICE = 10
_MERGE_NICE = 15
"""On Linux a priority belongs to a thread, and the threads that USearch starts inherit it."""


class Builder:
    """Keeps the index of a catalogue; one at a time for each folder."""

    def __init__(self, database: Path, index: Path, settings: StoreSettings) -> None:
        """Make the builder of the index in the folder `index`, which is derived from `database`."""
        self._database = database
        self._index = index
        self._dtypes = settings.dtypes
        self._limits = Limits.of(settings.fold_at, settings.slow_at, settings.graph_at)
        self._stop = threading.Event()
        self._lanes = Lanes()
        self._shelves: dict[str, Shelf] = {}
        self._columns = ColumnShelf(index, self._limits, self._stop.is_set, self._lanes)
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        # Half of the cores at the most: the other half answers.
        self._threads = max(1, min(4, len(os.sched_getaffinity(0)) // 2))

    def run(self, stop: threading.Event) -> None:
        """Fold and merge until `stop` is set; what is under way then is given up.

        Raises:
            Exception: whatever a lane could not foresee; the process should end, and be started again.
        """
        works: dict[str, tuple[Callable[[ChangeLog], bool], int]] = {
            "fold": (self._fold_all, _FOLD_NICE),
            "brief": (functools.partial(self._merge_all, lane=Lane.BRIEF), _MERGE_NICE),
            "long": (functools.partial(self._merge_all, lane=Lane.LONG), _MERGE_NICE),
            "columns": (self._columns.refresh, _MERGE_NICE),
        }
        lanes = [threading.Thread(target=self._lane, args=work, name=f"builder-{name}") for name, work in works.items()]
        for lane in lanes:
            lane.start()
        while not stop.wait(_PAUSE_S) and not self._stop.is_set():
            pass
        self.close()
        for lane in lanes:
            lane.join()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Give up what is under way in any thread, and do nothing more."""
        self._stop.set()

    def fold_once(self) -> bool:
        """Fold in every space where that is due; return whether a generation was published.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: `close` was called.
        """
        with contextlib.closing(ChangeLog(self._database)) as log:
            return self._fold_all(log)

    def merge_once(self) -> bool:
        """Do the most urgent work on the segments of every space; return whether there was any.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: `close` was called.
        """
        with contextlib.closing(ChangeLog(self._database)) as log:
            return self._merge_all(log)

    def refresh_columns_once(self) -> bool:
        """Write a snapshot of the columns where that is due; return whether one was written.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: `close` was called.
        """
        with contextlib.closing(ChangeLog(self._database)) as log:
            return self._columns.refresh(log)

    def build_now(self) -> None:
        """Put all that was committed into segments, however little, and do all that is due beside that.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: `close` was called.
        """
        with contextlib.closing(ChangeLog(self._database)) as log:
            for shelf in self._open_shelves(log):
                shelf.fold(log, at_least=1)
            while self._merge_all(log):
                pass
            self._columns.refresh(log)

    def rebuild(
        self,
        space: str,
        progress: Progress,
        *,
        alone: bool = False,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Build the index of a space anew from the database, while folds go on.

        Args:
            space: its name.
            progress: told the share that is done, from the calling thread.
            alone: keep no older generation.
            cancelled: asked now and then whether to give up.
        Raises:
            SpaceNotFound: the catalogue has no space of this name.
            OSError: the disk is full, or failed.
            Stopped: the builder ends, or `cancelled` returned True; the index is what it was.
        """
        with contextlib.closing(ChangeLog(self._database)) as log:
            self._open_shelves(log)
            shelf = self._shelves.get(space)
            if shelf is None:
                raise SpaceNotFound(space, self._shelves)
            shelf.rebuild(log, self._threads, progress, alone=alone, cancelled=cancelled)

    def log_floors(self) -> dict[str, int]:
        """Return by space the change up to which its rows of `dead` can be pruned; 0 where none can."""
        with self._lock:
            return {name: shelf.log_floor for name, shelf in self._shelves.items()}

    def _fold_all(self, log: ChangeLog) -> bool:
        done = False
        for shelf in self._open_shelves(log):
            done |= shelf.fold(log)
        return done

    def _merge_all(self, log: ChangeLog, lane: Lane | None = None) -> bool:
        done = False
        for shelf in self._open_shelves(log):
            done |= shelf.merge(log, self._threads, lane)
        return done

    def _open_shelves(self, log: ChangeLog) -> list[Shelf]:
        """Return the shelves of all spaces, those of new ones opened."""
        with self._lock:
            for name, (key, space) in log.spaces().items():
                if name not in self._shelves:
                    shown = TASTE if name.startswith(HIDDEN) else name
                    dtype = self._dtypes.get(shown, default_dtype(space))
                    folder = self._index / str(key)
                    shelf = Shelf(folder, space, dtype, self._limits, self._stop.is_set, self._lanes)
                    shelf.open()
                    self._shelves[name] = shelf
            return list(self._shelves.values())

    def _lane(self, work: Callable[[ChangeLog], bool], nice: int) -> None:
        thread = threading.get_native_id()
        # Never higher than the process was given: that takes a privilege.
        os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))
        with contextlib.closing(ChangeLog(self._database)) as log:
            while not self._stop.is_set():
                try:
                    pause = 0.0 if work(log) else _PAUSE_S
                except Stopped:
                    return
                except (OSError, sqlite3.Error, StoreUnavailable):
                    # Nothing is lost: the rows are in SQLite, and searched exactly until they are folded.
                    _log.exception(
                        "the index could not be written; it is tried again in %.0f s", _PAUSE_AFTER_FAILURE_S
                    )
                    pause = _PAUSE_AFTER_FAILURE_S
                except Exception as error:
                    self._failure = error
                    self.close()
                    return
                self._stop.wait(pause)
