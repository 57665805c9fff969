"""Keeps the index of one process up to date with what any process commits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.search import View
from twinset_server.catalog.store.log import ChangeLog, Position

_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Views:
    """Every space as it was after change `sequence`."""

    sequence: int
    spaces: Mapping[str, View]


class Follower:
    """Follows the log of `database` and searches all vectors exactly.

    Attributes:
        views: what searches read, replaced as a whole.
    """

    def __init__(self, database: Path, index: Path) -> None:
        self.views = Views(0, {})
        self._position = Position(0, 0)
        self._log = ChangeLog(database)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Take in all that is stored."""
        self.views = Views(
            0,
            {
                name: View(space, 0, 0, None, Rows.empty(space.dimension), 0)
                for name, (_, space) in self._log.spaces().items()
            },
        )
        self._absorb()

    def behind(self) -> bool:
        """Return whether something was committed that `views` may lack."""
        with self._lock:
            return self._log.changed()

    async def catch_up(self) -> None:
        """Take in what was committed before this call."""
        await asyncio.to_thread(self._absorb)

    def close(self) -> None:
        """Close the connection."""
        self._log.close()

    def _absorb(self) -> None:
        with self._lock, self._log.snapshot() as snapshot:
            position = snapshot.position
            spaces = dict(self.views.spaces)
            for chunk in snapshot.added(self._position.key, None, _CHUNK):
                view = spaces[chunk.space]
                delta = view.delta.joined(Rows.of(chunk.keys, chunk.vectors, chunk.labels))
                spaces[chunk.space] = replace(view, delta=delta, live=view.live + len(chunk.keys))
            for name, keys in snapshot.dead(self._position.sequence).items():
                view = spaces[name]
                buried = view.delta.bury(keys, position.sequence)
                spaces[name] = replace(view, live=view.live - buried)
            self._position = position
        self.views = Views(
            position.sequence, {name: replace(view, sequence=position.sequence) for name, view in spaces.items()}
        )
