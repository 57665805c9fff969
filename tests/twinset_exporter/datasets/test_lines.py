import gzip
from pathlib import Path

import pytest

from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.lines import LONGEST_LINE, read_columns, read_rows
from twinset_exporter.errors import UsageError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def rows(path: Path, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    return list(read_rows(path, delimiter=delimiter))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_rows_carry_the_number_of_the_line_where_they_begin(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b'a,b\r\n\r\n"x\ny",2\n3,4')

    assert rows(path) == [(1, ["a", "b"]), (3, ["x\ny", "2"]), (5, ["3", "4"])]


@pytest.mark.parametrize("delimiter", [",", "|", "\t", ";", " ", "::"])
def test_any_delimiter_separates(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.txt", f"1{delimiter}two{delimiter}\n".encode())

    assert rows(path, delimiter) == [(1, ["1", "two", ""])]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,x\n7,8\n".encode("utf-8-sig"))

    assert list(read_columns(path, ["id"], delimiter=",")) == [(2, ["7"])]


def test_columns_are_chosen_by_name_or_by_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"x,y,z\n1,2,3\n")

    assert list(read_columns(path, ["z", "x"], delimiter=",")) == [(2, ["3", "1"])]
    assert list(read_columns(path, [2, 0], delimiter=",")) == [(1, ["z", "x"]), (2, ["3", "1"])]


@pytest.mark.parametrize(
    ("content", "line", "expected"),
    [
        (b"a,b\n1,2\n3\n", 3, "2 fields between ',', as in the first row, found 1"),
        (b"a,b\n1,2,3\n", 2, "2 fields between ',', as in the first row, found 3"),
        (b"a,b\n1,\xff\n", 2, "text in utf-8, found byte 0xff at place 2"),
        (b'a,b\n1,"2\n3,4\n', 2, "fields between ',', found unexpected end of data"),
        (b'a,b\n1,"2"3\n', 2, "fields between ','"),
        pytest.param(b"a,b\n" + b"x" * (LONGEST_LINE + 1), 2, "a line of at most 1,048,576 bytes", id="long"),
    ],
)
def test_a_broken_line_is_named_with_what_was_expected(
    tmp_path: Path, content: bytes, line: int, expected: str
) -> None:
    path = write(tmp_path / "a.csv", content)

    with pytest.raises(DataError) as raised:
        rows(path)

    assert (raised.value.file, raised.value.line) == (path, line)
    assert expected in str(raised.value)
    assert str(raised.value).startswith(f"{path}, line {line}: expected ")


@pytest.mark.parametrize("columns", [["a", "c"], ["b"], [3]])
def test_a_column_that_is_not_there_once_is_refused(tmp_path: Path, columns: list[str] | list[int]) -> None:
    path = write(tmp_path / "a.csv", b"a,b,b\n")

    with pytest.raises(DataError, match=r"line 1: expected (one column|at least 4 columns)"):
        list(read_columns(path, columns, delimiter=","))


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least one row, found an empty file"):
        list(read_columns(write(tmp_path / "a.csv", b"\n"), ["a"], delimiter=","))
    with pytest.raises(DataError, match=r"b\.csv: expected a file that can be read, found No such file"):
        rows(tmp_path / "b.csv")


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv.gz", b"a,b\n" + b"1,2\n" * 1000)
    path.write_bytes(path.read_bytes()[:-12])

    with pytest.raises(DataError, match="expected a whole gzip file"):
        rows(path)


@pytest.mark.parametrize("delimiter", ["", '"', "\n", "a\r"])
def test_a_delimiter_that_no_file_can_have_is_a_mistake_of_the_call(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n")
    with pytest.raises(UsageError, match="delimiter"):
        list(read_rows(path, delimiter=delimiter))
