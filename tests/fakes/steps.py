"""The exporter's progress, kept instead of shown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class RecordedSteps:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.notes: list[str] = []
        self.counts: list[int] = []

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.titles.append(title)
        yield

    @contextlib.contextmanager
    def counted(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        self.titles.append(title)
        yield self.counts.append

    def note(self, text: str) -> None:
        self.notes.append(text)
