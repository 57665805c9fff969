import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.change_log import DIMENSION, Database, some, unit_vectors
from twinset.contract import Metric
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset_server.catalog.index import manifest, plan, proof, segment_graph
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.checksums import Pages, Stopped
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.index.proof import GraphUnsound
from twinset_server.catalog.index.segment_files import SegmentRecord
from twinset_server.catalog.index.segment_graph import GraphBuild
from twinset_server.catalog.index.segment_writer import SegmentWriter
from twinset_server.config import StoreSettings
from twinset_server.domain import Dtype, Float32Array, Space
from twinset_server.errors import SpaceNotFound


def builder_of(
    database: Database, index: Path, *, fold_at: int = 100, slow_at: int = 20_000, graph_at: int = 50
) -> Builder:
    settings = StoreSettings(path=index.parent, fold_at=fold_at, slow_at=slow_at, graph_at=graph_at)
    return Builder(database.path, index, settings)


@pytest.fixture(autouse=True)
def early_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    # Few rows shall be enough for a merge.
    monkeypatch.setattr(plan, "_MERGE_SHARE", 8)


def newest(index: Path, space: Space) -> OpenGeneration:
    found = manifest.newest_sound(index / "1", space)
    assert found is not None
    return found


def living(found: OpenGeneration) -> dict[str, np.ndarray]:
    """Return the vectors that live in a generation, by item."""
    alive = {}
    for segment in found.segments:
        for place in np.flatnonzero(segment.rows.alive(found.generation.sequence)).tolist():
            item, _ = segment.rows.labels[place]
            assert item not in alive, "an item lives twice"
            alive[item] = segment.rows.vectors[place]
    return alive


def assert_holds(found: OpenGeneration, database: Database, but: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    expected = {item: vectors[0][1] for item, vectors in database.living.get("own", {}).items() if item not in but}
    alive = living(found)
    assert alive.keys() == expected.keys()
    for item, vector in expected.items():
        np.testing.assert_array_equal(alive[item], vector)


def test_too_few_rows_are_left_in_the_log(database: Database, index: Path) -> None:
    database.put("own", some(range(99)))
    assert not builder_of(database, index).fold_once()
    assert not manifest.numbers(index / "1")


def test_a_fold_holds_what_was_committed(database: Database, index: Path, space: Space) -> None:
    last = database.put("own", some(range(120)))
    assert builder_of(database, index).fold_once()
    found = newest(index, space)
    assert (found.generation.sequence, found.generation.key) == (last, 120)
    assert_holds(found, database)


def test_rows_are_looked_at_again_when_enough_more_came(database: Database, index: Path) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(60)))
    assert not builder.fold_once()
    database.put("own", some(range(60, 99)))
    assert not builder.fold_once()
    database.put("own", some(range(99, 101)))
    assert builder.fold_once()


def test_deaths_are_carried_over_to_every_generation(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(2000)))
    builder.fold_once()
    database.delete("00003", "00004")
    database.put("own", {**some(range(5, 8), seed=1), **some(range(2000, 2120))})
    builder.fold_once()
    found = newest(index, space)
    assert len(found.dead) == 5
    assert_holds(found, database)


def test_a_fold_writes_nothing_but_what_waits(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index, graph_at=1000)
    for start in range(0, 500, 100):
        database.put("own", some(range(start, start + 100)))
        assert builder.fold_once()
    found = newest(index, space)
    assert [segment.rows.length for segment in found.segments] == [100] * 5
    assert_holds(found, database)


def test_what_folds_wrote_is_put_together_without_a_graph_while_it_is_little(
    database: Database, index: Path, space: Space
) -> None:
    builder = builder_of(database, index, graph_at=1000)
    for start in range(0, 500, 100):
        database.put("own", some(range(start, start + 100)))
        builder.fold_once()
    assert builder.merge_once()
    found = newest(index, space)
    assert [(segment.rows.length, segment.graph) for segment in found.segments] == [(500, None)]
    assert_holds(found, database)
    assert not builder.merge_once()


