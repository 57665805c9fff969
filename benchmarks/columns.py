"""What it costs a worker to keep category and attributes of a million items: at its start, in memory, for each change.

    python -m benchmarks.columns [--items N]

The items have six attributes, one of each kind: a price, a truth, a colour of five, a whole number, a list of two
texts, a time. Each start is a process of its own; CPU seconds, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.memory import anonymous_mb
from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.index import column_files
from twinset_server.catalog.index.column_shelf import ColumnShelf
from twinset_server.catalog.index.lanes import Lanes
from twinset_server.catalog.index.plan import Limits
from twinset_server.catalog.store.log import ChangeLog
from twinset_server.catalog.store.schema import open_writer

_TICK = 10
"""Changes a tick: a thousand a second."""

_TICKS = 1000
_ROUNDS = 15

_TRUTHS = ("true", "false")
_COLORS = ("red", "green", "blue", "black", "white")
_NEXT = "UPDATE meta SET value = value + ? WHERE name = 'sequence'"
_FLIP = """
UPDATE items SET seq = (SELECT value FROM meta WHERE name = 'sequence'),
attributes = json_set(attributes, '$.in_stock', json(?)) WHERE key = ?
"""


def main() -> None:
    """Fill a folder, start from the database and from the snapshot, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--start", choices=("database", "snapshot"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        print(json.dumps(started(options.folder, options.start)))
        return
    with tempfile.TemporaryDirectory(prefix="twinset-columns-") as name:
        figures.write("columns", list(measured(Path(name), options.items)))


def measured(folder: Path, count: int) -> Iterator[Figure]:
    """Yield all figures."""
    fill(folder / "catalog.sqlite", count)
    with contextlib.closing(ChangeLog(folder / "catalog.sqlite")) as log:
        begun = time.process_time()
        ColumnShelf(folder / "index", Limits.of(1, 1, 1), lambda: False, Lanes()).refresh(log)
        written_s = time.process_time() - begun
    told = f"{count:,} items with six attributes and a category; {figures.machine('numpy', 'twinset')}"
    yield Figure("columns.snapshot_s", written_s, None, "s CPU", "lower", told)
    for start in ("database", "snapshot"):
        found = start_apart(folder, start)
        yield Figure(f"columns.start_s.{start}", found["start_s"], None, "s CPU", "lower", told)
        yield Figure(f"columns.own_mb.{start}", found["own_mb"], None, "MB", "lower", told, bound=100)
        yield Figure(f"columns.own_mb_later.{start}", found["later_mb"], None, "MB", "lower", told, bound=100)
        yield Figure(f"columns.change_us.{start}", found["change_us"], None, "us CPU", "lower", told)
    with contextlib.closing(ChangeLog(folder / "catalog.sqlite")) as log:
        columns = table(folder, log, "snapshot").publish()
        for name, spent_us in truths_us(columns):
            yield Figure(f"columns.truth_us.{name}", spent_us, None, "us", "lower", told)


def fill(database: Path, count: int) -> None:
    """Write `count` items."""
    rng = np.random.default_rng(0)

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(1, count + 1):
            attributes = {
                "price": round(float(rng.lognormal(3, 1)), 2),
                "in_stock": bool(rng.random() < 0.5),
                "color": _COLORS[rng.integers(5)],
                "stock": int(rng.integers(1000)),
                "tags": [f"tag {rng.integers(50)}", f"tag {rng.integers(50)}"],
                "added": {"time": f"2026-0{rng.integers(1, 9)}-1{rng.integers(9)}T00:00:00+00:00"},
            }
            encoded = json.dumps(attributes, separators=(",", ":"))
            yield f"item-{number:08}", f"category {rng.integers(40)}", encoded, number

    with contextlib.closing(open_writer(database)) as connection, _transaction(connection):
        connection.executemany(
            "INSERT INTO items (id, title, uri, category, attributes, etag, seq, created, updated, digest)"
            " VALUES (?, '', '', ?, ?, '', ?, 0, 0, x'')",
            rows(),
        )
        connection.execute(_NEXT, (count,))


def start_apart(folder: Path, start: str) -> dict[str, float]:
    """Return what `started` returns in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.columns", "--start", start, "--folder", str(folder)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def started(folder: Path, start: str) -> dict[str, float]:
    """Start from the database or the snapshot, follow changes, and return what that took."""
    before = anonymous_mb(os.getpid())
    with contextlib.closing(ChangeLog(folder / "catalog.sqlite")) as log:
        begun = time.process_time()
        kept = table(folder, log, start)
        kept.publish()
        start_s = time.process_time() - begun
        own = anonymous_mb(os.getpid()) - before
        change_us = changes_us(folder / "catalog.sqlite", log, kept)
    return {
        "start_s": start_s,
        "own_mb": own,
        "later_mb": anonymous_mb(os.getpid()) - before,
        "change_us": change_us,
    }


def table(folder: Path, log: ChangeLog, start: str) -> ColumnTable:
    """Return the table as a worker has it after its start."""
    found = column_files.newest_sound(column_files.columns_folder(folder / "index")) if start == "snapshot" else None
    kept = ColumnTable(None if found is None else found[1])
    with log.snapshot() as snapshot:
        kept.follow(snapshot)
    return kept


def changes_us(database: Path, log: ChangeLog, kept: ColumnTable) -> float:
    """Flip `in_stock` of random items, and return the CPU time of the follower for each, in microseconds."""
    rng = np.random.default_rng(1)
    count = kept.publish().length
    spent = 0.0
    with contextlib.closing(open_writer(database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for _ in range(_TICKS):
            with _transaction(connection):
                for _ in range(_TICK):
                    connection.execute(_NEXT, (1,))
                    connection.execute(_FLIP, (_TRUTHS[rng.integers(2)], int(rng.integers(1, count + 1))))
            begun = time.thread_time()
            with log.snapshot() as snapshot:
                kept.follow(snapshot)
            kept.publish()
            spent += time.thread_time() - begun
    return spent / (_TICK * _TICKS) * 1e6


def truths_us(columns: Columns) -> Iterator[tuple[str, float]]:
    """Yield for each form of a table of truths how long it takes to know of all items, in microseconds."""
    column = columns.fields["attributes.stock"]
    numbers = np.arange(len(column.values) + 1)
    for name, truths in (
        ("one", numbers == 7),
        ("range", (numbers >= 5) & (numbers < 500)),
        ("any", np.random.default_rng(0).random(len(numbers)) < 0.5),
    ):
        yield name, _median_us(lambda truths=truths: column.truth(truths))
        codes = column.codes
        yield f"{name}_by_numpy", _median_us(lambda truths=truths, codes=codes: truths[codes])


def _median_us(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


if __name__ == "__main__":
    main()
