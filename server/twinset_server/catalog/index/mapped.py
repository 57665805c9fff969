"""Float32 rows in an unnamed file, read by memory map.

A segment's full vectors are needed for final distances and for exact searches, not for the walk through the graph. In a
file they are pages that the kernel can drop and fetch again instead of memory that must stay (205 MB at 100,000 x 512).
The file has no name, so a killed server leaves nothing behind.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from twinset_server.domain import Float32Array


def mapped(folder: Path, chunks: Iterable[Float32Array], dimension: int) -> Float32Array:
    """Return the rows of `chunks`, each `[n, dimension]`, as one read-only array on a file in `folder`.

    Raises:
        OSError: the disk is full. (Writing through the map would end the process instead.)
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, np.float32).data)
        file.flush()
        # The map keeps the file when the descriptor closes, and the array keeps the map.
        pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return np.frombuffer(pages, np.float32).reshape(-1, dimension)
