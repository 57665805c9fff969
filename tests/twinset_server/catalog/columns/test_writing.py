"""The table of columns against SQLite, whatever is written between two looks."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fakes.columns import ItemsDatabase, assert_same, random_changes
from twinset_server.catalog.columns import codes as codes_module
from twinset_server.catalog.columns import writing
from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.store.log import ChangeLog, ItemRow


@pytest.fixture
def items(tmp_path: Path) -> Iterator[ItemsDatabase]:
    database = ItemsDatabase(tmp_path / "catalog.sqlite")
    yield database
    database.close()


@pytest.fixture
def log(items: ItemsDatabase) -> Iterator[ChangeLog]:
    log = ChangeLog(items.path)
    yield log
    log.close()


@pytest.fixture
def table() -> ColumnTable:
    return ColumnTable()


def followed(table: ColumnTable, log: ChangeLog) -> Columns:
    with log.snapshot() as snapshot:
        table.follow(snapshot)
    return table.publish()


def row(columns: Columns, key: int) -> Mapping[str, object]:
    """Return the values of an item by field."""
    place = int(columns.places(np.array([key]))[0])
    codes = {name: int(column.codes[place]) for name, column in columns.fields.items()}
    return {name: columns.fields[name].values.value(code) for name, code in codes.items() if code}


def test_an_empty_catalogue_has_no_items(table: ColumnTable, log: ChangeLog) -> None:
    columns = followed(table, log)
    assert (columns.length, columns.alive.tolist(), list(columns.fields)) == (0, [], ["category"])


def test_each_kind_of_attribute_keeps_its_value(items: ItemsDatabase, table: ColumnTable, log: ChangeLog) -> None:
    document = {"n": 3, "x": 1.5, "t": True, "one": 1, "text": "ä", "list": ["a", "b"], "none": []}
    key = items.put("a", "Mug", document)
    found = row(followed(table, log), key)
    expected = {**document, "list": ("a", "b"), "none": ()}
    assert found == {"category": "Mug", **{f"attributes.{name}": value for name, value in expected.items()}}
    assert found["attributes.t"] is True
    assert found["attributes.one"] is not True


def test_truths_numbers_and_texts_have_codes_of_their_own(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog
) -> None:
    values: list[object] = [1, True, "1", ["1"], "true", 0, False, [], "", {"time": "1970-01-01T00:00:00+00:00"}]
    for number, value in enumerate(values):
        items.put(f"{number}", "", {"a": value})
    items.put("float", "", {"a": 1.0})
    codes = followed(table, log).fields["attributes.a"].codes.tolist()
    assert len(set(codes[:-1])) == len(values)
    assert codes[-1] == codes[0]


def test_an_item_loses_what_its_new_version_lacks(items: ItemsDatabase, table: ColumnTable, log: ChangeLog) -> None:
    key = items.put("a", "Mug", {"price": 1, "stock": 2})
    before = followed(table, log)
    assert items.put("a", "", {"stock": 3}) == key
    assert row(followed(table, log), key) == {"attributes.stock": 3}
    assert row(before, key) == {"category": "Mug", "attributes.price": 1, "attributes.stock": 2}


def test_a_deleted_item_is_not_alive_and_a_new_one_of_its_id_is(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog
) -> None:
    items.put("a", "", {})
    items.put("b", "", {})
    before = followed(table, log)
    items.delete("a")
    items.put("a", "", {})
    assert followed(table, log).alive.tolist() == [False, True, True]
    assert before.alive.tolist() == [True, True]


def test_items_that_come_and_go_unseen_take_no_place(items: ItemsDatabase, table: ColumnTable, log: ChangeLog) -> None:
    items.put("a", "", {})
    items.delete("a")
    items.put("b", "", {})
    assert followed(table, log).keys.tolist() == [2]


def test_an_item_that_was_updated_after_later_ones_keeps_its_place(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog
) -> None:
    for item_id in "abc":
        items.put(item_id, "", {"v": 1})
    items.put("a", "", {"v": 2})
    columns = followed(table, log)
    assert columns.keys.tolist() == [1, 2, 3]
    assert [row(columns, key)["attributes.v"] for key in (1, 2, 3)] == [2, 1, 1]


def test_deletions_that_were_forgotten_before_they_were_read_are_found(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog
) -> None:
    for item_id in "abc":
        items.put(item_id, "", {})
    followed(table, log)
    items.delete("b")
    items.connection.execute("DELETE FROM deleted")
    assert followed(table, log).alive.tolist() == [True, False, True]


def test_a_wrong_count_of_items_costs_one_look(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    items.put("a", "", {})
    items.connection.execute("UPDATE meta SET value = value + 3 WHERE name = 'items'")
    followed(table, log)
    looks: list[int] = []
    item_keys = writing.Snapshot.item_keys

    def noting(snapshot: writing.Snapshot, after: int) -> object:
        looks.append(after)
        return item_keys(snapshot, after)

    monkeypatch.setattr(writing.Snapshot, "item_keys", noting)
    items.put("b", "", {})
    items.delete("a")
    assert followed(table, log).alive.tolist() == [False, True]
    assert 0 not in looks


def test_attributes_that_cannot_be_read_cost_nothing_but_themselves(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog, caplog: pytest.LogCaptureFixture
) -> None:
    items.put("a", "Mug", {"x": 1})
    items.put("b", "Cup", {"x": {"no": 1, "such": 2}, "y": 1})
    items.connection.execute("UPDATE items SET attributes = '{' WHERE id = 'a'")
    columns = followed(table, log)
    assert row(columns, 1) == {"category": "Mug"}
    assert row(columns, 2) == {"category": "Cup", "attributes.y": 1}
    assert "item 1 has attributes that can't be read" in caplog.text
    assert "attributes.x has a value that no filter can find" in caplog.text


def test_a_step_that_failed_half_way_is_taken_again(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    items.put("a", "", {"v": 1})
    before = followed(table, log)
    for number in range(600):
        items.put(f"{number}", "", {"v": number})
    items.put("a", "", {"v": 2})
    items.delete("5")
    documents = writing._documents

    def failing(rows: Sequence[ItemRow]) -> list[dict[str, object]]:
        if any(key == 400 for key, _, _ in rows):
            raise sqlite3.OperationalError("disk I/O error")
        return documents(rows)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_documents", failing)
        with pytest.raises(sqlite3.OperationalError):
            followed(table, log)
    items.put("7", "", {"w": 1})
    assert_same(followed(table, log), items)
    assert row(before, 1) == {"attributes.v": 1}


def test_places_of_deleted_items_are_given_up_when_they_are_many(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_LEAST_GONE", 4)
    for number in range(10):
        items.put(f"{number}", "", {"v": number})
    before = followed(table, log)
    for number in range(6):
        items.delete(f"{number}")
    after = followed(table, log)
    assert (before.length, after.length) == (10, 4)
    assert after.layout != before.layout
    assert after.alive.all()
    assert_same(after, items)
    assert row(before, 1) == {"attributes.v": 0}


@pytest.mark.parametrize("seed", range(8))
def test_the_table_is_what_sqlite_holds_after_any_changes(
    items: ItemsDatabase, table: ColumnTable, log: ChangeLog, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(codes_module, "_LEAST_LOG", 8)
    monkeypatch.setattr(writing, "_LEAST_GONE", 16)
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(25):
        random_changes(items, rng, int(rng.integers(1, 30)))
        columns = followed(table, log)
        assert_same(columns, items)
        held.append((columns, {key: row(columns, key) for key in columns.keys[columns.alive].tolist()[:5]}))
    for columns, rows in held:
        assert {key: row(columns, key) for key in rows} == rows
