"""`twinset-exporter models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from twinset_exporter.commands.console import DEFAULT_REPOSITORY, RepositoryOption, open_console

if TYPE_CHECKING:
    from twinset_exporter.repository import BrokenModel, Published


def models(repository: RepositoryOption = DEFAULT_REPOSITORY) -> None:
    """List the models of a repository."""
    from twinset_exporter.repository import Repository

    console = open_console()
    found = Repository(repository).models()
    if not found:
        text = f"No models in {repository}: make one with twinset-exporter export."
        console.print(text, soft_wrap=True, markup=False)
        return
    table = Table(
        Column("model", overflow="fold"), "backbone", "spaces", "artifact", "weights", box=None, pad_edge=False
    )
    for model in found:
        table.add_row(*_cells(model))
    console.print(table)


def _cells(model: Published | BrokenModel) -> tuple[str, ...]:
    from twinset_exporter.repository import BrokenModel, PublishedHead, PublishedInteraction

    if isinstance(model, BrokenModel):
        return escape(model.path.name), "[red]broken[/red]", escape(model.reason), "", ""
    contract = model.contract
    if isinstance(model, PublishedHead):
        return contract.model, "", "a head, for ensembles", contract.artifact[:8], "trained"
    if isinstance(model, PublishedInteraction):
        return contract.model, "", f"ranks by factors {model.contract.factors[:8]}", contract.artifact[:8], "trained"
    spaces = ", ".join(f"{s.name} ({s.dimension}, {s.metric.value})" for s in model.contract.spaces)
    weights = "[yellow]random[/yellow]" if model.contract.random_weights else "trained"
    return contract.model, model.contract.backbone, spaces, contract.artifact[:8], weights
