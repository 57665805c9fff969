from __future__ import annotations

import numpy as np

from twinset_exporter.training.compatibility.relation import Relation
from twinset_exporter.training.compatibility.sampling import CategoryIndex, Sampler

CATEGORIES = np.array([1, 1, 2, 0, 1, 2, 3])


def test_an_item_is_drawn_of_the_same_category_and_from_those_allowed():
    index = CategoryIndex(CATEGORIES, np.array([0, 1, 2, 3, 5]))

    drawn = index.draw(np.tile([0, 2, 4], 200), np.random.default_rng(0)).reshape(200, 3)

    assert set(drawn[:, 0].tolist()) == {0, 1}
    assert set(drawn[:, 1].tolist()) == {2, 5}
    assert set(drawn[:, 2].tolist()) == {0, 1}  # 4 may not be drawn itself


def test_an_item_without_a_category_or_without_others_is_drawn_itself():
    index = CategoryIndex(CATEGORIES, np.array([0, 1, 2]))

    assert index.draw(np.array([3, 6]), np.random.default_rng(0)).tolist() == [3, 6]


def test_an_epoch_has_every_pair_once_and_few_pairs_make_small_batches():
    sources, targets = np.divmod(np.arange(40), 7)
    pairs = Relation(sources, targets, 7)
    sampler = Sampler(pairs, np.arange(7), CategoryIndex(CATEGORIES, np.arange(7)), batch=1000, others=3)

    batches = list(sampler.epoch(np.random.default_rng(0)))

    assert len(batches) == sampler.steps == 12
    seen = sorted((int(s), int(t)) for batch in batches for s, t in zip(batch.sources, batch.targets, strict=True))
    assert seen == sorted(zip(pairs.sources.tolist(), pairs.targets.tolist(), strict=True))
    assert all(len(batch.other_sources) == 3 for batch in batches)


def test_where_there_are_fewer_items_than_asked_for_each_is_there_once():
    sampler = Sampler(
        Relation(np.array([0]), np.array([1]), 7), np.arange(5), CategoryIndex(CATEGORIES, np.arange(7)), 8, others=50
    )

    (batch,) = sampler.epoch(np.random.default_rng(0))

    assert batch.other_sources.tolist() == [0, 1, 2, 3, 4]
