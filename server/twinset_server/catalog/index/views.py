"""The index of all spaces: what searches read, replaced as a whole after each commit.

One thread, the writer's, changes it. A reader takes `views` once and searches that: a put in several spaces is seen in
all of them or in none, and no reader waits for a writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from twinset_server.catalog.index.fold import Fold
from twinset_server.catalog.index.rows import ALIVE, Rows
from twinset_server.catalog.index.search import View
from twinset_server.catalog.store.changes import Change
from twinset_server.domain import Space

_DEAD_SHARE = 5
"""A segment with more than a fifth of its rows dead is built anew: they take the places of answers."""


@dataclass(frozen=True, slots=True)
class Views:
    """Every space as it was after change `sequence`."""

    sequence: int
    spaces: Mapping[str, View]


class CatalogIndex:
    """The index of all spaces.

    Attributes:
        views: what searches read.
    """

    def __init__(self, sequence: int, fold_at: int) -> None:
        self.views = Views(sequence, {})
        self._fold_at = fold_at
        self._dead: dict[str, int] = {}
        self._patience: dict[str, int] = {}

    def add_space(self, space: Space, rows: Rows | None = None) -> None:
        """Add a space that holds `rows`, or put another `Space` of the same name in its place."""
        views = dict(self.views.spaces)
        present = views.get(space.name)
        if present is not None:
            views[space.name] = replace(present, space=space)
        else:
            rows = rows or Rows.empty(space.dimension)
            views[space.name] = View(space, self.views.sequence, 0, None, rows, rows.length)
            self._dead[space.name] = 0
        self.views = Views(self.views.sequence, dict(sorted(views.items())))

    def apply(self, change: Change, sequence: int) -> None:
        """Let searches see what was committed up to `sequence`."""
        views = {}
        for name, view in self.views.spaces.items():
            added = change.added.get(name, [])
            removed = np.array(change.removed.get(name, []), np.int64)
            # Added first: within one commit a later put may replace an earlier one.
            delta = view.delta.plus(added)
            delta.bury(removed, sequence)
            if view.segment is not None:
                self._dead[name] += view.segment.rows.bury(removed, sequence)
            live = view.live + len(added) - len(removed)
            views[name] = replace(view, sequence=sequence, delta=delta, live=live)
        self.views = Views(sequence, views)

    def due(self) -> list[View]:
        """Return the views that should be folded."""
        return [view for name, view in self.views.spaces.items() if self._is_due(name, view)]

    def adopt(self, fold: Fold) -> None:
        """Put a fold in the place of the rows that went into it."""
        view = self.views.spaces[fold.space]
        parts = [view.delta] if view.segment is None else [view.segment.rows, view.delta]
        # Rows that died since the fold began: same places, newer truth.
        fold.rows.died[:] = np.concatenate([part.died[: part.length] for part in parts])[fold.sources]
        tail = view.delta.tail(fold.taken)
        delta = tail if fold.segment is not None else fold.rows.joined(tail)
        self._dead[fold.space] = 0 if fold.segment is None else int(np.count_nonzero(fold.rows.died != ALIVE))
        self._patience.pop(fold.space, None)
        folded = replace(view, generation=view.generation + 1, segment=fold.segment, delta=delta)
        self.views = replace(self.views, spaces={**self.views.spaces, fold.space: folded})

    def postpone(self, space: str) -> None:
        """Take note that folding failed: it is tried again when the delta has doubled."""
        self._patience[space] = 2 * self.views.spaces[space].delta.length

    def _is_due(self, name: str, view: View) -> bool:
        if view.delta.length < self._patience.get(name, 0):
            return False
        decayed = view.segment is not None and self._dead[name] * _DEAD_SHARE > view.segment.rows.length
        return decayed or view.delta.length >= self._fold_at
