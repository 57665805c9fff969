from __future__ import annotations

import numpy as np
import pytest

from benchmarks.mixture import Mixture
from benchmarks.shop import Kind, Shop
from fakes.filters import Fields, matches
from twinset_server.filters.parse import parse

ROWS = Mixture(16).rows(3000, 0)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(ROWS)


@pytest.fixture(scope="module")
def fields(shop: Shop) -> list[Fields]:
    found: list[Fields] = []
    for place in range(len(ROWS)):
        category, attributes = shop.attributes(place)
        found.append({"category": category} | {f"attributes.{name}": value for name, value in attributes.items()})
    return found


@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_the_items_that_a_filter_says_it_matches_are_those_that_its_text_matches(
    shop: Shop, fields: list[Fields], kind: Kind, share: float
) -> None:
    chance = np.random.default_rng(1)
    for _ in range(8):
        drawn = shop.filter(kind, share, chance)
        expression = parse(drawn.text)
        assert expression is not None
        truths = drawn.among(shop.in_stock)
        assert truths.tolist() == [matches(item, expression) for item in fields]
        assert share / 1.25 <= truths.mean() <= share * 1.25


def test_a_filter_follows_in_stock(shop: Shop) -> None:
    chance = np.random.default_rng(2)
    drawn = next(one for one in (shop.filter("random", 0.1, chance) for _ in range(100)) if one.in_stock is not None)
    everything = np.full(len(ROWS), drawn.in_stock)
    assert drawn.among(everything).tolist() == drawn.matches.tolist()
    assert not drawn.among(~everything).any()


def test_categories_follow_from_the_vectors_and_brands_do_not(shop: Shop) -> None:
    def spread(labels: np.ndarray) -> float:
        """Return how far items of one label lie from their centre, beside all items."""
        apart = [np.sum((ROWS[labels == one] - ROWS[labels == one].mean(axis=0)) ** 2) for one in np.unique(labels)]
        return float(np.sum(apart) / np.sum((ROWS - ROWS.mean(axis=0)) ** 2))

    few = shop.category // 25
    assert spread(few) < 0.96 < spread(shop.brand % len(np.unique(few)))
