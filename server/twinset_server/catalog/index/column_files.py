"""The table of columns on disk, so that a start needn't read a million items from the database.

```
columns-000007.json    what the snapshot is, with its own checksum
columns-000007.bin     keys (int64) of all items, then of each field its codes (int32) and its values, each padded to 8
```

They are written once and checked before use as generations are: see `manifest`. One is enough: where it is damaged, the
database says the same.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from twinset_server.catalog import steps
from twinset_server.catalog.columns.codes import Codes
from twinset_server.catalog.columns.table import Column, Columns
from twinset_server.catalog.columns.values import Values
from twinset_server.catalog.folder import sync
from twinset_server.catalog.index.checksums import FileSum, Pages, SummedFile, Unsound, opened, write_synced
from twinset_server.catalog.index.manifest import sealed
from twinset_server.catalog.locks import FileLock

_log = logging.getLogger(__name__)

_FORMAT = 1
_MAX_BYTES = 16 << 20
_PREFIX = "columns-"


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a manifest says: `fields` are names, and how many bytes the values of each take."""

    sequence: int
    length: int
    file: FileSum
    fields: tuple[tuple[str, int], ...]


def columns_folder(index: Path) -> Path:
    """Return where the snapshots lie in the folder of the index."""
    return index / "columns"


def manifest_path(folder: Path, number: int) -> Path:
    """Return the path of a snapshot's manifest."""
    return folder / f"{_PREFIX}{number:06d}.json"


def data_path(folder: Path, number: int) -> Path:
    """Return the path of a snapshot's content."""
    return folder / f"{_PREFIX}{number:06d}.bin"


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the manifests, newest first; sound or not."""
    return sorted(_numbered(folder, ".json"), reverse=True)


@contextlib.contextmanager
def held(index: Path) -> Iterator[None]:
    """Keep all others from writing and removing snapshots in the folder of the index, and wait for it."""
    folder = columns_folder(index)
    folder.mkdir(parents=True, exist_ok=True)
    # What is synced below a directory whose own entry isn't would go with it at a power cut.
    sync(folder.parent)
    with contextlib.closing(FileLock(folder / "lock")) as lock, lock.exclusive():
        yield


def write(folder: Path, columns: Columns) -> int:
    """Publish a snapshot of the items in `columns` that live, and remove all others; return its number.

    Whoever writes or removes has the folder `held`.

    Raises:
        OSError: the disk is full, or failed.
    """
    number = max([*_numbered(folder, ".json"), *_numbered(folder, ".bin")], default=0) + 1
    temporary = manifest_path(folder, number).with_suffix(".tmp")
    try:
        document = {"format": _FORMAT, "number": number, **asdict(_write_data(data_path(folder, number), columns))}
        steps.reached(steps.COLUMNS_SAVED)
        write_synced(temporary, np.frombuffer(sealed(document), np.uint8))
        steps.reached(steps.COLUMNS_WRITTEN)
        temporary.replace(manifest_path(folder, number))
    except BaseException:
        temporary.unlink(missing_ok=True)
        data_path(folder, number).unlink(missing_ok=True)
        raise
    steps.reached(steps.COLUMNS_RENAMED)
    sync(folder)
    remove(folder, kept=number)
    return number


def remove(folder: Path, kept: int | None = None) -> None:
    """Remove all snapshots but number `kept`. Who has one open keeps it."""
    for number in numbers(folder):
        if number != kept:
            manifest_path(folder, number).unlink()
    if folder.is_dir():
        # A manifest must be gone for good before what it names.
        sync(folder)
    for number in _numbered(folder, ".bin"):
        if number != kept:
            data_path(folder, number).unlink()
    for path in folder.glob(f"{_PREFIX}*.tmp"):
        path.unlink()


def open_snapshot(folder: Path, number: int, stopped: Callable[[], bool] | None = None) -> Columns:
    """Open a snapshot after every byte of it was checked; its codes lie in memory maps.

    Raises:
        Unsound: it is damaged, missing, or of another version.
        Stopped: `stopped` returned True.
    """
    layout = _read(manifest_path(folder, number), number)
    path = data_path(folder, number)
    pages = opened(path, layout.file, stopped)
    try:
        return _columns(pages, layout)
    except ValueError as error:
        raise Unsound(f"{path} doesn't hold {layout.length} items: {error}") from error


def newest_sound(folder: Path, stopped: Callable[[], bool] | None = None) -> tuple[int, Columns] | None:
    """Return number and content of the newest snapshot that isn't damaged; None where there is none.

    A builder may put another in its place meanwhile.

    Raises:
        Stopped: `stopped` returned True.
    """
    tried: set[int] = set()
    while (number := next((one for one in numbers(folder) if one not in tried), None)) is not None:
        tried.add(number)
        try:
            return number, open_snapshot(folder, number, stopped)
        except Unsound as error:
            _log.warning("the snapshot of categories and attributes can't be used: %s", error)
    return None


def _write_data(path: Path, columns: Columns) -> _Layout:
    living = columns.alive
    fields = []
    with SummedFile(path) as file:
        keys = columns.keys[living]
        file.write(keys)
        for name, column in columns.fields.items():
            codes = column.codes[living]
            values = np.frombuffer(column.values.to_bytes(), np.uint8)
            for array in (codes, values):
                file.write(array)
                file.write(np.zeros(-array.nbytes % 8, np.uint8))
            fields.append((name, len(values)))
        file.sync()
        return _Layout(columns.sequence, len(keys), file.sum, tuple(fields))


def _columns(pages: Pages, layout: _Layout) -> Columns:
    parts = _parts(pages, layout)
    keys = next(parts).view(np.int64)
    none = np.empty(0, np.int32)

    def codes(array: Pages) -> Codes:
        return Codes(array.view(np.int32), none, none, none)

    fields = {
        name: Column(codes(next(parts)), Values.from_bytes(next(parts).data if size else b""))
        for name, size in layout.fields
    }
    living = Codes(np.ones(layout.length, np.int32), none, none, none)
    return Columns(layout.sequence, layout.length, keys, fields, living, 0)


def _parts(pages: Pages, layout: _Layout) -> Iterator[Pages]:
    """Yield what `_write_data` wrote one after the other."""
    sizes = [8 * layout.length, *(size for _, values in layout.fields for size in (4 * layout.length, values))]
    if sum(size + -size % 8 for size in sizes) != len(pages):
        raise ValueError("it has another size")
    start = 0
    for size in sizes:
        yield pages[start : start + size]
        start += size + -size % 8


def _read(path: Path, number: int) -> _Layout:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Unsound(f"{path} is too large for a manifest")
        content = path.read_bytes()
    except OSError as error:
        raise Unsound(f"{path} can't be read: {error}") from error
    try:
        document = json.loads(content)
        document.pop("checksum")
        if content != sealed(document):
            raise Unsound(f"{path} has another content than was written: its checksum differs")
        if document["format"] != _FORMAT:
            raise Unsound(f"{path} is of format {document['format']}; this server reads format {_FORMAT}")
        if document["number"] != number:
            raise Unsound(f"{path} is the manifest of snapshot {document['number']}")
        fields = tuple((str(name), int(size)) for name, size in document["fields"])
        return _Layout(document["sequence"], document["length"], FileSum(**document["file"]), fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unsound(f"{path} is no manifest: {error!r}") from error


def _numbered(folder: Path, suffix: str) -> list[int]:
    paths = folder.iterdir() if folder.is_dir() else ()
    parts = [path.name[len(_PREFIX) : -len(suffix)] for path in paths if path.match(f"{_PREFIX}*{suffix}")]
    return [int(part) for part in parts if part.isdecimal()]
