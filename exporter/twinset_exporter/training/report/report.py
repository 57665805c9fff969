"""What a report consists of: facts, figures, checksums of the splits, and sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twinset_exporter.training.figure import Figure
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
