import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.change_log import DIMENSION, Database, some
from twinset.contract import Metric
from twinset_server.catalog.columns import writing
from twinset_server.catalog.index import column_files, graph, manifest
from twinset_server.catalog.index import follower as follower_module
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.following import SpaceState
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.index.rows import Delta
from twinset_server.catalog.index.search import scan, search
from twinset_server.catalog.index.views import View
from twinset_server.catalog.index.walks import Query
from twinset_server.catalog.store.log import ItemRow
from twinset_server.config import StoreSettings
from twinset_server.domain import Operator, Space
from twinset_server.errors import StoreUnavailable


def builder_of(database: Database, index: Path, *, fold_at: int = 50) -> Builder:
    return Builder(database.path, index, StoreSettings(path=index.parent, fold_at=fold_at, graph_at=25))


@contextlib.contextmanager
def following(database: Database, index: Path, *, wait_s: float = 0.0, bulk: int = 20_000) -> Iterator[Follower]:
    follower = Follower(database.path, index, builder_wait_s=wait_s, bulk=bulk)
    try:
        follower.start()
        yield follower
    finally:
        follower.close()


def own(follower: Follower) -> View:
    return follower.views.spaces["own"]


def found(view: View) -> dict[str, int]:
    """Return the items that an exact search of everything finds, each with how often it does."""
    result = scan(view, Query(next(iter(some(range(1)).values())), view.live + 10, frozenset()))
    items: dict[str, int] = {}
    for neighbour in result.neighbours:
        items[neighbour.item_id] = items.get(neighbour.item_id, 0) + 1
    return items


def assert_sees(view: View, database: Database) -> None:
    expected = database.living.get("own", {})
    assert view.live == len(expected)
    query = next(iter(some(range(1), seed=9).values()))
    result = scan(view, Query(query, len(expected) + 10, frozenset()))
    distances = {
        item: float(np.square(vectors[0][1].astype(float) - query).sum()) / 2 for item, vectors in expected.items()
    }
    assert {one.item_id for one in result.neighbours} == expected.keys()
    assert all(abs(one.distance - distances[one.item_id]) < 1e-9 for one in result.neighbours)


async def until_generation(follower: Follower, number: int) -> View:
    async with asyncio.timeout(30):
        while own(follower).generation != number:
            await asyncio.sleep(0.002)
    return own(follower)


