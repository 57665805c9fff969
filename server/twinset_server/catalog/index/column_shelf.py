"""What the builder does for the table of columns: a snapshot of it, written anew when enough has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.index import column_files
from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.index.lanes import Lane, Lanes
from twinset_server.catalog.index.plan import Limits
from twinset_server.catalog.store.log import ChangeLog, Snapshot

_log = logging.getLogger(__name__)

_OVERDUE = 4
"""So many times as many changes as make a snapshot due don't wait for a fold to end, which may begin again at once."""


class ColumnShelf:
    """The snapshots in the folder of the index. One thread calls it.

    The table itself isn't kept between two snapshots: it is read from the last one, and brought up to date.
    """

    def __init__(self, index: Path, limits: Limits, stopped: Callable[[], bool], lanes: Lanes) -> None:
        """Make the shelf of `index`, which gives up what it does when `stopped` returns True.

        Nothing is begun while one of `lanes` is at work that folds.
        """
        self._index = index
        self._folder = column_files.columns_folder(index)
        self._limits = limits
        self._stopped = stopped
        self._lanes = lanes
        self._number = -1
        self._sequence = 0
        self._next_look = 0

    def refresh(self, log: ChangeLog) -> bool:
        """Write a snapshot where that is due; return whether one was written.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: the builder ends.
        """
        self._look()
        with log.snapshot() as snapshot:
            if not self._is_due(snapshot):
                return False
        # Held from before the last one is read: who removes that, for what it tells, wants it in no other either.
        with column_files.held(self._index):
            found = column_files.newest_sound(self._folder, self._stopped)
            table = ColumnTable(None if found is None else found[1])
            with log.snapshot() as snapshot:
                table.follow(snapshot, self._check)
            table.tidy()
            columns = table.publish()
            self._number = column_files.write(self._folder, columns)
        self._sequence = columns.sequence
        _log.info("snapshot %d of categories and attributes has %d items", self._number, columns.length)
        return True

    def _look(self) -> None:
        """Learn which snapshot there is: at the first call, and where somebody has removed the one that there was."""
        if max(column_files.numbers(self._folder), default=0) == self._number:
            return
        found = column_files.newest_sound(self._folder, self._stopped)
        self._number, self._sequence = (0, 0) if found is None else (found[0], found[1].sequence)
        self._next_look = 0
        with column_files.held(self._index):
            # What is damaged, and what a builder left that was killed.
            column_files.remove(self._folder, kept=self._number)

    def _check(self) -> None:
        if self._stopped():
            raise Stopped

    def _is_due(self, snapshot: Snapshot) -> bool:
        sequence, due = snapshot.position.sequence, self._limits.snapshot_due(snapshot.items)
        # Looked at first, since to count takes milliseconds: no item changes without a change of the sequence.
        if sequence < self._next_look or (
            self._lanes.is_behind(Lane.BRIEF) and sequence - self._sequence < _OVERDUE * due
        ):
            return False
        changes = snapshot.count_item_changes(self._sequence)
        # Every change is of one item at most, and many are of none.
        self._next_look = sequence + due - changes
        return changes >= due
