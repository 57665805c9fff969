"""Items are checked and embedded one by one, and committed as they came."""

from dataclasses import replace

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.pictures import BLUE, GREEN, RED, TEXT, png
from twinset_server.domain import (
    ItemDraft,
    ItemUpdate,
    ItemUpdateDraft,
    PictureDraft,
    Receipt,
    Space,
    Vector,
    WritableItem,
)
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import (
    BadPicture,
    BadVector,
    EmbedderUnavailable,
    FingerprintMismatch,
    InvalidRequest,
    SpaceMismatch,
    TwinsetError,
)
from twinset_server.ingest import Ingest


@pytest.fixture
def ingest(catalog: FakeCatalog, pictures: PictureEmbedder) -> Ingest:
    return Ingest(catalog, pictures)


def _draft(item_id: str, *contents: bytes, vectors: tuple[Vector, ...] = ()) -> ItemDraft:
    drafts = [PictureDraft(str(n), content) for n, content in enumerate(contents)]
    return ItemDraft(item_id, pictures=drafts, vectors=vectors)


async def _prepare(ingest: Ingest, draft: ItemDraft) -> WritableItem | TwinsetError:
    (result,) = await ingest.items([draft], timeout_s=5)
    return result


async def test_every_picture_gets_a_vector_and_its_facts(ingest: Ingest, visual: Space) -> None:
    item = await _prepare(ingest, _draft("a", png(RED), png(BLUE)))
    assert isinstance(item, WritableItem)
    assert [(v.space, v.picture_id) for v in item.vectors] == [("visual", "0"), ("visual", "1")]
    assert [(p.picture.media_type, p.picture.width, p.picture.height) for p in item.pictures] == [
        ("image/png", 40, 30)
    ] * 2


async def test_a_vector_of_the_caller_stands_in_for_the_embedding(
    ingest: Ingest, visual: Space, embedder: FakeEmbedder
) -> None:
    values = np.zeros(visual.dimension, np.float32)
    values[3] = 2
    item = await _prepare(ingest, _draft("a", png(RED), vectors=(Vector("visual", values, visual.fingerprint),)))
    assert isinstance(item, WritableItem)
    (vector,) = item.vectors
    assert (vector.picture_id, vector.values[3]) == ("", 1)
    assert embedder.embedded == 0


async def test_one_bad_item_leaves_the_others_alone(ingest: Ingest) -> None:
    prepared = await ingest.items([_draft("a", png(RED)), _draft("b", png(RED), TEXT), _draft("")], timeout_s=5)
    committed = (await ingest.commit(WritableItem, ["a", "b", ""], prepared)).outcomes
    assert isinstance(committed[0], Receipt)
    assert isinstance(committed[1], BadPicture)
    assert committed[1].field == "pictures[1].content"
    assert isinstance(committed[2], InvalidRequest)
    assert committed[2].field == "id"


@pytest.mark.parametrize(
    ("vector", "error", "field"),
    [
        (Vector("nowhere", np.ones(2, np.float32)), SpaceMismatch, "vectors[0].space"),
        (Vector("own", np.ones(3, np.float32)), BadVector, "vectors[0].values"),
        (Vector("own", np.ones(2, np.float32), "d" * 64), FingerprintMismatch, "vectors[0].fingerprint"),
    ],
)
async def test_a_vector_that_does_not_belong_is_refused(
    ingest: Ingest, vector: Vector, error: type[TwinsetError], field: str
) -> None:
    result = await _prepare(ingest, _draft("a", vectors=(vector,)))
    assert isinstance(result, error)
    assert field in result.message


async def test_an_item_without_pictures_needs_no_embedder(ingest: Ingest, embedder: FakeEmbedder) -> None:
    embedder.down = True
    assert isinstance(await _prepare(ingest, _draft("a")), WritableItem)


async def test_an_item_that_needs_an_embedder_which_is_down_is_not_stored(
    ingest: Ingest, embedder: FakeEmbedder, catalog: FakeCatalog
) -> None:
    embedder.down = True
    prepared = await _prepare(ingest, _draft("a", png(RED)))
    (result,) = (await ingest.commit(WritableItem, ["a"], [prepared])).outcomes
    assert isinstance(result, EmbedderUnavailable)
    assert (await catalog.status()).items == 0


async def _put(ingest: Ingest, draft: ItemDraft) -> None:
    (outcome,) = (await ingest.commit(WritableItem, [draft.id], [await _prepare(ingest, draft)])).outcomes
    assert isinstance(outcome, Receipt)


async def test_a_changed_price_never_embeds_again(ingest: Ingest, embedder: FakeEmbedder) -> None:
    draft = _draft("a", png(RED), png(BLUE))
    await _put(ingest, draft)
    assert embedder.embedded == 2
    updates = await ingest.updates([ItemUpdateDraft("a", changed_attributes={"price": 2})], timeout_s=5)
    await ingest.commit(ItemUpdate, ["a"], updates)
    embedder.down = True
    again = await _prepare(ingest, replace(draft, attributes={"price": 3}))
    assert isinstance(again, WritableItem)
    assert [vector.picture_id for vector in again.vectors] == ["0", "1"]


async def test_only_pictures_that_are_new_are_embedded(ingest: Ingest, embedder: FakeEmbedder) -> None:
    await _put(ingest, _draft("a", png(RED), png(BLUE)))
    first = await _prepare(ingest, _draft("a", png(RED), png(BLUE)))
    await _put(ingest, _draft("b", png(GREEN)))
    before = embedder.embedded
    moved = await _prepare(ingest, _draft("a", png(BLUE), png(GREEN), png(RED)))
    assert embedder.embedded == before + 1
    assert isinstance(first, WritableItem)
    assert isinstance(moved, WritableItem)
    assert [vector.picture_id for vector in moved.vectors] == ["0", "1", "2"]
    np.testing.assert_array_equal(moved.vectors[0].values, first.vectors[1].values)
    np.testing.assert_array_equal(moved.vectors[2].values, first.vectors[0].values)


async def test_an_update_with_the_same_pictures_embeds_nothing(ingest: Ingest, embedder: FakeEmbedder) -> None:
    await _put(ingest, _draft("a", png(RED)))
    embedder.down = True
    (update,) = await ingest.updates([ItemUpdateDraft("a", pictures=[PictureDraft("x", png(RED))])], timeout_s=5)
    assert isinstance(update, ItemUpdate)
    assert [vector.picture_id for vector in update.vectors or ()] == ["x"]


async def test_a_vector_of_the_callers_own_never_stands_for_a_picture(
    ingest: Ingest, visual: Space, embedder: FakeEmbedder
) -> None:
    own = Vector("visual", np.ones(visual.dimension, np.float32), visual.fingerprint)
    await _put(ingest, _draft("a", png(RED), vectors=(own,)))
    await _prepare(ingest, _draft("a", png(RED)))
    assert embedder.embedded == 1


async def test_a_model_other_than_the_space_s_never_fills_it(pictures: PictureEmbedder, visual: Space) -> None:
    other = Space("visual", visual.dimension, visual.metric, "e" * 64, "other")
    result = await _prepare(Ingest(FakeCatalog([other]), pictures), _draft("a", png(RED)))
    assert isinstance(result, SpaceMismatch)
    assert visual.fingerprint in result.message
    assert other.fingerprint in result.message
