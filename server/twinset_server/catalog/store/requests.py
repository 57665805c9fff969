"""What waits in the writer's queue, and where its results go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from twinset_server.catalog.store.answers import Request
from twinset_server.catalog.store.contents import Contents
from twinset_server.catalog.store.entry import Checked, Entry, EntryUpdate
from twinset_server.domain import NewPicture
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
class Write:
    """A call's changes, or the errors of those that can't be made; answered by one outcome each.

    `contents` are the files of its pictures, which may still be in the making.
    """

    changes: Sequence[Checked | TwinsetError]
    contents: Future[Contents]
    request: Request | None
    reply: Reply

    @property
    def size_bytes(self) -> int:
        """Bytes of its pictures as they were put."""
        return sum(len(new.content) for new in pictures_in(self.changes))

    @property
    def vectors(self) -> int:
        """How many vectors it brings to the index."""
        return sum(len(one.vectors or ()) for one in self.changes if isinstance(one, Entry | EntryUpdate))


@dataclass(frozen=True, slots=True)
class Task:
    """Something else to do between commits, in the writer's thread; answered by what it returns."""

    run: Callable[[], object]
    reply: Reply


def pictures_in(changes: Sequence[Checked | TwinsetError]) -> Iterator[NewPicture]:
    """Yield all pictures of `changes`."""
    for change in changes:
        if isinstance(change, Entry | EntryUpdate):
            yield from change.pictures or ()
