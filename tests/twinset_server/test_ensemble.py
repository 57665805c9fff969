"""A model with heads fills several spaces, and each is compared by its own fingerprint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder, FakeEnsemble
from fakes.pictures import BLUE, RED, png
from twinset_server.domain import ItemDraft, Metric, PictureDraft, Space, WritableItem
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import SpaceMismatch
from twinset_server.ingest import Ingest
from twinset_server.recommend import Example, PictureExample, Recommender, Request

TINT = "7" * 64
OLD_TINT = "6" * 64


@pytest.fixture
async def pictures() -> AsyncIterator[PictureEmbedder]:
    opened = PictureEmbedder(
        FakeEnsemble(TINT), max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=1 << 20, decode_threads=1
    )
    yield opened
    opened.close()


Catalogue = Callable[[str], FakeCatalog]


@pytest.fixture
def catalogue() -> Catalogue:
    """Make a catalogue that the backbone filled before there was a head, and whose `tint` is of a fingerprint."""
    alone = FakeEmbedder().contract

    def make(tint: str) -> FakeCatalog:
        visual = Space("visual", alone.spaces[0].dimension, Metric.COSINE, alone.fingerprint, alone.model)
        return FakeCatalog([visual, Space("tint", 3, Metric.EUCLIDEAN, tint, "tinted")])

    return make


def draft(item_id: str, *contents: bytes) -> ItemDraft:
    return ItemDraft(item_id, pictures=[PictureDraft(str(n), content) for n, content in enumerate(contents)])


async def put(catalog: FakeCatalog, pictures: PictureEmbedder) -> Sequence[object]:
    ingest = Ingest(catalog, pictures)
    drafts = [draft("red", png(RED)), draft("blue", png(BLUE))]
    prepared = await ingest.items(drafts, timeout_s=5)
    return (await ingest.commit(WritableItem, [one.id for one in drafts], prepared)).outcomes


async def recommend(catalog: FakeCatalog, pictures: PictureEmbedder, space: str) -> list[str]:
    request = Request([Example(PictureExample(png(BLUE)))], space=space, k=2)
    found = await Recommender(catalog, pictures).recommend(request, timeout_s=5)
    return [neighbour.item_id for neighbour in found.result.neighbours]


async def test_one_picture_gets_a_vector_in_every_space(catalogue: Catalogue, pictures: PictureEmbedder) -> None:
    (item,) = await Ingest(catalogue(TINT), pictures).items([draft("red", png(RED), png(BLUE))], timeout_s=5)
    assert isinstance(item, WritableItem)
    assert sorted((v.space, v.picture_id) for v in item.vectors) == [
        ("tint", "0"),
        ("tint", "1"),
        ("visual", "0"),
        ("visual", "1"),
    ]


@pytest.mark.parametrize("space", ["visual", "tint"])
async def test_a_picture_is_compared_in_the_space_asked_for(
    catalogue: Catalogue, pictures: PictureEmbedder, space: str
) -> None:
    catalog = catalogue(TINT)
    await put(catalog, pictures)
    assert await recommend(catalog, pictures, space) == ["blue", "red"]


async def test_a_retrained_head_never_fills_the_space_of_the_old_one(
    catalogue: Catalogue, pictures: PictureEmbedder
) -> None:
    for result in await put(catalogue(OLD_TINT), pictures):
        assert isinstance(result, SpaceMismatch)
        assert "'tint'" in result.message
        assert TINT in result.message
        assert OLD_TINT in result.message


async def test_a_retrained_head_leaves_the_backbone_s_space_alone(
    catalogue: Catalogue, pictures: PictureEmbedder
) -> None:
    catalog = catalogue(OLD_TINT)
    with pytest.raises(SpaceMismatch, match=OLD_TINT):
        await recommend(catalog, pictures, "tint")
    assert await recommend(catalog, pictures, "visual") == []