def test_an_empty_catalogue_has_its_spaces(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        assert (own(follower).live, own(follower).generation, follower.views.sequence) == (0, 0, 0)


def test_without_generations_all_comes_from_the_log(database: Database, index: Path) -> None:
    database.put("own", some(range(30)))
    database.delete("00003")
    with following(database, index) as follower:
        assert (own(follower).delta.length, own(follower).segments) == (29, ())
        assert_sees(own(follower), database)


def test_a_start_reads_the_generation_and_what_came_after(database: Database, index: Path) -> None:
    database.put("own", some(range(200)))
    builder_of(database, index).build_now()
    database.put("own", {**some(range(200, 210)), **some(range(5), seed=1)})
    database.delete("00100")
    with following(database, index) as follower:
        view = own(follower)
        assert (view.generation, view.delta.length, view.segments[0].rows.length) == (2, 15, 200)
        assert_sees(view, database)


def test_a_generation_without_segments_leaves_all_to_the_log(database: Database, index: Path) -> None:
    database.put("own", some(range(10)))
    database.skip(60_000)
    builder_of(database, index).fold_once()
    database.delete("00001")
    with following(database, index) as follower:
        assert (own(follower).generation, own(follower).delta.length) == (1, 9)
        assert_sees(own(follower), database)


async def test_a_commit_is_known_at_once_and_seen_after_catching_up(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        for step in range(50):
            last = database.put("own", some(range(step, step + 3), seed=step))
            if step % 5 == 4:
                last = database.delete(f"{step:05d}")
            if follower.behind():
                await follower.catch_up()
            assert follower.views.sequence == last
            assert not follower.behind()
            assert_sees(own(follower), database)


async def test_a_commit_that_touches_no_vector_is_followed(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        database.skip(7)
        if follower.behind():
            await follower.catch_up()
        assert follower.views.sequence == 7


async def test_changes_are_taken_in_without_being_asked_for(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        last = database.put("own", some(range(600)))
        async with asyncio.timeout(10):
            while follower.views.sequence < last:
                await asyncio.sleep(0.002)
        assert_sees(own(follower), database)
        assert follower.delta_length == 600


async def test_old_views_stay_as_they_were(database: Database, index: Path) -> None:
    database.put("own", some(range(200)))
    builder = builder_of(database, index)
    builder.build_now()
    with following(database, index) as follower:
        before = own(follower)
        database.delete("00000", "00150")
        database.put("own", some(range(10, 100), seed=1))
        await follower.catch_up()
        builder.build_now()
        await until_generation(follower, max(manifest.numbers(index / "1")))
        assert len(found(before)) == before.live == 200
        assert len(found(own(follower))) == own(follower).live == 198


async def test_a_new_generation_takes_the_place_of_the_delta(database: Database, index: Path) -> None:
    builder = builder_of(database, index)
    with following(database, index) as follower:
        database.put("own", some(range(120)))
        builder.fold_once()
        database.delete("00001")
        database.put("own", some(range(120, 130)))
        await follower.catch_up()
        view = await until_generation(follower, 1)
        assert (view.delta.length, view.segments[0].rows.length) == (10, 120)
        assert_sees(view, database)


async def test_deaths_between_a_generation_and_its_use_are_not_lost(database: Database, index: Path) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(1000)))
    builder.fold_once()
    with following(database, index) as follower:
        for start in range(1000, 1300, 100):
            database.put("own", {**some(range(start, start + 100)), **some(range(start - 900, start - 890), seed=1)})
            builder.build_now()
            database.delete(f"{start:05d}", f"{start - 700:05d}")
            await follower.catch_up()
        await until_generation(follower, max(manifest.numbers(index / "1")))
        await follower.catch_up()
        assert_sees(own(follower), database)


async def test_a_damaged_new_generation_is_left_alone(
    database: Database, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(100)))
    builder.build_now()
    with following(database, index) as follower:
        monkey = manifest.manifest_path(index / "1", 3)
        monkey.write_bytes(b"{}")
        async with asyncio.timeout(10):
            while "generation 3 can't be used" not in caplog.text:
                await asyncio.sleep(0.01)
        database.put("own", some(range(100, 120)))
        await follower.catch_up()
        assert own(follower).generation == 2
        assert_sees(own(follower), database)


async def test_who_slept_while_the_log_was_cut_begins_anew(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(300)))
    builder.build_now()
    monkeypatch.setattr(follower_module, "_TICK_S", 1000)
    with following(database, index) as follower:
        database.delete("00001", "00002")
        for start in (300, 400):
            database.put("own", some(range(start, start + 60)))
            builder.build_now()
        database.cut_log(builder.log_floors()["own"])
        database.delete("00301")
        assert follower.behind()
        await follower.catch_up()
        assert_sees(own(follower), database)
    assert "log was cut" in caplog.text


def publish_and_cut(database: Database, builder: Builder) -> None:
    """Let two generations pass, with deaths between them that the log then lacks."""
    numbers = range(1000 + len(database.living["own"]), 1060 + len(database.living["own"]))
    for start in (numbers.start, numbers.start + 100):
        database.delete(next(iter(database.living["own"])))
        database.put("own", some(range(start, start + 60)))
        builder.build_now()
    database.cut_log(builder.log_floors()["own"])


def test_a_log_that_is_cut_while_a_follower_starts_is_noticed(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(300)))
    builder.build_now()
    open_newest, calls = SpaceState.open_newest, []

    def slow(self: SpaceState, stopped: Callable[[], bool]) -> OpenGeneration | None:
        found = open_newest(self, stopped)
        calls.append(found)
        if len(calls) == 1:
            publish_and_cut(database, builder)
        return found

    monkeypatch.setattr(SpaceState, "open_newest", slow)
    with following(database, index) as follower:
        assert_sees(own(follower), database)
    assert len(calls) == 2


