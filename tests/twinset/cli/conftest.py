from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.command_line import Outcome, Twinset, picture
from fakes.server import FakeServer
from twinset.cli.app import run


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def twinset(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> Twinset:
    """Run a command against the fake server."""

    def call(*arguments: str | Path) -> Outcome:
        code = run(["--server", server.address, *map(str, arguments)])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, two of them shoes, one in capitals and all of different formats."""
    folder = tmp_path / "photos"
    (folder / "shoes").mkdir(parents=True)
    (folder / "shoes" / "red.png").write_bytes(picture(250, 0, 0))
    (folder / "shoes" / "orange.JPG").write_bytes(picture(250, 90, 0, "JPEG"))
    (folder / "blue.webp").write_bytes(picture(0, 0, 250, "WEBP"))
    return folder
