import threading

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_server.catalog.index import segment as segment_module
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment import SegmentUnsound, Stopped, build
from twinset_server.domain import Space


def rows_of(vectors: np.ndarray, first_key: int = 1) -> Rows:
    keys = np.arange(first_key, first_key + 2 * len(vectors), 2)
    return Rows.of(keys, vectors.astype(np.float32), [(f"item {key}", "") for key in keys])


def space(metric: Metric, dimension: int) -> Space:
    return Space("visual", dimension, metric, "a" * 64)


def random_rows(count: int, dimension: int, metric: Metric) -> np.ndarray:
    vectors = np.random.default_rng(5).standard_normal((count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric is Metric.COSINE else vectors


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("metric", Metric)
def test_a_walk_finds_what_an_exact_search_finds(metric: Metric, threads: int) -> None:
    vectors = random_rows(1500, 12, metric).astype(np.float32)
    built = build(rows_of(vectors), space(metric, 12), threads=threads, stop=threading.Event())
    hits = 0
    for query in vectors[:50]:
        score = -(vectors @ query) if metric is not Metric.EUCLIDEAN else ((vectors - query) ** 2).sum(axis=1)
        walk = built.nearest(query, 10)
        assert 10 <= walk.compared < 1500
        hits += len(set(walk.places.tolist()) & set(np.argsort(score)[:10].tolist()))
    assert hits / 500 >= 0.95


def test_large_keys_come_back_as_places() -> None:
    vectors = random_rows(40, 6, Metric.COSINE)
    built = build(rows_of(vectors, first_key=2**40), space(Metric.COSINE, 6), threads=1, stop=threading.Event())
    assert built.nearest(vectors[17].astype(np.float32), 1).places.tolist() == [17]


def test_equal_vectors_are_no_reason_to_distrust_a_graph() -> None:
    vectors = np.repeat(random_rows(1, 8, Metric.COSINE), 300, axis=0)
    assert build(rows_of(vectors), space(Metric.COSINE, 8), threads=1, stop=threading.Event()).rows.length == 300


def test_spread_is_the_number_of_vectors_per_item() -> None:
    rows = rows_of(random_rows(6, 4, Metric.COSINE))
    rows.labels[:] = [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0"), ("b", "1"), ("b", "2")]
    assert build(rows, space(Metric.COSINE, 4), threads=1, stop=threading.Event()).spread == 3


def test_a_graph_that_strands_rows_is_built_again_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    build_graph = segment_module._graph
    used = []

    def stranding(rows: Rows, of: Space, threads: int, stop: threading.Event) -> object:
        used.append(threads)
        if threads == 1:
            return build_graph(rows, of, threads, stop)
        half = Rows.of(rows.keys[::2], np.ascontiguousarray(rows.vectors[::2]), rows.labels[::2])
        return build_graph(half, of, threads, stop)

    monkeypatch.setattr(segment_module, "_graph", stranding)
    vectors = random_rows(400, 8, Metric.COSINE).astype(np.float32)
    built = build(rows_of(vectors), space(Metric.COSINE, 8), threads=2, stop=threading.Event())
    assert used == [2, 1]
    assert all(built.nearest(vectors[place], 1).places.tolist() == [place] for place in range(50))


def test_a_graph_that_never_finds_its_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    build_graph = segment_module._graph

    def stranding(rows: Rows, of: Space, threads: int, stop: threading.Event) -> object:
        half = Rows.of(rows.keys[::2], np.ascontiguousarray(rows.vectors[::2]), rows.labels[::2])
        return build_graph(half, of, threads, stop)

    monkeypatch.setattr(segment_module, "_graph", stranding)
    with pytest.raises(SegmentUnsound, match="400 rows"):
        build(rows_of(random_rows(400, 8, Metric.COSINE)), space(Metric.COSINE, 8), threads=1, stop=threading.Event())


def test_a_build_ends_when_the_catalogue_closes() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        build(rows_of(random_rows(40, 8, Metric.COSINE)), space(Metric.COSINE, 8), threads=1, stop=stop)
