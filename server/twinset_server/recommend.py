"""Recommendations by one example: an item, a picture or a vector."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinset_server import limits
from twinset_server.domain import DEFAULT_TARGET_RECALL, VISUAL, Float32Array, Item, SearchResult, Space, Vector
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import InvalidRequest, NoModel, SpaceMismatch, SpaceNotFound, TwinsetError
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
    """

    example: Example
    space: str = VISUAL
    k: int = limits.DEFAULT_K
    exclude: Sequence[str] = ()
    detail: Detail = Detail.ID
    target_recall: float = DEFAULT_TARGET_RECALL


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What was found, the space it was found in, and how much of each item was asked for.

    `items` holds the stored item of every neighbour; it is None where only ids were asked for.
    """

    space: Space
    result: SearchResult
    detail: Detail
    items: Mapping[str, Item] | None = None


class Recommender:
    """Finds the items nearest to an example."""

    def __init__(self, catalog: Catalog, pictures: PictureEmbedder) -> None:
        self._catalog = catalog
        self._pictures = pictures

    async def recommend(self, request: Request, *, timeout_s: float) -> Recommendations:
        """Return the neighbours of an example, without the excluded and the example itself.

        Raises:
            InvalidRequest: a field is over its limit, or the picture or vector is bad.
            SpaceNotFound, ItemNotFound: nothing of that name.
            FingerprintMismatch, SpaceMismatch, NoVector, NoModel: the example can't be compared in this space.
            EmbedderUnavailable: the example is a picture and Triton is unreachable.
        """
        limits.check_k(request.k)
        limits.check_count("exclude", request.exclude, limits.MAX_EXCLUDE)
        limits.check_target_recall(request.target_recall)
        target = self._catalog.spaces().get(request.space)
        if target is None:
            raise SpaceNotFound(request.space, self._catalog.spaces())
        query = await self._query(request.example, target, timeout_s)
        dropped = frozenset(request.exclude)
        if isinstance(request.example, ItemExample):
            dropped |= {request.example.item_id}
        while True:
            result = await self._catalog.search(
                target.name, query, request.k, exclude=dropped, target_recall=request.target_recall
            )
            if request.detail is Detail.ID:
                return Recommendations(target, result, request.detail)
            ids = [neighbour.item_id for neighbour in result.neighbours]
            stored = await self._catalog.get(ids, vectors=request.detail is Detail.FULL)
            items = {item.id: item for item in stored if item is not None}
            if len(items) == len(ids):
                return Recommendations(target, result, request.detail, items)
            # Deleted since the search: a new one fills their places, so that never fewer than k come back.
            dropped |= {item_id for item_id in ids if item_id not in items}

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
