"""Ids as rows: the place that each id has in a table."""

from __future__ import annotations

from collections.abc import Iterable


class Numbering:
    """Numbers ids from 0 in the order in which they come; a closed one knows them from the start."""

    def __init__(self, ids: Iterable[str] = (), *, closed: bool = False) -> None:
        self._numbers = {item_id: number for number, item_id in enumerate(ids)}
        self.closed = closed

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, item_id: str) -> int:
        """Return the id's number.

        Raises:
            KeyError: the numbering is closed and doesn't hold it.
        """
        if self.closed:
            return self._numbers[item_id]
        return self._numbers.setdefault(item_id, len(self._numbers))

    def ids(self) -> tuple[str, ...]:
        """Return the ids by number."""
        return tuple(self._numbers)


def is_id(text: str) -> bool:
    """Return whether text can be an id: not empty, of printable characters, no blank at either end."""
    return bool(text) and text.isprintable() and text == text.strip()
