"""Ids of the items and pictures that rows belong to.

The delta's are a list. A segment's are files opened by memory map: lists of a million would take 84 to 144 MB of each
process, and half a second to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UInt64Array = NDArray[np.uint64]
BytesArray = NDArray[np.uint8]
Places = NDArray[np.intp]

Label = tuple[str, str]
"""The ids of a row's item and picture."""


class Labels(Protocol):
    """Labels by a row's place."""

    def __getitem__(self, place: int, /) -> Label:
        """Return the label of the row at `place`."""

    def __len__(self) -> int:
        """Return how many there are."""


def labels_at(labels: Labels, places: Places) -> list[Label]:
    """Return the labels of the rows at `places`."""
    if isinstance(labels, TextLabels):
        return list(zip(labels.items.at(places), labels.pictures.at(places), strict=True))
    return [labels[place] for place in places.tolist()]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts one after another: text i is the UTF-8 in `content[offsets[i]:offsets[i + 1]]`."""

    offsets: UInt64Array
    content: BytesArray

    @classmethod
    def of(cls, texts: list[str]) -> Texts:
        """Return `texts` in this form."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(texts) + 1, np.uint64)
        np.cumsum([len(one) for one in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    def __getitem__(self, place: int) -> str:
        return self.content[int(self.offsets[place]) : int(self.offsets[place + 1])].tobytes().decode()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def at(self, places: Places) -> list[str]:
        """Return the texts at `places`: together they cost a quarter of what they cost one by one."""
        if not len(self.content):
            return [""] * len(places)
        content = self.content.data
        begins, ends = self.offsets.take(places, mode="clip"), self.offsets.take(places + 1, mode="clip")
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return [str(content[begin:end], "utf-8") for begin, end in spans]

    def taken(self, places: Places) -> Texts:
        """Return the texts at `places`; nothing is decoded."""
        begins = self.offsets[places].astype(np.int64)
        lengths = self.offsets[places + 1].astype(np.int64) - begins
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # Byte j of the result comes from where its text begins, plus its distance from where that text begins there.
        sources = np.repeat(begins - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Texts(offsets.astype(np.uint64), self.content[sources])


@dataclass(frozen=True, slots=True)
class TextLabels:
    """The labels of a segment."""

    items: Texts
    pictures: Texts

    def __getitem__(self, place: int) -> Label:
        return self.items[place], self.pictures[place]

    def __len__(self) -> int:
        return len(self.items)
