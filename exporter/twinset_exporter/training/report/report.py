"""What a report consists of: facts, figures, checksums of the splits, and sections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from twinset_exporter.training.report.album import Album


class Section(Protocol):
    """A part of the page under a heading of its own."""

    @property
    def title(self) -> str:
        """The heading."""

    @property
    def note(self) -> str:
        """What a reader should know before looking, in a sentence or two; may be empty."""

    def markup(self, album: Album) -> str:
        """Return the section's HTML below heading and note; pictures go into `album`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes:
        id: such as `fashion.p6.best`.
        value: finite.
        better: in which direction.
        protocol: how it was taken, in words: on which part, against what, with which seed.

    Raises:
        ValueError: the value is not finite, or the protocol is empty.
    """

    id: str
    value: float
    better: Literal["higher", "lower"]
    protocol: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"figure {self.id}: {self.value} is no finite value")
        if not self.protocol.strip():
            raise ValueError(f"figure {self.id}: a figure without its protocol is no figure")


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page of one training tells.

    Attributes:
        title: the heading, such as `Category head`.
        subtitle: the result in one line.
        facts: what was trained on what, as (name, text): short texts, shown in this order.
        figures: the first ones are shown large.
        splits: checksum of every part of the data, by the part's name.
        sections: shown in this order.
    """

    title: str
    subtitle: str = ""
    facts: Sequence[tuple[str, str]] = ()
    figures: Sequence[Figure] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()
