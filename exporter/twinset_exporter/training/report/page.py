"""The page of a report."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from twinset.cli import page as shared
from twinset_exporter.held_folder import writing
from twinset_exporter.training.figure import Figure
from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.numerals import numeral
from twinset_exporter.training.report.report import Report, Section

_DIRECTIONS = {"higher": "\u2191 higher is better", "lower": "\u2193 lower is better"}
_SCRIPTS = ("attribute.js", "view.js", "map.js")
_CONTENTS_FROM = 3
"""A page of fewer sections needs no contents."""


def write(path: Path, report: Report) -> None:
    """Write the page whole or not at all.

    Raises:
        OSError: the file can't be written.
    """
    text = render(report)
    with writing(path) as file:
        file.write(text.encode())


def render(report: Report) -> str:
    """Return a complete HTML page that loads nothing: styles, script, data and pictures lie inside it."""
    album = Album()
    sections = "\n".join(_section(number, section, album) for number, section in enumerate(report.sections, 1))
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in report.facts)
    styles, script = shared.styles() + _resource("report.css"), _script()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">
<title>{escape(report.title)}</title>
<style>
{styles}</style>
</head>
<body>
<header>
<h1>{escape(report.title)}</h1>
{f'<p class="subtitle">{escape(report.subtitle)}</p>' if report.subtitle else ""}
<dl class="facts">{facts}</dl>
{_contents([section.title for section in report.sections])}
</header>
<main>
{album.markup()}
{_figures(report.figures)}
{sections}
{_splits(report.splits)}
</main>
<script>{script}</script>
</body>
</html>
"""


def _policy(script: str) -> str:
    # Nothing is fetched, and no script runs but ours, even if a name slipped through unescaped.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _resource(name: str) -> str:
    return importlib.resources.files("twinset_exporter.training.report").joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    # In a scope of its own, and strict.
    parts = "\n".join(_resource(name) for name in _SCRIPTS)
    return f'"use strict";\n{{\n{parts}}}\n'


def _contents(titles: Sequence[str]) -> str:
    if len(titles) < _CONTENTS_FROM:
        return ""
    links = "".join(f'<li><a href="#section-{at}">{escape(title)}</a></li>' for at, title in enumerate(titles, 1))
    return f'<nav aria-label="sections"><ul>{links}</ul></nav>'


def _section(number: int, section: Section, album: Album) -> str:
    note = f'<p class="note">{escape(section.note)}</p>\n' if section.note else ""
    return (
        f'<section aria-labelledby="section-{number}">\n<h2 id="section-{number}">{escape(section.title)}</h2>\n'
        f"{note}{section.markup(album)}\n</section>"
    )


def _figures(figures: Sequence[Figure]) -> str:
    tiles = "\n".join(_tile(figure) for figure in figures)
    return f'<dl class="figures">\n{tiles}\n</dl>' if tiles else ""


def _tile(figure: Figure) -> str:
    return (
        f'<div><dt>{escape(figure.id)}</dt><dd class="value">{numeral(float(figure.value))}</dd>'
        f'<dd class="direction">{_DIRECTIONS[figure.better]}</dd>'
        f'<dd class="protocol">{escape(figure.protocol)}</dd></div>'
    )


def _splits(splits: Mapping[str, str]) -> str:
    if not splits:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(part)}</th><td class="checksum">{escape(checksum)}</td></tr>'
        for part, checksum in splits.items()
    )
    return (
        '<section aria-labelledby="section-splits">\n<h2 id="section-splits">Splits</h2>\n'
        '<p class="note">SHA-256 over what lies in which part: equal checksums, equal splits.</p>\n'
        f'<div class="panel"><table>\n<tbody>\n{rows}\n</tbody>\n</table></div>\n</section>'
    )
