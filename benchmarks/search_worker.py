"""A worker that answers from a filled folder, and beside it on another port the least that a search can cost.

    python -m benchmarks.search_worker FOLDER SPACE [--workers N --worker I --port P]

`/floor/Search` parses the same request, walks the same graph for one query, and returns an answer made in advance;
`/floor/Cpu` returns the processor time of this process so far, and what of it went into those bare
walks, in nanoseconds. It prints both addresses, and ends when its standard input does.
"""

from __future__ import annotations

import os

# Before numpy is loaded: it starts its threads then, as `twinset-server` does.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")

import argparse
import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import grpc.aio
import numpy as np
import uvloop

from twinset.contract import ModelContract
from twinset.v1 import recommender_pb2
from twinset_server.app import answering
from twinset_server.catalog import Folder, open_catalog
from twinset_server.catalog.index.graph import Graph
from twinset_server.catalog.sqlite_catalog import SqliteCatalog
from twinset_server.config import ServerSettings, Settings, StoreSettings
from twinset_server.domain import DEFAULT_TARGET_RECALL
from twinset_server.errors import EmbedderUnavailable
from twinset_server.rpc.interceptor import Place

K = 10
_SWITCH_S = 0.0005


class NoModel:
    """Stands where the model would: nothing that is measured asks it."""

    @property
    def contract(self) -> ModelContract:
        """No model is there."""
        raise EmbedderUnavailable("this worker has no model")

    @property
    def outputs(self) -> dict[str, int]:
        """It has none."""
        return {}

    @property
    def is_well(self) -> bool:
        """There is none."""
        return False

    async def embed(self, *_: Any, **__: Any) -> NoReturn:
        """Embed nothing."""
        raise EmbedderUnavailable("this worker has no model")


def floor_handlers(graph: Graph, width: int) -> grpc.GenericRpcHandler:
    """Return handlers of the service `floor` over `graph`, by walks of `width`."""
    prepared = recommender_pb2.RecommendResponse(
        recommendations=[
            {"item": {"id": f"item/{place:08}/00"}, "score": 0.5, "distance": 0.5, "picture_id": ""}
            for place in range(K)
        ],
        candidates_examined=1000,
        space="bench",
        fingerprint="f" * 64,
        metric="METRIC_COSINE",
        sequence=100_000,
    ).SerializeToString()

    walked_ns = 0

    async def search(request: recommender_pb2.RecommendRequest, _: Any) -> bytes:
        nonlocal walked_ns
        (example,) = request.examples
        values = np.frombuffer(example.vector.values, "<f4")
        began_ns = time.thread_time_ns()
        graph.nearest(values, request.k, width)
        walked_ns += time.thread_time_ns() - began_ns
        return prepared

    async def cpu(_: bytes, __: Any) -> bytes:
        return f"{time.process_time_ns()} {walked_ns}".encode()

    return grpc.method_handlers_generic_handler(
        "floor",
        {
            "Search": grpc.unary_unary_rpc_method_handler(
                search, request_deserializer=recommender_pb2.RecommendRequest.FromString
            ),
            "Cpu": grpc.unary_unary_rpc_method_handler(cpu),
        },
    )


async def serve(options: argparse.Namespace) -> None:
    """Answer until standard input ends."""
    folder = Folder(options.folder)
    settings = Settings(
        server=ServerSettings(port=options.port), store=StoreSettings(path=options.folder, slow_at=2**31)
    )
    place = Place(options.worker, options.workers)
    async with (
        open_catalog(folder, settings.store) as catalog,
        answering(catalog, NoModel(), settings, place) as port,
    ):
        floor = grpc.aio.server()
        floor.add_generic_rpc_handlers((floor_handlers(*_graph(catalog, options.space)),))
        floor_port = floor.add_insecure_port("127.0.0.1:0")
        await floor.start()
        gc.collect()
        gc.freeze()
        print(f"127.0.0.1:{port} 127.0.0.1:{floor_port}", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await floor.stop(None)


def _graph(catalog: SqliteCatalog, space: str) -> tuple[Graph, int]:
    """Return the graph, and the width of the walks that the service makes by default."""
    (segment,) = catalog._follower.views.spaces[space].segments  # what no caller needs is private
    if segment.graph is None or segment.record.widths is None:
        raise RuntimeError("the index has no graph: fill it with more items")
    return segment.graph, next(width for width, recall in segment.record.widths if recall >= DEFAULT_TARGET_RECALL)


def main() -> None:
    """Be a worker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("space")
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    sys.setswitchinterval(_SWITCH_S)
    uvloop.run(serve(options))


if __name__ == "__main__":
    main()
