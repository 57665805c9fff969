"""Items into the catalogue: check, embed what needs it, commit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from twinset import images
from twinset_server import limits
from twinset_server.domain import (
    ItemDraft,
    ItemVector,
    NewPicture,
    Picture,
    PictureDraft,
    Receipt,
    Space,
    Vector,
    WritableItem,
)
from twinset_server.embedding import Outputs, PictureEmbedder
from twinset_server.errors import BadPicture, InvalidRequest, SpaceMismatch, TwinsetError
from twinset_server.ports import Catalog
from twinset_server.scoring import admit


class Ingest:
    """Turns what callers send into durable items.

    The two steps are apart so that a stream can prepare several messages at once and still commit them in order.
    """

    def __init__(self, catalog: Catalog, pictures: PictureEmbedder) -> None:
        self._catalog = catalog
        self._pictures = pictures

    async def prepare(
        self, drafts: Sequence[ItemDraft | TwinsetError], *, timeout_s: float
    ) -> list[WritableItem | TwinsetError]:
        """Return per draft the item with all its vectors, or the error that befell this item alone.

        Args:
            drafts: what was sent; an error stands for an item that could not even be read.
            timeout_s: time left of the caller's deadline.
        """
        prepare_one = self._prepare_or_error
        if len(drafts) == 1:
            return [await prepare_one(drafts[0], timeout_s)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(prepare_one(draft, timeout_s)) for draft in drafts]
        return [task.result() for task in tasks]

    async def commit(self, items: Sequence[WritableItem | TwinsetError]) -> list[Receipt | TwinsetError]:
        """Return per item the receipt of its durable write, or why there is none."""
        written = await self._catalog.write([item for item in items if isinstance(item, WritableItem)])
        receipts = iter(written.outcomes)
        return [next(receipts) if isinstance(item, WritableItem) else item for item in items]

    async def _prepare_or_error(self, draft: ItemDraft | TwinsetError, timeout_s: float) -> WritableItem | TwinsetError:
        if isinstance(draft, TwinsetError):
            return draft
        try:
            return await self._prepare(draft, timeout_s)
        except TwinsetError as error:
            return error

    async def _prepare(self, draft: ItemDraft, timeout_s: float) -> WritableItem:
        limits.check_item(draft)
        vectors = [self._own_vector(vector, f"vectors[{n}]") for n, vector in enumerate(draft.vectors)]
        pictures: list[NewPicture] = []
        if draft.pictures:
            pictures = await asyncio.to_thread(_inspect_all, draft.pictures)
            taken = {vector.space for vector in vectors}
            vectors += await self._embed(draft.pictures, taken, timeout_s)
        return WritableItem(
            id=draft.id,
            title=draft.title,
            uri=draft.uri,
            category=draft.category,
            attributes=draft.attributes,
            pictures=pictures,
            vectors=vectors,
        )

    def _own_vector(self, vector: Vector, field: str) -> ItemVector:
        space = self._catalog.spaces().get(vector.space)
        if space is None:
            known = ", ".join(sorted(self._catalog.spaces())) or "none"
            raise SpaceMismatch(
                f"{field}.space", f"{field}.space: the catalogue has no space {vector.space!r}; it has {known}"
            )
        return ItemVector(space.name, "", admit(vector, space, field))

    async def _embed(self, pictures: Sequence[PictureDraft], taken: set[str], timeout_s: float) -> list[ItemVector]:
        """Return a vector per picture for each of the model's spaces that the caller brought none for."""
        contract = self._pictures.embedder.contract
        spaces = {s.output: s.name for s in contract.spaces if s.name not in taken}
        if not spaces:
            return []
        for name in spaces.values():
            _check_same_model(self._catalog.spaces().get(name), contract.fingerprint, name)
        results = await self._pictures.embed(
            [p.content for p in pictures], tuple(spaces), timeout_s=timeout_s, urgent=False
        )
        vectors: list[ItemVector] = []
        for n, (picture, result) in enumerate(zip(pictures, results, strict=True)):
            vectors += _vectors_of(picture, result, spaces, f"pictures[{n}]")
        return vectors


def _vectors_of(
    picture: PictureDraft, result: Outputs | TwinsetError, spaces: dict[str, str], field: str
) -> list[ItemVector]:
    if isinstance(result, InvalidRequest):
        raise result.within(field)
    if isinstance(result, TwinsetError):
        raise result
    return [ItemVector(spaces[output], picture.id, values) for output, values in result.items()]


def _check_same_model(space: Space | None, fingerprint: str, name: str) -> None:
    if space is None or space.fingerprint != fingerprint:
        held = f"vectors of {space.fingerprint}" if space else "no vectors of any model"
        raise SpaceMismatch(
            f"spaces[{name!r}]",
            f"the serving model's fingerprint is {fingerprint}, but the space {name!r} holds {held}",
        )


def _inspect_all(drafts: Sequence[PictureDraft]) -> list[NewPicture]:
    pictures: list[NewPicture] = []
    for n, draft in enumerate(drafts):
        try:
            header = images.read_header(draft.content)
        except images.PictureError as error:
            raise BadPicture(f"pictures[{n}].content", str(error)) from error
        picture = Picture(
            id=draft.id,
            media_type=header.media_type,
            width=header.width,
            height=header.height,
            sha256=hashlib.sha256(draft.content).hexdigest(),
            size_bytes=len(draft.content),
        )
        pictures.append(NewPicture(picture, draft.content))
    return pictures
