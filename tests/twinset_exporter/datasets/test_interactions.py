from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinset_exporter.datasets import interactions
from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.interactions import Columns, Interactions

RATED = Columns("u", "i", "r", "t")


def made(rows: list[tuple[str, str, float, int]], *, timed: bool = True) -> Interactions:
    users, items = (tuple(dict.fromkeys(row[side] for row in rows)) for side in (0, 1))
    return Interactions(
        np.array([users.index(row[0]) for row in rows], np.int32),
        np.array([items.index(row[1]) for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[3] for row in rows], np.int64) if timed else None,
        users,
        items,
    )


def told(found: Interactions) -> list[tuple[str, str, float]]:
    return [
        (found.user_ids[user], found.item_ids[item], value)
        for user, item, value in zip(found.users, found.items, found.values.tolist(), strict=True)
    ]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_csv_gives_its_rows_in_order(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "u|t|i|r\nann|7|x|5\nbob|8|x|2.5\nann|9|y|1\n")

    found = interactions.read_csv(path, RATED, delimiter="|")

    assert told(found) == [("ann", "x", 5), ("bob", "x", 2.5), ("ann", "y", 1)]
    assert found.times is not None
    assert found.times.tolist() == [7, 8, 9]
    assert (found.users.dtype, found.items.dtype, found.values.dtype) == (np.int32, np.int32, np.float32)


def test_a_csv_without_names_is_read_by_places(tmp_path: Path) -> None:
    found = interactions.read_csv(written(tmp_path / "a.csv", "1::10\n2::10\n"), Columns(0, 1), delimiter="::")

    assert told(found) == [("1", "10", 1), ("2", "10", 1)]
    assert found.times is None


def test_parquet_gives_what_the_csv_gives(tmp_path: Path) -> None:
    table = pa.table({"u": [3, 3, 4], "i": ["x", "y", "x"], "r": [1.0, 2.0, 4.5], "t": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    path = written(tmp_path / "a.csv", "u,i,r,t\n3,x,1,1\n3,y,2,2\n4,x,4.5,3\n")

    assert told(interactions.read_parquet(tmp_path / "a.parquet", RATED)) == told(interactions.read_csv(path, RATED))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (",x,1,1", "the id of a user, found ''"),
        ("ann,x\x07,1,1", "the id of an item"),
        ("ann,x,five,1", "a finite number, found 'five'"),
        ("ann,x,nan,1", "a finite number, found 'nan'"),
        ("ann,x,1e39,1", "a finite number, found '1e39'"),
        ("ann,x,1,1.5", "a time as a whole number, found '1.5'"),
        ("ann,x,1,99999999999999999999", "a time as a whole number"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, row: str, expected: str) -> None:
    path = written(tmp_path / "a.csv", f"u,i,r,t\nann,x,1,1\n{row}\n")

    with pytest.raises(DataError) as raised:
        interactions.read_csv(path, RATED)

    assert raised.value.line == 3
    assert expected in str(raised.value)


def test_a_missing_value_in_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": ["a", None], "item": ["x", "y"]}), tmp_path / "a.parquet")

    with pytest.raises(DataError, match="record 1: expected the id of a user, found ''"):
        interactions.read_parquet(tmp_path / "a.parquet")


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a Parquet file"):
        interactions.read_parquet(written(tmp_path / "a.parquet", "PAR1 no"))


def test_a_row_of_an_unknown_item_is_refused_where_items_are_given(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "user,item\na,y\na,z\n")

    assert interactions.read_csv(path, item_ids=["x", "z", "y"]).items.tolist() == [2, 1]
    with pytest.raises(DataError, match="line 3: expected the id of an item that is known, found 'z'"):
        interactions.read_csv(path, item_ids=["x", "y"])


def test_of_duplicates_the_latest_is_kept() -> None:
    rows = [("a", "x", 1.0, 9), ("a", "y", 2.0, 1), ("a", "x", 3.0, 5), ("b", "x", 4.0, 1), ("a", "y", 5.0, 1)]

    assert told(made(rows).deduplicated()) == [("a", "x", 1), ("b", "x", 4), ("a", "y", 5)]
    assert told(made(rows, timed=False).deduplicated()) == [("a", "x", 3), ("b", "x", 4), ("a", "y", 5)]


def test_k_core_is_the_largest_part_where_all_have_enough() -> None:
    rng = np.random.default_rng(0)
    drawn = sorted({(int(user), int(item)) for user, item in rng.integers(0, (30, 20), (160, 2))})
    found = made([(f"u{user}", f"i{item}", 1.0, 0) for user, item in drawn]).k_core(3, 4)

    kept = {(f"u{user}", f"i{item}") for user, item in drawn}
    while True:
        users, items = [user for user, _ in kept], [item for _, item in kept]
        left = {pair for pair in kept if users.count(pair[0]) >= 3 and items.count(pair[1]) >= 4}
        if left == kept:
            break
        kept = left
    assert kept
    assert {(user, item) for user, item, _ in told(found)} == kept
    assert set(found.user_ids) == {user for user, _ in kept}
    assert set(found.item_ids) == {item for _, item in kept}


def test_reading_drops_duplicates_and_what_is_outside_the_core(tmp_path: Path) -> None:
    whole = [f"u{user},i{item}" for user in range(5) for item in range(5)]
    path = written(tmp_path / "a.csv", "\n".join(["user,item", *whole, "u0,i0", "u9,i0", "u0,i9"]))

    found = interactions.read(path)

    assert (len(found), len(found.user_ids), len(found.item_ids)) == (25, 5, 5)
    assert len(interactions.read(path, core=None)) == 27
    with pytest.raises(DataError, match=r"expected users and items with \(6, 6\) interactions or more"):
        interactions.read(path, core=(6, 6))
