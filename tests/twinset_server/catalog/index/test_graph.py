from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import unit_vectors
from twinset.contract import Metric
from twinset_server.catalog.index import graph as graphs
from twinset_server.catalog.index.checksums import Pages, Stopped, Unsound, opened, summed
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import Graph, GraphUnsound, build, prove
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


def built(path: Path, vectors: Float32Array, of: Space, *, base: Path | None = None, threads: int = 1) -> Pages:
    build(path, vectors, of, coding=BF16, base=base, threads=threads, stopped=never, progress=lambda share: None)
    return opened(path, summed(path))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("metric", Metric)
def test_a_walk_finds_what_an_exact_search_finds(tmp_path: Path, metric: Metric, threads: int) -> None:
    vectors = random_rows(1500, 12, metric)
    of = space(metric, 12)
    pages = built(tmp_path / "graph", vectors, of, threads=threads)
    width, _ = prove(pages, vectors, squares(vectors), of, BF16, never).widths[-1]
    graph = Graph(pages, of, 1500, BF16)
    hits = 0
    for query in vectors[:50]:
        score = -(vectors @ query) if metric is not Metric.EUCLIDEAN else ((vectors - query) ** 2).sum(axis=1)
        walk = graph.nearest(query, 10, width)
        assert 10 <= walk.compared < 1500
        hits += len(set(walk.places.tolist()) & set(np.argsort(score)[:10].tolist()))
    assert hits / 500 >= 0.95


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("metric", Metric)
def test_each_type_finds_enough_of_what_is_near(tmp_path: Path, metric: Metric, dtype: Dtype) -> None:
    vectors = random_rows(1200, 24, metric)
    of = space(metric, 24)
    coding = Coding.of(dtype, vectors, metric)
    build(
        tmp_path / "graph", vectors, of, coding=coding, base=None, threads=1, stopped=never, progress=lambda share: None
    )
    proof = prove(opened(tmp_path / "graph", summed(tmp_path / "graph")), vectors, squares(vectors), of, coding, never)
    assert proof.widths[-1][1] >= 0.98


def test_int8_is_not_added_to_where_components_would_be_clipped() -> None:
    vectors = random_rows(50, 8, Metric.EUCLIDEAN)
    coding = Coding.of(Dtype.I8, vectors, Metric.EUCLIDEAN)
    assert coding.fits(vectors)
    assert not coding.fits(2 * vectors)
    assert Coding.of(Dtype.BF16, vectors, Metric.EUCLIDEAN).fits(2 * vectors)


def test_a_graph_that_is_added_to_finds_old_and_new_rows(tmp_path: Path) -> None:
    vectors = random_rows(1200, 12, Metric.COSINE)
    of = space(Metric.COSINE, 12)
    built(tmp_path / "old", vectors[:1000], of)
    pages = built(tmp_path / "new", vectors, of, base=tmp_path / "old")
    width, _ = prove(pages, vectors, squares(vectors), of, BF16, never).widths[-1]
    graph = Graph(pages, of, 1200, BF16)
    found = [int(graph.nearest(vectors[place], 1, width).places[0]) for place in range(950, 1050)]
    assert np.mean(np.array(found) == np.arange(950, 1050)) >= 0.99


def test_the_base_of_a_graph_stays_as_it_was(tmp_path: Path) -> None:
    vectors = random_rows(300, 8, Metric.COSINE)
    of = space(Metric.COSINE, 8)
    before = built(tmp_path / "old", vectors[:200], of).tobytes()
    built(tmp_path / "new", vectors, of, base=tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == before


def test_equal_vectors_are_no_reason_to_distrust_a_graph(tmp_path: Path) -> None:
    vectors = np.repeat(random_rows(1, 8, Metric.COSINE), 300, axis=0)
    of = space(Metric.COSINE, 8)
    pages = built(tmp_path / "graph", vectors, of)
    assert prove(pages, vectors, squares(vectors), of, BF16, never).widths == ((32, 1.0),)


def test_a_graph_that_never_finds_its_rows_is_refused(tmp_path: Path) -> None:
    vectors = random_rows(400, 8, Metric.COSINE)
    of = space(Metric.COSINE, 8)
    pages = built(tmp_path / "graph", np.repeat(vectors[:200], 2, axis=0), of)
    with pytest.raises(GraphUnsound, match="400 rows"):
        prove(pages, vectors, squares(vectors), of, BF16, never)


def test_rows_that_are_not_found_are_compared_besides(tmp_path: Path) -> None:
    vectors = random_rows(400, 8, Metric.COSINE)
    of = space(Metric.COSINE, 8)
    others = vectors.copy()
    others[40:48] *= -1
    pages = built(tmp_path / "graph", others, of)
    assert set(range(40, 48)) <= set(prove(pages, vectors, squares(vectors), of, BF16, never).strays.tolist())


def test_a_graph_of_another_space_is_refused(tmp_path: Path) -> None:
    vectors = random_rows(50, 8, Metric.COSINE)
    pages = built(tmp_path / "graph", vectors, space(Metric.COSINE, 8))
    for other, rows in (
        (space(Metric.EUCLIDEAN, 8), 50),
        (space(Metric.COSINE, 16), 50),
        (space(Metric.COSINE, 8), 51),
    ):
        with pytest.raises(Unsound, match="the graph is not one of"):
            Graph(pages, other, rows, BF16)


def test_a_build_ends_when_the_builder_does(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        build(
            tmp_path / "graph",
            random_rows(40, 8, Metric.COSINE),
            space(Metric.COSINE, 8),
            coding=BF16,
            base=None,
            threads=1,
            stopped=lambda: True,
            progress=lambda share: None,
        )
    assert not (tmp_path / "graph").exists()


def test_a_walk_is_widened_as_far_as_it_costs_less_than_a_scan() -> None:
    assert list(graphs._widths(20)) == [32]
    assert list(graphs._widths(600)) == [32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert list(graphs._widths(200_000))[-2:] == [2048, 3072]
