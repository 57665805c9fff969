"""Segments on disk: rows that no longer change, in a folder of files, with a graph over them where one is of use.

```
vectors.f32  squares.f32  keys.i64  owners.i64             the columns of the rows, in the order of their keys
coarse.i8  scales.f32                                      the vectors as bytes
items.u64  items.utf8  pictures.u64  pictures.utf8         their labels: offsets, and the texts one after another
graph.usearch  strays.i64                                  absent where the rows are compared one by one
```
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog import steps
from twinset_server.catalog.folder import sync
from twinset_server.catalog.index.checksums import FileSum, Pages, SummedFile, Unsound, opened, summed, write_synced
from twinset_server.catalog.index.coarse import Coarse, coarse_of
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import Graph, build
from twinset_server.catalog.index.item_finder import ItemFinder
from twinset_server.catalog.index.labels import Places, TextLabels, Texts
from twinset_server.catalog.index.proof import GraphUnsound, prove
from twinset_server.catalog.index.rows import ALIVE, Int64Array, Rows, nobody_died, squares
from twinset_server.domain import Dtype, Float32Array, Space

_log = logging.getLogger(__name__)

_VECTORS = "vectors.f32"
_SQUARES = "squares.f32"
_COARSE = "coarse.i8"
_SCALES = "scales.f32"
_KEYS = "keys.i64"
_OWNERS = "owners.i64"
_ITEM_OFFSETS = "items.u64"
_ITEMS = "items.utf8"
_PICTURE_OFFSETS = "pictures.u64"
_PICTURES = "pictures.utf8"
_COLUMNS = (_VECTORS, _SQUARES, _COARSE, _SCALES, _KEYS, _OWNERS, _ITEM_OFFSETS, _ITEMS, _PICTURE_OFFSETS, _PICTURES)
_GRAPH = "graph.usearch"
_STRAYS = "strays.i64"

_CHUNK = 4096

_ASKED_ITEMS = 1024
"""So many items are looked up for vectors of theirs that ask; not each need have one."""

Askers = Callable[[Sequence[int]], Float32Array]
"""Returns `[A, D]`, vectors that will ask for rows of items like those with the keys that it is given."""

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What a manifest says of a segment.

    Attributes:
        number: names its folder, and no other segment's ever.
        rows: how many it has, dead ones among them.
        items: to how many items they belong.
        length: no row is longer (L2).
        rounded: no row lost more to the rounding to bytes (L2).
        widths: of walks through its graph, rising, each with its recall@10; None where it has no graph.
        coding: how the graph holds vectors; None where there is none.
        flat: True where a graph was tried, and didn't find enough.
        files: its files by name.
    """

    number: int
    rows: int
    items: int
    length: float
    rounded: float
    widths: tuple[tuple[int, float], ...] | None
    coding: Coding | None
    flat: bool
    files: Mapping[str, FileSum]


class Segment:
    """An open segment.

    Attributes:
        record: what the manifest says of it.
        rows: its rows; but for `died` they lie in memory maps.
        graph: None where it is searched exactly.
        spread: vectors per item, 1 or more.
        strays: places that a walk through the graph never comes to.
    """

    def __init__(self, record: SegmentRecord, rows: Rows, graph: Graph | None, strays: Places) -> None:
        self.record = record
        self.rows = rows
        self.graph = graph
        self.spread = record.rows / record.items
        self.strays = strays

    @functools.cached_property
    def items(self) -> ItemFinder:
        """Finds the rows of items; made at the first question, which costs half a microsecond a row."""
        assert isinstance(self.rows.labels, TextLabels)  # noqa: S101 - a segment's labels are files
        return ItemFinder(self.rows.labels.items)


def segment_folder(folder: Path, number: int) -> Path:
    """Return where the files of segment `number` of the space in `folder` lie."""
    return folder / f"segment-{number:06d}"


def open_segment(
    folder: Path, record: SegmentRecord, space: Space, stopped: Callable[[], bool] | None = None
) -> Segment:
    """Open a segment of the space in `folder`, every byte of which was compared with its checksum.

    Raises:
        Unsound: a file isn't what was written.
        Stopped: `stopped` returned True meanwhile.
    """
    names = {*_COLUMNS, *([_GRAPH, _STRAYS] if record.widths is not None else [])}
    path = segment_folder(folder, record.number)
    if set(record.files) != names or record.rows < 1 or record.items < 1:
        raise Unsound(f"the manifest's record of {path} is incomplete")
    pages = {name: opened(path / name, record.files[name], stopped) for name in sorted(names)}
    try:
        rows = _rows(pages, record, space)
    except ValueError as error:
        raise Unsound(f"{path} doesn't hold {record.rows} rows of dimension {space.dimension}: {error}") from error
    if record.widths is None or record.coding is None:
        return Segment(record, rows, None, np.empty(0, np.intp))
    strays = pages[_STRAYS].view(np.int64)
    if len(strays) and not 0 <= strays.min() <= strays.max() < record.rows:
        raise Unsound(f"{path / _STRAYS} names rows that don't exist")
    return Segment(record, rows, Graph(pages[_GRAPH], space, record.rows, record.coding), strays)