async def test_a_generation_that_took_too_long_to_open_is_passed_over(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(300)))
    builder.build_now()
    open_newer, calls = SpaceState.open_newer, []

    def slow(self: SpaceState, stopped: Callable[[], bool]) -> OpenGeneration | None:
        found = open_newer(self, stopped)
        calls.append(found)
        if len(calls) == 1:
            publish_and_cut(database, builder)
        return found

    monkeypatch.setattr(SpaceState, "open_newer", slow)
    with following(database, index) as follower:
        database.put("own", some(range(300, 700)))
        builder.build_now()
        async with asyncio.timeout(30):
            while len(calls) < 2 or own(follower).generation != max(manifest.numbers(index / "1")):
                await asyncio.sleep(0.005)
        await follower.catch_up()
        assert_sees(own(follower), database)


async def test_generations_are_taken_while_commits_never_pause(database: Database, index: Path) -> None:
    builder = builder_of(database, index)
    with following(database, index) as follower:
        database.put("own", some(range(100)))
        builder.build_now()
        async with asyncio.timeout(30):
            while own(follower).generation != 2:
                database.skip(1)
                await follower.catch_up()


async def test_a_log_that_was_cut_behind_us_is_no_reason_to_begin_anew(
    database: Database, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(300)))
    builder.build_now()
    with following(database, index) as follower:
        for start in (300, 400):
            database.put("own", some(range(start, start + 60)))
            database.delete(f"{start:05d}")
            builder.build_now()
            await follower.catch_up()
        database.cut_log(builder.log_floors()["own"])
        await follower.catch_up()
        assert_sees(own(follower), database)
    assert "log was cut" not in caplog.text


