import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.change_log import DIMENSION, Database, unit_vectors
from twinset.contract import Metric
from twinset_server.catalog.index.batch import nearest_of_each, plan_of
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.search import search, search_each, search_each_briefly
from twinset_server.catalog.index.views import View
from twinset_server.catalog.index.walks import Query, row_ns
from twinset_server.config import StoreSettings
from twinset_server.domain import SearchResult, Space


@pytest.fixture(autouse=True)
def walks(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if to compare a row cost much, which it does where there are a million.
    monkeypatch.setattr("twinset_server.catalog.index.walks._STEP", 0.001)


@dataclass(frozen=True)
class History:
    """What became of the rows of one space; each item has one vector, and some vectors are those of several items."""

    metric: Metric
    seed: int
    first: int
    second: int
    newest: int
    overwritten: int
    deleted: int


HISTORIES = st.builds(
    History,
    metric=st.sampled_from(Metric),
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(100, 500),
    second=st.sampled_from([0, 0, 80]),
    newest=st.integers(0, 60),
    overwritten=st.integers(0, 60),
    deleted=st.integers(0, 60),
)


def view_after(history: History, folder: Path) -> View:
    rng = np.random.default_rng(history.seed)
    store = StoreSettings(path=folder, fold_at=20, graph_at=10)
    with contextlib.closing(Database(folder / "catalog.sqlite")) as database:
        database.add_space(Space("own", DIMENSION, history.metric, "f" * 64))

        def put(numbers: np.ndarray) -> None:
            vectors = vectors_of(history.metric, rng, len(numbers))
            database.put("own", {f"{number:05d}": row for number, row in zip(numbers.tolist(), vectors, strict=True)})

        def build() -> None:
            Builder(database.path, folder / "index", store).build_now()

        put(np.arange(history.first))
        build()
        if history.second:
            put(np.arange(1000, 1000 + history.second))
            build()
        if history.overwritten:
            put(rng.permutation(history.first)[: history.overwritten])
        if history.deleted:
            database.delete(*rng.permutation(list(database.living["own"]))[: history.deleted].tolist())
        if history.newest:
            put(np.arange(2000, 2000 + history.newest))
        follower = Follower(database.path, folder / "index")
        try:
            follower.start()
            return follower.views.spaces["own"]
        finally:
            follower.close()


def vectors_of(metric: Metric, rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = unit_vectors(rng, count, DIMENSION)
    vectors[count // 2 :: 7] = vectors[0]  # equally far from any query
    return vectors if metric is Metric.COSINE else vectors * rng.uniform(0.5, 2, (count, 1)).astype(np.float32)


def told(results: list[SearchResult]) -> list[object]:
    return [(one.neighbours, one.exact, one.plan, one.sequence) for one in results]


TOGETHER: list[bool] = []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=HISTORIES, k=st.sampled_from([1, 3, 10]), excluded=st.integers(0, 12), count=st.integers(2, 9))
def _random_batches(folder: Path, history: History, k: int, excluded: int, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        view = view_after(history, Path(own))
    rng = np.random.default_rng([history.seed, 1])
    queries = []
    for values in vectors_of(history.metric, rng, count):
        near = search(view, Query(values, 2 * excluded + 1)).neighbours
        queries.append(Query(values, k, frozenset(one.item_id for one in near[:excluded])))
    alone = told([search(view, query) for query in queries])
    others = [queries[0]._replace(k=k + 1), queries[-1]._replace(target_recall=1.0)]
    assert told(search_each(view, [*queries, *others])) == [*alone, *told([search(view, one) for one in others])]
    plan = plan_of(view, queries[0])
    found = nearest_of_each(view, queries, plan) if plan else [None] * count
    TOGETHER.extend(one is not None for one in found)
    assert [one for one, given in zip(alone, found, strict=True) if given] == told([one for one in found if one])


def test_whatever_was_written_queries_together_find_what_each_does_alone(tmp_path: Path) -> None:
    TOGETHER.clear()
    _random_batches(tmp_path)
    assert np.mean(TOGETHER) > 0.8, "too few were answered together to tell"


def test_as_many_are_answered_briefly_as_share_the_work_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_after(History(Metric.COSINE, 1, 400, 0, 0, 0, 0), tmp_path)
    queries = [Query(values, 5) for values in unit_vectors(np.random.default_rng(2), 16, DIMENSION)]
    plan = plan_of(view, queries[0])
    assert plan is not None
    for room, answered in ((12.5, 16), (12, 8), (4, 4), (1.5, 1), (0.5, 0)):
        most_ns = room * plan.cost * row_ns(DIMENSION)
        monkeypatch.setattr("twinset_server.catalog.index.search._BRIEF_NS", most_ns)
        assert len(search_each_briefly(view, queries)) == answered


def test_newest_rows_cost_a_further_query_a_fifth(tmp_path: Path) -> None:
    view = view_after(History(Metric.COSINE, 1, 400, 0, 50, 0, 0), tmp_path)
    plan = plan_of(view, Query(unit_vectors(np.random.default_rng(2), 1, DIMENSION)[0], 5))
    assert plan is not None
    assert plan.cost - plan.cost_of_another == pytest.approx(0.8 * 50 + 0.25 * plan.walks[0][1].cost)
