"""What everything else is made of: arrays, and typed attributes."""

from __future__ import annotations

import datetime
import math

import numkong
import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Int32Array = NDArray[np.int32]

MAX_ATTRIBUTES = 64
MAX_ATTRIBUTES_BYTES = 64 << 10
"""What an item or a user may hold."""

Attribute = str | int | float | bool | tuple[str, ...] | datetime.datetime
"""A typed attribute: text, whole number, number, truth, several texts, or a time in UTC."""


def length_of(values: Float32Array) -> float:
    """Return the length of `values`, `[D]` float32: in float64, since the square of a large float32 overflows."""
    square = numkong.dot(values, values)
    assert isinstance(square, float)  # noqa: S101 - of two vectors it is a number
    return math.sqrt(square)


def attribute_bytes(name: str, value: Attribute) -> int:
    """Return what an attribute counts against `MAX_ATTRIBUTES_BYTES`: its texts in UTF-8, and 8 for another value."""
    match value:
        case str():
            size = len(value.encode())
        case tuple():
            size = sum(len(text.encode()) for text in value)
        case _:
            size = 8
    return len(name.encode()) + size
