"""`twinset put-users` and `twinset put-interactions`: who, and what they did."""

from __future__ import annotations

import datetime
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from twinset.cli.account import print_failed
from twinset.cli.attributes import read_attributes
from twinset.cli.changes import Tally
from twinset.cli.problem import Problem, SomeFailed
from twinset.cli.progress import counting
from twinset.cli.report import counted
from twinset.cli.session import Server, session
from twinset.cli.table import Table, TableRow, open_table
from twinset.items import Interaction, User


def put_users(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table, .csv or .parquet: ids, and facts.")],
    server: Server = None,
) -> None:
    """Put users, one for each row of a table; those of the same ids are replaced as a whole.

    The table names users in its column `id`, or else in the first; every other column is an attribute.

    Example: `twinset put-users users.csv`
    """
    facts = read_attributes(file)
    users: list[User] = []
    for user_id, row in facts.items():
        # What are fields of an item are attributes of a user like any other.
        named = {name: value for name in ("title", "uri", "category") if (value := getattr(row, name))}
        users.append(User(user_id, {**named, **row.attributes}))
    tally, start = Tally(), time.monotonic()
    with session(context).connect(server) as client, counting("putting", len(users)) as show:
        tally.take(client.put_users(users), show, lambda result: result.id)
    _tell(tally, len(users), "user", time.monotonic() - start)


def put_interactions(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table, .csv or .parquet, one interaction a row.")],
    skip: Annotated[int, typer.Option(min=0, metavar="N", help="Pass over the first N rows: they are stored.")] = 0,
    server: Server = None,
) -> None:
    """Store what users did: one interaction for each row of a table.

    The columns are user_id, item_id, kind (such as like, buy, view or dislike) and, where wanted, weight (1 by default)
    and time (2026-03-01T12:00:00Z, without a zone in UTC, or seconds since 1970; now by default).

    Interactions are only ever added: a file that is put twice counts twice. Where a run breaks off it says with which
    --skip to go on.

    Example: `twinset put-interactions clicks.csv`
    """
    table = open_table(file)
    # Read and not yet answered: an interaction has no id by which a failure could be told.
    places: deque[str] = deque()
    rows = _noted(itertools.islice(_interactions(table), skip, None), places)
    tally, start = Tally(), time.monotonic()
    try:
        with session(context).connect(server) as client:
            tally.take(client.put_interactions(rows), lambda done: None, lambda result: places.popleft())
    except Problem as problem:
        if not tally.done:
            raise
        reached = skip + tally.done
        raise Problem(f"{problem}: {reached:,} rows are done, go on with --skip {reached}") from problem
    _tell(tally, tally.done, "interaction", time.monotonic() - start)


def _noted(rows: Iterable[tuple[str, Interaction]], places: deque[str]) -> Iterator[Interaction]:
    for place, interaction in rows:
        places.append(place)
        yield interaction


def _interactions(table: Table) -> Iterator[tuple[str, Interaction]]:
    user, item, kind = (table.column(name) for name in ("user_id", "item_id", "kind"))
    header = list(table.header)
    weight = header.index("weight") if "weight" in header else None
    moment = header.index("time") if "time" in header else None
    for row in table.rows:
        yield (
            row.place,
            Interaction(
                user_id=_needed(table, row, user),
                item_id=_needed(table, row, item),
                kind=_needed(table, row, kind),
                weight=1.0 if weight is None or not row.values[weight] else _number(table, row, weight),
                time=None if moment is None or not row.values[moment] else _time(table, row, moment),
            ),
        )


def _needed(table: Table, row: TableRow, column: int) -> str:
    if not row.values[column]:
        raise _problem(table, row, column, "has no value")
    return row.values[column]


def _number(table: Table, row: TableRow, column: int) -> float:
    try:
        return float(row.values[column])
    except ValueError as error:
        raise _problem(table, row, column, f"{row.values[column]!r} is no number") from error


def _time(table: Table, row: TableRow, column: int) -> datetime.datetime:
    text = row.values[column]
    try:
        return datetime.datetime.fromtimestamp(float(text), datetime.UTC)
    except (OverflowError, OSError) as error:
        raise _problem(table, row, column, f"{text} seconds since 1970 are in no year that there is") from error
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise _problem(
            table, row, column, f"{text!r} is no time: write 2026-03-01T12:00:00Z, or seconds since 1970"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _problem(table: Table, row: TableRow, column: int, what: str) -> Problem:
    return Problem(f"{table.path}, {row.place}, column {table.header[column]!r}: {what}")


def _tell(tally: Tally, total: int, noun: str, seconds: float) -> None:
    typer.echo(f"{counted(total, noun)}: {tally.made:,} put, {len(tally.failed):,} failed, in {seconds:.1f} s")
    print_failed(tally.failed)
    if tally.failed:
        raise SomeFailed
