"""The exporter's progress, kept instead of shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class RecordedSteps:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.titles.append(title)
        yield

    def note(self, text: str) -> None:
        self.notes.append(text)
