"""What every implementation of the port `Catalog` promises of categories that were predicted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.catalog import FakeCatalog
from fakes.items import new_picture, put, unit, writable
from twinset.contract import Metric
from twinset_server.catalog import open_alone
from twinset_server.config import StoreSettings
from twinset_server.domain import ItemUpdate, ItemVector, MadeFor, Prediction, Receipt, Space
from twinset_server.errors import ItemChanged

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
RED, BLUE = new_picture("0", b"red"), new_picture("1", b"blue")


@pytest.fixture(params=["fake", "sqlite"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeCatalog([VISUAL])
        return
    async with open_alone(StoreSettings(path=tmp_path / "store"), {}, [VISUAL]) as opened:
        yield opened


async def stored(catalog: Any, item_id: str = "a") -> tuple[str, float | None]:
    [item] = await catalog.get([item_id], vectors=False)
    assert [item] == await catalog.page(after="", limit=1, vectors=False)
    return item.category, item.category_probability


async def update(catalog: Any, **changes: Any) -> Any:
    [outcome] = (await catalog.write([ItemUpdate("a", **changes)])).outcomes
    return outcome


async def test_a_predicted_category_comes_back_with_its_probability(catalog: Any) -> None:
    await put(catalog, [writable("a", category="sofa", category_probability=0.75)])
    assert await stored(catalog) == ("sofa", 0.75)
    await put(catalog, [writable("a", category="sofa", category_probability=0.5)])
    assert await stored(catalog) == ("sofa", 0.5)
    await put(catalog, [writable("a", category="sofa")])
    assert await stored(catalog) == ("sofa", None)


async def test_a_deleted_item_leaves_no_prediction_to_the_next_of_its_id(catalog: Any) -> None:
    await put(catalog, [writable("a", category="sofa", category_probability=0.75)])
    async with catalog.feed() as feed:
        await feed.stage([writable("b")])
        await feed.commit()
    await put(catalog, [writable("a", category="lamp")])
    assert await stored(catalog) == ("lamp", None)


@pytest.mark.parametrize("category", ["lamp", "sofa", ""])
async def test_an_update_of_the_category_takes_the_prediction_away(catalog: Any, category: str) -> None:
    await put(catalog, [writable("a", category="sofa", category_probability=0.75)])
    assert isinstance(await update(catalog, category=category), Receipt)
    assert await stored(catalog) == (category, None)


async def test_an_update_of_something_else_leaves_it(catalog: Any) -> None:
    await put(catalog, [writable("a", category="sofa", category_probability=0.75)])
    await update(catalog, title="t")
    assert await stored(catalog) == ("sofa", 0.75)


@pytest.mark.parametrize(
    ("category", "probability", "expected"),
    [("", None, ("lamp", 0.5)), ("sofa", 0.75, ("lamp", 0.5)), ("sofa", None, ("sofa", None))],
    ids=["none", "predicted", "own"],
)
async def test_new_pictures_predict_anew_what_the_caller_does_not_say(
    catalog: Any, category: str, probability: float | None, expected: tuple[str, float | None]
) -> None:
    await put(catalog, [writable("a", pictures=[RED], category=category, category_probability=probability)])
    await update(catalog, pictures=[BLUE], vectors=[], prediction=Prediction("lamp", 0.5))
    assert await stored(catalog) == expected


async def test_a_category_that_comes_with_the_new_pictures_wins(catalog: Any) -> None:
    await put(catalog, [writable("a", pictures=[RED], category="sofa", category_probability=0.75)])
    await update(catalog, pictures=[BLUE], vectors=[], category="rug", prediction=Prediction("lamp", 0.5))
    assert await stored(catalog) == ("rug", None)


@pytest.mark.parametrize("pictures", [[], [BLUE]], ids=["none", "another"])
async def test_a_prediction_ends_with_the_pictures_that_it_is_of(catalog: Any, pictures: list[Any]) -> None:
    await put(catalog, [writable("a", pictures=[RED], category="sofa", category_probability=0.75)])
    await update(catalog, pictures=pictures, vectors=[])
    assert await stored(catalog) == ("", None)


async def test_a_feed_brings_predictions_and_takes_them_away(catalog: Any) -> None:
    await put(catalog, [writable("a", category="sofa", category_probability=0.75)])
    for given, expected in ((("lamp", 0.25), ("lamp", 0.25)), (("lamp", None), ("lamp", None))):
        async with catalog.feed() as feed:
            await feed.stage([writable("a", category=given[0], category_probability=given[1])])
            await feed.commit()
        assert await stored(catalog) == expected


async def test_vectors_of_pictures_come_with_the_category_that_the_caller_gave(catalog: Any) -> None:
    made = [ItemVector("visual", "0", unit(1, 0, 0))]
    await put(catalog, [writable("a", made, [RED], category="sofa"), writable("b", made, [RED])])
    await put(catalog, [writable("c", made, [RED], category="sofa", category_probability=0.75)])
    found = await catalog.picture_vectors({name: {RED.picture.sha256} for name in "abc"})
    assert {item_id: one.category for item_id, one in found.items()} == {"a": "sofa", "b": "", "c": ""}


async def test_vectors_made_for_what_the_item_is_not_any_more_are_refused(catalog: Any) -> None:
    await put(catalog, [writable("a", pictures=[RED, BLUE], category="sofa")])
    pictures = tuple((one.picture.id, one.picture.sha256) for one in (RED, BLUE))
    for made_for in (MadeFor("sofa"), MadeFor("sofa", pictures), MadeFor(None, pictures), MadeFor()):
        assert isinstance(await update(catalog, title="t", made_for=made_for), Receipt)
    for made_for in (MadeFor("lamp"), MadeFor(""), MadeFor("sofa", pictures[:1]), MadeFor(None, ())):
        assert isinstance(await update(catalog, title="u", made_for=made_for), ItemChanged)
    [item] = await catalog.get(["a"], vectors=False)
    assert item.title == "t"


async def test_a_predicted_category_is_none_that_vectors_were_made_for(catalog: Any) -> None:
    await put(catalog, [writable("a", category="sofa", category_probability=0.75)])
    assert isinstance(await update(catalog, title="t", made_for=MadeFor("")), Receipt)
    assert isinstance(await update(catalog, title="t", made_for=MadeFor("sofa")), ItemChanged)
