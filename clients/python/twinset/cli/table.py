"""Tables in files: rows of CSV or Parquet in, with the place of each; every message names file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from twinset.cli.problem import Problem
from twinset.cli.report import counted

_ROWS_AT_ONCE = 10_000
_NESTED = (list, dict, bytes)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: its place for messages, such as `line 3`, and its values in the order of the columns, empty for none."""

    place: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is read row by row."""

    path: Path
    header: Sequence[str]
    rows: Iterator[TableRow]

    def column(self, name: str) -> int:
        """Return the place of a column that must be there.

        Raises:
            Problem: it isn't.
        """
        if name not in self.header:
            raise Problem(f"{self.path} has no column {name!r}: it has {', '.join(self.header)}")
        return list(self.header).index(name)


def open_table(path: Path) -> Table:
    """Return the table in a file: Parquet where its name ends in .parquet, else CSV.

    Columns of a CSV are set apart by commas, or by semicolons or tabs where the header has no comma. Its first line
    names them.

    Raises:
        Problem: the file can't be read, or has no header; so do the rows, for a line that is malformed.
    """
    return _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_csv(path)


def parquet() -> ModuleType:
    """Return `pyarrow.parquet`.

    Raises:
        Problem: it isn't installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise Problem("Parquet files need pyarrow, which is not installed: pip install 'twinset[cli]'") from error
    module: ModuleType = pyarrow.parquet
    return module


def _open_csv(path: Path) -> Table:
    rows = _csv_rows(path)
    first = next(rows, None)
    if first is None:
        raise Problem(f"{path} is empty: its first line must name the columns, such as id,title,category")
    header = [name.strip() for name in first.values]
    for place, name in enumerate(header):
        if not name:
            raise Problem(f"{path}, line 1: column {place + 1} has no name")
        if name in header[:place]:
            raise Problem(f"{path}, line 1: two columns are called {name!r}")
    return Table(path, header, _checked(path, len(header), rows))


def _checked(path: Path, columns: int, rows: Iterator[TableRow]) -> Iterator[TableRow]:
    for row in rows:
        if len(row.values) != columns:
            raise Problem(f"{path}, {row.place}: {counted(len(row.values), 'value')} for {counted(columns, 'column')}")
        yield TableRow(row.place, [value.strip() for value in row.values])


def _csv_rows(path: Path) -> Iterator[TableRow]:
    try:
        with path.open("rb") as file:
            lines = _lines(path, file)
            header = next(lines, "")
            delimiter = next((mark for mark in ",;\t" if mark in header), ",")
            reader = csv.reader(_with(header, lines), delimiter=delimiter, strict=True)
            try:
                for row in reader:
                    if row:
                        yield TableRow(f"line {reader.line_num}", row)
            except csv.Error as error:
                raise Problem(f"{path}, line {reader.line_num}: {error}") from error
    except OSError as error:
        raise Problem(f"{path} can't be read: {error.strerror}") from error


def _with(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    # Line by line, so that a message names the line that is no text.
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Problem(f"{path}, line {number}: not UTF-8 text, save the file as UTF-8") from error


def _open_parquet(path: Path) -> Table:
    modules = parquet()
    try:
        file = modules.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise Problem(f"{path} can't be read as Parquet: {error}") from error
    header = file.schema_arrow.names
    return Table(path, header, _parquet_rows(path, header, file))


def _parquet_rows(path: Path, header: Sequence[str], file: Any) -> Iterator[TableRow]:
    number = 0
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            place = f"row {number}"
            try:
                texts = [_text(value) for value in values]
            except TypeError as error:
                column = next(name for name, value in zip(header, values, strict=True) if isinstance(value, _NESTED))
                raise Problem(f"{path}, {place}, column {column!r}: {error}") from error
            yield TableRow(place, texts)


def _text(value: object) -> str:
    # What pandas has no value for is NaN in a column of numbers.
    if value is None or value != value:
        return ""
    if isinstance(value, _NESTED):
        raise TypeError("holds lists, structures or bytes: give texts, numbers, truths or times")
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else str(value)
