"""Items with six attributes that are made up, and filters over them that are drawn at random.

`brand` (a text, which a tenth of the items lacks), `price` (a number), `in_stock` (a truth) and `tags` (several texts)
have nothing to do with an item's vector. `category` and `added` (a time) follow from it: vectors are ordered by how far
they lie along one hidden direction each, with a little noise, and the order is cut into categories of even size and
spread over three years. So items of one category lie on one side of any query, often the far one.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twinset.items import Attribute

Kind = Literal["random", "correlated"]
Bools = NDArray[np.bool_]

BRANDS = 400
TAGS = 40
CATEGORIES = 250

_TAGS_PER_ITEM = 3
_NOISE = 0.1
"""Of the place along a hidden direction, beside the spread of all places."""
_FIRST = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
_DAYS = 3 * 365
_SECONDS = _DAYS * 86_400
_NO_BRAND = 0.1
_CLOSE = 1.25
"""A filter's share is at most so many times its aim, and at least one part in so many."""
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter, and which items it matches.

    Attributes:
        text: in the language of AIP-160.
        matches: `[N]`, what holds of each item `in_stock` apart.
        in_stock: what it asks of `in_stock`; None where it asks nothing.
    """

    text: str
    matches: Bools
    in_stock: bool | None = None

    def among(self, in_stock: Bools) -> Bools:
        """Return which items match, `[N]`, where `in_stock` is as given, `[N]`."""
        return self.matches if self.in_stock is None else self.matches & (in_stock == self.in_stock)


class Shop:
    """The attributes of items by their vectors, `[N, D]`; the same from the same seed."""

    def __init__(self, rows: NDArray[np.float32], seed: int = 5) -> None:
        chance = np.random.default_rng(seed)
        count = len(rows)
        # The most frequent brand has 15 % of the items, the rarest 0.04 %.
        weights = 1 / np.arange(1, BRANDS + 1)
        self.brand = np.where(
            chance.random(count) < _NO_BRAND, -1, chance.choice(BRANDS, count, p=weights / weights.sum())
        )
        self.price = np.round(np.exp(chance.normal(3.5, 0.8, count)), 2)
        self.in_stock = chance.random(count) < 0.5
        self.tags = chance.integers(0, TAGS, (count, _TAGS_PER_ITEM))
        self.category = (_order(rows, chance) * CATEGORIES).astype(np.int64)
        self.added = (_order(rows, chance) * _SECONDS).astype(np.int64)

    def attributes(self, place: int) -> tuple[str, dict[str, Attribute]]:
        """Return category and attributes of one item."""
        attributes: dict[str, Attribute] = {
            "price": float(self.price[place]),
            "in_stock": bool(self.in_stock[place]),
            "tags": tuple(dict.fromkeys(f"tag {tag}" for tag in self.tags[place])),
            "added": _FIRST + datetime.timedelta(seconds=int(self.added[place])),
        }
        if self.brand[place] >= 0:
            attributes["brand"] = f"brand {self.brand[place]}"
        return f"category {self.category[place]}", attributes

    def filter(self, kind: Kind, share: float, chance: np.random.Generator) -> Filter:
        """Return a filter that about `share` of the items match.

        Up to two conditions are drawn from all that leave enough items. Then the share is met by a range or a choice of
        several values: of `price` or `brand` for the kind `random`, of `added` or `category` for `correlated`.

        Raises:
            RuntimeError: the items are too few for such a share.
        """
        narrow = [self._prices, self._brands] if kind == "random" else [self._times, self._categories]
        for _ in range(_TRIES):
            text, matches, in_stock = self._conditions(share, chance)
            left = float(np.mean(matches)) * (1.0 if in_stock is None else 0.5)
            narrower: Callable[[float, np.random.Generator], tuple[str, Bools]] = narrow[chance.integers(len(narrow))]
            further, within = narrower(share / left, chance)
            found = Filter(" AND ".join([*text, further]), matches & within, in_stock)
            got = float(np.mean(found.among(self.in_stock)))
            if share / _CLOSE <= got <= share * _CLOSE:
                return found
        raise RuntimeError(f"no filter of {_TRIES} is matched by about {share:.1%} of the items: make more items")

    def _conditions(self, share: float, chance: np.random.Generator) -> tuple[list[str], Bools, bool | None]:
        """Return up to two conditions, where they hold, and what else is asked of `in_stock`."""
        texts: list[str] = []
        matches = np.ones(len(self.price), bool)
        in_stock = None
        drawn = chance.permutation(5)[: chance.integers(0, 3)]
        for number in drawn:
            if number == 0:
                wanted = bool(chance.integers(2))
                if share < 0.45 * np.mean(matches):
                    in_stock = wanted
                    texts.append(f"attributes.in_stock = {str(wanted).lower()}")
                continue
            text, holds = self._condition(int(number), chance)
            left = float(np.mean(matches & holds)) * (1.0 if in_stock is None else 0.5)
            if left > 1.1 * share:
                texts.append(text)
                matches &= holds
        return texts, matches, in_stock

    def _condition(self, number: int, chance: np.random.Generator) -> tuple[str, Bools]:
        one, other = (int(tag) for tag in chance.choice(TAGS, 2, replace=False))
        brand = int(chance.integers(BRANDS))
        match number:
            case 1:
                holds = (self.tags == one) | (self.tags == other)
                return f'attributes.tags:("tag {one}" OR "tag {other}")', holds.any(axis=1)
            case 2:
                return f'NOT attributes.tags:"tag {one}"', ~(self.tags == one).any(axis=1)
            case 3:
                return f'attributes.brand != "brand {brand}"', (self.brand >= 0) & (self.brand != brand)
            case _:
                limit = round(float(np.quantile(self.price, chance.uniform(0.5, 0.95))), 2)
                return f"attributes.price < {limit}", self.price < limit

    def _prices(self, share: float, chance: np.random.Generator) -> tuple[str, Bools]:
        first, last = _range(share, chance)
        low, high = (round(float(price), 2) for price in np.quantile(self.price, (first, last)))
        text = f"attributes.price >= {low} AND attributes.price <= {high}"
        return text, (self.price >= low) & (self.price <= high)

    def _times(self, share: float, chance: np.random.Generator) -> tuple[str, Bools]:
        low, high = (int(moment * _SECONDS) for moment in _range(share, chance))
        start, end = ((_FIRST + datetime.timedelta(seconds=moment)).isoformat() for moment in (low, high))
        text = f"attributes.added >= {start} AND attributes.added < {end}"
        return text, (self.added >= low) & (self.added < high)

    def _brands(self, share: float, chance: np.random.Generator) -> tuple[str, Bools]:
        chosen: list[int] = []
        held = 0.0
        for brand in chance.permutation(BRANDS):
            more = float(np.mean(self.brand == brand))
            if held + more <= share * _CLOSE and len(chosen) < 80:
                chosen.append(int(brand))
                held += more
            if held >= share:
                break
        values = " OR ".join(f'"brand {brand}"' for brand in chosen)
        return f"attributes.brand = ({values})", np.isin(self.brand, chosen)

    def _categories(self, share: float, chance: np.random.Generator) -> tuple[str, Bools]:
        # Neighbours in the order, so that they lie together.
        count = max(1, round(share * CATEGORIES))
        first = int(chance.integers(0, max(1, CATEGORIES - count)))
        chosen = range(first, min(CATEGORIES, first + count))
        values = " OR ".join(f'"category {category}"' for category in chosen)
        return f"category = ({values})", np.isin(self.category, np.array(chosen))


def _order(rows: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float64]:
    """Return each row's rank along a direction that is drawn, 0 to below 1."""
    direction = chance.standard_normal(rows.shape[1], dtype=np.float32) / np.float32(math.sqrt(rows.shape[1]))
    along = (rows @ direction).astype(np.float64)
    along += chance.normal(0, _NOISE * float(along.std()), len(rows))
    ranks = np.empty(len(rows))
    ranks[np.argsort(along)] = np.arange(len(rows)) / len(rows)
    return ranks


def _range(share: float, chance: np.random.Generator) -> tuple[float, float]:
    """Return where a range of that share begins and ends, 0 to 1."""
    share = min(1.0, share)
    first = float(chance.uniform(0, 1 - share))
    return first, first + share
