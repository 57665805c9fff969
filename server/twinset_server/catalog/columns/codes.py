"""Codes by item place, of which each reader keeps the state that it took while one thread goes on writing.

What was published never changes. Codes of later items lie beyond the length that a reader holds. A change to an earlier
item is noted in a log beside the array, of which a reader holds a length as well. When the log is full, the array is
copied with all changes in it, and those who hold the old one keep it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes32 = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Truths = NDArray[np.bool_]

_LOG_SHARE = 256
_LEAST_LOG = 1024
"""A log has room for this part of the codes, or for so many: each entry costs every reader some ns, and a full log a
copy."""

_LEAST_ROOM = 4096

_BLOCK = 1 << 16
"""Codes looked up at a time: numpy widens them to 64 bits first, which shall stay in the cache."""

_FEW = 4
"""Codes that are found sooner one by one than by a table."""


class Codes:
    """The codes of one state. Immutable, but for what it remembers of its own making."""

    def __init__(self, base: Codes32, tail: Codes32, places: Codes32, changes: Codes32) -> None:
        """Make the codes of `base` and then `tail`, but `changes` at `places`; of several for a place the last."""
        self._base = base
        self._tail = tail
        self._places = places
        self._changes = changes
        self._array: Codes32 | None = None if len(tail) or len(places) else base

    def __len__(self) -> int:
        return len(self._base) + len(self._tail)

    @property
    def array(self) -> Codes32:
        """The codes `[N]`; made at the first question, and not to be written to."""
        if self._array is None:
            array = np.concatenate([self._base, self._tail])
            array[self._places] = self._changes
            self._array = array
        return self._array

    def truth(self, table: Truths) -> Truths:
        """Return `table[codes]`, `[N]`; no code is copied for it.

        Args:
            table: `[V + 1]` truths by code.
        """
        found = np.empty(len(self), np.bool_)
        _look_up(table, self._base, found[: len(self._base)])
        _look_up(table, self._tail, found[len(self._base) :])
        found[self._places] = table[self._changes]
        return found


class CodesWriter:
    """Writes codes; one thread uses it."""

    def __init__(self, base: Codes32) -> None:
        """Begin with the codes in `base`, which is never written to."""
        self._base = base
        self._tail = np.zeros(0, np.int32)
        self._length = len(base)
        # Nobody looks at places from here on.
        self._shown = len(base)
        # Whether nobody looks at the base at all.
        self._fresh = False
        self._published: Codes | None = None
        self._begin_log()
        self._look()

    @classmethod
    def of_none(cls, length: int) -> CodesWriter:
        """Return a writer of `length` codes that are 0; the kernel gives their memory as it is written to."""
        return cls(np.zeros(length, np.int32))

    def extend(self, length: int, code: int) -> None:
        """Have `length` codes; those that are new are `code`."""
        room = length - len(self._base)
        if room > len(self._tail):
            wider = np.zeros(max(2 * len(self._tail), room, _LEAST_ROOM), np.int32)
            wider[: len(self._tail)] = self._tail
            self._tail = wider
            self._look()
        if length > self._length:
            if code:
                self._tail[self._length - len(self._base) : room] = code
            self._length, self._published = length, None

    def __getitem__(self, place: int) -> int:
        code = self._newest.get(place)
        if code is not None:
            return code
        start = len(self._base_codes)
        return self._base_codes[place] if place < start else self._tail_codes[place - start]

    def write(self, places: Int64Array, codes: Codes32) -> None:
        """Let the item at each of `places`, none of which occurs twice, have one of the `codes`."""
        if self._fresh or int(places.min()) >= self._shown:
            self._write_unseen(places, codes)
            self._published = None
            return
        base, tail, newest, start = self._base_codes, self._tail_codes, self._newest, len(self._base_codes)
        for number, (place, code) in enumerate(zip(places.tolist(), codes.tolist(), strict=True)):
            known = newest.get(place) if newest else None
            if known is None:
                known = base[place] if place < start else tail[place - start]
            if code == known:
                continue
            self._published = None
            if place >= self._shown:
                tail[place - start] = code
            elif self._logged < len(self._places):
                self._places[self._logged] = place
                self._changes[self._logged] = code
                self._logged += 1
                newest[place] = code
            else:
                self._fold()
                self._write_unseen(places[number:], codes[number:])
                return

    def publish(self) -> Codes:
        """Return the codes as they are; the same as before where none was written since."""
        if self._published is None:
            tail = self._tail[: self._length - len(self._base)]
            logged = slice(self._logged)
            self._published = Codes(self._base, tail, self._places[logged], self._changes[logged])
            self._shown, self._fresh = self._length, False
        return self._published

    def _write_unseen(self, places: Int64Array, codes: Codes32) -> None:
        inside = places < len(self._base)
        # A base that somebody reads has none of these places.
        if inside.any():
            self._base[places[inside]] = codes[inside]
        self._tail[places[~inside] - len(self._base)] = codes[~inside]

    def _fold(self) -> None:
        # The newest state is in nobody's hands until it is published: then it may be written to in place.
        tail = self._tail[: self._length - len(self._base)]
        self._base = Codes(self._base, tail, self._places, self._changes).array
        self._tail = np.zeros(0, np.int32)
        self._fresh = True
        self._begin_log()
        self._look()

    def _begin_log(self) -> None:
        room = max(_LEAST_LOG, self._length // _LOG_SHARE)
        self._places = np.empty(room, np.int32)
        self._changes = np.empty(room, np.int32)
        self._logged = 0
        self._newest: dict[int, int] = {}

    def _look(self) -> None:
        # Python reads and writes single codes through these in a third of the time.
        self._base_codes = self._base.data
        self._tail_codes = self._tail.data


def _look_up(table: Truths, codes: Codes32, found: Truths) -> None:
    """Write `table[codes]` into `found`."""
    count = np.count_nonzero(table)
    if not count:
        found[:] = False
        return
    # Both end at the first truth that they meet: of a million, many times faster than to list them.
    first, last = int(table.argmax()), len(table) - 1 - int(table[::-1].argmax())
    if count == 1:
        np.equal(codes, first, out=found)
    elif last - first + 1 == count:
        # Codes in one range, as of numbers in a sorted file: one comparison without a sign tells of both ends.
        for start in range(0, len(codes), _BLOCK):
            block = codes[start : start + _BLOCK].view(np.uint32) - np.uint32(first)
            np.less_equal(block, np.uint32(last - first), out=found[start : start + _BLOCK])
    elif count <= _FEW:
        np.equal(codes, first, out=found)
        for code in (1 + first + np.flatnonzero(table[first + 1 :])).tolist():
            found |= codes == code
    else:
        take(table, codes, found)


def take(table: Truths, numbers: Codes32, found: Truths) -> None:
    """Write `table[numbers]` into `found`, in a third of the time; each of `numbers` must be in the table."""
    # No mode is needed, but this one is the fastest: a million take .5 ms, .8 by "clip", and 1.7 as table[numbers].
    for start in range(0, len(numbers), _BLOCK):
        np.take(table, numbers[start : start + _BLOCK], out=found[start : start + _BLOCK], mode="wrap")
