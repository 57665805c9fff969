"""The console of the commands, and the options that they share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from twinset_exporter.errors import UsageError

if TYPE_CHECKING:
    from twinset_exporter.repository import Published

_PIPE_COLUMNS = 200

RepositoryOption = Annotated[Path, typer.Option("--repository", metavar="DIR", help="Folder of the models.")]
DEFAULT_REPOSITORY = Path("model_repository")


def open_console() -> Console:
    """Return the console for results. In a pipe it is wide: no table may cut the names that the reader came for."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def find(repository: Path, name: str) -> Published:
    """Return the model, of whatever kind, called `name`.

    Raises:
        UsageError: there is none, or it can't be read.
    """
    from twinset_exporter.repository import BrokenModel, Repository

    models = {model.path.name: model for model in Repository(repository).models()}
    if name not in models:
        raise UsageError(f"no model {name!r} in {repository}: it holds {', '.join(models) or 'none'}")
    model = models[name]
    if isinstance(model, BrokenModel):
        raise UsageError(f"{model.path} is no model that twinset can read: {model.reason}")
    return model
