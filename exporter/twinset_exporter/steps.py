"""What the exporter tells while it works: the steps, each with its time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from rich.console import Console
from rich.status import Status


class Steps(Protocol):
    """Told of the work as it goes on."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """Return what to do the step in."""

    def counted(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Return what to do a long step in; it gives what to call with how many of `total` are done."""

    def note(self, text: str) -> None:
        """Tell a result."""


class ConsoleSteps:
    """Shows steps on a console: the running one with a spinner, the done ones with their seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` while its block runs, then its time; a step that fails shows none."""
        with self._shown(title):
            yield

    @contextlib.contextmanager
    def counted(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show `title` and how much of it is done while its block runs, then its time."""
        with self._shown(title) as status:
            yield lambda done: status.update(f"{title} ... {done:,} of {total:,}")

    @contextlib.contextmanager
    def _shown(self, title: str) -> Iterator[Status]:
        started = time.perf_counter()
        with self._console.status(f"{title} ...") as status:
            yield status
        self._console.print(f"{time.perf_counter() - started:6.1f} s  {title}", highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print `text` below the step that it belongs to."""
        self._console.print(f"          {text}", style="dim", highlight=False, soft_wrap=True, markup=False)
