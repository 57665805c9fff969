"""Queries with what was found for them, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from twinset_exporter.training.report.album import Album


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
        """Return a row for each query, with right and wrong answers marked."""
        return "\n".join(_row(row, album) for row in self.rows)


def _row(row: Answered, album: Album) -> str:
    answers = "\n".join(f"<li>{_figure(card, album)}</li>" for card in row.answers)
    right = f'<ol class="found">\n{answers}\n</ol>' if answers else '<p class="none">Nothing was found.</p>'
    return f'<div class="row">\n<div class="query">{_figure(row.query, album)}</div>\n{right}\n</div>'


def _figure(card: Card, album: Album) -> str:
    kind, word = {True: (" right", "right"), False: (" wrong", "wrong"), None: ("", "")}[card.good]
    picture = album.show(card.thumbnail, card.caption) if card.thumbnail else "no picture"
    mark = f'<span class="mark" role="img" aria-label="{word}"></span>' if word else ""
    lines = [f'<span class="score">{card.score:.3f}</span>'] if card.score is not None else []
    lines += [
        f'<span class="{name}" title="{escape(text)}">{escape(text)}</span>'
        for name, text in (("id", card.caption), ("detail", card.detail))
        if text
    ]
    return (
        f'<figure class="card{kind}"><div class="frame">{picture}{mark}</div>'
        f"<figcaption>{''.join(lines)}</figcaption></figure>"
    )
