from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinset_exporter.datasets.errors import DataError
from twinset_exporter.errors import UsageError
from twinset_exporter.training.category import items
from twinset_exporter.training.category.items import Source

from .conftest import COUNT, SIDE, Shop


def source(shop: Shop, label: str = "stripes") -> Source:
    return Source(shop.pictures, shop.table, label)


def test_every_labelled_item_is_read_with_its_class(shop: Shop) -> None:
    found = items.read(source(shop), 0)
    assert (found.names, found.unlabelled, len(found.ids)) == (("level", "upright"), 0, COUNT)
    assert [found.names[number] for number in found.classes] == list(shop.labels)
    assert list(found.columns) == ["stripes", "colour"]


def test_an_item_without_a_label_is_left_out_and_counted(shop: Shop) -> None:
    shop.table.write_text(shop.table.read_text().replace("item-007,upright", "item-007,"))
    found = items.read(source(shop), 0)
    assert (found.unlabelled, "item-007" in found.ids) == (1, False)


def test_a_fifth_validates_and_the_same_picture_is_never_on_both_sides(shop: Shop) -> None:
    first = (shop.pictures / "item-000.png").read_bytes()
    for number in range(0, 24, 2):
        (shop.pictures / f"item-{number:03}.png").write_bytes(first)
    found = items.read(source(shop), 0)
    train, validation = (set(found.split[name].tolist()) for name in ("train", "test"))
    assert len(validation) == pytest.approx(COUNT / 5, abs=6)
    same = set(range(0, 24, 2))
    assert same <= train or same <= validation


def test_the_split_follows_the_seed(shop: Shop) -> None:
    checksums = [items.read(source(shop), seed).split.checksum for seed in (0, 0, 1)]
    assert checksums[0] == checksums[1] != checksums[2]


@pytest.mark.parametrize(
    ("label", "told"), [("shape", "no column 'shape': it has stripes, colour"), ("colour", "all 60 items .* 'grey'")]
)
def test_what_can_t_be_learned_is_refused(shop: Shop, label: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        items.read(source(shop, label), 0)


def test_too_few_items_are_refused(shop: Shop) -> None:
    shop.table.write_text("\n".join(shop.table.read_text().splitlines()[:10]))
    with pytest.raises(UsageError, match="labels 9 items in 'stripes': a head needs 20 or more"):
        items.read(source(shop), 0)


def test_pictures_are_decoded_as_a_model_of_that_size_sees_them(shop: Shop) -> None:
    found = items.read(source(shop), 0)
    pictures = items.decoded(found.paths[:3], SIDE)
    assert (pictures.shape, pictures.dtype) == ((3, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_array_equal(pictures[0, :, :, 0], np.array(Image.open(found.paths[0])))


def test_a_broken_picture_is_named(shop: Shop, tmp_path: Path) -> None:
    (shop.pictures / "item-001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"item-001\.png: expected a picture"):
        items.decoded(items.read(source(shop), 0).paths, SIDE)
