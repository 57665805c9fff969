"""What the catalogue takes and how it answers meanwhile: writes, searches beside them, switches, start, memory.

A folder is filled with 512-dimensional vectors of a clustered mixture, and the real service, two workers and a builder
on this machine, is asked from outside by callers in processes of their own (`benchmarks.load`). In one run:

- searches at a steady rate, alone, then beside durable puts at a steady rate: their 99th percentiles, and the backlog
  (vectors that the index doesn't hold yet), which may not grow;
- the same searches within half a second of a switch of generations, against those between switches;
- a burst of 20,000 puts, and updates of attributes alone with searches beside them;
- the start with a million items in a sound generation, from a warm and from a cold page cache, less the start with
  none, and the private memory of a worker then.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.callers import Caller, watching
from benchmarks.figures import Figure, machine, write
from benchmarks.filling import BLOCK, fill, item_id, synced_us
from benchmarks.memory import anonymous_mb, workers
from benchmarks.mixture import Mixture
from benchmarks.service import Service, export, serving
from twinset import Client, Vector

REPOSITORY = Path("build/model_repository")
SPACE = "bench"
DIMENSION = 512
WORKERS = 2
SEARCHES_PER_S = 85.0
WITHIN_S = 0.5
"""How near to a switch, before and after it, a search counts as one during it."""

console = Console()


Samples = list[tuple[float, float]]
"""Of each search, when it was due, in seconds since 1970, and how long it took from then, in seconds."""


def main() -> None:
    """Fill, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-catalog"), help="where the catalogue is made")
    parser.add_argument("--items", type=int, default=500_000, help="items stored before the puts")
    parser.add_argument("--rate", type=float, default=1000, help="puts a second")
    parser.add_argument("--seconds", type=float, default=120, help="how long puts go on, and searches without them")
    parser.add_argument("--million", type=int, default=1_000_000, help="items at the start that is timed")
    parser.add_argument("--keep", action="store_true", help="go on with the folder of the run before")
    options = parser.parse_args()
    os.environ |= {
        f"TWINSET_SPACES__{SPACE.upper()}__DIMENSION": str(DIMENSION),
        "TWINSET_SERVER__WORKERS": str(WORKERS),
        "TWINSET_ADMIN__PORT": "0",
    }
    model = export("efficientnet_lite0", REPOSITORY)
    if not options.keep:
        shutil.rmtree(options.folder, ignore_errors=True)
    protocol = (
        f"{DIMENSION} dimensions, {WORKERS} workers; fdatasync of 64 KB here takes {synced_us():.0f} us; "
        + machine("twinset", "usearch", "numpy", "grpcio")
    )
    with step(f"{options.items:,} items"):
        fill(options.folder, SPACE, DIMENSION, options.items)
    figures = list(under_load(options, model, protocol))
    write("catalog", figures)
    figures += at_start(options, model, protocol)
    write("catalog", figures)


def under_load(options: argparse.Namespace, model: str, protocol: str) -> Iterator[Figure]:
    """Yield the figures of writes and of searches beside them."""
    with service(options.folder, model) as running:
        with step("searches alone"):
            with Client(running.address) as client:
                vectors = {"space": SPACE, "fingerprint": fingerprint(client), "dimension": DIMENSION}
            paced = {**vectors, "seconds": options.seconds, "rate": SEARCHES_PER_S}
            idle = Caller("searches", running.address, **paced).report()
        with step(f"searches beside {options.rate:,.0f} puts a second"), watching(running.address, SPACE) as watch:
            began = time.time()
            callers = [
                Caller("searches", running.address, **paced),
                Caller(
                    "puts", running.address, **{**paced, "rate": options.rate, "seed": 10_000_000, "prefix": "paced"}
                ),
            ]
            busy, puts = (caller.report() for caller in callers)
        sustained = puts["items"] / options.seconds
        ended = began + options.seconds
        early, late = watch.mean_backlog(began + 15, began + 45), watch.mean_backlog(ended - 30, ended)
        growth, error = watch.backlog_growth(began + 30, ended)
        p99 = {"idle": p99_ms(idle["samples"]), "busy": p99_ms(busy["samples"])}
        during, between = near_switch(busy["samples"], watch.switches)
        told = (
            f"{options.rate:,.0f} puts a second asked for {options.seconds:.0f} s into {options.items:,} items, 64 a "
            f"message, builder on; backlog {early:,.0f} after 30 s and {late:,.0f} at the end (means of 30 s), between "
            f"which it grows by {growth:.1f} +- {error:.1f} a second; "
            f"acknowledgements held back {puts['slowed_s']:.1f} s over all streams; "
            f"{len(busy['samples']):,} searches at {SEARCHES_PER_S:.0f}/s, "
            f"p99 {p99['idle']:.2f} ms alone and {p99['busy']:.2f} ms; {puts['failed']} puts failed; {protocol}"
        )
        yield Figure("put.sustained_per_s", sustained, 3000, "items/s", "higher", told, 1000)
        # The least that the error allows: more than nothing would grow for ever.
        yield Figure("put.backlog_growth", max(0.0, growth - error), 0, "items/s", "lower", told, 0)
        yield Figure("put.reader_p99_ratio", p99["busy"] / p99["idle"], 2.0, "", "lower", told, 2.5)
        yield Figure(
            "switch.p99_ratio",
            p99_ms(during) / p99_ms(between),
            2.0,
            "",
            "lower",
            f"{len(watch.switches)} switches in that run; {len(during):,} searches within {WITHIN_S} s of one, "
            f"{len(between):,} others; {protocol}",
            2.0,
        )
        with step("a burst of 20,000 puts"):
            burst = Caller("puts", running.address, **vectors, count=20_000, seed=20_000_000, prefix="burst").report()
        yield Figure(
            "put.burst_per_s",
            burst["items"] / burst["seconds"],
            6000,
            "items/s",
            "higher",
            f"20,000 puts as fast as they go, {burst['failed']} failed; {protocol}",
            3000,
        )
        with step("updates of attributes"):
            callers = [
                Caller("updates", running.address, seconds=30, items=options.items),
                Caller("searches", running.address, **{**paced, "seconds": 30}),
            ]
            updates, beside = (caller.report() for caller in callers)
        yield Figure(
            "update.attributes_per_s",
            updates["items"] / updates["seconds"],
            10_000,
            "items/s",
            "higher",
            f"one attribute of random items, 64 a message, for 30 s; {updates['failed']} failed; p99 of searches "
            f"beside them {p99_ms(beside['samples']):.2f} ms; {protocol}",
            3000,
        )


