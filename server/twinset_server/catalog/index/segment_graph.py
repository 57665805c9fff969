"""A graph over the rows of a segment on disk: begun with an older one where that helps, and used once it is proved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twinset_server.catalog.index.checksums import opened, summed, write_synced
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import build
from twinset_server.catalog.index.proof import GraphUnsound, prove
from twinset_server.catalog.index.rows import Int64Array, Rows
from twinset_server.catalog.index.segment_files import (
    GRAPH,
    STRAYS,
    Segment,
    SegmentRecord,
    open_segment,
    segment_folder,
)
from twinset_server.domain import Dtype, Float32Array, Space

_log = logging.getLogger(__name__)

_ASKED_ITEMS = 1024
"""So many items are looked up for vectors of theirs that ask; not each need have one."""

Askers = Callable[[Sequence[int]], Float32Array]
"""Returns `[A, D]`, vectors that will ask for rows of items like those with the keys that it is given."""


@dataclass(frozen=True, slots=True)
class GraphBuild:
    """How a graph comes about.

    Attributes:
        dtype: the type of its components.
        base: the segment whose graph is over the first of the rows, and is added to; None to begin with none.
        threads: how many build it.
        stopped: asked now and then.
        progress: told the share of rows that are in the graph.
        askers: tells vectors of another kind that will ask the graph.
    """

    dtype: Dtype
    base: Segment | None
    threads: int
    stopped: Callable[[], bool]
    progress: Callable[[float], None]
    askers: Askers

    def over(self, folder: Path, record: SegmentRecord, space: Space) -> SegmentRecord:
        """Build a graph over the rows of a segment of the space in `folder`, and return the segment's record with it.

        Where none finds enough, the record says so. The graph's own file isn't synced.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: `stopped` returned True.
        """
        rows = open_segment(folder, record, space, self.stopped).rows
        flat = replace(record, flat=True)
        if not np.isfinite(rows.squares).all():
            return flat
        asking = self.askers(_drawn(rows.owners))
        written = segment_folder(folder, record.number)
        path = written / GRAPH
        # What was extended is built from the start where it isn't good, and what several threads built, by one.
        tries = dict.fromkeys([(self._extensible(rows), self.threads), (None, self.threads), (None, 1)])
        for number, (copied, used) in enumerate(tries, 1):
            coding = Coding.of(self.dtype, rows.vectors, space.metric) if copied is None else copied.coding
            build(
                path,
                rows.vectors,
                space,
                coding=coding,
                base=None if copied is None else segment_folder(folder, copied.number) / GRAPH,
                threads=used,
                stopped=self.stopped,
                progress=self.progress,
            )
            found = summed(path)
            try:
                proof = prove(opened(path, found), rows.vectors, rows.squares, space, coding, self.stopped, asking)
            except GraphUnsound as error:
                path.unlink()
                _log.warning("%s (built by %d threads, try %d of %d)", error, used, number, len(tries))
                continue
            strays = write_synced(written / STRAYS, proof.strays.astype(np.int64))
            files = {**record.files, GRAPH: found, STRAYS: strays}
            return replace(record, widths=proof.widths, coding=coding, files=files)
        return flat

    def _extensible(self, rows: Rows) -> _Base | None:
        """Return what a graph over `rows` can be begun with, the first of which `base` has."""
        if self.base is None or self.base.record.coding is None or self.base.record.coding.dtype is not self.dtype:
            return None
        coding = self.base.record.coding
        fits = coding.fits(rows.vectors[self.base.rows.length :])
        return _Base(self.base.record.number, coding) if fits else None


@dataclass(frozen=True, slots=True)
class _Base:
    """A graph that can be copied and added to."""

    number: int
    coding: Coding


def _drawn(owners: Int64Array) -> list[int]:
    """Return some of the items, drawn at random, and the same of the same."""
    items = np.unique(owners)
    drawn: list[int] = np.random.default_rng(0).permutation(items)[:_ASKED_ITEMS].tolist()
    return drawn
