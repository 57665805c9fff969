"""Opening a file of data, plain or compressed by gzip."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from twinset_exporter.datasets.errors import DataError

# Deflate gives at most 1,032 bytes for one: https://zlib.net/zlib_tech.html.
_LARGEST_EXPANSION = 1_032


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading bytes; what ends in `.gz` is decompressed on the way.

    Raises:
        DataError: it can't be read, or its compression is broken; also while the file is read inside the block.
    """
    file: IO[bytes] | None = None
    try:
        with path.open("rb") as raw:
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_compressed(path) else raw
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(path, "a whole gzip file", found=str(error), offset=_place(file)) from error
    except OSError as error:
        raise DataError(path, "a file that can be read", found=error.strerror or str(error)) from error


def is_compressed(path: Path) -> bool:
    """Return whether `opened` decompresses the file."""
    return path.suffix == ".gz"


def largest_size(path: Path) -> int:
    """Return how many bytes the file holds at most, decompressed.

    Raises:
        DataError: it can't be read.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(path, "a file that can be read", found=error.strerror) from error
    return size * _LARGEST_EXPANSION if is_compressed(path) else size


def read_exactly(file: IO[bytes], buffer: memoryview) -> int:
    """Fill `buffer` from `file`, and return how many bytes there were: fewer only at the file's end."""
    filled = 0
    while filled < len(buffer):
        # A compressed file gives what its next block holds.
        count = file.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def _place(file: IO[bytes] | None) -> int | None:
    with contextlib.suppress(Exception):
        return None if file is None else file.tell()
    return None
