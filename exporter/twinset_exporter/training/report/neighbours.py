"""Queries with what was found for them, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from twinset_exporter.training.report.album import Album

_FEW = 6
"""So many answers have room to be larger."""


@dataclass(frozen=True, slots=True)
class Card:
    """One item in the grid.

    Attributes:
        thumbnail: JPEG, see `thumbnails`; None where there is no picture.
        caption: its name.
        good: whether it is a right answer; None where that isn't known, and for a query.
        detail: a second line, such as the class.
        score: shown above the caption.
    """

    thumbnail: bytes | None
    caption: str
    good: bool | None = None
    detail: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A query and its answers, best first."""

    query: Card
    answers: Sequence[Card]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A grid of queries, each with its nearest neighbours or its best partners."""

    rows: Sequence[Answered]
    title: str = "Neighbours"
    note: str = ""

    def markup(self, album: Album) -> str:
        """Return a row for each query, right and wrong answers marked; no frames where no item has a picture."""
        framed = any(card.thumbnail for row in self.rows for card in (row.query, *row.answers))
        return "\n".join(_row(row, album if framed else None) for row in self.rows)


def _row(row: Answered, album: Album | None) -> str:
    answers = "\n".join(f"<li>{_figure(card, album)}</li>" for card in row.answers)
    right = f'<ol class="found">\n{answers}\n</ol>' if answers else '<p class="none">Nothing was found.</p>'
    kind = f"row{'' if album else ' bare'}{' few' if len(row.answers) <= _FEW else ''}"
    return f'<div class="{kind}">\n<div class="query">{_figure(row.query, album)}</div>\n{right}\n</div>'


def _figure(card: Card, album: Album | None) -> str:
    kind, word = {True: (" right", "right"), False: (" wrong", "wrong"), None: ("", "")}[card.good]
    mark = f'<span class="mark" role="img" aria-label="{word}"></span>' if word else ""
    if album is not None:
        picture = album.show(card.thumbnail, card.caption) if card.thumbnail else "no picture"
        mark = f'<div class="frame">{picture}{mark}</div>'
    lines = [f'<span class="score">{card.score:.3f}</span>'] if card.score is not None else []
    lines += [
        f'<span class="{name}" title="{escape(text)}">{escape(text)}</span>'
        for name, text in (("id", card.caption), ("detail", card.detail))
        if text
    ]
    return f'<figure class="card{kind}">{mark}<figcaption>{"".join(lines)}</figcaption></figure>'
