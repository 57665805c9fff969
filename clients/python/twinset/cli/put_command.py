"""`twinset put`: pictures, vectors, or both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from twinset.cli.account import Account, print_account, print_failures, print_stripped, print_sums
from twinset.cli.attributes import Facts
from twinset.cli.problem import Problem
from twinset.cli.progress import counting
from twinset.cli.put import FolderPut
from twinset.cli.put_vectors import VectorPut, space_for
from twinset.cli.report import counted
from twinset.client import Client
from twinset.errors import TwinsetError
from twinset.folder import Folder, IdRule, read_folder
from twinset.vectors import open_vectors

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Table:
    """What `--attributes` tells of the items, by id; `path` is None where the option isn't given."""

    path: Path | None
    facts: Mapping[str, Facts]

    def check(self, source: Path, ids: Iterable[str]) -> None:
        """Raise Problem where the table names none of the items of `source`: its ids are of another kind then.

        Reads `ids` no further than to the first that it names.
        """
        if self.path is None:
            return
        example = ""
        for item_id in ids:
            if item_id in self.facts:
                return
            example = example or item_id
        if example:
            raise Problem(
                f"{self.path} names no item of {source}: its ids are like {next(iter(self.facts))!r}, those of "
                f"{source} like {example!r}: mend the ids, or choose another --id (path, name or stem)"
            )


def put_pictures(client: Client, folder: Path, id_rule: IdRule, table: Table, *, again: bool = False) -> bool:
    """Put the pictures of a folder and print what became of them; return whether some failed.

    With `again`, those that are in the catalogue as they are here are put too.
    """
    found = read_folder(folder, id_rule)
    table.check(folder, found.pictures)
    return _put(client, found, table.facts, again=again)


def _put(client: Client, found: Folder, facts: Mapping[str, Facts], *, again: bool = False) -> bool:
    start = time.monotonic()
    with counting("putting", len(found.pictures)) as show:
        run = FolderPut(client, found.pictures, facts, progress=lambda account: show(account.done), again=again)
        stopped = _go(run.run, run.account, "picture")
    print_account(run.account, found, facts, time.monotonic() - start)
    _exit_where(stopped)
    return bool(run.account.failed)


def put_vectors(
    client: Client,
    path: Path,
    space: str,
    fingerprint: str | None,
    folder: Path | None,
    id_rule: IdRule | None,
    table: Table,
) -> bool:
    """Put vectors, and with `folder` its pictures; print what became of them, and return whether some failed."""
    vectors = open_vectors(path, space=space, id_rule=id_rule)
    target, made_by = space_for(client, vectors, space, fingerprint)
    found = None if folder is None else read_folder(folder, vectors.id_rule)
    if folder is None or found is None:
        table.check(path, (row.id for row in vectors.rows()))
    else:
        table.check(folder, found.pictures)
    start = time.monotonic()
    with counting("putting", vectors.count) as show:
        run = VectorPut(
            client,
            vectors,
            target,
            made_by,
            None if found is None else found.pictures,
            table.facts,
            progress=lambda account: show(account.done),
        )
        stopped = _go(run.run, run.account, "vector")
    print_sums(run.account, "vector", time.monotonic() - start)
    if run.without_picture:
        typer.echo(f"{counted(run.without_picture, 'vector')} without a picture passed over")
    print_stripped(run.account)
    print_failures(run.account)
    _exit_where(stopped)
    failed = bool(run.account.failed)
    if found is not None:
        alone = {item_id: path for item_id, path in found.pictures.items() if item_id not in run.seen}
        if alone:
            typer.echo(f"{counted(len(alone), 'picture')} without a vector here: embedded by the server")
            failed |= _put(client, Folder(alone, found.others), table.facts)
    return failed


def _go(run: Callable[[], None], account: Account, thing: str) -> bool:
    """Run a put; return whether it was stopped by Ctrl-C."""
    try:
        run()
    except TwinsetError as error:
        stored = account.put + account.unchanged
        raise Problem(
            f"{error.message}; {stored:,} of {counted(account.total, thing)} stored so far: "
            "run the same command again to go on"
        ) from error
    except KeyboardInterrupt:
        return True
    return False


def _exit_where(stopped: bool) -> None:
    if stopped:
        typer.echo("twinset: stopped: run the same command again to go on", err=True)
        raise typer.Exit(INTERRUPTED)
