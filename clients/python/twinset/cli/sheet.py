"""A contact sheet: one HTML page with queries on the left and what was found for them on the right."""

from __future__ import annotations

import contextlib
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from twinset.cli import page
from twinset.cli.thumbnail import thumbnail
from twinset.client import Client
from twinset.errors import FailedPrecondition, NotFound
from twinset.items import Item
from twinset.recommendations import Recommendations

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
    """

    id: str
    picture: bytes | None = None
    title: str = ""
    category: str = ""
    uri: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A query and what was found for it, best first."""

    query: SheetItem
    neighbours: Sequence[SheetItem]

    @classmethod
    def from_answer(cls, client: Client, query: str | SheetItem, answer: Recommendations) -> SheetRow:
        """Return the row of an answer, with pictures and facts fetched from the server.

        Args:
            client: where the answer came from.
            query: the id of a stored item, or something that is shown as it is.
            answer: with any view of the items.

        Raises:
            TwinsetError: the server can't be reached.
        """
        ids = [found.item.id for found in answer]
        if isinstance(query, str):
            ids.append(query)
        items = client.get_items(ids)
        return cls(
            query=stored_item(client, items.get(query, Item(query)), None) if isinstance(query, str) else query,
            neighbours=[stored_item(client, items.get(r.item.id, r.item), r.score) for r in answer],
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
    told = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in (facts or {}).items()
    )
    below = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""
    rows = "\n".join(_row(row) for row in queries)
    marked = any(_same(row.query, found) for row in queries for found in row.neighbours)
    legend = "<footer>✓ marks a neighbour that has the category of its query.</footer>" if marked else ""
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
<dl class="facts">{told}</dl>
</header>
<main>
{rows}
</main>
{legend}
</body>
</html>
"""


def _row(row: SheetRow) -> str:
    found = "\n".join(
        f"<li{' class=same' if _same(row.query, neighbour) else ''}>{_figure(neighbour)}</li>"
        for neighbour in row.neighbours
    )
    right = f'<ol class="found">\n{found}\n</ol>' if found else '<p class="none">Nothing was found.</p>'
    return f"""<section class="row">
<div class="query"><p class="label">QUERY</p>{_figure(row.query)}</div>
{right}
</section>"""


def _same(query: SheetItem, neighbour: SheetItem) -> bool:
    return bool(query.category) and query.category == neighbour.category


def _figure(item: SheetItem) -> str:
    lines = [] if item.score is None else [f'<span class="score">{item.score:.3f}</span>']
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
