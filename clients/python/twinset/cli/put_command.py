"""`twinset put`: pictures, vectors, or both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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


def check_facts(folder: Path, found: Folder, facts: Mapping[str, Facts], attributes: Path | None) -> None:
    """Raise Problem where the table names none of the pictures: its ids are of another kind then."""
    if attributes is not None and not facts.keys() & found.pictures.keys():
        row, picture = next(iter(facts)), next(iter(found.pictures))
        raise Problem(
            f"{attributes} names no item of {folder}: its ids are like {row!r}, those of the pictures like "
            f"{picture!r}: mend the ids, or choose another --id (path, name or stem)"
        )


def put_pictures(client: Client, found: Folder, facts: Mapping[str, Facts], *, again: bool = False) -> bool:
    """Put pictures, with `again` unchanged ones too, and print what became of them; return whether some failed."""
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
    facts: Mapping[str, Facts],
) -> bool:
    """Put vectors, and with `folder` its pictures; print what became of them, and return whether some failed."""
    vectors = open_vectors(path, space=space, id_rule=id_rule)
    target, made_by = space_for(client, vectors, space, fingerprint)
    found = None if folder is None else read_folder(folder, vectors.id_rule)
    start = time.monotonic()
    with counting("putting", vectors.count) as show:
        run = VectorPut(
            client,
            vectors,
            target,
            made_by,
            None if found is None else found.pictures,
            facts,
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
            failed |= put_pictures(client, Folder(alone, found.others), facts)
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
