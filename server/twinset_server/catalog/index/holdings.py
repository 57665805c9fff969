"""The segments that a space has: who works on which, which vectors died, and how what is new is published.

Several lanes may be at work at a time: each claims the segments that it will replace, and publishes under a lock what
then takes the place of exactly these.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinset_server.catalog.folder import sync
from twinset_server.catalog.index import manifest, plan
from twinset_server.catalog.index.checksums import FileSum, Stopped, Unsound
from twinset_server.catalog.index.lanes import Lane
from twinset_server.catalog.index.manifest import Generation
from twinset_server.catalog.index.plan import Limits, Merge, Shape
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.index.segment_writer import SegmentWriter
from twinset_server.catalog.store.log import Snapshot
from twinset_server.domain import Space

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1

Stopping = Callable[[], bool]


class Holdings:
    """The generations of one space in a folder; `open` comes first."""

    def __init__(self, folder: Path, space: Space, stopped: Stopping) -> None:
        """Make the holdings of `folder`, the space's own; opening ends when `stopped` returns True."""
        self._folder = folder
        self._space = space
        self._stopped = stopped
        self._lock = threading.Condition()
        self._segments: tuple[Segment, ...] = ()
        self._kept: list[Generation] = []
        self._busy: set[int] = set()
        self._in_vain: dict[int, int] = {}
        self._writing: set[int] = set()
        self._last_number = 0
        # Deaths up to change `_sequence`, and vectors up to `_key`, are known.
        self._sequence = 0
        self._key = 0
        # What was known at the last fold.
        self._folded_sequence = 0
        self._dead: Int64Array = np.empty(0, np.int64)
        self._rebuilding = False

    def open(self) -> None:
        """Begin with the newest sound generation.

        Raises:
            OSError: the folder can't be written.
            Stopped: the builder ends.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # What is synced below a directory whose own entry isn't would go with it at a power cut.
        sync(self._folder.parent)
        found = manifest.newest_sound(self._folder, self._space, self._stopped)
        if found is None:
            if manifest.numbers(self._folder):
                _log.warning("space %s: no generation is sound, it is built anew from the database", self._space.name)
        else:
            self._segments = found.segments
            self._sequence, self._key, self._dead = found.generation.sequence, found.generation.key, found.dead
            self._folded_sequence = found.generation.log_from
            self._kept = [found.generation, *self._sound_before(found.generation)]
        # Nothing is removed yet: a damaged manifest keeps its number from being given again.
        self._last_number = manifest.next_segment(self._folder) - 1

    @property
    def log_floor(self) -> int:
        """Rows of `dead` up to this change are of no use to those who read the log."""
        with self._lock:
            return self._kept[0].log_from if self._kept else 0

    @property
    def key(self) -> int:
        """Vectors up to this key are in segments."""
        return self._key

    @property
    def published_sequence(self) -> int:
        """The change up to which the newest generation knows deaths; 0 where there is none."""
        return self._kept[0].sequence if self._kept else 0

    def segment(self, number: int) -> Segment:
        """Return the segment of this number."""
        return next(segment for segment in self._segments if segment.record.number == number)

    def dead(self) -> Int64Array:
        """Return the keys of vectors in segments that died, as far as is known, sorted."""
        with self._lock:
            return self._dead

    @property
    def segment_count(self) -> int:
        """How many segments the newest generation has."""
        return len(self._segments)

    def merges_first(self, limits: Limits) -> bool:
        """Return whether a fold should wait for merges."""
        with self._lock:
            return plan.merges_first(self._shapes(), limits)

    def plan_merge(self, limits: Limits, lane: Lane | None) -> Merge | None:
        """Return the most urgent work on segments, and claim them; None where nothing is due for the lane."""
        with self._lock:
            planned = None if self._rebuilding else plan.merge(self._shapes(), self._busy, limits, lane)
            if planned is not None:
                self._busy.update(planned.numbers)
            return planned

    def give_up(self, numbers: Sequence[int]) -> None:
        """Leave segments as they are, until there is twice as much to do: work on them failed, oldest first."""
        oldest, *younger = (self.segment(number).rows for number in numbers)
        with self._lock:
            changes = sum(rows.length for rows in younger) or len(oldest.places(self._dead))
            self._in_vain[numbers[0]] = changes

    def publish(
        self, replaced: Collection[int], by: Segment | None, key: int | None = None, *, alone: bool = False
    ) -> None:
        """Put `by` in the place of the segments `replaced`; vectors up to `key` are now in segments.

        With `alone` no older generation is kept, and none of the log up to this one.
        """
        with self._lock:
            segments = [segment for segment in self._segments if segment.record.number not in replaced]
            segments.extend([by] if by is not None else [])
            # Segments of one space never overlap, so the first keys order them.
            segments.sort(key=lambda segment: int(segment.rows.keys[0]))
            dead = _among(self._dead, segments)
            older = () if alone else self._kept[:1]
            log_from = self._log_from(older, bool(replaced))
            generation = manifest.write(
                self._folder,
                Generation(
                    manifest.next_number(self._folder),
                    replace(self._space, model=None),
                    self._sequence,
                    self._key if key is None else key,
                    log_from,
                    FileSum(0, ""),
                    tuple(segment.record for segment in segments),
                ),
                dead,
            )
            self._segments, self._key = tuple(segments), generation.key
            if not self._rebuilding:
                self._dead = dead
            self._kept = [generation, *older]
            if not (replaced and older):
                self._folded_sequence = self._sequence
            manifest.prune(self._folder, self._kept, self._writing)
        _log.info(
            "space %s: generation %d has %d rows in %d segments",
            self._space.name,
            generation.number,
            sum(record.rows for record in generation.segments),
            len(generation.segments),
        )

    def take_deaths(self, snapshot: Snapshot) -> None:
        """Learn which vectors died since the last look."""
        keys = snapshot.dead(self._sequence).get(self._space.name)
        with self._lock:
            if keys is not None:
                self._dead = np.union1d(self._dead, keys)
                if not self._rebuilding:
                    self._dead = _among(self._dead, self._segments)
            # The other lane may have looked later, and have done with it before.
            self._sequence = max(self._sequence, snapshot.position.sequence)

    @contextlib.contextmanager
    def claimed(self, claimed: Collection[int]) -> Iterator[None]:
        """Give segments up that were marked as busy, whatever happens."""
        try:
            yield
        finally:
            with self._lock:
                self._busy.difference_update(claimed)
                self._lock.notify_all()

    @contextlib.contextmanager
    def all_claimed(self, stopped: Stopping) -> Iterator[tuple[tuple[int, ...], int]]:
        """Claim every segment, once those at work are done; return their numbers, and the last key in them.

        Raises:
            Stopped: `stopped` returned True before.
        """
        # Deaths are no longer forgotten from here on, and nobody claims anything.
        self._rebuilding = True
        try:
            with self._lock:
                while self._busy:
                    if stopped():
                        raise Stopped
                    self._lock.wait(_LOOK_EVERY_S)
                numbers, last = tuple(segment.record.number for segment in self._segments), self._key
                self._busy.update(numbers)
            with self.claimed(numbers):
                yield numbers, last
        finally:
            self._rebuilding = False

    @contextlib.contextmanager
    def new_segment(self) -> Iterator[SegmentWriter]:
        """Return a writer of a segment of its own number, whose files stay while it writes."""
        with self._lock:
            self._last_number += 1
            number = self._last_number
            self._writing.add(number)
        try:
            with SegmentWriter(self._folder, number, self._space) as writer:
                yield writer
        finally:
            with self._lock:
                self._writing.discard(number)

    def _log_from(self, older: Sequence[Generation], merged: bool) -> int:
        """Return from which change on the log is needed: for the older generation, and for workers that lag behind.

        A merge may be published at once after a fold. Were the log cut up to that one, then whoever is a tenth of a
        second late would have to begin anew.
        """
        if not older:
            return self._sequence
        return older[0].log_from if merged else self._folded_sequence

    def _shapes(self) -> list[Shape]:
        return [
            Shape(
                segment.record.number,
                segment.rows.length,
                len(segment.rows.places(self._dead)),
                segment.graph is not None,
                segment.record.flat,
                self._in_vain.get(segment.record.number, 0),
            )
            for segment in self._segments
        ]

    def _sound_before(self, newest: Generation) -> list[Generation]:
        for number in manifest.numbers(self._folder):
            if number < newest.number:
                with contextlib.suppress(Unsound):
                    return [manifest.open_generation(self._folder, number, self._space, {}, self._stopped).generation]
        return []


def _among(keys: Int64Array, segments: Sequence[Segment]) -> Int64Array:
    """Return those of the sorted `keys` that are in the segments."""
    inside = np.zeros(len(keys), np.bool_)
    for segment in segments:
        inside |= segment.rows.holds(keys)
    return keys[inside]
