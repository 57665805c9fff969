"""Locks between processes: advisory ones on files, which the kernel gives up when their holder dies.

| file | exclusive | shared |
|---|---|---|
| `lock` | the supervisor, or whoever works on the folder alone, for as long as it does | |
| `members.lock` | the same, once at its start: members of one before it are gone | each process that works for it |
| `write.lock` | a transaction that writes; its content is a `WriteCount` | |
| `pictures.lock` | the collector, for a slice | a writer from its first picture file to its commit |
| `feeds.lock` | the collector, for a slice | a feed from its first picture to its end |
| `imports.lock` | an import of factors, from its first row to its last | |
| `index/columns/lock` | who writes or removes snapshots of the columns | |

Who needs several takes them in this order: feeds, pictures, write.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.001
_COUNT_BYTES = 8


class FileLock:
    """A lock on the file at `path`, made where it doesn't exist. One thread uses it at a time.

    The file stays for good: removing it would let two processes lock two files.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone, and wait for it."""
        with self._held(fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others that share it, and wait for it."""
        with self._held(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def exclusive_or_not(self, *, within_s: float = 0.0) -> Iterator[bool]:
        """Hold the lock alone where nobody else holds it; the value says whether that is so.

        For `within_s` it is tried again and again: those who share it may leave a gap.
        """
        give_up = time.monotonic() + within_s
        while not self._taken():
            if time.monotonic() >= give_up:
                yield False
                return
            time.sleep(_POLL_S)
        try:
            yield True
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up the lock and the file."""
        os.close(self._descriptor)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextlib.contextmanager
    def _held(self, how: int) -> Iterator[None]:
        fcntl.flock(self._descriptor, how)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


class WriteLock:
    """The lock of transactions that write, given to those who wait in turn.

    SQLite's own wait polls, so the same process may win again and again; and so it may with one lock on a file, since
    who gives it up runs while who waits must be woken. Here whoever is next holds the turn, and only he waits for the
    lock.
    """

    def __init__(self, write: Path, turn: Path) -> None:
        self._write = FileLock(write)
        self._turn = FileLock(turn)
        self._count = WriteCount(write)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, and wait for it."""
        with contextlib.ExitStack() as stack:
            with self._turn.exclusive():
                stack.enter_context(self._write.exclusive())
            with self._count.counted():
                yield

    def close(self) -> None:
        """Give up the files."""
        self._turn.close()
        self._write.close()
        self._count.close()


class WriteCount:
    """How often somebody began and ended to write: 8 bytes of the lock's file, which every process maps.

    The count is odd while somebody holds the lock, and stays so where he is killed. Where it is even, and what it was
    at the last look, nothing was committed since: that is known without a call of the system.
    """

    def __init__(self, path: Path) -> None:
        """Map the file at `path`, made where it doesn't exist.

        Raises:
            OSError: it can't be made.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # Leaves what is there, and takes the place on the disk: a page without one would end whoever reads it.
            os.posix_fallocate(self._descriptor, 0, _COUNT_BYTES)
            self._map = mmap.mmap(self._descriptor, _COUNT_BYTES, prot=mmap.PROT_READ)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._numbers = memoryview(self._map).cast("Q")

    @property
    def value(self) -> int:
        """The count now."""
        return self._numbers[0]

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Let the count be odd meanwhile, and a new one afterwards. Only the holder of the lock may write."""
        # One who was killed left it odd.
        writing = self.value | 1
        self._write(writing)
        try:
            yield
        finally:
            # What is committed stays so. Where the count stays odd, those who look ask the database.
            with contextlib.suppress(OSError):
                self._write(writing + 1)

    def close(self) -> None:
        """Give up the file."""
        self._numbers.release()
        self._map.close()
        os.close(self._descriptor)

    def _write(self, count: int) -> None:
        # By the system's call: where the disk is full it fails, and through the map it would end this process.
        os.pwrite(self._descriptor, count.to_bytes(_COUNT_BYTES, sys.byteorder), 0)
