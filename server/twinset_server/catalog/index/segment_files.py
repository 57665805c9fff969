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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.index.checksums import FileSum, Pages, Unsound, opened
from twinset_server.catalog.index.coarse import Coarse
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import Graph
from twinset_server.catalog.index.item_finder import ItemFinder
from twinset_server.catalog.index.labels import Places, TextLabels, Texts
from twinset_server.catalog.index.rows import ALIVE, Rows, nobody_died
from twinset_server.domain import Space

VECTORS = "vectors.f32"
SQUARES = "squares.f32"
COARSE = "coarse.i8"
SCALES = "scales.f32"
KEYS = "keys.i64"
OWNERS = "owners.i64"
ITEM_OFFSETS = "items.u64"
ITEMS = "items.utf8"
PICTURE_OFFSETS = "pictures.u64"
PICTURES = "pictures.utf8"
COLUMNS = (VECTORS, SQUARES, COARSE, SCALES, KEYS, OWNERS, ITEM_OFFSETS, ITEMS, PICTURE_OFFSETS, PICTURES)
GRAPH = "graph.usearch"
STRAYS = "strays.i64"

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
    names = {*COLUMNS, *([GRAPH, STRAYS] if record.widths is not None else [])}
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
    strays = pages[STRAYS].view(np.int64)
    if len(strays) and not 0 <= strays.min() <= strays.max() < record.rows:
        raise Unsound(f"{path / STRAYS} names rows that don't exist")
    return Segment(record, rows, Graph(pages[GRAPH], space, record.rows, record.coding), strays)


def _rows(pages: Mapping[str, Pages], record: SegmentRecord, space: Space) -> Rows:
    count = record.rows

    def column(name: str, kind: type[T], *shape: int) -> NDArray[T]:
        return pages[name].view(kind).reshape(shape)

    return Rows(
        count,
        column(KEYS, np.int64, count),
        column(VECTORS, np.float32, count, space.dimension),
        column(SQUARES, np.float32, count),
        Coarse(
            column(COARSE, np.int8, count, space.dimension),
            column(SCALES, np.float32, count),
            record.length,
            record.rounded,
        ),
        np.full(count, ALIVE, np.int64),
        nobody_died(),
        column(OWNERS, np.int64, count),
        TextLabels(
            Texts(column(ITEM_OFFSETS, np.uint64, count + 1), pages[ITEMS]),
            Texts(column(PICTURE_OFFSETS, np.uint64, count + 1), pages[PICTURES]),
        ),
    )


def remove_segment(folder: Path, number: int) -> None:
    """Remove the files of a segment that no manifest names any more."""
    path = segment_folder(folder, number)
    for name in (*COLUMNS, GRAPH, STRAYS):
        (path / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
