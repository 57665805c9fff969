"""Numbers by the hash of what they stand for: a dictionary of 16 to 44 bytes an entry, instead of some 90."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.columns.growing import Growing

_FREE = -1
_LEAST_SLOTS = 32


class HashIndex:
    """Finds the numbers 0, 1, ... by hash; equal hashes are for the caller to tell apart.

    One thread adds while others look up. A reader finds each number that was added before it began.
    """

    def __init__(self, hashes: NDArray[np.int64] | None = None) -> None:
        """Begin with a number for each of `hashes`, in their order."""
        given = np.empty(0, np.int64) if hashes is None else hashes
        self._hashes = Growing(given)
        self._slots = _table(given)

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, value: int) -> int:
        """Return the next number, which is found by hash `value` from now on."""
        number = len(self._hashes)
        self._hashes.append(value)
        if 2 * (number + 1) > len(self._slots):
            self._slots = _table(self._hashes.whole())
            return number
        last = len(self._slots) - 1
        place = value & last
        while self._slots[place] != _FREE:
            place = (place + 1) & last
        self._slots[place] = number
        return number

    def candidates(self, value: int) -> Iterator[int]:
        """Yield the numbers that were added by hash `value`."""
        # The table first: the hashes of all numbers in it are there by now.
        slots = self._slots
        hashes = self._hashes.array
        last = len(slots) - 1
        place = value & last
        while (number := int(slots[place])) != _FREE:
            if hashes[number] == value:
                yield number
            place = (place + 1) & last


def _table(hashes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return slots for open addressing with linear probing, a quarter of them taken or less."""
    size = _LEAST_SLOTS
    while size < 4 * len(hashes):
        size *= 2
    slots = np.full(size, _FREE, np.int32)
    waiting = np.arange(len(hashes), dtype=np.int32)
    places = hashes & (size - 1)
    # All take their slot at once; who finds it taken, by another of this round too, tries the next one.
    while len(waiting):
        free = slots[places] == _FREE
        slots[places[free]] = waiting[free]
        late = slots[places] != waiting
        waiting = waiting[late]
        places = (places[late] + 1) & (size - 1)
    return slots
