"""One space as a follower keeps it: segments of a generation, and the rows since."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from twinset_server.catalog.columns.table import Columns, RowPlaces
from twinset_server.catalog.index import manifest
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.index.rows import Delta, Int64Array
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.index.views import View
from twinset_server.catalog.store.log import LogChunk
from twinset_server.domain import Space

_log = logging.getLogger(__name__)

_COMPACT_AT = 1024
"""A delta with more dead rows than live ones is copied without them, but not for a few."""

_SAME_TICK_S = 0.1
"""A directory's time has the grain of the kernel's clock: one this young may be of two changes."""


class SpaceState:
    """The newest state of one space. But for `open_newer`, one thread calls it.

    Attributes:
        space: the space.
        is_new: whether it lacks rows that no later change brings: set to False after `begin`, once all were added.
        key: the last key of a vector in the generation.
    """

    def __init__(self, folder: Path, space: Space) -> None:
        """Make the state of `space`, whose generations are in `folder`."""
        self.space = space
        self.is_new = True
        self.key = 0
        self._folder = folder
        self._number = 0
        self._segments: tuple[Segment, ...] = ()
        self._delta = Delta.empty(space.dimension)
        self._last_key = 0
        self._idle: Mapping[int, Segment] = {}
        self._live = 0
        self._dead_in_delta = 0
        self._places: dict[int, RowPlaces] = {}
        self._layout = 0
        # What the folder said at the last look.
        self._listed_ns = -1
        self._newest = 0
        self._log_from = 0
        self._tried = 0

    def view(self, sequence: int, columns: Columns) -> View:
        """Return the space as it is after change `sequence`, `columns` too."""
        if columns.layout != self._layout:
            self._layout = columns.layout
            self._places.clear()
            self._delta = self._delta.placed(columns.places(self._delta.owners[: self._delta.length]))
        numbers = [segment.record.number for segment in self._segments]
        self._places = {
            number: self._places.get(number) or RowPlaces.of(columns, segment.rows.owners)
            for number, segment in zip(numbers, self._segments, strict=True)
        }
        places = (*self._places.values(), RowPlaces(self._delta.item_places[: self._delta.length]))
        return View(self.space, sequence, self._number, self._segments, places, self._delta, self._live)

    def newer_generation(self) -> bool:
        """Return whether a generation appeared that wasn't tried yet."""
        self._look()
        return self._newest > self._tried

    def log_was_cut(self, sequence: int) -> bool:
        """Return whether deaths after change `sequence` may be missing in the log that was read just before.

        A generation is published before the log is cut, so it is enough to look after reading.
        """
        self._look()
        return sequence < self._log_from

    def open_newest(self, stopped: Callable[[], bool]) -> OpenGeneration | None:
        """Open the newest sound generation; nothing of the one in use is taken for granted.

        Raises:
            Stopped: `stopped` returned True.
        """
        self._tried = max(manifest.numbers(self._folder), default=0)
        return manifest.newest_sound(self._folder, self.space, stopped)

    def open_newer(self, stopped: Callable[[], bool]) -> OpenGeneration | None:
        """Open the newest generation unless it is damaged; segments in use stay open.

        Where the builder removes it meanwhile, what was opened of it is kept for the one that replaced it.

        Raises:
            Stopped: `stopped` returned True.
        """
        number = max(manifest.numbers(self._folder), default=0)
        self._tried = max(self._tried, number)
        if number <= self._number:
            return None
        known = {segment.record.number: segment for segment in self._segments}
        idle = dict(self._idle)
        try:
            return manifest.open_generation(self._folder, number, self.space, known, stopped, idle=idle)
        except Unsound as error:
            self._idle = idle
            # The one in use and the log say the same.
            _log.warning("space %s: generation %d can't be used: %s", self.space.name, number, error)
            return None

    def begin(self, opened: OpenGeneration | None, deaths: Int64Array | None, sequence: int) -> None:
        """Hold a generation and the deaths since it, up to change `sequence`; the vectors above `key` follow."""
        self._delta = Delta.empty(self.space.dimension)
        self._dead_in_delta = self._live = 0
        if opened is None:
            self._number, self.key, self._segments = 0, 0, ()
        else:
            self._take(opened, deaths, sequence)
            self._live = self._live_in_segments(sequence)
        self._last_key = self.key

    def switch(self, opened: OpenGeneration, deaths: Int64Array | None, sequence: int) -> None:
        """Put a newer generation, with the deaths since it up to change `sequence`, in the place of the one in use."""
        self._take(opened, deaths, sequence)
        self._last_key = max(self._last_key, self.key)
        self._delta = self._delta.after(self.key)
        self._dead_in_delta = int(np.count_nonzero(~self._delta.alive(sequence)))
        self._compact_if_due(sequence)
        # The generation may have vectors that were never in the delta.
        self._live = self._delta.length - self._dead_in_delta + self._live_in_segments(sequence)

    def set_aside(self, opened: OpenGeneration) -> None:
        """Keep what was opened for the next generation: this one is too old for the log."""
        self._idle = {segment.record.number: segment for segment in opened.segments if segment not in self._segments}

    def bury(self, keys: Int64Array | None, sequence: int) -> None:
        """Mark vectors as ended by change `sequence`; those that are nowhere came and went unseen."""
        if keys is None:
            return
        in_delta = self._delta.bury(keys, sequence)
        self._dead_in_delta += in_delta
        self._live -= in_delta + sum(segment.rows.bury(keys, sequence) for segment in self._segments)
        self._compact_if_due(sequence)

    def add(self, chunk: LogChunk, columns: Columns) -> None:
        """Add vectors of items in `columns`, but those that are here: a step that failed half-way is taken again."""
        start = int(np.searchsorted(chunk.keys, self._last_key, side="right"))
        if start == len(chunk.keys):
            return
        keys = chunk.keys[start:]
        owners = chunk.owners[start:]
        self._delta = self._delta.plus(
            keys, chunk.vectors[start:], owners, chunk.labels[start:], columns.places(owners)
        )
        self._last_key = int(keys[-1])
        self._live += len(keys)

    def _take(self, opened: OpenGeneration, deaths: Int64Array | None, sequence: int) -> None:
        generation = opened.generation
        self._number, self.key, self._segments = generation.number, generation.key, opened.segments
        self._idle = {}
        if deaths is not None:
            for segment in self._segments:
                segment.rows.bury(deaths, sequence)

    def _live_in_segments(self, sequence: int) -> int:
        return sum(int(np.count_nonzero(one.rows.alive(sequence))) for one in self._segments)

    def _compact_if_due(self, sequence: int) -> None:
        if self._dead_in_delta > max(_COMPACT_AT, self._delta.length // 2):
            self._delta = self._delta.alive_above(self.key, sequence)
            self._dead_in_delta = 0

    def _look(self) -> None:
        """Learn of new generations where the folder has changed."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._listed_ns:
            return
        present = manifest.numbers(self._folder)
        if present and present[0] > self._newest:
            self._newest = present[0]
            self._log_from = max(self._log_from, self._cut_up_to(present))
        if time.time_ns() - changed_ns > _SAME_TICK_S * 1e9:
            self._listed_ns = changed_ns

    def _cut_up_to(self, numbers: Sequence[int]) -> int:
        """Return the change up to which deaths may be gone from the log, by the newest manifest that can be read."""
        for number in numbers:
            try:
                generation = manifest.read(self._folder, number)
            except Unsound:
                continue
            # The log is cut up to the generation before the newest: where that is damaged, up to this one.
            return generation.log_from if number == numbers[0] else generation.sequence
        return 0
