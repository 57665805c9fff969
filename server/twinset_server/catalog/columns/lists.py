"""Distinct lists of texts, each text by its number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.columns.growing import Growing
from twinset_server.catalog.columns.hashes import HashIndex


class Lists:
    """Lists by number 0, 1, ..., append-only. One thread adds while others read what they know of."""

    def __init__(self, starts: NDArray[np.int64], members: NDArray[np.int32]) -> None:
        """Begin with lists, which are not copied.

        Args:
            starts: `[L + 1]`, where each list begins in `members`, and the end of the last.
            members: the texts of all lists, by number.

        Raises:
            ValueError: that isn't what they are; whether the lists differ is not looked at.
        """
        if not len(starts) or starts[0] != 0 or starts[-1] != len(members) or (np.diff(starts) < 0).any():
            raise ValueError("the lists' places are not those of lists one after the other")
        bounds = starts.tolist()
        hashes = (hash(members[start:end].tobytes()) for start, end in itertools.pairwise(bounds))
        self._index = HashIndex(np.fromiter(hashes, np.int64, len(starts) - 1))
        self._starts = Growing(starts)
        self._members = Growing(members)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> list[int]:
        members: list[int] = self._span(number).tolist()
        return members

    @property
    def starts(self) -> NDArray[np.int64]:
        """`[L + 1]`, as they are given at the start."""
        return self._starts.whole()

    @property
    def members(self) -> NDArray[np.int32]:
        """The texts of all lists, one list after the other."""
        return self._members.whole()

    def number_of(self, members: Sequence[int]) -> int:
        """Return the number of the list of these texts, which is added where it is new."""
        known = self.find(members)
        if known is not None:
            return known
        self._members.extend(members)
        self._starts.append(len(self._members))
        return self._index.add(_hash(members))

    def find(self, members: Sequence[int]) -> int | None:
        """Return the number of the list of these texts; None where it is not there."""
        for number in self._index.candidates(_hash(members)):
            if self[number] == list(members):
                return number
        return None

    def holding(self, text: int) -> NDArray[np.bool_]:
        """Return `[L]` whether each list holds the text."""
        count = len(self)
        starts = self._starts.array[: count + 1]
        members = self._members.array[: starts[-1]]
        places = np.flatnonzero(members == text)
        holds = np.zeros(count, np.bool_)
        # Empty lists begin where the next one does: the last that begins at or before a place is the one around it.
        holds[np.searchsorted(starts, places, side="right") - 1] = True
        return holds

    def spread(self, numbers: NDArray[np.int64], counts: NDArray[np.int64], by_text: NDArray[np.int64]) -> None:
        """Add the count of each list to `by_text`, `[T]`, at every text that it holds; once, however often it does."""
        starts = self._starts.array
        begins, lengths = starts[numbers], starts[numbers + 1] - starts[numbers]
        ends = np.cumsum(lengths)
        places = np.repeat(begins - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
        owners = np.repeat(np.arange(len(numbers)), lengths)
        pairs = np.unique(np.stack([owners, self._members.array[places]]), axis=1)
        np.add.at(by_text, pairs[1], counts[pairs[0]])

    def _span(self, number: int) -> NDArray[np.int32]:
        starts = self._starts.array
        return self._members.array[starts[number] : starts[number + 1]]


def _hash(members: Sequence[int]) -> int:
    return hash(np.asarray(members, "<i4").tobytes())
