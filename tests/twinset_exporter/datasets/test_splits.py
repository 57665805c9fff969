from pathlib import Path

import numpy as np
import pytest

from twinset_exporter.datasets import splits
from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.interactions import Interactions
from twinset_exporter.datasets.pairs import Pairs

IDS = [f"item {number}" for number in range(23)]


def ratings(counts: list[int], *, order: int = 0) -> Interactions:
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([np.arange(count) for count in counts])
    shuffled = np.random.default_rng(order).permutation(len(users))
    return Interactions(
        users[shuffled].astype(np.int32),
        items[shuffled].astype(np.int32),
        np.ones(len(users), np.float32),
        None,
        tuple(f"u{number}" for number in range(len(counts))),
        tuple(f"i{number}" for number in range(max(counts))),
    )


def test_each_id_is_tested_in_one_fold_and_trained_on_in_the_others() -> None:
    found = splits.folds(IDS, 5)

    assert sorted(np.concatenate([split["test"] for split in found]).tolist()) == list(range(23))
    assert sorted(len(split["test"]) for split in found) == [4, 4, 5, 5, 5]
    for split in found:
        assert sorted([*split["train"], *split["test"]]) == list(range(23))


def test_what_belongs_together_stays_in_one_fold() -> None:
    together = [number // 4 for number in range(23)]

    for split in splits.folds(IDS, 3, seed=1, together=together):
        assert not {together[place] for place in split["test"]} & {together[place] for place in split["train"]}


def test_equal_files_have_equal_contents(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (b"1", b"2", b"1"), strict=True):
        path.write_bytes(content)

    first, second, third = splits.contents(paths)

    assert first == third != second
    with pytest.raises(DataError, match="found No such file"):
        splits.contents([tmp_path / "d"])


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    first, again, other = (splits.held_out(IDS, 7, seed=seed) for seed in (0, 0, 1))

    assert first.checksum == again.checksum != other.checksum
    assert first["test"].tolist() == again["test"].tolist()
    assert len(first["test"]) == 7


def test_a_checksum_tells_parts_apart_but_not_the_order_of_the_data() -> None:
    def checksum(interactions: Interactions, test: set[tuple[int, int]]) -> str:
        rows = list(zip(interactions.users.tolist(), interactions.items.tolist(), strict=True))
        pairs = Pairs(interactions.users, interactions.items, IDS)  # type: ignore[arg-type]
        mask = np.array([row in test for row in rows])
        return splits._split({"train": ~mask, "test": mask}, (pairs.left, IDS), (pairs.right, IDS)).checksum

    one, other = ratings([3, 4], order=1), ratings([3, 4], order=2)
    assert one.items.tolist() != other.items.tolist()
    assert checksum(one, {(0, 1)}) == checksum(other, {(0, 1)})
    assert len({checksum(one, {(0, 1)}), checksum(one, {(1, 0)}), checksum(one, {(1, 1)}), checksum(one, set())}) == 4


def test_each_user_gives_as_many_ratings_and_those_with_few_give_none() -> None:
    data = ratings([10, 11, 30])

    split = splits.held_out_ratings(data, 10, seed=3)

    assert np.bincount(data.users[split["test"]], minlength=3).tolist() == [0, 10, 10]
    assert sorted([*split["train"], *split["test"]]) == list(range(51))
    assert splits.held_out_ratings(data, 10, seed=4).checksum != split.checksum


def test_ratings_held_out_are_drawn_evenly() -> None:
    data = ratings([4] * 2000)

    split = splits.held_out_ratings(data, 1, seed=0)

    # 500 expected of each item, with a deviation of 19.
    assert (np.abs(np.bincount(data.items[split["test"]]) - 500) < 100).all()


def test_pairs_are_divided_by_fractions() -> None:
    numbers = np.arange(1000, dtype=np.int32)
    pairs = Pairs(numbers % 30, numbers // 30, tuple(f"i{number}" for number in range(40)))

    split = splits.pair_parts(pairs, {"train": 0.8, "validation": 0.1, "test": 0.1}, seed=0)

    assert {name: len(part) for name, part in split.parts.items()} == {"train": 800, "validation": 100, "test": 100}
    assert sorted(np.concatenate(list(split.parts.values())).tolist()) == list(range(1000))


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_fractions_that_make_no_whole_are_refused(fractions: dict[str, float]) -> None:
    empty = np.empty(0, np.int32)

    with pytest.raises(ValueError, match="adding up to 1"):
        splits.pair_parts(Pairs(empty, empty, ()), fractions, seed=0)


def test_counts_that_leave_a_part_empty_are_refused() -> None:
    with pytest.raises(ValueError, match="5 folds of 4"):
        splits.folds(IDS[:4], 5)
    with pytest.raises(ValueError, match="23 held out of 23"):
        splits.held_out(IDS, 23, seed=0)
