"""Deletes rows that have served: old answers, and what of the log every index has taken in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store.answers import KEPT_US
from twinset_server.catalog.store.connection import WritingConnection

_SLICE = 1000
"""Rows deleted in one transaction, while other writers wait."""

_ANSWERS = "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE made <= :bound LIMIT :slice)"
_DEAD = """
DELETE FROM dead WHERE (seq, key) IN (
    SELECT seq, key FROM dead WHERE seq <= :bound
    AND (:space IS NULL OR space = (SELECT key FROM spaces WHERE name = :space)) LIMIT :slice
)
"""
_DELETED = """
DELETE FROM deleted WHERE (seq, item) IN (
    SELECT seq, item FROM deleted WHERE seq <= (SELECT value FROM meta WHERE name = 'sequence') - :kept LIMIT :slice
)
"""
_KEPT_DELETED = 200_000
"""Changes of which it stays known what they deleted: a reader that knows less compares all keys instead."""


class Pruner:
    """Prunes in `folder`; one thread uses it."""

    def __init__(self, folder: Folder, deleted: Callable[[int], None] = lambda rows: None) -> None:
        """Prune in `folder`, and tell `deleted` of the rows of each transaction; what it raises ends the pruning.

        Raises:
            StartupError: the database can't be opened.
        """
        self._connection = WritingConnection(folder)
        self._deleted = deleted

    def prune_answers(self, now_us: int | None = None) -> int:
        """Delete answers older than 24 hours at `now_us`, by default now; return how many."""
        now_us = time.time_ns() // 1000 if now_us is None else now_us
        return self._delete(_ANSWERS, {"bound": now_us - KEPT_US})

    def prune_log(self, sequence: int, space: str | None = None) -> int:
        """Delete what the log says of changes up to `sequence`, which every index knows; return how many rows.

        With `space`, what it says of that one's vectors alone.
        """
        return self._delete(_DEAD, {"bound": sequence, "space": space})

    def prune_deleted(self) -> int:
        """Delete what is known of items deleted long ago; return how many rows."""
        return self._delete(_DELETED, {"kept": _KEPT_DELETED})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _delete(self, statement: str, parameters: Mapping[str, object]) -> int:
        total = 0
        while True:
            with self._connection.transaction():
                count = self._connection.sqlite.execute(statement, {**parameters, "slice": _SLICE}).rowcount
            total += count
            self._deleted(count)
            if count < _SLICE:
                return total
