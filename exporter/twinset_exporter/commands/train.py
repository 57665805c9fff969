"""`twinset-exporter train`: one command a kind of head, each in `training/KIND/command.py`."""

from __future__ import annotations

import typer

from twinset_exporter.training.category.command import backbone, category
from twinset_exporter.training.compatibility.command import compatibility
from twinset_exporter.training.taste.command import taste

train = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@train.callback()
def _about() -> None:
    """Train heads on features that `embed` wrote.

    A run that was stopped goes on where it was: run the same command again.
    """


for _command in (category, backbone, compatibility, taste):
    train.command()(_command)