def test_a_large_segment_is_not_rewritten_for_a_few_rows(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(2000)))
    builder.fold_once()
    before = newest(index, space).generation.segments
    database.put("own", some(range(2000, 2100)))
    builder.fold_once()
    after = newest(index, space).generation.segments
    assert after[:1] == before
    assert [record.rows for record in after] == [2000, 100]


def test_segments_are_merged_when_the_younger_has_grown(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index, fold_at=50)
    database.put("own", some(range(1200)))
    builder.build_now()
    for numbers in (range(1200, 1300), range(1300, 1360)):
        database.put("own", some(numbers))
        assert builder.fold_once()
    assert builder.merge_once()
    database.delete("01201", "00001")
    builder.build_now()
    database.put("own", some(range(1360, 1420)))
    builder.fold_once()
    found = newest(index, space)
    assert [segment.rows.length for segment in found.segments] == [1360, 60]
    assert_holds(found, database)


def test_a_segment_is_built_anew_when_a_fifth_of_it_is_dead(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(300)))
    builder.build_now()
    database.delete(*(f"{number:05d}" for number in range(60)))
    builder.fold_once()
    assert not builder.merge_once()
    database.delete("00070")
    builder.fold_once()
    assert builder.merge_once()
    found = newest(index, space)
    assert ([segment.rows.length for segment in found.segments], len(found.dead)) == ([239], 0)
    assert_holds(found, database)


def test_a_segment_of_which_nothing_lives_goes(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(100)))
    builder.fold_once()
    database.delete(*database.living["own"])
    builder.fold_once()
    assert builder.merge_once()
    assert not newest(index, space).segments


@pytest.mark.parametrize("rows", [120, 1200])
def test_rows_are_published_first_and_get_their_graph_later(
    database: Database, index: Path, space: Space, rows: int
) -> None:
    builder = builder_of(database, index, slow_at=500)
    database.put("own", some(range(rows)))
    assert builder.fold_once()
    assert newest(index, space).segments[0].graph is None
    assert builder.merge_once()
    found = newest(index, space)
    assert found.segments[0].graph is not None
    assert_holds(found, database)


def test_a_fold_waits_for_merges_that_are_far_behind(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index, slow_at=150)
    for start in range(0, 300, 100):
        database.put("own", some(range(start, start + 100)))
        assert builder.fold_once()
    database.put("own", some(range(300, 400)))
    assert not builder.fold_once()
    assert builder.merge_once()
    assert builder.fold_once()
    assert_holds(newest(index, space), database)


def test_all_is_built_at_once_however_far_merges_are_behind(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index, slow_at=150)
    for start in range(0, 300, 100):
        database.put("own", some(range(start, start + 100)))
        builder.fold_once()
    database.put("own", some(range(300, 400)))
    builder.build_now()
    assert [segment.rows.length for segment in newest(index, space).segments] == [400]


def test_two_generations_are_kept_and_their_files(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    for start in range(0, 500, 100):
        database.put("own", some(range(start, start + 100)))
        builder.fold_once()
    assert manifest.numbers(index / "1") == [5, 4]
    kept = {record.number for number in (5, 4) for record in manifest.read(index / "1", number).segments}
    assert {path.name for path in (index / "1").glob("segment-*")} == {f"segment-{number:06d}" for number in kept}
    assert len(list((index / "1").glob("dead-*"))) == 2


def test_what_a_killed_builder_left_is_removed(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(100)))
    builder.fold_once()
    orphan = index / "1" / "segment-000007"
    orphan.mkdir()
    (orphan / "vectors.f32").write_bytes(b"half")
    (index / "1" / "generation-000002.tmp").write_bytes(b"{")
    (index / "1" / "dead-000002.i64").write_bytes(b"")
    database.put("own", some(range(100, 200)))
    assert builder_of(database, index).fold_once()
    names = sorted(path.name for path in (index / "1").iterdir())
    assert [name for name in names if "tmp" in name or "7" in name] == []
    assert_holds(newest(index, space), database)


