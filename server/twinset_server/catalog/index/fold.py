"""Folding: the live rows of a space become a new segment, while searches and puts go on.

Runs in the background on a view that doesn't change; what is written meanwhile stays in the delta, and what dies
meanwhile is carried over when the index adopts the result.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.index.mapped import mapped
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.search import View
from twinset_server.catalog.index.segment import Segment, build
from twinset_server.domain import Float32Array

_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Fold:
    """A view's live rows in a new place.

    Attributes:
        space: the space's name.
        rows: the rows; `segment.rows` where there is a segment.
        segment: None where the rows are few, and go back into the delta without the dead ones.
        taken: how many rows of the view's delta went in.
        sources: `[rows.length]`, where each row stood among the old segment's rows followed by the delta's.
    """

    space: str
    rows: Rows
    segment: Segment | None
    taken: int
    sources: NDArray[np.intp]


def fold(view: View, folder: Path, *, at_least: int, stop: threading.Event) -> Fold:
    """Return the view's live rows as a segment, or as plain rows where there are fewer than `at_least`.

    Raises:
        SegmentUnsound: the space is better searched exactly.
        OSError: the disk of `folder` is full.
        Stopped: `stop` was set.
    """
    parts = [view.delta] if view.segment is None else [view.segment.rows, view.delta]
    alive = [np.flatnonzero(part.alive(view.sequence)) for part in parts]
    starts = np.cumsum([0, *(part.length for part in parts)])
    sources = np.concatenate([places + start for places, start in zip(alive, starts, strict=False)])
    keys = np.concatenate([part.keys[places] for part, places in zip(parts, alive, strict=True)])
    labels = [part.labels[place] for part, places in zip(parts, alive, strict=True) for place in places.tolist()]
    chunks = _chunks(parts, alive)
    dimension = view.space.dimension
    if len(sources) < max(1, at_least):
        vectors = np.concatenate([np.empty((0, dimension), np.float32), *chunks])
        return Fold(view.space.name, Rows.of(keys, vectors, labels), None, view.delta.length, sources)
    rows = Rows.of(keys, mapped(folder, chunks, dimension), labels)
    # Half of the cores at the most: the other half answers.
    threads = max(1, min(4, len(os.sched_getaffinity(0)) // 2))
    segment = build(rows, view.space, threads=threads, stop=stop)
    return Fold(view.space.name, rows, segment, view.delta.length, sources)


def _chunks(parts: Sequence[Rows], alive: Sequence[NDArray[np.intp]]) -> Iterator[Float32Array]:
    for part, places in zip(parts, alive, strict=True):
        for start in range(0, len(places), _CHUNK):
            yield part.vectors[places[start : start + _CHUNK]]
