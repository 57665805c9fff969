"""IDX files, the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.opening import largest_size, opened, read_exactly

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAGIC_BYTES = 4
# What numpy takes.
_MOST_DIMENSIONS = 32


def read(path: Path) -> NDArray[Any]:
    """Return the array of an IDX file, plain or `.gz`.

    Returns:
        Of the file's shape and type, in this machine's byte order: pictures `[N, H, W]` uint8, labels `[N]` uint8.

    Raises:
        DataError: it can't be read, is no IDX file, or is shorter or longer than its header says.
    """
    largest = largest_size(path)
    with opened(path) as file:
        magic = file.read(_MAGIC_BYTES)
        if len(magic) < _MAGIC_BYTES or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not magic[3]:
            expected = "an IDX file: two zero bytes, a type (8, 9, 11, 12, 13 or 14) and the number of dimensions"
            raise DataError(path, expected, found=magic.hex(" ") or "an empty file", offset=0)
        dimensions = file.read(4 * magic[3])
        start = _MAGIC_BYTES + 4 * magic[3]
        if len(dimensions) < 4 * magic[3]:
            raise DataError(path, f"{magic[3]} dimensions", found="the end", offset=_MAGIC_BYTES + len(dimensions))
        shape = tuple(np.frombuffer(dimensions, ">u4").tolist())
        dtype = np.dtype(_DTYPES[magic[2]])
        size = math.prod(shape) * dtype.itemsize
        # Before there is memory for it: a broken header may ask for any amount.
        if len(shape) > _MOST_DIMENSIONS or not size:
            expected = f"at most {_MOST_DIMENSIONS} dimensions, none of them 0"
            raise DataError(path, expected, found=str(shape), offset=_MAGIC_BYTES)
        if start + size > largest:
            raise DataError(
                path, f"{size:,} bytes, as {shape} needs", found=f"at most {largest - start:,}", offset=start
            )
        array = np.empty(shape, dtype)
        filled = read_exactly(file, array.reshape(-1).view(np.uint8).data)
        if filled < size:
            record = filled // (size // shape[0])
            raise DataError(
                path, f"{shape[0]:,} records, as its header says", found="the end", record=record, offset=start + filled
            )
        if file.read(1):
            raise DataError(path, "its end", found="more bytes than its header says", offset=start + size)
    return array.astype(dtype.newbyteorder("="), copy=False)
