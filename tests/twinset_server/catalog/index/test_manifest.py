"""Whatever happens to a file of the newest generation is found before the file is used."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import OWN, Database, some
from fakes.mutations import MUTATIONS, files_of_newest
from twinset.contract import Metric
from twinset_server.catalog.index import graph, manifest
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.search import scan
from twinset_server.catalog.index.segment_files import Segment, SegmentRecord
from twinset_server.catalog.index.walks import Query
from twinset_server.config import StoreSettings
from twinset_server.domain import Neighbour, Space


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two generations of a few segments, and changes since the newest."""
    folder = tmp_path_factory.mktemp("catalogue")
    database = Database(folder / "catalog.sqlite")
    database.add_space(OWN)
    builder = Builder(database.path, folder / "index", StoreSettings(path=folder, fold_at=40, graph_at=20))
    database.put("own", some(range(600)))
    builder.build_now()
    database.delete("00001", "00002")
    database.put("own", {**some(range(600, 660)), **some(range(10, 20), seed=1)})
    builder.build_now()
    assert manifest.numbers(folder / "index" / "1") == [4, 3]
    database.put("own", some(range(660, 680)))
    database.delete("00003", "00610")
    # The database is a file on its own then, which can be copied.
    database.close()
    return folder


def answers(folder: Path) -> tuple[int, list[list[Neighbour]]]:
    follower = Follower(folder / "catalog.sqlite", folder / "index")
    try:
        follower.start()
        view = follower.views.spaces["own"]
        queries = some(range(5), seed=2).values()
        return view.generation, [list(scan(view, Query(query, 20, frozenset())).neighbours) for query in queries]
    finally:
        follower.close()


def test_the_newest_generation_is_taken(catalogue: Path) -> None:
    assert answers(catalogue)[0] == 4


@pytest.mark.parametrize("kind", MUTATIONS)
@pytest.mark.parametrize("file", range(13))
def test_damage_is_found_and_the_generation_before_answers_the_same(
    catalogue: Path, tmp_path: Path, kind: str, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = answers(catalogue)
    folder = tmp_path / "copy"
    shutil.copytree(catalogue, folder)
    files = files_of_newest(folder / "index" / "1")
    assert len(files) == 13
    path = files[file]
    before = path.read_bytes()
    MUTATIONS[kind](path, np.random.default_rng([file, len(kind)]))
    assert not path.exists() or path.read_bytes() != before
    sound = {one.read_bytes() for one in catalogue.rglob("graph.usearch")}
    open_graph = graph.Graph.__init__

    def watched(self: graph.Graph, pages: np.ndarray, *args: object) -> None:
        assert pages.tobytes() in sound, "a damaged graph was given to USearch"
        open_graph(self, pages, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(graph.Graph, "__init__", watched)
    generation, found = answers(folder)
    assert generation == 3
    assert found == expected


def test_without_any_sound_generation_the_log_answers_the_same(catalogue: Path, tmp_path: Path) -> None:
    _, expected = answers(catalogue)
    folder = tmp_path / "copy"
    shutil.copytree(catalogue, folder)
    for path in (folder / "index" / "1").glob("generation-*.json"):
        path.write_bytes(path.read_bytes()[:-1])
    assert answers(folder) == (0, expected)


def test_a_check_that_is_skipped_would_let_damage_through(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(catalogue, folder)
    [vectors] = [path for path in files_of_newest(folder / "index" / "1") if path.name == "vectors.f32"]
    MUTATIONS["bit flipped"](vectors, np.random.default_rng(1))
    expected = answers(folder)[0]

    def unchecked(path: Path, expected: object, stopped: object = None) -> np.ndarray:
        return np.frombuffer(path.read_bytes(), np.uint8)

    monkeypatch.setattr("twinset_server.catalog.index.segment_files.opened", unchecked)
    assert (expected, answers(folder)[0]) == (3, 4)


@pytest.mark.parametrize(
    "other",
    [
        replace(OWN, fingerprint="0" * 64),
        replace(OWN, dimension=8),
        replace(OWN, metric=Metric.EUCLIDEAN),
        replace(OWN, name="other"),
    ],
)
def test_a_generation_of_another_space_is_not_taken(catalogue: Path, other: object) -> None:
    with pytest.raises(Unsound, match="is of Space"):
        manifest.open_generation(catalogue / "index" / "1", 4, other, {})  # type: ignore[arg-type]


def test_another_model_of_the_same_fingerprint_is_the_same_space(catalogue: Path) -> None:
    space = replace(OWN, model="other-00000000")
    assert manifest.open_generation(catalogue / "index" / "1", 4, space, {}).generation.number == 4


def test_manifests_that_changed_names_are_not_taken(catalogue: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(catalogue / "index" / "1", folder)
    shutil.copyfile(folder / "generation-000004.json", folder / "generation-000005.json")
    with pytest.raises(Unsound, match="is the manifest of generation 4"):
        manifest.read(folder, 5)
    found = manifest.newest_sound(folder, OWN)
    assert found is not None
    assert found.generation.number == 4
    assert manifest.next_number(folder) == 6


def test_segments_that_are_open_are_not_opened_again(catalogue: Path) -> None:
    folder = catalogue / "index" / "1"
    first = manifest.open_generation(folder, 3, OWN, {})
    known = {segment.record.number: segment for segment in first.segments}
    again = manifest.open_generation(folder, 4, OWN, known)
    assert again.segments[0] is first.segments[0]
    assert again.segments[1] not in first.segments


def test_a_generation_that_is_pruned_while_it_is_opened_gives_way_to_the_next(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(catalogue, folder)
    builder = Builder(folder / "catalog.sqlite", folder / "index", StoreSettings(path=folder, fold_at=20, graph_at=10))
    open_segment = manifest.open_segment
    opened: list[Segment] = []

    def slow(path: Path, record: SegmentRecord, space: Space, stopped: Callable[[], bool] | None = None) -> Segment:
        segment = open_segment(path, record, space, stopped)
        opened.append(segment)
        if len(opened) == 1:
            # Its second segment is replaced, and the generation is gone.
            with contextlib.closing(Database(folder / "catalog.sqlite")) as database:
                for start in (700, 720):
                    database.put("own", some(range(start, start + 20)))
                    builder.build_now()
        return segment

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "open_segment", slow)
        found = manifest.newest_sound(folder / "index" / "1", OWN)
    assert found is not None
    assert found.generation.number == manifest.numbers(folder / "index" / "1")[0] > 4
    # The large one, which both have, was checked once.
    assert found.segments[0] is opened[0]
