"""Scores of candidates for a user, and how those of different bases come into one order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinset.factors import predicted_space
from twinset_server.domain import VISUAL, Float32Array
from twinset_server.ports import CatalogState
from twinset_server.ranking.profiles import Profile
from twinset_server.ranking.request import Basis, RankedItem

_Scores = NDArray[np.float64]

_NOTHING: Mapping[str, float] = {}

BASES = tuple(Basis)
"""What the numbers of `Order.basis` stand for."""

BY_FACTORS = frozenset({Basis.FACTORS, Basis.PREDICTED_FACTORS})
"""The bases of items that have factors."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Candidates and what they are to a user, NaN where they have nothing to be compared by.

    Attributes:
        item_ids: N of them.
        factors: `[N]`, inner products with imported factors.
        predicted: `[N]`, with factors predicted from pictures.
        visual: `[N]`, cosines of the nearest pictures.
        likes: how many each of those got that are compared by nothing else.
    """

    item_ids: Sequence[str]
    factors: _Scores
    predicted: _Scores
    visual: _Scores
    likes: Mapping[str, int] = field(default_factory=dict)

    @property
    def without_basis(self) -> list[str]:
        """Those that nothing is known of but their likes."""
        return [self.item_ids[place] for place in np.flatnonzero(np.isnan(self.taste) & np.isnan(self.visual)).tolist()]

    def without(self, dropped: Collection[str]) -> Compared:
        """Return the same without some of them."""
        if not dropped:
            return self
        kept = [place for place, item_id in enumerate(self.item_ids) if item_id not in dropped]
        item_ids = [self.item_ids[place] for place in kept]
        return Compared(item_ids, self.factors[kept], self.predicted[kept], self.visual[kept], self.likes)

    def rescored(self, places: Sequence[int], scores: Float32Array) -> Compared:
        """Return the candidates at these places alone, all by factors, with `scores`, `[M]`, for inner products."""
        imported, in_double = ~np.isnan(self.factors[places]), scores.astype(np.float64)
        return Compared(
            [self.item_ids[place] for place in places],
            np.where(imported, in_double, np.nan),
            np.where(imported, np.nan, in_double),
            self.visual[places],
        )

    @property
    def taste(self) -> _Scores:
        """`[N]`, by imported factors, else by predicted ones."""
        unknown = np.isnan(self.factors)
        return np.where(unknown, self.predicted, self.factors) if unknown.any() else self.factors


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """An order of candidates.

    Attributes:
        places: of the candidates, the best first.
        scores: `[N]`, by place.
        basis: `[N]`, by what each is compared, as a place in `BASES`.
        again: `[N]`, what an interaction model says, NaN where it wasn't asked; None where it was of nobody.
    """

    places: Sequence[int]
    scores: _Scores
    basis: NDArray[np.intp]
    again: _Scores | None = None


def compare(
    item_ids: Sequence[str],
    profile: Profile,
    state: CatalogState,
    *,
    known: Mapping[str, float] = _NOTHING,
    with_looks: bool = False,
) -> Compared:
    """Return what candidates are to a user, exactly.

    Args:
        item_ids: the candidates, each once.
        profile: the user.
        state: what items are read from.
        known: inner products with imported factors that a search has computed.
        with_looks: compare the pictures of all; otherwise of those that have no factors.
    """
    factors, predicted, visual = (np.full(len(item_ids), np.nan) for _ in range(3))
    if profile.factors is not None and profile.taste is not None:
        if known:
            factors = np.array([known.get(item_id, np.nan) for item_id in item_ids])
        _fill(factors, np.isnan(factors), item_ids, profile.taste.name, profile.factors, state)
        other = state.spaces.get(predicted_space(profile.taste.fingerprint))
        if other is not None and other.dimension == profile.taste.dimension:
            _fill(predicted, np.isnan(factors), item_ids, other.name, profile.factors, state)
    compared = Compared(item_ids, factors, predicted, visual)
    wanted = np.ones(len(item_ids), bool) if with_looks else np.isnan(compared.taste)
    if wanted.any() and profile.looks is not None:
        _fill(visual, wanted, item_ids, VISUAL, profile.looks, state)
    return compared


def ordered(compared: Compared, visual_weight: float) -> Order:
    """Return the order of the candidates, best first; equal ones in the byte order of their ids."""
    scores, basis = _scores(compared, visual_weight)
    return Order(_places(scores, compared.item_ids), scores, basis)


def told(compared: Compared, order: Order, visual_weight: float, count: int) -> list[RankedItem]:
    """Return the best `count` candidates of an order; what their scores aren't made of is left out."""
    taste, item_ids, found = compared.taste, compared.item_ids, []
    for place in order.places[:count]:
        basis = BASES[order.basis[place]]
        by_taste = basis in BY_FACTORS and visual_weight < 1
        found.append(
            RankedItem(
                item_ids[place],
                float(order.scores[place]),
                basis,
                float(taste[place]) if by_taste else None,
                _told(compared.visual[place]) if visual_weight > 0 or basis is Basis.PICTURE else None,
                compared.likes.get(item_ids[place], 0) if basis is Basis.POPULARITY else None,
                _told(order.again[place]) if by_taste and order.again is not None else None,
            )
        )
    return found


