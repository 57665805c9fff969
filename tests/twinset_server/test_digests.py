"""A digest tells whether an item would be made anew."""

import datetime
from dataclasses import replace

import numpy as np
import pytest

from fakes.items import new_picture
from twinset_server.digests import item_digest
from twinset_server.domain import Attribute, ItemDraft, ItemVector

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
DRAFT = ItemDraft("a", "t", "u", "c", {"x": 1, "y": "2"})
PICTURES = [new_picture("0", b"one"), new_picture("1", b"two")]
VECTORS = [ItemVector("own", "", np.array([1, 2], np.float32))]
MODELS = {"visual": "a" * 64}
DIGEST = item_digest(DRAFT, PICTURES, VECTORS, MODELS)


def test_equal_content_has_one_digest_whatever_its_order_id_or_etag() -> None:
    other = replace(DRAFT, id="b", etag="1", attributes={"y": "2", "x": 1})
    assert item_digest(other, list(PICTURES), list(VECTORS), dict(MODELS)) == DIGEST
    assert len(DIGEST) == 32


@pytest.mark.parametrize(
    "draft",
    [
        replace(DRAFT, title="T"),
        replace(DRAFT, title="", uri="tu"),
        replace(DRAFT, category=""),
        replace(DRAFT, attributes={"x": 2, "y": "2"}),
        replace(DRAFT, attributes={"x": 1}),
    ],
)
def test_another_field_makes_another_digest(draft: ItemDraft) -> None:
    assert item_digest(draft, PICTURES, VECTORS, MODELS) != DIGEST


def test_attributes_of_another_type_make_another_digest() -> None:
    values: list[Attribute] = [1, 1.0, True, "1", ("1",), "true", NOON, NOON.isoformat(), (NOON.isoformat(),)]
    digests = {item_digest(replace(DRAFT, attributes={"x": value}), [], [], {}) for value in values}
    assert len(digests) == len(values)


def test_pictures_vectors_and_models_count() -> None:
    changed = [
        item_digest(DRAFT, PICTURES[:1], VECTORS, MODELS),
        item_digest(DRAFT, PICTURES[::-1], VECTORS, MODELS),
        item_digest(DRAFT, [new_picture("0", b"one"), new_picture("1", b"TWO")], VECTORS, MODELS),
        item_digest(DRAFT, PICTURES, [], MODELS),
        item_digest(DRAFT, PICTURES, [ItemVector("own", "", np.array([2, 1], np.float32))], MODELS),
        item_digest(DRAFT, PICTURES, [ItemVector("other", "", VECTORS[0].values)], MODELS),
        item_digest(DRAFT, PICTURES, VECTORS, {"visual": "b" * 64}),
        item_digest(DRAFT, PICTURES, VECTORS, {}),
    ]
    assert len({DIGEST, *changed}) == len(changed) + 1
