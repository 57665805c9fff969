"""Items' categories: what models that take them make of them, and what predicts missing ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeClassifier
from fakes.pictures import BLUE, GREEN, RED, png
from fakes.service import filled_by
from twinset_server.domain import (
    Item,
    ItemDraft,
    ItemUpdate,
    ItemUpdateDraft,
    PictureDraft,
    Prediction,
    Receipt,
    Vector,
    WritableItem,
)
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import ItemChanged, ItemNotFound, NoClasses, PictureNotStored, TwinsetError
from twinset_server.ingest import Ingest

SPACES = {"pair_source": 10, "pair_target": 20}
"""How far the fake model moves a vector of each space for one step of the category."""


@pytest.fixture
def embedder() -> FakeClassifier:
    return FakeClassifier()


@pytest.fixture
def catalog(embedder: FakeClassifier) -> FakeCatalog:
    return FakeCatalog(filled_by(embedder.contract))


@pytest.fixture
async def pictures(embedder: FakeClassifier) -> AsyncIterator[PictureEmbedder]:
    opened = PictureEmbedder(
        embedder, max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20, decode_threads=2
    )
    yield opened
    opened.close()


@pytest.fixture
def ingest(catalog: FakeCatalog, pictures: PictureEmbedder) -> Ingest:
    """One that fills no categories."""
    return Ingest(catalog, pictures)


@pytest.fixture
def filling(catalog: FakeCatalog, pictures: PictureEmbedder) -> Ingest:
    """One that fills missing categories by the shade of the main picture."""
    return Ingest(catalog, pictures, "shade")


def drafts(*contents: bytes) -> list[PictureDraft]:
    return [PictureDraft(str(place), content) for place, content in enumerate(contents)]


async def put(ingest: Ingest, *items: ItemDraft) -> list[WritableItem]:
    prepared = await ingest.items(items, timeout_s=5)
    written = await ingest.commit(WritableItem, [one.id for one in items], prepared)
    assert all(isinstance(outcome, Receipt) for outcome in written.outcomes), written.outcomes
    return [one for one in prepared if isinstance(one, WritableItem)]


async def update(ingest: Ingest, draft: ItemUpdateDraft) -> tuple[ItemUpdate, Receipt | TwinsetError]:
    [prepared] = await ingest.updates([draft], timeout_s=5)
    [outcome] = (await ingest.commit(ItemUpdate, [draft.id], [prepared])).outcomes
    assert isinstance(prepared, ItemUpdate), prepared
    return prepared, outcome


async def stored(catalog: FakeCatalog, item_id: str = "a") -> Item:
    [item] = await catalog.get([item_id], vectors=True)
    assert item is not None
    return item


def steps(item: Item | WritableItem, picture: str = "0") -> list[int]:
    """Return by how many steps of the category the item's vectors in both spaces of the pair were moved."""
    rows = {vector.space: vector.values for vector in item.vectors or () if vector.picture_id == picture}
    return [int(rows[space][0] // step) for space, step in SPACES.items()]


async def test_a_put_item_is_embedded_with_its_category(ingest: Ingest, catalog: FakeCatalog) -> None:
    categories = ["", "sofa", "lamp"]
    await put(ingest, *(ItemDraft(c or "none", category=c, pictures=drafts(png(RED))) for c in categories))
    assert [steps(await stored(catalog, c or "none")) for c in categories] == [[0, 0], [1, 1], [2, 2]]


async def test_a_category_that_the_model_does_not_know_is_unknown_and_said_to_be(ingest: Ingest) -> None:
    given = [ItemDraft(name, category=name, pictures=drafts(png(RED))) for name in ("rug", "sofa")]
    rug, sofa = await put(ingest, *given)
    assert (steps(rug), rug.category, rug.category_unknown) == ([0, 0], "rug", True)
    assert not sofa.category_unknown


async def test_the_same_picture_with_the_same_category_is_not_embedded_again(
    ingest: Ingest, embedder: FakeClassifier
) -> None:
    await put(ingest, ItemDraft("a", category="sofa", pictures=drafts(png(RED))))
    await put(ingest, ItemDraft("a", category="sofa", title="t", pictures=drafts(png(RED))))
    assert embedder.embedded == 1
    (item,) = await put(ingest, ItemDraft("a", category="lamp", pictures=drafts(png(RED))))
    assert (embedder.embedded, steps(item)) == (2, [2, 2])
    await put(ingest, ItemDraft("b", category="rug", pictures=drafts(png(RED))))
    await put(ingest, ItemDraft("b", category="", pictures=drafts(png(RED))))
    assert embedder.embedded == 3  # both are unknown


async def test_an_updated_category_moves_the_vectors_of_all_kept_pictures(ingest: Ingest, catalog: FakeCatalog) -> None:
    await put(ingest, ItemDraft("a", category="sofa", pictures=drafts(png(RED), png(BLUE))))
    before = await stored(catalog)
    prepared, outcome = await update(ingest, ItemUpdateDraft("a", category="lamp"))
    assert isinstance(outcome, Receipt)
    after = await stored(catalog)
    assert (after.category, steps(after), steps(after, "1"), prepared.category_unknown) == (
        "lamp",
        [2, 2],
        [2, 2],
        False,
    )
    visual = [[v.values for v in item.vectors or () if v.space == "visual"] for item in (before, after)]
    np.testing.assert_array_equal(*visual)
    assert after.pictures == before.pictures


async def test_an_updated_category_of_the_same_number_costs_no_embedding(
    ingest: Ingest, catalog: FakeCatalog, embedder: FakeClassifier
) -> None:
    await put(ingest, ItemDraft("a", category="rug", pictures=drafts(png(RED))))
    prepared, outcome = await update(ingest, ItemUpdateDraft("a", category="vase"))
    assert isinstance(outcome, Receipt)
    assert (prepared.category_unknown, prepared.vectors, embedder.embedded) == (True, None, 1)
    assert (await stored(catalog)).category == "vase"


async def test_a_vector_of_the_caller_stays_whatever_the_category(ingest: Ingest, catalog: FakeCatalog) -> None:
    fingerprint = filled_by(FakeClassifier().contract)[1].fingerprint
    own = Vector("pair_source", np.array([7, 7], np.float32), fingerprint)
    await put(ingest, ItemDraft("a", category="sofa", pictures=drafts(png(RED)), vectors=[own]))
    await update(ingest, ItemUpdateDraft("a", category="lamp"))
    rows = {vector.space: vector for vector in (await stored(catalog)).vectors or ()}
    assert (rows["pair_source"].picture_id, rows["pair_source"].values.tolist()) == ("", [7, 7])
    assert rows["pair_target"].values[0] // 20 == 2


async def test_an_updated_category_needs_the_pictures_where_it_makes_other_vectors(
    embedder: FakeClassifier, pictures: PictureEmbedder
) -> None:
    catalog = FakeCatalog(filled_by(embedder.contract), keep_pictures=False)
    ingest = Ingest(catalog, pictures)
    await put(ingest, ItemDraft("a", category="sofa", pictures=drafts(png(RED))))
    [refused] = await ingest.updates([ItemUpdateDraft("a", category="lamp")], timeout_s=5)
    assert isinstance(refused, PictureNotStored)
    assert "(spaces: pair_source, pair_target)" in refused.message
    assert "put it with its pictures" in refused.message
    assert (await stored(catalog)).category == "sofa"
    _, outcome = await update(ingest, ItemUpdateDraft("a", category="lamp", pictures=drafts(png(RED))))
    assert isinstance(outcome, Receipt)
    assert steps(await stored(catalog)) == [2, 2]


async def test_an_updated_category_of_nothing_stored_is_told(ingest: Ingest) -> None:
    [refused] = await ingest.updates([ItemUpdateDraft("gone", category="lamp")], timeout_s=5)
    assert isinstance(refused, ItemNotFound)


async def test_new_pictures_are_embedded_with_the_stored_category(ingest: Ingest, catalog: FakeCatalog) -> None:
    await put(ingest, ItemDraft("a", category="lamp", pictures=drafts(png(RED))))
    await update(ingest, ItemUpdateDraft("a", pictures=drafts(png(BLUE))))
    assert steps(await stored(catalog)) == [2, 2]


@pytest.mark.parametrize(
    "first", [ItemUpdateDraft("a", pictures=drafts(png(BLUE))), ItemUpdateDraft("a", category="sofa")]
)
async def test_an_update_made_for_another_category_is_refused(ingest: Ingest, first: ItemUpdateDraft) -> None:
    await put(ingest, ItemDraft("a", category="lamp", pictures=drafts(png(RED))))
    [prepared] = await ingest.updates([first], timeout_s=5)
    await update(ingest, ItemUpdateDraft("a", category="", pictures=drafts(png(GREEN))))
    [outcome] = (await ingest.commit(ItemUpdate, ["a"], [prepared])).outcomes
    assert isinstance(outcome, ItemChanged)
    assert isinstance((await update(ingest, first))[1], Receipt)


async def test_a_missing_category_is_predicted_from_the_main_picture(filling: Ingest, catalog: FakeCatalog) -> None:
    await put(filling, ItemDraft("a", pictures=drafts(png(BLUE), png(RED))))
    item = await stored(catalog)
    assert item.category == "blue"
    assert item.category_probability is not None
    assert 0.5 < item.category_probability <= 1
    assert steps(item) == [0, 0]


async def test_a_category_of_the_caller_always_wins(filling: Ingest, catalog: FakeCatalog) -> None:
    await put(filling, ItemDraft("a", category="sofa", pictures=drafts(png(BLUE))))
    assert ((await stored(catalog)).category, (await stored(catalog)).category_probability) == ("sofa", None)


async def test_without_a_picture_or_the_setting_nothing_is_predicted(
    ingest: Ingest, filling: Ingest, catalog: FakeCatalog
) -> None:
    await put(filling, ItemDraft("none"))
    await put(ingest, ItemDraft("off", pictures=drafts(png(RED))))
    assert [(await stored(catalog, name)).category for name in ("none", "off")] == ["", ""]


async def test_another_picture_predicts_again_and_the_same_one_the_same(filling: Ingest, catalog: FakeCatalog) -> None:
    await put(filling, ItemDraft("a", pictures=drafts(png(BLUE))))
    first = await stored(catalog)
    await put(filling, ItemDraft("a", title="t", pictures=drafts(png(BLUE))))
    again = await stored(catalog)
    assert (again.category, again.category_probability) == (first.category, first.category_probability)
    await put(filling, ItemDraft("a", pictures=drafts(png(RED))))
    assert (await stored(catalog)).category == "red"
    await update(filling, ItemUpdateDraft("a", pictures=drafts(png(GREEN))))
    assert (await stored(catalog)).category == "green"


async def test_an_update_clears_the_mark_and_an_own_category_is_kept_by_new_pictures(
    filling: Ingest, catalog: FakeCatalog
) -> None:
    await put(filling, ItemDraft("a", pictures=drafts(png(BLUE))))
    await update(filling, ItemUpdateDraft("a", category="lamp"))
    item = await stored(catalog)
    assert (item.category, item.category_probability, steps(item)) == ("lamp", None, [2, 2])
    await update(filling, ItemUpdateDraft("a", pictures=drafts(png(RED))))
    item = await stored(catalog)
    assert (item.category, item.category_probability, steps(item)) == ("lamp", None, [2, 2])


async def test_a_guess_sent_back_is_no_fact(ingest: Ingest, filling: Ingest, catalog: FakeCatalog) -> None:
    guess = Prediction("sofa", 0.75)
    await put(ingest, ItemDraft("a", pictures=drafts(png(RED)), guess=guess), ItemDraft("b", guess=guess))
    for name in "ab":
        item = await stored(catalog, name)
        assert (item.category, item.category_probability) == ("sofa", 0.75)
    assert steps(await stored(catalog)) == [0, 0]
    await put(filling, ItemDraft("a", pictures=drafts(png(RED)), guess=guess))
    assert (await stored(catalog)).category == "red"


async def test_what_predicts_is_a_part_of_what_an_item_was_made_from(
    ingest: Ingest, filling: Ingest, catalog: FakeCatalog, pictures: PictureEmbedder
) -> None:
    async def digest(ingest: Ingest, draft: ItemDraft) -> bytes:
        [item] = await ingest.inspect([draft])
        assert not isinstance(item, TwinsetError)
        return item.digest

    lacking, own = (
        ItemDraft("a", pictures=drafts(png(RED))),
        ItemDraft("a", "c", category="c", pictures=drafts(png(RED))),
    )
    guessed = ItemDraft("a", pictures=drafts(png(RED)), guess=Prediction("sofa", 0.75))
    assert await digest(ingest, own) == await digest(filling, own)
    assert len({await digest(ingest, lacking), await digest(filling, lacking), await digest(ingest, guessed)}) == 3
    assert await digest(filling, lacking) == await digest(filling, guessed)


async def test_an_output_without_classes_predicts_nothing_and_says_so(
    catalog: FakeCatalog, pictures: PictureEmbedder
) -> None:
    for output in ("source", "nonsense"):
        [refused] = await Ingest(catalog, pictures, output).items(
            [ItemDraft("a", pictures=drafts(png(RED)))], timeout_s=5
        )
        assert isinstance(refused, NoClasses)
        assert f"{output!r}, which is to fill missing categories (catalog.fill_category): it has them in shade" in str(
            refused
        )


async def test_many_items_are_predicted_each_from_its_own_picture(filling: Ingest, catalog: FakeCatalog) -> None:
    shades: Sequence[tuple[str, bytes]] = [("red", png(RED)), ("green", png(GREEN)), ("blue", png(BLUE))] * 3
    await asyncio.gather(
        *(put(filling, ItemDraft(f"{n}", pictures=drafts(content))) for n, (_, content) in enumerate(shades))
    )
    assert [(await stored(catalog, f"{n}")).category for n in range(9)] == [name for name, _ in shades]