def test_the_log_may_be_cut_up_to_the_older_generation(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    assert builder.log_floors() == {}
    first = database.put("own", some(range(100)))
    builder.fold_once()
    assert builder.log_floors() == {"own": first}
    second = database.put("own", some(range(100, 200)))
    builder.fold_once()
    assert builder.log_floors() == {"own": first}
    database.put("own", some(range(200, 300)))
    builder.fold_once()
    assert builder.log_floors() == {"own": second}
    assert newest(index, space).generation.log_from == second


def test_a_merge_cuts_no_log_that_a_late_worker_needs(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    first = database.put("own", some(range(100)))
    builder.fold_once()
    second = database.put("own", some(range(100, 200)))
    builder.fold_once()
    third = database.delete("00001")
    assert builder.merge_once()
    assert builder.log_floors() == {"own": first}
    database.put("own", some(range(200, 300)))
    builder.fold_once()
    assert second < third
    assert builder.log_floors() == {"own": second}


def test_a_builder_that_begins_anew_promises_no_more_than_the_one_before(
    database: Database, index: Path, space: Space
) -> None:
    builder = builder_of(database, index)
    for start in range(0, 300, 100):
        database.put("own", some(range(start, start + 100)))
        builder.fold_once()
    floors = builder.log_floors()
    manifest.manifest_path(index / "1", 2).write_bytes(b"")
    again = builder_of(database, index)
    again.fold_once()
    assert again.log_floors() == floors


def test_many_changes_of_no_vector_still_let_the_log_be_cut(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(100)))
    builder.fold_once()
    database.delete("00000")
    database.skip(60_000)
    assert builder.fold_once()
    found = newest(index, space)
    assert found.generation.sequence == 60_101
    assert_holds(found, database)


def test_a_space_that_stays_small_does_not_keep_the_log_from_being_cut(
    database: Database, index: Path, space: Space
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(10)))
    database.delete("00001")
    database.skip(60_000)
    assert builder.fold_once()
    found = newest(index, space)
    assert (found.generation.segments, found.generation.key) == ((), 0)
    assert builder.log_floors() == {"own": 60_011}
    assert not builder.fold_once()


def test_a_space_without_rows_is_known_to_have_none(database: Database, index: Path, space: Space) -> None:
    database.add_space(replace(space, name="other"))
    builder = builder_of(database, index)
    database.put("own", some(range(120)))
    builder.fold_once()
    database.skip(60_000)
    builder.fold_once()
    assert manifest.read(index / "2", 1).key == 120
    database.put("other", some(range(120, 240)))
    assert builder_of(database, index).fold_once()
    other = manifest.newest_sound(index / "2", replace(space, name="other"))
    assert other is not None
    assert len(living(other)) == 120


def test_rows_that_died_while_they_waited_are_not_folded(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(60)))
    assert not builder.fold_once()
    database.put("own", some(range(50), seed=1))
    assert not builder.fold_once()
    database.put("own", some(range(60, 99)))
    assert not builder.fold_once()
    database.put("own", some(range(99, 101)))
    assert builder.fold_once()
    assert_holds(newest(index, space), database)


def test_a_damaged_generation_is_replaced_by_the_one_before(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    for start in (0, 1000):
        database.put("own", some(range(start, start + 1000)))
        builder.fold_once()
    database.delete("00001")
    manifest.manifest_path(index / "1", 2).write_bytes(b"{}")
    again = builder_of(database, index)
    assert again.fold_once()
    found = newest(index, space)
    assert found.generation.number == 3
    assert_holds(found, database)


def test_without_a_sound_generation_all_is_built_anew(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(300)))
    builder.fold_once()
    manifest.manifest_path(index / "1", 1).write_bytes(b"{}")
    assert builder_of(database, index).fold_once()
    assert_holds(newest(index, space), database)


