"""A written catalogue, and maintenance of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.folder import FakeHandle, WrittenFolder
from twinset_server.catalog.maintenance import FolderMaintenance
from twinset_server.maintenance import Work


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenFolder]:
    """Three items, two of them with pictures."""
    folder = WrittenFolder(tmp_path / "catalogue")
    for name, picture in (("a", b"picture of a"), ("b", b"picture of b"), ("c", b"")):
        folder.put(name, picture)
    yield folder
    folder.connection.close()


@pytest.fixture
def handle(written: WrittenFolder) -> FakeHandle:
    return FakeHandle(written)


@pytest.fixture
def maintenance(handle: FakeHandle) -> FolderMaintenance:
    return FolderMaintenance(handle)


@pytest.fixture
def work() -> Work:
    return Work()
