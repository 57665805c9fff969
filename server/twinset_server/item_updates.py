"""Updates of items: what they change, and the vectors that change with it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Sequence
from typing import Any

from twinset_server.domain import (
    Item,
    ItemUpdate,
    ItemUpdateDraft,
    ItemVector,
    MadeFor,
    NewPicture,
    StoredPicture,
)
from twinset_server.errors import ItemNotFound, PictureNotStored
from twinset_server.item_vectors import ItemVectors, Wanted, inspected
from twinset_server.ports import Catalog

_EMBEDDED_AGAIN_AT_ONCE = 4
"""Items whose kept pictures are in memory at a time: each may have 16 of 20 MiB."""


class ItemUpdates:
    """Makes updates ready to commit.

    New pictures are embedded. Where the model takes categories, so are the kept pictures of an item that gets another
    one, and new pictures with the category that is stored; such an update holds only for the item as it was read.
    """

    def __init__(self, catalog: Catalog, vectors: ItemVectors) -> None:
        self._catalog = catalog
        self._vectors = vectors
        self._again = asyncio.Semaphore(_EMBEDDED_AGAIN_AT_ONCE)

    def make(self, draft: ItemUpdateDraft, timeout_s: float) -> ItemUpdate | Coroutine[Any, Any, ItemUpdate]:
        """Return the update, or what waits for it where it needs a model's work or the stored item.

        Raises:
            TwinsetError: a vector doesn't fit, or the model isn't known yet.
        """
        own = None if draft.vectors is None else self._vectors.own(draft.vectors)
        if draft.pictures:
            return self._with_pictures(draft, own or [], timeout_s)
        if draft.pictures is None and draft.category is not None and self._vectors.by_category(_spaces(own or [])):
            return self._with_category(draft, own or [], timeout_s)
        return _update(draft, None if draft.pictures is None else [], own)

    async def _with_pictures(self, draft: ItemUpdateDraft, own: Sequence[ItemVector], timeout_s: float) -> ItemUpdate:
        pictures = await asyncio.to_thread(inspected, draft.pictures or ())
        stored = await self._vectors.stored({draft.id: pictures})
        taken = _spaces(own)
        category, made_for = draft.category, None
        if category is None:
            (item,) = await self._catalog.get([draft.id], vectors=False)
            category = item.own_category if item else ""
            made_for = MadeFor(category=category) if self._vectors.by_category(taken) else None
        wanted = Wanted(taken, category, self._vectors.fills_categories and not category, stored.get(draft.id))
        made = await self._vectors.make(pictures, wanted, timeout_s)
        return dataclasses.replace(
            _update(draft, pictures, [*own, *made.vectors]),
            prediction=made.prediction,
            made_for=made_for,
            category_unknown=self._vectors.is_unknown(category),
        )

    async def _with_category(self, draft: ItemUpdateDraft, own: Sequence[ItemVector], timeout_s: float) -> ItemUpdate:
        """Return an update whose new category gives the item other vectors, made from the pictures that are kept.

        Raises:
            ItemNotFound: there is no such item.
            PictureNotStored: a picture's content isn't kept.
        """
        (item,) = await self._catalog.get([draft.id], vectors=True)
        if item is None:
            raise ItemNotFound(draft.id)
        category = draft.category or ""
        brought = {vector.space for vector in item.vectors or () if not vector.picture_id}
        outputs = self._vectors.by_category(brought | _spaces(own))
        vectors = list(own)
        if outputs and item.pictures and self._vectors.index(category) != self._vectors.index(item.own_category):
            async with self._again:
                kept = await self._kept(item, sorted(outputs.values()))
                vectors += await self._vectors.make_for_category(kept, outputs, category, timeout_s)
        return dataclasses.replace(
            _update(draft, None, vectors or None),
            made_for=MadeFor(item.own_category, tuple((one.id, one.sha256) for one in item.pictures)),
            category_unknown=self._vectors.is_unknown(category),
        )

    async def _kept(self, item: Item, spaces: Sequence[str]) -> list[StoredPicture]:
        try:
            return [await self._catalog.picture(item.id, picture.id) for picture in item.pictures]
        except PictureNotStored as error:
            raise PictureNotStored(
                error.subject,
                f"vectors of item {item.id!r} depend on its category (spaces: {', '.join(spaces)}), and its pictures "
                "aren't kept, so that it can't be embedded again: put it with its pictures, or update category and "
                "pictures together",
            ) from error


def _spaces(vectors: Sequence[ItemVector]) -> set[str]:
    return {vector.space for vector in vectors}


def _update(
    draft: ItemUpdateDraft, pictures: Sequence[NewPicture] | None, vectors: Sequence[ItemVector] | None
) -> ItemUpdate:
    return ItemUpdate(
        id=draft.id,
        etag=draft.etag,
        title=draft.title,
        uri=draft.uri,
        category=draft.category,
        attributes=draft.attributes,
        changed_attributes=draft.changed_attributes,
        pictures=pictures,
        vectors=vectors,
    )