def test_a_rebuild_holds_what_lives(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(1000)))
    builder.fold_once()
    database.put("own", some(range(1000, 1100)))
    builder.fold_once()
    database.delete("00001", "01001")
    shares: list[float] = []
    builder.rebuild("own", shares.append)
    found = newest(index, space)
    assert ([segment.rows.length for segment in found.segments], len(found.dead)) == ([1098], 0)
    assert_holds(found, database)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_what_is_folded_and_dies_during_a_rebuild_is_not_lost(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(1000)))
    builder.fold_once()
    done = []

    def meanwhile(share: float) -> None:
        if not done and share > 0.1:
            done.append(share)
            database.delete("00001", "00002")
            database.put("own", {**some(range(10, 20), seed=1), **some(range(1000, 1150))})
            assert builder.fold_once()
            assert not builder.merge_once()
            database.delete("00003", "01001")
            assert not builder.fold_once()

    builder.rebuild("own", meanwhile)
    assert done
    found = newest(index, space)
    assert [segment.rows.length for segment in found.segments] == [1000, 160]
    assert_holds(found, database)


def test_a_rebuild_takes_in_what_was_never_folded(database: Database, index: Path, space: Space) -> None:
    database.put("own", some(range(30)))
    builder_of(database, index).rebuild("own", lambda share: None)
    found = newest(index, space)
    assert [segment.rows.length for segment in found.segments] == [30]
    assert_holds(found, database)


def test_a_rebuild_alone_keeps_no_older_generation_nor_its_log(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(1000)))
    builder.fold_once()
    database.delete("00001")
    builder.rebuild("own", lambda share: None, alone=True)
    found = newest(index, space)
    [folder] = index.iterdir()
    assert manifest.numbers(folder) == [found.generation.number]
    assert [path.name for path in folder.glob("segment-*")] == [f"segment-{found.segments[0].record.number:06d}"]
    assert found.generation.log_from == found.generation.sequence
    database.put("own", some(range(1000, 2000)))
    builder.fold_once()
    assert_holds(newest(index, space), database)


@pytest.mark.parametrize("at", [0.05, 0.5])
def test_a_cancelled_rebuild_leaves_the_index_as_it_was(
    database: Database, index: Path, space: Space, at: float
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(3000)))
    builder.fold_once()
    before = sorted(path for path in index.rglob("*"))
    shares = [0.0]
    with pytest.raises(Stopped):
        builder.rebuild("own", shares.append, cancelled=lambda: shares[-1] >= at)
    assert at <= shares[-1] < 1
    assert sorted(path for path in index.rglob("*")) == before
    builder.rebuild("own", lambda share: None)
    assert_holds(newest(index, space), database)


def test_only_spaces_that_exist_are_rebuilt(database: Database, index: Path) -> None:
    with pytest.raises(SpaceNotFound):
        builder_of(database, index).rebuild("other", lambda share: None)


