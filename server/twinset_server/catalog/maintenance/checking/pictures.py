"""The files of pictures against the rows that name them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.maintenance import pictures
from twinset_server.catalog.maintenance.checking.findings import COMPACT, Findings
from twinset_server.catalog.maintenance.copying import sha256_of
from twinset_server.catalog.maintenance.snapshot import Snapshot
from twinset_server.catalog.store.pictures import path_of
from twinset_server.catalog.store.schema import open_reader
from twinset_server.errors import StoreUnavailable
from twinset_server.maintenance import Severity, Work

_SHA256_BYTES = 32
_BATCH = 256
_THREADS = 4

_NAMED = "SELECT 1 FROM pictures WHERE content = ? LIMIT 1"


class PictureFiles:
    """The contents in a folder; `note` comes first, `check_strays` last."""

    def __init__(self, folder: Folder, findings: Findings, work: Work) -> None:
        """Tell `findings` of what is wrong."""
        self._folder = folder
        self._findings = findings
        self._work = work
        self._strays: list[Path] = []
        # SHA-256 of the contents that the snapshot names, one behind another.
        self._named = bytearray()

    def note(self, state: Snapshot) -> None:
        """Learn which contents the database names."""
        for sha256 in state.pictures():
            self._named += bytes.fromhex(sha256)

    def check(self, connection: sqlite3.Connection) -> None:
        """Compare each file that is named, and look for those that aren't; contents must be kept meanwhile.

        Raises:
            sqlite3.Error: the database can't be read.
            OperationCancelled: it was cancelled.
        """
        self._check_named(connection)
        self._look_for_strays(connection)

    def check_strays(self) -> None:
        """Tell of files that no row names, once no writer is between a file and its row; not while a feed grows."""
        if not self._strays:
            return
        with (
            contextlib.suppress(StoreUnavailable),
            pictures.removed(self._folder, self._work),
            contextlib.closing(open_reader(self._folder.database)) as connection,
        ):
            for file in self._strays:
                if file.exists() and not connection.execute(_NAMED, (file.parent.name + file.name,)).fetchone():
                    subject = str(file.relative_to(self._folder.path))
                    self._findings.add(Severity.INFO, subject, "is shown by no item", COMPACT)

    def _check_named(self, connection: sqlite3.Connection) -> None:
        self._work.stage("checking pictures", "pictures", len(self._named) // _SHA256_BYTES)

        def fault(sha256: str) -> str | None:
            try:
                intact = sha256_of(path_of(self._folder.pictures, sha256)) == sha256
            except OSError as error:
                return f"can't be read ({error.strerror})"
            return None if intact else "is damaged: its content has another SHA-256"

        starts = range(0, len(self._named), _SHA256_BYTES)
        names = (self._named[start : start + _SHA256_BYTES].hex() for start in starts)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
            while batch := list(islice(names, _BATCH)):
                for sha256, problem in zip(batch, pool.map(fault, batch), strict=True):
                    if problem is not None:
                        subject = str(path_of(self._folder.pictures, sha256).relative_to(self._folder.path))
                        owners = ", ".join(repr(item_id) for item_id in _owners(connection, sha256))
                        advice = f"put again with this picture: {owners}"
                        self._findings.add(Severity.ERROR, subject, problem, advice)
                self._findings.pictures += len(batch)
                self._work.advance(len(batch))

    def _look_for_strays(self, connection: sqlite3.Connection) -> None:
        directories = pictures.directories(self._folder.pictures)
        self._work.stage("looking for unused files", "folders", len(directories))
        for directory in directories:
            for file in sorted(directory.iterdir()):
                if not connection.execute(_NAMED, (directory.name + file.name,)).fetchone():
                    self._strays.append(file)
            self._work.advance()


def _owners(connection: sqlite3.Connection, sha256: str) -> Iterator[str]:
    rows = connection.execute(
        "SELECT DISTINCT items.id FROM pictures JOIN items ON items.key = item WHERE content = ?"
        " ORDER BY items.id LIMIT 5",
        (sha256,),
    )
    for (item_id,) in rows.fetchall():
        yield item_id
