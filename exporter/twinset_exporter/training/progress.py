"""The bar of a training, with the last epoch's figures: on stderr and only where someone watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from twinset.cli.report import console
from twinset_exporter.training.loop import Epoch, Progress, Settings

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of shells."""


@contextmanager
def training(title: str, settings: Settings) -> Iterator[Progress]:
    """Show a bar while inside; give what `loop.fit` is to tell of its epochs.

    Ctrl-C ends the command with one line that says how to go on.
    """
    stderr = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
    )
    with Bar(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(title, total=settings.epochs, figures="")

        def show(epoch: Epoch, best: int) -> None:
            bar.update(task, completed=epoch.number, figures=_figures(epoch, best, settings.watch))

        try:
            yield show
        except KeyboardInterrupt:
            bar.stop()
            typer.echo("twinset-exporter: stopped: run the same command again to go on", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _figures(epoch: Epoch, best: int, watch: str | None) -> str:
    if watch is None:
        return ""
    watched = f"{watch} {epoch.validation[watch]:.4f}"
    return f"{watched} (best: epoch {best})" if best != epoch.number else f"{watched} (best)"
