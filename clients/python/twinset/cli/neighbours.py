"""The neighbours of every item, as a Parquet file."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from twinset.batches import batches
from twinset.cli.problem import Problem
from twinset.client import Client
from twinset.recommendations import Query, QueryResult, Recommendations

_THREADS = 8
_IN_FLIGHT = 2 * _THREADS
_BATCH = 64
_NEIGHBOURS_IN_ANSWER = 5000
"""An answer is at most 4 MiB: each may take as much as ids of 256 bytes do, and more."""

_WITHOUT_NEIGHBOURS = ("ITEM_HAS_NO_VECTOR", "ITEM_NOT_FOUND")
"""Why an item has none; the second was deleted since it was listed."""

_ROWS_IN_GROUP = 100_000

_Row = tuple[str, int, str, float]

_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("neighbour_id", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)


@dataclass(slots=True)
class Written:
    """Items asked for so far, rows that came of them, and items without a vector to ask by."""

    items: int = 0
    rows: int = 0
    without_vector: int = 0


def check_target(path: Path) -> None:
    """Return if `write_neighbours` may write there, as far as can be told in advance.

    Raises:
        Problem: the name is not that of a Parquet file, or its folder isn't there.
    """
    if path.suffix.lower() != ".parquet":
        raise Problem(f"--output {path}: the neighbours are written as Parquet, give a name that ends in .parquet")
    if not path.parent.is_dir():
        raise Problem(f"--output {path}: the folder {path.parent} does not exist: create it, or name another")


def write_neighbours(client: Client, path: Path, query: Query, *, progress: Callable[[Written], None]) -> Written:
    """Write the best neighbours of every item, in the order of the items' ids, rank 1 first.

    `query` says all but the item: how many neighbours, in which space, how surely.

    The file appears when it is complete; until then a temporary one lies beside it. Memory holds one row group and the
    answers in flight.

    Raises:
        Problem: the file can't be written.
        TwinsetError: the server can't be reached.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    written = Written()
    try:
        with pq.ParquetWriter(partial, _SCHEMA, compression="zstd") as writer:
            rows: list[_Row] = []
            for item_id, answer in _answers(client, query):
                written.items += 1
                if answer is None:
                    written.without_vector += 1
                else:
                    rows += [(item_id, rank, found.item.id, found.score) for rank, found in enumerate(answer, start=1)]
                if len(rows) >= _ROWS_IN_GROUP:
                    _write_group(writer, rows)
                    written.rows += len(rows)
                    rows = []
                progress(written)
            _write_group(writer, rows)
            written.rows += len(rows)
        partial.replace(path)
    except OSError as error:
        # pyarrow's own words name the temporary file.
        reason = os.strerror(error.errno) if error.errno else error
        raise Problem(f"{path} can't be written: {reason}") from error
    finally:
        with contextlib.suppress(OSError):  # it may never have come about
            partial.unlink()
    return written


def _write_group(writer: pq.ParquetWriter, rows: Sequence[_Row]) -> None:
    if rows:
        writer.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], schema=_SCHEMA))


def _answers(client: Client, query: Query) -> Iterator[tuple[str, Recommendations | None]]:
    """Return each item's answer, None where it has no vector; several batches are asked for at a time."""

    def ask(item_ids: Sequence[str]) -> list[QueryResult]:
        return list(client.recommend_many([replace(query, item=item_id) for item_id in item_ids], batch=batch))

    batch = max(1, min(_BATCH, _NEIGHBOURS_IN_ANSWER // query.k))
    ids = batches((item.id for item in client.list_items(view="id")), size=len, most=batch)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="twinset-recommend")
    try:
        for result in _in_order(pool, ask, ids):
            if result.error is not None and result.error.reason not in _WITHOUT_NEIGHBOURS:
                raise result.error
            assert result.query.item is not None  # noqa: S101 - for the type checker
            yield result.query.item, result.recommendations
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, ask: Callable[[Sequence[str]], list[QueryResult]], groups: Iterable[Sequence[str]]
) -> Iterator[QueryResult]:
    under_way: deque[Future[list[QueryResult]]] = deque()
    for group in groups:
        under_way.append(pool.submit(ask, group))
        if len(under_way) == _IN_FLIGHT:
            yield from under_way.popleft().result()
    for answers in under_way:
        yield from answers.result()
