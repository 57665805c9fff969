from pathlib import Path

import pytest

from twinset_exporter.datasets import labels
from twinset_exporter.datasets.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    for name in ("a.jpg", "000.1.png", "more/c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_pictures_come_in_the_order_of_the_table(folder: Path) -> None:
    found = labels.read(folder, table(folder, 'id,type,name\n000.1,Lamp,"Big, red"\na,,x\n'))

    assert found.ids == ("000.1", "a")
    assert found.paths == (folder / "000.1.png", folder / "a.jpg")
    assert found.labels == {"type": ("Lamp", ""), "name": ("Big, red", "x")}
    assert found.unlabelled == 1


def test_only_the_columns_asked_for_are_read(folder: Path) -> None:
    found = labels.read(folder, table(folder, "x;key;y\n1;a;2\n"), id_column="key", columns=["y"], delimiter=";")

    assert found.labels == {"y": ("2",)}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("b,1", "the id of a picture in"),
        ("../x,1", "the id of a picture in"),
        ("a,2", "each id once, but line 2 has this one too"),
        (",2", "an id in column 'id'"),
        ("more/c", "2 fields"),
    ],
)
def test_a_broken_row_is_named_by_its_line(folder: Path, row: str, expected: str) -> None:
    with pytest.raises(DataError) as raised:
        labels.read(folder, table(folder, f"id,type\na,1\n{row}\n"))

    assert raised.value.line == 3
    assert expected in str(raised.value)


def test_a_folder_without_pictures_and_a_table_with_equal_names_are_refused(folder: Path) -> None:
    (folder / "empty").mkdir()

    with pytest.raises(DataError, match="expected a folder of pictures"):
        labels.read(folder / "empty", table(folder, "id,type\na,1\n"))
    with pytest.raises(DataError, match="line 1: expected columns of different names"):
        labels.read(folder, table(folder, "id,type,type\na,1,2\n"))
