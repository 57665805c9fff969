from pathlib import Path

import numpy as np
import pytest

from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.groups import Groups, read_groups
from twinset_exporter.datasets.pairs import Pairs, read_pairs


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def told(pairs: Pairs) -> list[tuple[str, str]]:
    return [(pairs.item_ids[left], pairs.item_ids[right]) for left, right in zip(pairs.left, pairs.right, strict=True)]


def test_a_pair_is_read_once_and_its_reverse_is_another(tmp_path: Path) -> None:
    path = written(tmp_path / "pairs.csv", "a,b\nb,a\na,b\nc,a\n")

    assert told(read_pairs(path)) == [("a", "b"), ("b", "a"), ("c", "a")]


def test_named_columns_and_known_items(tmp_path: Path) -> None:
    path = written(tmp_path / "pairs.tsv", "to\tfrom\nb\ta\n")

    found = read_pairs(path, columns=("from", "to"), delimiter="\t", item_ids=["z", "b", "a"])

    assert (found.left.tolist(), found.right.tolist()) == ([2], [1])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,a", "two different items, found 'a'"),
        ("a,", "the id of an item, found ''"),
        ("a,q", "the id of an item that is known, found 'q'"),
        ("a", "2 fields"),
    ],
)
def test_a_broken_pair_is_named_by_its_line(tmp_path: Path, line: str, expected: str) -> None:
    with pytest.raises(DataError) as raised:
        read_pairs(written(tmp_path / "pairs.csv", f"a,b\n{line}\n"), item_ids=["a", "b"])

    assert raised.value.line == 2
    assert expected in str(raised.value)


def test_pairs_among_other_items_are_numbered_by_their_places() -> None:
    pairs = Pairs(np.array([0, 1, 2], np.int32), np.array([1, 2, 0], np.int32), ("a", "b", "c"))

    found = pairs.among(["c", "x", "b"])

    assert told(found) == [("b", "c")]
    assert found.left.tolist() == [2]


def test_groups_give_each_two_items_once(tmp_path: Path) -> None:
    path = written(tmp_path / "rooms.csv", "room_id,item_id\nR1,a\nR2,b\nR1,b\nR1,a\nR2,a\nR2,c\nR3,c\n")

    groups = read_groups(path, item_ids=["c", "b", "a"])

    assert groups.group_ids == ("R1", "R2", "R3")
    assert len(groups.groups) == 6
    assert sorted(told(groups.pairs())) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert told(groups.of(np.array([0])).pairs()) == [("b", "a")]
    assert told(groups.of(np.array([2])).pairs()) == []


def test_no_groups_give_no_pairs() -> None:
    empty = np.empty(0, np.int32)

    assert len(Groups(empty, empty, (), ()).pairs()) == 0


@pytest.mark.parametrize("line", [",a", "R1,", "R1,q", "R1"])
def test_a_broken_row_of_a_group_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="line 3: expected"):
        read_groups(written(tmp_path / "rooms.csv", f"room_id,item_id\nR1,a\n{line}\n"), item_ids=["a"])
