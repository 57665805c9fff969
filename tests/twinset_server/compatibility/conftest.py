"""The use cases on a catalogue and a model of pairs."""

from collections.abc import AsyncIterator

import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeClassifier
from fakes.service import filled_by
from twinset_server.compatibility.reading import SideReader
from twinset_server.embedding import PictureEmbedder


@pytest.fixture
def embedder() -> FakeClassifier:
    return FakeClassifier()


@pytest.fixture
def catalog(embedder: FakeClassifier) -> FakeCatalog:
    return FakeCatalog(filled_by(embedder.contract))


@pytest.fixture
async def reader(catalog: FakeCatalog, embedder: FakeClassifier) -> AsyncIterator[SideReader]:
    pictures = PictureEmbedder(
        embedder, max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20, decode_threads=1
    )
    yield SideReader(catalog, pictures)
    pictures.close()
