"""Contents of pictures, and the locks under which they are kept or removed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.locks import FileLock
from twinset_server.catalog.store.pictures import INCOMING
from twinset_server.errors import StoreUnavailable
from twinset_server.maintenance import Work

_TRY_EVERY_S = 0.01
_FEED_ENDS_S = 30.0


def directories(pictures: Path) -> list[Path]:
    """Return the directories that hold contents, by name."""
    if not pictures.is_dir():
        return []
    return sorted(path for path in pictures.iterdir() if path.is_dir() and path.name != INCOMING)


@contextlib.contextmanager
def kept(folder: Folder) -> Iterator[None]:
    """Keep contents from being removed. Writers go on; the collector comes again later.

    The lock is the kernel's: a killed backup gives it up, where rows of a lease would stay behind.
    """
    with contextlib.closing(folder.pictures_lock()) as lock, lock.shared():
        yield


@contextlib.contextmanager
def removed(folder: Folder, work: Work) -> Iterator[None]:
    """Be the only one to touch pictures, for as short as possible; see `Work.check`.

    Raises:
        StoreUnavailable: a feed that puts pictures doesn't end.
    """
    give_up = time.monotonic() + _FEED_ENDS_S
    with contextlib.ExitStack() as stack:
        # In the order of all who take several.
        for lock_of in (folder.feeds_lock, folder.pictures_lock):
            _take(stack.enter_context(contextlib.closing(lock_of())), stack, give_up, work)
        yield


def _take(lock: FileLock, stack: contextlib.ExitStack, give_up: float, work: Work) -> None:
    # Not blocking: a request that waits can't be cancelled.
    while True:
        with contextlib.ExitStack() as attempt:
            if attempt.enter_context(lock.exclusive_or_not()):
                stack.push(attempt.pop_all())
                return
        work.check()
        if time.monotonic() > give_up:
            raise StoreUnavailable(
                "a ReplaceCatalog or a backup has kept pictures from being removed for "
                f"{_FEED_ENDS_S:.0f} s: compact again when it has ended"
            )
        time.sleep(_TRY_EVERY_S)
