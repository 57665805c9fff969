"""What the disk and SQLite refuse, in the words of the service."""

from __future__ import annotations

import errno
import sqlite3

from twinset_server.errors import DiskFull, StoreUnavailable, TwinsetError

_DATABASE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
)

_FULL = "the disk that holds the catalogue is full: free some space, then try again"


def from_os_error(error: OSError) -> TwinsetError:
    """Return what a caller is told about `error`, which came out of writing a file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(_FULL)
    return StoreUnavailable(f"the catalogue's disk failed: {error.strerror}; the server's log says more")


def from_sqlite(error: sqlite3.Error) -> TwinsetError:
    """Return what a caller is told about `error`."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return DiskFull(_FULL)
    return StoreUnavailable(f"the catalogue's database failed: {error}; the server's log says more")


def ends_transaction(error: sqlite3.Error) -> bool:
    """Return whether `error` is of the database and not of one statement's values: nothing more can be written then."""
    # The low byte is the kind; the bytes above it tell variants, such as a failed sync, apart.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DATABASE
