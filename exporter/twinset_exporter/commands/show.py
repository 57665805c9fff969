"""`twinset-exporter show`."""

from __future__ import annotations

from typing import Annotated

import typer

from twinset_exporter.commands.console import DEFAULT_REPOSITORY, RepositoryOption, find
from twinset_exporter.errors import ExportError


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, as `models` lists it.")],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print card.json instead of the text.")] = False,
) -> None:
    """Print a model's card: its source, what was proved of it, its speed and its files."""
    from twinset.card import CardError, read_card
    from twinset_exporter import card_text

    found = find(repository, model)
    try:
        card = read_card(found.path)
    except CardError as error:
        raise ExportError(f"{error}: export the model again") from error
    if as_json:
        typer.echo((found.path / "card.json").read_text(encoding="utf-8"), nl=False)
        return
    typer.echo(card_text.render(card.content), nl=False)
    if problems := card.differences(found.path, found.contract):
        raise ExportError(f"{found.path} is not what was published: {'; '.join(problems)}")
