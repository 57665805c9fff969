"""A server with several workers, to start as a process, whose workers have a catalogue of their own in memory.

    python supervised.py DATA MODELS WORKERS [DRAIN_S]

Supervisor, Triton, ports and gRPC are the real ones. `python supervised.py worker` and `builder` are its children.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvloop

from fakes.catalog import FakeCatalog
from twinset_server.app import answering
from twinset_server.config import ServerSettings, Settings, StoreSettings, TritonSettings
from twinset_server.domain import VISUAL, Space
from twinset_server.errors import DiskFull, OperationCancelled, SpaceNotFound, StartupError
from twinset_server.lineage.serving import Tell
from twinset_server.processes.builder import build
from twinset_server.processes.order import Order
from twinset_server.processes.serving import serving
from twinset_server.processes.signals import until_stopped
from twinset_server.processes.supervisor import Programs
from twinset_server.processes.worker import work
from twinset_server.triton import open_embedder

PROGRAM = Path(__file__)
PROGRAMS = Programs(
    worker=(sys.executable, str(PROGRAM), "worker"),
    builder=(sys.executable, str(PROGRAM), "builder"),
)


@contextlib.asynccontextmanager
async def worker_in_memory(order: Order, tell: Tell) -> AsyncIterator[int]:
    settings = order.settings
    async with open_embedder(settings.triton, sharers=order.place.workers + 1) as embedder:
        filled = embedder.contract.spaces[0]
        visual = Space(VISUAL, filled.dimension, filled.metric, embedder.contract.fingerprint, filled.name)
        async with answering(FakeCatalog([visual]), embedder, settings, order.place) as port:
            yield port


class Counting:
    """Work that does nothing, and rebuilds `visual` in four steps, `endless` never.

    Files `begun` and `cancelled` in its folder tell that it runs, and that it was told to end `endless`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, stop: threading.Event) -> None:
        (self._folder / "begun").touch()
        stop.wait()

    def rebuild(
        self, space: str, progress: Callable[[float], None], *, alone: bool, cancelled: Callable[[], bool]
    ) -> None:
        if space == "fatal":
            os.kill(os.getpid(), signal.SIGKILL)
        if space == "endless":
            progress(0.5)
            while not cancelled():
                time.sleep(0.01)
            (self._folder / "cancelled").touch()
            raise OperationCancelled("cancelled")
        if space == "large":
            raise DiskFull("full")
        if space != VISUAL:
            raise SpaceNotFound(space, [VISUAL])
        for step in range(4):
            progress(step / 4)


@contextlib.contextmanager
def counting(order: Order) -> Iterator[Counting]:
    yield Counting(order.settings.store.path)


@contextlib.asynccontextmanager
async def refusing(order: Order, tell: Tell) -> AsyncIterator[int]:
    raise StartupError(f"worker {order.place.worker} refuses")
    yield 0


def settings(data: Path, models: Path, workers: int, drain_s: float = 5) -> Settings:
    return Settings(
        server=ServerSettings(port=0, workers=workers, drain_s=drain_s),
        triton=TritonSettings(model_repository=models),
        store=StoreSettings(path=data),
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format=f"%(process)d {sys.argv[1]} %(levelname)s %(message)s")
    match sys.argv[1:]:
        case ["worker"]:
            work(worker_in_memory)
        case ["refusing-worker"]:
            work(refusing)
        case ["builder"]:
            build(counting)
        case [data, models, workers, *rest]:
            chosen = settings(Path(data), Path(models), int(workers), *map(float, rest))
            service = serving(chosen, PROGRAMS)
            uvloop.run(until_stopped(service, lambda s: print(s.port, flush=True), drain_s=chosen.server.drain_s))


if __name__ == "__main__":
    main()
