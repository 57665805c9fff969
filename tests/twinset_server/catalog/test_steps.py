"""A builder that is killed at a named step leaves what the next one, and every reader, can go on from."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.change_log import OWN, Database, some
from twinset_server.catalog import steps
from twinset_server.catalog.index import column_files, manifest
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import StoreSettings

_BUILD = """
import sys
from pathlib import Path
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import StoreSettings
folder = Path(sys.argv[1])
Builder(folder / "catalog.sqlite", folder / "index", StoreSettings(path=folder, fold_at=50, graph_at=25)).build_now()
"""


def build(folder: Path, fault: str | None) -> int:
    environment = {**os.environ, **({"TWINSET_FAULT_AT": fault} if fault else {})}
    return subprocess.run([sys.executable, "-c", _BUILD, str(folder)], env=environment, check=False).returncode


def test_where_no_fault_is_asked_for_nothing_happens() -> None:
    steps.reached(steps.BEFORE_COMMIT)


@pytest.mark.parametrize(
    ("fault", "generation"),
    [
        # The first time in a fold, the second in the merge that builds a graph.
        (f"{steps.SEGMENT_SAVED}:1", 2),
        (f"{steps.SEGMENT_SYNCED}:1", 2),
        (f"{steps.MANIFEST_WRITTEN}:1", 2),
        (f"{steps.MANIFEST_RENAMED}:1", 3),
        (f"{steps.DIRECTORY_SYNCED}:1", 3),
        (f"{steps.SEGMENT_SAVED}:2", 3),
        (f"{steps.MANIFEST_RENAMED}:2", 4),
    ],
)
def test_a_builder_killed_at_a_step_leaves_a_sound_generation(tmp_path: Path, fault: str, generation: int) -> None:
    database = Database(tmp_path / "catalog.sqlite")
    database.add_space(OWN)
    database.put("own", some(range(300)))
    assert build(tmp_path, None) == 0
    database.put("own", some(range(300, 600)))
    assert build(tmp_path, fault) == -signal.SIGKILL
    found = manifest.newest_sound(tmp_path / "index" / "1", OWN)
    assert found is not None
    assert found.generation.number == generation
    database.put("own", some(range(600, 900)))
    builder = Builder(database.path, tmp_path / "index", StoreSettings(path=tmp_path, fold_at=50, graph_at=25))
    builder.build_now()
    found = manifest.newest_sound(tmp_path / "index" / "1", OWN)
    assert found is not None
    assert sum(segment.rows.length for segment in found.segments) == 900
    assert not list((tmp_path / "index" / "1").glob("*.tmp"))
    database.close()


def test_the_count_says_at_which_time_a_step_kills(tmp_path: Path) -> None:
    program = "from twinset_server.catalog import steps\nfor _ in range(2): steps.reached('after-commit'); print('x')"
    environment = {**os.environ, "TWINSET_FAULT_AT": "after-commit:2"}
    done = subprocess.run([sys.executable, "-uc", program], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"x\n")


@pytest.mark.parametrize(
    ("step", "sound"), [(steps.COLUMNS_SAVED, 1), (steps.COLUMNS_WRITTEN, 1), (steps.COLUMNS_RENAMED, 2)]
)
def test_a_builder_killed_at_a_step_leaves_a_sound_snapshot_of_the_columns(
    tmp_path: Path, step: str, sound: int
) -> None:
    database = Database(tmp_path / "catalog.sqlite")
    database.add_space(OWN)
    database.put("own", some(range(250)))
    assert build(tmp_path, None) == 0
    database.put("own", some(range(250, 500)))
    assert build(tmp_path, f"{step}:1") == -signal.SIGKILL
    folder = tmp_path / "index" / "columns"
    found = column_files.newest_sound(folder)
    assert found is not None
    assert (found[0], found[1].length) == (sound, 250 * sound)
    assert build(tmp_path, None) == 0
    [left] = column_files.numbers(folder)
    assert {path.suffix for path in folder.glob("columns-*")} == {".json", ".bin"}
    assert column_files.open_snapshot(folder, left).length == 500
