"""The table of columns as one process keeps it, brought up to date from the change log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from twinset_server.catalog.columns.codes import Codes32, CodesWriter
from twinset_server.catalog.columns.table import Column, Columns, Int64Array
from twinset_server.catalog.columns.values import Values
from twinset_server.catalog.store import attributes
from twinset_server.catalog.store.log import ItemRow, Snapshot
from twinset_server.domain import ATTRIBUTES, CATEGORY

_log = logging.getLogger(__name__)

_CHUNK = 256

_KNOWN = 1 << 14
"""So many values of a field have their codes in a dictionary, where to find them takes a tenth of the time."""

_NAMED_BY_THEMSELVES = {str, int, float, type(None)}
"""Types of values that are told apart by a dictionary as they are: 1 and 1.0 are one number."""

_LEAST_GONE = 4096
_LEAST_UNUSED = 65_536
"""Places of deleted items, and values, are given up when no more than half are used, but not for a few."""


class _Field:
    """What is written of one field."""

    def __init__(self, name: str, codes: CodesWriter, values: Values | None = None) -> None:
        self._name = name
        self.codes = codes
        self.values = values or Values()
        self._column: Column | None = None
        self._forget()

    def codes_of(self, stored: Sequence[object]) -> Codes32:
        """Return the codes of values as JSON has them, 0 where one is None."""
        kinds = set(map(type, stored))
        if kinds <= _NAMED_BY_THEMSELVES:
            names: Sequence[object] = stored
        else:
            names = [_name(value) for value in stored]
        found = list(map(self._known.get, names))
        if None in found:
            found = [
                self._added(name, value) if code is None else code
                for name, value, code in zip(names, stored, found, strict=True)
            ]
        return np.array(found, np.int32)

    def _added(self, name: object, stored: object) -> int:
        """Return the code of a value that wasn't known before; another of the same values may have made it known."""
        code = self._known.get(name)
        if code is None:
            if len(self._known) >= _KNOWN:
                self._forget()
            code = self._known[name] = self._code_of(stored)
        return code

    def _forget(self) -> None:
        self._known: dict[object, int] = {None: 0}

    def _code_of(self, stored: object) -> int:
        try:
            return self.values.code_of(attributes.value_of(stored))
        except ValueError as error:
            # Its items are found all the same, but not by this.
            _log.error("attribute %s has a value that no filter can find: %s", self._name, error)
            return 0

    def drop_unused(self) -> None:
        """Give the values that no item has up where they are more than half; the others get new codes."""
        codes = self.codes.publish().array
        used = np.flatnonzero(np.bincount(codes, minlength=1)[1:]) + 1
        if len(self.values) - len(used) <= max(_LEAST_UNUSED, len(used)):
            return
        values, renumbered = Values(), np.zeros(len(self.values) + 1, np.int32)
        for code in used.tolist():
            renumbered[code] = values.code_of(self.values.value(code))
        self.values, self.codes = values, CodesWriter(renumbered[codes])
        self._forget()

    def publish(self) -> Column:
        """Return the column as it is; the same as before where nothing was written since."""
        codes = self.codes.publish()
        if self._column is None or self._column.stored is not codes:
            self._column = Column(codes, self.values)
        return self._column


