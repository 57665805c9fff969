"""Bulk embedding through the real tritonserver, with a model so small that it takes no time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.bulk import Embed, command, write_pictures
from fakes.models import write_tiny_model
from twinset_exporter.own_triton import own_triton


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny model."""
    repository = tmp_path_factory.mktemp("models")
    write_tiny_model(repository)
    return repository


@pytest.fixture(scope="session")
def triton(models: Path) -> Iterator[str]:
    """The address of a real Triton that serves the tiny model."""
    with own_triton(models, None) as (address, _):
        yield address


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write_pictures(folder)
    return folder


@pytest.fixture
def embed(triton: str, tmp_path: Path) -> Embed:
    """Run `twinset-exporter embed` as a user would, into `vectors`, by the shared Triton."""

    def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command(folder, tmp_path / "vectors"), "--triton-url", triton, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
