"""Recommendations while factors are switched: never a vector of one training among items of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.factors import each, factors
from fakes.items import put, writable
from twinset_server.domain import TASTE, Search, SearchResult, Vector
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import FingerprintMismatch
from twinset_server.recommend import Example, ItemExample, Recommender, Relation, Request, UserExample, VectorExample


class Switching(FakeCatalog):
    """Switches to the other generation just before its next search."""

    switches = 0

    def _search(self, asked: Search) -> SearchResult:
        if self.switches:
            self.switches -= 1
            self._factors.activate(0)
        return super()._search(asked)


@pytest.fixture
async def catalog() -> Switching:
    catalog = Switching()
    await put(catalog, [writable(f"i{place}") for place in range(6)])
    for seed in range(2):
        header, items, users = factors(seed=seed)
        await catalog.import_factors(header, each(items, users))
    return catalog


@pytest.fixture
def recommender(catalog: Switching) -> Any:
    pictures = PictureEmbedder(
        FakeEmbedder(), max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20, decode_threads=2
    )
    yield Recommender(catalog, pictures)
    pictures.close()


def asked(subject: Any, relation: Relation = Relation.SIMILAR_TO) -> Request:
    return Request([Example(subject, relation)], space=TASTE, k=6)


async def test_an_answer_is_of_one_training_whatever_is_switched_meanwhile(
    catalog: Switching, recommender: Recommender
) -> None:
    catalog.switches = 1
    of_user, of_item = asked(UserExample("u1"), Relation.LIKED_BY), asked(ItemExample("i0"))
    for request in (of_user, of_item):
        catalog.switches = 1
        found = await recommender.recommend(request, timeout_s=1)
        assert found.space.generation == catalog.spaces()[TASTE].generation
        _, items, users = factors(seed=int(found.space.fingerprint, 16))
        query = users.factors[1] if request is of_user else items.factors[0]
        scores = items.factors.astype(np.float64) @ query
        expected = {f"i{place}": score for place, score in enumerate(scores) if request is of_user or place}
        assert {one.item_id: -one.distance for one in found.result.neighbours} == pytest.approx(expected)
        catalog.switches = 1
        [found] = await recommender.recommend_many([request], timeout_s=1)
        assert found.space.generation == catalog.spaces()[TASTE].generation


async def test_a_vector_of_the_training_before_is_refused(catalog: Switching, recommender: Recommender) -> None:
    space = catalog.spaces()[TASTE]
    catalog.switches = 1
    with pytest.raises(FingerprintMismatch):
        vector = Vector(TASTE, np.ones(4, np.float32), space.fingerprint)
        await recommender.recommend(asked(VectorExample(vector)), timeout_s=1)
