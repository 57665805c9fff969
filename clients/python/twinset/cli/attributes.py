"""A CSV file to the facts of items."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twinset.cli.problem import Problem
from twinset.cli.report import counted
from twinset.items import Attribute

_FIELDS = ("title", "uri", "category")

# No leading zeros: 007 is a name. No NaN and no infinity: a catalogue takes finite numbers.
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
# What a double would round: article numbers, mostly.
_LONG = re.compile(r"[+-]?[0-9]{16,}")
_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a row says of an item."""

    title: str = ""
    uri: str = ""
    category: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def read_attributes(path: Path) -> dict[str, Facts]:
    """Return the facts of each row by its id.

    The id is the column `id`, or else the first one. The columns `title`, `uri` and `category` are those fields; every
    other is an attribute, of whole numbers, numbers or truths where all its values are such, else of text. An empty
    value is an absent one. Columns are set apart by commas, or by semicolons or tabs where the header has no comma.

    Raises:
        Problem: the file can't be read or has no rows, or a line is malformed; the message names the line.
    """
    lines, rows = _rows(path)
    if not rows:
        raise Problem(f"{path} is empty: its first line must name the columns, such as id,title,category")
    if len(rows) == 1:
        raise Problem(f"{path} has no rows: its only line names the columns, add a line for each item")
    header = [name.strip() for name in rows[0]]
    for place, name in enumerate(header):
        if not name:
            raise Problem(f"{path}, line 1: column {place + 1} has no name")
        if name in header[:place]:
            raise Problem(f"{path}, line 1: two columns are called {name!r}")
    id_column = header.index("id") if "id" in header else 0
    records: dict[str, list[str]] = {}
    line_of: dict[str, int] = {}
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            raise Problem(f"{path}, line {line}: {counted(len(row), 'value')} for {counted(len(header), 'column')}")
        item_id = row[id_column].strip()
        if not item_id:
            raise Problem(f"{path}, line {line}: no value in the id column {header[id_column]!r}")
        if item_id in records:
            raise Problem(f"{path}, line {line}: the id {item_id!r} stands in line {line_of[item_id]} already")
        records[item_id], line_of[item_id] = [value.strip() for value in row], line
    readers = [_reader([record[column] for record in records.values()]) for column in range(len(header))]
    return {item_id: _facts(header, id_column, record, readers) for item_id, record in records.items()}


def _rows(path: Path) -> tuple[list[int], list[list[str]]]:
    """Return the numbers of the lines that rows end in, and the rows."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(f"{path} can't be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Problem(f"{path}, line {line}: not UTF-8 text, save the file as UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise Problem(f"{path}, line {reader.line_num}: {error}") from error
    return lines, rows


def _reader(column: Sequence[str]) -> Callable[[str], Attribute]:
    """Return what turns the values of a column into attributes."""
    values = [value for value in column if value]
    if values and all(_WHOLE.fullmatch(value) and -(2**63) <= int(value) < 2**63 for value in values):
        return int
    if values and all(_NUMBER.fullmatch(value) and not _LONG.fullmatch(value) for value in values):
        return float
    if values and all(value.lower() in _TRUTHS for value in values):
        return lambda value: _TRUTHS[value.lower()]
    return str


def _facts(
    header: Sequence[str], id_column: int, record: Sequence[str], readers: Sequence[Callable[[str], Attribute]]
) -> Facts:
    fields: dict[str, str] = {}
    attributes: dict[str, Attribute] = {}
    for column, (name, value, read) in enumerate(zip(header, record, readers, strict=True)):
        if column == id_column or not value:
            continue
        if name in _FIELDS:
            fields[name] = value
        else:
            attributes[name] = read(value)
    return Facts(attributes=attributes, **fields)
