"""Recommendations by one example: an item, a picture or a vector."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from twinset_server import limits
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
    VISUAL,
    Expression,
    FacetRequest,
    Float32Array,
    Item,
    Search,
    SearchResult,
    Space,
    Vector,
)
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import InvalidRequest, NoModel, SpaceMismatch, SpaceNotFound, TwinsetError
from twinset_server.filters.facets import check_facets
from twinset_server.ports import Catalog
from twinset_server.scoring import admit

EXAMPLE_FIELD = "examples[0]"


class Detail(enum.Enum):
    """How much of each found item comes along."""

    ID = enum.auto()
    BASIC = enum.auto()
    FULL = enum.auto()


@dataclass(frozen=True, slots=True)
class ItemExample:
    """A stored item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class PictureExample:
    """An encoded picture."""

    content: bytes


@dataclass(frozen=True, slots=True)
class VectorExample:
    """A caller's vector."""

    vector: Vector


Example = ItemExample | PictureExample | VectorExample


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a recommendation.

    Attributes:
        example: to find the nearest of.
        space: the space to search.
        k: how many items.
        exclude: items never to return.
        detail: how much of each item comes along.
        target_recall: the share of the true nearest that is wanted; 1 means that all is compared.
        expression: which items may be returned; None for all.
        facets: fields to count the values of, over the items that match.
    """

    example: Example
    space: str = VISUAL
    k: int = limits.DEFAULT_K
    exclude: Sequence[str] = ()
    detail: Detail = Detail.ID
    target_recall: float = DEFAULT_TARGET_RECALL
    expression: Expression | None = None
    facets: Sequence[FacetRequest] = ()


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What was found, the space it was found in, and how much of each item was asked for.

    `items` holds the stored item of every neighbour; it is None where only ids were asked for.
    """

    space: Space
    result: SearchResult
    detail: Detail
    items: Mapping[str, Item] | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request that may be searched for, in its space."""

    request: Request
    space: Space
    search: Search


_Outcome = TypeVar("_Outcome")


class Recommender:
    """Finds the items nearest to an example."""

    def __init__(self, catalog: Catalog, pictures: PictureEmbedder) -> None:
        self._catalog = catalog
        self._pictures = pictures

    async def recommend(self, request: Request, *, timeout_s: float) -> Recommendations:
        """Return the neighbours of an example, that match, without the excluded and the example itself.

        Raises:
            InvalidRequest: a field is over its limit, or the picture or vector is bad.
            SpaceNotFound, ItemNotFound: nothing of that name.
            FingerprintMismatch, SpaceMismatch, NoVector, NoModel: the example can't be compared in this space.
            EmbedderUnavailable: the example is a picture and Triton is unreachable.
        """
        prepared = await self._prepare(request, timeout_s)
        search = prepared.search
        result = await self._catalog.search(
            search.space,
            search.query,
            search.k,
            exclude=search.exclude,
            target_recall=search.target_recall,
            expression=search.expression,
            facets=search.facets,
        )
        return await self._completed(prepared, result)

    async def recommend_many(
        self, requests: Sequence[Request | TwinsetError], *, timeout_s: float
    ) -> list[Recommendations | TwinsetError]:
        """Return what `recommend` does for each request, or the error that befell this one alone; an error stays.

        All are searched for in one state of the catalogue.
        """
        prepared = await self._prepare_each(requests, timeout_s)
        searches = [one.search for one in prepared if isinstance(one, _Prepared)]
        results = iter(await self._catalog.search_many(searches) if searches else ())
        found = [one if isinstance(one, TwinsetError) else (one, next(results)) for one in prepared]
        return [one if isinstance(one, TwinsetError) else await _tried(self._completed(*one)) for one in found]

    async def _prepare_each(
        self, requests: Sequence[Request | TwinsetError], timeout_s: float
    ) -> list[_Prepared | TwinsetError]:
        prepared: dict[int, _Prepared | TwinsetError] = {}
        waiting: dict[int, asyncio.Task[_Prepared | TwinsetError]] = {}
        async with asyncio.TaskGroup() as group:
            for place, request in enumerate(requests):
                if isinstance(request, TwinsetError):
                    prepared[place] = request
                elif isinstance(request.example, VectorExample):
                    # It waits for nothing, and a task would cost more than it.
                    prepared[place] = await _tried(self._prepare(request, timeout_s))
                else:
                    waiting[place] = group.create_task(_tried(self._prepare(request, timeout_s)))
        prepared.update({place: task.result() for place, task in waiting.items()})
        return [prepared[place] for place in range(len(requests))]

    async def _prepare(self, request: Request, timeout_s: float) -> _Prepared:
        limits.check_k(request.k)
        limits.check_count("exclude", request.exclude, limits.MAX_EXCLUDE)
        limits.check_target_recall(request.target_recall)
        check_facets("facets", request.facets)
        space = self._catalog.spaces().get(request.space)
        if space is None:
            raise SpaceNotFound(request.space, self._catalog.spaces())
        query = await self._query(request.example, space, timeout_s)
        exclude = frozenset(request.exclude)
        if isinstance(request.example, ItemExample):
            exclude |= {request.example.item_id}
        search = Search(
            space.name, query, request.k, exclude, request.target_recall, request.expression, request.facets
        )
        return _Prepared(request, space, search)

    async def _completed(self, prepared: _Prepared, result: SearchResult) -> Recommendations:
        """Return the result with as much of its items as is asked for."""
        space, search, detail = prepared.space, prepared.search, prepared.request.detail
        exclude = search.exclude
        while detail is not Detail.ID:
            ids = [neighbour.item_id for neighbour in result.neighbours]
            stored = await self._catalog.get(ids, vectors=detail is Detail.FULL)
            items = {item.id: item for item in stored if item is not None}
            if len(items) == len(ids):
                return Recommendations(space, result, detail, items)
            # Deleted since the search: a new one fills their places, so that never fewer than k come back.
            exclude |= {item_id for item_id in ids if item_id not in items}
            result = await self._catalog.search(
                space.name,
                search.query,
                search.k,
                exclude=exclude,
                target_recall=search.target_recall,
                expression=search.expression,
                facets=search.facets,
            )
        return Recommendations(space, result, detail)

    async def _query(self, example: Example, space: Space, timeout_s: float) -> Float32Array:
        match example:
            case ItemExample(item_id):
                limits.check_id(f"{EXAMPLE_FIELD}.item_id", item_id)
                return await self._catalog.vector_of(item_id, space.name)
            case VectorExample(vector):
                if vector.space != space.name:
                    raise SpaceMismatch(
                        f"{EXAMPLE_FIELD}.vector.space",
                        f"the vector lives in the space {vector.space!r}, but {space.name!r} is searched",
                    )
                return admit(vector, space, f"{EXAMPLE_FIELD}.vector")
            case PictureExample(content):
                return await self._embed(content, space, timeout_s)

    async def _embed(self, content: bytes, space: Space, timeout_s: float) -> Float32Array:
        contract = self._pictures.embedder.contract
        filled = contract.space(space.name)
        if filled is None:
            raise NoModel(space.name, f"no model embeds pictures into the space {space.name!r}: send a vector")
        fingerprint = contract.fingerprint_of(filled.output)
        if fingerprint != space.fingerprint:
            raise SpaceMismatch(
                space.name,
                f"the serving model's fingerprint of {space.name!r} is {fingerprint}, but the space holds vectors of "
                f"{space.fingerprint}",
            )
        (result,) = await self._pictures.embed([content], [filled.output], timeout_s=timeout_s, urgent=True)
        if isinstance(result, InvalidRequest):
            raise result.at(f"{EXAMPLE_FIELD}.picture")
        if isinstance(result, TwinsetError):
            raise result
        return result[filled.output]


async def _tried(attempt: Coroutine[Any, Any, _Outcome]) -> _Outcome | TwinsetError:
    """Return what an attempt gives, or the error that it ends in."""
    try:
        return await attempt
    except TwinsetError as error:
        return error
