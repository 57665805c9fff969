"""Tables are read row by row, from CSV and from Parquet alike."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinset.cli.attributes import read_attributes, read_updates
from twinset.cli.problem import Problem
from twinset.cli.row_files import written
from twinset.cli.table import open_table
from twinset.items import ItemUpdate

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def test_a_parquet_table_reads_like_the_csv_of_its_values(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"id": ["a", "b"], "price": [1.5, float("nan")], "new": [True, None], "n": [1, 2]}
    pq.write_table(pa.table(columns), path)
    (tmp_path / "t.csv").write_text("id,price,new,n\na,1.5,True,1\nb,,,2\n")
    assert read_attributes(path) == read_attributes(tmp_path / "t.csv")
    assert read_attributes(path)["a"].attributes == {"price": 1.5, "new": True, "n": 1}


def test_a_column_of_lists_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"], "tags": [["x", "y"]]}), path)
    with pytest.raises(Problem, match="row 1, column 'tags': holds lists"):
        list(open_table(path).rows)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"id\na\n")
    with pytest.raises(Problem, match="can't be read as Parquet"):
        open_table(path)


def test_a_missing_file_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="can't be read: No such file"):
        open_table(tmp_path / "none.csv")
    (tmp_path / "t.csv").write_text("id,x\n")
    with pytest.raises(Problem, match="has no column 'y': it has id, x"):
        open_table(tmp_path / "t.csv").column("y")


def test_updates_name_only_what_rows_give(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,title,size\na,T,\nb,,2\nc,,\n")
    assert read_updates(path, clear_empty=False) == [
        ItemUpdate("a", title="T"), ItemUpdate("b", attributes={"size": 2})
    ]  # fmt: skip
    assert read_updates(path, clear_empty=True) == [
        ItemUpdate("a", title="T", attributes={"size": None}),
        ItemUpdate("b", title="", attributes={"size": 2}),
        ItemUpdate("c", title="", attributes={"size": None}),
    ]


def test_rows_of_a_csv_are_quoted_where_they_must_be(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    columns = {"id": "string", "time": "time", "more": "json"}
    assert written(path, columns, [('a,"b"\n', NOON, {"x": "é"}), ("c", NOON, [])]) == 2
    rows = [row.values for row in open_table(path).rows]
    assert rows == [['a,"b"', NOON.isoformat(), '{"x": "é"}'], ["c", NOON.isoformat(), "[]"]]
