"""Who acted on what: ratings, likes, purchases."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.errors import DataError, shown
from twinset_exporter.datasets.ids import Numbering, is_id
from twinset_exporter.datasets.lines import read_columns

_PARQUET_ROWS = 65_536
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Interactions:
    """One row an interaction.

    Attributes:
        users: `[N]` int32, places in `user_ids`.
        items: `[N]` int32, places in `item_ids`.
        values: `[N]` float32, a rating or a weight.
        times: `[N]` int64, seconds since 1970 or whatever rises with time; None where the data has none.
        user_ids: the users, each once.
        item_ids: the items, each once; some may be in no row.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.users)

    def rows(self, chosen: NDArray[Any]) -> Interactions:
        """Return the rows of a mask or of places; users and items keep their numbers."""
        times = None if self.times is None else self.times[chosen]
        users, items, values = self.users[chosen], self.items[chosen], self.values[chosen]
        return Interactions(users, items, values, times, self.user_ids, self.item_ids)

    def deduplicated(self) -> Interactions:
        """Return one row for each user and item: the latest, and of several at one time the last.

        The rows keep their order.
        """
        pairs = self.users.astype(np.int64) * max(1, len(self.item_ids)) + self.items
        place = np.arange(len(self))
        order = np.lexsort((place, pairs) if self.times is None else (place, self.times, pairs))
        last = np.ones(len(self), bool)
        last[:-1] = np.diff(pairs[order]) != 0
        return self.rows(np.sort(order[last]))

    def k_core(self, users: int = 5, items: int = 5) -> Interactions:
        """Return the largest part in which every user has at least `users` rows, and every item `items`.

        Users and items outside of it are dropped and the others numbered anew, in their order. Call `deduplicated`
        first: a row counts whether it is new or not.
        """
        kept = np.ones(len(self), bool)
        while True:
            of_user = np.bincount(self.users[kept], minlength=len(self.user_ids))
            of_item = np.bincount(self.items[kept], minlength=len(self.item_ids))
            fit = kept & (of_user[self.users] >= users) & (of_item[self.items] >= items)
            if fit.sum() == kept.sum():
                break
            kept = fit
        part = self.rows(kept)
        user_ids = tuple(self.user_ids[number] for number in np.flatnonzero(of_user).tolist())
        item_ids = tuple(self.item_ids[number] for number in np.flatnonzero(of_item).tolist())
        return part.numbered(user_ids, item_ids)

    def numbered(self, user_ids: Sequence[str], item_ids: Sequence[str]) -> Interactions:
        """Return the same rows with users and items numbered by their places in these ids.

        Raises:
            KeyError: a row is of another user or item.
        """
        users = _renumbered(self.users, self.user_ids, user_ids)
        items = _renumbered(self.items, self.item_ids, item_ids)
        return Interactions(users, items, self.values, self.times, tuple(user_ids), tuple(item_ids))


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what: all by their names, or, in a CSV without a row of names, all by places from 0.

    Without a column of values every interaction has the value 1.
    """

    user: str | int = "user"
    item: str | int = "item"
    value: str | int | None = None
    time: str | int | None = None

    def __post_init__(self) -> None:
        kinds = {type(column) for column in self.chosen()}
        if len(kinds) != 1:
            raise ValueError("columns: name all of them, or give all their places")

    def chosen(self) -> list[Any]:
        """Return the columns to read: user, item, value and time, without those that are None."""
        columns = (self.user, self.item, self.value, self.time)
        return [column for column in columns if column is not None]


NAMED = Columns()


def read(
    path: Path, columns: Columns = NAMED, *, delimiter: str = ",", core: tuple[int, int] | None = (5, 5)
) -> Interactions:
    """Return the interactions of a CSV or Parquet file, fit for training.

    Args:
        path: `.parquet`, or else delimited text, `.gz` or not.
        columns: which columns hold what.
        delimiter: between the fields of a CSV; any, such as `|` or `::`.
        core: how many interactions each user and each item must have at least; None keeps all.

    Returns:
        No user and item twice (the latest is kept), then only the core.

    Raises:
        DataError: a row is broken, or nothing is left.
    """
    found = read_parquet(path, columns) if path.suffix == ".parquet" else read_csv(path, columns, delimiter=delimiter)
    found = found.deduplicated()
    if core is not None:
        found = found.k_core(*core)
    if not len(found):
        raise DataError(path, "interactions" if core is None else f"users and items with {core} interactions or more")
    return found


def read_csv(
    path: Path,
    columns: Columns = NAMED,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    user_ids: Sequence[str] | None = None,
    item_ids: Sequence[str] | None = None,
    least: float = -_LARGEST,
    most: float = _LARGEST,
) -> Interactions:
    """Return every row of a CSV file, duplicates too.

    Args:
        path: delimited text, `.gz` or not.
        columns: which columns hold what.
        delimiter: one or more characters.
        encoding: of the text.
        user_ids: all users there may be, in the order of their numbers; None numbers them as they come.
        item_ids: the same of items.
        least: the smallest value there may be.
        most: the largest.

    Raises:
        DataError: a row is broken, or of a user or item that isn't known.
    """
    table = _Table(path, columns, user_ids, item_ids, least, most)
    for number, fields in read_columns(path, columns.chosen(), delimiter=delimiter, encoding=encoding):
        table.add(fields, line=number)
    return table.interactions()


def read_parquet(path: Path, columns: Columns = NAMED) -> Interactions:
    """Return every row of a Parquet file, duplicates too; ids may be text or whole numbers.

    Raises:
        DataError: the file or a row is broken, or a column missing.
    """
    table = _Table(path, columns)
    for number, fields in enumerate(_parquet_rows(path, columns.chosen())):
        table.add(fields, record=number)
    return table.interactions()


class _Table:
    """Gathers rows in a few bytes each."""

    def __init__(
        self,
        path: Path,
        columns: Columns,
        user_ids: Sequence[str] | None = None,
        item_ids: Sequence[str] | None = None,
        least: float = -_LARGEST,
        most: float = _LARGEST,
    ) -> None:
        self._path, self._least, self._most = path, least, most
        self._users = Numbering(user_ids or (), closed=user_ids is not None)
        self._items = Numbering(item_ids or (), closed=item_ids is not None)
        self._valued, self._timed = columns.value is not None, columns.time is not None
        self._rows = array("i"), array("i"), array("f"), array("q")

    def add(self, fields: Sequence[str], *, line: int | None = None, record: int | None = None) -> None:
        users, items, values, times = self._rows
        number, expected = 0, ""
        try:
            for numbering, row, what in ((self._users, users, "a user"), (self._items, items, "an item")):
                expected = f"the id of {what}" + (" that is known" if numbering.closed else "")
                if not is_id(fields[number]):
                    raise ValueError
                row.append(numbering[fields[number]])
                number += 1
            if self._valued:
                bounded = max(-self._least, self._most) < _LARGEST
                expected = f"a number from {self._least:g} to {self._most:g}" if bounded else "a finite number"
                value = float(fields[number])
                # Not a number is in no range.
                if not self._least <= value <= self._most:
                    raise ValueError
                values.append(value)
                number += 1
            if self._timed:
                expected = "a time as a whole number"
                times.append(int(fields[number]))
        except (ValueError, KeyError, OverflowError):
            found = shown(fields[number])
            raise DataError(self._path, expected, found=found, line=line, record=record) from None

    def interactions(self) -> Interactions:
        users, items, values, times = self._rows
        return Interactions(
            np.array(users, np.int32),
            np.array(items, np.int32),
            np.array(values, np.float32) if self._valued else np.ones(len(users), np.float32),
            np.array(times, np.int64) if self._timed else None,
            self._users.ids(),
            self._items.ids(),
        )


def _parquet_rows(path: Path, columns: Sequence[Any]) -> Iterator[list[str]]:
    # Here, so that CSV needs no pyarrow.
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not isinstance(columns[0], str):
        raise DataError(path, "columns by name", found=f"places {columns}")
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for column in columns:
                if names.count(column) != 1:
                    raise DataError(path, f"one column {column!r}", found=shown(", ".join(names)))
            for batch in file.iter_batches(_PARQUET_ROWS, columns=list(columns)):
                rows = [batch.column(column).cast(pa.string()).to_pylist() for column in columns]
                # A missing value is no text, and is told as an id or a number that is empty.
                yield from (["" if field is None else field for field in row] for row in zip(*rows, strict=True))
    except (pa.ArrowException, MemoryError, OSError, ValueError) as error:
        raise DataError(path, "a Parquet file", found=shown(str(error))) from error


def _renumbered(numbers: NDArray[np.int32], old: Sequence[str], new: Iterable[str]) -> NDArray[np.int32]:
    places = {name: place for place, name in enumerate(new)}
    table = np.array([places.get(name, -1) for name in old], np.int32)
    renumbered = table[numbers]
    if (renumbered < 0).any():
        raise KeyError(old[numbers[np.argmin(renumbered)]])
    return renumbered
