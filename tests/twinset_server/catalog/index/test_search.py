import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.change_log import DIMENSION, OWN, Database, some, unit_vectors
from twinset.contract import Metric
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.search import scan, search, search_briefly, search_each
from twinset_server.catalog.index.views import View
from twinset_server.catalog.index.walks import Query, row_ns
from twinset_server.config import StoreSettings
from twinset_server.domain import SCAN, SearchMethod, SearchResult, Space


def view_of(database: Database, index: Path) -> View:
    """Return the view of one who starts now; it stays valid when its follower is closed."""
    follower = Follower(database.path, index)
    try:
        follower.start()
        return follower.views.spaces["own"]
    finally:
        follower.close()


def built(database: Database, index: Path, *, fold_at: int = 50) -> Builder:
    builder = Builder(
        database.path, index, StoreSettings(path=index.parent, fold_at=fold_at, graph_at=max(2, fold_at // 2))
    )
    builder.build_now()
    return builder


def ids(result: SearchResult | None) -> list[str]:
    assert result is not None
    return [one.item_id for one in result.neighbours]


def nearest(database: Database, query: np.ndarray, k: int, exclude: frozenset[str] = frozenset()) -> list[str]:
    """Return the nearest items by brute force, in float64."""
    distances = {
        item: min(float(np.square(vector.astype(np.float64) - query).sum()) for _, vector in vectors)
        for item, vectors in database.living.get("own", {}).items()
        if vectors and item not in exclude
    }
    return sorted(distances, key=lambda item: (distances[item], item))[:k]


@pytest.fixture(autouse=True)
def walks(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if to compare a row cost much, which it does where there are a million.
    monkeypatch.setattr("twinset_server.catalog.index.walks._STEP", 0.001)


def query_of(seed: int) -> np.ndarray:
    return unit_vectors(np.random.default_rng([7, seed]), 1, DIMENSION)[0]


def three_segments(database: Database, index: Path) -> View:
    for numbers in (range(2000), range(2000, 2150)):
        database.put("own", some(numbers))
        built(database, index)
    database.put("own", some(range(2150, 2170)))
    view = view_of(database, index)
    assert [segment.rows.length for segment in view.segments] == [2000, 150]
    assert view.delta.length == 20
    return view


def test_a_walk_finds_what_is_near_in_every_segment_and_the_delta(database: Database, index: Path) -> None:
    view = three_segments(database, index)
    hits = 0
    for seed in range(30):
        query = query_of(seed)
        result = search(view, Query(query, 10, frozenset()))
        assert result is not None
        assert not result.exact
        assert result.examined < 2170
        hits += len(set(ids(result)) & set(nearest(database, query, 10)))
    assert hits / 300 >= 0.95
    for item in ("00007", "02100", "02160"):
        assert ids(search(view, Query(database.living["own"][item][0][1], 1, frozenset()))) == [item]


def test_a_scan_is_exact_over_every_segment_and_the_delta(database: Database, index: Path) -> None:
    view = three_segments(database, index)
    for seed in range(20):
        result = scan(view, Query(query_of(seed), 30, frozenset()))
        assert (result.exact, result.examined) == (True, 2170)
        assert ids(result) == nearest(database, query_of(seed), 30)


def test_a_walk_says_how_wide_it_was_and_leaves_exact_answers_to_a_scan(database: Database, index: Path) -> None:
    view = three_segments(database, index)
    result = search(view, Query(query_of(1), 10))
    assert result.plan.method is SearchMethod.WALK
    assert result.plan.width == 32
    assert result.plan.expected_recall is not None
    assert 0.98 <= result.plan.expected_recall <= 1
    assert scan(view, Query(query_of(1), 10)).plan == SCAN
    assert search(view, Query(query_of(1), 10, target_recall=1)).plan == SCAN


def test_a_walk_that_compared_everything_says_that_it_is_exact(database: Database, index: Path) -> None:
    database.put("own", some(range(30)))
    result = search(view_of(database, index), Query(query_of(1), 5, frozenset()))
    assert result is not None
    assert (result.exact, result.examined, ids(result)) == (True, 30, nearest(database, query_of(1), 5))


def test_a_small_segment_that_can_not_give_enough_is_scanned(database: Database, index: Path) -> None:
    database.put("own", some(range(200)))
    built(database, index)
    result = search(view_of(database, index), Query(query_of(1), 60, frozenset()))
    assert result is not None
    assert (result.exact, ids(result)) == (True, nearest(database, query_of(1), 60))


def test_what_would_take_long_is_not_searched_briefly(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put("own", some(range(300)))
    built(database, index)
    database.put("own", some(range(300, 310)))
    view = view_of(database, index)
    monkeypatch.setattr("twinset_server.catalog.index.search._BRIEF_NS", 100 * row_ns(DIMENSION))
    briefly = search_briefly(view, Query(query_of(1), 5))
    assert briefly is not None
    assert not briefly.exact
    assert search_briefly(view, Query(query_of(1), 300)) is None
    assert search_briefly(view, Query(query_of(1), 5, target_recall=1)) is None
    monkeypatch.setattr("twinset_server.catalog.index.search._BRIEF_NS", 9 * row_ns(DIMENSION))
    assert search_briefly(view, Query(query_of(1), 5)) is None


def test_a_walk_is_left_where_comparing_all_costs_less(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    database.put("own", some(range(400)))
    built(database, index)
    result = search(view_of(database, index), Query(query_of(1), 5))
    assert (result.exact, result.plan) == (True, SCAN)


def test_a_deleted_or_overwritten_item_is_never_found_by_its_old_vector(database: Database, index: Path) -> None:
    database.put("own", some(range(400)))
    built(database, index)
    gone, moved = (database.living["own"][item][0][1] for item in ("00010", "00020"))
    database.delete("00010")
    database.put("own", {"00020": -moved})
    view = view_of(database, index)
    assert "00010" not in ids(search(view, Query(gone, 5, frozenset())))
    assert "00020" not in ids(search(view, Query(moved, 5, frozenset())))
    assert ids(search(view, Query(-moved, 1, frozenset()))) == ["00020"]


def test_a_walk_goes_no_farther_than_excluded_items_are_near(database: Database, index: Path) -> None:
    database.put("own", some(range(3000)))
    built(database, index)
    view = view_of(database, index)
    order = nearest(database, query_of(1), 3000)
    widths = []
    for near in (5, 60, 250):
        exclude = frozenset([*order[:near], *order[::-1]][:250])
        result = search(view, Query(query_of(1), 10, exclude))
        assert len(set(ids(result)) & set(nearest(database, query_of(1), 10, exclude))) >= 9
        widths.append(result.plan.width)
    assert widths[0] < widths[1] < widths[2]


def test_k_come_back_when_everything_near_is_dead_or_excluded(database: Database, index: Path) -> None:
    database.put("own", some(range(600)))
    built(database, index)
    near = nearest(database, query_of(1), 160)
    database.delete(*near[:100])
    view = view_of(database, index)
    asked = Query(query_of(1), 20, frozenset(near[100:]))
    result = search(view, asked)
    assert ids(result) == nearest(database, query_of(1), 20, frozenset(near[100:]))


def test_an_item_with_many_pictures_appears_once_by_its_best(database: Database, index: Path) -> None:
    rng = np.random.default_rng(4)
    for number in range(60):
        vectors = unit_vectors(rng, 5, DIMENSION)
        database.put("own", {f"{number:05d}": [(str(place), vector) for place, vector in enumerate(vectors)]})
    built(database, index)
    asked = Query(query_of(2), 10, frozenset())
    view = view_of(database, index)
    result = search(view, asked)
    assert len(set(ids(result))) == 10
    first = result.neighbours[0]
    best = dict(database.living["own"][first.item_id])[first.picture_id]
    assert first.distance == pytest.approx(np.square(best.astype(float) - asked.values).sum() / 2, abs=1e-9)


@pytest.mark.parametrize("metric", Metric)
def test_exact_and_approximate_distances_agree(tmp_path: Path, metric: Metric) -> None:
    with contextlib.closing(Database(tmp_path / "catalog.sqlite")) as database:
        database.add_space(Space("own", DIMENSION, metric, "f" * 64))
        database.put("own", some(range(400)))
        built(database, tmp_path / "index")
        view = view_of(database, tmp_path / "index")
    exact = {one.item_id: one.distance for one in scan(view, Query(query_of(1), 400, frozenset())).neighbours}
    result = search(view, Query(query_of(1), 5, frozenset()))
    assert result is not None
    assert not result.exact
    assert all(exact[one.item_id] == one.distance for one in result.neighbours)


RECALLS: list[float] = []

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 120)),
        st.tuples(st.just("delete"), st.integers(1, 30)),
        st.tuples(st.just("fold"), st.just(0)),
        st.tuples(st.just("merge"), st.just(0)),
        st.tuples(st.just("restart builder"), st.just(0)),
        st.tuples(st.just("cut log"), st.just(0)),
        st.tuples(st.just("search"), st.integers(1, 6)),
    ),
    min_size=5,
    max_size=25,
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, seed=st.integers(0, 2**32 - 1), fold_at=st.sampled_from([1, 30, 150]))
def _random_history(folder: Path, steps: list[tuple[str, int]], seed: int, fold_at: int) -> None:
    # A folder of its own for each run of an example, also when it is run again.
    with tempfile.TemporaryDirectory(dir=folder) as own:
        _live(Path(own), [("put", 200), *steps, ("search", 3), ("fold", 0), ("merge", 0), ("search", 5)], seed, fold_at)


def _live(folder: Path, steps: list[tuple[str, int]], seed: int, fold_at: int) -> None:
    rng = np.random.default_rng(seed)
    store = StoreSettings(path=folder, fold_at=fold_at, graph_at=max(2, fold_at // 2))
    with contextlib.closing(Database(folder / "catalog.sqlite")) as database:
        database.add_space(OWN)
        builder = Builder(database.path, folder / "index", store)
        view = view_of(database, folder / "index")
        for step, amount in steps:
            match step:
                case "put":
                    items = {}
                    for number in rng.integers(400, size=amount):
                        vectors = unit_vectors(rng, int(rng.integers(0, 4)), DIMENSION)
                        items[f"{number:05d}"] = [(str(place), vector) for place, vector in enumerate(vectors)]
                    database.put("own", items)
                case "delete" if database.living["own"]:
                    database.delete(*rng.permutation(list(database.living["own"]))[:amount].tolist())
                case "fold":
                    builder.fold_once()
                case "merge":
                    builder.merge_once()
                case "restart builder":
                    builder = Builder(database.path, folder / "index", store)
                case "cut log":
                    database.cut_log(builder.log_floors().get("own", 0))
                case "search":
                    view = view_of(database, folder / "index")
                    _search(view, database, rng, amount)


def _search(view: View, database: Database, rng: np.random.Generator, k: int) -> None:
    query = unit_vectors(rng, 1, DIMENSION)[0]
    exclude = frozenset(rng.permutation(list(database.living["own"]))[: rng.integers(0, 9)].tolist())
    expected = nearest(database, query, k, exclude)
    asked = Query(query, k, exclude)
    assert ids(scan(view, asked)) == expected
    result = search(view, asked)
    assert len(ids(result)) == len(set(ids(result))) == len(expected)
    assert not exclude & set(ids(result))
    if result.exact:
        assert ids(result) == expected
    else:
        RECALLS.append(len(set(ids(result)) & set(expected)) / len(expected))
    others = [Query(unit_vectors(rng, 1, DIMENSION)[0], k, target_recall=recall) for recall in (0.98, 0.98, 1.0, 1.0)]
    together = search_each(view, [asked, *others])
    assert [(one.neighbours, one.exact, one.plan) for one in together] == [
        (one.neighbours, one.exact, one.plan) for one in (search(view, query) for query in (asked, *others))
    ]


def test_any_history_of_writes_folds_and_restarts_answers_as_brute_force(tmp_path: Path) -> None:
    RECALLS.clear()
    _random_history(tmp_path)
    assert len(RECALLS) > 5, "too few approximate searches to tell"
    assert np.mean(RECALLS) >= 0.95
