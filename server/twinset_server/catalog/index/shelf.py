"""What is done with the segments of one space: vectors are folded into them, they are merged, or built anew."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.index.holdings import Holdings, Stopping
from twinset_server.catalog.index.labels import Texts
from twinset_server.catalog.index.lanes import Lane, Lanes
from twinset_server.catalog.index.plan import Limits, Merge
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.index.segment_files import Segment, open_segment
from twinset_server.catalog.index.segment_graph import GraphBuild
from twinset_server.catalog.index.segment_writer import SegmentWriter
from twinset_server.catalog.store.log import ChangeLog, LogChunk, Snapshot
from twinset_server.domain import Dtype, Float32Array, Space

_log = logging.getLogger(__name__)

_CHUNK = 1024
_REFRESH_AT = 50_000
"""Changes after which a generation is published for their deaths alone, so that the log of them can be cut."""

_CROWD = 8
"""With more segments than this, merges wait for no other lane: searches would only get slower where that never ends."""

_PAUSE_S = 0.02

_ASKERS = 512
"""Vectors that ask a graph when it is proved: a few hundred, since some find much less than others."""

_READING = 0.1
"""The share of a rebuild that goes into reading the database."""

Progress = Callable[[float], None]


class Shelf:
    """The generations of one space. `open` comes first; then `fold`, `merge` and `rebuild`, each lane by one thread."""

    def __init__(
        self, folder: Path, space: Space, dtype: Dtype, limits: Limits, stopped: Stopping, lanes: Lanes
    ) -> None:
        """Make a shelf in `folder`, the space's own, that gives up what it does when `stopped` returns True.

        New graphs are of `dtype`; those of another stay until they are built anew. `lanes` tell what is at work, on
        this shelf or on another that shares them: merges wait for what goes first.
        """
        self._folder = folder
        self._space = space
        self._dtype = dtype
        self._limits = limits
        self._stopped = stopped
        self._lanes = lanes
        self._holdings = Holdings(folder, space, stopped)
        self._folding = threading.Lock()
        # So many rows, or fewer that live, wait of those with keys up to that of the last look.
        self._waiting = 0
        self._looked_at = 0

    def open(self) -> None:
        """Begin with the newest sound generation.

        Raises:
            OSError: the folder can't be written.
            Stopped: the builder ends.
        """
        self._holdings.open()

    @property
    def log_floor(self) -> int:
        """Rows of `dead` up to this change are of no use to those who read the log."""
        return self._holdings.log_floor

    def fold(self, log: ChangeLog, *, at_least: int | None = None) -> bool:
        """Put what waits into a segment where that is due; return whether a generation was published.

        With `at_least` so many rows are due, whatever the limits say.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: the builder ends.
        """
        if at_least is None:
            return self._fold(log, self._limits.fold_at, self._stopped, may_wait=True)
        return self._fold(log, at_least, self._stopped, may_wait=False)

    def _fold(self, log: ChangeLog, at_least: int, stopped: Stopping, *, may_wait: bool) -> bool:
        with self._folding, contextlib.ExitStack() as work:
            # While the snapshot lasts, SQLite can't reset its log: rows are written in it, and nothing else is done.
            with log.snapshot() as snapshot:
                sequence, key = snapshot.position.sequence, snapshot.position.key
                self._holdings.take_deaths(snapshot)
                if not self._is_due(snapshot, at_least) or (may_wait and self._holdings.merges_first(self._limits)):
                    return self._refresh(sequence)
                chunks = snapshot.added(self._holdings.key, self._space.name, _CHUNK)
                held = list(_until(chunks, at_least))
                self._waiting = sum(len(chunk.keys) for chunk in held)
                if self._waiting < at_least:
                    # Some of those that were counted have died since.
                    return self._refresh(sequence)
                work.enter_context(self._lanes.at_work(Lane.FOLD))
                writer = work.enter_context(self._holdings.new_segment())
                for chunk in itertools.chain(held, chunks):
                    writer.add(*_columns(chunk))
            written = open_segment(self._folder, writer.finish(), self._space, stopped)
            self._holdings.publish((), written, key)
            self._waiting = 0
        return True

    def _is_due(self, snapshot: Snapshot, at_least: int) -> bool:
        """Return whether enough rows may wait: those that came since the last look are counted, and no others.

        A space that seldom gets any would else be looked for among all that others got since its last generation.
        """
        key, since = snapshot.position.key, max(self._looked_at, self._holdings.key)
        if key - since < at_least - self._waiting:
            return False
        self._waiting += snapshot.count_added(since, self._space.name)
        self._looked_at = key
        return self._waiting >= at_least

    def merge(self, log: ChangeLog, threads: int, lane: Lane | None = None) -> bool:
        """Do the most urgent work on segments that is the lane's; return whether there was any.

        Args:
            log: tells who asks.
            threads: how many build a graph.
            lane: `BRIEF` or `LONG`; None for both together, where no other thread merges.
        Raises:
            OSError: the disk is full, or failed.
            Stopped: the builder ends.
        """
        planned = self._holdings.plan_merge(self._limits, lane)
        if planned is None:
            return False
        with (
            self._holdings.claimed(planned.numbers),
            self._lanes.at_work(lane or Lane.LONG),
            self._holdings.new_segment() as writer,
        ):
            merged = self._merged(log, writer, planned, threads, lane or Lane.LONG)
            walked = any(self._holdings.segment(number).graph is not None for number in planned.numbers)
            if merged is not None and merged.record.flat and walked:
                # Searches would compare each of its rows, where they walk now.
                _log.warning(
                    "space %s: segments %s stay apart, no graph over all is good", self._space.name, planned.numbers
                )
                self._holdings.give_up(planned.numbers)
                writer.discard()
                return True
            self._holdings.publish(planned.numbers, merged)
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

        # What waits must be in a segment to be claimed.
        self._fold(log, 1, stopped, may_wait=False)
        with self._holdings.all_claimed(stopped) as (replaced, last), self._holdings.new_segment() as writer:
            with log.snapshot() as snapshot:
                self._holdings.take_deaths(snapshot)
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
                log, writer, None, threads, lambda share: progress(_READING + (1 - _READING) * share), stopped
            )
            self._holdings.publish(replaced, built, alone=alone)
        progress(1.0)

    def _refresh(self, sequence: int) -> bool:
        """Publish a generation for deaths alone where many changes came since the last; return whether it did."""
        # Also where there is none yet: a space that stays small must not keep the log of all from being cut.
        due = sequence - self._holdings.published_sequence >= _REFRESH_AT
        if due:
            # Where none waits, all up to the last look are in segments: who begins anew needn't look for them again.
            seen = None if self._waiting else max(self._looked_at, self._holdings.key)
            self._holdings.publish((), None, seen)
        return due

    def _merged(
        self, log: ChangeLog, writer: SegmentWriter, planned: Merge, threads: int, lane: Lane
    ) -> Segment | None:
        first, *others = planned.numbers
        base = self._copied(writer, first) if planned.extend else None
        for number in others if planned.extend else planned.numbers:
            self._copy_living(writer, self._holdings.segment(number))

        def stopped() -> bool:
            # Two at once slow down searches.
            while self._lanes.is_behind(lane) and self._holdings.segment_count <= _CROWD and not self._stopped():
                time.sleep(_PAUSE_S)
            return self._stopped()

        return self._finished(log, writer, base, threads, _unseen, stopped)

    def _finished(
        self,
        log: ChangeLog,
        writer: SegmentWriter,
        base: Segment | None,
        threads: int,
        progress: Progress,
        stopped: Stopping,
    ) -> Segment | None:
        if not writer.rows:
            writer.discard()
            return None

        def askers(items: Sequence[int]) -> Float32Array:
            with log.snapshot() as snapshot:
                return snapshot.askers(self._space.name, items, _ASKERS)

        graph = GraphBuild(self._dtype, base, threads, stopped, progress, askers)
        record = writer.finish(graph if writer.rows >= self._limits.graph_at else None)
        return open_segment(self._folder, record, self._space, stopped)

    def _copied(self, writer: SegmentWriter, number: int) -> Segment | None:
        """Copy the rows of a segment; return it where its graph goes with them, dead rows and all."""
        segment = self._holdings.segment(number)
        if segment.graph is None:
            self._copy_living(writer, segment)
            return None
        writer.add_rows(segment.rows)
        return segment

    def _copy_living(self, writer: SegmentWriter, segment: Segment) -> None:
        dead = self._holdings.dead()
        alive = np.ones(segment.rows.length, np.bool_)
        alive[segment.rows.places(dead)] = False
        writer.add_rows(segment.rows, np.flatnonzero(alive))


def _until(chunks: Iterator[LogChunk], rows: int) -> Iterator[LogChunk]:
    """Return chunks until they hold `rows` or more."""
    held = 0
    while held < rows and (chunk := next(chunks, None)) is not None:
        held += len(chunk.keys)
        yield chunk


def _columns(chunk: LogChunk) -> tuple[Int64Array, Float32Array, Int64Array, Texts, Texts]:
    items = Texts.of([item for item, _ in chunk.labels])
    return chunk.keys, chunk.vectors, chunk.owners, items, Texts.of([picture for _, picture in chunk.labels])


def _first(chunk: LogChunk, count: int) -> LogChunk:
    return replace(
        chunk,
        keys=chunk.keys[:count],
        vectors=chunk.vectors[:count],
        owners=chunk.owners[:count],
        labels=chunk.labels[:count],
    )


def _unseen(share: float) -> None:
    """Tell nobody."""