def at_start(options: argparse.Namespace, model: str, protocol: str) -> Iterator[Figure]:
    """Yield the figures of the start with a million items."""
    with step(f"{options.million:,} items"):
        fill(options.folder, SPACE, DIMENSION, options.million)
    empty = options.folder.with_name(options.folder.name + "-empty")
    # Once before what is timed: the page cache is warm then.
    started_s(options.folder, model, options.million)
    bare, warm = [], []
    for _ in range(3):
        shutil.rmtree(empty, ignore_errors=True)
        bare.append(started_s(empty, model, 0))
        warm.append(started_s(options.folder, model, options.million))
    drop_cache(options.folder)
    cold = started_s(options.folder, model, options.million)
    apart = statistics.median(bare)
    told = f"from the command to the first right answer, less {apart:.2f} s with no items; median of 3; {protocol}"
    yield Figure("start.million_s", statistics.median(warm) - apart, 1.0, "s", "lower", told, 3.0)
    yield Figure("start.million_cold_s", cold - apart, None, "s", "lower", f"page cache dropped, one start; {told}")
    with service(options.folder, model) as running:
        queries = Mixture(DIMENSION).rows(200, 77)
        with Client(running.address) as client:
            for row in queries:
                client.recommend(vector=Vector(row, SPACE, fingerprint(client)), space=SPACE, k=10)
        private = max(anonymous_mb(pid) for pid in workers(running.process.pid))
    yield Figure(
        "worker.private_mb",
        private,
        150,
        "MB",
        "lower",
        f"Anonymous of smaps_rollup of the larger worker, {options.million:,} items, after 200 searches; {protocol}",
        300,
    )


def p99_ms(samples: Sequence[Sequence[float]]) -> float:
    """Return the 99th percentile of the samples' latencies in milliseconds."""
    return float(np.percentile([latency for _, latency in samples], 99)) * 1000


def near_switch(samples: Samples, switches: Sequence[float]) -> tuple[Samples, Samples]:
    """Return the samples near a switch, and the others."""
    near: Samples = []
    far: Samples = []
    for due, latency in samples:
        is_near = any(abs(due - switch) <= WITHIN_S for switch in switches)
        (near if is_near else far).append((due, latency))
    return near, far


def started_s(folder: Path, model: str, items: int) -> float:
    """Start the service, ask for a stored vector, and return the seconds from the command to the right answer."""
    began = time.monotonic()
    with service(folder, model) as running, Client(running.address) as client:
        if items:
            row, name = Mixture(DIMENSION).rows(BLOCK, 0)[0], item_id(0)
            [found] = client.recommend(vector=Vector(row, SPACE, fingerprint(client)), space=SPACE, k=1)
            if found.item.id != name:
                sys.exit(f"catalog: asked for the vector of {name}, and {found.item.id} was nearest")
        else:
            client.catalog()
        return time.monotonic() - began


def fingerprint(client: Client) -> str:
    """Return the fingerprint of the space that is measured."""
    return next(space.fingerprint for space in client.catalog().spaces if space.name == SPACE)


def drop_cache(folder: Path) -> None:
    """Have the kernel forget what it holds of the folder's files."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def service(folder: Path, model: str) -> AbstractContextManager[Service]:
    """Serve `folder` while the context is open."""
    return serving(repository=REPOSITORY, model=model, data=folder, log=Path("build/bench-catalog.log"))


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    began = time.monotonic()
    console.print(f"{name} ...", highlight=False)
    yield
    console.print(f"  {time.monotonic() - began:.0f} s", highlight=False)


if __name__ == "__main__":
    main()
