"""A contact sheet: one HTML page with queries on the left and what was found for them on the right."""

from __future__ import annotations

import contextlib
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from urllib.parse import urlsplit

from twinset.cli import page
from twinset.cli.thumbnail import thumbnail
from twinset.client import Client
from twinset.errors import FailedPrecondition, NotFound
from twinset.items import Item
from twinset.recommendations import Recommendation, Recommendations

_RELATIVE_PATH = re.compile(r"[^\s/:?#\\][^\s:?#\\]*\.\w+")
"""Not just any word: a path to a file."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class SheetItem:
    """An item on the sheet.

    Attributes:
        id: what the caption calls it.
        picture: an encoded picture; None where there is none to show.
        title: shown below the id.
        category: shown below the title; a neighbour with the category of its query is marked.
        uri: where a click leads, if it is http, https or a relative path such as `shoes/1.jpg`.
        score: shown for neighbours.
        label: of an example, what it is to the items, such as `away`; empty for the one query of a row.
        is_stored: whether `id` is that of a stored item, whose picture and facts are shown.
        probability: of the pair, shown for neighbours that have one.
        shares: what each example brought to the score; empty where nothing tells.
    """

    id: str
    picture: bytes | None = None
    title: str = ""
    category: str = ""
    uri: str = ""
    score: float | None = None
    label: str = ""
    is_stored: bool = False
    probability: float | None = None
    shares: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A query and what was found for it, best first; `further` are its other examples, where it has several."""

    query: SheetItem
    neighbours: Sequence[SheetItem]
    further: Sequence[SheetItem] = ()

    @property
    def examples(self) -> Sequence[SheetItem]:
        """The query and its further examples."""
        return self.query, *self.further

    @classmethod
    def from_answer(
        cls, client: Client, query: str | SheetItem | Sequence[SheetItem], answer: Recommendations
    ) -> SheetRow:
        """Return the row of an answer, with pictures and facts fetched from the server.

        Args:
            client: where the answer came from.
            query: the id of a stored item, something that is shown as it is, or several examples.
            answer: with any view of the items.

        Raises:
            TwinsetError: the server can't be reached.
        """
        if isinstance(query, str):
            query = SheetItem(query, is_stored=True)
        asked = [query] if isinstance(query, SheetItem) else query
        ids = [found.item.id for found in answer] + [one.id for one in asked if one.is_stored]
        items = client.get_items(dict.fromkeys(ids))
        first, *further = (
            replace(stored_item(client, items.get(one.id, Item(one.id))), label=one.label) if one.is_stored else one
            for one in asked
        )
        return cls(first, [_found(client, items, one) for one in answer], further)


def _found(client: Client, items: Mapping[str, Item], found: Recommendation) -> SheetItem:
    explained = found.explanation
    return replace(
        stored_item(client, items.get(found.item.id, found.item), found.score),
        probability=found.probability,
        shares=() if explained is None else tuple(one.share for one in explained.contributions),
    )


def stored_item(client: Client, item: Item, score: float | None = None) -> SheetItem:
    """Return a stored item with its main picture, fetched from the server where that keeps it."""
    picture = None
    if item.pictures and item.pictures[0].stored:
        # Deleted a moment ago, or no longer kept: the sheet shows an empty frame.
        with contextlib.suppress(NotFound, FailedPrecondition):
            picture = client.get_picture(item.id).content
    return SheetItem(item.id, picture, item.title, item.category, item.uri, score)


