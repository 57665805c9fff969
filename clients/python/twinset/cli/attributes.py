"""A table to the facts of items."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twinset.cli.problem import Problem
from twinset.cli.table import open_table
from twinset.items import Attribute, ItemUpdate

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
    records = _records(path)
    header, id_column = records.header, records.id_column
    by_id = records.by_id
    readers = [_reader([record[column] for record in by_id.values()]) for column in range(len(header))]
    return {item_id: _facts(header, id_column, record, readers) for item_id, record in by_id.items()}


def read_updates(path: Path, *, clear_empty: bool) -> list[ItemUpdate]:
    """Return the update of each row of a table like that of `read_attributes`.

    Each changes what its row gives a value for. An empty value leaves the field or attribute as it is; with
    `clear_empty` it takes it away.

    Raises:
        Problem: the table is malformed, or has no column besides the id.
    """
    records = _records(path)
    changed = [name for place, name in enumerate(records.header) if place != records.id_column]
    if not changed:
        raise Problem(f"{path} has only the ids' column: add a column for each field or attribute to change")
    empty = {name: "" if name in _FIELDS else None for name in changed} if clear_empty else {}
    updates: list[ItemUpdate] = []
    for item_id, facts in read_attributes(path).items():
        given = {name: value for name in _FIELDS if (value := getattr(facts, name))}
        fields = {name: value for name, value in empty.items() if name in _FIELDS} | given
        gone: dict[str, Attribute | None] = {name: None for name in empty if name not in _FIELDS}
        attributes = gone | dict(facts.attributes)
        if fields or attributes:
            updates.append(ItemUpdate(item_id, attributes=attributes, **fields))
    return updates


@dataclass(frozen=True, slots=True)
class _Records:
    header: Sequence[str]
    id_column: int
    by_id: Mapping[str, Sequence[str]]


def _records(path: Path) -> _Records:
    table = open_table(path)
    id_column = list(table.header).index("id") if "id" in table.header else 0
    by_id: dict[str, Sequence[str]] = {}
    place_of: dict[str, str] = {}
    for row in table.rows:
        item_id = row.values[id_column]
        if not item_id:
            raise Problem(f"{path}, {row.place}: no value in the id column {table.header[id_column]!r}")
        if item_id in by_id:
            raise Problem(f"{path}, {row.place}: the id {item_id!r} stands in {place_of[item_id]} already")
        by_id[item_id], place_of[item_id] = row.values, row.place
    if not by_id:
        raise Problem(f"{path} has no rows: its only line names the columns, add a line for each item")
    return _Records(table.header, id_column, by_id)


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
