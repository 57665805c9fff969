"""Snapshots of the table of columns against the items stored."""

from __future__ import annotations

import contextlib

import numpy as np

from twinset_server.catalog.columns.table import Column, Columns
from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index import column_files
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.maintenance.checking.findings import REBUILD, Findings
from twinset_server.catalog.store.log import ChangeLog
from twinset_server.maintenance import Severity, Work


def check_columns(folder: Folder, findings: Findings, work: Work) -> None:
    """Compare every snapshot, brought up to date, with a table that is read anew; tell `findings` of what is wrong.

    Raises:
        sqlite3.Error: the database can't be read.
        OperationCancelled: it was cancelled.
        Stopped: the same.
    """
    home = column_files.columns_folder(folder.index)
    for number in column_files.numbers(home):
        work.stage("checking categories and attributes")
        path = column_files.manifest_path(home, number)
        try:
            found = column_files.open_snapshot(home, number, lambda: work.cancel_requested)
            with contextlib.closing(ChangeLog(folder.database)) as log, log.snapshot() as snapshot:
                table, anew = ColumnTable(found), ColumnTable()
                table.follow(snapshot, work.check)
                anew.follow(snapshot, work.check)
            description = _difference(table.publish(), anew.publish())
        except Unsound as error:
            description = f"can't be used: {error}"
        # The builder removes old ones.
        if description and path.exists():
            findings.add(Severity.WARNING, str(path.relative_to(folder.path)), description, REBUILD)


def _difference(found: Columns, expected: Columns) -> str:
    """Return in what the items of a table differ from those of another one; nothing where they don't."""
    kept = found.alive
    keys = found.keys[kept]
    if not np.array_equal(keys, expected.keys):
        others = np.setxor1d(keys, expected.keys)
        return f"holds items that aren't stored, or lacks some: {_some(others.tolist())}"
    for name in sorted(found.fields.keys() | expected.fields.keys()):
        stored = expected.fields.get(name)
        codes = np.zeros(len(keys), np.int32) if stored is None else stored.codes
        differing = keys[_codes(found.fields.get(name), stored, len(kept))[kept] != codes]
        if len(differing):
            return f"holds another {name} than is stored: {_some(differing.tolist())}"
    return ""


def _codes(column: Column | None, among: Column | None, length: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Return the codes of `column`, as `among` has them for the same values; -1 for a value that is not there."""
    if column is None:
        return np.zeros(length, np.int32)
    count = 0 if among is None else len(among.values)
    table = np.zeros(len(column.values) + 1, np.int32)
    for code in np.unique(column.codes[column.codes > 0]).tolist():
        known = 0 if among is None else among.values.code_of(column.values.value(code))
        table[code] = known if 0 < known <= count else -1
    return table[column.codes]


def _some(keys: list[int]) -> str:
    return f"{len(keys)} of them, keys {', '.join(map(str, keys[:5]))}{', ...' if len(keys) > 5 else ''}"
