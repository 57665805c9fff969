"""Lines of text, and rows of delimited text, each with its number."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from twinset_exporter.datasets.errors import DataError, shown
from twinset_exporter.datasets.opening import opened
from twinset_exporter.errors import UsageError

# No line of any format read here comes near; a longer one is another kind of file, and could fill the memory.
LONGEST_LINE = 1 << 20

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


def read_lines(path: Path, *, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Return the lines of a text file, plain or `.gz`, with their numbers from 1 and their ends.

    Raises:
        DataError: the file can't be read, or a line is too long or not text in `encoding`.
    """
    with opened(path) as file:
        number = 0
        while raw := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                raise DataError(path, f"a line of at most {LONGEST_LINE:,} bytes", line=number)
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError as error:
                found = f"byte 0x{raw[error.start]:02x} at place {error.start} of the line"
                raise DataError(path, f"text in {encoding}", found=found, line=number) from error
            # Spreadsheets begin a file with a byte order mark, which would belong to the first column's name.
            yield number, text.removeprefix(_MARK) if number == 1 else text


def read_rows(path: Path, *, delimiter: str, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Return the rows of delimited text with the number of the line where each begins; empty lines are left out.

    A field may stand in double quotes, and then hold the delimiter, line breaks and doubled quotes. With a delimiter of
    several characters, as in `1::1193::5`, quotes mean nothing.

    Args:
        path: plain, or compressed if it ends in `.gz`.
        delimiter: one or more characters.
        encoding: of the text.

    Raises:
        DataError: a row can't be read, or has another number of fields than the first.
        UsageError: no file can have this delimiter.
    """
    if not delimiter or set(delimiter) & set('"\r\n'):
        raise UsageError(f"delimiter {delimiter!r}: give one or more characters, no quote or line break")
    split = _quoted_rows if len(delimiter) == 1 else _plain_rows
    width = None
    for number, fields in split(path, delimiter, encoding):
        if not fields:
            continue
        if width is None:
            width = len(fields)
        if len(fields) != width:
            expected = f"{width} fields between {delimiter!r}, as in the first row"
            raise DataError(path, expected, found=str(len(fields)), line=number)
        yield number, fields


def read_columns(
    path: Path, columns: Sequence[str] | Sequence[int], *, delimiter: str, encoding: str = "utf-8"
) -> Iterator[tuple[int, list[str]]]:
    """Return the chosen fields of each row with the number of its line.

    Args:
        path: plain, or compressed if it ends in `.gz`.
        columns: names that the first row holds, or, where the file has no such row, places from 0.
        delimiter: one or more characters.
        encoding: of the text.

    Raises:
        DataError: a row can't be read, or there is no such column.
    """
    rows = read_rows(path, delimiter=delimiter, encoding=encoding)
    places: list[int] | None = None
    for number, fields in rows:
        if places is None:
            places = _places(path, number, fields, columns)
            if isinstance(columns[0], str):
                continue
        yield number, [fields[place] for place in places]
    if places is None:
        raise DataError(path, "at least one row", found="an empty file")


def read_names(path: Path, *, delimiter: str, encoding: str = "utf-8") -> list[str]:
    """Return the names of the columns: the first row.

    Raises:
        DataError: there is none, or it can't be read.
    """
    for number, fields in read_rows(path, delimiter=delimiter, encoding=encoding):
        if len(set(fields)) != len(fields):
            raise DataError(path, "columns of different names", found=shown(delimiter.join(fields)), line=number)
        return fields
    raise DataError(path, "a first row with the columns' names", found="an empty file")


def _places(path: Path, number: int, fields: list[str], columns: Sequence[str] | Sequence[int]) -> list[int]:
    places = []
    for column in columns:
        if isinstance(column, int):
            if not 0 <= column < len(fields):
                raise DataError(path, f"at least {column + 1} columns", found=str(len(fields)), line=number)
            places.append(column)
        elif fields.count(column) == 1:
            places.append(fields.index(column))
        else:
            raise DataError(path, f"one column {column!r}", found=shown(", ".join(fields)), line=number)
    return places


def _plain_rows(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    for number, text in read_lines(path, encoding=encoding):
        bare = text.rstrip("\r\n")
        yield number, bare.split(delimiter) if bare else []


def _quoted_rows(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    first = 1
    rows = csv.reader((text for _, text in read_lines(path, encoding=encoding)), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(rows, None)
        except csv.Error as error:
            raise DataError(path, f"fields between {delimiter!r}", found=str(error), line=first) from error
        if fields is None:
            return
        yield first, fields
        first = rows.line_num + 1
