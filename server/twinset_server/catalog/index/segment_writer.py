"""Writes the files of a segment: its rows as they come, then a graph over them where one is wanted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

import numpy as np

from twinset_server.catalog import steps
from twinset_server.catalog.folder import sync
from twinset_server.catalog.index.checksums import SummedFile
from twinset_server.catalog.index.coarse import coarse_of
from twinset_server.catalog.index.labels import Places, TextLabels, Texts
from twinset_server.catalog.index.rows import Int64Array, Rows, squares
from twinset_server.catalog.index.segment_files import (
    COARSE,
    COLUMNS,
    GRAPH,
    ITEM_OFFSETS,
    ITEMS,
    KEYS,
    OWNERS,
    PICTURE_OFFSETS,
    PICTURES,
    SCALES,
    SQUARES,
    VECTORS,
    SegmentRecord,
    remove_segment,
    segment_folder,
)
from twinset_server.catalog.index.segment_graph import GraphBuild
from twinset_server.domain import Float32Array, Space

_CHUNK = 4096


class SegmentWriter:
    """Writes a segment: rows first, in the order of their keys, then its graph. Used as a context.

    Where the context ends by an error, what was written is removed.
    """

    def __init__(self, folder: Path, number: int, space: Space) -> None:
        """Begin segment `number` of the space in `folder`."""
        self._folder = folder
        self._number = number
        self._space = space
        self._path = segment_folder(folder, number)
        self._stack = contextlib.ExitStack()
        self._files: dict[str, SummedFile] = {}
        self._offsets = {ITEM_OFFSETS: 0, PICTURE_OFFSETS: 0}
        self._last_owner: int | None = None
        self.rows = 0
        self._items = 0
        self._length = self._rounded = 0.0

    def __enter__(self) -> SegmentWriter:
        self._path.mkdir()
        try:
            for name in COLUMNS:
                self._files[name] = self._stack.enter_context(SummedFile(self._path / name))
            for name in self._offsets:
                self._files[name].write(np.zeros(1, np.uint64))
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is not None:
            self.discard()

    def add(self, keys: Int64Array, vectors: Float32Array, owners: Int64Array, items: Texts, pictures: Texts) -> None:
        """Append rows: `[N]` keys, `[N, D]` float32 vectors, `[N]` keys of their items, and N texts of each kind."""
        self._files[KEYS].write(keys)
        self._files[OWNERS].write(owners)
        self._files[VECTORS].write(vectors)
        self._files[SQUARES].write(squares(vectors))
        coarse = coarse_of(vectors)
        self._files[COARSE].write(coarse.values)
        self._files[SCALES].write(coarse.scales)
        self._length, self._rounded = max(self._length, coarse.length), max(self._rounded, coarse.rounded)
        for texts, offsets, content in ((items, ITEM_OFFSETS, ITEMS), (pictures, PICTURE_OFFSETS, PICTURES)):
            self._files[offsets].write(texts.offsets[1:] + np.uint64(self._offsets[offsets]))
            self._files[content].write(texts.content)
            self._offsets[offsets] += len(texts.content)
        self.rows += len(keys)
        self._count_items(owners)

    def add_rows(self, rows: Rows, places: Places | None = None) -> None:
        """Append the rows of a segment that stand at `places`; all where it is None."""
        assert isinstance(rows.labels, TextLabels)  # noqa: S101 - a delta has no files to copy
        places = np.arange(rows.length) if places is None else places
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            items, pictures = rows.labels.items.taken(chunk), rows.labels.pictures.taken(chunk)
            self.add(rows.keys[chunk], rows.vectors[chunk], rows.owners[chunk], items, pictures)

    def finish(self, graph: GraphBuild | None = None) -> SegmentRecord:
        """Make the segment durable and return its record; with `graph` one is built over its rows.

        Raises:
            OSError: the disk is full, or failed.
            Stopped: the build was given up.
        """
        for file in self._files.values():
            file.sync()
        record = SegmentRecord(
            self._number,
            self.rows,
            self._items,
            length=self._length,
            rounded=self._rounded,
            widths=None,
            coding=None,
            flat=False,
            files={name: file.sum for name, file in self._files.items()},
        )
        if graph is not None:
            record = graph.over(self._folder, record, self._space)
        steps.reached(steps.SEGMENT_SAVED)
        if record.widths is not None:
            _sync_file(self._path / GRAPH)
        sync(self._path)
        sync(self._folder)
        steps.reached(steps.SEGMENT_SYNCED)
        return record

    def _count_items(self, owners: Int64Array) -> None:
        # An item's vectors are written by one change, so their keys are neighbours.
        if len(owners):
            self._items += int(owners[0] != self._last_owner) + int(np.count_nonzero(np.diff(owners)))
            self._last_owner = int(owners[-1])

    def discard(self) -> None:
        """Remove what was written."""
        self._stack.close()
        remove_segment(self._folder, self._number)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
