"""`twinset-exporter prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from twinset_exporter.commands.console import DEFAULT_REPOSITORY, RepositoryOption, open_console
from twinset_exporter.errors import UsageError


def prune(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only these. [default: all unused ones]")
    ] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    catalog: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder of a server's catalogue: what it uses stays. May be repeated."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="A model that stays. May be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """Remove models that nobody uses.

    A model is in use where a space of a catalogue is filled by it. Name the catalogue of every server on this
    repository: one that isn't named can't be asked. Folders that are no models of twinset stay.

    Example: `twinset-exporter prune --catalog twinset-data --yes`
    """
    from twinset_exporter.catalogues import used_spaces
    from twinset_exporter.pruning import judge
    from twinset_exporter.repository import BrokenModel, Repository

    if not catalog and not keep:
        raise UsageError(
            "nothing says which models are in use: name the catalogue of every server on this repository with "
            "--catalog DIR, or the models that stay with --keep MODEL"
        )
    opened = Repository(repository)
    found = opened.models()
    spaces = [space for folder in catalog or () for space in used_spaces(folder)]
    verdicts = judge(found, named=models or (), kept=keep or (), spaces=spaces)
    console = open_console()
    table = Table(Column("model", overflow="fold"), Column("MB", justify="right"), "verdict", box=None, pad_edge=False)
    unused = 0
    for verdict in verdicts:
        name, megabytes = verdict.model.path.name, f"{_size(verdict.model.path) / 1e6:.1f}"
        if verdict.reason is None:
            unused += 1
            if yes:
                opened.remove(verdict.model)
        said = verdict.reason or ("removed" if yes else "unused: would be removed")
        table.add_row(escape(name), megabytes, escape(said))
    for model in found:
        if isinstance(model, BrokenModel) and not models:
            table.add_row(escape(model.path.name), "", escape(f"left alone: {model.reason}"))
    console.print(table)
    if unused and not yes:
        console.print("Nothing was removed: add --yes to do it.")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
