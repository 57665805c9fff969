"""A folder that one run at a time writes to, whose files are there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from twinset_exporter.errors import UsageError

TEMPORARY = ".writing-"
"""What the name of a file begins with that isn't whole yet."""


class HeldFolder:
    """The folder that a run writes to. Only one run at a time may hold it; the kernel frees it when that one dies."""

    def __init__(self, path: Path) -> None:
        """Make the folder where it doesn't exist, and hold it.

        Raises:
            UsageError: it can't be made, or another run holds it.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(f"can't write to {path}: {error.strerror}; choose another --output") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise UsageError(f"another run writes to {path}: wait for its end, or choose another --output") from None

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[IO[bytes]]:
        """Yield a file that takes the place of `path` in the end, synced, whatever happens meanwhile."""
        with writing(path) as file:
            yield file


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` in the end, synced, whatever happens meanwhile."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105 - the one call that makes it so
    sync(path.parent)


def sync(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
