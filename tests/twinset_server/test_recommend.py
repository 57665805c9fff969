"""Recommendations by an item, a picture or a vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.items import unit, vectored
from fakes.pictures import BLUE, GREEN, RED, TEXT, png
from twinset import images
from twinset_server.domain import (
    Float32Array,
    Item,
    ItemDeletion,
    ItemDraft,
    PictureDraft,
    SearchResult,
    Space,
    Vector,
    WritableItem,
)
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import (
    BadPicture,
    EmbedderUnavailable,
    InvalidRequest,
    ItemNotFound,
    NoModel,
    NoVector,
    SpaceMismatch,
    SpaceNotFound,
)
from twinset_server.ingest import Ingest
from twinset_server.recommend import (
    Detail,
    Example,
    ItemExample,
    PictureExample,
    Recommendations,
    Recommender,
    Request,
    Subject,
    VectorExample,
)

ITEMS = {"red": png(RED), "reddish": png(RED, BLUE, 0.25), "mixed": png(RED, BLUE), "blue": png(BLUE)}


@pytest.fixture
async def recommender(catalog: FakeCatalog, pictures: PictureEmbedder) -> Recommender:
    ingest = Ingest(catalog, pictures)
    drafts = [ItemDraft(item_id, pictures=[PictureDraft("0", content)]) for item_id, content in ITEMS.items()]
    items = await ingest.items(drafts, timeout_s=5)
    await ingest.commit(WritableItem, [draft.id for draft in drafts], items)
    return Recommender(catalog, pictures)


async def _ask(
    recommender: Recommender,
    example: Subject,
    *,
    k: int = 10,
    exclude: Sequence[str] = (),
    space: str = "visual",
    detail: Detail = Detail.ID,
) -> Recommendations:
    request = Request([Example(example)], space=space, k=k, exclude=exclude, detail=detail)
    return await recommender.recommend(request, timeout_s=5)


def _ids(found: Recommendations) -> list[str]:
    return [neighbour.item_id for neighbour in found.result.neighbours]


async def test_an_item_finds_its_look_alikes_and_never_itself(recommender: Recommender) -> None:
    assert _ids(await _ask(recommender, ItemExample("red"))) == ["reddish", "mixed", "blue"]


async def test_a_picture_finds_its_own_item_first(recommender: Recommender) -> None:
    found = await _ask(recommender, PictureExample(ITEMS["mixed"]))
    assert _ids(found)[0] == "mixed"
    assert found.result.neighbours[0].distance == pytest.approx(0, abs=1e-6)


async def test_a_vector_of_any_length_finds_by_direction(recommender: Recommender, embedder: FakeEmbedder) -> None:
    pixels = images.decode(ITEMS["blue"], embedder.contract.pipeline)
    answer = await embedder.embed(pixels[None], ["embedding"], timeout_s=5)
    vector = Vector("visual", answer["embedding"][0] * 7, embedder.contract.fingerprint)
    assert _ids(await _ask(recommender, VectorExample(vector)))[0] == "blue"


async def test_recommend_never_returns_an_excluded_item(recommender: Recommender) -> None:
    found = await _ask(recommender, ItemExample("red"), exclude=["mixed", "nobody"])
    assert _ids(found) == ["reddish", "blue"]


async def test_k_bounds_the_answer(recommender: Recommender) -> None:
    assert _ids(await _ask(recommender, ItemExample("red"), k=1)) == ["reddish"]


@pytest.mark.parametrize("k", [0, -1, 1001])
async def test_k_out_of_range_is_refused(recommender: Recommender, k: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await _ask(recommender, ItemExample("red"), k=k)
    assert caught.value.field == "k"


async def test_another_space_is_searched_by_its_own_vectors(recommender: Recommender, catalog: FakeCatalog) -> None:
    await catalog.write([vectored("near", np.array([1, 1], np.float32), space="own")])
    await catalog.write([vectored("far", np.array([9, 9], np.float32), space="own")])
    example = VectorExample(Vector("own", np.zeros(2, np.float32)))
    found = await _ask(recommender, example, space="own")
    assert [(n.item_id, n.distance) for n in found.result.neighbours] == [("near", 2), ("far", 162)]


async def test_what_is_not_there_is_named(recommender: Recommender) -> None:
    with pytest.raises(ItemNotFound, match="'nobody'"):
        await _ask(recommender, ItemExample("nobody"))
    with pytest.raises(SpaceNotFound, match="'nowhere'"):
        await _ask(recommender, ItemExample("red"), space="nowhere")


async def test_what_can_not_be_compared_is_refused(recommender: Recommender, visual: Space) -> None:
    with pytest.raises(NoVector):
        await _ask(recommender, ItemExample("red"), space="own")
    with pytest.raises(NoModel):
        await _ask(recommender, PictureExample(ITEMS["red"]), space="own")
    with pytest.raises(SpaceMismatch):
        await _ask(recommender, VectorExample(Vector("own", np.zeros(2, np.float32))))


async def test_a_bad_picture_is_refused_by_field(recommender: Recommender) -> None:
    with pytest.raises(BadPicture) as caught:
        await _ask(recommender, PictureExample(TEXT))
    assert caught.value.field == "examples[0].picture"


async def test_items_and_vectors_go_on_while_the_embedder_is_down(
    recommender: Recommender, embedder: FakeEmbedder
) -> None:
    embedder.down = True
    assert _ids(await _ask(recommender, ItemExample("red")))
    with pytest.raises(EmbedderUnavailable):
        await _ask(recommender, PictureExample(png(GREEN)))


async def test_items_come_along_when_asked_for(recommender: Recommender) -> None:
    basic = await _ask(recommender, ItemExample("red"), k=1, detail=Detail.BASIC)
    assert basic.items is not None
    assert basic.items["reddish"].vectors is None
    full = await _ask(recommender, ItemExample("red"), k=1, detail=Detail.FULL)
    assert full.items is not None
    assert full.items["reddish"].vectors


async def test_an_item_deleted_between_search_and_reading_is_replaced(visual: Space, pictures: PictureEmbedder) -> None:
    class Fleeting(FakeCatalog):
        """Loses the item "near" right after it was found first."""

        async def search(self, space: str, query: Float32Array, k: int, **wish: Any) -> SearchResult:
            result = await super().search(space, query, k, **wish)
            if any(neighbour.item_id == "near" for neighbour in result.neighbours):
                await self.write([ItemDeletion("near")])
            return result

    catalog = Fleeting([visual])
    axis = np.eye(visual.dimension, dtype=np.float32)
    await catalog.write([vectored("near", axis[0]), vectored("next", unit(*(axis[0] + axis[1])))])
    example = VectorExample(Vector("visual", axis[0], visual.fingerprint))
    found = await _ask(Recommender(catalog, pictures), example, k=1, detail=Detail.BASIC)
    assert _ids(found) == ["next"]


async def test_an_item_that_the_index_knows_and_the_store_does_not_is_passed_over(
    visual: Space, pictures: PictureEmbedder
) -> None:
    class Haunted(FakeCatalog):
        """Finds the item "ghost", and has nothing to tell of it."""

        async def get(self, item_ids: Sequence[str], *, vectors: bool) -> list[Item | None]:
            found = await super().get(item_ids, vectors=vectors)
            return [None if item is not None and item.id == "ghost" else item for item in found]

    catalog = Haunted([visual])
    axis = np.eye(visual.dimension, dtype=np.float32)
    await catalog.write([vectored("ghost", axis[0]), vectored("real", unit(*(axis[0] + axis[1])))])
    example = VectorExample(Vector("visual", axis[0], visual.fingerprint))
    found = await _ask(Recommender(catalog, pictures), example, k=1, detail=Detail.BASIC)
    assert _ids(found) == ["real"]
