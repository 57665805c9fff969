"""Calls that nobody waits for any more: nothing of them lives on, in the server or in Triton, and no memory stays.

    python -m faults.deadlines [--calls 5000] [--cancelled 100000] [--items 20000] [--repository PATH]

First calls by picture with deadlines of 1 to 50 ms, far more than the model computes: a second after the last of them
the server has no call under way, and neither it nor Triton uses its processor. Then calls by vector of which each
fifth is cancelled: what the server's processes hold is compared with what they held after the first tenth.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.processor import seconds_by_part
from faults import live
from faults.http2 import Caller
from faults.http2_frames import Request
from faults.kill.service import free_port
from faults.overload import DIMENSION, SAMPLES, SPACE, vector_calls
from faults.scratch import scratch
from twinset.v1 import embedding_pb2

_UNDER_WAY = re.compile(r"^twinset_calls_under_way\{[^}]*\} (\S+)$", re.MULTILINE)
_AFTER_S = 1.0
_WATCHED_S = 2.0
_IDLE_SHARE = 0.2
"""Of a processor: probes of the model, and scrapes. A single batch that lives on takes more."""
_PER_S = 500


def under_way(metrics_port: int) -> int:
    """Return how many calls the server says are under way."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as response:
        return round(sum(map(float, _UNDER_WAY.findall(response.read().decode()))))


def hurried_calls(count: int) -> list[Request]:
    """Return embeddings of a picture each, with deadlines of 1 to 50 ms."""
    chance = random.Random(1)
    messages = [
        embedding_pb2.EmbedRequest(pictures=[path.read_bytes()]).SerializeToString()
        for path in sorted(SAMPLES.glob("*/*.png"))[:200]
    ]
    return [
        Request.of("/twinset.v1.EmbeddingService/Embed", chance.choice(messages), timeout_ms=chance.randint(1, 50))
        for _ in range(count)
    ]


def leaked(server: live.Live, metrics_port: int, calls: int) -> tuple[int, Counter[int]]:
    """Return how many of the hurried calls live a second after the last, and how the others ended."""
    with Caller(server.address, 50, hurried_calls(calls)) as caller:
        caller.at_rate(_PER_S, calls / _PER_S)
        time.sleep(_AFTER_S)
        alive = under_way(metrics_port)
        before = seconds_by_part(server.process.pid)
        time.sleep(_WATCHED_S)
        used = seconds_by_part(server.process.pid)
        used.subtract(before)
        caller.settle(5)
        # Work without a call still shows by the processor that it takes.
        works_on = used.total() / _WATCHED_S > _IDLE_SHARE
        return alive + works_on + caller.under_way, Counter(one.status for one in caller.outcomes)


def growth(server: live.Live, calls: int) -> tuple[float, Counter[int]]:
    """Return by which share memory grew from the first tenth of the calls to the last, and how they ended."""
    with Caller(server.address, 50, vector_calls(500), cancel_each=5) as caller:
        held = []
        for share in (0.1, 0.9):
            goal = len(caller.outcomes) + round(share * calls)
            while len(caller.outcomes) < goal:
                caller.at_once(16, 0.5)
            caller.settle(5)
            time.sleep(_AFTER_S)
            held.append(server.private_bytes())
        return held[1] / held[0] - 1, Counter(one.status for one in caller.outcomes)


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000, help="calls with deadlines")
    parser.add_argument("--cancelled", type=int, default=100_000, help="calls of which each fifth is cancelled")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--repository", type=Path, help="models; one is exported where it holds none")
    options = parser.parse_args()
    models, model = live.repository(options.repository)
    metrics_port = free_port()
    with scratch() as folder:
        fill(folder / "data", SPACE, DIMENSION, options.items)
        sections = {
            "triton": {"model_repository": models.resolve(), "model": model},
            "metrics": {"port": metrics_port},
            f"spaces.{SPACE}": {"dimension": DIMENSION},
        }
        with live.serving(folder, sections) as server:
            alive, hurried = leaked(server, metrics_port, options.calls)
            grown, cancelled = growth(server, options.cancelled)
    versions = machine("grpcio", "numpy")
    rows = [
        Figure(
            "deadline.leaked",
            alive,
            None,
            "calls",
            "lower",
            f"{options.calls:,} calls by picture, {_PER_S} a second, with deadlines of 1 to 50 ms, that ended as "
            f"{dict(sorted(hurried.items()))} by status; {_AFTER_S:g} s after the last; {model}, {versions}",
            bound=0,
        ),
        Figure(
            "cancel.memory_growth",
            grown,
            None,
            "share",
            "lower",
            f"{options.cancelled:,} calls by vector, each fifth cancelled, that ended as "
            f"{dict(sorted(cancelled.items()))} by status; private memory of all processes but Triton's, against that "
            f"after the first tenth; {options.items:,} items, {versions}",
            bound=0.05,
        ),
    ]
    write("deadlines", rows)
    return 0 if all(row.reaches(row.bound) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
