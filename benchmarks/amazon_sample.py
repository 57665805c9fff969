"""A sample in the exact formats of McAuley's Amazon files, with a planted relation.

Items have a category and a style, and their features show both. What buyers of an item buy too lies in one of the next
two categories, never the other way, and its style is near the item's own turned by a right angle: so the relation is
directed, and neither alikeness nor the category alone tells it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.amazon import DIMENSION

TOP = "Clothing, Shoes & Jewelry"

_STYLES = 4
_CANDIDATES = 16
_BLOCK = 4_096
_NOISE = 0.5
# Of real lines: quotes of both kinds, breaks and other scripts, as Python writes them.
_DESCRIPTIONS = ("", "The 7\" strap won't slip", 'Says "wow"\nin 2 colours', "Caf\xe9 \u2013 na\xefve \u6771")


@dataclass(frozen=True, slots=True)
class Sample:
    """The files, and what is planted in them.

    Attributes:
        features: `image_features_Sample.b`.
        metadata: `meta_Sample.json.gz`.
        asins: of the items with features, N.
        categories: `[N]` int64.
        styles: `[N, 4]` float32.
        pairs: how many are in the metadata whose items both have features.
    """

    features: Path
    metadata: Path
    asins: tuple[str, ...]
    categories: NDArray[np.int64]
    styles: NDArray[np.float32]
    pairs: int


def write_sample(
    folder: Path, *, items: int, pairs: int, categories: int = 12, dimension: int = DIMENSION, seed: int = 0
) -> Sample:
    """Write both files into `folder`.

    Args:
        folder: there already.
        items: with features, and a line each in the metadata; one in fifty lines names no category, and one in twenty
            names among what was also bought an item of which nothing is known.
        pairs: about so many, each once; never more.
        categories: on the second level.
        dimension: of the features.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    category = rng.integers(categories, size=items)
    style = rng.standard_normal((items, _STYLES), dtype=np.float32)
    # Of one length, so that the largest inner product is the smallest distance: a model of either can learn it.
    style *= np.sqrt(np.float32(_STYLES)) / np.linalg.norm(style, axis=1, keepdims=True)
    asins = tuple(f"B{number:09d}" for number in rng.permutation(items).tolist())
    features, metadata = folder / "image_features_Sample.b", folder / "meta_Sample.json.gz"
    _write_features(features, asins, category, style, dimension, rng)
    bought = _also_bought(category, style, pairs, rng)
    # Level 1 takes a third of the time, and nobody keeps the file.
    with gzip.open(metadata, "wb", compresslevel=1) as file:
        file.writelines(_lines(asins, category, bought, rng))
    return Sample(features, metadata, asins, category, style, sum(map(len, bought)))


def _write_features(
    path: Path,
    asins: tuple[str, ...],
    category: NDArray[np.int64],
    style: NDArray[np.float32],
    dimension: int,
    rng: np.random.Generator,
) -> None:
    of_category = rng.standard_normal((int(category.max()) + 1, dimension), dtype=np.float32)
    of_style = rng.standard_normal((_STYLES, dimension), dtype=np.float32)
    record = np.dtype([("asin", f"S{len(asins[0])}"), ("row", "<f4", (dimension,))])
    with path.open("wb") as file:
        for start in range(0, len(asins), _BLOCK):
            block = slice(start, start + _BLOCK)
            records = np.empty(len(asins[block]), record)
            records["asin"] = asins[block]
            noise = rng.standard_normal((len(records), dimension), dtype=np.float32)
            # Half of them zero, as behind the ReLU of the network that made the real ones.
            shown = of_category[category[block]] + style[block] @ of_style / 2 + _NOISE * noise
            records["row"] = np.maximum(shown, 0)
            file.write(records.tobytes())


def _also_bought(
    category: NDArray[np.int64], style: NDArray[np.float32], pairs: int, rng: np.random.Generator
) -> list[list[int]]:
    order = np.argsort(category, kind="stable")
    sizes = np.bincount(category)
    starts = np.cumsum(sizes) - sizes
    # In two planes by a right angle.
    turned = np.stack((-style[:, 1], style[:, 0], -style[:, 3], style[:, 2]), axis=1)
    sources = np.sort(rng.integers(len(category), size=pairs))
    chosen = np.empty(pairs, np.int64)
    for start in range(0, pairs, _BLOCK):
        block = sources[start : start + _BLOCK]
        towards = (category[block] + rng.integers(1, 3, size=len(block))) % len(sizes)
        drawn = (rng.random((len(block), _CANDIDATES)) * sizes[towards][:, None]).astype(np.int64)
        candidates = order[starts[towards][:, None] + drawn]
        apart = ((style[candidates] - turned[block][:, None]) ** 2).sum(axis=2)
        chosen[start : start + len(block)] = candidates[np.arange(len(block)), np.argmin(apart, axis=1)]
    ends = np.searchsorted(sources, np.arange(1, len(category)))
    # In the order of their drawing, each once.
    return [list(dict.fromkeys(found.tolist())) for found in np.split(chosen, ends)]


def _lines(
    asins: tuple[str, ...], category: NDArray[np.int64], bought: list[list[int]], rng: np.random.Generator
) -> Iterator[bytes]:
    for place, asin in enumerate(asins):
        described = _DESCRIPTIONS[place % len(_DESCRIPTIONS)]
        also_bought = [asins[other] for other in bought[place]]
        if rng.random() < 0.05:
            also_bought.append(f"U{place:09d}")
        product: dict[str, object] = {
            "asin": asin,
            "title": f"Item {place}",
            "price": float(rng.integers(100, 9999)) / 100,
            "imUrl": f"http://images.example/{asin}.jpg",
            "description": described,
            "salesRank": {TOP: place},
        }
        if also_bought:
            product["related"] = {"also_bought": also_bought, "also_viewed": also_bought[:3]}
        product["categories"] = [[TOP] if rng.random() < 0.02 else [TOP, f"Kind {category[place]}", "Leaf"], ["Other"]]
        yield f"{product!r}\n".encode()
