"""A service over factors, as a child process: the real server, catalogue and builder, without a model to embed with.

    python -m benchmarks.rank_service FOLDER

reads external spaces from its standard input, as JSON, and answers until that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.search_worker import NoModel
from twinset_server.app import answering
from twinset_server.catalog import open_alone
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import ExternalSpace, ServerSettings, Settings, StoreSettings


@dataclass(frozen=True, slots=True)
class RankService:
    """A running service: where it listens, and its process."""

    address: str
    pid: int


@contextlib.contextmanager
def serving_ranks(folder: Path, spaces: Mapping[str, ExternalSpace] | None = None) -> Iterator[RankService]:
    """Serve the catalogue in `folder`, made where there is none, while the context is open."""
    command = [sys.executable, "-m", "benchmarks.rank_service", str(folder)]
    told = {name: space.model_dump(mode="json") for name, space in (spaces or {}).items()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        yield RankService(process.stdout.readline().strip(), process.pid)
        process.stdin.close()


async def serve(folder: Path, spaces: Mapping[str, ExternalSpace]) -> None:
    """Answer until standard input ends."""
    settings = Settings(server=ServerSettings(port=0), store=StoreSettings(path=folder))
    async with open_alone(settings.store, spaces) as catalog:
        held = Folder(folder)
        stop = threading.Event()
        builder = threading.Thread(target=Builder(held.database, held.index, settings.store).run, args=(stop,))
        builder.start()
        try:
            async with answering(catalog, NoModel(), settings) as port:
                print(f"127.0.0.1:{port}", flush=True)
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        finally:
            stop.set()
            builder.join()


def main() -> None:
    """Be the service."""
    told = json.loads(sys.stdin.readline())
    uvloop.run(serve(Path(sys.argv[1]), {name: ExternalSpace(**space) for name, space in told.items()}))


if __name__ == "__main__":
    main()