def render(queries: Sequence[SheetRow], title: str, subtitle: str = "", facts: Mapping[str, str] | None = None) -> str:
    """Return a complete HTML page that needs no other file: pictures lie inside it.

    Args:
        queries: the rows, from top to bottom.
        title: the heading.
        subtitle: a line below it.
        facts: what the header tells besides, by name, such as the server or `k`.
    """
    styles = page.styles() + importlib.resources.files("twinset.cli").joinpath("sheet.css").read_text(encoding="utf-8")
    stated = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in (facts or {}).items()
    )
    below = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""
    rows = "\n".join(_row(row) for row in queries)
    marked = any(_same(row.query, found) for row in queries for found in row.neighbours)
    told = ["✓ marks a neighbour that has the category of its query."] if marked else []
    if any(found.shares for row in queries for found in row.neighbours):
        told.append("Bars show what each example adds to a score, by its colour: to the left what it takes from it.")
    legend = f"<footer>{' '.join(told)}</footer>" if told else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>
{styles}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{below}
<dl class="facts">{stated}</dl>
</header>
<main>
{rows}
</main>
{legend}
</body>
</html>
"""


def _row(row: SheetRow) -> str:
    # One scale for all items of the row, so that bars compare from one to the next.
    widest = max((abs(share) for one in row.neighbours for share in one.shares), default=0.0)
    found = "\n".join(
        f"<li{' class=same' if _same(row.query, neighbour) else ''}>{_figure(neighbour)}"
        f"{_shares(neighbour.shares, row.examples, widest)}</li>"
        for neighbour in row.neighbours
    )
    right = f'<ol class="found">\n{found}\n</ol>' if found else '<p class="none">Nothing was found.</p>'
    explained = any(one.shares for one in row.neighbours)
    left = "\n".join(_example(place, one, coloured=explained) for place, one in enumerate(row.examples))
    return f"""<section class="row">
<div class="query">{left}</div>
{right}
</section>"""


def _example(place: int, example: SheetItem, *, coloured: bool) -> str:
    swatch = f'<span class="swatch" style="background:{_colour(place)}"></span>' if coloured else ""
    return f'<p class="label">{swatch}{escape(example.label.upper() or "QUERY")}</p>{_figure(example)}'


def _shares(shares: Sequence[float], examples: Sequence[SheetItem], widest: float) -> str:
    """Return a bar for what each example brought: to the right of the middle what spoke for the item."""
    if not shares:
        return ""
    bars = []
    for place, (share, example) in enumerate(zip(shares, examples, strict=True)):
        width = 50 * abs(share) / (widest or 1)
        left = 50 - width if share < 0 else 50
        name = f"{example.label or 'query'} {example.id}".strip()
        bars.append(
            f'<span class="share" title="{escape(name)}"><span class="track"><span class="bar" '
            f'style="left:{left:.1f}%;width:{width:.1f}%;background:{_colour(place)}"></span></span>'
            f'<span class="value">{share:+.3f}</span></span>'
        )
    return f'<div class="shares">{"".join(bars)}</div>'


def _colour(place: int) -> str:
    """Return the colour of the example at `place`: hues far apart, one after the other."""
    return f"hsl({(215 + 137.5 * place) % 360:.0f} 62% 52%)"


def _same(query: SheetItem, neighbour: SheetItem) -> bool:
    return bool(query.category) and query.category == neighbour.category


def _figure(item: SheetItem) -> str:
    lines = [] if item.score is None else [f'<span class="score">{item.score:.3f}</span>']
    if item.probability is not None:
        lines.append(f'<span class="probability">goes together: {item.probability:.0%}</span>')
    for kind, text in (("id", item.id), ("title", item.title), ("category", item.category)):
        if text:
            lines.append(f'<span class="{kind}" title="{escape(text)}">{escape(text)}</span>')
    figure = f"<figure>{_frame(item)}<figcaption>{''.join(lines)}</figcaption></figure>"
    if not _is_link(item.uri):
        return figure
    return f'<a href="{escape(item.uri)}" target="_blank" rel="noopener noreferrer">{figure}</a>'


def _frame(item: SheetItem) -> str:
    small = thumbnail(item.picture) if item.picture else None
    if small is None:
        return '<div class="frame">no picture</div>'
    tiny = ' class="tiny"' if small.tiny else ""
    size = f'width="{small.width}" height="{small.height}"'
    return f'<div class="frame"><img{tiny} src="{small.address}" {size} alt="{escape(item.title or item.id)}"></div>'


def _is_link(uri: str) -> bool:
    # A catalogue's uri may be anything, `javascript:` included.
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if parts.scheme:
        return parts.scheme in ("http", "https") and bool(parts.netloc)
    return _RELATIVE_PATH.fullmatch(uri) is not None
