"""The port that Prometheus scrapes: what all processes counted, and how the processes are."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from twinset_server.config import MetricsSettings
from twinset_server.errors import StartupError
from twinset_server.metrics.folder import CountingFolder
from twinset_server.processes.child import ChildStatus

_LIVE = re.compile(r"gauge_live\w*_(\d+)\.db")
_PAGE_BYTES = resource.getpagesize()
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class _Counted(Collector):
    """What living and dead processes counted; gauges of the dead are left out."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._files = MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for file in self._folder.glob("gauge_live*"):
            found = _LIVE.fullmatch(file.name)
            if found and not Path(f"/proc/{found[1]}").exists():
                mark_process_dead(int(found[1]), str(self._folder))  # type: ignore[no-untyped-call]
        yield from self._files.collect()  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """How each process is now."""

    def __init__(self, status: Callable[[], Sequence[ChildStatus]]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("twinset_process_ready", "1 while the process does its work.", labels=["process"])
        restarts = CounterMetricFamily(
            "twinset_process_restarts", "How often the process had to be started again.", labels=["process"]
        )
        private = GaugeMetricFamily(
            "twinset_process_private_bytes", "Memory that the process shares with no other.", labels=["process"]
        )
        seconds = CounterMetricFamily(
            "twinset_process_cpu_seconds",
            "Processor time of the process, from its last start on.",
            labels=["process"],
        )
        for one in self._status():
            ready.add_metric([one.name], float(one.ready))
            restarts.add_metric([one.name], one.restarts)
            if one.pid and (size := _private_bytes(one.pid)) is not None:
                private.add_metric([one.name], size)
            if one.pid and (took_s := _cpu_seconds(one.pid)) is not None:
                seconds.add_metric([one.name], took_s)
        yield from (ready, restarts, private, seconds)


class ScrapePort:
    """Serves `/metrics` over HTTP where the settings name a port; made before processes are started that count."""

    def __init__(self, settings: MetricsSettings) -> None:
        """Make the folder to count in, unless there is no port.

        Raises:
            StartupError: there is no place for it.
        """
        self._settings = settings
        self._folder: CountingFolder | None = None
        self._close: Callable[[], None] | None = None
        if settings.port is not None:
            try:
                self._folder = CountingFolder()
            except OSError as error:
                raise StartupError(f"can't make a folder to count in ({error}): see TMPDIR") from error

    def start(self, status: Callable[[], Sequence[ChildStatus]]) -> int | None:
        """Listen, and return the port; None where none is set.

        Raises:
            StartupError: the port is taken, or the address is none of this machine's.
        """
        if self._folder is None or self._settings.port is None:
            return None
        registry = CollectorRegistry()
        registry.register(_Counted(self._folder.path))
        registry.register(_Processes(status))
        try:
            server, thread = start_http_server(self._settings.port, self._settings.host, registry)
        except OSError as error:
            raise StartupError(
                f"can't listen for scrapes on {self._settings.host}:{self._settings.port} ({error.strerror}): stop the "
                "process that does, or set metrics.host and metrics.port"
            ) from error

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._close = close
        return int(server.server_port)

    def stop(self) -> None:
        """Close the port, and forget what was counted."""
        if self._close is not None:
            self._close()
            self._close = None
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


def _cpu_seconds(pid: int) -> float | None:
    """Return the processor time of a process and its threads; None where it has ended."""
    try:
        # Behind the name, which may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _private_bytes(pid: int) -> int | None:
    """Return resident less shared pages, in bytes; None where the process has ended."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * _PAGE_BYTES
