"""The use cases on fakes of their seams."""

from collections.abc import Iterator

import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from twinset_server.domain import Metric, Space
from twinset_server.embedding import PictureEmbedder

WAITING_BYTES = 32 << 20

OWN = Space("own", 2, Metric.EUCLIDEAN, "c" * 64)


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def visual(embedder: FakeEmbedder) -> Space:
    """The space that the embedder fills."""
    contract = embedder.contract
    return Space("visual", contract.spaces[0].dimension, Metric.COSINE, contract.fingerprint, contract.model)


@pytest.fixture
def catalog(visual: Space) -> FakeCatalog:
    return FakeCatalog([visual, OWN])


@pytest.fixture
async def pictures(embedder: FakeEmbedder) -> Iterator[PictureEmbedder]:
    opened = PictureEmbedder(
        embedder, max_batch=4, max_in_flight=2, max_pictures=64, max_waiting_bytes=WAITING_BYTES, decode_threads=2
    )
    yield opened
    opened.close()
