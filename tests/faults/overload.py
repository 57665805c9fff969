"""Far more calls than the server can answer: what it still answers, how fast, and how it refuses the rest.

    python -m faults.overload [--seconds 60] [--items 100000] [--connections 1000] [--repository PATH] [--kinds ...]

Vector calls come at twice the capacity, picture calls at ten times. The caller has the last core to itself, and the
server the others. The capacity is what is answered with so many calls under way as a worker has room for in its
gRPC before it cuts any off; full load is calls at that rate, over the same connections.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.mixture import Mixture
from faults import live
from faults.http2 import Caller, Outcome
from faults.http2_frames import Request
from faults.scratch import scratch
from twinset.v1 import embedding_pb2, recommender_pb2

SPACE, DIMENSION = "bench", 512
OK, EXHAUSTED, CANCELLED = (
    code.value[0] for code in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
)
SAMPLES = Path("samples/fashion-mnist")
_SETTLE_S = 5.0
_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Phase:
    """What became of the calls of a while.

    Attributes:
        seconds: how long calls were made.
        answered: seconds that each answered call took.
        refused: seconds that each call took which was refused with RetryInfo.
        cut: how many gRPC cut off before the server looked at them.
        failed: how many ended otherwise.
    """

    seconds: float
    answered: Sequence[float]
    refused: Sequence[float]
    cut: Sequence[float]
    failed: int

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], seconds: float) -> Phase:
        """Return the phase of these calls."""
        answered = [one.took_s for one in outcomes if one.status == OK]
        refused = [one.took_s for one in outcomes if one.status == EXHAUSTED and one.told_when]
        cut = [one.took_s for one in outcomes if one.status == CANCELLED]
        return cls(seconds, answered, refused, cut, len(outcomes) - len(answered) - len(refused) - len(cut))

    @property
    def per_s(self) -> float:
        """Calls answered a second."""
        return len(self.answered) / self.seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """One kind of call: at capacity, at full load, over it, and after it."""

    capacity: Phase
    full: Phase
    over: Phase
    health_s: Sequence[float]
    recovery_s: float
    grown_mb: float

    @property
    def goodput(self) -> float:
        """The share of the capacity that is still answered."""
        return self.over.per_s / self.capacity.per_s

    @property
    def p99_ratio(self) -> float:
        """How many times as long accepted calls take as at full load, at the 99th percentile."""
        return live.percentile(self.over.answered, 0.99) / live.percentile(self.full.answered, 0.99)

    @property
    def refusal_ms(self) -> float:
        """How long it takes to be refused, at the median."""
        return 1e3 * live.percentile([*self.over.refused, *self.over.cut], 0.5)


def vector_calls(count: int = 2000) -> list[Request]:
    """Return recommendations by a vector."""
    return [
        Request.of(
            "/twinset.v1.RecommenderService/Recommend",
            recommender_pb2.RecommendRequest(
                k=10, space=SPACE, examples=[{"vector": {"space": SPACE, "values": row.tobytes()}}]
            ).SerializeToString(),
        )
        for row in Mixture(DIMENSION).rows(count, 77)
    ]


def picture_calls() -> list[Request]:
    """Return embeddings of one picture each."""
    return [
        Request.of(
            "/twinset.v1.EmbeddingService/Embed",
            embedding_pb2.EmbedRequest(pictures=[path.read_bytes()]).SerializeToString(),
        )
        for path in itertools.islice(sorted(SAMPLES.glob("*/*.png")), 200)
    ]


def trial(
    server: live.Live, requests: Sequence[Request], *, times: float, at_once: int, connections: int, seconds: float
) -> Trial:
    """Press the server with `times` its capacity of these calls."""
    with Caller(server.address, connections, requests) as caller:
        caller.at_once(at_once, min(5.0, seconds))
        _take(caller, _SETTLE_S)
        caller.at_once(at_once, seconds / 2)
        capacity = Phase.of(_take(caller, _SETTLE_S), seconds / 2)
        caller.at_rate(capacity.per_s, seconds / 2)
        full = Phase.of(_take(caller, _SETTLE_S), seconds / 2)
        before = server.private_bytes()
        with _peak(server) as peak, _health(server.address, seconds) as health_s:
            caller.at_rate(times * capacity.per_s, seconds)
            ended = time.monotonic()
            # What is still under way is of the overload; what comes now must go well again.
            over = list(caller.outcomes)
            caller.outcomes.clear()
        caller.at_rate(capacity.per_s / 2, _AFTER_S)
        after = _take(caller, _SETTLE_S)
        slow_s = 2 * live.percentile(full.answered, 0.99)
        bad = [one.due_s + one.took_s for one in after if one.status != OK or one.took_s > slow_s]
        return Trial(
            capacity,
            full,
            Phase.of(over, seconds),
            health_s,
            max(0.0, max(bad, default=ended) - ended),
            (max(peak) - before) / 1e6,
        )


class _peak:  # noqa: N801 - a context
    """The private bytes of the server, twice a second while the context is open."""

    def __init__(self, server: live.Live) -> None:
        self._server = server
        self._ended = threading.Event()
        self._seen = [0]
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> list[int]:
        self._thread.start()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            self._seen.append(self._server.private_bytes())


class _health:  # noqa: N801 - a context
    """Seconds that health checks took, made by a process of their own while the context is open."""

    def __init__(self, address: str, seconds: float) -> None:
        command = [sys.executable, "-m", "faults.overload", "--health", address, "--seconds", str(seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._took_s: list[float] = []

    def __enter__(self) -> list[float]:
        return self._took_s

    def __exit__(self, *_: object) -> None:
        text, _ = self._process.communicate()
        self._took_s += json.loads(text)


def check_health(address: str, seconds: float) -> None:
    """Ask for the server's health ten times a second, and print what each answer took."""
    took_s = []
    end = time.monotonic() + seconds
    with grpc.insecure_channel(address) as channel:
        ask = health_pb2_grpc.HealthStub(channel).Check
        ask(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)
        while time.monotonic() < end:
            began = time.monotonic()
            ask(health_pb2.HealthCheckRequest(), timeout=10)
            took_s.append(time.monotonic() - began)
            time.sleep(max(0.0, began + 0.1 - time.monotonic()))
    print(json.dumps(took_s))


