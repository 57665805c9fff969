"""`twinset update` and `twinset delete`: changes to items that are there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from twinset.cli.account import print_failed
from twinset.cli.attributes import read_updates
from twinset.cli.problem import Problem, SomeFailed
from twinset.cli.progress import counting
from twinset.cli.report import counted
from twinset.cli.session import Server, session
from twinset.errors import NotFound, TwinsetError
from twinset.items import PutResult


@dataclass(slots=True)
class Tally:
    """What became of changes so far: how many were made, how many named what isn't there, and why others failed."""

    done: int = 0
    made: int = 0
    absent: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def take(self, results: Iterable[PutResult], show: Callable[[int], None], name: Callable[[PutResult], str]) -> None:
        """Take note of results as they come.

        Args:
            results: what became of each change.
            show: told after each how many there are.
            name: returns what a failure is called; called for every result, in order.
        Raises:
            Problem: the stream failed; the message tells how many were made until then.
        """
        try:
            for result in results:
                called = name(result)
                self.done += 1
                if result.error is None:
                    self.made += 1
                elif isinstance(result.error, NotFound):
                    self.absent += 1
                else:
                    self.failed[called] = result.error.message
                show(self.done)
        except TwinsetError as error:
            raise Problem(f"{error.message}; {self.made:,} were made so far") from error


def update(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table, .csv or .parquet: ids, and what changes.")],
    clear_empty: Annotated[
        bool, typer.Option("--clear-empty", help="An empty value takes the field away, instead of leaving it as it is.")
    ] = False,
    server: Server = None,
) -> None:
    """Change fields of items that are in the catalogue: titles, prices, stock.

    The table names items in its column `id`, or else in the first. `title`, `uri` and `category` are those fields,
    every other column is an attribute. What a row has no value for stays as it is, and so do pictures and vectors:
    nothing is embedded. An item that isn't there is counted and passed over.

    Example: `twinset update prices.csv`, where prices.csv has the columns id,price,in_stock
    """
    updates = read_updates(file, clear_empty=clear_empty)
    tally, start = Tally(), time.monotonic()
    with session(context).connect(server) as client, counting("updating", len(updates)) as show:
        tally.take(client.update_items(updates), show, lambda result: result.id)
    _tell(tally, len(updates), "updated", time.monotonic() - start)


def delete(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Items to delete.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Delete the ids in FILE, one a line; - reads stdin.")
    ] = None,
    server: Server = None,
) -> None:
    """Delete items with their pictures and vectors.

    An item that isn't there is counted and passed over.

    Examples: `twinset delete shoes/1 shoes/2`, `twinset delete --file sold-out.txt`
    """
    if bool(ids) == (file is not None):
        raise Problem("delete takes ids, or --file FILE with one id a line")
    named = list(dict.fromkeys(ids or _ids(file)))
    tally, start = Tally(), time.monotonic()
    with session(context).connect(server) as client, counting("deleting", len(named)) as show:
        tally.take(client.delete_items(named), show, lambda result: result.id)
    _tell(tally, len(named), "deleted", time.monotonic() - start)


def _ids(file: Path | None) -> Iterator[str]:
    if file is None:
        return
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Problem(f"{file} can't be read: {error.strerror}") from error
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            if item_id := line.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                yield item_id
        except UnicodeDecodeError as error:
            raise Problem(f"{file}, line {number}: not UTF-8 text, save the file as UTF-8") from error


def _tell(tally: Tally, total: int, verb: str, seconds: float) -> None:
    typer.echo(
        f"{counted(total, 'item')}: {tally.made:,} {verb}, {tally.absent:,} not there, {len(tally.failed):,} failed, "
        f"in {seconds:.1f} s"
    )
    print_failed(tally.failed)
    if tally.failed:
        raise SomeFailed