async def test_a_space_that_is_declared_later_appears(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        database.add_space(Space("late", 4, Metric.EUCLIDEAN, "e" * 64))
        database.put("late", {"a": np.array([1, 2, 3, 4], np.float32)})
        assert follower.behind()
        await follower.catch_up()
        assert follower.views.spaces["late"].live == 1


async def test_a_delta_that_is_mostly_dead_is_compacted(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        for seed in range(15):
            database.put("own", some(range(200), seed=seed))
            await follower.catch_up()
        assert own(follower).delta.length < 2000
        assert_sees(own(follower), database)


def test_many_vectors_without_an_index_wait_for_the_builder(database: Database, index: Path) -> None:
    database.put("own", some(range(200)))
    builder = threading.Thread(target=builder_of(database, index).build_now)
    builder.start()
    try:
        with following(database, index, wait_s=30, bulk=100) as follower:
            assert own(follower).generation == 1
            assert_sees(own(follower), database)
    finally:
        builder.join()


def test_a_builder_that_never_comes_is_not_waited_for_without_end(
    database: Database, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database.put("own", some(range(200)))
    with following(database, index, wait_s=0.1, bulk=100) as follower:
        assert_sees(own(follower), database)
    assert "searches are slow until the builder" in caplog.text


async def test_many_vectors_of_one_commit_come_with_a_generation_and_all_at_once(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put("own", some(range(300)))
    builder = builder_of(database, index)
    builder.build_now()
    lengths: list[int] = []
    plus = Delta.plus

    def noting(delta: Delta, *columns: Any) -> Delta:
        lengths.append(delta.length)
        return plus(delta, *columns)

    with following(database, index, wait_s=60, bulk=100) as follower:
        before = follower.views.sequence
        monkeypatch.setattr(Delta, "plus", noting)
        database.put("own", {**some(range(200, 500), seed=1), **some(range(900, 950))})
        database.delete("00003")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follower.catch_up(), 0.3)
        assert (follower.views.sequence, own(follower).live) == (before, 300)
        waiting = asyncio.ensure_future(follower.catch_up())
        await asyncio.to_thread(builder.build_now)
        last = database.put("own", some(range(950, 960)))
        await waiting
        if follower.behind():
            await follower.catch_up()
        assert follower.views.sequence == last
        assert_sees(own(follower), database)
        assert own(follower).delta.length == 10
    assert max(lengths, default=0) <= 100


async def test_many_vectors_of_one_commit_go_into_memory_where_no_builder_comes(
    database: Database, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with following(database, index, wait_s=0.2, bulk=100) as follower:
        database.put("own", some(range(300)))
        await follower.catch_up()
        assert own(follower).delta.length == 300
        assert_sees(own(follower), database)
    assert "the builder didn't write the index of own" in caplog.text


async def test_a_space_that_gets_few_vectors_is_seen_whole_beside_one_that_gets_many(
    database: Database, index: Path
) -> None:
    database.add_space(Space("late", 4, Metric.EUCLIDEAN, "e" * 64))
    builder = builder_of(database, index)
    with following(database, index, wait_s=60, bulk=100) as follower:
        database.put("late", {"a": np.array([1, 2, 3, 4], np.float32)})
        database.put("own", some(range(300)))
        database.put("late", {"b": np.array([1, 2, 3, 5], np.float32)})
        await asyncio.to_thread(builder.fold_once)
        await follower.catch_up()
        assert follower.views.spaces["late"].live == 2
        assert own(follower).delta.length == 0
        assert_sees(own(follower), database)


async def test_a_database_that_fails_is_told_to_who_waits_and_tried_again(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with following(database, index) as follower:
        with monkeypatch.context() as patch:

            def broken(self: object) -> None:
                raise OSError("the disk is gone")

            patch.setattr(follower_module.ChangeLog, "spaces", broken)
            with pytest.raises(StoreUnavailable):
                await follower.catch_up()
        database.put("own", some(range(3)))
        await follower.catch_up()
        assert_sees(own(follower), database)
    assert "could not be read" in caplog.text


def fails_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the next call of a method of `SpaceState` raise, as a read error would."""
    method = getattr(SpaceState, name)

    def broken(self: SpaceState, *_: object) -> None:
        monkeypatch.setattr(SpaceState, name, method)
        raise OSError("the disk is gone")

    monkeypatch.setattr(SpaceState, name, broken)


async def test_a_space_whose_rows_could_not_be_read_begins_once_more(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "_TICK_S", 1000)
    database.put("own", some(range(100)))
    builder_of(database, index).build_now()
    with following(database, index) as follower:
        database.put("own", some(range(100, 120)))
        await follower.catch_up()
        state = follower._states["own"]
        # As where the log was cut.
        state.is_new = True
        fails_once(monkeypatch, "add")
        with pytest.raises(StoreUnavailable):
            await follower.catch_up()
        await follower.catch_up()
        assert not state.is_new
        assert_sees(own(follower), database)


async def test_a_generation_is_taken_though_the_first_step_with_it_failed(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put("own", some(range(100)))
    with following(database, index) as follower:
        fails_once(monkeypatch, "switch")
        builder_of(database, index).build_now()
        await until_generation(follower, manifest.numbers(index / "1")[0])
        assert_sees(own(follower), database)


async def test_a_database_that_fails_at_a_look_is_told_as_unavailable(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        follower._watch.close()
        with pytest.raises(StoreUnavailable, match="database failed"):
            follower.behind()


async def test_who_waits_is_told_when_the_follower_closes(database: Database, index: Path) -> None:
    with following(database, index) as follower:
        pass
    with pytest.raises(StoreUnavailable):
        await follower.catch_up()


async def test_searches_during_writes_folds_and_switches_see_every_living_item_once(
    database: Database, index: Path
) -> None:
    """One writer overwrites what another process's builder folds; no search may miss an item or see one twice."""
    database.put("own", some(range(60)))
    builder = builder_of(database, index, fold_at=40)
    stop, failed = threading.Event(), []

    def write() -> None:
        rounds = 0
        with contextlib.closing(Database(database.path)) as writer:
            while not stop.is_set():
                rounds += 1
                stop.wait(0.005)
                start = 20 * (rounds % 3)
                writer.put("own", some(range(start, start + 20), seed=rounds))

    def build() -> None:
        try:
            while not stop.is_set():
                builder.fold_once()
                builder.merge_once()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write), threading.Thread(target=build)]
    with following(database, index) as follower:
        for thread in threads:
            thread.start()
        try:
            generations = set()
            async with asyncio.timeout(60):
                while len(generations) < 4:
                    if follower.behind():
                        await follower.catch_up()
                    view = own(follower)
                    generations.add(view.generation)
                    assert view.live == 60
                    assert len(found(view)) == 60
                    query = Query(next(iter(some(range(1), seed=3).values())), 5, frozenset())
                    walked = search(view, query)
                    assert len(walked.neighbours) == 5
                    await asyncio.sleep(0)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not failed


def truth_of_rows(follower: Follower, value: str) -> dict[str, bool]:
    """Return by item whether each of its rows that live is told to have `value` in `attributes.v`."""
    view, columns = own(follower), follower.views.columns
    column = columns.fields["attributes.v"]
    mask = column.truth(column.values.select(Operator.EQUAL, value, len(column.values)))
    found: dict[str, bool] = {}
    for rows, places in zip([*(segment.rows for segment in view.segments), view.delta], view.places, strict=True):
        truths = places.truth(mask)
        assert len(truths) == rows.length
        for place in np.flatnonzero(rows.alive(view.sequence)).tolist():
            item = rows.labels[place][0]
            assert found.setdefault(item, bool(truths[place])) == bool(truths[place])
    return found


async def test_rows_of_segments_and_delta_have_the_attributes_of_their_items(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_LEAST_GONE", 40)
    expected: dict[str, bool] = {}

    def put(numbers: range, seed: int, value: str) -> None:
        vectors = {item: [("a", one), ("b", -one)] for item, one in some(numbers, seed).items()}
        database.put("own", vectors)
        database.set_attributes({item: {"v": value} for item in vectors})
        expected.update(dict.fromkeys(vectors, value == "yes"))

    builder = builder_of(database, index)
    put(range(100), 0, "yes")
    put(range(60, 160), 1, "no")
    with following(database, index) as follower:
        assert truth_of_rows(follower, "yes") == expected
        builder.build_now()
        await until_generation(follower, 2)
        layout = follower.views.columns.layout
        for step in range(4):
            put(range(30 * step, 30 * step + 20), 2 + step, "no" if step % 2 else "yes")
            gone = [f"{number:05d}" for number in range(100 + 10 * step, 110 + 10 * step)]
            database.delete(*gone)
            for item in gone:
                expected.pop(item, None)
            database.set_attributes({"00003": {"v": "yes"}, "00155": {"v": "yes"}})
            expected.update({"00003": True, "00155": True})
            await follower.catch_up()
            assert truth_of_rows(follower, "yes") == expected
            if step == 2:
                builder.build_now()
        gone = [item for item in expected if item > "00020"]
        database.delete(*gone)
        await follower.catch_up()
        assert follower.views.columns.layout != layout
        assert truth_of_rows(follower, "yes") == {item: one for item, one in expected.items() if item not in gone}
    with following(database, index) as follower:
        assert truth_of_rows(follower, "yes") == {item: one for item, one in expected.items() if item not in gone}


def test_a_generation_of_an_older_format_is_built_anew_from_the_database(database: Database, index: Path) -> None:
    database.put("own", some(range(100)))
    builder_of(database, index).build_now()
    for path in (index / "1").glob("generation-*.json"):
        document = json.loads(path.read_text())
        del document["checksum"]
        path.write_bytes(manifest.sealed({**document, "format": 1}))
    with following(database, index) as follower:
        assert (own(follower).generation, own(follower).delta.length) == (0, 100)
        assert_sees(own(follower), database)
    builder_of(database, index).build_now()
    with following(database, index) as follower:
        assert (own(follower).generation, own(follower).delta.length) == (4, 0)
        assert_sees(own(follower), database)


def as_format_2(folder: Path) -> None:
    """Write the manifest of the space in `folder` whose segments have graphs as it was before these had centres."""
    before, path = sorted(folder.glob("generation-*.json"))
    before.unlink()
    document = json.loads(path.read_text())
    del document["checksum"]
    for record in document["segments"]:
        del record["coding"]["centre"]
    path.write_bytes(manifest.sealed({**document, "format": 2}))


def test_a_generation_of_format_2_still_serves(database: Database, index: Path) -> None:
    database.put("own", some(range(100)))
    builder_of(database, index).build_now()
    as_format_2(index / "1")
    with following(database, index) as follower:
        assert (own(follower).generation, own(follower).delta.length) == (2, 0)
        assert own(follower).segments[0].graph is not None
        assert_sees(own(follower), database)


def test_a_graph_of_inner_products_of_format_2_is_built_anew(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add_space(Space("products", DIMENSION, Metric.INNER_PRODUCT, "a" * 64))
    database.put("products", some(range(100)))
    with monkeypatch.context() as before:
        before.setitem(graph._METRICS, Metric.INNER_PRODUCT, "ip")
        builder_of(database, index).build_now()
    as_format_2(index / "2")
    with following(database, index) as follower:
        view = follower.views.spaces["products"]
        assert (view.generation, view.delta.length) == (0, 100)
    builder_of(database, index).build_now()
    with following(database, index) as follower:
        view = follower.views.spaces["products"]
        assert (view.generation, view.delta.length) == (4, 0)
        assert view.segments[0].graph is not None


def keys_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the key of each item whose attributes are read from the database."""
    keys: list[int] = []
    documents = writing._documents

    def noting(rows: Sequence[ItemRow]) -> list[dict[str, object]]:
        keys.extend(key for key, _, _ in rows)
        return documents(rows)

    monkeypatch.setattr(writing, "_documents", noting)
    return keys


def test_a_start_reads_the_snapshot_of_the_columns_and_what_came_after(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put("own", some(range(300)))
    database.set_attributes({f"{number:05d}": {"v": "yes"} for number in range(300)})
    builder_of(database, index).build_now()
    database.set_attributes({"00007": {"v": "no"}, "00009": {}})
    database.put("own", some(range(300, 302)))
    database.delete("00001")
    keys = keys_read(monkeypatch)
    with following(database, index) as follower:
        truths = truth_of_rows(follower, "yes")
        assert sorted(keys) == [8, 10, 301, 302]
        assert (len(truths), follower.views.columns.alive.sum()) == (301, 301)
        assert sorted(item for item, truth in truths.items() if not truth) == ["00007", "00009", "00300", "00301"]


def test_a_start_with_a_damaged_snapshot_of_the_columns_reads_all_items(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database.put("own", some(range(300)))
    database.set_attributes({"00007": {"v": "yes"}})
    builder_of(database, index).build_now()
    path = column_files.data_path(index / "columns", 1)
    path.write_bytes(path.read_bytes()[:-1])
    keys = keys_read(monkeypatch)
    with following(database, index, wait_s=30, bulk=100) as follower:
        assert len(keys) == 300
        assert [item for item, truth in truth_of_rows(follower, "yes").items() if truth] == ["00007"]
    assert "the snapshot of categories and attributes can't be used" in caplog.text


def test_many_items_without_a_snapshot_of_the_columns_wait_for_the_builder(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put("own", some(range(300)))
    builder = builder_of(database, index)
    builder.fold_once()
    thread = threading.Timer(0.3, builder.refresh_columns_once)
    thread.start()
    keys = keys_read(monkeypatch)
    with following(database, index, wait_s=30, bulk=100) as follower:
        assert follower.views.columns.length == 300
    thread.join()
    # The builder alone has read them: both are in this process.
    assert len(keys) == 300


async def test_a_search_sees_attributes_that_were_committed_before_it(database: Database, index: Path) -> None:
    database.put("own", some(range(50)))
    with following(database, index) as follower:
        for step in range(100):
            item, value = f"{step % 50:05d}", "yes" if step % 3 else "no"
            database.set_attributes({item: {"v": value}})
            assert follower.behind()
            await follower.catch_up()
            assert truth_of_rows(follower, value)[item]


async def test_a_reader_sees_each_item_in_one_of_its_states(database: Database, index: Path) -> None:
    """An item has the same number in two attributes, always; a table of two moments would show two numbers."""
    names = [f"{number:05d}" for number in range(400)]
    database.put("own", some(range(400)))
    stop = threading.Event()

    def write() -> None:
        rng = np.random.default_rng(0)
        while not stop.is_set():
            chosen = rng.integers(0, 400, 40).tolist()
            database.set_attributes({names[one]: dict.fromkeys("ab", int(rng.integers(5000))) for one in chosen})

    database.set_attributes({name: {"a": 0, "b": 0} for name in names})
    with following(database, index) as follower:
        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = set()
            for _ in range(300):
                columns = follower.views.columns
                a, b = columns.fields["attributes.a"], columns.fields["attributes.b"]
                first = [a.values.value(code) for code in a.codes.tolist()]
                await asyncio.sleep(0.001)
                assert first == [b.values.value(code) for code in b.codes.tolist()]
                seen.add(columns.sequence)
        finally:
            stop.set()
            writer.join()
    assert len(seen) > 5
