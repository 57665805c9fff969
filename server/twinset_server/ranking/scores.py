"""Scores of candidates for a user, and how those of different bases come into one order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from twinset.factors import predicted_space
from twinset_server.domain import VISUAL, Float32Array, ItemRows
from twinset_server.ports import CatalogState
from twinset_server.ranking.profiles import Profile
from twinset_server.ranking.request import Basis, RankedItem

_Scores = NDArray[np.float64]

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

    def rescored(self, item_ids: Sequence[str], scores: Float32Array) -> Compared:
        """Return these items alone, all of which have factors, with `scores`, `[M]`, in place of inner products."""
        place = {item_id: number for number, item_id in enumerate(self.item_ids)}
        kept = [place[item_id] for item_id in item_ids]
        imported, in_double = ~np.isnan(self.factors[kept]), scores.astype(np.float64)
        return Compared(
            item_ids,
            np.where(imported, in_double, np.nan),
            np.where(imported, np.nan, in_double),
            self.visual[kept],
        )

    @property
    def taste(self) -> _Scores:
        """`[N]`, by imported factors, else by predicted ones."""
        return np.where(np.isnan(self.factors), self.predicted, self.factors)


def compare(item_ids: Sequence[str], profile: Profile, state: CatalogState) -> Compared:
    """Return what candidates are to a user, exactly."""
    nothing = np.full(len(item_ids), np.nan)
    factors = predicted = visual = nothing
    if profile.factors is not None and profile.taste is not None:
        factors = _best(state.vectors(profile.taste.name, item_ids), profile.factors, len(item_ids))
        other = state.spaces.get(predicted_space(profile.taste.fingerprint))
        if other is not None and other.dimension == profile.taste.dimension:
            predicted = _best(state.vectors(other.name, item_ids), profile.factors, len(item_ids))
    if profile.looks is not None:
        visual = _best(state.vectors(VISUAL, item_ids), profile.looks, len(item_ids))
    return Compared(item_ids, factors, predicted, visual)


def ordered(compared: Compared, visual_weight: float) -> list[RankedItem]:
    """Return the candidates, best first; equal ones in the byte order of their ids."""
    taste, visual = compared.taste, compared.visual
    scores, bases = _scores(compared, visual_weight)
    found = [
        RankedItem(
            item_id,
            float(scores[place]),
            bases[place],
            None if np.isnan(taste[place]) else float(taste[place]),
            None if np.isnan(visual[place]) else float(visual[place]),
            compared.likes.get(item_id, 0) if bases[place] is Basis.POPULARITY else None,
        )
        for place, item_id in enumerate(compared.item_ids)
    ]
    return sorted(found, key=lambda one: (-one.score, one.item_id.encode()))


def kept_parts(one: RankedItem, visual_weight: float) -> RankedItem:
    """Return the item without what its score isn't made of."""
    by_taste = one.basis in BY_FACTORS
    return replace(
        one,
        taste=one.taste if by_taste and visual_weight < 1 else None,
        visual=one.visual if visual_weight > 0 or one.basis is Basis.PICTURE else None,
    )


def _scores(compared: Compared, visual_weight: float) -> tuple[_Scores, list[Basis]]:
    taste, visual = compared.taste, compared.visual
    by_taste, by_looks = ~np.isnan(taste), ~np.isnan(visual)
    basis = np.select(
        [~np.isnan(compared.factors), by_taste, by_looks],
        [Basis.FACTORS.value, Basis.PREDICTED_FACTORS.value, Basis.PICTURE.value],
        Basis.POPULARITY.value,
    )
    bases = [Basis(int(one)) for one in basis]
    likes = np.array([compared.likes.get(item_id, 0) for item_id in compared.item_ids], np.float64)
    if visual_weight == 0 or not (by_taste & by_looks).any():
        for mask, scores in ((by_taste, taste), (by_looks & ~by_taste, visual), (~by_taste & ~by_looks, likes)):
            if mask.all():
                return scores, bases  # one basis alone needs no common scale
        mixed = np.where(by_taste, _standard(taste, by_taste), _standard(visual, by_looks & ~by_taste))
    else:
        of_taste, of_looks = _standard(taste, by_taste), _standard(visual, by_looks)
        both = (1 - visual_weight) * of_taste + visual_weight * of_looks
        mixed = np.where(by_taste & by_looks, both, np.where(by_taste, of_taste, of_looks))
    rest = ~by_taste & ~by_looks
    if rest.any():
        least = float(np.nanmin(np.where(rest, np.nan, mixed)))
        mixed = np.where(rest, least - 1 + likes / (likes.max() + 1) * 0.5, mixed)
    return mixed, bases


def _standard(scores: _Scores, mask: NDArray[np.bool_]) -> _Scores:
    """Return `scores` less their mean over `mask`, in standard deviations over it; zeros where all are alike."""
    chosen = scores[mask]
    if not len(chosen):
        return np.zeros_like(scores)
    deviation = float(chosen.std())
    return (scores - chosen.mean()) / deviation if deviation > 0 else np.zeros_like(scores)


def _best(rows: ItemRows, query: Float32Array, count: int) -> _Scores:
    """Return `[count]` the greatest inner product of each item's rows with `query`; NaN for items without rows."""
    found = np.full(count, -np.inf)
    # In double precision: the same for an item, however it came to be compared.
    np.maximum.at(found, rows.owners, rows.values.astype(np.float64) @ query.astype(np.float64))
    found[np.isneginf(found)] = np.nan
    return found
