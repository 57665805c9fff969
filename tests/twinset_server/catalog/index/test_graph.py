from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import unit_vectors
from twinset.contract import Metric
from twinset_server.catalog.index import graph as graphs
from twinset_server.catalog.index.checksums import Pages, Stopped, Unsound, opened, summed
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import Graph, GraphUnsound, Proof, build, prove
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


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("metric", Metric)
def test_a_walk_finds_what_an_exact_search_finds(tmp_path: Path, metric: Metric, threads: int) -> None:
    vectors = random_rows(1500, 12, metric)
    of = space(metric, 12)
    coding = Coding.of(Dtype.BF16, vectors, metric)
    pages = built(tmp_path / "graph", vectors, of, coding=coding, threads=threads)
    width, _ = proved(pages, vectors, of, coding=coding).widths[-1]
    graph = Graph(pages, of, 1500, coding)
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
    proof = proved(opened(tmp_path / "graph", summed(tmp_path / "graph")), vectors, of, coding=coding)
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
    width, _ = proved(pages, vectors, of).widths[-1]
    graph = Graph(pages, of, 1200, BF16)
    found = [int(graph.nearest(vectors[place], 1, width).places[0]) for place in range(950, 1050)]
    assert np.mean(np.array(found) == np.arange(950, 1050)) >= 0.99


def test_a_graph_of_fewer_links_is_read_and_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_rows(1200, 12, Metric.EUCLIDEAN)
    of = space(Metric.EUCLIDEAN, 12)
    monkeypatch.setattr(graphs, "_SMALL_CONNECTIVITY", 16)
    before = built(tmp_path / "old", vectors[:1000], of)
    monkeypatch.undo()
    assert proved(before, vectors[:1000], of).widths[-1][1] >= 0.98
    pages = built(tmp_path / "new", vectors, of, base=tmp_path / "old")
    proof = proved(pages, vectors, of)
    assert proof.widths[-1][1] >= 0.98
    assert not len(proof.strays)


def test_inner_products_without_askers_are_proved_by_what_tells_rows_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    vectors = np.hstack([unit_vectors(rng, 3000, 16), rng.normal(-7, 0.5, (3000, 1))]).astype(np.float32)
    of = space(Metric.INNER_PRODUCT, 17)
    coding = Coding.of(Dtype.F32, vectors, Metric.INNER_PRODUCT)
    pages = built(tmp_path / "graph", vectors, of, coding=coding)
    alone = proved(pages, vectors, of, coding=coding)
    with_rows = proved(pages, vectors, of, coding=coding, asking=vectors[:100])
    assert alone.widths[-1][0] > with_rows.widths[-1][0]


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
    assert proved(pages, vectors, of).widths == ((32, 1.0),)


def test_a_graph_that_never_finds_its_rows_is_refused(tmp_path: Path) -> None:
    vectors = random_rows(400, 8, Metric.COSINE)
    of = space(Metric.COSINE, 8)
    pages = built(tmp_path / "graph", np.repeat(vectors[:200], 2, axis=0), of)
    with pytest.raises(GraphUnsound, match="400 rows"):
        proved(pages, vectors, of)


def test_rows_that_are_not_found_are_compared_besides(tmp_path: Path) -> None:
    vectors = random_rows(400, 8, Metric.COSINE)
    of = space(Metric.COSINE, 8)
    others = vectors.copy()
    others[40:48] *= -1
    pages = built(tmp_path / "graph", others, of)
    assert set(range(40, 48)) <= set(proved(pages, vectors, of).strays.tolist())


def test_widths_are_as_great_as_those_need_who_ask(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((6000, 8)).astype(np.float32)
    asking = 6 + rng.standard_normal((100, 8)).astype(np.float32)
    of = space(Metric.EUCLIDEAN, 8)
    pages = built(tmp_path / "graph", vectors, of)
    own, theirs = proved(pages, vectors, of), proved(pages, vectors, of, asking=asking)
    assert own.widths[0][0] == 32
    assert theirs.widths[0][0] > 32 or theirs.widths[0][1] < own.widths[0][1]


def test_a_graph_that_those_who_ask_find_nothing_with_is_refused(tmp_path: Path) -> None:
    vectors = random_rows(600, 8, Metric.EUCLIDEAN)
    of = space(Metric.EUCLIDEAN, 8)
    others = vectors.copy()
    others[300:] += 50  # what is asked for lies there, and isn't found
    pages = built(tmp_path / "graph", vectors, of)
    assert proved(pages, vectors, of).widths[-1][1] > 0.95
    with pytest.raises(GraphUnsound, match="of the neighbours of a sample"):
        prove(pages, others, squares(others), of, BF16, never, others[300:])


@pytest.mark.parametrize("dtype", [Dtype.F32, Dtype.BF16])
def test_factors_whose_bias_is_large_are_found_by_users(tmp_path: Path, dtype: Dtype) -> None:
    rng = np.random.default_rng(4)
    vectors = np.hstack([unit_vectors(rng, 3000, 16), rng.normal(-7, 0.5, (3000, 1))]).astype(np.float32)
    users = np.hstack([4 * unit_vectors(rng, 100, 16), np.ones((100, 1))]).astype(np.float32)
    of = space(Metric.INNER_PRODUCT, 17)
    coding = Coding.of(dtype, vectors, Metric.INNER_PRODUCT)
    graph = Graph(built(tmp_path / "graph", vectors, of, coding=coding), of, 3000, coding)
    hits = sum(
        len(
            {*graph.nearest(user, coding.asked(10), 300).places.tolist()} & {*np.argsort(-vectors @ user)[:10].tolist()}
        )
        for user in users
    )
    assert hits / 1000 >= 0.98


def test_a_row_is_the_first_at_its_own_place_whatever_the_metric(tmp_path: Path) -> None:
    for metric in Metric:
        vectors = random_rows(400, 12, metric)
        of = space(metric, 12)
        coding = Coding.of(Dtype.F32, vectors, metric)
        path = tmp_path / metric.value
        graph = Graph(built(path, vectors, of, coding=coding), of, 400, coding)
        assert [int(graph.nearest_of_row(vectors[place], 3, 64)[0]) for place in range(50)] == list(range(50))


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
