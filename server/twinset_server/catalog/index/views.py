"""What searches read: every space at one moment, replaced as a whole after each commit.

A reader takes `Views` once and searches that: a put in several spaces is seen in all of them or in none, and no reader
waits for a writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from twinset_server.catalog.columns.table import Columns, RowPlaces
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.store.generations import HIDDEN, space_name
from twinset_server.domain import TASTE, Space


@dataclass(frozen=True, slots=True)
class View:
    """One space as it was after change `sequence`.

    Attributes:
        space: the space.
        sequence: the last change that it knows.
        generation: the number of the generation in use, 0 where there is none.
        segments: the generation's, in the order of their keys.
        places: where the items of rows stand in the columns: of each segment's in turn, then of the delta's.
        delta: the rows since.
        live: how many vectors lived then.
    """

    space: Space
    sequence: int
    generation: int
    segments: tuple[Segment, ...]
    places: tuple[RowPlaces, ...]
    delta: Rows
    live: int


@dataclass(frozen=True, slots=True)
class Views:
    """Every space, and all items' category and attributes, as they were after change `sequence`."""

    sequence: int
    spaces: Mapping[str, View]
    columns: Columns


def shown(views: Mapping[str, View], generation: int | None) -> dict[str, View]:
    """Return the spaces that callers know: of the generations of factors, the one that serves, as `taste`.

    Raises:
        KeyError: that one isn't among `views`.
    """
    found = {name: view for name, view in views.items() if not name.startswith(HIDDEN)}
    if generation is not None:
        view = views[space_name(generation)]
        found[TASTE] = replace(view, space=replace(view.space, name=TASTE, generation=generation))
    return dict(sorted(found.items()))
