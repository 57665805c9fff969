"""Answers and changes while another model comes to serve: never a vector of one among those of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.pictures import BLUE, GREEN, RED, png
from fakes.service import filled_by
from twinset_server.domain import (
    VISUAL,
    Change,
    ItemDraft,
    ItemUpdate,
    ItemUpdateDraft,
    PictureDraft,
    Receipt,
    Search,
    SearchResult,
    Space,
    UserDraft,
    Vector,
    WritableItem,
    WritableUser,
    Written,
)
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import FingerprintMismatch, TooManyPictures
from twinset_server.ingest import Ingest
from twinset_server.recommend import Example, PictureExample, Recommender, Request, VectorExample

MODELS = [FakeEmbedder(name="first"), FakeEmbedder(24, 24, name="second")]
SPACES = [filled_by(model.contract)[0] for model in MODELS]


class Switching(FakeCatalog):
    """Lets the second model serve just before its next write, or its next search."""

    at_write = at_search = False

    async def write(self, changes: Sequence[Change], *, request_id: str = "", digest: bytes = b"") -> Written:
        if self.at_write:
            self.at_write = False
            self.switch(SPACES[1])
        return await super().write(changes, request_id=request_id, digest=digest)

    def _search(self, asked: Search) -> SearchResult:
        if self.at_search:
            self.at_search = False
            self.switch(SPACES[1])
        return super()._search(asked)


class TwoModels:
    """`Pictures` of both models."""

    def __init__(self, catalog: FakeCatalog) -> None:
        self._catalog = catalog
        self._by_model = {
            model.contract.model: PictureEmbedder(
                model, max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20, decode_threads=1
            )
            for model in MODELS
        }

    @property
    def now(self) -> PictureEmbedder:
        return self.of(self._catalog.spaces())

    def of(self, spaces: Mapping[str, Space]) -> PictureEmbedder:
        return self._by_model[spaces[VISUAL].model or ""]

    is_well = True
    is_full = False

    def refusal(self) -> TooManyPictures:
        raise AssertionError("never full")

    def close(self) -> None:
        for pictures in self._by_model.values():
            pictures.close()


@pytest.fixture
def catalog() -> Switching:
    return Switching([SPACES[0]])


@pytest.fixture
def pictures(catalog: Switching) -> Iterator[TwoModels]:
    both = TwoModels(catalog)
    yield both
    both.close()


def draft(item_id: str, content: bytes) -> ItemDraft:
    return ItemDraft(item_id, pictures=[PictureDraft("main", content)])


async def stored(catalog: FakeCatalog, item_id: str) -> list[tuple[str, str]]:
    [item] = await catalog.get([item_id], vectors=True)
    return [(one.picture_id, one.fingerprint) for one in (item.vectors or ())] if item else []


@pytest.mark.parametrize("request_id", ["", "named"])
async def test_a_put_that_meets_a_switch_is_embedded_again(
    catalog: Switching, pictures: TwoModels, request_id: str
) -> None:
    ingest = Ingest(catalog, pictures)
    prepared = await ingest.items([draft("a", png(RED)), ItemDraft("bare")], timeout_s=5)
    catalog.at_write = True
    written = await ingest.commit(WritableItem, ["a", "bare"], prepared, request_id=request_id, digest=b"d")
    assert all(isinstance(outcome, Receipt) for outcome in written.outcomes)
    assert await stored(catalog, "a") == [("main", SPACES[1].fingerprint)]
    assert await catalog.get(["bare"], vectors=False) != [None]


async def test_an_update_that_meets_a_switch_is_embedded_again(catalog: Switching, pictures: TwoModels) -> None:
    ingest = Ingest(catalog, pictures)
    await ingest.commit(WritableItem, ["a"], await ingest.items([draft("a", png(RED))], timeout_s=5))
    update = ItemUpdateDraft("a", title="new", pictures=[PictureDraft("other", png(BLUE))])
    prepared = await ingest.updates([update], timeout_s=5)
    catalog.at_write = True
    written = await ingest.commit(ItemUpdate, ["a"], prepared)
    assert isinstance(written.outcomes[0], Receipt)
    assert await stored(catalog, "a") == [("other", SPACES[1].fingerprint)]


async def test_a_put_vector_of_the_model_before_is_refused_with_both_named(
    catalog: Switching, pictures: TwoModels
) -> None:
    ingest = Ingest(catalog, pictures)
    vector = Vector(VISUAL, np.ones(SPACES[0].dimension, np.float32), SPACES[0].fingerprint)
    items = await ingest.items([ItemDraft("a", vectors=[vector])], timeout_s=5)
    users = await ingest.users([UserDraft("u", vectors=[vector])])
    catalog.at_write = True
    [item] = (await ingest.commit(WritableItem, ["a"], items)).outcomes
    [user] = (await ingest.commit(WritableUser, ["u"], users)).outcomes
    for refused in (item, user):
        assert isinstance(refused, FingerprintMismatch)
        assert (refused.given, refused.expected) == (SPACES[0].fingerprint, SPACES[1].fingerprint)


async def test_an_answer_to_a_picture_is_of_one_model_whatever_is_switched_meanwhile(
    catalog: Switching, pictures: TwoModels
) -> None:
    ingest, recommender = Ingest(catalog, pictures), Recommender(catalog, pictures)
    request = Request([Example(PictureExample(png(GREEN)))], k=2)
    for ask in ("one", "many"):
        catalog.switch(SPACES[0])
        await ingest.commit(WritableItem, ["a"], await ingest.items([draft("a", png(GREEN))], timeout_s=5))
        embedded = MODELS[1].embedded
        catalog.at_search = True
        if ask == "one":
            found = await recommender.recommend(request, timeout_s=5)
        else:
            [found] = await recommender.recommend_many([request], timeout_s=5)  # type: ignore[assignment]
        assert (found.space.fingerprint, found.result.neighbours) == (SPACES[1].fingerprint, [])
        assert MODELS[1].embedded == embedded + 1


async def test_a_vector_of_the_model_before_is_refused_though_it_was_right_when_the_call_began(
    catalog: Switching, pictures: TwoModels
) -> None:
    vector = Vector(VISUAL, np.ones(SPACES[0].dimension, np.float32), SPACES[0].fingerprint)
    catalog.at_search = True
    with pytest.raises(FingerprintMismatch):
        await Recommender(catalog, pictures).recommend(Request([Example(VectorExample(vector))], k=1), timeout_s=5)
