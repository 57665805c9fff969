"""The segments of one space as the builder works on them, and what it does: fold, merge, rebuild, publish.

Two lanes may be at work at a time: each claims the segments that it will replace, and publishes under a lock what then
takes the place of exactly these. So rows are folded while a long merge runs.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinset_server.catalog.folder import sync
from twinset_server.catalog.index import manifest, plan
from twinset_server.catalog.index.checksums import FileSum, Stopped, Unsound
from twinset_server.catalog.index.labels import Texts
from twinset_server.catalog.index.manifest import Generation
from twinset_server.catalog.index.plan import Fold, Limits, Merge, Shape
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.index.segment_files import Segment, SegmentWriter, open_segment
from twinset_server.catalog.store.log import ChangeLog, LogChunk, Snapshot
from twinset_server.domain import Float32Array, Space

_log = logging.getLogger(__name__)

_CHUNK = 1024
_REFRESH_AT = 50_000
"""Changes after which a generation is published for their deaths alone, so that the log of them can be cut."""

_LOOK_EVERY_S = 0.1

_READING = 0.1
"""The share of a rebuild that goes into reading the database."""

Progress = Callable[[float], None]
Stopping = Callable[[], bool]


class Shelf:
    """The generations of one space. `open` comes first; then `fold` by one thread, `merge` and `rebuild` by another."""

    def __init__(self, folder: Path, space: Space, limits: Limits, stopped: Stopping) -> None:
        """Make a shelf in `folder`, the space's own, that gives up what it does when `stopped` returns True."""
        self._folder = folder
        self._space = space
        self._limits = limits
        self._stopped = stopped
        self._lock = threading.Condition()
        self._folding = threading.Lock()
        self._segments: tuple[Segment, ...] = ()
        self._kept: list[Generation] = []
        self._busy: set[int] = set()
        self._writing: set[int] = set()
        self._last_number = 0
        # Deaths up to change `_sequence`, and vectors up to `_key`, are known.
        self._sequence = 0
        self._key = 0
        self._dead: Int64Array = np.empty(0, np.int64)
        self._rebuilding = False
        self._looked_at = 0

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
            self._kept = [found.generation, *self._sound_before(found.generation)]
        # Nothing is removed yet: a damaged manifest keeps its number from being given again.
        self._last_number = manifest.next_segment(self._folder) - 1

    @property
    def log_floor(self) -> int:
        """Rows of `dead` up to this change are of no use to those who read the log."""
        with self._lock:
            return self._kept[0].log_from if self._kept else 0

    def fold(self, log: ChangeLog, *, at_least: int | None = None) -> bool:
        """Put what waits into a segment where that is due; return whether a generation was published.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: the builder ends.
        """
        limits = self._limits if at_least is None else replace(self._limits, fold_at=at_least)
        return self._fold(log, limits, self._stopped)

    def _fold(self, log: ChangeLog, limits: Limits, stopped: Stopping) -> bool:
        with self._folding, contextlib.ExitStack() as work:
            # Only rows are read in the snapshot, no segment is copied, no graph built: while it lasts, SQLite can't
            # reset its log.
            with log.snapshot() as snapshot:
                sequence, key = snapshot.position.sequence, snapshot.position.key
                self._take_deaths(snapshot)
                if key - self._looked_at < limits.fold_at:
                    return self._refresh(sequence)
                chunks = snapshot.added(self._key, self._space.name, _CHUNK)
                # Held in memory up to here: whether they are many decides what becomes of them.
                held = list(_until(chunks, limits.bulk_at))
                waiting = sum(len(chunk.keys) for chunk in held)
                planned = self._planned_fold(waiting, limits)
                if planned is None:
                    # With as many keys as it lacks it is worth another look.
                    self._looked_at = key - waiting
                    return self._refresh(sequence)
                replaced = () if planned.extended is None else (planned.extended,)
                work.enter_context(self._claimed(replaced))
                writer = work.enter_context(self._new_segment())
                if planned.extended is None:
                    for chunk in itertools.chain(held, chunks):
                        writer.add(*_columns(chunk))
                    held.clear()
            base = None
            if planned.extended is not None:
                # So few are waiting then that all of them are held.
                base = self._copied(writer, planned.extended)
                for chunk in held:
                    writer.add(*_columns(chunk))
            held.clear()
            built = self._finished(writer, base, 1, _unseen, stopped, graph=planned.graph)
            self._publish(replaced, built, key)
            self._looked_at = key
        return True

    def merge(self, threads: int, progress: Progress | None = None) -> bool:
        """Do the most urgent work on segments; return whether a generation was published.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: the builder ends.
        """
        with self._lock:
            planned = None if self._rebuilding else plan.merge(self._shapes(), self._busy, self._limits)
            if planned is None:
                return False
            self._busy.update(planned.numbers)
        with self._claimed(planned.numbers), self._new_segment() as writer:
            self._publish(planned.numbers, self._merged(writer, planned, threads, progress or _unseen))
        return True

    def rebuild(
        self,
        log: ChangeLog,
        threads: int,
        progress: Progress,
        *,
        alone: bool = False,
        cancelled: Stopping | None = None,
    ) -> None:
        """Build one segment from the database in the place of all, sound or not.

        All that was committed before is in it; what is written meanwhile is folded into segments of its own. With
        `alone` no older generation is kept.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: the builder ends, or `cancelled` returned True; the index is what it was.
        """

        def stopped() -> bool:
            return self._stopped() or (cancelled is not None and cancelled())

        # What waits must be in a segment to be claimed; without a graph, since it is read again below.
        self._fold(log, replace(self._limits, fold_at=1, bulk_at=1), stopped)
        with self._all_claimed(stopped) as (replaced, last), self._new_segment() as writer:
            with log.snapshot() as snapshot:
                self._take_deaths(snapshot)
                live = max(1, snapshot.live(self._space.name))
                for chunk in snapshot.added(0, self._space.name, _CHUNK):
                    if stopped():
                        raise Stopped
                    inside = int(np.searchsorted(chunk.keys, last, side="right"))
                    writer.add(*_columns(_first(chunk, inside)))
                    if inside < len(chunk.keys):
                        break
                    progress(_READING * min(1.0, writer.rows / live))
            built = self._finished(
                writer, None, threads, lambda share: progress(_READING + (1 - _READING) * share), stopped
            )
            self._publish(replaced, built, alone=alone)
        progress(1.0)

    def _planned_fold(self, waiting: int, limits: Limits) -> Fold | None:
        with self._lock:
            shapes = self._shapes()
            busy = {shape.number for shape in shapes} if self._rebuilding else self._busy
            planned = plan.fold(shapes, waiting, busy, limits)
            if planned is not None and planned.extended is not None:
                self._busy.add(planned.extended)
            return planned

    def _refresh(self, sequence: int) -> bool:
        """Publish a generation for deaths alone where many changes came since the last; return whether it did."""
        # Also where there is none yet: a space that stays small must not keep the log of all from being cut.
        due = sequence - (self._kept[0].sequence if self._kept else 0) >= _REFRESH_AT
        if due:
            self._publish((), None)
        return due

    def _merged(self, writer: SegmentWriter, planned: Merge, threads: int, progress: Progress) -> Segment | None:
        first, *others = planned.numbers
        base = self._copied(writer, first) if planned.extend else None
        for number in others if planned.extend else planned.numbers:
            self._copy_living(writer, self._segment(number))
        return self._finished(writer, base, threads, progress, self._stopped)

    def _finished(
        self,
        writer: SegmentWriter,
        base: int | None,
        threads: int,
        progress: Progress,
        stopped: Stopping,
        *,
        graph: bool = True,
    ) -> Segment | None:
        if not writer.rows:
            writer.discard()
            return None
        record = writer.finish(
            graph=graph and writer.rows >= self._limits.graph_at,
            base=base,
            threads=threads,
            stopped=stopped,
            progress=progress,
        )
        return open_segment(self._folder, record, self._space, stopped)

    def _copied(self, writer: SegmentWriter, number: int) -> int | None:
        """Copy the rows of a segment; return its number where its graph goes with them, dead rows and all."""
        segment = self._segment(number)
        if segment.graph is None:
            self._copy_living(writer, segment)
            return None
        writer.add_rows(segment.rows)
        return number

    def _copy_living(self, writer: SegmentWriter, segment: Segment) -> None:
        with self._lock:
            dead = self._dead
        alive = np.ones(segment.rows.length, np.bool_)
        alive[segment.rows.places(dead)] = False
        writer.add_rows(segment.rows, np.flatnonzero(alive))

    def _segment(self, number: int) -> Segment:
        return next(segment for segment in self._segments if segment.record.number == number)

    def _publish(
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
            before = older[0].sequence if older else self._sequence
            generation = manifest.write(
                self._folder,
                Generation(
                    manifest.next_number(self._folder),
                    replace(self._space, model=None),
                    self._sequence,
                    self._key if key is None else key,
                    before,
                    FileSum(0, ""),
                    tuple(segment.record for segment in segments),
                ),
                dead,
            )
            self._segments, self._key = tuple(segments), generation.key
            if not self._rebuilding:
                self._dead = dead
            self._kept = [generation, *older]
            manifest.prune(self._folder, self._kept, self._writing)
        _log.info(
            "space %s: generation %d has %d rows in %d segments",
            self._space.name,
            generation.number,
            sum(record.rows for record in generation.segments),
            len(generation.segments),
        )

    def _take_deaths(self, snapshot: Snapshot) -> None:
        """Learn which vectors died since the last look."""
        keys = snapshot.dead(self._sequence).get(self._space.name)
        with self._lock:
            if keys is not None:
                self._dead = np.union1d(self._dead, keys)
                if not self._rebuilding:
                    self._dead = _among(self._dead, self._segments)
            # The other lane may have looked later, and have done with it before.
            self._sequence = max(self._sequence, snapshot.position.sequence)

    def _shapes(self) -> list[Shape]:
        return [
            Shape(
                segment.record.number,
                segment.rows.length,
                len(segment.rows.places(self._dead)),
                segment.graph is not None,
                segment.record.flat,
            )
            for segment in self._segments
        ]

    def _sound_before(self, newest: Generation) -> list[Generation]:
        for number in manifest.numbers(self._folder):
            if number < newest.number:
                with contextlib.suppress(Unsound):
                    return [manifest.open_generation(self._folder, number, self._space, {}, self._stopped).generation]
        return []

    @contextlib.contextmanager
    def _claimed(self, claimed: Collection[int]) -> Iterator[None]:
        """Give segments up that were marked as busy, whatever happens."""
        try:
            yield
        finally:
            with self._lock:
                self._busy.difference_update(claimed)
                self._lock.notify_all()

    @contextlib.contextmanager
    def _all_claimed(self, stopped: Stopping) -> Iterator[tuple[tuple[int, ...], int]]:
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
            with self._claimed(numbers):
                yield numbers, last
        finally:
            self._rebuilding = False

    @contextlib.contextmanager
    def _new_segment(self) -> Iterator[SegmentWriter]:
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


def _until(chunks: Iterator[LogChunk], rows: int) -> Iterator[LogChunk]:
    """Return chunks until they hold `rows` or more."""
    held = 0
    while held < rows and (chunk := next(chunks, None)) is not None:
        held += len(chunk.keys)
        yield chunk


def _columns(chunk: LogChunk) -> tuple[Int64Array, Float32Array, Texts, Texts]:
    items = Texts.of([item for item, _ in chunk.labels])
    return chunk.keys, chunk.vectors, items, Texts.of([picture for _, picture in chunk.labels])


def _first(chunk: LogChunk, count: int) -> LogChunk:
    return replace(chunk, keys=chunk.keys[:count], vectors=chunk.vectors[:count], labels=chunk.labels[:count])


def _among(keys: Int64Array, segments: Sequence[Segment]) -> Int64Array:
    """Return those of the sorted `keys` that are in the segments."""
    inside = np.zeros(len(keys), np.bool_)
    for segment in segments:
        inside |= segment.rows.holds(keys)
    return keys[inside]


def _unseen(share: float) -> None:
    """Tell nobody."""
