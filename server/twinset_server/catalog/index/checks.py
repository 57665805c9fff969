"""How good the answers to callers are: a sample of them is searched for again exactly, in the background."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from twinset_server.domain import MeasuredRecall, Neighbour, SearchResult

_log = logging.getLogger(__name__)

_AT = 10
_KEPT = 1000
_PAUSE_SHARE = 50
"""After a check nothing is checked for so many times as long as it took: it never costs more than 2 % of a core."""
_NICENESS = 19


class RecallChecks:
    """Checks a share of the answers of one process. Made and asked on the event loop; one thread checks."""

    def __init__(self, share: float) -> None:
        """`share` of all answers that aren't exact is checked, as far as there is time: 0 to 1."""
        self._share = share
        self._random = random.Random()  # noqa: S311 - nobody gains by foreseeing it
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalog-checks", initializer=_be_nice)
        self._lock = threading.Lock()
        self._measured: dict[str, deque[tuple[float, float]]] = {}
        self._busy = False
        self._not_before_s = 0.0

    def offer(self, space: str, result: SearchResult, search_exactly: Callable[[], SearchResult]) -> None:
        """Check an answer in the background, if it is among the sample and no other is being checked.

        Args:
            space: what was searched.
            result: what was found.
            search_exactly: finds the same by comparing all; called in another thread.
        """
        if result.exact or self._random.random() >= self._share:
            return
        if self._busy or time.monotonic() < self._not_before_s:
            return
        self._busy = True
        # Where the thread is shut down the server ends.
        with contextlib.suppress(RuntimeError):
            self._thread.submit(self._check, space, result, search_exactly)

    def recall(self, space: str) -> MeasuredRecall | None:
        """Return what was measured last in a space; None where nothing was."""
        with self._lock:
            measured = list(self._measured.get(space, ()))
        if not measured:
            return None
        since = datetime.datetime.fromtimestamp(measured[0][0], datetime.UTC)
        return MeasuredRecall(statistics.fmean(recall for _, recall in measured), len(measured), since)

    def settle(self) -> None:
        """Return when what was offered before has been checked."""
        self._thread.submit(int).result()

    def close(self) -> None:
        """End the thread after what it is at."""
        self._thread.shutdown(cancel_futures=True)

    def _check(self, space: str, result: SearchResult, search_exactly: Callable[[], SearchResult]) -> None:
        began = time.monotonic()
        try:
            recall = recall_of(result.neighbours, search_exactly().neighbours)
            with self._lock:
                self._measured.setdefault(space, deque(maxlen=_KEPT)).append((time.time(), recall))
        except Exception:
            _log.exception("space %s: an answer could not be checked", space)
        finally:
            now = time.monotonic()
            self._not_before_s = now + _PAUSE_SHARE * (now - began)
            self._busy = False


def recall_of(answered: Sequence[Neighbour], exact: Sequence[Neighbour]) -> float:
    """Return the share of the nearest ten of `exact` that were answered; of all where they are fewer.

    An answer counts by its distance: of items that are equally far, any may stand for another.
    """
    truth = exact[:_AT]
    if not truth:
        return 1.0
    return min(1.0, sum(one.distance <= truth[-1].distance for one in answered) / len(truth))


def _be_nice() -> None:
    # On Linux this is the thread's own, and no other's.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
