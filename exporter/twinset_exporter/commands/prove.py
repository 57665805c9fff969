"""`twinset-exporter prove`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from twinset_exporter.commands.console import DEFAULT_REPOSITORY, RepositoryOption, find, open_console
from twinset_exporter.errors import ExportError, UsageError

if TYPE_CHECKING:
    from twinset_exporter.proving import Check
    from twinset_exporter.repository import Published, PublishedModel


def prove(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, as `models` lists it.")],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    triton_url: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="gRPC of a Triton that serves it; else one is started for the time."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Compare on your pictures, instead of the 32 in the box.")
    ] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Add what Triton answered to the model's card, where that tells of no Triton."),
    ] = False,
) -> None:
    """Prove a published model again: its files, its known answer, and the same vectors through Triton.

    Without --triton-url a Triton is started for the time, where one is installed here and the model is for a CPU.

    Exit code 1 where a check fails.

    Example: `twinset-exporter prove efficientnet_lite0-0459a696 --triton-url localhost:8001`
    """
    from twinset_exporter.interaction.proving import prove as prove_interaction
    from twinset_exporter.proving import prove as run
    from twinset_exporter.repository import PublishedHead, PublishedInteraction

    found = find(repository, model)
    if isinstance(found, PublishedHead):
        raise UsageError(f"{model} is a head, which answers no pictures by itself: prove an ensemble that has it")
    triton, missing = _triton(found, triton_url)
    if isinstance(found, PublishedInteraction):
        if pictures is not None or record:
            raise UsageError(f"{model} ranks by factors and takes no pictures: leave out --pictures and --record")
        checks = list(prove_interaction(found, triton))
    else:
        checks = list(run(found, triton, pictures))
    table = Table("check", "", Column("told", overflow="fold"), box=None, pad_edge=False)
    for check in checks:
        table.add_row(escape(check.title), "ok" if check.passed else "[red]FAILED[/red]", escape(check.told))
    console = open_console()
    console.print(table)
    if failed := sum(not check.passed for check in checks):
        raise ExportError(f"{failed} of {len(checks)} checks failed: don't serve {found.path}; export it again")
    if missing:
        console.print(f"Triton was not asked: {missing}.", soft_wrap=True, markup=False)
    if record and not isinstance(found, PublishedInteraction):
        _record(repository, found, checks, console)


def _triton(model: Published, url: str | None) -> tuple[Callable[[], AbstractContextManager[str]] | None, str]:
    """Return what opens the address of a Triton, or None and why there is none."""
    from twinset_exporter.targets import PARAMETER, Target
    from twinset_exporter.triton_proof import why_not

    if url is not None:
        return lambda: nullcontext(url), ""
    if missing := why_not(Target(model.parameters.get(PARAMETER, Target.CPU.value))):
        return None, f"{missing}; name one with --triton-url"
    return lambda: _own(model), ""


@contextmanager
def _own(model: Published) -> Iterator[str]:
    from twinset_exporter.own_triton import own_triton

    with own_triton(model.path.parent, model.path.name) as (address, _):
        yield address


def _record(repository: Path, model: PublishedModel, checks: Sequence[Check], console: Console) -> None:
    from twinset.card import read_card
    from twinset_exporter.card import TRITON, with_section
    from twinset_exporter.repository import Repository

    content = read_card(model.path).content
    if content.get(TRITON, {}).get("proved"):
        console.print("The card tells of Triton already, and stays as it is.")
        return
    proof = next((check.proof for check in checks if check.proof is not None), None)
    if proof is None:
        raise ExportError("there is nothing to record, since no Triton was asked: name one with --triton-url")
    Repository(repository).record(model, with_section(content, TRITON, proof.to_json()))
    console.print("The card tells of it now.")
