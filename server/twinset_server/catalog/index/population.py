"""All that lives in one view of a space: the ids of its items, or a sample of its vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinset_server.catalog.columns.codes import Truths
from twinset_server.catalog.index.labels import Places, labels_at
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.views import View
from twinset_server.domain import Float32Array

_SEED = 0


def items_of(view: View, mask: Truths | None) -> list[str]:
    """Return the ids of the items that have a live row here, each once; `mask` as in a `Query`."""
    found: dict[str, None] = {}
    for rows, living in _living(view, mask):
        found.update(dict.fromkeys(item_id for item_id, _ in labels_at(rows.labels, living)))
    return list(found)


def sample_of(view: View, count: int) -> Float32Array:
    """Return `[S, D]` float32, `count` live rows or all where there are fewer, in no order.

    They are drawn at random, each row as likely as any other, and the same of the same view.
    """
    living = list(_living(view, None))
    ends = np.cumsum([len(places) for _, places in living])
    total = int(ends[-1]) if living else 0
    drawn = np.random.default_rng(_SEED).permutation(total)[:count]
    sampled = np.empty((len(drawn), view.space.dimension), np.float32)
    parts = np.searchsorted(ends, drawn, side="right")
    for number, (rows, places) in enumerate(living):
        here = parts == number
        sampled[here] = rows.vectors[places[drawn[here] - (int(ends[number]) - len(places))]]
    return sampled


def _living(view: View, mask: Truths | None) -> Iterator[tuple[Rows, Places]]:
    """Yield the rows of each segment and of the delta, with the places of those that live and that the mask leaves."""
    parts = [*(segment.rows for segment in view.segments), view.delta]
    for rows, item_places in zip(parts, view.places, strict=True):
        living = rows.alive(view.sequence)
        if mask is not None:
            living &= item_places.truth(mask)
        yield rows, np.flatnonzero(living)
