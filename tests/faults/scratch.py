"""Folders in memory: a real disk's syncs would take most of the time, and its durability isn't what is tested here."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Return a new folder, in memory where this machine has such a place; it goes with the context."""
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="twinset-", dir=where) as folder:
        yield Path(folder)