def _told(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _places(scores: _Scores, item_ids: Sequence[str]) -> list[int]:
    """Return the places of the scores, the highest first; of equal ones by the bytes of the ids."""
    order = np.argsort(-scores, kind="stable")
    places: list[int] = order.tolist()
    sorted_scores = scores[order]
    ties = np.flatnonzero(sorted_scores[1:] == sorted_scores[:-1])
    # Few scores are equal, so few ids are looked at: to sort all of 4,096 by them takes ten times as long.
    for run in np.split(ties, np.flatnonzero(np.diff(ties) > 1) + 1) if len(ties) else ():
        span = slice(int(run[0]), int(run[-1]) + 2)
        places[span] = sorted(places[span], key=lambda place: item_ids[place].encode())
    return places


def _scores(compared: Compared, visual_weight: float) -> tuple[_Scores, NDArray[np.intp]]:
    """Return `[N]` the scores, and by what each item is compared, as a place in `BASES`."""
    taste, visual = compared.taste, compared.visual
    by_taste, by_looks = ~np.isnan(taste), ~np.isnan(visual)
    imported = ~np.isnan(compared.factors)
    if visual_weight == 0 and imported.all():
        return compared.factors, np.zeros(len(taste), np.intp)
    basis = np.where(imported, 0, np.where(by_taste, 1, np.where(by_looks, 2, 3)))
    likes = np.array([compared.likes.get(item_id, 0) for item_id in compared.item_ids], np.float64)
    if visual_weight == 0 or not (by_taste & by_looks).any():
        for mask, scores in ((by_taste, taste), (by_looks & ~by_taste, visual), (~by_taste & ~by_looks, likes)):
            if mask.all():
                return scores, basis  # one basis alone needs no common scale
        mixed = np.where(by_taste, _standard(taste, by_taste), _standard(visual, by_looks & ~by_taste))
    else:
        of_taste, of_looks = _standard(taste, by_taste), _standard(visual, by_looks)
        both = (1 - visual_weight) * of_taste + visual_weight * of_looks
        mixed = np.where(by_taste & by_looks, both, np.where(by_taste, of_taste, of_looks))
    rest = ~by_taste & ~by_looks
    if rest.any():
        least = float(np.nanmin(np.where(rest, np.nan, mixed)))
        mixed = np.where(rest, least - 1 + likes / (likes.max() + 1) * 0.5, mixed)
    return mixed, basis


def _standard(scores: _Scores, mask: NDArray[np.bool_]) -> _Scores:
    """Return `scores` less their mean over `mask`, in standard deviations over it; zeros where all are alike."""
    chosen = scores[mask]
    if not len(chosen):
        return np.zeros_like(scores)
    deviation = float(chosen.std())
    return (scores - chosen.mean()) / deviation if deviation > 0 else np.zeros_like(scores)


def _fill(
    scores: _Scores,
    wanted: NDArray[np.bool_],
    item_ids: Sequence[str],
    space: str,
    query: Float32Array,
    state: CatalogState,
) -> None:
    """Write into `scores` the greatest inner product of each wanted item's rows with `query`; of none nothing."""
    places = np.flatnonzero(wanted)
    if not len(places):
        return
    rows = state.vectors(space, [item_ids[place] for place in places.tolist()])
    found = np.full(len(places), -np.inf)
    # In double precision, as searches do.
    np.maximum.at(found, rows.owners, rows.values.astype(np.float64) @ query.astype(np.float64))
    has_rows = ~np.isneginf(found)
    scores[places[has_rows]] = found[has_rows]
