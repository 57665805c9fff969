"""A table with a heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.numerals import numeral


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column headings.

    Attributes:
        columns: the headings.
        rows: each as long as `columns`; numbers are set right, texts left; an empty text is no value.

    Raises:
        ValueError: a row has another number of cells.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    title: str = "Table"
    note: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title}: row {number} has {len(row)} cells, not {len(self.columns)}")

    def markup(self, album: Album) -> str:
        """Return the table; it needs no pictures."""
        return f'<div class="panel">{table(self.columns, self.rows)}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> str:
    """Return a table that scrolls sideways where the page is narrow; the first cell heads its row."""
    numbers = [_numeric([row[at] for row in rows]) for at in range(len(columns))]
    head = "".join(
        f'<th scope="col"{_class(number)}>{escape(column)}</th>'
        for column, number in zip(columns, numbers, strict=True)
    )
    body = "\n".join(f"<tr>{_row(row, numbers)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _numeric(cells: Sequence[str | int | float]) -> bool:
    """Return whether a column holds numbers; an empty text is a number that isn't there."""
    given = [cell for cell in cells if cell != ""]
    return bool(given) and not any(isinstance(cell, str) for cell in given)


def _row(row: Sequence[str | int | float], numbers: Sequence[bool]) -> str:
    cells = enumerate(zip(row, numbers, strict=True))
    return "".join(_cell(cell, number, first=at == 0) for at, (cell, number) in cells)


def _cell(value: str | int | float, number: bool, *, first: bool) -> str:
    text = escape(value) if isinstance(value, str) else numeral(value)
    return f'<th scope="row"{_class(number)}>{text}</th>' if first else f"<td{_class(number)}>{text}</td>"


def _class(number: bool) -> str:
    return ' class="number"' if number else ""
