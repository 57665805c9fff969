"""Generations on disk: manifests that name segments, each replaced by the next and none ever changed.

```
generation-000012.json    what the generation is, with its own checksum
dead-000012.i64           keys of those vectors in its segments that were dead, sorted
segment-000031/           files of a segment; several generations may share one
```

A manifest is written to a temporary file, synced, renamed, and the directory synced: it is there as a whole, after
everything that it names, or not at all. Readers take the newest whose every byte is as it was written. The two newest
sound ones are kept: where the newest is damaged, the one before and the change log say the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128

from twinset_server.catalog import steps
from twinset_server.catalog.folder import sync
from twinset_server.catalog.index.checksums import FileSum, Unsound, opened, write_synced
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import VERSION as USEARCH
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.index.segment_files import (
    Segment,
    SegmentRecord,
    open_segment,
    remove_segment,
)
from twinset_server.domain import Dtype, Metric, Space

_log = logging.getLogger(__name__)

_FORMAT = 3
_READABLE = (2, _FORMAT)
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Generation:
    """What is in use of a space's index.

    Attributes:
        number: rises from each to the next.
        space: the space, but for its model.
        sequence: every death up to this change is in its list of dead keys.
        key: every vector with a key up to this one that lived then is in a segment.
        log_from: rows of `dead` up to this change may be gone: who knows less must begin anew.
        dead: the file of dead keys.
        segments: in the order of their keys.
    """

    number: int
    space: Space
    sequence: int
    key: int
    log_from: int
    dead: FileSum
    segments: tuple[SegmentRecord, ...]


@dataclass(frozen=True, slots=True)
class OpenGeneration:
    """A generation of which every byte was checked; `dead` are sorted keys."""

    generation: Generation
    segments: tuple[Segment, ...]
    dead: Int64Array


def manifest_path(folder: Path, number: int) -> Path:
    """Return the path of a manifest in the folder of its space."""
    return folder / f"generation-{number:06d}.json"


def dead_path(folder: Path, number: int) -> Path:
    """Return the path of a generation's dead keys in the folder of its space."""
    return folder / f"dead-{number:06d}.i64"


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the manifests in the folder of a space, newest first; sound or not."""
    return sorted(_numbered(folder, "generation-", ".json"), reverse=True)


def next_number(folder: Path) -> int:
    """Return the number of the next generation."""
    return max([*numbers(folder), *_numbered(folder, "dead-", ".i64")], default=0) + 1


def next_segment(folder: Path) -> int:
    """Return a number that no segment in the folder has."""
    return max(_numbered(folder, "segment-", ""), default=0) + 1


def write(folder: Path, generation: Generation, dead: Int64Array) -> Generation:
    """Publish a generation whose segments are on disk; return it with the record of its dead keys.

    Raises:
        OSError: the disk is full, or failed.
    """
    path = manifest_path(folder, generation.number)
    temporary = path.with_suffix(".tmp")
    dead_file = dead_path(folder, generation.number)
    try:
        generation = replace(generation, dead=write_synced(dead_file, dead))
        write_synced(temporary, np.frombuffer(_encoded(generation), np.uint8))
        steps.reached(steps.MANIFEST_WRITTEN)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        dead_file.unlink(missing_ok=True)
        raise
    steps.reached(steps.MANIFEST_RENAMED)
    sync(folder)
    steps.reached(steps.DIRECTORY_SYNCED)
    return generation


def read(folder: Path, number: int) -> Generation:
    """Return what a manifest says; nothing that it names was looked at.

    Raises:
        Unsound: it is damaged, or of another version.
    """
    path = manifest_path(folder, number)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Unsound(f"{path} is too large for a manifest")
        content = path.read_bytes()
    except OSError as error:
        raise Unsound(f"{path} can't be read: {error}") from error
    return _decoded(content, path, number)


def open_generation(
    folder: Path,
    number: int,
    space: Space,
    known: Mapping[int, Segment],
    stopped: Callable[[], bool] | None = None,
    *,
    idle: MutableMapping[int, Segment] | None = None,
) -> OpenGeneration:
    """Open a generation after every byte of it was checked.

    Args:
        folder: the folder of the space.
        number: the generation's.
        space: the space as the database has it.
        known: segments in use by number, taken as they are where the manifest says the same of them.
        stopped: asked now and then.
        idle: segments by number that are open but not in use, and may lack deaths. What is opened is added, so that
            another try, where the generation is pruned meanwhile, needn't check the same bytes again.
    Raises:
        Unsound: something of it is damaged, missing, or of another space or version.
        Stopped: `stopped` returned True.
    """
    generation = read(folder, number)
    if generation.space != replace(space, model=None):
        raise Unsound(f"{manifest_path(folder, number)} is of {generation.space}, not of {space}")
    pages = opened(dead_path(folder, number), generation.dead, stopped)
    if len(pages) % 8:
        raise Unsound(f"{dead_path(folder, number)} doesn't hold whole keys")
    dead = pages.view(np.int64)
    idle = {} if idle is None else idle
    segments = []
    for record in generation.segments:
        in_use = known.get(record.number)
        if in_use is not None and in_use.record == record:
            segments.append(in_use)
            continue
        segment = idle.get(record.number)
        if segment is None or segment.record != record:
            segment = idle[record.number] = open_segment(folder, record, space, stopped)
        segment.rows.bury(dead, generation.sequence)
        segments.append(segment)
    return OpenGeneration(generation, tuple(segments), dead)


def newest_sound(folder: Path, space: Space, stopped: Callable[[], bool] | None = None) -> OpenGeneration | None:
    """Return the newest generation of which nothing is damaged; None where there is none.

    A builder may publish and prune meanwhile: what appears is tried too, before what is older.

    Raises:
        Stopped: `stopped` returned True.
    """
    tried: set[int] = set()
    idle: dict[int, Segment] = {}
    while (number := next((one for one in numbers(folder) if one not in tried), None)) is not None:
        tried.add(number)
        try:
            return open_generation(folder, number, space, {}, stopped, idle=idle)
        except Unsound as error:
            _log.warning("space %s: generation %d can't be used: %s", space.name, number, error)
    return None


def prune(folder: Path, kept: Iterable[Generation], writing: Iterable[int]) -> None:
    """Remove what is of no generation in `kept`, but segments of the numbers in `writing`.

    Those who read an old segment keep it: a file that is mapped goes when the last of them is done with it.
    """
    keep = {one.number for one in kept}
    segments = {record.number for one in kept for record in one.segments} | set(writing)
    for number in numbers(folder):
        if number not in keep:
            manifest_path(folder, number).unlink()
    # A manifest must be gone for good before what it names, or a power cut leaves one that names nothing.
    sync(folder)
    for number in _numbered(folder, "dead-", ".i64"):
        if number not in keep:
            dead_path(folder, number).unlink()
    for number in _numbered(folder, "segment-", ""):
        if number not in segments:
            remove_segment(folder, number)
    for path in folder.glob("generation-*.tmp"):
        path.unlink()


def _numbered(folder: Path, prefix: str, suffix: str) -> list[int]:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    parts = [
        name[len(prefix) : len(name) - len(suffix)]
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    ]
    return [int(part) for part in parts if part.isdecimal()]


def _encoded(generation: Generation) -> bytes:
    space = generation.space
    content = {
        "format": _FORMAT,
        "usearch": USEARCH,
        "generation": generation.number,
        "space": {
            "name": space.name,
            "dimension": space.dimension,
            "metric": space.metric.value,
            "fingerprint": space.fingerprint,
        },
        "sequence": generation.sequence,
        "key": generation.key,
        "log_from": generation.log_from,
        "dead": asdict(generation.dead),
        "segments": [asdict(record) for record in generation.segments],
    }
    return sealed(content)


def _decoded(content: bytes, path: Path, number: int) -> Generation:
    try:
        document = json.loads(content)
        document.pop("checksum")
        if content != sealed(document):
            raise Unsound(f"{path} has another content than was written: its checksum differs")
        if document["format"] not in _READABLE or document["usearch"] != USEARCH:
            raise Unsound(
                f"{path} is of format {document['format']} and USearch {document['usearch']}; this server reads "
                f"formats {_READABLE[0]} to {_READABLE[-1]} and USearch {USEARCH}"
            )
        if document["generation"] != number:
            raise Unsound(f"{path} is the manifest of generation {document['generation']}")
        return _generation(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unsound(f"{path} is no manifest: {error!r}") from error


def _generation(document: Mapping[str, Any]) -> Generation:
    space = document["space"]
    return Generation(
        document["generation"],
        Space(space["name"], space["dimension"], Metric(space["metric"]), space["fingerprint"]),
        document["sequence"],
        document["key"],
        document["log_from"],
        FileSum(**document["dead"]),
        tuple(_segment(record) for record in document["segments"]),
    )


def _segment(record: Mapping[str, Any]) -> SegmentRecord:
    widths = record["widths"]
    if widths is not None:
        widths = tuple((int(width), float(recall)) for width, recall in widths)
    coding = record["coding"]
    if coding is not None:
        # Format 2 knew no centre. Where graphs have one now, those without are of another metric and refused as such.
        centre = tuple(float(value) for value in coding.get("centre", ()))
        coding = Coding(Dtype(coding["dtype"]), float(coding["scale"]), float(coding["length"]), centre)
    files = {name: FileSum(**one) for name, one in record["files"].items()}
    return SegmentRecord(**{**record, "widths": widths, "coding": coding, "files": files})


def sealed(document: Mapping[str, Any]) -> bytes:
    """Return a manifest's bytes: its content as JSON, and the checksum of that."""
    checksum = xxh3_128(json.dumps(document).encode()).hexdigest()
    return json.dumps({**document, "checksum": checksum}, indent=1).encode()
