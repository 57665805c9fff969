"""What searches read: every space at one moment, replaced as a whole after each commit.

A reader takes `Views` once and searches that: a put in several spaces is seen in all of them or in none, and no reader
waits for a writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twinset_server.catalog.columns.table import Columns, RowPlaces
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.store.generations import space_name
from twinset_server.catalog.store.log import Served
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
        stored: the name that the space is stored under.
        plans: how queries are answered together, by their kind; `batch` keeps them here while this is the newest view.
    """

    space: Space
    sequence: int
    generation: int
    segments: tuple[Segment, ...]
    places: tuple[RowPlaces, ...]
    delta: Rows
    live: int
    stored: str = ""
    plans: dict[tuple[int, int, float], Any] = field(default_factory=dict, init=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Views:
    """Every space, and all items' category and attributes, as they were after change `sequence`.

    Attributes:
        sequence: see above.
        spaces: those that callers know.
        columns: of all items.
        models: of all generations of models, that of the one that serves first.
        switched: the change by which a model or factors came to serve last, 0 where none ever did.
    """

    sequence: int
    spaces: Mapping[str, View]
    columns: Columns
    models: tuple[str, ...] = ()
    switched: int = 0


def views_of(sequence: int, views: Mapping[str, View], columns: Columns, served: Served) -> Views:
    """Return what callers see of `views`, which are by stored name: of several generations the one that serves.

    Raises:
        KeyError: the space of one that serves isn't among `views`.
    """
    found = {space.name: _shown(views[stored], space) for stored, space in served.spaces}
    if served.factors is not None:
        view = views[space_name(served.factors)]
        found[TASTE] = _shown(
            view, replace(view.space, name=TASTE, generation=served.factors, switched=served.factors_switched)
        )
    switched = max((view.space.switched for view in found.values()), default=0)
    return Views(sequence, dict(sorted(found.items())), columns, served.models, switched)


def _shown(view: View, space: Space) -> View:
    return replace(view, space=space, stored=view.space.name)
