"""Recommendations by items, pictures, vectors and users."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from twinset_server import tracing
from twinset_server.domain import Item, Search, SearchResult
from twinset_server.embedding import Pictures
from twinset_server.errors import EmbedderUnavailable, FingerprintMismatch, NoPairModel, TwinsetError
from twinset_server.pair_model import PairModel, pair_model
from twinset_server.ports import Catalog
from twinset_server.recommend.combining import Combined
from twinset_server.recommend.examples import Compared, ExampleVectors, combined_of, excluded_by
from twinset_server.recommend.refining import refine
from twinset_server.recommend.request import (
    PLAIN,
    Detail,
    Example,
    ExampleNote,
    Note,
    Recommendations,
    Request,
    VectorExample,
    check,
)

_THREADS = 2
"""So many answers that take more than one search are made at once, each on a thread."""


class _Prepared(NamedTuple):
    """A request that may be searched for.

    Attributes:
        request: what is wanted.
        examples: those of the request.
        search: what to search for.
        combined: how the search's distances become scores; None where one search isn't all.
        pairs: what tells the probabilities of pairs; None where nobody asked, or nothing does.
    """

    request: Request
    examples: Sequence[Compared]
    search: Search
    combined: Combined | None
    pairs: PairModel | None


_Outcome = TypeVar("_Outcome")


class Recommender:
    """Finds the best items by examples."""

    def __init__(self, catalog: Catalog, pictures: Pictures) -> None:
        self._catalog = catalog
        self._pictures = pictures
        self._examples = ExampleVectors(catalog, pictures)
        self._threads = asyncio.Semaphore(_THREADS)

    async def recommend(self, request: Request, *, timeout_s: float) -> Recommendations:
        """Return the best items by the examples, that match, without the excluded and the examples themselves.

        Raises:
            InvalidRequest: a field is over its limit, a picture or vector is bad, or examples cancel each other out.
            SpaceNotFound, ItemNotFound, UserNotFound: nothing of that name.
            FingerprintMismatch, SpaceMismatch, NoVector, UserHasNoVector, NoModel: an example can't be compared.
            EmbedderUnavailable: an example is a picture and Triton is unreachable.
        """
        while True:
            switched = self._catalog.switched()
            try:
                found = await self._completed(await self._prepare(request, timeout_s))
            except TwinsetError:
                if self._catalog.switched() == switched:
                    raise
                continue
            if self._catalog.switched() == switched:
                return found
            # A model or factors were switched between the example and the search: what was found compares two.

    async def recommend_many(
        self, requests: Sequence[Request | TwinsetError], *, timeout_s: float
    ) -> list[Recommendations | TwinsetError]:
        """Return what `recommend` does for each request, or the error that befell this one alone; an error stays.

        All that take one search are searched for in one state of the catalogue.
        """
        switched = self._catalog.switched()
        prepared = await self._prepare_each(requests, timeout_s)
        searches = [one.search for one in prepared if isinstance(one, _Prepared) and one.combined is not None]
        with tracing.span("search"):
            results = iter(await self._catalog.search_many(searches) if searches else ())
        found: list[Recommendations | TwinsetError] = []
        for one in prepared:
            if isinstance(one, TwinsetError):
                found.append(one)
            elif one.combined is None:
                found.append(await _tried(self._completed(one)))
            elif _is_plain(one.request):
                found.append(_plain(one, next(results)))
            else:
                found.append(await _tried(self._completed(one, next(results))))
        if self._catalog.switched() == switched:
            return found
        return [
            one if isinstance(one, TwinsetError) else await _tried(self.recommend(one, timeout_s=timeout_s))
            for one in requests
        ]

    async def stored(self, item_ids: Sequence[str], detail: Detail) -> dict[str, Item]:
        """Return those of the items that are still stored."""
        found = await self._catalog.get(item_ids, vectors=detail is Detail.FULL)
        return {item.id: item for item in found if item is not None}

    async def _prepare_each(
        self, requests: Sequence[Request | TwinsetError], timeout_s: float
    ) -> list[_Prepared | TwinsetError]:
        # What waits for nothing is prepared at once: a task would cost more than it.
        found = [
            one if isinstance(one, TwinsetError) else self._prepared(one) if _is_of_a_vector(one) else None
            for one in requests
        ]
        waiting = [
            (place, one)
            for place, one in enumerate(requests)
            if found[place] is None and not isinstance(one, TwinsetError)
        ]
        if waiting:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_tried(self._prepare(one, timeout_s))) for _, one in waiting]
            for (place, _), task in zip(waiting, tasks, strict=True):
                found[place] = task.result()
        return [one for one in found if one is not None]

    def _prepared(self, request: Request) -> _Prepared | TwinsetError:
        """Return what `_prepare` does for a request of one vector, or its error."""
        try:
            check(request)
            return self._to_search(request, [self._examples.of_vector(0, request.examples[0], request.space)])
        except TwinsetError as error:
            return error

    async def _prepare(self, request: Request, timeout_s: float) -> _Prepared:
        check(request)
        return self._to_search(request, await self._examples.compared(request, timeout_s=timeout_s))

    def _to_search(self, request: Request, examples: Sequence[Compared]) -> _Prepared:
        combined = combined_of(examples) if _is_one_search(request, examples) else None
        space = examples[0].space
        search = Search(
            space.name,
            examples[0].values if combined is None else combined.query,
            request.k,
            frozenset([*request.exclude, *excluded_by(request.examples)]),
            request.target_recall,
            request.expression,
            request.facets,
        )
        return _Prepared(request, examples, search, combined, self._pair_model(request.examples))

    async def _completed(self, prepared: _Prepared, result: SearchResult | None = None) -> Recommendations:
        """Return what is found, with as much of its items as is asked for; `result` is that of the search, if made."""
        request = prepared.request
        found = await self._found(prepared, result)
        while not _is_plain(request):
            neighbours = found.result.neighbours[: request.page_size or request.k]
            ids = [neighbour.item_id for neighbour in neighbours]
            items = await self.stored(ids, request.detail)
            if len(items) == len(ids):
                return found._replace(items=items)
            # Deleted since the search: a new one fills their places, so that never fewer than k come back.
            gone = frozenset(item_id for item_id in ids if item_id not in items)
            search = prepared.search._replace(exclude=prepared.search.exclude | gone)
            prepared = prepared._replace(search=search)
            found = await self._found(prepared, None)
        return found

    async def _found(self, prepared: _Prepared, result: SearchResult | None) -> Recommendations:
        search = prepared.search
        if prepared.combined is None:
            return await self._refined(prepared)
        if result is None:
            with tracing.span("search"):
                result = await self._catalog.search(
                    search.space,
                    search.query,
                    search.k,
                    exclude=search.exclude,
                    target_recall=search.target_recall,
                    expression=search.expression,
                    facets=search.facets,
                )
        return _plain(prepared, result)

    async def _refined(self, prepared: _Prepared) -> Recommendations:
        request = prepared.request
        async with self._threads:
            state = await self._catalog.state()
            with tracing.span("search"):
                found = await asyncio.to_thread(
                    refine, request, prepared.examples, prepared.search, state, prepared.pairs
                )
        return Recommendations(
            prepared.examples[0].space,
            found.result,
            request.detail,
            found.notes,
            searches=found.searches if request.explain else (),
            examples=[_example_note(one) for one in prepared.examples] if request.explain else (),
        )

    def _pair_model(self, examples: Sequence[Example]) -> PairModel | None:
        if not any(example.relation.is_pair for example in examples):
            return None
        # Without Triton, or with vectors that clients bring, the nearest are found all the same.
        with contextlib.suppress(EmbedderUnavailable, NoPairModel, FingerprintMismatch):
            return pair_model(self._pictures.now.embedder.contract, self._catalog.spaces())
        return None


def _is_of_a_vector(request: Request) -> bool:
    return len(request.examples) == 1 and isinstance(request.examples[0].subject, VectorExample)


def _is_plain(request: Request) -> bool:
    """Return whether nothing more is told of what is found than its id."""
    return request.detail is Detail.ID and not request.explain


def _plain(prepared: _Prepared, result: SearchResult) -> Recommendations:
    """Return what one search found."""
    assert prepared.combined is not None  # noqa: S101 - there was one search
    space, detail = prepared.examples[0].space, prepared.request.detail
    return Recommendations(space, result, detail, _notes(result, prepared.combined, prepared))


def _is_one_search(request: Request, examples: Sequence[Compared]) -> bool:
    """Return whether one search finds all that is asked for."""
    if request.refinement is not PLAIN or request.explain:
        return False
    if len(examples) == 1:
        return True
    return len({one.space.name for one in examples}) == 1 and not any(one.example.relation.is_pair for one in examples)


def _notes(result: SearchResult, combined: Combined, prepared: _Prepared) -> list[Note] | None:
    """Return what is told of each neighbour; None where its distance says it all."""
    weight = prepared.examples[0].example.weight
    if prepared.pairs is None and len(prepared.examples) == 1 and weight > 0:
        return None
    distances = [neighbour.distance for neighbour in result.neighbours]
    if prepared.pairs is None:
        return [Note(combined.score(distance)) for distance in distances]
    # A search away from the example is one for its opposite, which turns the distance's sign.
    sign = 1.0 if weight > 0 else -1.0
    probabilities = prepared.pairs.probabilities([sign * distance for distance in distances]).tolist()
    return [Note(combined.score(d), p) for d, p in zip(distances, probabilities, strict=True)]


def _example_note(one: Compared) -> ExampleNote:
    return ExampleNote(one.source.name, one.space.name, one.example.weight, one.predictions, one.category_unknown)


async def _tried(attempt: Coroutine[Any, Any, _Outcome]) -> _Outcome | TwinsetError:
    """Return what an attempt gives, or the error that it ends in."""
    try:
        return await attempt
    except TwinsetError as error:
        return error
