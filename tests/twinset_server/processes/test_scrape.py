"""One scrape reads what several processes counted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinset_server.config import MetricsSettings
from twinset_server.errors import StartupError
from twinset_server.metrics.folder import is_counting
from twinset_server.processes.child import ChildStatus
from twinset_server.processes.scrape import ScrapePort

DOCUMENTED = Path(__file__).parents[3] / "docs" / "operations.md"

COUNTING = """
import sys
from twinset_server.domain import CatalogStatus, Commits, Metric, Space, SpaceStatus
from twinset_server.metrics import counted
meter = counted.CallMeter("/twinset.v1.RecommenderService/Recommend")
for _ in range(2):
    meter.begin()
meter.end("OK", 0.003)
model = counted.ModelMeter()
model.left([0.001, 0.002])
model.ended(2, 0.05, failed=False)
space = SpaceStatus(Space("visual", 2, Metric.COSINE, "a" * 64), 7, 3, 5)
counts = counted.CatalogMeter()
counts.count(CatalogStatus(9, 9, [space], 11, commits=Commits(4, 0.5)), 100.0)
counts.count(CatalogStatus(9, 9, [space], 11, commits=Commits(6, 0.75)), 130.0)
print("counted", flush=True)
sys.stdin.read()
"""


class Port:
    """A port for scrapes, and processes that count for it."""

    def __init__(self) -> None:
        self.children: list[ChildStatus] = []
        self._scrapes = ScrapePort(MetricsSettings(port=0))
        self._port = self._scrapes.start(lambda: self.children)

    def count(self) -> subprocess.Popen[str]:
        """Start a process, and return it when it has counted."""
        command = [sys.executable, "-c", COUNTING]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        return process

    def scrape(self) -> dict[str, float]:
        """Return the value of each series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        series = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in series}

    def close(self) -> None:
        self._scrapes.stop()


@pytest.fixture
def port() -> Iterator[Port]:
    opened = Port()
    yield opened
    opened.close()


CALLS = 'twinset_calls_total{code="OK",method="/twinset.v1.RecommenderService/Recommend"}'
UNDER_WAY = 'twinset_calls_under_way{method="/twinset.v1.RecommenderService/Recommend"}'


def test_what_processes_counted_is_added_up_and_the_dead_have_no_calls_under_way(port: Port) -> None:
    first, second = port.count(), port.count()
    found = port.scrape()
    assert found[CALLS] == 2
    assert found[UNDER_WAY] == 2
    assert found['twinset_index_delta{space="visual"}'] == 5
    assert found["twinset_items"] == 9
    assert found['twinset_index_behind_seconds{space="visual"}'] == 30
    assert found["twinset_commits_total"] == 12
    assert found["twinset_commit_seconds_total"] == 1.5
    assert found["twinset_model_pictures_total" + '{outcome="embedded"}'] == 4
    first.communicate("")
    found = port.scrape()
    assert found[CALLS] == 2
    assert found[UNDER_WAY] == 1
    second.communicate("")


def test_each_process_is_told_of(port: Port) -> None:
    port.children = [ChildStatus("worker 0", os.getpid(), True, 2), ChildStatus("the builder", 0, False, 5)]
    found = port.scrape()
    assert found['twinset_process_ready{process="worker 0"}'] == 1
    assert found['twinset_process_ready{process="the builder"}'] == 0
    assert found['twinset_process_restarts_total{process="the builder"}'] == 5
    assert found['twinset_process_private_bytes{process="worker 0"}'] > 1 << 20
    assert found['twinset_process_cpu_seconds_total{process="worker 0"}'] > 0
    assert 'twinset_process_private_bytes{process="the builder"}' not in found


def test_each_metric_is_documented_and_none_else(port: Port) -> None:
    port.children = [ChildStatus("worker 0", os.getpid(), True, 0)]
    process = port.count()
    told = {re.split(r"[{]|_bucket|_sum$|_count$", name)[0] for name in port.scrape()}
    process.communicate("")
    documented = set(re.findall(r"^\| `(twinset_\w+)`", DOCUMENTED.read_text(), re.MULTILINE))
    # No search was repeated exactly here, so there is no recall to tell.
    assert documented == {re.split(r"_sum|_count", name)[0] for name in told} | {"twinset_recall_at_10"}


def test_without_a_port_nothing_is_counted() -> None:
    silent = ScrapePort(MetricsSettings())
    assert silent.start(list) is None
    assert not is_counting()
    silent.stop()


def test_a_taken_port_is_named(port: Port) -> None:
    other = ScrapePort(MetricsSettings(port=port._port))
    with pytest.raises(StartupError, match=r"metrics\.port"):
        other.start(list)
    other.stop()
