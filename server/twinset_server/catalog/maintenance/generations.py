"""The generations of the index, each opened by the code that searches: what a backup copies and a check compares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinset_server.catalog.index import manifest
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.index.distance import distances
from twinset_server.catalog.index.manifest import Generation, OpenGeneration
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.index.segment_files import Segment, segment_folder
from twinset_server.domain import Float32Array, Metric, Space
from twinset_server.maintenance import Work

_NEAR = 64
"""A row that isn't among so many nearest to itself can't be reached through its graph."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generation lies: the folder of its space, named by the space's key, and its number."""

    home: Path
    number: int

    @property
    def manifest(self) -> Path:
        """Its manifest."""
        return manifest.manifest_path(self.home, self.number)

    @property
    def exists(self) -> bool:
        """Whether it is there; the builder removes old ones."""
        return self.manifest.exists()

    def read(self) -> Generation:
        """Return what its manifest says.

        Raises:
            Unsound: the manifest is damaged, or of another version.
        """
        return manifest.read(self.home, self.number)

    def opened(self, space: Space, work: Work, known: Mapping[int, Segment] | None = None) -> OpenGeneration:
        """Open it after every byte was checked, but for segments in `known`.

        Raises:
            Unsound: something of it is damaged, missing, or of another space or version.
            Stopped: the work was cancelled.
        """
        return manifest.open_generation(self.home, self.number, space, known or {}, lambda: work.cancel_requested)

    def files(self, generation: Generation) -> list[Path]:
        """Return its files, the manifest first."""
        return [
            self.manifest,
            manifest.dead_path(self.home, self.number),
            *(
                segment_folder(self.home, record.number) / name
                for record in generation.segments
                for name in sorted(record.files)
            ),
        ]


def places(index: Path) -> list[Place]:
    """Return all generations, sound or not, by space, the newest first."""
    homes = sorted(path for path in index.iterdir() if path.is_dir()) if index.is_dir() else []
    return [Place(home, number) for home in homes for number in manifest.numbers(home)]


def readable(index: Path) -> Iterator[tuple[Place, Generation]]:
    """Yield the generations with sound manifests, in the order of `places`."""
    for place in places(index):
        try:
            yield place, place.read()
        except Unsound:
            # A check tells; whoever searches passes over it too.
            continue


def keys(generation: OpenGeneration) -> Int64Array:
    """Return the keys of all its rows, rising, dead ones among them."""
    return np.concatenate([np.empty(0, np.int64), *(segment.rows.keys for segment in generation.segments)])


def differing(generation: OpenGeneration, stored: Mapping[int, Float32Array]) -> list[int]:
    """Return those keys of `stored` whose row holds another vector."""
    return sorted(
        key
        for segment, place, key in _found(generation, stored)
        if segment.rows.vectors[place].tobytes() != stored[key].tobytes()
    )


def unreachable(generation: OpenGeneration, stored: Mapping[int, Float32Array]) -> list[int]:
    """Return those keys of `stored` that a walk from their own vector doesn't find in the graph that holds them."""
    lost = []
    for segment, place, key in _found(generation, stored):
        widths = segment.record.widths
        if segment.graph is None or widths is None:
            continue
        widest, _ = widths[-1]
        near = segment.graph.nearest_of_row(stored[key], min(_NEAR, segment.rows.length), widest)
        near = np.union1d(near, segment.strays)
        # Whatever the metric, nothing is nearer to a vector than itself by L2.
        measured = distances(segment.rows.vectors[[place, *near.tolist()]], stored[key], Metric.EUCLIDEAN)
        # And among equal vectors any may stand for another.
        if not (measured[1:] <= measured[0]).any():
            lost.append(key)
    return sorted(lost)


def _found(generation: OpenGeneration, stored: Mapping[int, Float32Array]) -> Iterator[tuple[Segment, int, int]]:
    asked = np.array(sorted(stored), np.int64)
    for segment in generation.segments:
        for place in segment.rows.places(asked).tolist():
            yield segment, place, int(segment.rows.keys[place])
