"""A service over factors, as a child process: the real server, catalogue and builder, without a model to embed with.

    python -m benchmarks.rank_service FOLDER [TRITON]

reads external spaces from its standard input, as JSON, and answers until that ends. The Triton at the address TRITON is
asked to score candidates again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.search_worker import NoModel
from twinset_server.app import answering
from twinset_server.catalog import open_alone
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import ExternalSpace, ServerSettings, Settings, StoreSettings, TritonSettings
from twinset_server.ports import Interactions
from twinset_server.ranking import NO_INTERACTIONS
from twinset_server.triton.connection import Connection
from twinset_server.triton.interactions import TritonInteractions


@dataclass(frozen=True, slots=True)
class RankService:
    """A running service: where it listens, and its process."""

    address: str
    pid: int


@contextlib.contextmanager
def serving_ranks(
    folder: Path, spaces: Mapping[str, ExternalSpace] | None = None, *, triton: str | None = None
) -> Iterator[RankService]:
    """Serve the catalogue in `folder`, made where there is none, while the context is open.

    `triton` is the address of one that serves an interaction model.
    """
    command = [sys.executable, "-m", "benchmarks.rank_service", str(folder), *([triton] if triton else [])]
    told = {name: space.model_dump(mode="json") for name, space in (spaces or {}).items()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        yield RankService(process.stdout.readline().strip(), process.pid)
        process.stdin.close()


class _Triton:
    """One connection, which nobody watches."""

    losses = 0

    def __init__(self, address: str) -> None:
        self.connection = Connection(address, "unary")

    def connected(self) -> Connection:
        return self.connection

    def doubt(self, connection: Connection, reason: str) -> None:
        print(f"Triton failed: {reason}", file=sys.stderr)


@contextlib.asynccontextmanager
async def _interactions(address: str | None) -> AsyncIterator[Interactions]:
    if address is None:
        yield NO_INTERACTIONS
        return
    triton = _Triton(address)
    try:
        yield TritonInteractions(triton, TritonSettings())
    finally:
        await triton.connection.close()


async def serve(folder: Path, spaces: Mapping[str, ExternalSpace], triton: str | None) -> None:
    """Answer until standard input ends."""
    settings = Settings(server=ServerSettings(port=0), store=StoreSettings(path=folder))
    async with open_alone(settings.store, spaces) as catalog, _interactions(triton) as interactions:
        held = Folder(folder)
        stop = threading.Event()
        builder = threading.Thread(target=Builder(held.database, held.index, settings.store).run, args=(stop,))
        builder.start()
        try:
            async with answering(catalog, NoModel(), settings, interactions=interactions) as port:
                print(f"127.0.0.1:{port}", flush=True)
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        finally:
            stop.set()
            builder.join()


def main() -> None:
    """Be the service."""
    told = json.loads(sys.stdin.readline())
    spaces = {name: ExternalSpace(**space) for name, space in told.items()}
    uvloop.run(serve(Path(sys.argv[1]), spaces, sys.argv[2] if len(sys.argv) > 2 else None))


if __name__ == "__main__":
    main()
