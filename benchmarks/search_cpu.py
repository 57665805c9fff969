"""What a search by vector costs the server beside the least that it could cost, in processor time a call.

One worker holds a clustered mixture, and 32 calls are in flight from this process, in turns of a few seconds: to
`Recommend`, and to a handler of the same process that parses the same request, walks the graph for one query and
returns an answer made in advance (`benchmarks.search_worker`). First with all vectors in the index, then
with 5,000 beside it. Batches go in the same turns: `BatchRecommend` of 16 with 2 in flight, per query.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import numpy as np

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.mixture import Mixture
from twinset import Client, Item, Vector
from twinset.v1 import recommender_pb2
from twinset_server.catalog.folder import hold

SPACE = "bench"
DIMENSION = 512
K = 10
IN_FLIGHT = 32
BATCH = 16
DELTA = 5000
QUERIES = 2000

_RECOMMENDER = "/twinset.v1.RecommenderService/"


@dataclass
class Load:
    """Calls of one kind: what is called, with which messages, how many at a time, and how many queries each holds."""

    method: grpc.aio.UnaryUnaryMultiCallable
    messages: Sequence[bytes]
    in_flight: int
    queries: int = 1
    cpu_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)

    async def flood(self, seconds: float) -> int:
        """Keep `in_flight` calls under way for so long, and return how many queries were answered."""
        done = 0
        ends = time.monotonic() + seconds

        async def call(first: int) -> None:
            nonlocal done
            number = first
            while time.monotonic() < ends:
                await self.method(self.messages[number % len(self.messages)])
                done += 1
                number += self.in_flight

        await asyncio.gather(*(call(first) for first in range(self.in_flight)))
        return done * self.queries


def main() -> None:
    """Fill, ask in turns, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-search"), help="where the catalogue is made")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    options = parser.parse_args()
    fill(options.folder, SPACE, DIMENSION, options.items)
    scratch = options.folder.with_name(options.folder.name + "-scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(options.folder, scratch)
    try:
        figures = asyncio.run(measured(scratch, options))
    finally:
        shutil.rmtree(scratch)
    write("search_cpu", figures)


async def measured(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Return the figures of a worker over `folder`, which gets further items."""
    protocol = (
        f"{options.items:,} x {DIMENSION}, one worker, medians of {options.rounds} interleaved turns of "
        f"{options.seconds:g} s; " + machine("twinset", "usearch", "numpy", "grpcio")
    )
    with hold(folder), worker(folder) as (address, floor_address):
        async with grpc.aio.insecure_channel(address) as channel, grpc.aio.insecure_channel(floor_address) as floor:
            rows = Mixture(DIMENSION).rows(QUERIES, 77)
            fingerprint = await asyncio.to_thread(_fingerprint, address)
            singles = [request(row, fingerprint) for row in rows]
            single = [one.SerializeToString() for one in singles]
            batches = [
                recommender_pb2.BatchRecommendRequest(requests=singles[at : at + BATCH]).SerializeToString()
                for at in range(0, QUERIES, BATCH)
            ]
            cpu = floor.unary_unary("/floor/Cpu")
            figures: list[Figure] = []
            for delta in (0, DELTA):
                if delta:
                    await asyncio.to_thread(_put, address, fingerprint)
                loads = {
                    "recommend": Load(channel.unary_unary(_RECOMMENDER + "Recommend"), single, IN_FLIGHT),
                    "floor": Load(floor.unary_unary("/floor/Search"), single, IN_FLIGHT),
                    "batch": Load(channel.unary_unary(_RECOMMENDER + "BatchRecommend"), batches, 2, BATCH),
                }
                await in_turns(loads, cpu, options.rounds, options.seconds)
                for name, load in loads.items():
                    print(
                        f"delta {delta}: {name} {statistics.median(load.cpu_us):.0f} us a query, "
                        f"{statistics.median(load.per_s):.0f} a second",
                        flush=True,
                    )
                figures += _ratios(loads, delta, protocol)
            return figures


async def in_turns(loads: dict[str, Load], cpu: grpc.aio.UnaryUnaryMultiCallable, rounds: int, seconds: float) -> None:
    """Send each load in turn, and keep for each turn the processor time of the server a query, in microseconds."""
    for turn in range(-1, rounds):
        for load in loads.values():
            began, before = time.monotonic(), int(await cpu(b""))
            queries = await load.flood(seconds if turn >= 0 else 1.0)
            spent_ns = int(await cpu(b"")) - before
            if turn >= 0:  # the first warms up
                load.cpu_us.append(spent_ns / 1000 / queries)
                load.per_s.append(queries / (time.monotonic() - began))


@contextlib.contextmanager
def worker(folder: Path, *arguments: str) -> Iterator[tuple[str, str]]:
    """Run a worker over `folder` while the context is open; its value is its address and that of the floor."""
    command = [sys.executable, "-m", "benchmarks.search_worker", str(folder), SPACE, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None  # noqa: S101 - for the type checker
    assert process.stdout is not None  # noqa: S101
    try:
        address, floor = process.stdout.readline().split()
        yield address, floor
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def request(row: np.ndarray, fingerprint: str) -> recommender_pb2.RecommendRequest:
    """Return a request for the nearest of `row`."""
    vector = {"space": SPACE, "fingerprint": fingerprint, "values": row.tobytes()}
    return recommender_pb2.RecommendRequest(k=K, space=SPACE, examples=[{"vector": vector}])


def _ratios(loads: dict[str, Load], delta: int, protocol: str) -> Iterator[Figure]:
    told = f"delta of {delta:,}; {protocol}"

    def over(name: str, base: str) -> float:
        pairs = zip(loads[name].cpu_us, loads[base].cpu_us, strict=True)
        return statistics.median(one / other for one, other in pairs)

    bound, aim = (1.4, 1.2) if not delta else (1.75, 1.5)
    name = "search.cpu_over_floor" + (f".delta_{delta}" if delta else "")
    yield Figure(name, over("recommend", "floor"), aim, "x", "lower", told, bound)


def _fingerprint(address: str) -> str:
    with Client(address) as client:
        return next(space.fingerprint for space in client.catalog().spaces if space.name == SPACE)


def _put(address: str, fingerprint: str) -> None:
    rows = Mixture(DIMENSION).rows(DELTA, 4242)
    items = [Item(f"new/{place:05}", vectors=[Vector(row, SPACE, fingerprint)]) for place, row in enumerate(rows)]
    with Client(address) as client:
        for result in client.put_items(items):
            if result.error is not None:
                raise result.error


if __name__ == "__main__":
    main()
