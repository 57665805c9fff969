"""Slots of a set, and the items that may fill one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from twinset_server import limits
from twinset_server.compatibility.sides import ReadSides, SideVectors
from twinset_server.domain import CATEGORY, And, Compare, Expression, Float32Array, Operator, Search, Space
from twinset_server.errors import InvalidRequest
from twinset_server.pair_model import Float64Array

_LEAST = 256
"""Partners of each given side that are considered: what fits best to all fits well to one of them."""

_QUERIES = 64
"""With more vectors than this, each given side asks by its first one alone."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place to fill.

    Attributes:
        category: what may fill it; empty for any.
        expression: which of these; None for all.
        candidates: where it isn't empty, these items alone.
        exclude: items that must not.
    """

    category: str = ""
    expression: Expression | None = None
    candidates: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def check(self, field: str) -> None:
        """Raise `InvalidRequest` for the first field that is bad; `field` is the slot's own."""
        limits.check_category(f"{field}.category", self.category)
        limits.check_count(f"{field}.candidates", self.candidates, limits.MAX_CANDIDATES)
        limits.check_texts(f"{field}.candidates", self.candidates, limits.MAX_ID_BYTES)
        limits.check_count(f"{field}.exclude", self.exclude, limits.MAX_EXCLUDE)
        limits.check_texts(f"{field}.exclude", self.exclude, limits.MAX_ID_BYTES)
        if self.candidates and (self.category or self.expression is not None):
            raise InvalidRequest(f"{field}.candidates", "leaves nothing for category or filter to choose: set only one")

    @property
    def matching(self) -> Expression | None:
        """What an item must match; None for all."""
        if not self.category:
            return self.expression
        of_category = Compare(CATEGORY, Operator.EQUAL, self.category)
        return of_category if self.expression is None else And((of_category, self.expression))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items that may fill a slot, and have vectors on both sides.

    Attributes:
        item_ids: each once, in the order of their ids' bytes.
        source, target: their vectors.
        complete: whether no other item may fill it.
    """

    item_ids: Sequence[str]
    source: SideVectors
    target: SideVectors
    complete: bool

    def best(self, scores: Float64Array, count: int) -> Candidates:
        """Return the `count` of the highest scores, `[C]`, of equal ones the first; all where they are no more."""
        if len(self.item_ids) <= count:
            return self
        kept = np.sort(np.argsort(-scores, kind="stable")[:count])
        item_ids = [self.item_ids[number] for number in kept.tolist()]
        return Candidates(item_ids, self.source.taken(kept), self.target.taken(kept), complete=False)


def candidates_of(
    slot: Slot,
    read: ReadSides,
    source: SideVectors,
    target: SideVectors,
    excluded: Collection[str],
    beam: int,
) -> Candidates:
    """Return what may fill a slot: the best partners of what is given.

    Args:
        slot: the slot.
        read: what was read of the given sides.
        source: the given sides' vectors as sources.
        target: the same as targets; of none where only one direction counts.
        excluded: items that fill no slot.
        beam: how many there should be at least.
    """
    barred = frozenset(excluded) | frozenset(slot.exclude)
    complete = True
    if slot.candidates:
        found = set(slot.candidates) - barred
    else:
        found = set()
        complete = False
        for space, query in _queries(read, source, target):
            count = max(_LEAST, beam)
            result = read.state.search(Search(space.name, query, count, barred, expression=slot.matching))
            found.update(neighbour.item_id for neighbour in result.neighbours)
            # Fewer than asked for are all that there are, and other questions would find the same.
            if len(result.neighbours) < count:
                complete = True
                break
    item_ids = sorted(found, key=str.encode)
    sources, targets = (
        SideVectors.of_items(read.state.vectors(space.name, item_ids), len(item_ids))
        for space in (read.model.source, read.model.target)
    )
    whole = np.flatnonzero((sources.counts > 0) & (targets.counts > 0))
    return Candidates(
        [item_ids[number] for number in whole.tolist()], sources.taken(whole), targets.taken(whole), complete
    )


def _queries(read: ReadSides, source: SideVectors, target: SideVectors) -> Iterator[tuple[Space, Float32Array]]:
    """Yield what to search for, and where: targets near the given sources, and sources near the given targets."""
    for space, sides in ((read.model.target, source), (read.model.source, target)):
        rows = sides.values if len(sides.values) <= _QUERIES else sides.values[sides.starts[:-1]]
        for values in rows:
            yield space, values
