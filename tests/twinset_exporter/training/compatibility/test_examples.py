from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.datasets.groups import Groups
from twinset_exporter.datasets.pairs import Pairs
from twinset_exporter.training.compatibility.examples import Items, Rooms, named, of_pairs, same_looks
from twinset_exporter.training.compatibility.relation import Relation

IDS = tuple("abcdefgh")
ITEMS = Items(
    ids=IDS,
    features=np.arange(16, dtype=np.float32).reshape(8, 2),
    categories=np.array([1, 2, 3, 1, 2, 3, 0, 2], np.int32),
    names=("lamp", "rug", "sofa"),
    looks=np.array([0, 1, 2, 3, 4, 5, 6, 0]),
)


def _rooms(*rooms: str) -> Rooms:
    items = np.array([IDS.index(item) for room in rooms for item in room], np.int32)
    groups = np.repeat(np.arange(len(rooms), dtype=np.int32), [len(room) for room in rooms])
    return Rooms(Groups(groups, items, tuple(f"room {n}" for n in range(len(rooms))), IDS), ITEMS)


def _named(relation: Relation) -> set[str]:
    return {IDS[s] + IDS[t] for s, t in zip(relation.sources, relation.targets, strict=True)}


def test_pairs_of_a_room_go_both_ways_and_not_within_a_category_or_a_look():
    rooms = _rooms("abd", "ah")  # d is a lamp as a is; h looks like a

    assert _named(rooms.true(np.array([0]))) == {"ab", "ba", "bd", "db"}
    assert not len(rooms.true(np.array([1])))


def test_items_without_a_category_go_with_all():
    assert _named(_rooms("ag").true(np.array([0]))) == {"ag", "ga"}


def test_rooms_held_out_judge_by_pairs_that_training_doesnt_know():
    rooms = _rooms("abc", "abf", "ce")

    sample = rooms.sample(rooms.true(np.array([0])), np.array([1, 2]), seed=0)

    true = {IDS[s] + IDS[t] for s, t in zip(sample.sources[sample.truths], sample.targets[sample.truths], strict=True)}
    assert true == {"af", "bf", "ce"}
    assert sample.truths.sum() == (~sample.truths).sum()


def test_other_pairs_are_of_the_rooms_held_out_of_two_categories_and_in_no_room():
    rooms = _rooms("abc", "adbf", "ce", "gh")
    known = rooms.judge().true

    sample = rooms.sample(rooms.true(np.array([0])), np.array([1, 2]), seed=0)

    sources, targets = sample.sources[~sample.truths], sample.targets[~sample.truths]
    assert set(np.concatenate((sources, targets)).tolist()) <= {IDS.index(item) for item in "adbfce"}
    assert (ITEMS.categories[sources] != ITEMS.categories[targets]).all()
    assert not known.holds(sources, targets).any()


def test_matched_pairs_have_the_same_two_categories_and_true_ones_without_are_left_out():
    rooms = _rooms("ab", "de", "cg")

    sample = rooms.sample(rooms.true(np.array([])), np.array([0, 1, 2]), seed=0, same_categories=True)

    categories = np.stack((ITEMS.categories[sample.sources], ITEMS.categories[sample.targets]))
    np.testing.assert_array_equal(categories[:, sample.truths], categories[:, ~sample.truths])
    others = zip(sample.sources[~sample.truths], sample.targets[~sample.truths], strict=True)
    assert {IDS[s] + IDS[t] for s, t in others} <= {"ae", "db"}


def test_rooms_that_show_nothing_new_are_told():
    rooms = _rooms("abc", "ab")

    with pytest.raises(ValueError, match="no pair that training doesn't know"):
        rooms.part(np.array([0]), np.array([1]), seed=0)


def test_rooms_whose_items_all_go_together_are_told():
    rooms = _rooms("de", "abc")

    with pytest.raises(ValueError, match="of 3 items hardly two"):
        rooms.part(np.array([0]), np.array([1]), seed=0)


def test_validation_of_rooms_goes_both_ways_and_none_is_asked_for_without_rooms():
    rooms = _rooms("abc", "adbf", "eg")
    part = rooms.part(np.array([0]), np.array([1, 2]), seed=0)

    assert part.validation is not None
    half = len(part.validation.truths) // 2
    np.testing.assert_array_equal(part.validation.sources[:half], part.validation.targets[half:])
    assert part.items.tolist() == [0, 1, 2]
    assert rooms.part(np.array([0]), np.array([], int), seed=0).validation is None


def test_validation_pairs_get_another_target_that_isnt_true():
    train = Pairs(np.array([0, 0, 1], np.int32), np.array([1, 2, 2], np.int32), IDS)
    held_out = Pairs(np.array([0, 3, 4], np.int32), np.array([3, 5, 1], np.int32), IDS)

    for seed in range(5):
        part = of_pairs(train, held_out, ITEMS, seed=seed)
        assert part.validation is not None
        sources, targets = part.validation.sources, part.validation.targets
        truths = part.validation.truths
        np.testing.assert_array_equal(sources[truths], sources[~truths])
        both = Relation(np.append(train.left, held_out.left), np.append(train.right, held_out.right), 8)
        assert both.holds(sources, targets).tolist() == truths.tolist()


def test_the_other_target_may_be_of_the_same_category():
    train = Pairs(np.array([0], np.int32), np.array([1], np.int32), IDS)
    held_out = Pairs(np.array([0, 3], np.int32), np.array([4, 5], np.int32), IDS)

    part = of_pairs(train, held_out, ITEMS, seed=1, same_category=True)

    assert part.validation is not None
    truths, targets = part.validation.truths, part.validation.targets
    np.testing.assert_array_equal(ITEMS.categories[targets[truths]], ITEMS.categories[targets[~truths]])


def test_equal_rows_look_the_same():
    looks = same_looks(np.array([[1, 2], [3, 4], [1, 2]], np.float32))

    assert looks[0] == looks[2] != looks[1]


def test_names_are_sorted_and_the_empty_one_is_none():
    assert named(["sofa", "", "lamp", "sofa"]) == ("lamp", "sofa")
