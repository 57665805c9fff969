"""Deletes rows that have served: old answers, and what of the log every index has taken in."""

from __future__ import annotations

import time

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store.answers import KEPT_US
from twinset_server.catalog.store.connection import WritingConnection

_SLICE = 1000
"""Rows deleted in one transaction, while other writers wait."""

_ANSWERS = "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE made <= ? LIMIT ?)"
_DEAD = "DELETE FROM dead WHERE (seq, key) IN (SELECT seq, key FROM dead WHERE seq <= ? LIMIT ?)"


class Pruner:
    """Prunes in `folder`; one thread uses it."""

    def __init__(self, folder: Folder) -> None:
        self._connection = WritingConnection(folder)

    def prune_answers(self, now_us: int | None = None) -> int:
        """Delete answers older than 24 hours at `now_us`, by default now; return how many."""
        now_us = time.time_ns() // 1000 if now_us is None else now_us
        return self._delete(_ANSWERS, now_us - KEPT_US)

    def prune_log(self, sequence: int) -> int:
        """Delete what the log says of changes up to `sequence`, which every index knows; return how many rows."""
        return self._delete(_DEAD, sequence)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _delete(self, statement: str, bound: int) -> int:
        deleted = 0
        while True:
            with self._connection.transaction():
                count = self._connection.sqlite.execute(statement, (bound, _SLICE)).rowcount
            deleted += count
            if count < _SLICE:
                return deleted
