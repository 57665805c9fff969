"""Rows into a file: CSV, JSON a line, or Parquet; the file appears when it is complete."""

from __future__ import annotations

import contextlib
import csv
import datetime
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twinset.cli.problem import Problem
from twinset.cli.table import parquet

_SUFFIXES = (".csv", ".jsonl", ".parquet")
_ROWS_IN_GROUP = 50_000

_Rows = Iterable[Sequence[Any]]


def check_target(path: Path) -> None:
    """Return if `written` may write there, as far as can be told in advance.

    Raises:
        Problem: the name tells no format, pyarrow is needed and not installed, or the folder isn't there.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise Problem(f"--output {path}: the name's end tells the format, give one of {', '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise Problem(f"--output {path}: the folder {path.parent} does not exist: create it, or name another")
    if suffix == ".parquet":
        parquet()


def written(path: Path, columns: Mapping[str, str], rows: _Rows) -> int:
    """Write rows and return how many; until the file is complete, a temporary one lies beside it.

    Args:
        path: checked by `check_target`.
        columns: their names and kinds: `string`, `double`, `time` (UTC, to the microsecond) or `json`.
        rows: drawn as they are written; memory holds one group of them.
    Raises:
        Problem: the file can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    write = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[path.suffix.lower()]
    try:
        count = write(partial, columns, rows)
        partial.replace(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise Problem(f"{path} can't be written: {reason}") from error
    finally:
        with contextlib.suppress(OSError):  # it may never have come about
            partial.unlink()
    return count


def _write_csv(path: Path, columns: Mapping[str, str], rows: _Rows) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(value, kind) for value, kind in zip(row, columns.values(), strict=True)])
            count += 1
    return count


def _write_jsonl(path: Path, columns: Mapping[str, str], rows: _Rows) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_json({name: _plain(value) for name, value in zip(columns, row, strict=True)}) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, columns: Mapping[str, str], rows: _Rows) -> int:
    modules = parquet()
    import pyarrow as pa

    types = {"string": pa.string(), "json": pa.string(), "double": pa.float64(), "time": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([pa.field(name, types[kind], nullable=False) for name, kind in columns.items()])
    count = 0
    with modules.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows):
            values = [
                [_json(value) for value in column] if kind == "json" else list(column)
                for column, kind in zip(zip(*group, strict=True), columns.values(), strict=True)
            ]
            writer.write_table(pa.table(values, schema=schema))
            count += len(group)
    return count


def _groups(rows: _Rows) -> Iterator[list[Sequence[Any]]]:
    rest = iter(rows)
    while group := list(itertools.islice(rest, _ROWS_IN_GROUP)):
        yield group


def _cell(value: Any, kind: str) -> Any:
    return _json(value) if kind == "json" else _plain(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
