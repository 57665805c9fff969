"""Whether pages of recommendations are one answer: nothing repeated, nothing skipped, also while others write.

    python -m benchmarks.pages [--seconds 600]

Two workers answer from one folder, each on a port of its own; every page is asked of another worker than the one
before. A caller puts 500 items a second meanwhile: new ones among the nearest, stored ones that move, and it deletes
some. Paged answers of 1,000 items begin at the start, and their last pages are read at the end: so tokens grow as old
as the run.

Counted are items that came twice, that were deleted and came all the same, and that were in the long answers both right
before and right after the first page, were there to the end, and never came.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill, item_id
from benchmarks.mixture import Mixture
from twinset import Client, Item, Query, Recommendations, Vector

SPACE = "bench"
DIMENSION = 64
K = 1000
PAGE = 100
WORKERS = 2
PER_S = 500
BATCH = 50


@dataclass(slots=True)
class Paged:
    """A paged answer: its query, what stood in long answers around its first page, and what has come so far."""

    query: Query
    sure: set[str]
    came: list[str]
    token: str
    begun: float = field(default_factory=time.monotonic)
    wrong: int = 0


class Writing:
    """Puts and deletes at a steady rate in a thread, and knows when which item was deleted."""

    def __init__(self, address: str, items: int, near: Sequence[Vector]) -> None:
        """Write through the worker at `address`; stored items are the first `items`, new ones lie by `near`."""
        self.deleted: dict[str, float] = {}
        self.written = 0
        self._address = address
        self._items = items
        self._near = near
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _write(self) -> None:
        chance, mixture = np.random.default_rng(11), Mixture(DIMENSION)
        begun, turn = time.monotonic(), 0
        with Client(self._address) as client:
            while not self._stopped.wait(max(0.0, begun + turn * BATCH / PER_S - time.monotonic())):
                turn += 1
                moved = chance.choice(self._items, BATCH // 2, replace=False)
                ids = [item_id(int(n)) for n in moved if item_id(int(n)) not in self.deleted]
                rows = mixture.rows(BATCH, 1_000_000 + turn)
                changed = [Item(i, vectors=[Vector(row, SPACE)]) for i, row in zip(ids, rows, strict=False)]
                for number in range(BATCH - len(changed)):
                    close = self._near[number % len(self._near)].values
                    row = close + 0.02 * chance.standard_normal(DIMENSION).astype(np.float32)
                    changed.append(Item(f"new/{turn:06}/{number:02}", vectors=[Vector(row, SPACE)]))
                for result in client.put_items(changed):
                    if result.error is not None:
                        raise result.error
                self.written += len(changed)
                gone = item_id(int(chance.integers(self._items)))
                if gone not in self.deleted and gone not in ids:
                    client.delete_item(gone)
                    self.deleted[gone] = time.monotonic()


def main() -> None:
    """Read pages beside writes, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-pages"), help="where the catalogue is made")
    parser.add_argument("--items", type=int, default=20_000, help="items stored before")
    parser.add_argument("--answers", type=int, default=20, help="paged answers at a time")
    parser.add_argument("--seconds", type=float, default=600, help="how old the tokens grow")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    fill(options.folder, SPACE, DIMENSION, options.items)
    queries = [Vector(row, SPACE) for row in Mixture(DIMENSION).rows(options.answers, 77)]
    with workers(options.folder) as clients:
        still = [_page_through(clients, query) for query in queries]
        with Writing(clients[0].server, options.items, queries) as writing:
            answers = [_begin(clients, query) for query in queries]
            for turn in range(1, K // PAGE):
                for number, answer in enumerate(answers):
                    due = answer.begun + options.seconds * turn / (K // PAGE - 1)
                    time.sleep(max(0.0, due - time.monotonic()))
                    _go_on(clients[(turn + number) % WORKERS], answer, writing)
        wrong = sum(answer.wrong + _missing(answer, writing) for answer in answers)
        told = f"{writing.written:,} puts and {len(writing.deleted):,} deletions meanwhile"
    protocol = (
        f"{options.items:,} x {DIMENSION}, {options.answers} answers of {K} in pages of {PAGE} over "
        f"{options.seconds:g} s, each page by another of {WORKERS} workers, {told}; and as many without writes against "
        f"one long answer; {machine('grpcio', 'numpy')}"
    )
    value = float(wrong + sum(still))
    write("pages", [Figure("pages.repeated_or_skipped", value, 0, "items", "lower", protocol, bound=0)])


@contextlib.contextmanager
def workers(folder: Path) -> Iterator[list[Client]]:
    """Serve a filled folder by several processes while the context is open; a client of each."""
    with contextlib.ExitStack() as open_:
        clients = []
        for number in range(WORKERS):
            command = [sys.executable, "-m", "benchmarks.search_worker", str(folder), SPACE]
            command += ["--workers", str(WORKERS), "--worker", str(number)]
            process = open_.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101
            open_.callback(process.stdin.close)
            clients.append(open_.enter_context(Client(process.stdout.readline().split()[0])))
        yield clients


def _ids(answer: Recommendations) -> list[str]:
    return [found.item.id for found in answer]


def _page_through(clients: Sequence[Client], vector: Vector) -> int:
    """Return in how many places pages without writes differ from one long answer."""
    query = Query(vector=vector, k=K, page_size=PAGE, exact=True)
    paged: list[str] = []
    for turn in range(K // PAGE):
        page = clients[turn % WORKERS].recommend_query(query)
        paged += _ids(page)
        query = Query(vector=vector, k=K, page_size=PAGE, exact=True, page_token=page.next_page_token)
    whole = _ids(clients[0].recommend(vector=vector, k=K, exact=True))
    return sum(one != other for one, other in zip(paged, whole, strict=True))


def _begin(clients: Sequence[Client], vector: Vector) -> Paged:
    query = Query(vector=vector, k=K, page_size=PAGE, exact=True)
    before = set(_ids(clients[0].recommend(vector=vector, k=K, exact=True)))
    page = clients[1].recommend_query(query)
    after = set(_ids(clients[0].recommend(vector=vector, k=K, exact=True)))
    return Paged(query, before & after, _ids(page), page.next_page_token)


def _go_on(client: Client, answer: Paged, writing: Writing) -> None:
    asked = time.monotonic()
    query = answer.query
    page = client.recommend(vector=query.vector, k=K, page_size=PAGE, exact=True, page_token=answer.token)
    for found in _ids(page):
        answer.wrong += found in answer.came or writing.deleted.get(found, asked) < asked
    answer.came += _ids(page)
    answer.token = page.next_page_token


def _missing(answer: Paged, writing: Writing) -> int:
    return len(answer.sure - set(answer.came) - writing.deleted.keys())


if __name__ == "__main__":
    main()
