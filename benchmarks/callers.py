"""Starts what `benchmarks.load` does as processes, and watches the index meanwhile."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twinset import Client

_LOOK_S = 0.1
_PART_S = 10.0


@dataclass
class Watch:
    """The index of a space during a run: when its generation rose, and how many vectors it did not hold yet."""

    switches: list[float] = field(default_factory=list)
    backlog: list[tuple[float, int]] = field(default_factory=list)

    def mean_backlog(self, began: float, ended: float) -> float:
        """Return the mean backlog between two moments, seconds since 1970.

        It rises by what one fold takes and falls at once, every few seconds: take the mean of several folds.
        """
        return statistics.mean(count for seen, count in self.backlog if began <= seen <= ended)

    def backlog_growth(self, began: float, ended: float) -> tuple[float, float]:
        """Return by how many vectors a second the backlog grows between two moments, and the error of that.

        A line through the means of parts of 10 s, which hold two or three folds each, by least squares; the error is
        twice its slope's standard error.
        """
        parts = int((ended - began) // _PART_S)
        times = np.arange(parts) * _PART_S
        means = np.array([self.mean_backlog(began + time, began + time + _PART_S) for time in times])
        (slope, _), covariance = np.polyfit(times, means, 1, cov=True)
        return float(slope), 2 * float(np.sqrt(covariance[0, 0]))


@contextmanager
def watching(address: str, space: str) -> Iterator[Watch]:
    """Watch the index of `space` ten times a second while the context is open."""
    watch, ended = Watch(), threading.Event()

    def look() -> None:
        generation = None
        with Client(address) as client:
            while not ended.wait(_LOOK_S):
                status = next(one for one in client.catalog().spaces if one.name == space)
                watch.backlog.append((time.time(), status.delta_count))
                if generation is not None and status.index_generation != generation:
                    watch.switches.append(time.time())
                generation = status.index_generation

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


class Caller:
    """A running `benchmarks.load`."""

    def __init__(self, kind: str, address: str, **options: object) -> None:
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "benchmarks.load", kind, address, *given]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def report(self) -> dict[str, Any]:
        """Wait for its end, and return what it says.

        Raises:
            RuntimeError: it failed; its message has been printed.
        """
        text, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"{self._process.args} ended with status {self._process.returncode}")
        report: dict[str, Any] = json.loads(text)
        return report
