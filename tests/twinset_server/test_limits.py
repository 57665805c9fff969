"""Each field over its limit is refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from twinset_server import limits
from twinset_server.domain import Attribute, ItemDraft, PictureDraft, Vector
from twinset_server.errors import InvalidRequest

GOOD = ItemDraft(id="shoes/1", title="t", attributes={"price": 9.5, "tags": ("a", "b"), "new": True, "stock": 3})


def test_a_good_item_passes() -> None:
    limits.check_item(GOOD)


@pytest.mark.parametrize("item_id", ["a", "ü" * 128, "a b", "../../etc", "日本"])
def test_an_id_is_any_text_of_up_to_256_bytes(item_id: str) -> None:
    limits.check_item(replace(GOOD, id=item_id))


@pytest.mark.parametrize("item_id", ["", "a" * 257, "ü" * 129, "a\nb", "a\x00", "\x7f", "\x85"])
def test_a_bad_id_is_refused(item_id: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.check_item(replace(GOOD, id=item_id))
    assert caught.value.field == "id"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": "x" * 1025}, "title"),
        ({"uri": "x" * 2049}, "uri"),
        ({"category": "x" * 257}, "category"),
        ({"pictures": [PictureDraft(str(n), b"") for n in range(17)]}, "pictures"),
        ({"pictures": [PictureDraft("a", b""), PictureDraft("a", b"")]}, "pictures[1].id"),
        ({"pictures": [PictureDraft("a\n", b"")]}, "pictures[0].id"),
        ({"vectors": [Vector("v", np.zeros(1, np.float32))] * 2}, "vectors[1].space"),
        ({"attributes": {str(n): n for n in range(65)}}, "attributes"),
        ({"attributes": {"": 1}}, "attributes"),
        ({"attributes": {f"a{n}": tuple("x" * 1024 for _ in range(33)) for n in range(2)}}, "attributes"),
    ],
)
def test_a_field_over_its_limit_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.check_item(replace(GOOD, **change))  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(
    "value", ["x" * 1025, float("nan"), float("-inf"), ("x",) * 65, ("x" * 1025,)], ids=lambda value: str(value)[:12]
)
def test_a_bad_attribute_is_named(value: Attribute) -> None:
    with pytest.raises(InvalidRequest, match="'size'"):
        limits.check_item(replace(GOOD, attributes={"size": value}))


def test_a_count_outside_its_bounds_is_refused() -> None:
    limits.check_count("ids", ["a"], 1, least=1)
    with pytest.raises(InvalidRequest, match="at least 1"):
        limits.check_count("ids", [], 1, least=1)
    with pytest.raises(InvalidRequest, match="at most 1"):
        limits.check_count("ids", ["a", "b"], 1)
