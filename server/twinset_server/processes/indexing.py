"""What the builder does: the index kept near the store, and what nothing needs any more taken away."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator

from twinset_server.catalog import Folder, join
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.store.collector import Collector
from twinset_server.catalog.store.failures import from_os_error
from twinset_server.catalog.store.pruner import Pruner
from twinset_server.config import StoreSettings
from twinset_server.errors import OperationCancelled, StoreUnavailable
from twinset_server.processes.order import Order

_ROUND_S = 1.0
_PRUNE_EVERY = 60
"""Rounds between two looks at old answers and at the log."""

_log = logging.getLogger(__name__)


class Indexing:
    """The work of a builder on one folder."""

    def __init__(self, folder: Folder, settings: StoreSettings) -> None:
        self._folder = folder
        self._builder = Builder(folder.database, folder.index, settings)

    def run(self, stop: threading.Event) -> None:
        """Fold, merge, collect and prune until `stop` is set.

        Raises:
            Exception: the index can't be built any more; the process should end, and be started again.
        """
        ended = threading.Event()
        tidying = threading.Thread(target=self._tidy, args=(ended,), name="builder-tidy")
        tidying.start()
        try:
            self._builder.run(stop)
        finally:
            ended.set()
            tidying.join()

    def rebuild(
        self, space: str, progress: Callable[[float], None], *, alone: bool, cancelled: Callable[[], bool]
    ) -> None:
        """Build the index of `space` from the store alone, while `run` goes on; tell the share done.

        Raises:
            SpaceNotFound: the catalogue has no space of this name.
            DiskFull, StoreUnavailable: the index could not be written, or the builder ends.
            OperationCancelled: `cancelled` returned True; the index is what it was.
        """
        try:
            self._builder.rebuild(space, progress, alone=alone, cancelled=cancelled)
        except Stopped as error:
            if cancelled():
                raise OperationCancelled(f"the index of {space!r} is what it was: the rebuild was cancelled") from error
            raise StoreUnavailable("the builder ends: try again in a moment") from error
        except OSError as error:
            raise from_os_error(error) from error

    def _tidy(self, ended: threading.Event) -> None:
        with (
            contextlib.closing(Collector(self._folder)) as collector,
            contextlib.closing(Pruner(self._folder)) as pruner,
        ):
            # A server that was killed may have left files that no row names: each start looks through all of them.
            unswept = collector.directories()
            rounds = 0
            while not ended.wait(_ROUND_S):
                try:
                    while collector.collect() and not ended.is_set():
                        pass
                    if unswept and collector.sweep() is not None:
                        unswept -= 1
                    if rounds % _PRUNE_EVERY == 0:
                        pruner.prune_answers()
                        pruner.prune_deleted()
                        pruner.prune_log(min(self._builder.log_floors().values(), default=0))
                except (sqlite3.Error, OSError) as error:
                    # Nothing is lost but room; a full disk, say, is seen and told by those who write.
                    _log.warning("tidying failed, and is tried again: %s", error)
                rounds += 1


@contextlib.contextmanager
def indexing(order: Order) -> Iterator[Indexing]:
    """Work on the folder that the order names while the context is open."""
    folder = Folder(order.settings.store.path)
    with join(folder):
        yield Indexing(folder, order.settings.store)
