"""Removes the files of pictures that nothing shows any more, while the catalogue is served; `compact` does it at once.

A file may be on disk before the row that names it, and for the whole life of a feed. So the collector works only in
moments when no writer is between the two and no feed is under way, which its locks tell, and in slices, so that nobody
waits long for it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.pictures import INCOMING, path_of

_log = logging.getLogger(__name__)

_SLICE = 64
"""Files removed while writers of pictures wait."""

_PATIENCE_S = 0.2
"""How long a gap between writers of pictures is waited for, who may follow one another closely; feeds wait as long."""

_USED = "SELECT DISTINCT content FROM pictures WHERE content IN (SELECT value FROM json_each(?))"


def unused_among(connection: sqlite3.Connection, contents: Sequence[str]) -> list[str]:
    """Return those of `contents`, SHA-256 of files, that no picture shows."""
    used = {content for (content,) in connection.execute(_USED, (json.dumps(list(contents)),))}
    return [content for content in contents if content not in used]


def forget_dropped(connection: sqlite3.Connection, contents: Sequence[str]) -> None:
    """Note within a transaction that `contents`, which lost a reference, were looked at."""
    statement = "DELETE FROM dropped WHERE content IN (SELECT value FROM json_each(?))"
    connection.execute(statement, (json.dumps(list(contents)),))


class Collector:
    """Collects in `folder`; one thread uses it."""

    def __init__(self, folder: Folder) -> None:
        self._connection = WritingConnection(folder)
        self._pictures = folder.pictures
        self._feeds_lock = folder.feeds_lock()
        self._pictures_lock = folder.pictures_lock()
        self._directories: list[Path] = []

    def collect(self) -> int:
        """Look at a slice of the contents that lost a reference; return at how many.

        0 means that there are none, or that it can't be done now.
        """
        execute = self._connection.sqlite.execute
        with self._alone() as alone:
            if not alone:
                return 0
            rows = execute("SELECT content FROM dropped LIMIT ?", (_SLICE,)).fetchall()
            contents = [content for (content,) in rows]
            if contents:
                for content in self._unused(contents):
                    _remove(path_of(self._pictures, content))
                with self._connection.transaction():
                    forget_dropped(self._connection.sqlite, contents)
        return len(contents)

    def sweep(self) -> int | None:
        """Look through the next directory for files that a killed process left; return how many were removed.

        None means that it can't be done now: the same directory comes next. There are `directories()` of them; after
        the last comes the first again.
        """
        if not self._directories:
            self._directories = sorted(path for path in self._pictures.iterdir() if path.is_dir())
        directory = self._directories[0]
        names = [path.name for path in directory.iterdir()]
        incoming = directory.name == INCOMING
        removed = self._remove_incoming(directory, names) if incoming else self._remove_strays(directory, names)
        if removed is not None:
            self._directories.pop(0)
        return removed

    def directories(self) -> int:
        """Return how many calls of `sweep` look through everything."""
        return sum(path.is_dir() for path in self._pictures.iterdir())

    def close(self) -> None:
        """Close the connection and the locks."""
        self._connection.close()
        self._feeds_lock.close()
        self._pictures_lock.close()

    def _remove_strays(self, directory: Path, names: Sequence[str]) -> int | None:
        contents = [directory.name + name for name in names]
        # Looked at first without the locks: most files are used.
        strays = self._unused(contents)
        removed = 0
        for start in range(0, len(strays), _SLICE):
            with self._alone() as alone:
                if not alone:
                    return None
                unused = self._unused(strays[start : start + _SLICE])
                for content in unused:
                    _remove(path_of(self._pictures, content))
                removed += len(unused)
        return removed

    def _remove_incoming(self, directory: Path, names: Sequence[str]) -> int | None:
        with self._alone() as alone:
            if not alone:
                return None
            for name in names:
                _remove(directory / name)
        return len(names)

    def _unused(self, contents: Sequence[str]) -> list[str]:
        return unused_among(self._connection.sqlite, contents)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        with self._feeds_lock.exclusive_or_not() as no_feed:
            if not no_feed:
                yield False
                return
            with self._pictures_lock.exclusive_or_not(within_s=_PATIENCE_S) as no_writer:
                yield no_writer


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        # It only takes room, and is swept another time.
        _log.warning("unused picture %s could not be removed: %s", path, error)
