"""Distinct texts, kept as UTF-8 one after the other, and compared all at once."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.columns.growing import Growing
from twinset_server.catalog.columns.hashes import HashIndex

BELOW, EQUAL, ABOVE, LONGER = -1, 0, 1, 2
"""How a text stands to another one; LONGER is above too: it begins with the other, and goes on."""


class Texts:
    """Texts by number 0, 1, ..., append-only. One thread adds while others read what they know of."""

    def __init__(self, starts: NDArray[np.int64] | None = None, utf8: NDArray[np.uint8] | None = None) -> None:
        """Begin with texts, which are not copied.

        Args:
            starts: `[T + 1]`, where each text begins in `utf8`, and the end of the last.
            utf8: the texts, all different.

        Raises:
            ValueError: that isn't what they are; whether the texts differ is not looked at.
        """
        starts = np.zeros(1, np.int64) if starts is None else starts
        utf8 = np.empty(0, np.uint8) if utf8 is None else utf8
        if not len(starts) or starts[0] != 0 or starts[-1] != len(utf8) or (np.diff(starts) < 0).any():
            raise ValueError("the texts' places are not those of texts one after the other")
        content = utf8.tobytes()
        content.decode()
        begins = starts[:-1][np.diff(starts) > 0]
        if (utf8[begins] & 0xC0 == 0x80).any():
            raise ValueError("a text begins amid a character")
        bounds = starts.tolist()
        hashes = (hash(content[start:end]) for start, end in itertools.pairwise(bounds))
        self._index = HashIndex(np.fromiter(hashes, np.int64, len(starts) - 1))
        self._utf8 = Growing(utf8)
        self._starts = Growing(starts)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> str:
        return self._bytes(number).decode()

    @property
    def starts(self) -> NDArray[np.int64]:
        """`[T + 1]`, as they are given at the start."""
        return self._starts.whole()

    @property
    def utf8(self) -> NDArray[np.uint8]:
        """The texts one after the other."""
        return self._utf8.whole()

    def number_of(self, text: str) -> int:
        """Return the number of `text`, which is added where it is new.

        Raises:
            UnicodeEncodeError: the text can't be written as UTF-8.
        """
        known = self.find(text)
        if known is not None:
            return known
        encoded = text.encode()
        self._utf8.extend(np.frombuffer(encoded, np.uint8))
        self._starts.append(len(self._utf8))
        # The index comes last: who finds a text there finds its bytes.
        return self._index.add(hash(encoded))

    def find(self, text: str) -> int | None:
        """Return the number of `text`; None where it is not there."""
        encoded = text.encode()
        for number in self._index.candidates(hash(encoded)):
            if self._bytes(number) == encoded:
                return number
        return None

    def against(self, text: str) -> NDArray[np.int8]:
        """Return `[T]` how each text stands to `text`: BELOW, EQUAL, ABOVE or LONGER, by code points."""
        count = len(self)
        starts = self._starts.array[: count + 1]
        lengths = np.diff(starts)
        standing = np.zeros(count, np.int8)
        alike = np.arange(count)
        # UTF-8 has the order of code points, and eight bytes the order of a whole number, the first byte highest.
        words = _Words(self._utf8.array)
        encoded = text.encode()
        for offset in range(0, len(encoded), 8):
            part = encoded[offset : offset + 8]
            expected = np.uint64(int.from_bytes(part.ljust(8, b"\0"), "big"))
            found = words.at(starts[alike] + offset, np.clip(lengths[alike] - offset, 0, len(part)))
            standing[alike[found < expected]] = BELOW
            standing[alike[found > expected]] = ABOVE
            alike = alike[found == expected]
        # These differ by their lengths only, or by zeros at the end of one of them, which is the same.
        more = lengths[alike] - len(encoded)
        standing[alike[more < 0]] = BELOW
        standing[alike[more > 0]] = LONGER
        return standing

    def _bytes(self, number: int) -> bytes:
        starts = self._starts.array
        return self._utf8.array[starts[number] : starts[number + 1]].tobytes()


class _Words:
    """Eight bytes from anywhere in a text as a whole number."""

    def __init__(self, utf8: NDArray[np.uint8]) -> None:
        if len(utf8) < 8:
            utf8 = np.concatenate([utf8, np.zeros(8, np.uint8)])
        self._last = len(utf8) - 8
        self._words = np.ndarray(self._last + 1, ">u8", buffer=utf8, strides=(1,))

    def at(self, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the words at `places`, of which only the first bytes count, 0 to 8 as `lengths` says."""
        inside = np.minimum(places, self._last)
        beyond = np.minimum(places - inside, 7).astype(np.uint64)
        return (self._words[inside].astype(np.uint64) << (8 * beyond)) & _FIRST_BYTES[lengths]


_FIRST_BYTES = np.array([(1 << 64) - (1 << 8 * (8 - length)) for length in range(9)], np.uint64)
