"""The thread that folds, one space at a time, at a lower priority than what answers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twinset_server.catalog.index.fold import Fold, fold
from twinset_server.catalog.index.search import View
from twinset_server.catalog.index.segment import SegmentUnsound, Stopped

_log = logging.getLogger(__name__)

_NICE = 10


class Builder:
    """Folds views in the background and hands each result to `done`: the fold, or None where it failed."""

    def __init__(self, folder: Path, fold_at: int, done: Callable[[str, Fold | None], None]) -> None:
        self._folder = folder
        # Half, not all: a delta with as many rows as may stay would be compacted again after the next write.
        self._at_least = fold_at // 2
        self._done = done
        self._under_way: set[str] = set()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="catalog-builder", initializer=_lower_priority)

    def start(self, view: View) -> None:
        """Fold `view` unless its space is being folded. Called by the writer's thread, as is `finished`."""
        if view.space.name not in self._under_way and not self._stop.is_set():
            self._under_way.add(view.space.name)
            self._pool.submit(self._fold, view)

    def finished(self, space: str) -> None:
        """Allow the next fold of a space."""
        self._under_way.discard(space)

    def stop(self) -> None:
        """Give up what is under way, and start nothing more."""
        self._stop.set()

    def close(self) -> None:
        """End the thread; `start` must not be called any more."""
        self.stop()
        self._pool.shutdown(cancel_futures=True)

    def _fold(self, view: View) -> None:
        name = view.space.name
        try:
            folded = fold(view, self._folder, at_least=self._at_least, stop=self._stop)
        except Stopped:
            return
        except SegmentUnsound as error:
            _log.warning("space %s stays exact, and slower with every vector: %s", name, error)
            folded = None
        except Exception:
            # The rows are safe in SQLite and searched exactly; only speed is lost.
            _log.exception("the index of space %s could not be built; it stays exact", name)
            folded = None
        self._done(name, folded)


def _lower_priority() -> None:
    # On Linux a priority belongs to a thread, and the threads that USearch starts inherit it.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
