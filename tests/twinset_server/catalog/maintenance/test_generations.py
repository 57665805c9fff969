"""A stored vector must be found through the graph that holds its row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes.folder import SPACE, vector
from twinset_server.catalog.index.checksums import FileSum, opened, summed
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.graph import Graph, build
from twinset_server.catalog.index.labels import Texts
from twinset_server.catalog.index.manifest import Generation, OpenGeneration
from twinset_server.catalog.index.segment_files import Segment, open_segment
from twinset_server.catalog.index.segment_graph import GraphBuild
from twinset_server.catalog.index.segment_writer import SegmentWriter
from twinset_server.catalog.maintenance.generations import differing, unreachable
from twinset_server.domain import Dtype, Metric

ROWS = 400


@pytest.fixture(params=[Metric.COSINE, Metric.INNER_PRODUCT])
def segment(tmp_path: Path, request: pytest.FixtureRequest) -> Segment:
    space = replace(SPACE, metric=request.param)
    with SegmentWriter(tmp_path, 1, space) as writer:
        texts = Texts.of([str(place) for place in range(ROWS)])
        vectors = np.stack([vector(place) for place in range(ROWS)])
        writer.add(np.arange(10, 10 + ROWS), vectors, np.arange(ROWS), texts, texts)
        record = writer.finish(
            GraphBuild(
                Dtype.BF16,
                base=None,
                threads=1,
                stopped=lambda: False,
                progress=lambda share: None,
                askers=lambda items: np.empty((0, SPACE.dimension), np.float32),
            )
        )
    return open_segment(tmp_path, record, space)


def generation_of(segment: Segment) -> OpenGeneration:
    generation = Generation(1, SPACE, 1, 10 + ROWS, 1, FileSum(0, ""), (segment.record,))
    return OpenGeneration(generation, (segment,), np.empty(0, np.int64))


STORED = {10 + place: vector(place) for place in range(0, ROWS, 7)}


def test_every_stored_vector_is_found_in_a_sound_graph(segment: Segment) -> None:
    assert unreachable(generation_of(segment), STORED) == []
    assert differing(generation_of(segment), STORED) == []


def test_vectors_that_a_graph_doesn_t_reach_are_named(segment: Segment, tmp_path: Path) -> None:
    path = tmp_path / "of other vectors"
    others = -segment.rows.vectors
    coding = Coding(Dtype.BF16)
    build(path, others, SPACE, coding=coding, base=None, threads=1, stopped=lambda: False, progress=lambda share: None)
    graph = Graph(opened(path, summed(path)), replace(SPACE), ROWS, coding)
    lost = unreachable(generation_of(Segment(segment.record, segment.rows, graph, segment.strays)), STORED)
    assert lost == sorted(STORED)


def test_rows_that_hold_other_vectors_are_named(segment: Segment) -> None:
    assert differing(generation_of(segment), {**STORED, 17: vector(99)}) == [17]
