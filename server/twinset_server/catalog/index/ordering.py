"""The nearest items among a few rows, by exact distances: the last step of every search, and a part of its cost."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.index.distance import Float64Array, distances
from twinset_server.catalog.index.labels import Label, Places, labels_at
from twinset_server.catalog.index.rows import Rows
from twinset_server.domain import Float32Array, Neighbour

_SPARE = 2
"""Ids read beyond those needed: each is a wait for memory."""

_FEW = 64
"""So many numbers are sorted sooner as Python's than one of them is chosen by numpy."""


def nearest_items(
    parts: Sequence[tuple[Rows, Places]], query: Float32Array, metric: Metric, k: int, exclude: AbstractSet[str]
) -> list[Neighbour]:
    """Return the nearest `k` items among rows, each once, equal distances in the order of ids.

    Args:
        parts: rows, and the places of those of them that may be answers.
        query: `[D]` float32.
        metric: the space's.
        k: how many items; fewer come where the rows hold fewer.
        exclude: ids of items that are no answers.
    """
    # Places are of rows that are there: to be told so by `mode` spares a look at each.
    measured = [distances(rows.vectors.take(places, axis=0, mode="clip"), query, metric) for rows, places in parts]
    everywhere = measured[0] if len(measured) == 1 else np.concatenate([np.empty(0), *measured])
    wanted = k + _SPARE
    while True:
        # Of equal distances all or none are looked at, so that their ids decide.
        limit = _kth(everywhere, wanted)
        found: list[tuple[float, Label]] = []
        for (rows, places), apart in zip(parts, measured, strict=True):
            (near,) = (apart <= limit).nonzero()
            found += zip(apart[near].tolist(), labels_at(rows.labels, places[near]), strict=True)
        # Python compares text by code points, which is the byte order of its UTF-8.
        found.sort()
        nearest = [Neighbour(item_id, picture_id, distance) for distance, (item_id, picture_id) in found]
        neighbours = first_items(nearest, k, exclude)
        if len(neighbours) == k or wanted >= len(everywhere):
            return neighbours
        wanted *= 4


def first_items(nearest: list[Neighbour], k: int, exclude: AbstractSet[str]) -> list[Neighbour]:
    """Return the first `k` items of rows in order, each once, or as many as these hold; none that is excluded."""
    # Most often they are k items, and nothing is to be left out.
    if len(nearest) == k and not exclude and len({one.item_id for one in nearest}) == k:
        return nearest
    items: dict[str, Neighbour] = {}
    for one in nearest:
        if one.item_id not in items and one.item_id not in exclude:
            items[one.item_id] = one
            if len(items) == k:
                break
    return list(items.values())


def _kth(distances: Float64Array, k: int) -> float:
    """Return the k-th smallest distance; infinite where there are no more."""
    if k >= len(distances):
        return np.inf
    if len(distances) <= _FEW:
        return float(sorted(distances.tolist())[k - 1])
    return float(np.partition(distances, k - 1)[k - 1])
