"""What can be wrong with a file of training data."""

from __future__ import annotations

from pathlib import Path

from twinset_exporter.errors import ExportError

_LONGEST_FOUND = 80


class DataError(ExportError):
    """A file of data is broken or can't be read.

    Attributes:
        file: the file.
        expected: what should have stood there, or what to do.
        line: its number, from 1, in a file of lines; None where the whole file is meant.
        record: its number, from 0, in a binary file or a table of rows.
        offset: of the byte in a binary file, in what was compressed where the file is compressed.
    """

    def __init__(
        self,
        file: Path,
        expected: str,
        *,
        found: str | None = None,
        line: int | None = None,
        record: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.file = file
        self.expected = expected
        self.line = line
        self.record = record
        self.offset = offset
        places = ((f"line {line}", line), (f"record {record}", record), (f"byte {offset}", offset))
        place = "".join(f", {text}" for text, number in places if number is not None)
        super().__init__(f"{file}{place}: expected {expected}" + ("" if found is None else f", found {found}"))


def shown(text: str) -> str:
    """Return text of a file for a message: quoted, on one line, and not too long."""
    return repr(text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 3] + "...")
