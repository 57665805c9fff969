"""Ranks items for a user: candidates, excluded and seen ones dropped, in the order of the user's taste."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from twinset.factors import predicted_space
from twinset_server.domain import VISUAL, Act, Item, Search
from twinset_server.ports import Catalog, CatalogState, Interactions
from twinset_server.ranking.popularity import Popularity
from twinset_server.ranking.profiles import Profile, Profiles
from twinset_server.ranking.request import ANY_KIND, RankedItem, Ranking, RankRequest
from twinset_server.ranking.reranking import NO_INTERACTIONS, Reranker
from twinset_server.ranking.scores import Compared, compare, ordered, told
from twinset_server.scoring import score_of

_BLENDED_AT_LEAST = 200
_BLENDED_TIMES = 4
"""Where looks count too, so many more are searched for by each: what is good by both may be the best by neither."""

_POPULAR_AT_ONCE = 1000

_FEW = 64
"""So many are compared sooner than a thread could be asked to."""


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What may be returned, and what a search has told of it: see `compare`."""

    item_ids: Sequence[str]
    exact: bool
    examined: int
    known: Mapping[str, float] = field(default_factory=dict)


class Ranker:
    """Ranks items for users; one for all calls of a process."""

    def __init__(self, catalog: Catalog, interactions: Interactions = NO_INTERACTIONS) -> None:
        """Rank what `catalog` holds; models of `interactions` are asked where a request wants a second look."""
        self._catalog = catalog
        self._profiles = Profiles(catalog)
        self._popularity = Popularity(catalog)
        self._reranker = Reranker(interactions)

    async def rank(self, request: RankRequest, *, timeout_s: float = math.inf) -> Ranking:
        """Return the items in the order for a user; `timeout_s` is left of the caller's deadline.

        Raises:
            InvalidRequest: a field is over its limit.
            NoInteractionModel, InteractionMismatch, EmbedderUnavailable, DeadlineExceeded: candidates are to be scored
                again, and no model can be asked.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        request.check()
        # One state for all: users and items of one generation.
        state = await self._catalog.state()
        if isinstance(request.user, str):
            profile = await self._profiles.of_user(request.user, state)
        else:
            profile = await self._profiles.of_history(request.user, state)
        dropped = frozenset(request.exclude)
        if request.exclude_seen:
            dropped |= _seen(profile.acts, request.exclude_seen)
        if request.candidates is None:
            candidates = await self._searched(request, profile, state, dropped)
        else:
            item_ids = await self._given(request, dropped)
            candidates = _Candidates(item_ids, exact=True, examined=len(item_ids))
        compared = await self._compared(candidates, profile, state, with_looks=request.visual_weight > 0)
        if bare := compared.without_basis:
            # What has vectors is stored; of these nobody knows yet.
            stored_ids = set(await self._catalog.matching(bare, None))
            compared = compared.without(frozenset(bare) - stored_ids)
            compared = replace(compared, likes=await self._popularity.counts(profile.liked_from))
        order, model, again = ordered(compared, request.visual_weight), "", 0
        if request.rerank is not None:
            left_s = deadline_s - asyncio.get_running_loop().time()
            reranked = await self._reranker.rerank(request, compared, order, profile, state, timeout_s=left_s)
            order, model, again = reranked.order, reranked.model, reranked.count
        items, stored = await self._with_items(request, told(compared, order, request.visual_weight, request.k))
        return Ranking(
            items,
            profile.rung,
            profile.taste,
            profile.acts_used,
            candidates.exact,
            candidates.examined,
            state.sequence,
            stored,
            model,
            again,
        )

    async def _given(self, request: RankRequest, dropped: Collection[str]) -> list[str]:
        """Return the given candidates that may be returned, each once, and maybe some that aren't stored."""
        item_ids = [item_id for item_id in dict.fromkeys(request.candidates or ()) if item_id not in dropped]
        if request.expression is None:
            return item_ids
        return await self._catalog.matching(item_ids, request.expression)

    async def _compared(
        self, candidates: _Candidates, profile: Profile, state: CatalogState, *, with_looks: bool
    ) -> Compared:
        known = candidates.known
        call = partial(compare, candidates.item_ids, profile, state, known=known, with_looks=with_looks)
        if len(candidates.item_ids) - (0 if with_looks else len(known)) <= _FEW:
            return call()
        return await asyncio.to_thread(call)

    async def _searched(
        self, request: RankRequest, profile: Profile, state: CatalogState, dropped: frozenset[str]
    ) -> _Candidates:
        wanted = request.k
        if request.visual_weight > 0:
            wanted = max(_BLENDED_TIMES * wanted, _BLENDED_AT_LEAST)
        wanted = max(wanted, request.reranked)
        searches = []
        if profile.factors is not None and profile.taste is not None:
            names = [profile.taste.name, predicted_space(profile.taste.fingerprint)]
            searches += [(name, profile.factors) for name in names if name in state.spaces]
        if (request.visual_weight > 0 or profile.factors is None) and profile.looks is not None:
            searches.append((VISUAL, profile.looks))
        found: dict[str, None] = {}
        known: dict[str, float] = {}
        exact, examined = True, 0
        for space, query in searches:
            search = Search(space, query, wanted, dropped, request.target_recall, request.expression)
            # What takes a millisecond or two is done at once: a thread would cost half as much again.
            result = state.search_briefly(search)
            if result is None:
                result = await asyncio.to_thread(state.search, search)
            if profile.taste is not None and space == profile.taste.name:
                known = {one.item_id: score_of(profile.taste.metric, one.distance) for one in result.neighbours}
            exact &= result.exact
            examined += result.examined
            found.update(dict.fromkeys(one.item_id for one in result.neighbours))
        if len(found) < request.k:
            await self._popularity.counts(profile.liked_from)
            found.update(dict.fromkeys(await self._popular(request, dropped | found.keys(), request.k - len(found))))
        return _Candidates(list(found), exact, examined, known)

    async def _popular(self, request: RankRequest, dropped: Collection[str], count: int) -> list[str]:
        """Return the most liked items that may be returned, filled up by any others, by id."""
        found: dict[str, None] = {}
        order = [item_id for item_id in self._popularity.order() if item_id not in dropped]
        for start in range(0, len(order), _POPULAR_AT_ONCE):
            part = await self._catalog.matching(order[start : start + _POPULAR_AT_ONCE], request.expression)
            found.update(dict.fromkeys(part))
            if len(found) >= count:
                return list(found)[:count]
        after = ""
        while len(found) < count:
            page = await self._catalog.page(after=after, limit=_POPULAR_AT_ONCE, vectors=False)
            if not page:
                break
            after = page[-1].id
            unseen = [item.id for item in page if item.id not in dropped and item.id not in found]
            found.update(dict.fromkeys(await self._catalog.matching(unseen, request.expression)))
        return list(found)[:count]

    async def _with_items(
        self, request: RankRequest, items: Sequence[RankedItem]
    ) -> tuple[Sequence[RankedItem], dict[str, Item] | None]:
        """Return the best, and the items themselves where these are asked for: those deleted meanwhile go."""
        if not request.with_items:
            return items, None
        best = [one.item_id for one in items]
        stored = await self._catalog.get(best, vectors=request.with_vectors)
        found = {item.id: item for item in stored if item is not None}
        return [one for one in items if one.item_id in found], found


def _seen(acts: Sequence[Act], kinds: Sequence[str]) -> set[str]:
    return {act.item_id for act in acts if ANY_KIND in kinds or act.kind in kinds}
