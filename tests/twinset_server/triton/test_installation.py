"""What the embedded Triton needs is found, and what is missing is named with what to install."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from twinset_server.errors import StartupError
from twinset_server.triton.installation import find_installation, find_libpython

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_installed_triton_is_found_without_importing_its_package() -> None:
    installation = find_installation()
    assert installation.tritonserver.is_file()
    assert installation.stub.parent.name == VERSION
    assert "pytriton" not in sys.modules


def test_the_child_gets_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    assert sorted(find_installation().environment()) == [
        "CUDA_VISIBLE_DEVICES",
        "LD_LIBRARY_PATH",
        "PATH",
        "PYTHONPATH",
    ]


def test_a_missing_libpython_is_an_error_that_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"apt-get install libpython3\.99") as caught:
        find_libpython("3.99", [tmp_path])
    assert str(tmp_path) in str(caught.value)


def test_libpython_is_found_where_it_lies(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    (tmp_path / "second" / "libpython3.99.so.1.0").touch()
    (tmp_path / "third" / "libpython3.99.so.1.0").touch()
    folders = [tmp_path / name for name in ("first", "second", "third")]
    assert find_libpython("3.99", folders) == tmp_path / "second"


def test_the_library_that_the_wheel_brings_for_the_newest_python_is_found(tmp_path: Path) -> None:
    (tmp_path / "libpython3-419a3a08.99.so.1.0").touch()
    assert find_libpython("3.99", [tmp_path]) == tmp_path


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("pytriton", "pip install --no-deps nvidia-pytriton==0.7.0"),
        ("onnxruntime", r"pip install 'twinset\[embedded\]'"),
    ],
)
def test_a_missing_package_is_an_error_with_its_command(
    package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(StartupError, match=remedy):
        find_installation()
