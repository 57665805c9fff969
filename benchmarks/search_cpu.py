"""What a search by vector costs the server beside the least that it could cost, in processor time a call.

One worker holds a clustered mixture, and 32 calls are in flight from this process, in turns of a few seconds: to
`Recommend`, and to a handler of the same process that parses the same request, walks the graph for one query and
returns an answer made in advance (`benchmarks.search_worker`). First with all vectors in the index, then
with 5,000 beside it. Batches go in the same turns: `BatchRecommend` of 16 with 2 in flight, per query. First of all two
workers against one, each turn started anew, by batches of 64 from a client that does nothing but send them.
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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
import numpy as np

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.load import connections
from benchmarks.mixture import Mixture
from twinset import Client, Item, Vector
from twinset.v1 import recommender_pb2
from twinset_server.catalog.folder import hold

SPACE = "bench"
DIMENSION = 512
K = 10
IN_FLIGHT = 32
BATCH = 16
LARGE_BATCH = 64
DELTA = 5000
QUERIES = 2000

_RECOMMENDER = "/twinset.v1.RecommenderService/"

_Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"


@dataclass
class Load:
    """Calls of one kind: what is called, with which messages, how many at a time, and how many queries each holds."""

    method: _Method
    messages: Sequence[bytes]
    in_flight: int
    queries: int = 1
    cpu_us: list[float] = field(default_factory=list)
    walk_us: list[float] = field(default_factory=list)
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
        with hold(scratch):
            figures = [workers_figure(scratch, options), *asyncio.run(measured(scratch, options))]
    finally:
        shutil.rmtree(scratch)
    write("search_cpu", figures)


async def measured(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Return the figures of a worker over `folder`, which gets further items."""
    protocol = f"one worker, {_protocol(options)}"
    with worker(folder) as (address, floor_address):
        async with grpc.aio.insecure_channel(address) as channel, grpc.aio.insecure_channel(floor_address) as floor:
            rows = Mixture(DIMENSION).rows(QUERIES, 77)
            fingerprint = await asyncio.to_thread(_fingerprint, address)
            singles = [request(row, fingerprint) for row in rows]
            single = [one.SerializeToString() for one in singles]
            batches = [
                recommender_pb2.BatchRecommendRequest(requests=singles[at : at + BATCH]).SerializeToString()
                for at in range(0, QUERIES, BATCH)
            ]
            cpu: _Method = floor.unary_unary("/floor/Cpu")
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


async def in_turns(loads: dict[str, Load], cpu: _Method, rounds: int, seconds: float) -> None:
    """Send each load in turn, and keep for each turn the processor time of the server a query, in microseconds."""
    for turn in range(-1, rounds):
        for load in loads.values():
            began = time.monotonic()
            before_ns, walked_before_ns = map(int, (await cpu(b"")).split())
            queries = await load.flood(seconds if turn >= 0 else 1.0)
            after_ns, walked_ns = map(int, (await cpu(b"")).split())
            if turn >= 0:  # the first warms up
                load.cpu_us.append((after_ns - before_ns) / 1000 / queries)
                load.walk_us.append((walked_ns - walked_before_ns) / 1000 / queries)
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

    floor = loads["floor"]
    bound, aim = (1.4, 1.2) if not delta else (1.75, 1.5)
    name = "search.cpu_over_floor" + (f".delta_{delta}" if delta else "")
    yield Figure(name, _over(loads["recommend"].cpu_us, floor.cpu_us), aim, "x", "lower", told, bound)
    if not delta:
        told = f"processor time a query, over that of a walk inside the handler above under its load; {protocol}"
        yield Figure(
            "search.batch16_over_bare", _over(loads["batch"].cpu_us, floor.walk_us), 1.0, "x", "lower", told, 1.15
        )


def _over(ones: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def _protocol(options: argparse.Namespace) -> str:
    return (
        f"{options.items:,} x {DIMENSION}, medians of {options.rounds} interleaved turns of {options.seconds:g} s; "
        + machine("twinset", "usearch", "numpy", "grpcio")
    )


def workers_figure(folder: Path, options: argparse.Namespace) -> Figure:
    """Return how many times as many queries two workers answer as one, asked in large batches."""
    with _workers(folder, 1) as address:
        fingerprint = _fingerprint(address)
    rows = Mixture(DIMENSION).rows(QUERIES, 78)
    messages = [
        recommender_pb2.BatchRecommendRequest(
            requests=[request(row, fingerprint) for row in rows[at : at + LARGE_BATCH]]
        ).SerializeToString()
        for at in range(0, QUERIES - LARGE_BATCH, LARGE_BATCH)
    ]
    per_s: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for count, found in per_s.items():
            with _workers(folder, count) as address:
                found.append(_flood_batches(address, messages, options.seconds))
    print(
        f"workers: { ({count: round(statistics.median(found)) for count, found in per_s.items()}) } a second",
        flush=True,
    )
    told = f"queries a second by batches of {LARGE_BATCH}, 2 in flight a worker; {_protocol(options)}"
    return Figure("search.two_workers_over_one", _over(per_s[2], per_s[1]), 1.9, "x", "higher", told, 1.6)


@contextlib.contextmanager
def _workers(folder: Path, count: int) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        places = ["--workers", str(count), "--worker"]
        address, _ = stack.enter_context(worker(folder, *places, "0"))
        for number in range(1, count):
            stack.enter_context(worker(folder, *places, str(number), "--port", address.rpartition(":")[2]))
        yield address


def _flood_batches(address: str, messages: Sequence[bytes], seconds: float) -> float:
    """Return the queries answered a second, with two calls in flight to each worker."""
    calls: list[Callable[[bytes], bytes]] = []
    for channel in connections(address, 2):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_RECOMMENDER + "BatchRecommend")
        calls.append(call)

    def flood(place: int, ends: float) -> int:
        done = 0
        while time.monotonic() < ends:
            calls[place](messages[(place + done) % len(messages)])
            done += 1
        return done

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(lambda place: flood(place, time.monotonic() + 0.5), range(len(calls))))  # warms up
        began = time.monotonic()
        done = sum(pool.map(lambda place: flood(place, began + seconds), range(len(calls))))
        return done * LARGE_BATCH / (time.monotonic() - began)


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