def _take(caller: Caller, within_s: float) -> list[Outcome]:
    caller.settle(within_s)
    outcomes, caller.outcomes = caller.outcomes, []
    return outcomes


def figures(trials: dict[str, Trial], protocol: str) -> list[Figure]:
    """Return the rows of all kinds, and above them the worst of each."""
    rows: list[Figure] = []
    for kind, one in trials.items():
        over = Counter(answered=len(one.over.answered), refused=len(one.over.refused), cut_off=len(one.over.cut))
        told = (
            f"{kind}: capacity {one.capacity.per_s:.0f}/s; at full load p99 "
            f"{1e3 * live.percentile(one.full.answered, 0.99):.0f} ms; over it {dict(over)}, otherwise failed "
            f"{one.over.failed}, health p99 {1e3 * live.percentile(one.health_s, 0.99):.0f} ms; {protocol}"
        )
        health_ms = 1e3 * max(one.health_s)
        rows += [
            Figure(f"overload.goodput.{kind}", one.goodput, None, "of capacity", "higher", told, bound=0.8),
            Figure(f"overload.p99_ratio.{kind}", one.p99_ratio, None, "times", "lower", told, bound=2),
            Figure(f"overload.refusal_ms.{kind}", one.refusal_ms, None, "ms", "lower", told, bound=50),
            Figure(f"overload.health_ms.{kind}", health_ms, None, "ms, the longest", "lower", told, bound=100),
            Figure(f"overload.recovery_s.{kind}", one.recovery_s, None, "s", "lower", told, bound=5),
            Figure(f"overload.grown_mb.{kind}", one.grown_mb, None, "MB", "lower", told, bound=512),
            Figure(f"overload.failed.{kind}", one.over.failed, None, "calls", "lower", told, bound=0),
        ]
    return [*_worst(rows), *rows]


def _worst(rows: Sequence[Figure]) -> list[Figure]:
    """Return for each figure the worst over the kinds of calls, under its name without the kind."""
    worst: dict[str, Figure] = {}
    for row in rows:
        name = row.id.rpartition(".")[0]
        found = worst.get(name)
        if found is None or not row.reaches(found.value):
            worst[name] = replace(row, id=name)
    return list(worst.values())


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--health", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--repository", type=Path, help="models; one is exported where it holds none")
    parser.add_argument("--kinds", nargs="+", default=["vectors", "pictures"], choices=["vectors", "pictures"])
    options = parser.parse_args()
    if options.health:
        check_health(options.health, options.seconds)
        return 0
    *servers, own = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {own})
    models, model = live.repository(options.repository)
    asked = {"vectors": (vector_calls, 2, 16), "pictures": (picture_calls, 10, 24)}
    trials: dict[str, Trial] = {}
    with scratch() as folder:
        fill(folder / "data", SPACE, DIMENSION, options.items)
        sections = {
            "triton": {"model_repository": models.resolve(), "model": model},
            f"spaces.{SPACE}": {"dimension": DIMENSION},
        }
        with live.serving(folder, sections, servers or [own]) as server:
            for kind in options.kinds:
                make, times, at_once = asked[kind]
                trials[kind] = trial(
                    server,
                    make(),
                    times=times,
                    at_once=at_once * max(1, len(servers)),
                    connections=options.connections,
                    seconds=options.seconds,
                )
    protocol = (
        f"{options.seconds:g} s over {options.connections} connections of one caller on a core of its own, "
        f"{len(servers)} cores for the server, {options.items:,} items x {DIMENSION}; "
        f"{machine('grpcio', 'usearch', 'numpy')}"
    )
    rows = figures(trials, protocol)
    write("overload", rows)
    return 0 if all(row.reaches(row.bound) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
