"""Graphs over random rows, built and proved."""

from pathlib import Path

import numpy as np

from fakes.change_log import unit_vectors
from twinset.contract import Metric
from twinset_server.catalog.index.checksums import Pages, opened, summed
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import build
from twinset_server.catalog.index.proof import Proof, prove
from twinset_server.catalog.index.rows import squares
from twinset_server.domain import Dtype, Float32Array, Space

BF16 = Coding(Dtype.BF16)


def never() -> bool:
    return False


def space(metric: Metric, dimension: int) -> Space:
    return Space("visual", dimension, metric, "a" * 64)


def random_rows(count: int, dimension: int, metric: Metric) -> Float32Array:
    rng = np.random.default_rng(5)
    if metric is Metric.COSINE:
        return unit_vectors(rng, count, dimension)
    return rng.standard_normal((count, dimension)).astype(np.float32)


def built(
    path: Path,
    vectors: Float32Array,
    of: Space,
    *,
    coding: Coding = BF16,
    base: Path | None = None,
    threads: int = 1,
) -> Pages:
    build(path, vectors, of, coding=coding, base=base, threads=threads, stopped=never, progress=lambda share: None)
    return opened(path, summed(path))


def proved(
    pages: Pages, vectors: Float32Array, of: Space, *, coding: Coding = BF16, asking: Float32Array | None = None
) -> Proof:
    nobody = np.empty((0, of.dimension), np.float32)
    return prove(pages, vectors, squares(vectors), of, coding, never, nobody if asking is None else asking)
