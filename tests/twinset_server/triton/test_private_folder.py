"""What a dead server left behind goes, what a living one uses stays."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from twinset_server.errors import StartupError
from twinset_server.triton import private_folder
from twinset_server.triton.private_folder import PrivateFolder, remove_abandoned


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files and shared memory of these tests lie apart from the machine's."""
    for name in ("tmp", "shm"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(private_folder, "SHARED_MEMORY", tmp_path / "shm")
    return tmp_path


def leave_behind(places: Path, pid: int, started: int, namespace: int) -> list[Path]:
    name = f"twinset-triton-{namespace}-{pid}-{started}-abcd"
    (places / "tmp" / name / "backends").mkdir(parents=True)
    region = places / "shm" / f"{name}-5e1f"
    region.write_bytes(b"\0")
    return [places / "tmp" / name, region]


def namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116


def test_what_a_dead_server_left_is_removed(places: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = leave_behind(places, gone.pid, 1, namespace())
    remove_abandoned()
    assert [path.exists() for path in left] == [False, False]


def test_what_an_earlier_process_of_a_living_pid_left_is_removed(places: Path) -> None:
    left = leave_behind(places, os.getpid(), 1, namespace())
    remove_abandoned()
    assert [path.exists() for path in left] == [False, False]


def test_what_a_living_server_uses_stays(places: Path) -> None:
    folder = PrivateFolder()
    region = places / "shm" / f"{folder.shared_memory_prefix}5e1f"
    region.write_bytes(b"\0")
    remove_abandoned()
    assert folder.path.exists()
    assert region.exists()
    folder.remove()
    assert list(places.glob("*/*")) == []


def test_what_another_containers_server_uses_stays(places: Path) -> None:
    left = leave_behind(places, 2**22 + 1, 1, namespace() + 1)
    remove_abandoned()
    assert [path.exists() for path in left] == [True, True]


def test_what_others_keep_there_stays(places: Path) -> None:
    others = [places / "tmp" / "twinset-triton-notes", places / "shm" / "triton_python_backend_shm_region_1"]
    for path in others:
        path.write_bytes(b"\0")
    remove_abandoned()
    assert [path.exists() for path in others] == [True, True]


def test_a_place_with_a_space_in_its_name_is_refused(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "my files").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(places / "my files"))
    with pytest.raises(StartupError, match="set TMPDIR to one without"):
        PrivateFolder()


def test_a_place_that_is_not_there_is_refused(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(places / "nowhere"))
    with pytest.raises(StartupError, match="set TMPDIR to one that can be written"):
        PrivateFolder()
