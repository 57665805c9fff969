from __future__ import annotations

from pathlib import Path

import pytest

from twinset.cli.attributes import Facts, read_attributes
from twinset.cli.problem import Problem
from twinset.items import Attribute


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "facts.csv"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2"], [1, -2]),
        (["1", "2.5", ".5", "1e3"], [1.0, 2.5, 0.5, 1000.0]),
        (["true", "FALSE"], [True, False]),
        (["yes", "no"], ["yes", "no"]),
        (["1", "true"], ["1", "true"]),
        (["007", "1"], ["007", "1"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["nan", "1.5"], ["nan", "1.5"]),
        (["inf", "1"], ["inf", "1"]),
        (["9223372036854775807", "1"], [2**63 - 1, 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["1e99", "1"], [1e99, 1.0]),
        (["1e999", "1"], ["1e999", "1"]),
    ],
)
def test_a_column_has_the_narrowest_type_of_all_its_values(
    table: Path, values: list[str], expected: list[Attribute]
) -> None:
    table.write_text("id,size\n" + "".join(f"{place},{value}\n" for place, value in enumerate(values)))
    read = [facts.attributes["size"] for facts in read_attributes(table).values()]
    assert read == expected
    assert [type(value) for value in read] == [type(value) for value in expected]


def test_an_empty_value_is_an_absent_one(table: Path) -> None:
    table.write_text("id,size,category\na,,\nb,2,shoes\n")
    assert read_attributes(table) == {"a": Facts(), "b": Facts(category="shoes", attributes={"size": 2})}


def test_the_id_is_the_column_of_that_name_or_else_the_first(table: Path) -> None:
    table.write_text("sku,id\nx,a\n")
    assert read_attributes(table) == {"a": Facts(attributes={"sku": "x"})}
    table.write_text("sku,size\nx,1\n")
    assert read_attributes(table) == {"x": Facts(attributes={"size": 1})}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_spreadsheets_may_separate_and_quote_as_they_do(table: Path, mark: str) -> None:
    table.write_bytes(f'\ufeffid{mark}title\r\na{mark}"two\r\nlines, and ""quotes"""\r\n'.encode())
    assert read_attributes(table)["a"].title == 'two\r\nlines, and "quotes"'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"id,title\n", "has no rows"),
        (b"id,,x\na,,\n", "line 1: column 2 has no name"),
        (b"id,x,x\na,,\n", "line 1: two columns are called 'x'"),
        (b"id,x\na,1\nb\n", "line 3: 1 value for 2 columns"),
        (b"id,x\na,1\n\n,2\n", "line 4: no value in the id column 'id'"),
        (b"id,x\na,1\nb,2\na,3\n", "line 4: the id 'a' stands in line 2 already"),
        (b"id,x\na,1\nb,\xff\n", "line 3: not UTF-8"),
        (b'id,x\na,"1\n', "line 2: unexpected end of data"),
    ],
)
def test_a_malformed_line_is_named(table: Path, content: bytes, message: str) -> None:
    table.write_bytes(content)
    with pytest.raises(Problem, match=message):
        read_attributes(table)


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"facts\.csv can't be read: No such file"):
        read_attributes(tmp_path / "facts.csv")
