"""Classes and categories, as the client tells them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from fakes.embedder import SHADES, TYPES, FakeClassifier
from fakes.pictures import BLUE, GREEN, RED, png
from fakes.service import FakeService
from twinset import Client, Item, ItemUpdate, PairContract, Picture


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeService(FakeClassifier(), fill_category="shade") as service, Client(service.address) as client:
        yield client


def test_embed_tells_the_likeliest_classes_and_takes_categories(client: Client) -> None:
    contents = [png(RED), png(GREEN), png(BLUE)] * 7
    categories = ["sofa", "lamp", "rug"] * 7
    found = client.embed(contents, ["source"], predictions=2, categories=categories)
    assert [one.predictions["shade"][0].class_name for one in found] == list(SHADES) * 7
    assert all(len(one.predictions["shade"]) == 2 for one in found)
    assert [int(one["source"].values[0] // 10) for one in found] == [1, 2, 0] * 7
    assert [one.category_unknown for one in found] == [False, False, True] * 7
    assert client.embed(contents[:1])[0].predictions == {}


def test_embed_takes_a_category_for_each_picture_or_none(client: Client) -> None:
    with pytest.raises(ValueError, match="2 categories for 1 pictures"):
        client.embed([png(RED)], categories=["sofa", "lamp"])


def test_a_stream_tells_classes_too(client: Client) -> None:
    found = list(client.stream_embed([png(RED), png(GREEN), png(BLUE)], predictions=1, batch=2))
    assert [one.predictions["shade"][0].class_name for one in found] == list(SHADES)


def test_the_catalogue_tells_of_the_model(client: Client) -> None:
    model = client.catalog().model
    assert model is not None
    assert (model.classes, model.categories) == ({"shade": SHADES}, TYPES)
    assert model.category_spaces == ("pair_source", "pair_target")
    assert model.pair == PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02)


def test_a_predicted_category_is_told_from_a_fact_and_stays_one_apart(client: Client) -> None:
    results = list(client.put_items([Item("a", [Picture(png(RED))]), Item("b", [Picture(png(RED))], category="rug")]))
    assert [one.category_unknown for one in results] == [False, True]
    a, b = client.get_item("a"), client.get_item("b")
    assert (a.category, a.own_category, b.own_category, b.category_probability) == ("red", "", "rug", None)
    assert a.category_probability is not None
    assert a.category_probability > 0.5
    copied = dataclasses.replace(a, id="c", pictures=(), vectors=(), etag="")
    assert [one.error for one in client.put_items([copied])] == [None]
    c = client.get_item("c")
    assert (c.category, c.category_probability) == ("red", pytest.approx(a.category_probability))
    list(client.update_items([ItemUpdate("a", category="sofa")]))
    a = client.get_item("a")
    assert (a.category, a.category_probability) == ("sofa", None)
    np.testing.assert_array_equal([int(v.values[0]) // 10 for v in a.vectors if v.space == "pair_source"], [1])