def _rows(pages: Mapping[str, Pages], record: SegmentRecord, space: Space) -> Rows:
    count = record.rows

    def column(name: str, kind: type[T], *shape: int) -> NDArray[T]:
        return pages[name].view(kind).reshape(shape)

    return Rows(
        count,
        column(_KEYS, np.int64, count),
        column(_VECTORS, np.float32, count, space.dimension),
        column(_SQUARES, np.float32, count),
        Coarse(
            column(_COARSE, np.int8, count, space.dimension),
            column(_SCALES, np.float32, count),
            record.length,
            record.rounded,
        ),
        np.full(count, ALIVE, np.int64),
        nobody_died(),
        column(_OWNERS, np.int64, count),
        TextLabels(
            Texts(column(_ITEM_OFFSETS, np.uint64, count + 1), pages[_ITEMS]),
            Texts(column(_PICTURE_OFFSETS, np.uint64, count + 1), pages[_PICTURES]),
        ),
    )


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
        self._offsets = {_ITEM_OFFSETS: 0, _PICTURE_OFFSETS: 0}
        self._last_owner: int | None = None
        self.rows = 0
        self._items = 0
        self._length = self._rounded = 0.0

    def __enter__(self) -> SegmentWriter:
        self._path.mkdir()
        try:
            for name in _COLUMNS:
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
        self._files[_KEYS].write(keys)
        self._files[_OWNERS].write(owners)
        self._files[_VECTORS].write(vectors)
        self._files[_SQUARES].write(squares(vectors))
        coarse = coarse_of(vectors)
        self._files[_COARSE].write(coarse.values)
        self._files[_SCALES].write(coarse.scales)
        self._length, self._rounded = max(self._length, coarse.length), max(self._rounded, coarse.rounded)
        for texts, offsets, content in ((items, _ITEM_OFFSETS, _ITEMS), (pictures, _PICTURE_OFFSETS, _PICTURES)):
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

    def finish(
        self,
        *,
        graph: Dtype | None,
        base: Segment | None,
        threads: int,
        stopped: Callable[[], bool],
        progress: Callable[[float], None],
        askers: Askers,
    ) -> SegmentRecord:
        """Make the segment durable and return its record.

        Args:
            graph: the type of components in a graph to build; None for none.
            base: the segment whose graph is over the first of the rows, and is added to.
            threads: how many build it.
            stopped: asked now and then.
            progress: told the share of rows that are in the graph.
            askers: tells vectors of another kind that will ask the graph.
        Raises:
            OSError: the disk is full, or failed.
            Stopped: `stopped` returned True.
        """
        for file in self._files.values():
            file.sync()
        files = {name: file.sum for name, file in self._files.items()}
        record = SegmentRecord(
            self._number,
            self.rows,
            self._items,
            length=self._length,
            rounded=self._rounded,
            widths=None,
            coding=None,
            flat=False,
            files=files,
        )
        if graph is not None:
            record = self._with_graph(record, graph, base, threads, stopped, progress, askers)
        steps.reached(steps.SEGMENT_SAVED)
        if record.widths is not None:
            _sync_file(self._path / _GRAPH)
        sync(self._path)
        sync(self._folder)
        steps.reached(steps.SEGMENT_SYNCED)
        return record

    def _with_graph(
        self,
        record: SegmentRecord,
        dtype: Dtype,
        base: Segment | None,
        threads: int,
        stopped: Callable[[], bool],
        progress: Callable[[float], None],
        askers: Askers,
    ) -> SegmentRecord:
        rows = open_segment(self._folder, record, self._space, stopped).rows
        flat = replace(record, flat=True)
        if not np.isfinite(rows.squares).all():
            return flat
        asking = askers(_drawn(rows.owners))
        path = self._path / _GRAPH
        # What was extended is built from the start where it isn't good, and what several threads built, by one.
        tries = dict.fromkeys([(_extensible(base, dtype, rows), threads), (None, threads), (None, 1)])
        for number, (copied, used) in enumerate(tries, 1):
            coding = Coding.of(dtype, rows.vectors, self._space.metric) if copied is None else copied.coding
            build(
                path,
                rows.vectors,
                self._space,
                coding=coding,
                base=None if copied is None else segment_folder(self._folder, copied.number) / _GRAPH,
                threads=used,
                stopped=stopped,
                progress=progress,
            )
            found = summed(path)
            try:
                proof = prove(opened(path, found), rows.vectors, rows.squares, self._space, coding, stopped, asking)
            except GraphUnsound as error:
                path.unlink()
                _log.warning("%s (built by %d threads, try %d of %d)", error, used, number, len(tries))
                continue
            strays = write_synced(self._path / _STRAYS, proof.strays.astype(np.int64))
            files = {**record.files, _GRAPH: found, _STRAYS: strays}
            return replace(record, widths=proof.widths, coding=coding, files=files)
        return flat

    def _count_items(self, owners: Int64Array) -> None:
        # An item's vectors are written by one change, so their keys are neighbours.
        if len(owners):
            self._items += int(owners[0] != self._last_owner) + int(np.count_nonzero(np.diff(owners)))
            self._last_owner = int(owners[-1])

    def discard(self) -> None:
        """Remove what was written."""
        self._stack.close()
        remove_segment(self._folder, self._number)


@dataclass(frozen=True, slots=True)
class _Base:
    """A graph that can be copied and added to."""

    number: int
    coding: Coding


def _extensible(base: Segment | None, dtype: Dtype, rows: Rows) -> _Base | None:
    """Return what a graph over `rows` can be begun with, the first of which `base` has."""
    if base is None or base.record.coding is None or base.record.coding.dtype is not dtype:
        return None
    coding = base.record.coding
    return _Base(base.record.number, coding) if coding.fits(rows.vectors[base.rows.length :]) else None


def _drawn(owners: Int64Array) -> list[int]:
    """Return some of the items, drawn at random, and the same of the same."""
    items = np.unique(owners)
    drawn: list[int] = np.random.default_rng(0).permutation(items)[:_ASKED_ITEMS].tolist()
    return drawn


def remove_segment(folder: Path, number: int) -> None:
    """Remove the files of a segment that no manifest names any more."""
    path = segment_folder(folder, number)
    for name in (*_COLUMNS, _GRAPH, _STRAYS):
        (path / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
