"""Arrays that one thread lengthens while others read what they hold already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

_GROWTH = 1.5
_LEAST_ROOM = 16


class Growing(Generic[Scalar]):
    """A one-dimensional array to append to.

    What was appended never changes, and a reader that knows of it finds it in `array`, whichever one it gets hold of:
    a longer copy is whole before it takes the place of the shorter.
    """

    __slots__ = ("_length", "array")

    def __init__(self, start: NDArray[Scalar]) -> None:
        """Begin with the elements of `start`, which is not copied before something is appended."""
        self.array = start
        self._length = len(start)

    def __len__(self) -> int:
        return self._length

    def append(self, value: float) -> None:
        """Append one element."""
        self._make_room(1)
        self.array[self._length] = value
        self._length += 1

    def extend(self, values: Sequence[int] | NDArray[Scalar]) -> None:
        """Append elements."""
        if not len(values):
            # A start that is read-only, as a mapped file is, stays in its place as long as it may.
            return
        self._make_room(len(values))
        self.array[self._length : self._length + len(values)] = values
        self._length += len(values)

    def whole(self) -> NDArray[Scalar]:
        """Return all elements, without a copy."""
        return self.array[: self._length]

    def _make_room(self, more: int) -> None:
        needed = self._length + more
        if needed > len(self.array):
            longer = np.empty(max(_LEAST_ROOM, needed, int(_GROWTH * len(self.array))), self.array.dtype)
            longer[: self._length] = self.array[: self._length]
            self.array = longer
