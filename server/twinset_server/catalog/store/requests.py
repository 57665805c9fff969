"""What waits in the writer's queue, and where its results go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twinset_server.catalog.store.entry import Entry
from twinset_server.errors import TwinsetError

_log = logging.getLogger(__name__)


class Reply:
    """Where a caller on an event loop waits for a result."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def give(self, result: object) -> None:
        """Hand over a result or an exception, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._settle, result)
        except RuntimeError:
            # The loop closed while its caller waited; the write stands all the same.
            _log.debug("nobody waits for a write any more")

    def _settle(self, result: object) -> None:
        if self.future.done():  # cancelled
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


@dataclass(frozen=True, slots=True)
class Put:
    """Items to write, or the errors of those that can't be; answered by one outcome each."""

    entries: Sequence[Entry | TwinsetError]
    reply: Reply


@dataclass(frozen=True, slots=True)
class Delete:
    """An item to delete; answered by the sequence."""

    item_id: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Task:
    """Something else to do between commits; answered by what it returns."""

    run: Callable[[], object]
    reply: Reply | None = None
