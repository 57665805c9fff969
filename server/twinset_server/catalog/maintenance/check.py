"""Compares all that a catalogue has on disk: tables, vectors, pictures, index. Reads only."""

from __future__ import annotations

import contextlib
import sqlite3

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.maintenance import pictures
from twinset_server.catalog.maintenance.checking.columns import check_columns
from twinset_server.catalog.maintenance.checking.findings import COMPACT, RESTORE, Findings
from twinset_server.catalog.maintenance.checking.index import check_generations
from twinset_server.catalog.maintenance.checking.pictures import PictureFiles
from twinset_server.catalog.maintenance.checking.tables import Tables
from twinset_server.catalog.maintenance.restore import leftovers
from twinset_server.catalog.maintenance.snapshot import snapshot
from twinset_server.catalog.store.schema import open_reader
from twinset_server.maintenance import CheckReport, Severity, Work


def check(folder: Folder, work: Work) -> CheckReport:
    """Return what is wrong with the catalogue in `folder`, the worst first.

    Raises:
        OperationCancelled: it was cancelled.
    """
    findings = Findings()
    files = PictureFiles(folder, findings, work)
    try:
        # Contents that the snapshot names stay when it has ended. SQLite's log grows while it is open, so files are
        # read afterwards.
        with pictures.kept(folder):
            with snapshot(folder.database, work) as state:
                sound = Tables(folder.database.name, findings, work).check(state)
                if sound:
                    files.note(state)
            if sound:
                with contextlib.closing(open_reader(folder.database)) as connection:
                    files.check(connection)
                    for path in leftovers(folder):
                        findings.add(Severity.INFO, path.name, "was left by a restore that didn't end", COMPACT)
                    check_generations(folder, connection, findings, work)
                    check_columns(folder, findings, work)
        files.check_strays()
    except sqlite3.Error as error:
        work.check()
        findings.add(Severity.ERROR, folder.database.name, f"can't be read: {error}", RESTORE)
    return findings.report()
