"""Files that are written once with their checksum, and read only after it was compared.

USearch loads a damaged file silently or crashes on it, so nothing of the index is opened before XXH3 over all of its
bytes agrees with the manifest. It finds damage, not forgery: who can write to the folder owns the catalogue anyway.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

Pages = NDArray[np.uint8]

_SLICE = 4 << 20
"""Bytes hashed at a time: xxhash gives the GIL up for each slice, and takes a millisecond for it."""

_SYNC_EVERY = 32 << 20
"""Bytes after which a growing file is synced: a gigabyte at once would hold up every commit on the same disk."""


class Unsound(Exception):
    """A generation can't be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class FileSum:
    """What a file must be: its size in bytes and the XXH3 (128 bits, hexadecimal) of its content."""

    size: int
    xxh3_128: str


@dataclass(slots=True)
class SummedFile:
    """A new file that is hashed as it is written. Used as a context; the file is on disk after `sync`."""

    path: Path
    _hash: xxh3_128 = field(default_factory=xxh3_128)
    _size: int = 0
    _synced: int = 0
    _descriptor: int = -1

    def __enter__(self) -> SummedFile:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def write(self, array: NDArray[np.generic]) -> None:
        """Append the bytes of `array`.

        Raises:
            OSError: the disk is full, or failed.
        """
        content = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
        self._hash.update(content)
        while content:
            written = os.write(self._descriptor, content)
            self._size += written
            content = content[written:]
        if self._size - self._synced >= _SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Make what was written durable."""
        os.fsync(self._descriptor)
        self._synced = self._size

    @property
    def sum(self) -> FileSum:
        """Size and checksum of what was written."""
        return FileSum(self._size, self._hash.hexdigest())


def write_synced(path: Path, array: NDArray[np.generic]) -> FileSum:
    """Write `array` to a new file, durably but for its directory entry."""
    with SummedFile(path) as file:
        file.write(array)
        file.sync()
        return file.sum


def summed(path: Path) -> FileSum:
    """Return size and checksum of a file that something else wrote."""
    pages = _mapped(path, path.stat().st_size)
    return FileSum(len(pages), _digest(pages, _never))


def opened(path: Path, expected: FileSum, stopped: Callable[[], bool] | None = None) -> Pages:
    """Return the file's bytes, by memory map, after each of them was looked at.

    The map that is hashed is the one that is returned: its pages are in place before a search needs them, and the file
    can't become another in between. The array keeps the map, and the map the file, also when it is removed.

    Raises:
        Unsound: the file isn't what `expected` says.
        Stopped: `stopped` returned True meanwhile.
    """
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise Unsound(f"{path} has {size} bytes, and should have {expected.size}")
        pages = _mapped(path, size)
    except (OSError, ValueError) as error:
        raise Unsound(f"{path} can't be read: {error}") from error
    if _digest(pages, stopped or _never) != expected.xxh3_128:
        raise Unsound(f"{path} has another content than was written: its XXH3 differs")
    return pages


class Stopped(Exception):
    """The process ends; what was asked for isn't wanted any more."""


def _mapped(path: Path, size: int) -> Pages:
    if size == 0:
        return np.empty(0, np.uint8)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ), np.uint8)


def _digest(pages: Pages, stopped: Callable[[], bool]) -> str:
    digest = xxh3_128()
    view = pages.data
    for start in range(0, len(pages), _SLICE):
        if stopped():
            raise Stopped
        digest.update(view[start : start + _SLICE])
    return digest.hexdigest()


def _never() -> bool:
    return False
