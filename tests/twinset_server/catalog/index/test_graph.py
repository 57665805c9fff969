from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import unit_vectors
from fakes.graphs import BF16, built, never, proved, random_rows, space
from twinset.contract import Metric
from twinset_server.catalog.index import graph as graphs
from twinset_server.catalog.index.checksums import Stopped, Unsound, opened, summed
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import Graph, build
from twinset_server.domain import Dtype


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


def test_the_base_of_a_graph_stays_as_it_was(tmp_path: Path) -> None:
    vectors = random_rows(300, 8, Metric.COSINE)
    of = space(Metric.COSINE, 8)
    before = built(tmp_path / "old", vectors[:200], of).tobytes()
    built(tmp_path / "new", vectors, of, base=tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == before


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
