"""Sets that are completed: the best item for each of several slots."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinset_server import limits
from twinset_server.compatibility.beam import EMPTY, Found, best_set, with_each
from twinset_server.compatibility.candidates import Candidates, Slot, candidates_of
from twinset_server.compatibility.distances import side_distances
from twinset_server.compatibility.reading import SideReader
from twinset_server.compatibility.sides import ItemSide, Numbers, ReadSides, Side, Sides, SideVectors
from twinset_server.pair_model import Float64Array, PairModel

DEFAULT_BEAM = 50
DEFAULT_ALTERNATIVES = 3

_MOST_CANDIDATES = 1024
"""In a slot: those that fit what is given best. Every unfinished set meets each of them."""


@dataclass(frozen=True, slots=True)
class SetRequest:
    """What is asked of a set.

    Attributes:
        given: what there is.
        slots: what is missing, in the order in which it is filled.
        both_directions: whether each pair counts both ways.
        beam: how many unfinished sets are kept at each slot.
        alternatives: how many other items to tell for each slot.
        exclude: items that fill no slot.
        prior: the share of true pairs, None for the model's own.
    """

    given: Sequence[Side]
    slots: Sequence[Slot]
    both_directions: bool = False
    beam: int = DEFAULT_BEAM
    alternatives: int = DEFAULT_ALTERNATIVES
    exclude: Sequence[str] = ()
    prior: float | None = None


@dataclass(frozen=True, slots=True)
class SlotItem:
    """An item in a slot: the sum of log P of the set with it, and the part of that which is of pairs with it."""

    item_id: str
    set_score: float
    item_score: float


@dataclass(frozen=True, slots=True)
class FilledSlot:
    """What fills a slot, what else could, best first, and among how many it was chosen."""

    chosen: SlotItem | None
    alternatives: Sequence[SlotItem]
    examined: int


@dataclass(frozen=True, slots=True)
class CompletedSet:
    """A completed set.

    Attributes:
        model: what gives the probabilities.
        prior: the share of true pairs that they hold for.
        slots: in the order asked for.
        score: the sum of log P over all pairs of given and chosen, and of two chosen.
        pairs: how many these are.
        exact: whether no set can be better.
        unknown: places of given pictures and vectors whose category the model doesn't know.
        sequence: the last change that it saw.
    """

    model: PairModel
    prior: float
    slots: Sequence[FilledSlot]
    score: float
    pairs: int
    exact: bool
    unknown: Sequence[int]
    sequence: int


class SetCompleter:
    """Completes sets."""

    def __init__(self, reader: SideReader) -> None:
        self._reader = reader

    async def complete(self, request: SetRequest, *, timeout_s: float) -> CompletedSet:
        """Return the best item for each slot.

        Raises:
            InvalidRequest: a field is over its limit, or a side is bad.
            ItemNotFound, NoVector: a given item isn't there, or has no vector of its side.
            SpaceMismatch, FingerprintMismatch: a given vector is of another space or model.
            NoPairModel: no model tells of pairs.
            EmbedderUnavailable: a given side is a picture and Triton is unreachable, or the model isn't known yet.
        """
        _check(request)
        sides, given = Sides.of({f"given[{place}]": side for place, side in enumerate(request.given)})
        targets = given if request.both_directions else given[:0]
        read = await self._reader.read(sides, given, targets, timeout_s=timeout_s)
        read.check()
        slots, score, exact, pairs = await asyncio.to_thread(_filled, request, read, given)
        return CompletedSet(
            read.model,
            read.model.contract.prior if request.prior is None else request.prior,
            slots,
            score,
            pairs,
            exact,
            [place for place, number in enumerate(given.tolist()) if number in read.unknown],
            read.state.sequence,
        )


@dataclass(frozen=True, slots=True)
class _LogProbabilities:
    """What candidates add to a set: the `Affinities` of log P."""

    request: SetRequest
    model: PairModel
    source: SideVectors
    target: SideVectors
    slots: Sequence[Candidates]
    identities: Sequence[NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        known: dict[str, int] = {}
        found = [
            np.array([known.setdefault(item_id, len(known)) for item_id in slot.item_ids], np.int64)
            for slot in self.slots
        ]
        object.__setattr__(self, "identities", found)

    def of_best(self, count: int) -> _LogProbabilities:
        """Return these of no more than `count` candidates in a slot."""
        slots = [slot.best(self.alone(number), count) for number, slot in enumerate(self.slots)]
        return _LogProbabilities(self.request, self.model, self.source, self.target, slots)

    def alone(self, slot: int) -> Float64Array:
        candidates = self.slots[slot]
        total = self._log(self.source, candidates.target).sum(axis=0)
        if self.request.both_directions:
            total = total + self._log(candidates.source, self.target).sum(axis=1)
        return np.asarray(total)

    def between(self, slot: int, candidates: Numbers, other: int) -> Float64Array:
        first, second = self.slots[slot], self.slots[other]
        total = self._log(first.source.taken(candidates), second.target)
        if self.request.both_directions:
            total = total + self._log(second.source, first.target.taken(candidates)).T
        return total

    def _log(self, source: SideVectors, target: SideVectors) -> Float64Array:
        distances = side_distances(self.model.metric, source, target)
        return self.model.log_probabilities(distances, self.request.prior)


def _filled(request: SetRequest, read: ReadSides, given: Numbers) -> tuple[Sequence[FilledSlot], float, bool, int]:
    """Return the filled slots, their score, whether it is exact, and over how many pairs; reads memory only."""
    source = read.source.taken(given)
    target = read.target.taken(given) if request.both_directions else read.target.taken(given[:0])
    excluded = {*request.exclude, *(side.item_id for side in request.given if isinstance(side, ItemSide))}
    slots = [candidates_of(slot, read, source, target, excluded, request.beam) for slot in request.slots]
    affinities = _LogProbabilities(request, read.model, source, target, slots).of_best(_MOST_CANDIDATES)
    found = best_set(affinities, request.beam)
    filled = sum(number != EMPTY for number in found.chosen)
    pairs = filled * len(given) + filled * (filled - 1) // 2
    return (
        [_slot(affinities, found, number, request.alternatives) for number in range(len(slots))],
        found.score,
        found.complete and all(slot.complete for slot in affinities.slots),
        pairs * (2 if request.both_directions else 1),
    )


def _slot(affinities: _LogProbabilities, found: Found, slot: int, count: int) -> FilledSlot:
    candidates, chosen = affinities.slots[slot], found.chosen[slot]
    if chosen == EMPTY:
        return FilledSlot(None, (), len(candidates.item_ids))
    parts = with_each(affinities, found.chosen, slot)
    rest = found.score - float(parts[chosen])

    def item(number: int) -> SlotItem:
        return SlotItem(candidates.item_ids[number], rest + float(parts[number]), float(parts[number]))

    ranked = [number for number in np.argsort(-parts, kind="stable").tolist() if number != chosen]
    others = [item(number) for number in ranked[:count] if parts[number] > -np.inf]
    return FilledSlot(item(chosen), others, len(candidates.item_ids))


def _check(request: SetRequest) -> None:
    limits.check_count("given", request.given, limits.MAX_GIVEN, least=1)
    limits.check_count("slots", request.slots, limits.MAX_SLOTS, least=1)
    limits.check_count("exclude", request.exclude, limits.MAX_EXCLUDE)
    limits.check_texts("exclude", request.exclude, limits.MAX_ID_BYTES)
    limits.check_range("beam", request.beam, 1, limits.MAX_BEAM)
    limits.check_range("alternatives", request.alternatives, 0, limits.MAX_ALTERNATIVES)
    limits.check_prior(request.prior)
    for place, slot in enumerate(request.slots):
        slot.check(f"slots[{place}]")