class ColumnTable:
    """Follows the items in the log; one thread uses it."""

    def __init__(self, columns: Columns | None = None) -> None:
        """Begin with `columns`, which nobody else appends values to; with no items where it is None."""
        columns = columns or Columns.empty()
        self._sequence = columns.sequence
        self._length = columns.length
        self._keys = columns.keys
        self._fields = {
            name: _Field(name, CodesWriter(column.codes), column.values) for name, column in columns.fields.items()
        }
        self._category = self._fields[CATEGORY]
        self._attributes = {
            name.removeprefix(ATTRIBUTES): field for name, field in self._fields.items() if name != CATEGORY
        }
        self._living = CodesWriter(columns.living.array)
        self._gone = 0
        self._layout = 0
        # By how much the database's own count of items is wrong: then to look once is enough.
        self._miscounted = 0
        self._columns: Columns | None = None

    def follow(self, snapshot: Snapshot, check: Callable[[], None] = lambda: None) -> None:
        """Take in all changes up to `snapshot`. Where that fails half-way, the same may be done once more.

        Args:
            snapshot: the state to get to.
            check: called after every few items; what it raises ends it.
        Raises:
            sqlite3.Error: the database can't be read.
        """
        if snapshot.position.sequence == self._sequence:
            return
        self._columns = None
        self._append(snapshot.item_keys(self._sequence))
        for rows in snapshot.changed_items(self._sequence, _CHUNK):
            self._write(rows)
            check()
        self._end(snapshot.deleted_items(self._sequence))
        if self._length - self._gone != snapshot.items + self._miscounted:
            # The list of deleted items may have been cut before it was read.
            keys = self._keys[: self._length]
            self._end(keys[~np.isin(keys, snapshot.item_keys(0), assume_unique=True)])
            self._miscounted = self._length - self._gone - snapshot.items
        self._sequence = snapshot.position.sequence
        if self._gone > max(_LEAST_GONE, self._length // 2) or any(
            len(field.values) > max(_LEAST_UNUSED, 2 * self._length) for field in self._fields.values()
        ):
            self.tidy()

    def tidy(self) -> None:
        """Give up what nothing uses: places of deleted items, and values where they are more than half."""
        self._columns = None
        if self._gone:
            self._drop_gone()
        for field in self._fields.values():
            field.drop_unused()

    def publish(self) -> Columns:
        """Return the table as it is; what is taken in later doesn't change it."""
        if self._columns is None:
            fields = {name: field.publish() for name, field in self._fields.items()}
            self._columns = Columns(
                self._sequence,
                self._length,
                self._keys[: self._length],
                fields,
                self._living.publish(),
                self._layout,
            )
        return self._columns

    def _append(self, keys: Int64Array) -> None:
        """Make places for those of the sorted `keys` that are above all that have one."""
        last = self._keys[self._length - 1] if self._length else 0
        new = keys[np.searchsorted(keys, last, side="right") :]
        if not len(new):
            return
        length = self._length + len(new)
        if length > len(self._keys):
            wider = np.empty(length + length // 2, np.int64)
            wider[: self._length] = self._keys[: self._length]
            self._keys = wider
        self._keys[self._length : length] = new
        self._living.extend(length, 1)
        for field in self._fields.values():
            field.codes.extend(length, 0)
        self._length = length

    def _write(self, rows: Sequence[ItemRow]) -> None:
        """Write the codes of items."""
        places = self._keys[: self._length].searchsorted([key for key, _, _ in rows])
        documents = _documents(rows)
        for name in set().union(*documents) - self._attributes.keys():
            field = _Field(ATTRIBUTES + name, CodesWriter.of_none(self._length))
            self._attributes[name] = self._fields[ATTRIBUTES + name] = field
        category = self._category
        category.codes.write(places, category.codes_of([one or None for _, one, _ in rows]))
        for name, field in self._attributes.items():
            field.codes.write(places, field.codes_of([one.get(name) for one in documents]))

    def _end(self, keys: Int64Array) -> None:
        """Mark those of `keys` as deleted that are here."""
        if not len(keys):
            return
        places = np.searchsorted(self._keys[: self._length], keys)
        places = places[places < self._length]
        places = places[np.isin(self._keys[places], keys)]
        ended = np.array([place for place in places.tolist() if self._living[place]], np.int64)
        if len(ended):
            self._living.write(ended, np.zeros(len(ended), np.int32))
            self._gone += len(ended)

    def _drop_gone(self) -> None:
        """Give the places of deleted items up; the others move."""
        kept = self._living.publish().array == 1
        self._keys = self._keys[: self._length][kept]
        self._length, self._gone = len(self._keys), 0
        self._living = CodesWriter(np.ones(self._length, np.int32))
        for field in self._fields.values():
            field.codes = CodesWriter(field.codes.publish().array[kept])
        self._layout += 1


def _name(stored: object) -> object:
    """Return what stands for a value in a dictionary, which takes True for 1, and can't look lists up."""
    # JSON has no bytes, so these stand for nothing else.
    match stored:
        case bool():
            return b"true" if stored else b"false"
        case list():
            return tuple(stored)
        case dict():
            return (b"time", *stored.values())
        case _:
            return stored


def _documents(rows: Sequence[ItemRow]) -> list[dict[str, object]]:
    """Return the attributes of each item."""
    encoded = [text for _, _, text in rows]
    try:
        # All at once, in half the time of one by one.
        return attributes.parsed_each(encoded)
    except ValueError:
        return [_decoded(key, text) for key, _, text in rows]


def _decoded(key: int, encoded: str) -> dict[str, object]:
    try:
        return attributes.parsed(encoded)
    except ValueError as error:
        # It is found all the same, but by no filter; a check of the catalogue tells of it too.
        _log.error("item %d has attributes that can't be read (%s): put it again", key, error)
        return {}