def test_a_fold_goes_on_while_a_merge_is_at_work(
    database: Database, index: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = builder_of(database, index, fold_at=50)
    for numbers in (range(1200), range(1200, 1300), range(1300, 1360)):
        database.put("own", some(numbers))
        builder.fold_once()
    merging, may_go_on = threading.Event(), threading.Event()
    build = segment_graph.build

    def slow(*args: object, **kwargs: object) -> None:
        if threading.current_thread().name == "merge":
            merging.set()
            assert may_go_on.wait(30)
        build(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(segment_graph, "build", slow)
    lane = threading.Thread(target=builder.merge_once, name="merge")
    lane.start()
    try:
        assert merging.wait(30)
        database.delete("00005", "01205")
        database.put("own", some(range(1360, 1420)))
        assert builder.fold_once()
        during = newest(index, space)
        assert [segment.rows.length for segment in during.segments] == [1200, 100, 60, 60]
        assert_holds(during, database)
    finally:
        may_go_on.set()
        lane.join()
    after = newest(index, space)
    assert [segment.rows.length for segment in after.segments] == [1360, 60]
    assert_holds(after, database)


def test_a_merge_waits_while_a_fold_is_at_work(
    database: Database, index: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = builder_of(database, index, fold_at=50)
    for numbers in (range(1200), range(1200, 1300), range(1300, 1360)):
        database.put("own", some(numbers))
        builder.fold_once()
    folding, may_fold, merged = threading.Event(), threading.Event(), threading.Event()
    finish, build = SegmentWriter.finish, segment_graph.build

    def slow(writer: SegmentWriter, graph: GraphBuild | None = None) -> SegmentRecord:
        if threading.current_thread().name == "fold":
            folding.set()
            assert may_fold.wait(30)
        return finish(writer, graph)

    def told(*args: object, **kwargs: object) -> None:
        build(*args, **kwargs)  # type: ignore[arg-type]
        merged.set()

    monkeypatch.setattr(SegmentWriter, "finish", slow)
    monkeypatch.setattr(segment_graph, "build", told)
    database.put("own", some(range(1360, 2700)))
    fold = threading.Thread(target=builder.fold_once, name="fold")
    merge = threading.Thread(target=builder.merge_once, name="merge")
    fold.start()
    try:
        assert folding.wait(30)
        merge.start()
        assert not merged.wait(0.3)
    finally:
        may_fold.set()
        fold.join()
        merge.join()
    assert merged.is_set()
    assert_holds(newest(index, space), database)


def test_both_lanes_run_until_they_are_stopped(database: Database, index: Path, space: Space) -> None:
    builder = builder_of(database, index)
    stop = threading.Event()
    thread = threading.Thread(target=builder.run, args=(stop,))
    thread.start()
    try:
        for start in range(0, 1500, 50):
            database.put("own", some(range(start, start + 50)))
            database.delete(f"{start:05d}")
        waited = threading.Event()
        for _ in range(1000):
            if (numbers := manifest.numbers(index / "1")) and manifest.read(index / "1", numbers[0]).key > 1400:
                break
            waited.wait(0.02)
    finally:
        stop.set()
        thread.join()
    found = newest(index, space)
    assert found.generation.key > 1400
    late = {item for item in database.living["own"] if item not in living(found)}
    assert len(late) <= 100
    assert_holds(found, database, but=late)


def test_a_lane_that_fails_ends_the_builder(database: Database, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    builder = builder_of(database, index)
    monkeypatch.setattr(manifest, "newest_sound", broken)
    with pytest.raises(ZeroDivisionError):
        builder.run(threading.Event())


def test_a_closed_builder_gives_up_and_leaves_nothing_half_made(database: Database, index: Path) -> None:
    builder = builder_of(database, index)
    builder.fold_once()
    database.put("own", some(range(100)))
    builder.close()
    with pytest.raises(Stopped):
        builder.fold_once()
    assert list((index / "1").iterdir()) == []


def test_a_full_disk_leaves_nothing_half_made(
    database: Database, index: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(100)))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", full)
        with pytest.raises(OSError, match="No space"):
            builder.fold_once()
    assert list((index / "1").iterdir()) == []
    assert builder.fold_once()
    assert_holds(newest(index, space), database)


def test_a_space_whose_graph_finds_too_little_stays_exact(
    database: Database, index: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def unsound(*args: object, **kwargs: object) -> int:
        tries.append(1)
        raise GraphUnsound("recall .10")

    monkeypatch.setattr(segment_graph, "prove", unsound)
    builder = builder_of(database, index)
    database.put("own", some(range(200)))
    builder.build_now()
    [segment] = newest(index, space).segments
    assert (segment.graph, segment.record.flat) == (None, True)
    assert len(tries) == 1
    assert not builder.merge_once()


def test_the_types_of_graphs_are_those_of_the_settings(database: Database, index: Path, space: Space) -> None:
    database.put("own", some(range(200)))
    builder_of(database, index).build_now()
    assert [segment.record.coding for segment in newest(index, space).segments] == [Coding(Dtype.BF16)]
    settings = StoreSettings(path=index.parent, fold_at=50, graph_at=25, dtypes={"own": Dtype.I8})
    builder = Builder(database.path, index, settings)
    database.put("own", some(range(200, 300)))
    builder.build_now()
    (segment,) = newest(index, space).segments
    assert segment.record.coding is not None
    assert segment.record.coding.dtype is Dtype.I8
    assert segment.record.coding.scale > 0
    assert_holds(newest(index, space), database)


def test_segments_stay_apart_where_no_graph_over_all_is_good(
    database: Database, index: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = builder_of(database, index)
    database.put("own", some(range(500)))
    builder.build_now()
    before = newest(index, space)
    prove = segment_graph.prove
    tries = []

    def unsound(pages: Pages, vectors: Float32Array, *rest: Any) -> int:
        if len(vectors) <= 500:
            return prove(pages, vectors, *rest)
        tries.append(len(vectors))
        raise GraphUnsound("recall .10")

    monkeypatch.setattr(segment_graph, "prove", unsound)
    database.put("own", some(range(500, 600)))
    assert builder.fold_once()
    assert builder.merge_once()
    assert [segment.graph is not None for segment in newest(index, space).segments] == [True, False]
    assert builder.merge_once(), "the younger one gets a graph of its own"
    found = newest(index, space)
    assert [segment.graph is not None for segment in found.segments] == [True, True]
    assert found.segments[0].record == before.segments[0].record
    assert set(tries) == {600}
    assert not builder.merge_once(), "what failed isn't tried again at once"
    assert_holds(found, database)
    database.put("own", some(range(600, 700)))
    assert builder.fold_once()
    monkeypatch.setattr(segment_graph, "prove", prove)
    assert builder.merge_once()
    assert_holds(newest(index, space), database)


def test_vectors_whose_squares_leave_float32_get_no_graph(database: Database, index: Path, space: Space) -> None:
    huge = np.zeros(DIMENSION, np.float32)
    huge[0] = 1e30
    database.put("own", {**some(range(200)), "huge": huge})
    builder_of(database, index).build_now()
    [segment] = newest(index, space).segments
    assert segment.record.flat


def test_vectors_per_item_are_counted(database: Database, index: Path, space: Space) -> None:
    rng = np.random.default_rng(3)
    for number in range(50):
        vectors = unit_vectors(rng, 3, DIMENSION)
        database.put("own", {f"{number:05d}": [(str(place), vector) for place, vector in enumerate(vectors)]})
    builder_of(database, index).build_now()
    [segment] = newest(index, space).segments
    assert segment.spread == 3
    assert [segment.rows.labels[place] for place in (0, 1, 149)] == [("00000", "0"), ("00000", "1"), ("00049", "2")]


def test_a_builder_of_low_priority_stays_so(database: Database, index: Path) -> None:
    """Raising a priority takes a privilege that a server doesn't have."""
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), []

    def lane() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        stop = threading.Event()
        builder = builder_of(database, index)
        threading.Timer(0.2, stop.set).start()
        wait = stop.wait

        def watched(timeout: float | None = None) -> bool:
            for thread in threading.enumerate():
                if thread.name.startswith("builder-") and thread.native_id is not None:
                    seen.append(os.getpriority(os.PRIO_PROCESS, thread.native_id))
            return wait(timeout)

        stop.wait = watched  # type: ignore[method-assign]
        builder.run(stop)

    thread = threading.Thread(target=lane)
    thread.start()
    thread.join()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert set(seen) == {19}


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_graph_is_proved_by_the_other_side_of_pairs(
    database: Database, index: Path, monkeypatch: pytest.MonkeyPatch, rebuilt: bool
) -> None:
    for name in (PAIR_SOURCE, PAIR_TARGET):
        database.add_space(Space(name, DIMENSION, Metric.EUCLIDEAN, name[5] * 64))
    targets = some(range(200))
    database.put(PAIR_TARGET, targets)
    builder = builder_of(database, index)
    asked: list[Float32Array] = []

    def prove(pages: Pages, vectors: Float32Array, *rest: Any) -> proof.Proof:
        asked.append(rest[-1])
        return proof.prove(pages, vectors, *rest)

    monkeypatch.setattr(segment_graph, "prove", prove)
    sources = some(range(200), seed=1)
    database.add_vectors(PAIR_SOURCE, sources)
    if rebuilt:
        builder.rebuild(PAIR_TARGET, lambda share: None)
    else:
        builder.build_now()
    theirs = {vector.tobytes() for vector in sources.values()}
    assert any(len(one) and {row.tobytes() for row in one} <= theirs for one in asked)
