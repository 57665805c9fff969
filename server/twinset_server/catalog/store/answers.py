"""Answers to calls that named themselves, kept for 24 hours: a call that is repeated isn't made again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from twinset_server.domain import Change, Receipt, Refused
from twinset_server.errors import RequestIdReused, TwinsetError

KEPT_US = 24 * 3600 * 1_000_000
"""Microseconds for which an answer is kept."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call's own name, and the digest of what it asks for."""

    id: str
    digest: bytes

    @classmethod
    def of(cls, request_id: str, changes: Sequence[Change], sent: bytes = b"") -> Request:
        """Return the request of this id.

        Its digest is of the kinds and ids of `changes` in their order, and of `sent`, the digest of the contents as
        they were sent: the changes themselves may lack what a model couldn't give, or have a time of their arrival.
        """
        named = json.dumps([_name(one) for one in changes]).encode()
        return cls(request_id, hashlib.sha256(named + sent).digest())


def recall(connection: sqlite3.Connection, request: Request, now_us: int) -> list[Receipt | None] | None:
    """Return what was answered to this request: receipts, and None for changes that failed; None if it is new.

    Raises:
        RequestIdReused: the id was used for other changes.
    """
    found = connection.execute(
        "SELECT digest, answer FROM requests WHERE id = ? AND made > ?", (request.id, now_us - KEPT_US)
    ).fetchone()
    if found is None:
        return None
    digest, answer = found
    if digest != request.digest:
        raise RequestIdReused(
            "request_id", f"{request.id!r} was used for other changes within the last 24 hours: take a new one"
        )
    return [None if receipt is None else Receipt(*receipt) for receipt in json.loads(answer)]


def remember(
    connection: sqlite3.Connection, request: Request, outcomes: Sequence[Receipt | TwinsetError], now_us: int
) -> None:
    """Keep the answer to a request."""
    answer = [[one.etag, one.sequence] if isinstance(one, Receipt) else None for one in outcomes]
    connection.execute(
        "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)", (request.id, request.digest, json.dumps(answer), now_us)
    )


def _name(change: Change) -> list[str]:
    kind = change.kind if isinstance(change, Refused) else type(change)
    return [kind.__name__, change.id]
