"""Recommendations by several examples are the same over the catalogue on disk and the one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.items import put, writable
from twinset.contract import Metric
from twinset_server.catalog import open_alone
from twinset_server.config import StoreSettings
from twinset_server.domain import CATEGORY, In, ItemVector, Space
from twinset_server.embedding import PictureEmbedder
from twinset_server.recommend import (
    Example,
    Grouping,
    ItemExample,
    Recommendations,
    Recommender,
    Refinement,
    Request,
)

SPACES = [
    Space("visual", 6, Metric.COSINE, "a" * 64),
    Space("shape", 4, Metric.EUCLIDEAN, "b" * 64),
    Space("taste", 3, Metric.INNER_PRODUCT, "c" * 64),
]
COUNT = 600


def items() -> list[Any]:
    """Return items with one or two vectors in most of the spaces, of a few categories and families."""
    chance = np.random.default_rng(2)

    def vectors(space: Space) -> list[ItemVector]:
        rows = chance.normal(size=(int(chance.choice([0, 1, 1, 2])), space.dimension)).astype(np.float32)
        if space.metric is Metric.COSINE:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return [ItemVector(space.name, f"{place}", row) for place, row in enumerate(rows)]

    made = [
        writable(
            f"{n:03d}",
            [vector for space in SPACES for vector in vectors(space)],
            category=f"c{n % 3}",
            attributes={"family": n % 40},
        )
        for n in range(COUNT)
    ]
    whole = [ItemVector(one.name, "", np.full(one.dimension, one.dimension**-0.5, np.float32)) for one in SPACES]
    return [*made, writable("example", whole, category="c0"), writable("other", whole[:2], category="c1")]


def example(space: str, weight: float = 1.0, name: str = "example") -> Example:
    return Example(ItemExample(name), weight=weight, space=space)


@pytest.mark.parametrize(
    "request_",
    [
        Request([example("visual"), example("shape", 0.5), example("taste", -0.7)], k=20),
        Request([example("shape", -1), example("taste", 2)], k=5, target_recall=1.0),
        Request([example("shape", -1)], k=7, expression=In(CATEGORY, ("c1",))),
        Request([example("visual"), example("taste")], k=30, refinement=Refinement(mmr_lambda=0.4)),
        Request([example("visual")], k=50, refinement=Refinement(None, None, Grouping("attributes.family"), 0.9)),
        Request([example("visual"), example("taste")], k=9, explain=True, refinement=Refinement(min_score=0.6)),
    ],
    ids=["three-spaces", "exact", "farthest", "diverse", "grouped", "explained"],
)
async def test_answers_do_not_depend_on_what_keeps_the_items(tmp_path: Path, request_: Request) -> None:
    stored = items()
    fake = FakeCatalog(SPACES)
    await put(fake, stored)
    async with open_alone(StoreSettings(path=tmp_path / "store"), {}, SPACES) as real:
        await put(real, stored)
        answers = [await _recommend(catalog, request_) for catalog in (fake, real)]
    expected, found = answers
    assert [one.item_id for one in found.result.neighbours] == [one.item_id for one in expected.result.neighbours]
    assert _scores(found) == pytest.approx(_scores(expected), abs=1e-6)
    assert found.result.exact


async def _recommend(catalog: Any, request: Request) -> Recommendations:
    # Nothing is embedded: every example is an item.
    return await Recommender(catalog, cast("PictureEmbedder", None)).recommend(request, timeout_s=5)


def _scores(found: Recommendations) -> Sequence[float]:
    assert found.notes is not None
    assert found.notes
    return [note.score for note in found.notes]
