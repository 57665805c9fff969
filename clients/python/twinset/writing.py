"""Writes that survive a broken connection: every message has a name, and goes again under it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from twinset.errors import Unavailable

Response = TypeVar("Response")

TRIES = 4
"""How often a write is made at most, the first time included."""

_LONGEST_PAUSE_S = 2.0


def request_id() -> str:
    """Return a new name for a write: the server remembers it for 24 hours, and makes such a write once."""
    return uuid.uuid4().hex


def until_available(write: Callable[[], Response], *, pause: Callable[[float], None] = time.sleep) -> Response:
    """Return what `write` returns, called again while the server is unavailable; it must carry a `request_id`.

    Raises:
        Unavailable: the server stayed away.
    """
    for attempt in range(1, TRIES):
        try:
            return write()
        except Unavailable as error:
            pause(pause_s(error, attempt))
    return write()


def pause_s(error: Unavailable, attempt: int) -> float:
    """Return how many seconds to wait before the try behind `attempt`."""
    wanted = 0.2 * 2**attempt if error.retry_after_s is None else error.retry_after_s
    return min(wanted, _LONGEST_PAUSE_S)
