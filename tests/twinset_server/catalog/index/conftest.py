import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.change_log import OWN, Database
from twinset_server.domain import Space


@pytest.fixture
def space() -> Space:
    return OWN


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database(tmp_path / "catalog.sqlite")) as database:
        database.add_space(OWN)
        yield database


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"
