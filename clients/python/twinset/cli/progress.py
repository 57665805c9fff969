"""A bar with rate and time left, on stderr and only where someone watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from twinset.cli.report import console


class _Rate(ProgressColumn):
    """Elements a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")


@contextmanager
def counting(title: str, total: int, *, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar while inside; the function given takes how many elements are done by now.

    Args:
        title: what stands before the bar.
        total: elements in all.
        done: elements that were done before, and don't count for the rate.
    """
    stderr = console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal,
    ) as progress:
        task = progress.add_task(title, total=total, completed=done)
        yield lambda done: progress.update(task, completed=done)
