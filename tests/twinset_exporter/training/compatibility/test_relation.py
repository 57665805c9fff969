from __future__ import annotations

import numpy as np

from twinset_exporter.training.compatibility.relation import Relation


def _relation() -> Relation:
    return Relation(np.array([2, 0, 0, 2]), np.array([1, 3, 1, 1]), 5)


def test_each_pair_is_in_it_once_and_in_order():
    relation = _relation()

    assert relation.sources.tolist() == [0, 0, 2]
    assert relation.targets.tolist() == [1, 3, 1]
    assert len(relation) == 3


def test_a_pair_doesnt_hold_backwards_unless_asked():
    relation = _relation()

    assert relation.holds(np.array([0, 1, 4]), np.array([1, 0, 4])).tolist() == [True, False, False]
    assert relation.both_ways().holds(np.array([1, 0]), np.array([0, 1])).tolist() == [True, True]


def test_nothing_holds_in_an_empty_relation():
    empty = Relation(np.array([], int), np.array([], int), 3)

    assert not empty.holds(np.array([0]), np.array([1])).any()
    assert not empty.block(np.array([0, 1]), np.array([2])).any()


def test_a_block_is_every_source_with_every_target_also_of_items_that_repeat():
    rng = np.random.default_rng(0)
    relation = Relation(rng.integers(30, size=100), rng.integers(30, size=100), 30)
    sources, targets = rng.integers(30, size=20), rng.integers(10, 30, size=25)

    expected = [[bool(relation.holds(np.array([s]), np.array([t]))[0]) for t in targets] for s in sources]
    np.testing.assert_array_equal(relation.block(sources, targets), expected)
