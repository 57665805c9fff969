"""`twinset-exporter prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from twinset_exporter.commands.console import DEFAULT_REPOSITORY, RepositoryOption, find, open_console
from twinset_exporter.errors import ExportError, UsageError


def prove(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, as `models` lists it.")],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    triton_url: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="gRPC of a Triton that serves it. [default: files and ONNX Runtime only]"
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Compare on your pictures, instead of the 32 in the box.")
    ] = None,
) -> None:
    """Prove a published model again: its files, its known answer, and the same vectors through Triton.

    Exit code 1 where a check fails.

    Example: `twinset-exporter prove efficientnet_lite0-0459a696 --triton-url localhost:8001`
    """
    from twinset_exporter.proving import prove as run
    from twinset_exporter.repository import PublishedHead

    found = find(repository, model)
    if isinstance(found, PublishedHead):
        raise UsageError(f"{model} is a head, which answers no pictures by itself: prove an ensemble that has it")
    checks = list(run(found, triton_url, pictures))
    table = Table("check", "", Column("told", overflow="fold"), box=None, pad_edge=False)
    for check in checks:
        table.add_row(escape(check.title), "ok" if check.passed else "[red]FAILED[/red]", escape(check.told))
    console = open_console()
    console.print(table)
    if failed := sum(not check.passed for check in checks):
        raise ExportError(f"{failed} of {len(checks)} checks failed: don't serve {found.path}; export it again")
