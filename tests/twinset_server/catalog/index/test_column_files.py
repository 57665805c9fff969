import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes.columns import ItemsDatabase, assert_same, random_changes
from fakes.mutations import MUTATIONS
from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.index import column_files
from twinset_server.catalog.index.checksums import Stopped, Unsound
from twinset_server.catalog.index.column_shelf import ColumnShelf
from twinset_server.catalog.index.lanes import Lane, Lanes
from twinset_server.catalog.index.plan import Limits
from twinset_server.catalog.store.log import ChangeLog

LIMITS = Limits(fold_at=5, bulk_at=10, graph_at=5)
"""A snapshot is due after 10 changes."""


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
def index(tmp_path: Path) -> Path:
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def shelf_of(index: Path, lanes: Lanes | None = None) -> ColumnShelf:
    return ColumnShelf(index, LIMITS, lambda: False, lanes or Lanes())


def started(index: Path, log: ChangeLog) -> Columns:
    """Return the table as a process has it after its start."""
    found = column_files.newest_sound(index / "columns")
    table = ColumnTable(None if found is None else found[1])
    with log.snapshot() as snapshot:
        table.follow(snapshot)
    return table.publish()


def put_some(items: ItemsDatabase, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        items.put(f"{number}", "Mug" if number % 2 else "", {"n": number, "tags": ["a", f"{number % 3}"]})


@pytest.mark.parametrize("seed", range(6))
def test_a_start_from_a_snapshot_is_the_database_after_any_changes(
    items: ItemsDatabase, log: ChangeLog, index: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shelf = shelf_of(index)
    written = 0
    for _ in range(12):
        random_changes(items, rng, int(rng.integers(1, 25)))
        if rng.random() < 0.3:
            shelf = shelf_of(index)
        written += shelf.refresh(log)
        random_changes(items, rng, int(rng.integers(1, 9)))
        assert_same(started(index, log), items)
    assert written > 1
    assert len(list((index / "columns").glob("columns-*"))) == 2


def test_a_snapshot_has_the_living_items_alone_and_their_codes_as_the_file_has_them(
    items: ItemsDatabase, log: ChangeLog, index: Path
) -> None:
    put_some(items, 20)
    items.delete("3")
    shelf_of(index).refresh(log)
    found = column_files.newest_sound(index / "columns")
    assert found is not None
    number, columns = found
    assert (number, columns.length, columns.sequence) == (1, 19, 21)
    assert columns.alive.all()
    assert_same(columns, items)
    assert not columns.fields["attributes.n"].codes.flags.writeable
    assert not columns.fields["attributes.n"].codes.flags.owndata


def test_a_snapshot_is_written_when_enough_has_changed(items: ItemsDatabase, log: ChangeLog, index: Path) -> None:
    shelf = shelf_of(index)
    put_some(items, 9)
    assert not shelf.refresh(log)
    put_some(items, 1, first=9)
    assert shelf.refresh(log)
    put_some(items, 9)
    assert not shelf.refresh(log)
    items.delete("9")
    assert shelf.refresh(log)
    assert column_files.numbers(index / "columns") == [2]


def test_changes_of_no_item_make_no_snapshot_due(items: ItemsDatabase, log: ChangeLog, index: Path) -> None:
    shelf = shelf_of(index)
    put_some(items, 5)
    items.connection.execute("UPDATE meta SET value = value + 1000 WHERE name = 'sequence'")
    assert not shelf.refresh(log)
    put_some(items, 5, first=5)
    assert shelf.refresh(log)


def test_a_snapshot_waits_for_a_fold_but_not_for_ever(items: ItemsDatabase, log: ChangeLog, index: Path) -> None:
    lanes = Lanes()
    shelf = shelf_of(index, lanes)
    with lanes.at_work(Lane.FOLD):
        put_some(items, 39)
        assert not shelf.refresh(log)
        put_some(items, 1, first=39)
        assert shelf.refresh(log)


def test_a_snapshot_that_somebody_removed_is_written_again(items: ItemsDatabase, log: ChangeLog, index: Path) -> None:
    shelf = shelf_of(index)
    put_some(items, 12)
    assert shelf.refresh(log)
    assert not shelf.refresh(log)
    column_files.remove(index / "columns")
    assert list((index / "columns").glob("columns-*")) == []
    assert shelf.refresh(log)
    assert_same(started(index, log), items)


def test_a_builder_that_ends_leaves_the_snapshot_that_was_there(
    items: ItemsDatabase, log: ChangeLog, index: Path
) -> None:
    put_some(items, 12)
    shelf_of(index).refresh(log)
    put_some(items, 300)
    with pytest.raises(Stopped):
        ColumnShelf(index, LIMITS, lambda: True, Lanes()).refresh(log)
    assert column_files.numbers(index / "columns") == [1]
    assert_same(started(index, log), items)


@pytest.mark.parametrize("kind", MUTATIONS)
@pytest.mark.parametrize("suffix", [".json", ".bin"])
def test_damage_is_found_and_the_database_says_the_same(
    items: ItemsDatabase, log: ChangeLog, index: Path, kind: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_some(items, 30)
    shelf_of(index).refresh(log)
    path = index / "columns" / f"columns-000001{suffix}"
    MUTATIONS[kind](path, np.random.default_rng(len(kind)))
    with caplog.at_level(logging.WARNING):
        assert_same(started(index, log), items)
    if not (kind == "removed" and suffix == ".json"):
        assert "the snapshot of categories and attributes can't be used" in caplog.text
        with pytest.raises(Unsound):
            column_files.open_snapshot(index / "columns", 1)
    # The next builder puts a sound one in its place.
    assert shelf_of(index).refresh(log)
    found = column_files.newest_sound(index / "columns")
    assert found is not None
    assert_same(found[1], items)
    assert len(list((index / "columns").glob("columns-*"))) == 2


def test_values_that_no_item_has_are_not_kept_for_ever(
    items: ItemsDatabase, log: ChangeLog, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinset_server.catalog.columns.writing._LEAST_UNUSED", 16)
    table = ColumnTable()
    held = []
    for price in range(40):
        put_some(items, 12, first=12 * price)
        for number in range(12):
            items.put(f"{number}", "", {"price": price + number / 16, "name": f"of {price}"})
        with log.snapshot() as snapshot:
            table.follow(snapshot)
        columns = table.publish()
        assert_same(columns, items)
        held.append((columns, price))
        items.connection.execute("DELETE FROM items WHERE id >= '12'")
        shelf_of(index).refresh(log)
    found = column_files.newest_sound(index / "columns")
    assert found is not None
    for last in (table.publish(), found[1]):
        assert len(last.fields["attributes.price"].values) <= 2 * last.length + 16
    for columns, price in held:
        codes = columns.fields["attributes.name"].codes[columns.alive]
        names = columns.fields["attributes.name"].values
        assert {names.value(code) for code in codes[codes > 0].tolist()} == {f"of {price}"}
