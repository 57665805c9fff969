"""Copies of files that are durable and whose content is known by its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from twinset_server.catalog.folder import sync

_CHUNK = 1 << 20


def sha256_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file, telling `advance` each number of bytes read.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if advance is not None:
                advance(len(chunk))
    return digest.hexdigest()


def copy(source: Path, target: Path, advance: Callable[[int], None] | None = None) -> str:
    """Copy a file durably, its directory entry apart, and return the SHA-256 of what was written.

    Bytes are read and written, not linked or cloned: a copy that shares blocks with the original shares their fate.

    Raises:
        OSError: it can't be read or written; a part of the target may be left.
    """
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("xb") as written:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            written.write(chunk)
            if advance is not None:
                advance(len(chunk))
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest()


def write(path: Path, content: bytes) -> None:
    """Write a new file durably, its directory entry apart.

    Raises:
        OSError: it can't be written.
    """
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folders(top: Path) -> None:
    """Make the entries of `top` and of every directory below it durable."""
    for directory, _, _ in os.walk(top):
        sync(Path(directory))


def size_bytes(top: Path) -> int:
    """Return how many bytes all files below `top` have; those that vanish meanwhile don't count."""
    total = 0
    for directory, _, names in os.walk(top):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(directory) / name).lstat().st_size
    return total


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there.

    Raises:
        OSError: it can't be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
