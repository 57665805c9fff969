"""Servers and workers that are asked to end while calls come: none that was taken is lost.

    python -m faults.drain [--rounds 50] [--restarts 3] [--items 2000] [--repository PATH]

First SIGTERM to a whole server under calls by vector and by picture, from a caller that sees what HTTP/2 says of each:
a call counts as lost that a handler had seen, or must have, and that wasn't answered. Then SIGTERM to one worker after
another, each when the one before is back, under calls through our client, where any failed call counts.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.mixture import Mixture
from faults import live
from faults.http2 import UNTAKEN, Caller
from faults.http2_frames import Request
from faults.overload import CANCELLED, DIMENSION, EXHAUSTED, OK, SPACE, picture_calls, vector_calls
from faults.scratch import scratch
from twinset import Client, TwinsetError, Vector
from twinset_server.processes.supervisor import GRACE_S

DRAIN_S = 5.0
_WORKERS = 2
_AT_ONCE = 8
_PAUSE_S = 0.02
_SEEN_WITHIN_S = 0.2
"""A call that came so long before SIGTERM is one that a handler has seen."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a server ended.

    Attributes:
        statuses: of all calls.
        lost: calls that a handler had seen, or must have, and that weren't answered.
        unseen: calls that gRPC gave up before a handler saw them, as it does with those that wait when it is to end.
        took_s: seconds from SIGTERM to its end.
    """

    statuses: Counter[int]
    lost: int
    unseen: int
    took_s: float


def end_under_load(folder: Path, sections: live.Sections, requests: Sequence[Request]) -> Ending:
    """Start a server, ask it to end while these calls come, and return what became of them."""
    with live.serving(folder, sections) as server, Caller(server.address, 16, requests) as caller:
        caller.at_once(_AT_ONCE, 1.0)
        caller.settle(5)
        caller.outcomes.clear()
        caller.at_once(_AT_ONCE, 0.5)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        # They go on, as callers do, until there is nobody left to connect to.
        while server.process.poll() is None and caller.reaches():
            caller.at_once(_AT_ONCE, 0.1)
        server.process.wait(timeout=2 * (DRAIN_S + 2 * GRACE_S))
        took_s = time.monotonic() - began
        caller.settle(1)
        unseen = [
            one
            for one in caller.outcomes
            if one.status == CANCELLED and not one.named and one.due_s > began - _SEEN_WITHIN_S
        ]
        statuses = Counter(one.status for one in caller.outcomes)
        # Who was refused was told when to come back, and what has no outcome now never gets one.
        fine = statuses[OK] + statuses[UNTAKEN] + statuses[EXHAUSTED] + len(unseen)
        return Ending(statuses, statuses.total() - fine + caller.under_way, len(unseen), took_s)


@dataclass
class Load:
    """Calls through our client by several threads."""

    address: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self, ended: threading.Event) -> None:
        """Call until `ended` is set."""
        rows = Mixture(DIMENSION).rows(64, 9)
        with Client(self.address, timeout_s=20) as client:
            while not ended.wait(_PAUSE_S):
                row = rows[self.answered % len(rows)]
                try:
                    client.recommend(vector=Vector(row, space=SPACE), space=SPACE)
                    self.answered += 1
                except TwinsetError as error:
                    self.failures.append(str(error))


def restart_workers(folder: Path, sections: live.Sections, rounds: int) -> Load:
    """End one worker after another while calls come through our client, so many times around."""
    with live.serving(folder, sections) as server:
        load, ended = Load(server.address), threading.Event()
        threads = [threading.Thread(target=load.run, args=(ended,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(1)
            for _ in range(rounds):
                for pid in server.pids("twinset_server worker"):
                    workers = len(server.pids("twinset_server worker"))
                    os.kill(pid, signal.SIGTERM)
                    live.until(lambda pid=pid: pid not in server.pids("twinset_server worker"), 30, "it doesn't end")  # type: ignore[misc]
                    live.until(lambda n=workers: len(server.pids("twinset_server worker")) == n, 30, "no other came")  # type: ignore[misc]
                    # It is there; whether it answers, the log of the supervisor knows.
                    time.sleep(3)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        return load


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="servers that are asked to end")
    parser.add_argument("--restarts", type=int, default=3, help="how often each worker is asked to end")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--repository", type=Path, help="models; one is exported where it holds none")
    options = parser.parse_args()
    models, model = live.repository(options.repository)
    with scratch() as folder:
        fill(folder / "data", SPACE, DIMENSION, options.items)
        sections = {
            "server": {"drain_s": DRAIN_S, "workers": _WORKERS},
            "triton": {"model_repository": models.resolve(), "model": model},
            f"spaces.{SPACE}": {"dimension": DIMENSION},
        }
        requests = [one for pair in zip(vector_calls(200), picture_calls(), strict=True) for one in pair]
        endings = []
        for number in range(options.rounds):
            endings.append(end_under_load(folder, sections, requests))
            print(
                f"{number + 1}/{options.rounds}: {dict(endings[-1].statuses)} in {endings[-1].took_s:.1f} s", flush=True
            )
        load = restart_workers(folder, sections, options.restarts)
    statuses = sum((one.statuses for one in endings), Counter[int]())
    lost, unseen = sum(one.lost for one in endings), sum(one.unseen for one in endings)
    slowest_s = max((one.took_s for one in endings), default=0.0)
    for failure in Counter(load.failures).most_common(5):
        print(failure)
    versions = machine("grpcio")
    rows = [
        Figure(
            "drain.lost_calls",
            lost + len(load.failures),
            None,
            "calls",
            "lower",
            f"{options.rounds} servers of {_WORKERS} workers asked to end under 8 calls at a time: {statuses[OK]:,} "
            f"answered, {statuses[UNTAKEN]:,} told that they weren't taken, {unseen} given up by gRPC before a handler "
            f"saw them, {lost} lost; each of {_WORKERS} workers "
            f"asked to end {options.restarts} times under 4 threads of our client: {load.answered:,} answered, "
            f"{len(load.failures)} failed; {versions}",
            bound=0,
        ),
        Figure(
            "drain.exit_s",
            slowest_s,
            None,
            "s, the longest",
            "lower",
            f"from SIGTERM to the end of all processes, server.drain_s {DRAIN_S:g}; {versions}",
            bound=DRAIN_S + 2 * GRACE_S,
        ),
    ]
    write("drain", rows)
    return 0 if all(row.reaches(row.bound) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
