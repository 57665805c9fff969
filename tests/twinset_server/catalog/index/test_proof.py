from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import unit_vectors
from fakes.graphs import BF16, built, never, proved, random_rows, space
from twinset.contract import Metric
from twinset_server.catalog.index import proof
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.proof import GraphUnsound, prove
from twinset_server.catalog.index.rows import squares
from twinset_server.domain import Dtype


def test_inner_products_without_askers_are_proved_by_what_tells_rows_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    vectors = np.hstack([unit_vectors(rng, 3000, 16), rng.normal(-7, 0.5, (3000, 1))]).astype(np.float32)
    of = space(Metric.INNER_PRODUCT, 17)
    coding = Coding.of(Dtype.F32, vectors, Metric.INNER_PRODUCT)
    pages = built(tmp_path / "graph", vectors, of, coding=coding)
    alone = proved(pages, vectors, of, coding=coding)
    with_rows = proved(pages, vectors, of, coding=coding, asking=vectors[:100])
    assert alone.widths[-1][0] > with_rows.widths[-1][0]


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


def test_a_walk_is_widened_as_far_as_it_costs_less_than_a_scan() -> None:
    assert list(proof._widths(20)) == [32]
    assert list(proof._widths(600)) == [32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert list(proof._widths(200_000))[-2:] == [2048, 3072]
