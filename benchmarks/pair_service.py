"""A service over vectors of pairs, as a child process: the real server and catalogue, without a model to embed with.

    python -m benchmarks.pair_service FOLDER

reads the contract of the model that the vectors are of from its standard input, and answers until that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from numpy.typing import NDArray

from twinset.contract import Metric, ModelContract, OutputContract, SpaceContract
from twinset.images import PicturePipeline
from twinset.known_answer import KnownAnswer
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract
from twinset_server.app import answering
from twinset_server.catalog import hold, open_alone
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import ServerSettings, Settings, StoreSettings
from twinset_server.domain import Float32Array, Int32Array, ItemVector, Receipt, Space, UInt8Array, WritableItem
from twinset_server.errors import EmbedderUnavailable

_BLOCK = 256
SIDES = (PAIR_SOURCE, PAIR_TARGET)

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Items with a vector on both sides of pairs: their ids, and `[N, D]` of each."""

    ids: Sequence[str]
    source: Rows
    target: Rows


class _Embedder:
    """A model that tells its contract and embeds nothing. Implements the port `Embedder`."""

    def __init__(self, contract: ModelContract) -> None:
        self.contract = contract
        self.outputs = {space.output: space.dimension for space in contract.spaces}

    @property
    def is_well(self) -> bool:
        """It embeds nothing."""
        return False

    async def embed(
        self,
        pictures: UInt8Array,
        outputs: Sequence[str],
        *,
        timeout_s: float,
        categories: Int32Array | None = None,
    ) -> Mapping[str, Float32Array]:
        raise EmbedderUnavailable("this service was started without a model")


def contract_of(metric: Metric, dimension: int, pair: PairContract) -> ModelContract:
    """Return the contract of a model whose two outputs compare so."""
    told = f"{metric.value} {dimension} {pair}".encode()
    return ModelContract(
        backbone="pairs",
        fingerprint=hashlib.sha256(told).hexdigest(),
        artifact=hashlib.sha256(b"none").hexdigest(),
        pipeline=PicturePipeline(32, 32),
        spaces=tuple(SpaceContract(name, name, dimension, metric) for name in SIDES),
        known_answer=KnownAnswer(0, 1, 1e-4, {}),
        name="pairs",
        outputs={name: OutputContract(hashlib.sha256(told + name.encode()).hexdigest()) for name in SIDES},
        components=("pairs",),
        pair=pair,
    )


def fill(folder: Path, contract: ModelContract, pieces: Pieces, *, graph_at: int = StoreSettings().graph_at) -> None:
    """Put the pieces into a new catalogue, and build its indexes, with a graph from so many rows on."""
    settings = StoreSettings(path=folder, slow_at=2**31, graph_at=graph_at)
    asyncio.run(_put(settings, contract, pieces))
    with hold(folder) as held:
        Builder(held.database, held.index, settings).build_now()


@contextlib.contextmanager
def serving_pairs(folder: Path, contract: ModelContract) -> Iterator[str]:
    """Serve a filled folder while the context is open; its value is the address."""
    command = [sys.executable, "-m", "benchmarks.pair_service", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(contract.to_parameters()) + "\n")
        process.stdin.flush()
        yield process.stdout.readline().strip()
        process.stdin.close()


async def _put(settings: StoreSettings, contract: ModelContract, pieces: Pieces) -> None:
    async with open_alone(settings, {}, _spaces(contract)) as catalog:
        for start in range(0, len(pieces.ids), _BLOCK):
            block = range(start, min(start + _BLOCK, len(pieces.ids)))
            written = await catalog.write([_item(pieces, number) for number in block])
            for outcome in written.outcomes:
                if not isinstance(outcome, Receipt):
                    raise outcome


def _item(pieces: Pieces, number: int) -> WritableItem:
    vectors = [ItemVector(PAIR_SOURCE, "", pieces.source[number]), ItemVector(PAIR_TARGET, "", pieces.target[number])]
    return WritableItem(pieces.ids[number], "", "", "", {}, (), vectors)


def _spaces(contract: ModelContract) -> list[Space]:
    return [
        Space(one.name, one.dimension, one.metric, contract.fingerprint_of(one.output), contract.model)
        for one in contract.spaces
    ]


async def _serve(folder: Path, contract: ModelContract) -> None:
    store = StoreSettings(path=folder)
    settings = Settings(server=ServerSettings(port=0, drain_s=0), store=store)
    async with (
        open_alone(store, {}, _spaces(contract)) as catalog,
        answering(catalog, _Embedder(contract), settings) as port,
    ):
        print(f"127.0.0.1:{port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), ModelContract.from_parameters(json.loads(sys.stdin.readline()))))
